//! Chunks of a snapshot into the Data Buffer, as control records; goes on where an earlier process was killed.
//!
//! A table stays copying when all its rows are read. Once every table is whole they become live one right behind the other, and
//! the last record, an empty transaction, says that the feed may begin.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use serde::{Deserialize, Serialize};
use tidelake_core::control::ControlRecord;
use tidelake_core::ports::{Buffer, StoreEngine};
use tidelake_core::{Catalog, CommitSeq, Error, Result, SourcePosition, TableDef, TableName, TableState};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::source::Shared;
use super::{ReadError, Snapshot, SnapshotTable};
use crate::service::copy::job::{append, stop_record};
use crate::service::copy::wait;
use crate::ticdc::append::FeedAppender;
use crate::ticdc::databases::Databases;
use crate::ticdc::place::FeedPlace;

/// Pause after an error that passes, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// How far the copy of one table is; its JSON is the cursor of the control records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Reached {
    /// Where to read on; opaque outside the snapshot.
    at: String,
    /// Rows so far.
    rows: u64,
    /// All rows were read.
    #[serde(default)]
    whole: bool,
}

impl Reached {
    fn parse(text: &str) -> Result<Reached> {
        if text.is_empty() {
            return Ok(Reached::default());
        }
        serde_json::from_str(text).map_err(|e| Error::corrupt("cursor of the copy", e.to_string()))
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers have a JSON form")
    }
}

/// One table's copy.
struct Task {
    name: TableName,
    def: Arc<TableDef>,
    estimated_rows: u64,
    /// The copy that an earlier process began.
    begun: Option<(u64, Reached)>,
}

/// A table that is read: its copy, unless it was stopped.
struct Read {
    copy_id: u64,
    keyed: bool,
}

/// See the module.
pub(super) struct Copier {
    pub snapshot: Arc<dyn Snapshot>,
    pub shared: Arc<Shared>,
    pub engine: Arc<dyn StoreEngine>,
    pub buffer: Arc<dyn Buffer>,
    pub tso: u64,
    pub threads: usize,
    /// Only these, whatever is there of them, while the feed stands at the TSO; an error that passes ends it. `None`: all that are
    /// not there, before the feed begins.
    pub again: Option<BTreeSet<TableName>>,
}

impl Copier {
    /// Copies everything.
    ///
    /// # Errors
    /// If the copy cannot be made, or buffer or engine fail. What passes is tried again.
    pub(super) async fn run(self: Arc<Self>) -> Result<()> {
        // what an earlier process appended must be seen first
        let head = *self.buffer.head().borrow();
        wait::published_up_to(&*self.engine, head).await?;
        if self.again.is_none() {
            // its records carry it: a writer that has lost its buffer goes on with the copy as of the same TSO
            self.buffer.note_read(FeedPlace::copying(self.tso).to_source());
        }
        let listed = self.wanted(self.tables().await?).await?;
        let catalog = self.engine.catalog(self.engine.published_seq())?;
        let (mut tasks, mut read) = (VecDeque::new(), Vec::new());
        for table in listed {
            match self.task(table, &catalog).await? {
                Some(task) if task.begun.as_ref().is_some_and(|(_, reached)| reached.whole) => {
                    let copy_id = task.begun.map_or(0, |(copy_id, _)| copy_id);
                    read.push(Read { copy_id, keyed: !task.def.key.is_empty() });
                }
                Some(task) => tasks.push_back(task),
                None => {}
            }
        }
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.threads.max(1)
                && let Some(task) = tasks.pop_front()
            {
                running.spawn(Arc::clone(&self).copy(task));
            }
            let Some(ended) = running.join_next().await else { break };
            let ended = ended.map_err(|e| Error::Internal(format!("a copy of a table ended: {e}")))?;
            read.extend(ended?);
        }
        self.finish(read).await
    }

    /// Those to copy. One that is to be copied again and is not there any more stays stopped.
    async fn wanted(&self, mut listed: Vec<SnapshotTable>) -> Result<Vec<SnapshotTable>> {
        let Some(again) = &self.again else { return Ok(listed) };
        listed.retain(|table| again.contains(&table.name));
        for name in again.iter().filter(|name| listed.iter().all(|table| table.name != **name)) {
            let reason = format!("upstream has no such table at TSO {}, or it may not be read", self.tso);
            append(self.buffer.clone(), stop_record(name, &reason), None).await?;
        }
        Ok(listed)
    }

    /// All tables become live, and the feed may begin.
    async fn finish(&self, read: Vec<Read>) -> Result<()> {
        for Read { copy_id, keyed } in read {
            let read_at = (!keyed).then(|| self.position());
            append(self.buffer.clone(), ControlRecord::CopyDone { copy_id, read_at }, None).await?;
        }
        if self.again.is_some() {
            let head = *self.buffer.head().borrow();
            return wait::published_up_to(&*self.engine, head).await;
        }
        let (buffer, tso, databases) = (self.buffer.clone(), self.tso, self.databases().await?);
        let mark = move || -> Result<CommitSeq> {
            let seq = FeedAppender::new(&*buffer, "UTC", true)?.knowing(databases.clone()).copied(tso)?;
            buffer.note_read(FeedPlace { databases, ..FeedPlace::copied(tso) }.to_source());
            buffer.sync()?;
            Ok(seq)
        };
        let ended = tokio::task::spawn_blocking(mark).await;
        let seq = ended.map_err(|e| Error::Internal(format!("end the copy: {e}")))??;
        wait::published_up_to(&*self.engine, seq).await?;
        tracing::info!(tso = self.tso, "the copy is done, the feed is read from here on");
        Ok(())
    }

    /// The position that the copied rows are at: behind everything that was read, so that nothing is looked for which the stream
    /// had done to them since.
    fn position(&self) -> SourcePosition {
        let place = match self.again {
            None => FeedPlace::copying(self.tso),
            Some(_) => FeedPlace::copied(self.tso),
        };
        let place = place.to_source();
        SourcePosition { minor: place.minor + 1, ..place }
    }

    async fn tables(&self) -> Result<Vec<SnapshotTable>> {
        let mut pause = BACKOFF.0;
        loop {
            match self.snapshot.tables(self.tso).await {
                Ok(tables) => return Ok(tables),
                Err(ReadError::Fatal(error)) => return Err(error),
                Err(ReadError::Table(reason)) => return Err(Error::Invalid(reason)),
                Err(ReadError::Passing(error)) if self.again.is_some() => return Err(error),
                Err(ReadError::Passing(error)) => self.passing(None, &error, &mut pause).await,
            }
        }
    }

    async fn databases(&self) -> Result<Databases> {
        let mut pause = BACKOFF.0;
        loop {
            match self.snapshot.databases(self.tso).await {
                Ok(databases) => return Ok(databases),
                Err(ReadError::Fatal(error)) => return Err(error),
                Err(ReadError::Table(reason)) => return Err(Error::Invalid(reason)),
                Err(ReadError::Passing(error)) => self.passing(None, &error, &mut pause).await,
            }
        }
    }

    /// What is left to do for a table; nothing for one that is live or stopped.
    async fn task(&self, table: SnapshotTable, catalog: &Catalog) -> Result<Option<Task>> {
        let SnapshotTable { name, estimated_rows, def } = table;
        if self.again.is_none() && catalog.visible(&name).is_some() {
            self.shared.note_copy(&name, |progress| progress.done = true);
            return Ok(None);
        }
        let def = match def {
            Ok(def) => def,
            Err(reason) => {
                append(self.buffer.clone(), stop_record(&name, &reason), None).await?;
                return Ok(None);
            }
        };
        let mut begun = None;
        if self.again.is_none()
            && let Some(entry) = catalog.copying(&name)
            && let TableState::Copying { copy_id, cursor, .. } = &entry.state
        {
            let reached = Reached::parse(cursor)?;
            if reached.whole || self.snapshot.resumes(&def) {
                tracing::info!(table = %name, rows = reached.rows, "the copy goes on");
                begun = Some((*copy_id, reached));
            }
        }
        let rows = begun.as_ref().map_or(0, |(_, reached)| reached.rows);
        self.shared.note_copy(&name, |progress| {
            (progress.rows, progress.estimated_rows) = (rows, estimated_rows.max(rows));
            progress.done = false;
        });
        Ok(Some(Task { name, def: Arc::new(def), estimated_rows, begun }))
    }

    /// Reads one table to its end, whatever passes meanwhile. `None`: it was stopped.
    async fn copy(self: Arc<Self>, task: Task) -> Result<Option<Read>> {
        let Task { name, def, estimated_rows, mut begun } = task;
        let mut pause = BACKOFF.0;
        loop {
            let (copy_id, mut reached) = match begun.take() {
                Some(begun) => begun,
                None => (self.begin(&def).await?, Reached::default()),
            };
            self.shared.note_copy(&name, |progress| progress.rows = reached.rows);
            let before = reached.rows;
            match self.read(copy_id, &def, &mut reached, estimated_rows).await? {
                Ok(()) => {
                    if self.again.is_none() {
                        self.shared.note_problem(None);
                    }
                    self.shared.note_copy(&name, |progress| {
                        (progress.done, progress.estimated_rows) = (true, progress.rows);
                    });
                    return Ok(Some(Read { copy_id, keyed: !def.key.is_empty() }));
                }
                Err(ReadError::Fatal(error)) => return Err(error),
                Err(ReadError::Table(reason)) => {
                    append(self.buffer.clone(), stop_record(&name, &reason), None).await?;
                    return Ok(None);
                }
                Err(ReadError::Passing(error)) if self.again.is_some() => return Err(error),
                Err(ReadError::Passing(error)) => {
                    if reached.rows > before {
                        pause = BACKOFF.0;
                    }
                    self.passing(Some(&name), &error, &mut pause).await;
                    begun = self.snapshot.resumes(&def).then_some((copy_id, reached));
                }
            }
        }
    }

    /// Begins a copy of the table anew.
    async fn begin(&self, def: &Arc<TableDef>) -> Result<u64> {
        let copy_id = rand::rng().random::<u64>() >> 11; // whole in every JSON reader
        let record = ControlRecord::CopyBegin { copy_id, def: Box::new((**def).clone()), from: self.position() };
        append(self.buffer.clone(), record, None).await?;
        Ok(copy_id)
    }

    /// Appends chunks until the table ends (`Ok(Ok)`) or reading does.
    async fn read(
        &self,
        copy_id: u64,
        def: &Arc<TableDef>,
        reached: &mut Reached,
        estimated_rows: u64,
    ) -> Result<Result<(), ReadError>> {
        let (out, mut chunks) = mpsc::channel(1);
        let (snapshot, tso, table, at) = (self.snapshot.clone(), self.tso, def.clone(), reached.at.clone());
        let mut reading = JoinSet::new();
        reading.spawn(async move { snapshot.read(tso, &table, &at, out).await });
        while let Some(chunk) = chunks.recv().await {
            let rows = chunk.rows.num_rows() as u64;
            if rows == 0 {
                continue;
            }
            (reached.at, reached.rows) = (chunk.at, reached.rows + rows);
            self.rows(copy_id, reached, Some(chunk.rows)).await?;
            self.shared.note_copy(&def.name, |progress| {
                progress.rows += rows;
                progress.bytes += chunk.bytes;
                progress.estimated_rows = estimated_rows.max(progress.rows);
            });
        }
        let ended = reading.join_next().await.unwrap_or_else(|| Ok(Ok(())));
        let ended = ended.map_err(|e| Error::Internal(format!("reading a table for the copy ended: {e}")))?;
        if ended.is_ok() {
            reached.whole = true;
            self.rows(copy_id, reached, None).await?;
        }
        Ok(ended)
    }

    async fn rows(&self, copy_id: u64, reached: &Reached, rows: Option<arrow::array::RecordBatch>) -> Result<()> {
        let record = ControlRecord::CopyRows { copy_id, read_at: self.position(), cursor: reached.text() };
        append(self.buffer.clone(), record, rows).await.map(drop)
    }

    async fn passing(&self, name: Option<&TableName>, error: &Error, pause: &mut Duration) {
        let what = name.map_or_else(|| "the tables".to_owned(), ToString::to_string);
        tracing::warn!(table = what, %error, "the copy is interrupted, trying again");
        self.shared.note_problem(Some(format!("copy of {what}: {error}")));
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(BACKOFF.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_through_its_text() {
        let reached = Reached { at: "{\"x\":1}".into(), rows: 7, whole: true };
        assert_eq!(Reached::parse(&reached.text()).unwrap(), reached);
        assert_eq!(Reached::parse("").unwrap(), Reached::default());
        assert!(Reached::parse("{").is_err());
    }
}
