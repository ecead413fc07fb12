//! The source over a storage sink's files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidelake_core::ports::{Buffer, Source, SourceState, SourceStatus, TransactionDecoder};
use tidelake_core::{Error, Result, SourcePosition};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::data_file::{self, Cutter};
use super::layout::{self, DataFormat, DataPath, Layout};
use super::ledger::Ledger;
use super::options::StorageOptions;
use super::schema_file::{self, SchemaFile};
use super::store::{Stamp, Store};
use crate::mysql::decoder::UnknownTables;
use crate::ticdc::append::FeedAppender;
use crate::ticdc::databases::Databases;
use crate::ticdc::place::FeedPlace;
use crate::ticdc::progress::{FeedProgress, StallWatch};
use crate::ticdc::record::Event;
use crate::ticdc::{Assembler, FeedDecoder};

/// How often the directory is looked at in follow mode.
const POLL: Duration = Duration::from_millis(200);
/// The same of a bucket, where each look costs.
const POLL_REMOTE: Duration = Duration::from_secs(1);
/// How often a bucket is listed although its checkpoint stands.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// Pause after a store could not be reached.
const BACKOFF: Duration = Duration::from_secs(2);
/// What was read, in the directory of events that outgrow memory.
const LEDGER: &str = "read.jsonl";
/// Looks at a file that is not whole, or a hole in a sequence, before it is an error.
const PATIENCE: usize = 25;
/// How many events are read between two looks at the limit of what waits.
const LOOK_AT_LIMIT: u64 = 1024;

/// See the module.
pub struct StorageSource {
    options: StorageOptions,
    progress: Arc<FeedProgress>,
    store: OnceLock<Store>,
}

impl StorageSource {
    /// A source over the files; they are first looked at when streaming begins.
    #[must_use]
    pub fn new(options: StorageOptions) -> StorageSource {
        StorageSource { options, progress: Arc::default(), store: OnceLock::new() }
    }

    /// The store, opened once; on a thread of the runtime.
    fn store(&self) -> Result<Store> {
        if let Some(store) = self.store.get() {
            return Ok(store.clone());
        }
        let opened = Store::open(&self.options.place, tokio::runtime::Handle::current(), !self.options.follow)?;
        Ok(self.store.get_or_init(|| opened).clone())
    }
}

#[async_trait]
impl Source for StorageSource {
    fn kind(&self) -> &'static str {
        "ticdc-storage"
    }

    async fn stream(
        &self,
        after: Option<SourcePosition>,
        buffer: Arc<dyn Buffer>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let (options, progress, stop) = (self.options.clone(), Arc::clone(&self.progress), cancel.clone());
        let store = self.store()?;
        self.progress
            .run("ticdc-storage", &cancel, move || {
                read_all(&options, &store, after.as_ref(), &*buffer, &progress, &stop)
            })
            .await
    }

    async fn head(&self) -> Result<SourcePosition> {
        if !self.options.follow {
            return self.progress.end().await;
        }
        let store = self.store()?;
        let asked = tokio::task::spawn_blocking(move || layout::checkpoint(&store)).await;
        let checkpoint = asked.map_err(|e| Error::Internal(format!("ask for the checkpoint: {e}")))??;
        let missing = || Error::Unavailable(format!("{} has no checkpoint yet", self.options.place));
        checkpoint.map(|tso| FeedPlace::at(tso).to_source()).ok_or_else(missing)
    }

    fn copy_complete(&self) -> watch::Receiver<bool> {
        self.progress.complete()
    }

    fn decoder(&self) -> Box<dyn TransactionDecoder> {
        Box::new(FeedDecoder::new(self.options.filter.clone(), UnknownTables::Stop))
    }

    fn status(&self) -> SourceStatus {
        self.progress.status()
    }
}

/// Round after round, until cancelled, or one round if not to follow.
fn read_all(
    options: &StorageOptions,
    store: &Store,
    after: Option<&SourcePosition>,
    buffer: &dyn Buffer,
    progress: &FeedProgress,
    cancel: &CancellationToken,
) -> Result<()> {
    let after = after.map(FeedPlace::parse).transpose()?;
    let assembler = Assembler::new(&options.scratch, options.limits.0, after.as_ref())?;
    let mut run = Run {
        options,
        store,
        ledger: Ledger::open(&options.scratch.join(LEDGER), after.as_ref().map_or(0, |place| place.tso)),
        compacted: false,
        last: None,
        progress,
        buffer,
        assembler,
        databases: after.as_ref().map(|place| place.databases.clone()).unwrap_or_default(),
        fresh: after.is_none(),
        read: HashMap::new(),
        left: HashMap::new(),
        schemas: HashMap::new(),
        waited: 0,
        problem: None,
    };
    if let Some(after) = &after {
        progress.reached(after);
    }
    let mut stall = StallWatch::default();
    while !cancel.is_cancelled() {
        let whole = match run.round(cancel) {
            // everything that was read stays; what was read in part comes again, and is known again
            Err(e @ Error::Unavailable(_)) if options.follow => {
                tracing::warn!(error = %e, "the storage sink cannot be reached, trying again");
                progress.set(SourceState::Reconnecting, e.to_string());
                cancelled_within(cancel, BACKOFF);
                continue;
            }
            round => round?,
        };
        if whole && !options.follow {
            return run.finish();
        }
        let mut reason = stall.look(run.assembler.floor(), run.assembler.held());
        if !run.left.is_empty() {
            let (floor, files, comma) =
                (run.assembler.floor(), run.left.len(), if reason.is_empty() { "" } else { "; " });
            reason.push_str(&format!(
                "{comma}{files} files have more above the checkpoint {floor} and are left until the checkpoint moves"
            ));
        }
        if let Some(problem) = &run.problem {
            reason = problem.clone();
        }
        progress.set(SourceState::Streaming, reason);
        cancelled_within(cancel, if store.is_local() { POLL } else { POLL_REMOTE });
    }
    Ok(())
}

fn cancelled_within(cancel: &CancellationToken, time: Duration) {
    let step = Duration::from_millis(20);
    let mut left = time;
    while !cancel.is_cancelled() && !left.is_zero() {
        std::thread::sleep(step.min(left));
        left = left.saturating_sub(step);
    }
}

/// What became of a data file.
struct DataRead {
    /// It ends inside a record.
    torn: bool,
    /// The newest commit-ts in it.
    newest: u64,
    /// The event from which on nothing above the checkpoint was taken.
    left_from: Option<u64>,
}

/// A file of which the events above a checkpoint were left out, from one of them on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Left {
    stamp: Stamp,
    checkpoint: u64,
    from: u64,
}

struct Run<'a> {
    options: &'a StorageOptions,
    store: &'a Store,
    /// What was read to its end, also by earlier processes.
    ledger: Ledger,
    /// The ledger has only files that are there.
    compacted: bool,
    /// The checkpoint of the last whole round, and when it was.
    last: Option<(u64, Instant)>,
    progress: &'a FeedProgress,
    buffer: &'a dyn Buffer,
    assembler: Assembler,
    databases: Databases,
    /// Nothing was ever read from this feed: all of it must be here.
    fresh: bool,
    /// What was read, by file.
    read: HashMap<PathBuf, Stamp>,
    /// Files that were not taken whole, as too many events waited already.
    left: HashMap<PathBuf, Left>,
    schemas: HashMap<PathBuf, SchemaFile>,
    /// Rounds in a row that were not whole.
    waited: usize,
    /// Why the last round was not whole.
    problem: Option<String>,
}

impl Run<'_> {
    /// One look at the sink. `false`: something was not there yet, look again.
    fn round(&mut self, cancel: &CancellationToken) -> Result<bool> {
        // the order matters: everything up to this checkpoint was written before it
        let Some(checkpoint) = layout::checkpoint(self.store)? else {
            return self.wait(format!("{} has no file metadata with a checkpoint yet", self.options.place));
        };
        let stands = |(ts, at): (u64, Instant)| ts == checkpoint && at.elapsed() < LIST_EVERY;
        if !self.store.is_local() && self.problem.is_none() && self.last.is_some_and(stands) {
            return Ok(true);
        }
        let listed = layout::list(self.store)?;
        if let Some(gap) = listed.gap(self.fresh) {
            return self.wait(format!("{gap}: files of the feed were removed"));
        }
        self.compact(&listed)?;
        if let Some(missing) = self.schemas(&listed)? {
            return self.wait(missing);
        }
        let mut torn = None;
        for data in &listed.data {
            if cancel.is_cancelled() {
                return Ok(false);
            }
            let known = self.ledger.get(&data.path).is_some_and(|entry| entry.stamp == data.stamp);
            let left = self.left.get(&data.path).copied().filter(|left| left.stamp == data.stamp);
            let waits = left.is_some_and(|left| left.checkpoint == checkpoint);
            if known || waits || self.read.get(&data.path) == Some(&data.stamp) {
                continue;
            }
            let store = self.store;
            let name = || store.name_of(&data.path);
            let Some(read) = self.data(data, &listed, checkpoint, left.map_or(0, |left| left.from))? else {
                return self.wait(format!("{} has no schema file yet", name()));
            };
            if let Some(from) = read.left_from {
                self.left.insert(data.path.clone(), Left { stamp: data.stamp, checkpoint, from });
                continue;
            }
            self.left.remove(&data.path);
            if read.torn {
                torn = Some(format!("{} ends inside a record; what is whole was read", name()));
            } else {
                self.ledger.note(&data.path, data.stamp, read.newest);
            }
            self.read.insert(data.path.clone(), data.stamp);
        }
        (self.waited, self.problem) = (0, None);
        if let Some(torn) = torn {
            // by the checkpoint's promise nothing that counts is behind it: the upload goes on, or is made again
            tracing::warn!("{torn}");
        }
        self.release(checkpoint)?;
        self.ledger.flush()?;
        if self.options.cleanup {
            self.clean(&listed)?;
        }
        self.last = Some((checkpoint, Instant::now()));
        Ok(true)
    }

    /// Once: what the ledger has of files that are gone.
    fn compact(&mut self, listed: &Layout) -> Result<()> {
        if self.compacted {
            return Ok(());
        }
        self.compacted = true;
        let there: std::collections::HashSet<&Path> = listed.data.iter().map(|data| data.path.as_path()).collect();
        self.ledger.keep_only(&|path| there.contains(path))
    }

    /// Reads new schema files; says what is not whole.
    fn schemas(&mut self, listed: &Layout) -> Result<Option<String>> {
        for schema in &listed.schemas {
            if self.read.get(&schema.path) == Some(&schema.stamp) {
                continue;
            }
            let Some(file) = schema_file::read(self.store, schema)? else {
                return Ok(Some(format!("{} is not whole", self.store.name_of(&schema.path))));
            };
            if let Some(ddl) = &file.ddl {
                self.assembler.push(ddl)?;
            }
            self.schemas.insert(schema.path.clone(), file);
            self.read.insert(schema.path.clone(), schema.stamp);
        }
        Ok(None)
    }

    /// Reads a data file; events before `from` were taken before. `None`: its schema is not there.
    fn data(&mut self, data: &DataPath, listed: &Layout, checkpoint: u64, from: u64) -> Result<Option<DataRead>> {
        let columns;
        let cutter = match data.format {
            DataFormat::CanalJson => Cutter::CanalJson,
            DataFormat::Csv => {
                let schema = listed.schema_of(&data.path).and_then(|s| self.schemas.get(&s.path));
                let Some(schema) = schema else { return Ok(None) };
                columns = schema.columns.clone();
                Cutter::Csv { columns: &columns, options: &self.options.csv }
            }
        };
        let (assembler, limit) = (&mut self.assembler, self.options.limits.1);
        let (mut newest, mut number, mut left_from) = (0, 0, None);
        let read = data_file::read(self.store, data, &cutter, &self.options.filter, &mut |event| {
            if left_from.is_none() && number % LOOK_AT_LIMIT == 0 && assembler.held().disk_bytes > limit {
                left_from = Some(number.max(from));
            }
            number += 1;
            if let Event::Image { commit_ts, .. } | Event::Ddl { commit_ts, .. } = event {
                newest = newest.max(*commit_ts);
                let is_left = left_from.is_some() && *commit_ts > checkpoint;
                if number <= from || is_left {
                    return Ok(());
                }
            }
            assembler.push(event)
        })?;
        self.progress.bytes_read.fetch_add(read.bytes, Ordering::Relaxed);
        Ok(Some(DataRead { torn: read.torn, newest, left_from: left_from.filter(|_| newest > checkpoint) }))
    }

    /// Removes files whose rows are all in the Data Buffer, each sequence from its first number on, but never its last.
    fn clean(&mut self, listed: &Layout) -> Result<()> {
        let floor = self.assembler.floor();
        let mut stopped = std::collections::HashSet::new();
        let mut data: Vec<&DataPath> = listed.data.iter().collect();
        data.sort_by_key(|data| data.number);
        for data in data {
            let sequence = (data.path.parent().map(Path::to_owned), data.dispatcher.clone());
            let entry = self.ledger.get(&data.path);
            let done = entry.is_some_and(|entry| entry.stamp == data.stamp && entry.newest <= floor);
            if stopped.contains(&sequence) || !done || listed.is_last(data) {
                stopped.insert(sequence);
                continue;
            }
            self.store.remove(&data.path)?;
            tracing::debug!(file = self.store.name_of(&data.path), "read and removed");
            self.ledger.forget(&data.path);
            self.read.remove(&data.path);
        }
        Ok(())
    }

    fn release(&mut self, checkpoint: u64) -> Result<()> {
        let mut appender = FeedAppender::new(self.buffer, &self.options.zone, false)?.knowing(self.databases.clone());
        self.assembler.release(checkpoint, &mut appender)?;
        appender.close()?;
        self.databases = appender.databases().clone();
        let place = FeedPlace { databases: self.databases.clone(), ..self.assembler.place() };
        self.buffer.note_read(place.to_source());
        self.buffer.sync()?;
        self.progress.reached(&place);
        self.fresh = false;
        Ok(())
    }

    /// What is not there yet may come; what stays away is an error.
    fn wait(&mut self, what: String) -> Result<bool> {
        self.waited += 1;
        let no_feed_yet = self.options.follow && self.fresh && self.store.get(Path::new("metadata"))?.is_none();
        if self.waited > PATIENCE && !no_feed_yet {
            return Err(Error::Invalid(what));
        }
        self.problem = Some(what);
        Ok(false)
    }

    fn finish(&self) -> Result<()> {
        let held = self.assembler.held();
        let mut reason = String::new();
        if held.events > 0 {
            reason = format!(
                "{} events lie above the checkpoint {} and are left out (--follow waits for them)",
                held.events,
                self.assembler.floor()
            );
            tracing::warn!(reason);
        }
        self.progress.set(SourceState::Finished, reason);
        Ok(())
    }
}
