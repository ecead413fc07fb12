//! What a writer says to a hub: whose seqs count, from when on readers may read, and answers to their questions.

use tidelake_core::{CommitSeq, Error, Result, env};
use tokio::sync::mpsc::UnboundedReceiver;

use super::Hub;
use crate::wire::{Asked, BeginWriter, GrantWriter, Lineages, OfEpoch, TakeOver, Tell};

impl Hub {
    pub(super) async fn grant(&self, GrantWriter { lineage }: GrantWriter) -> Result<OfEpoch> {
        let granted = self.change(move |page| {
            let counts = lineage.is_none() || page.lineage.is_none() || page.lineage == lineage;
            if !counts {
                return Err(replaced(page.lineage.as_deref(), lineage.as_deref().unwrap_or_default()));
            }
            page.epoch += 1;
            Ok(page.epoch)
        });
        Ok(OfEpoch { epoch: granted.await? })
    }

    /// A writer's session with this latch: the one before is over.
    pub(super) async fn begin_writer(&self, ask: BeginWriter) -> Result<Lineages> {
        check_lineage(&ask.lineage)?;
        if ask.anew {
            return Err(Error::Invalid("at a latch of several engines a new buffer begins by take_over".into()));
        }
        let _turn = self.turn.lock().await;
        let lineage = ask.lineage.clone();
        let first = self
            .change(move |page| match &page.lineage {
                Some(own) if *own == lineage => Ok(false),
                Some(own) => Err(replaced(Some(own), &lineage)),
                None => {
                    page.take_over(lineage, None, CommitSeq::ZERO);
                    Ok(true)
                }
            })
            .await?;
        self.begin_session(ask.epoch)?;
        if first {
            self.begin_stage(Some(ask.lineage), None);
        }
        Ok(self.lineages())
    }

    /// A new buffer's seqs count from now on: the one before is refused for good.
    pub(super) async fn take_over(&self, ask: TakeOver) -> Result<Lineages> {
        check_lineage(&ask.lineage)?;
        let _turn = self.turn.lock().await;
        let TakeOver { epoch, lineage, known, before, at } = ask;
        let name = lineage.clone();
        self.change(move |page| {
            if page.lineage != known {
                return Err(replaced(page.lineage.as_deref(), known.as_deref().unwrap_or("none")));
            }
            // What the engines have may be the beginning of the one that counts.
            let is_prefix = page.ancestors.iter().any(|a| Some(&a.lineage) == before.as_ref() && at <= a.upto);
            let fits = at == CommitSeq::ZERO || page.lineage.is_none() || page.lineage == before || is_prefix;
            if !fits {
                let (theirs, own) = (before.as_deref().unwrap_or("none"), page.lineage.as_deref().unwrap_or("none"));
                return Err(Error::Invalid(format!(
                    "the engines have the transactions of a Data Buffer ({theirs}) that is none of this latch's ({own})"
                )));
            }
            let counted = page.lineage.clone().or(before);
            page.take_over(lineage, counted, at);
            Ok(())
        })
        .await?;
        self.begin_session(epoch)?;
        self.begin_stage(Some(name), None);
        Ok(self.lineages())
    }

    fn begin_session(&self, epoch: u64) -> Result<()> {
        let mut session = self.session.lock();
        match session.epoch {
            Some(newest) if newest > epoch => Err(Error::Fenced { mine: epoch, newest }),
            _ => {
                session.epoch = Some(epoch);
                Ok(())
            }
        }
    }

    /// Refused unless this is the writer that has begun.
    pub(super) fn check_session(&self, epoch: u64) -> Result<()> {
        match self.session.lock().epoch {
            Some(own) if own == epoch => Ok(()),
            Some(newest) if newest > epoch => Err(Error::Fenced { mine: epoch, newest }),
            _ => Err(Error::Closed(format!("the writer of epoch {epoch} has not begun here: call begin_writer"))),
        }
    }

    pub(super) async fn tell(&self, tell: Tell) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.check_session(tell.epoch)?;
        let (upstream, ready) = (tell.upstream, tell.ready);
        self.change(move |page| {
            if upstream.is_some() {
                page.upstream = upstream;
            }
            // What was noted is at least as good: it is what was shown.
            page.shown = page.shown.or(ready);
            Ok(())
        })
        .await?;
        self.session.lock().copies = tell.copies;
        let floor = self.book.page().shown;
        let begins = self.stage.borrow().floor.is_none() && floor.is_some();
        if begins {
            let lineage = self.stage.borrow().lineage.clone();
            self.fleet.lock().begin(lineage, floor, env::now());
            self.stage.send_modify(|stage| stage.floor = floor);
            self.news.notify_one();
        }
        Ok(())
    }

    /// The writer's end of the questions.
    ///
    /// # Errors
    /// `Fenced` if another writer has begun.
    pub(super) fn listen(&self, epoch: u64) -> Result<UnboundedReceiver<Asked>> {
        self.book.check()?;
        self.check_session(epoch)?;
        Ok(self.questions.listen())
    }
}

fn check_lineage(lineage: &str) -> Result<()> {
    if lineage.is_empty() || lineage.len() > 200 {
        return Err(Error::Invalid("a lineage is a name of 1 to 200 bytes".into()));
    }
    Ok(())
}

fn replaced(own: Option<&str>, asked: &str) -> Error {
    let own = own.unwrap_or("none");
    Error::Invalid(format!(
        "this latch's engines have the transactions of another Data Buffer ({own}), not of this writer's ({asked}): another \
         writer has taken over since, or the latch is another one. To take over again, move the writer's data directory away: a \
         writer with an empty one goes on where the engines are"
    ))
}
