//! What a hub is asked by name, with JSON in and out.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tidelake_access::{Caller, Right};
use tidelake_core::ports::store::Progress;
use tidelake_core::ports::{Freshness, Latch};
use tidelake_core::{CommitSeq, Error, Result, env};
use tidelake_latch::{Ancestor, Report};

use super::Hub;
use crate::leases::LONGEST;
use crate::wire::{
    About, Acquire, Answer, Before, Forget, Known, Leased, Lineages, Nothing, OfLease, OfSeq, Progresses, Renew,
    Reported, WireReport, decode, encode,
};

/// Names of the calls that anyone may make.
pub const HUB_READ_CALLS: &[&str] = &["acquire", "renew", "check", "release", "progress", "about", "lineage"];
/// Names of the calls of people who look after it.
pub const HUB_ADMIN_CALLS: &[&str] = &["forget"];
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
        if HUB_ADMIN_CALLS.contains(&name) {
            caller.rights.check(Right::Admin)?;
            return answer(self.forget(decode(body)?).await?);
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
        let (begun, freshness): (_, Freshness) = (env::now(), ask.freshness.into());
        let ttl = Duration::from_millis(ask.ttl_ms).min(LONGEST);
        let wait = Duration::from_millis(ask.wait_ms).min(LONGEST);
        loop {
            let stage = self.stage.borrow().clone();
            let left = wait.saturating_sub(env::since(begun));
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
            durable: Progress { seq: self.fleet.lock().durable(env::now()), ..Progress::default() },
            horizon: CommitSeq(self.horizon.load(Ordering::Acquire)),
            unflushed_bytes: 0,
            lineage: self.stage.borrow().lineage.clone(),
            term: Some(self.term),
        }
    }

    pub(super) fn lineages(&self) -> Lineages {
        let page = self.book.page();
        let before = |a: Ancestor| Before { lineage: a.lineage, upto: a.upto };
        Lineages { lineage: page.lineage, ancestors: page.ancestors.into_iter().map(before).collect() }
    }

    /// An engine is gone for good. The page names it until it is certain that nobody waits for it here; one that reports meanwhile is a new
    /// one, and put there again by its next report.
    async fn forget(&self, Forget { engine }: Forget) -> Result<Known> {
        let known = self.fleet.lock().forget(&engine, env::now())?;
        let name = engine.clone();
        let listed = self.change(move |page| Ok(page.engines.remove(&name).is_some())).await?;
        let engines: Vec<String> = self.book.page().engines.into_keys().collect();
        if !known && !listed {
            return Err(Error::NotFound(format!(
                "engine {engine:.200} at this latch, which knows {}",
                if engines.is_empty() { "none".to_owned() } else { engines.join(", ") }
            )));
        }
        tracing::info!(engine, "the engine is forgotten: nobody waits for it any more");
        self.news.notify_one();
        Ok(Known { engines })
    }

    async fn report(&self, report: WireReport) -> Result<Reported> {
        if report.engine.is_empty() || report.engine.len() > 200 {
            return Err(Error::Invalid("an engine has a name of 1 to 200 bytes".into()));
        }
        let (name, address, lineage) = (report.engine.clone(), report.address.clone(), report.lineage.clone());
        self.fleet.lock().report(of_wire(report), env::now())?;
        // Looked at with each report: it may be new, or one that was just forgotten.
        if !self.book.lists(&name, &address) {
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
}

fn of_wire(report: WireReport) -> Report {
    let WireReport { engine, instance, address, lineage, published, durable, horizon, awaiting } = report;
    Report { engine, instance, address, lineage, published, durable, horizon, awaiting }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn answer<T: Serialize>(message: T) -> Result<Vec<u8>> {
    encode(message)
}
