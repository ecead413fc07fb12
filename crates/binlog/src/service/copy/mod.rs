//! The initial copy: rows that were there before the stream began, without stopping anybody.
//!
//! A coordinator looks at the upstream's list of tables and at the engine's catalog, and keeps a *job* running for each
//! wanted table that the catalog lacks (or wants copied again beside the stopped one). Both are compared at one
//! place of the stream, so a table that is just being created is not copied too. Rooms: [`job`] one table; [`snapshot`]
//! exact positions; [`reader`] chunks, several at the same time; [`select`], [`columns`] from the upstream's cells to Arrow;
//! [`cursor`] where to go on.

pub(super) mod columns;
pub(crate) mod cursor;
pub(crate) mod job;
mod reader;
pub(crate) mod select;
pub(super) mod snapshot;
pub(crate) mod wait;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use tidelake_core::control::ControlRecord;
use tidelake_core::ports::{Buffer, StoreEngine};
use tidelake_core::{Catalog, Error, Result, TableId, TableName, TableState};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::backoff::Backoff;
use super::server::UpstreamServer;
use super::tables::{self, ListedTable};
use crate::ddl::engines;
use job::{Job, JobEnd, is_lasting, stop_record};

/// How often the catalog is looked at, while something is being copied and after.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the upstream's list is read again although nothing is missing.
const LIST_EVERY: Duration = Duration::from_secs(30);
/// Longest wait before a failed copy is tried again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// So many copies with a lasting error, one after the other, and the table is stopped.
const LASTING: u32 = 3;
/// Shortest time between two looks because of a change in the catalog.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Copies until cancelled (`Ok`), or until buffer or engine fail.
///
/// # Errors
/// What buffer or engine answer. Errors of the upstream are tried again, and shown in the source's status meanwhile.
pub(super) async fn run(
    shared: Arc<Shared>,
    engine: Arc<dyn StoreEngine>,
    buffer: Arc<dyn Buffer>,
    cancel: CancellationToken,
) -> Result<()> {
    let mut coordinator = Coordinator::new(shared, engine, buffer);
    tokio::select! {
        () = cancel.cancelled() => Ok(()), // jobs are dropped with the coordinator
        result = coordinator.run() => result,
    }
}

struct Coordinator {
    shared: Arc<Shared>,
    engine: Arc<dyn StoreEngine>,
    buffer: Arc<dyn Buffer>,
    upstream: Option<(Conn, UpstreamServer)>,
    jobs: JoinSet<Ended>,
    active: HashSet<TableName>,
    failed: HashMap<TableName, Failures>,
    /// Tables that the catalog was asked to drop.
    dropped: HashSet<TableId>,
    settled: Option<Settled>,
}

/// A copy job that has ended.
struct Ended {
    name: TableName,
    /// A live table was there when it began.
    beside: bool,
    end: Result<JobEnd>,
}

/// Copies of one table that failed one after the other.
struct Failures {
    backoff: Backoff,
    /// Not tried again before.
    until: Instant,
    /// How many of them trying again will not mend, by their look.
    lasting: u32,
}

/// What the catalog looked like when nothing was missing.
struct Settled {
    shape: Vec<(u64, u8)>,
    at: Instant,
}

impl Coordinator {
    fn new(shared: Arc<Shared>, engine: Arc<dyn StoreEngine>, buffer: Arc<dyn Buffer>) -> Coordinator {
        Coordinator {
            shared,
            engine,
            buffer,
            upstream: None,
            jobs: JoinSet::new(),
            active: HashSet::new(),
            failed: HashMap::new(),
            dropped: HashSet::new(),
            settled: None,
        }
    }

    async fn run(&mut self) -> Result<()> {
        // what an earlier process appended must be seen before anything is found missing
        let head = *self.buffer.head().borrow();
        wait::published_up_to(&*self.engine, head).await?;
        self.shared.followed().await;
        let mut backoff = Backoff::new(LONGEST_BACKOFF);
        loop {
            let pause = match self.look().await {
                Ok(()) => {
                    self.shared.note_problem(None, None);
                    backoff.reset();
                    LOOK_EVERY
                }
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => {
                    self.upstream = None;
                    tracing::warn!(%error, "the upstream's tables cannot be listed");
                    self.shared.note_problem(None, Some(error.to_string()));
                    backoff.next()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shared.wishes.changed() => self.settled = None,
                () = unsettled(&self.engine, self.settled.as_ref()) => {}
                Some(ended) = self.jobs.join_next() => self.job_ended(ended).await?,
            }
        }
    }

    /// One look at catalog and upstream; starts what is missing.
    async fn look(&mut self) -> Result<()> {
        if self.is_settled()? {
            return Ok(());
        }
        let (mut conn, server) = match self.upstream.take() {
            Some(upstream) => upstream,
            None => {
                let mut conn = self.shared.connector.connect().await?;
                let server = UpstreamServer::detect(&self.shared.connector, &mut conn).await?;
                (conn, server)
            }
        };
        let listed = tables::list_wanted(&self.shared.connector, &mut conn, &self.shared.filter.now()).await?;
        let head = self.shared.head(&mut conn, &server).await?;
        self.upstream = Some((conn, server));
        wait::covered(&self.shared, &*self.buffer, &*self.engine, &head).await?;
        let catalog = self.catalog()?;
        self.drop_unwanted(&catalog, &listed).await?;
        self.give_up_wishes(&listed);
        let wishes = &self.shared.wishes;
        let is_due = |table: &&ListedTable| is_missing(&catalog, &table.name) || wishes.is_waiting(&table.name);
        let due: Vec<&ListedTable> = listed.iter().filter(is_due).collect();
        let missing: Vec<TableName> = due.iter().map(|table| table.name.clone()).collect();
        self.forget_problems(&missing);
        if missing.is_empty() && self.active.is_empty() {
            self.settled = Some(Settled { shape: shape(&catalog), at: Instant::now() });
            self.shared.complete.send_replace(true);
        }
        // what comes through a MERGE table is known from its own record on: the tables behind it are read after that
        let merge = |table: &&&ListedTable| engines::is_merge(&table.engine);
        let first: Vec<TableName> = due.iter().filter(merge).map(|table| table.name.clone()).collect();
        self.start(&catalog, if first.is_empty() { missing } else { first });
        Ok(())
    }

    /// True if nothing was missing at the last look, and the catalog has not changed since in a way that matters.
    fn is_settled(&self) -> Result<bool> {
        let Some(settled) = &self.settled else { return Ok(false) };
        Ok(settled.at.elapsed() < LIST_EVERY && shape(&*self.catalog()?) == settled.shape)
    }

    fn catalog(&self) -> Result<Arc<Catalog>> {
        let published = self.engine.published_seq();
        self.engine.catalog(published)
    }

    fn start(&mut self, catalog: &Catalog, missing: Vec<TableName>) {
        self.settled = self.settled.take().filter(|_| missing.is_empty());
        for name in missing {
            let waits = self.failed.get(&name).is_some_and(|failures| Instant::now() < failures.until);
            if self.active.len() >= self.shared.options.copy_threads.max(1) {
                self.shared.note_copy(&name, |_| {});
                continue;
            }
            if waits || self.active.contains(&name) {
                continue;
            }
            self.active.insert(name.clone());
            let job = Arc::new(Job {
                shared: self.shared.clone(),
                engine: self.engine.clone(),
                buffer: self.buffer.clone(),
                anew: self.shared.wishes.is_waiting(&name),
                name: name.clone(),
            });
            let beside = is_live(catalog, &name);
            self.jobs.spawn(async move {
                let end = job.run().await;
                Ended { name, beside, end }
            });
        }
    }

    async fn job_ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) -> Result<()> {
        let Ended { name, beside, end } = ended.map_err(|e| Error::Internal(format!("a copy job ended: {e}")))?;
        self.active.remove(&name);
        match end {
            Ok(end) => {
                match end {
                    JobEnd::Done => self.shared.wishes.done(&name),
                    JobEnd::Dropped => self.was_dropped(&name, beside)?,
                }
                self.failed.remove(&name);
                self.shared.note_problem(Some(&name), None);
            }
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(table = %name, %error, "the initial copy failed, will try again");
                self.shared.note_problem(Some(&name), Some(error.to_string()));
                let failures = self.failed.entry(name.clone()).or_insert_with(|| Failures {
                    backoff: Backoff::new(LONGEST_BACKOFF),
                    until: Instant::now(),
                    lasting: 0,
                });
                failures.until = Instant::now() + failures.backoff.next();
                failures.lasting = if is_lasting(&error) { failures.lasting + 1 } else { 0 };
                // once may be a schema change in the middle of it
                if failures.lasting >= LASTING && !beside {
                    job::append(self.buffer.clone(), stop_record(&name, &error.to_string()), None).await?;
                }
            }
        }
        Ok(())
    }

    /// Drops tables that a copy should bring (back), but are no longer wanted, or vanished upstream without a DROP in
    /// the stream.
    async fn drop_unwanted(&mut self, catalog: &Catalog, listed: &[ListedTable]) -> Result<()> {
        for entry in catalog.tables.values() {
            let awaits = matches!(entry.state, TableState::Copying { .. }) || entry.state.wants_resync();
            let vanished = awaits && listed.iter().all(|table| table.name != entry.def.name);
            let unwanted = !self.shared.filter.wants(&entry.def.name);
            if !(vanished || unwanted) || !self.dropped.insert(entry.def.id) {
                continue;
            }
            tracing::info!(table = %entry.def.name, unwanted, "the table is gone or no longer wanted, it is dropped");
            let record = ControlRecord::DropTable { name: entry.def.name.clone(), vanished: !unwanted };
            job::append(self.buffer.clone(), record, None).await?;
        }
        Ok(())
    }

    /// A copy beside a live table leaves no trace in the catalog when it is dropped, so it is asked for again.
    fn was_dropped(&self, name: &TableName, beside: bool) -> Result<()> {
        tracing::info!(table = %name, "a schema change dropped the copy, it begins again if it is still wanted");
        if beside && is_live(&*self.catalog()?, name) && self.shared.filter.wants(name) {
            self.shared.wishes.ask(name.clone());
        }
        Ok(())
    }

    /// Wishes for tables that are gone.
    fn give_up_wishes(&self, listed: &[ListedTable]) {
        for (name, _) in self.shared.wishes.all() {
            if listed.iter().all(|table| table.name != name) && !self.active.contains(&name) {
                tracing::warn!(table = %name, "upstream has no such table any more, it is not copied again");
                self.shared.wishes.give_up(&name);
            }
        }
    }

    /// A table that is no longer missing has no problem any more.
    fn forget_problems(&mut self, missing: &[TableName]) {
        self.failed.retain(|name, _| {
            let keep = missing.contains(name);
            if !keep {
                self.shared.note_problem(Some(name), None);
            }
            keep
        });
    }
}

fn is_live(catalog: &Catalog, name: &TableName) -> bool {
    catalog.visible(name).is_some_and(|entry| entry.state == TableState::Live)
}

/// Until a settled catalog has changed in a way that matters; never, while something is being copied anyway.
async fn unsettled(engine: &Arc<dyn StoreEngine>, settled: Option<&Settled>) {
    let Some(settled) = settled else { return std::future::pending().await };
    let mut published = engine.published();
    while published.changed().await.is_ok() {
        tokio::time::sleep(LOOK_AGAIN).await;
        let now = published.borrow_and_update().seq;
        if engine.catalog(now).is_ok_and(|catalog| shape(&catalog) != settled.shape) {
            return;
        }
    }
    std::future::pending().await
}

/// True if the table must be copied: not there, being copied, or stopped until it is copied again.
fn is_missing(catalog: &Catalog, name: &TableName) -> bool {
    if catalog.copying(name).is_some() {
        return true;
    }
    match catalog.visible(name).map(|e| &e.state) {
        None => true,
        Some(state) => state.wants_resync(),
    }
}

/// What of the catalog matters to the copy: which tables there are, and their kind of state.
fn shape(catalog: &Catalog) -> Vec<(u64, u8)> {
    let kind = |state: &TableState| match state {
        TableState::Live => 0,
        TableState::Copying { .. } => 1,
        TableState::Stopped { .. } => 2,
    };
    catalog.tables.values().map(|e| (e.def.id.0, kind(&e.state))).collect()
}

/// Errors that trying again cannot mend, because they are not the upstream's.
fn is_fatal(error: &Error) -> bool {
    matches!(error, Error::Closed(_) | Error::Internal(_) | Error::Io { .. } | Error::Fenced { .. })
}
