//! An engine's word to its latch, at each change and every now and then, and the latch's horizon back.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidelake_core::ports::StoreEngine;
use tidelake_core::{Error, env};
use tokio_util::sync::CancellationToken;

use crate::desk::Desk;
use crate::leases::new_name;
use crate::line::LatchLine;
use crate::wire::{Reported, WireReport};

/// How often it is said that nothing changed.
const BEAT: Duration = Duration::from_millis(250);
/// How long the latch may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long to wait after it did not answer.
const AGAIN: Duration = Duration::from_millis(100);

/// Reports until cancelled. One report is on its way at a time, so changes that come meanwhile are one.
pub struct Reporter {
    /// The engine.
    pub engine: Arc<dyn StoreEngine>,
    /// Whose rows it has.
    pub desk: Arc<Desk>,
    /// Its name, the same over all its starts.
    pub name: String,
    /// Where it listens, for people.
    pub address: String,
    /// To the latch.
    pub line: Arc<LatchLine>,
    /// Why the latch is not told, if so.
    pub trouble: Mutex<Option<String>>,
}

impl Reporter {
    /// Reports until cancelled.
    pub async fn run(&self, cancel: CancellationToken) {
        let instance = new_name();
        let (mut published, mut durable) = (self.engine.published(), self.engine.durable());
        let mut begun = self.desk.begins();
        while !cancel.is_cancelled() {
            begun.mark_unchanged();
            published.mark_unchanged();
            durable.mark_unchanged();
            let answer = self.report(&instance).await;
            let pause = if answer.is_ok() { BEAT } else { AGAIN };
            let changes = answer.is_ok();
            self.note(answer.err());
            tokio::select! {
                () = cancel.cancelled() => return,
                () = env::sleep(pause) => {}
                Ok(()) = published.changed(), if changes => {}
                Ok(()) = durable.changed(), if changes => {}
                Ok(()) = begun.changed(), if changes => {}
            }
        }
    }

    async fn report(&self, instance: &str) -> Result<(), Error> {
        let published = self.engine.published().borrow().clone();
        let awaiting = self.engine.catalog(published.seq).ok().and_then(|c| c.awaiting_copy().cloned());
        let report = WireReport {
            engine: self.name.clone(),
            instance: instance.to_owned(),
            address: self.address.clone(),
            lineage: self.desk.lineage(),
            durable: self.engine.durable().borrow().seq,
            horizon: self.engine.horizon(),
            published,
            awaiting,
        };
        let (_, Reported { term, horizon }) = self.line.ask("report", report, PATIENCE).await?;
        // Another latch leads by now: this one may not know who reads.
        self.line.heard(Some(term))?;
        self.engine.set_horizon(horizon);
        Ok(())
    }

    fn note(&self, error: Option<Error>) {
        let mut trouble = self.trouble.lock();
        match (&*trouble, &error) {
            (None, Some(error)) => tracing::warn!(%error, "the latch is not told how far this engine is"),
            (Some(_), None) => tracing::info!("the latch is told again how far this engine is"),
            _ => {}
        }
        *trouble = error.map(|error| error.to_string());
    }
}
