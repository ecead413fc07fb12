//! The copy of one table, from where it was left.
//!
//! A fresh copy appends CopyBegin first and opens its snapshots behind it ([`super::reader`]). A chunk is appended only once the stream has read up to the chunk's own
//! position, and the end of the copy only once it has read up to the upstream's head: whatever the rows already contain
//! is in the buffer before them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use rand::Rng;
use tidelake_core::control::{self, ControlRecord};
use tidelake_core::ports::{Buffer, StoreEngine};
use tidelake_core::{CommitSeq, Error, Result, SourcePosition, TableDef, TableName, TableState};
use tokio::sync::Mutex;

use super::super::Shared;
use super::super::history::text;
use super::super::server::UpstreamServer;
use super::super::tables::{self, quoted_name};
use super::cursor::{Cursor, Range};
use super::snapshot::SnapshotKind;
use super::wait;
use crate::ddl::engines;

/// How often a copy of a table without a key looks whether it fills the buffer.
const LOOK_AT_BUFFER: Duration = Duration::from_millis(500);

/// How a copy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobEnd {
    /// All rows are in the replica, or the table is stopped because they are none of its own.
    Done,
    /// A schema change dropped it: it must begin again.
    Dropped,
}

/// Copies one table. Ends with an error whenever something breaks; run again, it goes on where it was.
pub(super) struct Job {
    pub shared: Arc<Shared>,
    pub engine: Arc<dyn StoreEngine>,
    pub buffer: Arc<dyn Buffer>,
    pub name: TableName,
    /// The user asked for a new copy: an unfinished one will not do.
    pub anew: bool,
}

/// A copy that has begun, as its readers share it.
pub(super) struct Copying {
    pub copy_id: u64,
    pub def: Arc<TableDef>,
    /// What the stream did up to here is not applied to the copy: every snapshot must have it.
    pub from: SourcePosition,
    pub cursor: Cursor,
    /// Ranges that an earlier run left open and nobody reads yet.
    pub left: Vec<Range>,
    /// The last range was begun.
    pub whole: bool,
    /// The seq of its CopyBegin: once it is published, the catalog shows whether the copy is still wanted.
    begun: CommitSeq,
    /// The seq of its newest record.
    pub newest: CommitSeq,
    /// What the writer still needs to apply the chunks with these seqs.
    pub holds: VecDeque<(CommitSeq, Hold)>,
}

/// Keeps the buffer's transactions from a snapshot on: applying a chunk looks at what the stream did since.
pub(super) type Hold = Arc<dyn Send + Sync>;

impl Copying {
    fn new(copy_id: u64, def: Arc<TableDef>, from: SourcePosition, cursor: Cursor, begun: CommitSeq) -> Copying {
        let (left, holds) = (cursor.open.clone(), VecDeque::new());
        let whole = left.iter().any(|range| range.upto.is_none());
        Copying { copy_id, def, from, cursor, left, whole, begun, newest: begun, holds }
    }

    /// Lets go of what the chunks up to `published` needed.
    fn release_up_to(&mut self, published: CommitSeq) {
        while self.holds.front().is_some_and(|(chunk, _)| *chunk <= published) {
            self.holds.pop_front();
        }
    }
}

impl Job {
    /// Copies the table to its end.
    ///
    /// # Errors
    /// Whatever the upstream or the buffer answers.
    pub async fn run(self: Arc<Self>) -> Result<JobEnd> {
        let connector = &self.shared.connector;
        let mut conn = connector.connect().await.map_err(passing)?;
        let server = UpstreamServer::detect(connector, &mut conn).await.map_err(passing)?;
        let facts = tables::facts(connector, &mut conn, &self.name).await.map_err(passing)?;
        let facts = facts.ok_or_else(|| Error::NotFound(format!("upstream table {}", self.name)))?;
        // Every snapshot is opened behind CopyBegin: what the stream had before it is in the copied rows, what comes
        // after it is applied to the copy. A snapshot opened earlier would miss the changes in between.
        let unfinished = if self.anew { None } else { self.unfinished()? };
        let copying = match unfinished {
            Some(copying) => copying,
            None => self.begin(&mut conn, &server).await?,
        };
        let (begun, def, copied) = (copying.begun, copying.def.clone(), copying.cursor.rows);
        if self.anew {
            // from here on the catalog remembers it
            wait::published_up_to(&*self.engine, begun).await?;
            self.shared.wishes.begun(&self.name);
        }
        if let Some(reason) = engines::rows_elsewhere(&def.engine) {
            // stopped with its definition: changes through a MERGE table are those of other tables
            let stopped = self.append(stop_record(&self.name, &reason), None).await?;
            wait::published_up_to(&*self.engine, stopped).await?;
            return Ok(JobEnd::Done);
        }
        self.note_begin(facts.rows, copied);
        let kind = if def.key.is_empty() || !self.shared.knows_gtids() {
            SnapshotKind::of(&server, &facts)
        } else {
            SnapshotKind::of_keyed(&server, &facts)
        };
        let copying = Arc::new(Mutex::new(copying));
        let read = tokio::select! {
            read = self.read_all(conn, &server, kind, facts.rows, &copying) => read,
            reason = self.outgrows_buffer(def.key.is_empty(), begun) => {
                // what is kept for it goes first: an append of rows may wait for room
                copying.lock().await.holds.clear();
                let stopped = self.append(stop_record(&self.name, &reason), None).await?;
                wait::published_up_to(&*self.engine, stopped).await?;
                return Ok(JobEnd::Done);
            }
        };
        if read.as_ref().is_err_and(is_lasting) && !self.is_wanted_now(&copying).await? {
            return Ok(JobEnd::Dropped); // it was altered while it was read
        }
        let Some(read_at) = read? else { return Ok(JobEnd::Dropped) };
        let has_key = !def.key.is_empty();
        if has_key {
            // the buffer may be full of what the chunks needed, and the stream would wait for ever
            let newest = copying.lock().await.newest;
            wait::published_up_to(&*self.engine, newest).await?;
            copying.lock().await.holds.clear();
        }
        let head = self.head().await?;
        self.shared.read_up_to(&*self.buffer, &head).await?;
        let copy_id = copying.lock().await.copy_id;
        let read_at = (!has_key).then_some(read_at);
        let done = self.append(ControlRecord::CopyDone { copy_id, read_at }, None).await?;
        wait::published_up_to(&*self.engine, done).await?;
        let catalog = self.engine.catalog(self.engine.published_seq())?;
        if catalog.visible(&self.name).is_none_or(|entry| entry.created != begun) {
            return Ok(JobEnd::Dropped); // by something that came between the last chunk and the end
        }
        self.note_end();
        Ok(JobEnd::Done)
    }

    /// A copy with a key that an earlier run left; one without a key cannot be continued.
    fn unfinished(&self) -> Result<Option<Copying>> {
        let published = self.engine.published_seq();
        let catalog = self.engine.catalog(published)?;
        let Some(entry) = catalog.copying(&self.name) else { return Ok(None) };
        let TableState::Copying { copy_id, from, cursor } = &entry.state else { return Ok(None) };
        if entry.def.key.is_empty() {
            return Ok(None);
        }
        let cursor = Cursor::parse(cursor)?;
        tracing::info!(table = %self.name, rows = cursor.rows, "the initial copy goes on");
        Ok(Some(Copying::new(*copy_id, entry.def.clone(), from.clone(), cursor, entry.created)))
    }

    /// Keeps everything that is not yet in the buffer's durable part: taken before a snapshot.
    pub(super) fn hold(&self) -> Hold {
        let head = *self.buffer.head().borrow();
        self.buffer.hold(head)
    }

    /// Appends CopyBegin with the schema that holds there. A change of the schema before it is not in the catalog's
    /// stream of this table, so the schema is read again behind it until both readings agree.
    async fn begin(&self, conn: &mut Conn, server: &UpstreamServer) -> Result<Copying> {
        let mut ddl = self.read_schema(conn).await?;
        loop {
            let from = self.shared.head(conn, server).await.map_err(passing)?;
            self.shared.read_up_to(&*self.buffer, &from).await?;
            let def = Arc::new((self.shared.ddl.create_table)(&ddl, &self.name.database, server.flavor)?);
            let copy_id = rand::rng().random::<u64>() >> 11; // whole in every JSON reader
            let record = ControlRecord::CopyBegin { copy_id, def: Box::new((*def).clone()), from: from.clone() };
            let begun = self.append(record, None).await?;
            let again = self.read_schema(conn).await?;
            if without_counter(&again) == without_counter(&ddl) {
                tracing::info!(table = %self.name, %from, key = def.key.len(), "the initial copy begins");
                return Ok(Copying::new(copy_id, def, from, Cursor::default(), begun));
            }
            ddl = again;
        }
    }

    async fn read_schema(&self, conn: &mut Conn) -> Result<String> {
        let sql = format!("SHOW CREATE TABLE {}", quoted_name(&self.name));
        let doing = format!("read the schema of {}", self.name);
        let row: Option<Row> =
            conn.query_first(sql).await.map_err(|e| self.shared.connector.table_error(&doing, &e))?;
        let ddl = row.as_ref().and_then(|r| text(r, 1));
        ddl.ok_or_else(|| Error::NotFound(format!("schema of upstream table {}", self.name)))
    }

    /// The upstream's newest position, asked on a connection of its own.
    async fn head(&self) -> Result<SourcePosition> {
        let connector = &self.shared.connector;
        let mut conn = connector.connect().await.map_err(passing)?;
        let server = UpstreamServer::detect(connector, &mut conn).await.map_err(passing)?;
        self.shared.head(&mut conn, &server).await.map_err(passing)
    }

    /// Returns if the buffer is nearly full of what is kept for the copy of a table without a key, which would keep everybody
    /// waiting for ever: until its end, nothing behind its beginning can be let go of.
    async fn outgrows_buffer(&self, keyless: bool, begun: CommitSeq) -> String {
        if !keyless {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK_AT_BUFFER).await;
            let (used, limit) = self.buffer.bytes();
            let rest_is_gone = self.engine.durable().borrow().seq >= begun;
            if rest_is_gone && used / 4 * 5 >= limit {
                return format!(
                    "it has no key, so everything since the beginning of its copy must be kept until its end, and that \
                     does not fit into the Data Buffer ({limit} bytes): start with a larger --buffer-limit and copy it again (tidelake resync \
                     {name}), give it a key, or leave it out with --tables",
                    name = self.name
                );
            }
        }
    }

    /// False if the catalog no longer has this copy.
    pub(super) fn is_wanted(&self, copying: &mut Copying) -> Result<bool> {
        let published = self.engine.published_seq();
        if published < copying.begun {
            return Ok(true);
        }
        copying.release_up_to(published);
        let catalog = self.engine.catalog(published)?;
        let state = catalog.copying(&self.name).map(|e| &e.state);
        Ok(matches!(state, Some(TableState::Copying { copy_id, .. }) if *copy_id == copying.copy_id))
    }

    /// The same once the catalog shows what the upstream did up to now.
    async fn is_wanted_now(&self, copying: &Mutex<Copying>) -> Result<bool> {
        let mut copying = copying.lock().await;
        // the stream must not wait for room that only this copy keeps
        copying.holds.clear();
        let head = self.head().await?;
        wait::covered(&self.shared, &*self.buffer, &*self.engine, &head).await?;
        self.is_wanted(&mut copying)
    }

    /// Appends a record and makes it durable.
    pub(super) async fn append(&self, record: ControlRecord, rows: Option<RecordBatch>) -> Result<CommitSeq> {
        append(self.buffer.clone(), record, rows).await
    }

    fn note_begin(&self, estimated: u64, copied: u64) {
        self.shared.note_copy(&self.name, |progress| {
            progress.estimated_rows = estimated.max(copied);
            progress.rows = copied;
            progress.done = false;
        });
    }

    pub(super) fn note_rows(&self, rows: u64, bytes: u64) {
        self.shared.note_copy(&self.name, |progress| {
            progress.rows += rows;
            progress.bytes += bytes;
            progress.estimated_rows = progress.estimated_rows.max(progress.rows);
        });
    }

    fn note_end(&self) {
        self.shared.note_copy(&self.name, |progress| {
            progress.estimated_rows = progress.rows;
            progress.done = true;
        });
        tracing::info!(table = %self.name, "the initial copy is done");
    }
}

/// An error about the connection or the server, not about the table: it passes once the user has mended that.
pub(super) fn passing(error: Error) -> Error {
    match error {
        Error::Invalid(reason) => Error::Unavailable(reason),
        other => other,
    }
}

/// Errors that are about what the table is, or about what is in it.
pub(super) fn is_lasting(error: &Error) -> bool {
    matches!(error, Error::Invalid(_) | Error::Corrupt { .. } | Error::Unsupported { .. })
}

/// The record that stops a table which cannot be copied.
pub(crate) fn stop_record(name: &TableName, reason: &str) -> ControlRecord {
    ControlRecord::StopTable { name: name.clone(), reason: format!("cannot be copied: {reason}") }
}

/// Appends a control record and makes it durable.
///
/// # Errors
/// The buffer's own.
pub(crate) async fn append(
    buffer: Arc<dyn Buffer>,
    record: ControlRecord,
    rows: Option<RecordBatch>,
) -> Result<CommitSeq> {
    let work = move || {
        let bytes = control::encode(&record, rows.as_ref())?;
        let seq = buffer.append_control(Bytes::from(bytes))?;
        buffer.sync()?;
        Ok(seq)
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::Internal(format!("append a control record: {e}")))?
}

/// The cells of a row of the text protocol; `None` is NULL.
pub(crate) fn cells(row: &Row) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
    (0..row.len()).map(|i| cell(row, i))
}

pub(crate) fn cell(row: &Row, index: usize) -> Option<&[u8]> {
    match row.as_ref(index) {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

/// The text without the table's AUTO_INCREMENT counter, which moves with every insert.
fn without_counter(ddl: &str) -> String {
    match ddl.rsplit_once(" AUTO_INCREMENT=") {
        Some((before, after)) => format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => ddl.to_owned(),
    }
}
