//! Tables that stopped because only upstream knows their rows, copied again.
//!
//! The feed is held at a watermark, the tables are read as they were at its TSO, and the feed goes on: copy and feed meet at one
//! commit again, so a table comes back at the very place where all others are. While it is held nothing of the feed is fetched. An
//! attempt that breaks is made again later, at a newer TSO; what it left behind is replaced.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tidelake_core::ports::{Buffer, StoreEngine};
use tidelake_core::{Error, Result, TableName};

use super::copier::Copier;
use super::gate::Gate;
use super::source::Shared;
use super::{CopyOptions, Snapshot};
use crate::service::copy::wait;
use crate::ticdc::place::FeedPlace;

/// Pause after an attempt that broke, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// See the module.
pub(super) struct Again {
    pub snapshot: Arc<dyn Snapshot>,
    pub options: CopyOptions,
    pub shared: Arc<Shared>,
    pub gate: Arc<Gate>,
    pub engine: Arc<dyn StoreEngine>,
    pub buffer: Arc<dyn Buffer>,
}

impl Again {
    /// Never ends by itself.
    ///
    /// # Errors
    /// If buffer or engine fail.
    pub(super) async fn run(&self) -> Result<()> {
        let mut published = self.engine.published();
        let mut pause = BACKOFF.0;
        loop {
            published.mark_unchanged();
            if self.waiting()?.is_empty() {
                published.changed().await.map_err(|_| Error::Closed("the store engine".into()))?;
                continue;
            }
            match self.attempt().await {
                Ok(()) => {
                    pause = BACKOFF.0;
                    self.shared.note_problem(None);
                }
                Err(error @ (Error::Closed(_) | Error::Internal(_) | Error::Corrupt { .. })) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "tables that stopped are not copied again yet");
                    self.shared.note_problem(Some(format!("tables that stopped are not copied again yet: {error}")));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// The tables that a copy would mend.
    fn waiting(&self) -> Result<BTreeSet<TableName>> {
        let catalog = self.engine.catalog(self.engine.published_seq())?;
        let stopped = catalog.tables.values().filter(|entry| entry.state.wants_resync());
        Ok(stopped.map(|entry| entry.def.name.clone()).filter(|name| self.options.filter.wants(name)).collect())
    }

    async fn attempt(&self) -> Result<()> {
        let _closed = self.gate.close().await;
        // what the feed released last may stop or drop tables, too
        let head = *self.buffer.head().borrow();
        wait::published_up_to(&*self.engine, head).await?;
        let (tables, place) = (self.waiting()?, self.buffer.read_position().borrow().clone());
        let Some(place) = place.filter(|_| !tables.is_empty()) else { return Ok(()) };
        let tso = FeedPlace::parse(&place)?.tso;
        let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
        let what = format!("{} copied again as of TSO {tso}; the feed waits", names.join(", "));
        tracing::info!("{what}");
        self.shared.note_problem(Some(what));
        let copier = Copier {
            snapshot: self.snapshot.clone(),
            shared: self.shared.clone(),
            engine: self.engine.clone(),
            buffer: self.buffer.clone(),
            tso,
            threads: self.options.threads,
            again: Some(tables),
        };
        Arc::new(copier).run().await
    }
}
