//! The writer's session with the latch: by it readers learn from when on they may read, and their questions are answered.

use tidelake_api::FleetLine;
use tidelake_core::{Error, env};

use super::{AGAIN, Lineage, Work, may_come_back, upstream_probe};

impl Work {
    /// One session after the other, until cancelled or another writer has taken over.
    pub(super) async fn sessions(&self) -> Result<(), Error> {
        let mut said = false;
        loop {
            let ended = tokio::select! {
                () = self.cancel.cancelled() => return Ok(()),
                ended = self.session(&mut said) => ended,
            };
            match ended {
                Ok(()) => {}
                Err(error) if may_come_back(&error) => {
                    if !said {
                        tracing::warn!(%error, "the latch was lost; writing goes on, readers wait until it is back");
                    }
                    said = true;
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = self.cancel.cancelled() => return Ok(()),
                () = env::sleep(AGAIN) => {}
            }
        }
    }

    async fn session(&self, said: &mut bool) -> Result<(), Error> {
        let session = FleetLine::begin(self.line.clone(), &self.name()).await?;
        self.ancestors.send_replace(Some(session.ancestors().to_vec()));
        if *said {
            tracing::info!("the latch is back");
        }
        *said = false;
        let probe = self.probe.clone();
        tokio::select! {
            ended = session.answer(move |question| upstream_probe::answer(probe.clone(), question)) => ended,
            Err(error) = self.let_read(&session) => Err(error),
        }
    }

    /// Tells the latch what readers need to know: at once, and again when it is known that nothing is shown that is older than what
    /// anybody saw before.
    async fn let_read(&self, session: &FleetLine) -> Result<(), Error> {
        let copies = self.source.can_copy();
        let caught_up = self.lineage.lock().caught_up;
        // What this buffer has is all that was ever shown.
        let ready = caught_up.then(|| *self.buffer.head().borrow());
        session.tell(copies, self.upstream.clone(), ready).await?;
        if ready.is_none() {
            let ready = upstream_probe::seq_of_head(&*self.source, &self.probe).await?;
            let lineage = Lineage { caught_up: true, ..self.lineage.lock().clone() };
            lineage.keep(&self.dir).map_err(|e| Error::Internal(format!("{e:#}")))?;
            *self.lineage.lock() = lineage;
            session.tell(copies, self.upstream.clone(), Some(ready)).await?;
        }
        std::future::pending().await
    }
}
