//! What a hub is asked by name, with JSON in and out.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidelake_access::{Caller, Right};
use tidelake_core::ports::store::Progress;
use tidelake_core::ports::{Freshness, Latch};
use tidelake_core::{CommitSeq, Error, Result};
use tidelake_latch::{Ancestor, Report};
use tokio::sync::mpsc::UnboundedReceiver;

use super::Hub;
use crate::leases::LONGEST;
use crate::wire::{
    About, Acquire, Answer, Asked, Before, BeginWriter, GrantWriter, Leased, Lineages, Nothing, OfEpoch, OfLease,
    OfSeq, Progresses, Renew, Reported, TakeOver, Tell, WireReport, decode, encode,
};

/// Names of the calls that anyone may make.
pub const HUB_READ_CALLS: &[&str] = &["acquire", "renew", "check", "release", "progress", "about", "lineage"];
/// Names of the calls of engines and writers.
pub const HUB_WRITE_CALLS: &[&str] = &["report", "grant_writer", "begin_writer", "take_over", "tell", "answer"];

impl Hub {
    /// Runs a call.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if another latch may lead; [`Error::NotFound`] for a name that is none; [`Error::Denied`] for a caller who may
    /// not; what the call fails with.
    pub async fn call(&self, caller: &Caller, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.book.check()?;
        if HUB_WRITE_CALLS.contains(&name) {
            caller.rights.check(Right::Write)?;
            return self.write_call(name, body).await;
        }
        caller.rights.check(Right::Read)?;
        match name {
            "acquire" => answer(self.acquire(decode(body)?).await?),
            "renew" => answer(self.renew(&decode(body)?)?),
            "check" => {
                let OfLease { lease } = decode(body)?;
                answer(OfSeq { seq: self.leases.live(&**self.latch()?, &lease)?.seq() })
            }
            "release" => {
                let OfLease { lease } = decode(body)?;
                self.leases.release(&lease);
                answer(Nothing {})
            }
            "progress" => {
                let Nothing {} = decode(body)?;
                answer(self.progress())
            }
            "about" => {
                let Nothing {} = decode(body)?;
                answer(About { upstream: self.book.page().upstream, waiting: self.waiting() })
            }
            "lineage" => {
                let Nothing {} = decode(body)?;
                answer(self.lineages())
            }
            _ => Err(Error::NotFound(format!("call {name:.100} of a latch"))),
        }
    }

    async fn write_call(&self, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        match name {
            "report" => answer(self.report(decode(body)?).await?),
            "grant_writer" => answer(self.grant(decode(body)?).await?),
            "begin_writer" => answer(self.begin_writer(decode(body)?).await?),
            "take_over" => answer(self.take_over(decode(body)?).await?),
            "tell" => {
                self.tell(decode(body)?).await?;
                answer(Nothing {})
            }
            _ => {
                let given: Answer = decode(body)?;
                self.check_session(given.epoch)?;
                self.questions.answer(given);
                answer(Nothing {})
            }
        }
    }

    async fn acquire(&self, ask: Acquire) -> Result<Leased> {
        let latch = self.latch()?;
        self.leases.sweep(&**latch);
        let (begun, freshness): (_, Freshness) = (Instant::now(), ask.freshness.into());
        let ttl = Duration::from_millis(ask.ttl_ms).min(LONGEST);
        let wait = Duration::from_millis(ask.wait_ms).min(LONGEST);
        loop {
            let stage = self.stage.borrow().clone();
            let left = wait.saturating_sub(begun.elapsed());
            let lease = tokio::select! {
                lease = latch.acquire(freshness.clone(), ttl, left) => lease?,
                () = self.lost() => return Err(Error::Unavailable("this latch leads no more".into())),
            };
            // Another buffer took over meanwhile: the seq is of nobody knows which.
            let now = self.stage.borrow().clone();
            let exact = matches!(freshness, Freshness::AtSeq(_) | Freshness::At(_));
            let too_old = now.floor.is_none_or(|floor| lease.seq() < floor && !exact);
            if now.generation != stage.generation || too_old {
                continue;
            }
            // Whoever leads then may have shown more by now.
            self.book.check()?;
            let seq = lease.seq();
            let name = self.leases.keep(&**latch, lease)?;
            return Ok(Leased { lease: name, seq, ttl_ms: millis(ttl), lineage: now.lineage, term: Some(self.term) });
        }
    }

    fn renew(&self, ask: &Renew) -> Result<Leased> {
        let latch = self.latch()?;
        let lease = self.leases.live(&**latch, &ask.lease)?;
        let ttl = Duration::from_millis(ask.ttl_ms).min(LONGEST);
        latch.renew(&lease, ttl)?;
        let lineage = self.stage.borrow().lineage.clone();
        let (seq, ttl_ms) = (lease.seq(), millis(ttl));
        Ok(Leased { lease: ask.lease.clone(), seq, ttl_ms, lineage, term: Some(self.term) })
    }

    /// What is shown, as if it were one engine's.
    pub(super) fn progress(&self) -> Progresses {
        Progresses {
            engine: self.name.clone(),
            published: self.shown.borrow().clone(),
            durable: Progress { seq: self.fleet.lock().durable(Instant::now()), ..Progress::default() },
            horizon: CommitSeq(self.horizon.load(Ordering::Acquire)),
            unflushed_bytes: 0,
            lineage: self.stage.borrow().lineage.clone(),
            term: Some(self.term),
        }
    }

    fn lineages(&self) -> Lineages {
        let page = self.book.page();
        let before = |a: Ancestor| Before { lineage: a.lineage, upto: a.upto };
        Lineages { lineage: page.lineage, ancestors: page.ancestors.into_iter().map(before).collect() }
    }

    async fn report(&self, report: WireReport) -> Result<Reported> {
        if report.engine.is_empty() || report.engine.len() > 200 {
            return Err(Error::Invalid("an engine has a name of 1 to 200 bytes".into()));
        }
        let (name, address, lineage) = (report.engine.clone(), report.address.clone(), report.lineage.clone());
        let new = self.fleet.lock().report(of_wire(report), Instant::now())?;
        if new && self.book.page().engines.get(&name) != Some(&address) {
            self.change(move |page| {
                page.engines.insert(name, address);
                Ok(())
            })
            .await?;
        }
        self.news.notify_one();
        // Seqs of another buffer mean other versions.
        let own = lineage.is_some() && lineage == self.stage.borrow().lineage;
        let horizon = if own { self.horizon.load(Ordering::Acquire) } else { 0 };
        Ok(Reported { term: self.term, horizon: CommitSeq(horizon) })
    }

    async fn grant(&self, GrantWriter { lineage }: GrantWriter) -> Result<OfEpoch> {
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
    async fn begin_writer(&self, ask: BeginWriter) -> Result<Lineages> {
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
    async fn take_over(&self, ask: TakeOver) -> Result<Lineages> {
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
    fn check_session(&self, epoch: u64) -> Result<()> {
        match self.session.lock().epoch {
            Some(own) if own == epoch => Ok(()),
            Some(newest) if newest > epoch => Err(Error::Fenced { mine: epoch, newest }),
            _ => Err(Error::Closed(format!("the writer of epoch {epoch} has not begun here: call begin_writer"))),
        }
    }

    async fn tell(&self, tell: Tell) -> Result<()> {
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
            self.fleet.lock().begin(lineage, floor, Instant::now());
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

fn of_wire(report: WireReport) -> Report {
    let WireReport { engine, instance, address, lineage, published, durable, horizon, awaiting } = report;
    Report { engine, instance, address, lineage, published, durable, horizon, awaiting }
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn answer<T: Serialize>(message: T) -> Result<Vec<u8>> {
    encode(message)
}
