//! The initial copies, beside all turns: their records come to every engine by the buffer.

use std::sync::Arc;

use tidelake_core::ports::StoreEngine;
use tidelake_core::{Error, env};

use super::{AGAIN, Work, may_come_back};

impl Work {
    /// Copies while there is an engine that shows what was copied; which one does not matter, as all get the same.
    pub(super) async fn copies(&self) -> Result<(), Error> {
        let mut writing = self.writing.subscribe();
        loop {
            let first = |all: &Vec<bool>| all.iter().position(|up| *up);
            let lead = tokio::select! {
                () = self.cancel.cancelled() => return Ok(()),
                up = writing.wait_for(|all| first(all).is_some()) => up.ok().and_then(|all| first(&all)),
            };
            let Some(engine) = lead.and_then(|at| self.engines.get(at)) else { return Ok(()) };
            let end = self.cancel.child_token();
            let store: Arc<dyn StoreEngine> = engine.store.clone();
            let copying = self.source.copy_tables(store, self.shares.of_copies(), end.child_token());
            let ended = tokio::select! {
                () = self.cancel.cancelled() => return Ok(()),
                ended = copying => ended,
                _ = writing.wait_for(|all| lead.is_none_or(|at| all.get(at) != Some(&true))) => continue,
            };
            match ended {
                // A source that copies nothing.
                Ok(()) => {
                    self.cancel.cancelled().await;
                    return Ok(());
                }
                Err(error) if may_come_back(&error) || matches!(error, Error::Fenced { .. }) => {
                    tracing::warn!(%error, "copying begins again where the engine is");
                    env::sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
