//! The copy of one table, from where it was left.
//!
//! A fresh copy appends CopyBegin first and opens its snapshots behind it. A chunk is appended only once the stream has read up to the chunk's own
//! position, and the end of the copy only once it has read up to the upstream's head: whatever the rows already contain
//! is in the buffer before them.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use rand::Rng;
use tidelake_core::control::{self, ControlRecord};
use tidelake_core::ports::{Buffer, StoreEngine};
use tidelake_core::{CommitSeq, Error, Result, SourcePosition, TableDef, TableName, TableState};

use super::super::Shared;
use super::super::history::{self, text};
use super::super::server::UpstreamServer;
use super::super::tables::{self, quoted_name};
use super::columns::RowBuilder;
use super::cursor::Cursor;
use super::select::chunk_sql;
use super::snapshot::SnapshotKind;
use super::wait;

/// How a copy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobEnd {
    /// All rows are in the replica.
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

/// A copy that has begun.
struct Copying {
    copy_id: u64,
    def: Arc<TableDef>,
    cursor: Cursor,
    /// The seq of its CopyBegin: once it is published, the catalog shows whether the copy is still wanted.
    begun: CommitSeq,
    /// The seq of its newest record.
    newest: CommitSeq,
    /// What the writer still needs to apply the chunks with these seqs.
    holds: VecDeque<(CommitSeq, Hold)>,
}

/// Keeps the buffer's transactions from a snapshot on: applying a chunk looks at what the stream did since.
type Hold = Arc<dyn Send + Sync>;

impl Copying {
    fn new(copy_id: u64, def: Arc<TableDef>, cursor: Cursor, begun: CommitSeq) -> Copying {
        Copying { copy_id, def, cursor, begun, newest: begun, holds: VecDeque::new() }
    }

    fn has_key(&self) -> bool {
        !self.def.key.is_empty()
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
    pub async fn run(&self) -> Result<JobEnd> {
        let connector = &self.shared.connector;
        let mut conn = connector.connect().await?;
        let server = UpstreamServer::detect(connector, &mut conn).await?;
        let facts = tables::facts(connector, &mut conn, &self.name).await?;
        let facts = facts.ok_or_else(|| Error::NotFound(format!("upstream table {}", self.name)))?;
        let kind = SnapshotKind::of(&server, &facts);
        // Every snapshot is opened behind CopyBegin: what the stream had before it is in the copied rows, what comes
        // after it is applied to the copy. A snapshot opened earlier would miss the changes in between.
        let unfinished = if self.anew { None } else { self.unfinished()? };
        let mut copying = match unfinished {
            Some(copying) => copying,
            None => self.begin(&mut conn, &server).await?,
        };
        if self.anew {
            // from here on the catalog remembers it
            wait::published_up_to(&*self.engine, copying.begun).await?;
            self.shared.wishes.begun(&self.name);
        }
        self.note_begin(facts.rows, copying.cursor.rows);
        let mut read_at;
        loop {
            if !self.is_wanted(&mut copying)? {
                return Ok(JobEnd::Dropped);
            }
            let hold = self.hold();
            read_at = kind.open(connector, &mut conn, &server, &self.name).await?;
            let limit = (kind.is_cheap() && copying.has_key()).then_some(self.shared.options.copy_chunk_rows);
            let rows = self.read_chunk(&mut conn, &mut copying, &read_at, limit).await?;
            copying.holds.push_back((copying.newest, hold));
            kind.close(connector, &mut conn).await?;
            if limit.is_none_or(|limit| rows < limit) {
                break;
            }
        }
        let head = history::read_head(connector, &mut conn, &server).await?.to_source(0);
        wait::read_up_to(&*self.buffer, &head).await?;
        let read_at = (!copying.has_key()).then_some(read_at);
        let done = self.append(ControlRecord::CopyDone { copy_id: copying.copy_id, read_at }, None).await?;
        wait::published_up_to(&*self.engine, done).await?;
        let catalog = self.engine.catalog(self.engine.published_seq())?;
        if catalog.visible(&self.name).is_none_or(|entry| entry.created != copying.begun) {
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
        let TableState::Copying { copy_id, cursor, .. } = &entry.state else { return Ok(None) };
        if entry.def.key.is_empty() {
            return Ok(None);
        }
        let cursor = Cursor::parse(cursor)?;
        tracing::info!(table = %self.name, rows = cursor.rows, "the initial copy goes on");
        Ok(Some(Copying::new(*copy_id, entry.def.clone(), cursor, entry.created)))
    }

    /// Keeps everything that is not yet in the buffer's durable part: taken before a snapshot.
    fn hold(&self) -> Hold {
        let head = *self.buffer.head().borrow();
        self.buffer.hold(head)
    }

    /// Appends CopyBegin with the schema that holds there. A change of the schema before it is not in the catalog's
    /// stream of this table, so the schema is read again behind it until both readings agree.
    async fn begin(&self, conn: &mut Conn, server: &UpstreamServer) -> Result<Copying> {
        let mut ddl = self.read_schema(conn).await?;
        loop {
            let from = history::read_head(&self.shared.connector, conn, server).await?.to_source(0);
            wait::read_up_to(&*self.buffer, &from).await?;
            let def = Arc::new((self.shared.ddl.create_table)(&ddl, &self.name.database, server.flavor)?);
            let copy_id = rand::rng().random::<u64>() >> 11; // whole in every JSON reader
            let record = ControlRecord::CopyBegin { copy_id, def: Box::new((*def).clone()), from: from.clone() };
            let begun = self.append(record, None).await?;
            let again = self.read_schema(conn).await?;
            if without_counter(&again) == without_counter(&ddl) {
                tracing::info!(table = %self.name, %from, key = def.key.len(), "the initial copy begins");
                return Ok(Copying::new(copy_id, def, Cursor::default(), begun));
            }
            ddl = again;
        }
    }

    async fn read_schema(&self, conn: &mut Conn) -> Result<String> {
        let sql = format!("SHOW CREATE TABLE {}", quoted_name(&self.name));
        let doing = format!("read the schema of {}", self.name);
        let row: Option<Row> = conn.query_first(sql).await.map_err(|e| self.shared.connector.error(&doing, &e))?;
        let ddl = row.as_ref().and_then(|r| text(r, 1));
        ddl.ok_or_else(|| Error::NotFound(format!("schema of upstream table {}", self.name)))
    }

    /// False if the catalog no longer has this copy.
    fn is_wanted(&self, copying: &mut Copying) -> Result<bool> {
        let published = self.engine.published_seq();
        if published < copying.begun {
            return Ok(true);
        }
        copying.release_up_to(published);
        let catalog = self.engine.catalog(published)?;
        let state = catalog.copying(&self.name).map(|e| &e.state);
        Ok(matches!(state, Some(TableState::Copying { copy_id, .. }) if *copy_id == copying.copy_id))
    }

    /// Reads rows behind the cursor and appends them; returns how many.
    async fn read_chunk(
        &self,
        conn: &mut Conn,
        copying: &mut Copying,
        read_at: &SourcePosition,
        limit: Option<usize>,
    ) -> Result<usize> {
        let options = &self.shared.options;
        let failed = |e: mysql_async::Error| self.shared.connector.error(&format!("copy {}", self.name), &e);
        let sql = chunk_sql(&copying.def, &copying.cursor.key, limit)?;
        let key = copying.def.key_indexes();
        let mut result = conn.query_iter(sql).await.map_err(failed)?;
        let (mut builder, mut rows) = (RowBuilder::new(&copying.def)?, 0);
        let mut last: Option<Row> = None;
        while let Some(row) = result.next().await.map_err(failed)? {
            builder.push(cells(&row))?;
            rows += 1;
            last = Some(row);
            if builder.rows() >= options.copy_chunk_rows || builder.bytes() >= options.copy_chunk_bytes {
                self.append_rows(copying, &mut builder, last.take(), &key, read_at).await?;
            }
        }
        self.append_rows(copying, &mut builder, last, &key, read_at).await?;
        Ok(rows)
    }

    async fn append_rows(
        &self,
        copying: &mut Copying,
        builder: &mut RowBuilder,
        last: Option<Row>,
        key: &[usize],
        read_at: &SourcePosition,
    ) -> Result<()> {
        let Some(last) = last else { return Ok(()) };
        let bytes = builder.bytes() as u64;
        let rows = builder.finish()?;
        copying.cursor.rows += rows.num_rows() as u64;
        copying.cursor.key = key.iter().map(|i| cell(&last, *i).unwrap_or_default().to_vec()).collect();
        let record = ControlRecord::CopyRows {
            copy_id: copying.copy_id,
            read_at: read_at.clone(),
            cursor: copying.cursor.to_string(),
        };
        wait::read_up_to(&*self.buffer, read_at).await?;
        let count = rows.num_rows() as u64;
        copying.newest = self.append(record, Some(rows)).await?;
        self.note_rows(count, bytes);
        Ok(())
    }

    /// Appends a record and makes it durable.
    async fn append(&self, record: ControlRecord, rows: Option<RecordBatch>) -> Result<CommitSeq> {
        append(self.buffer.clone(), record, rows).await
    }

    fn note_begin(&self, estimated: u64, copied: u64) {
        self.shared.note_copy(&self.name, |progress| {
            progress.estimated_rows = estimated.max(copied);
            progress.rows = copied;
            progress.done = false;
        });
    }

    fn note_rows(&self, rows: u64, bytes: u64) {
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

/// Appends a control record and makes it durable.
///
/// # Errors
/// The buffer's own.
pub(super) async fn append(
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
pub(in crate::service) fn cells(row: &Row) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
    (0..row.len()).map(|i| cell(row, i))
}

fn cell(row: &Row, index: usize) -> Option<&[u8]> {
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
