//! A feed with a copy before it.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidelake_core::ports::{Buffer, CopyProgress, Source, SourceStatus, StoreEngine, TransactionDecoder};
use tidelake_core::{Error, Result, SourcePosition, TableName};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::again::Again;
use super::copier::Copier;
use super::gate::Gate;
use super::{CopyOptions, Snapshot};
use crate::ticdc::place::FeedPlace;

/// What the tasks of a copy tell.
pub(super) struct Shared {
    copies: Mutex<Vec<CopyProgress>>,
    problem: Mutex<Option<String>>,
}

impl Shared {
    /// Changes the progress of a table's copy, which appears with the first call.
    pub(super) fn note_copy(&self, name: &TableName, change: impl FnOnce(&mut CopyProgress)) {
        let mut copies = self.copies.lock();
        let index = copies.iter().position(|c| c.name == *name).unwrap_or_else(|| {
            let (rows, bytes, estimated_rows) = (0, 0, 0);
            copies.push(CopyProgress { name: name.clone(), rows, bytes, estimated_rows, done: false });
            copies.len() - 1
        });
        change(&mut copies[index]);
    }

    /// Why the copy does not get on; `None`: it does.
    pub(super) fn note_problem(&self, problem: Option<String>) {
        *self.problem.lock() = problem;
    }
}

/// What streaming has to do first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// Nobody streams yet.
    Unknown,
    /// Nothing: the copy was made before, or the replica began without one.
    Feed,
    /// A copy as of this TSO.
    Copy(u64),
}

/// See the module.
pub struct CopiedFeed {
    feed: Arc<dyn Source>,
    options: CopyOptions,
    snapshot: Arc<dyn Snapshot>,
    begin: watch::Sender<Begin>,
    copied: watch::Sender<bool>,
    complete: watch::Sender<bool>,
    shared: Arc<Shared>,
    /// The feed stands behind it while tables are copied again.
    gate: Arc<Gate>,
}

impl CopiedFeed {
    /// The feed, with a copy before its first start.
    #[must_use]
    pub fn new(feed: Arc<dyn Source>, options: CopyOptions) -> CopiedFeed {
        CopiedFeed {
            snapshot: options.open(),
            feed,
            options,
            begin: watch::Sender::new(Begin::Unknown),
            copied: watch::Sender::new(false),
            complete: watch::Sender::new(false),
            shared: Arc::new(Shared { copies: Mutex::default(), problem: Mutex::default() }),
            gate: Gate::new(),
        }
    }

    async fn follow(
        &self,
        after: Option<SourcePosition>,
        buffer: Arc<dyn Buffer>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let ended = self.feed.stream(after, self.gate.before(buffer), cancel).await;
        self.gate.end();
        ended
    }

    /// The TSO of the copy that is under way.
    fn copying(&self) -> Option<u64> {
        match *self.begin.borrow() {
            Begin::Copy(tso) if !*self.copied.borrow() => Some(tso),
            _ => None,
        }
    }
}

#[async_trait]
impl Source for CopiedFeed {
    fn kind(&self) -> &'static str {
        self.feed.kind()
    }

    async fn stream(
        &self,
        after: Option<SourcePosition>,
        buffer: Arc<dyn Buffer>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let place = after.as_ref().map(FeedPlace::parse_any).transpose()?;
        let Some(tso) = place.filter(|place| place.copying).map(|place| place.tso) else {
            self.begin.send_replace(Begin::Feed);
            return self.follow(after, buffer, cancel).await;
        };
        self.begin.send_replace(Begin::Copy(tso));
        let mut copied = self.copied.subscribe();
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            there = copied.wait_for(|copied| *copied) => drop(there.map_err(|_| Error::Closed("the copy".into()))?),
        }
        // as the copy left it
        let after = buffer.read_position().borrow().clone();
        self.follow(after.or_else(|| Some(FeedPlace::copied(tso).to_source())), buffer, cancel).await
    }

    async fn first_position(&self) -> Result<Option<SourcePosition>> {
        Ok(Some(FeedPlace::copying(self.snapshot.tso().await?).to_source()))
    }

    async fn head(&self) -> Result<SourcePosition> {
        if let Some(tso) = self.copying() {
            return Err(Error::Unavailable(format!("the tables are being copied as of TSO {tso}")));
        }
        self.feed.head().await
    }

    async fn copy_tables(
        &self,
        engine: Arc<dyn StoreEngine>,
        buffer: Arc<dyn Buffer>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let mut begin = self.begin.subscribe();
        let known = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            known = begin.wait_for(|begin| *begin != Begin::Unknown) => known.map(|begin| *begin),
        };
        let known = known.map_err(|_| Error::Closed("the feed".into()))?;
        if let Begin::Copy(tso) = known {
            tracing::info!(tso, from = ?self.options, "the tables are copied before the feed is read");
            let (snapshot, shared, threads) = (self.snapshot.clone(), self.shared.clone(), self.options.threads);
            let (engine, buffer) = (engine.clone(), buffer.clone());
            let copier = Arc::new(Copier { snapshot, shared, engine, buffer, tso, threads, again: None });
            tokio::select! {
                () = cancel.cancelled() => return Ok(()), // what runs is dropped
                done = copier.run() => done?,
            }
        }
        self.copied.send_replace(true);
        self.complete.send_replace(true);
        if !self.can_copy() {
            return Ok(());
        }
        let (snapshot, options, shared) = (self.snapshot.clone(), self.options.clone(), self.shared.clone());
        let again = Again { snapshot, options, shared, gate: self.gate.clone(), engine, buffer };
        tokio::select! {
            () = cancel.cancelled() => Ok(()),
            ended = again.run() => ended,
        }
    }

    /// A table that stops later can be copied from a server, which has the rows of any TSO; a dump has those of one.
    fn can_copy(&self) -> bool {
        self.snapshot.has_any_tso()
    }

    fn copy_complete(&self) -> watch::Receiver<bool> {
        self.complete.subscribe()
    }

    fn decoder(&self) -> Box<dyn TransactionDecoder> {
        self.feed.decoder()
    }

    fn status(&self) -> SourceStatus {
        let mut status = self.feed.status();
        let problem = self.shared.problem.lock().clone();
        match (self.copying(), problem) {
            (Some(tso), None) => status.reason = format!("the tables are being copied as of TSO {tso}"),
            (None, Some(problem)) if !status.reason.is_empty() => {
                status.reason = format!("{problem}; {}", status.reason)
            }
            (_, Some(problem)) => status.reason = problem,
            (None, None) => {}
        }
        status
    }

    fn copies(&self) -> Vec<CopyProgress> {
        self.shared.copies.lock().clone()
    }
}
