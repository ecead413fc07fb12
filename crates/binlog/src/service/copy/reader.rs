//! The readers of one table's copy: each reads one range of the key after the other, on a connection of its own.
//!
//! A range is one chunk. Its rows are those of one snapshot whose position is known, so ranges may be read in any
//! order and at different places of the stream: a row that moves from one range into another meanwhile is in the copied
//! rows of the one, of the other, of both or of none, and what the stream did after each chunk's own position is
//! applied to the copy in any case.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tidelake_core::control::ControlRecord;
use tidelake_core::{Error, Result, SourcePosition, TableDef};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::super::server::UpstreamServer;
use super::columns::RowBuilder;
use super::cursor::{Key, Range};
use super::job::{Copying, Hold, Job, cell, cells, passing};
use super::select::{border_sql, has_key_order, range_sql};
use super::snapshot::{Snapshot, SnapshotKind};

/// A snapshot that costs a global lock serves ranges for this long: the buffer keeps what came since, and applying a
/// chunk reads it again.
const SNAPSHOT_AGE: Duration = Duration::from_secs(30);

/// How long a snapshot that has what the copy begins with is waited for, and how often it is looked for.
const VISIBLE_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What all readers of a table share.
struct Reader {
    job: Arc<Job>,
    copying: Arc<Mutex<Copying>>,
    def: Arc<TableDef>,
    /// See [`Copying::from`].
    from: SourcePosition,
    server: UpstreamServer,
    kind: SnapshotKind,
    /// Rows of a range; `None`: the table is read in one piece.
    range_rows: Option<usize>,
    /// Borders are looked for one after the other.
    borders: Mutex<()>,
}

/// A snapshot that a reader has open.
struct Opened {
    snapshot: Snapshot,
    since: Instant,
    hold: Hold,
}

impl Job {
    /// Reads all ranges that are left. Returns the position of the last snapshot, `None` if the copy is no longer wanted.
    pub(super) async fn read_all(
        self: &Arc<Self>,
        conn: Conn,
        server: &UpstreamServer,
        kind: SnapshotKind,
        estimated_rows: u64,
        copying: &Arc<Mutex<Copying>>,
    ) -> Result<Option<SourcePosition>> {
        let options = &self.shared.options;
        let (def, from) = {
            let copying = copying.lock().await;
            (copying.def.clone(), copying.from.clone())
        };
        let range_rows = has_key_order(&def).then_some(options.copy_chunk_rows.max(1));
        let large = range_rows.is_some_and(|rows| estimated_rows > 2 * rows as u64);
        let reader = Reader {
            job: self.clone(),
            copying: copying.clone(),
            def,
            from,
            server: server.clone(),
            kind,
            range_rows,
            borders: Mutex::default(),
        };
        let reader = Arc::new(reader);
        let mut readers = JoinSet::new();
        readers.spawn(reader.clone().run(Some(conn)));
        for _ in 1..if large { options.copy_threads } else { 1 } {
            readers.spawn(reader.clone().run(None));
        }
        let mut read_at = None;
        while let Some(ended) = readers.join_next().await {
            match ended.map_err(|e| Error::Internal(format!("a reader of the copy ended: {e}")))?? {
                ReaderEnd::Dropped => return Ok(None),
                ReaderEnd::Done(at) => read_at = at.or(read_at),
            }
        }
        Ok(read_at)
    }
}

/// How a reader ended.
enum ReaderEnd {
    /// No range is left; the position of the last snapshot that it read rows in, if there is one.
    Done(Option<SourcePosition>),
    /// The copy is no longer wanted.
    Dropped,
}

impl Reader {
    async fn run(self: Arc<Self>, conn: Option<Conn>) -> Result<ReaderEnd> {
        let connector = &self.job.shared.connector;
        let (mut conn, server) = match conn {
            Some(conn) => (conn, self.server.clone()),
            None => {
                let mut conn = connector.connect().await.map_err(passing)?;
                let server = UpstreamServer::detect(connector, &mut conn).await.map_err(passing)?;
                (conn, server)
            }
        };
        let (mut opened, mut read_at) = (None, None);
        loop {
            let permit = self.job.shared.readers.acquire_many(self.permits()).await;
            let _permit = permit.map_err(|_| Error::Closed("the initial copy".into()))?;
            {
                let mut copying = self.copying.lock().await;
                if !self.job.is_wanted(&mut copying)? {
                    return Ok(ReaderEnd::Dropped);
                }
                if copying.whole && copying.left.is_empty() {
                    break;
                }
            }
            let now = self.snapshot(&mut conn, &server, opened.take()).await?;
            let range = self.next_range(&mut conn).await?;
            if let Some(range) = &range {
                self.read_range(&mut conn, &now.snapshot, range).await?;
                let mut copying = self.copying.lock().await;
                let newest = copying.newest;
                copying.holds.push_back((newest, now.hold.clone()));
                read_at = Some(now.snapshot.at.clone());
            }
            // what is cheap to open is not kept while others have their turn
            if self.kind.is_cheap() {
                self.kind.close(connector, &mut conn).await?;
            } else {
                self.kind.rest(connector, &mut conn).await?;
                opened = Some(now);
            }
            if range.is_none() {
                break;
            }
        }
        if opened.is_some() {
            self.kind.close(connector, &mut conn).await?;
        }
        Ok(ReaderEnd::Done(read_at))
    }

    /// Permits for one chunk. MySQL's global lock waits for SELECTs that run, and all writers wait for the lock: while a
    /// table is read in one piece, nobody takes it.
    fn permits(&self) -> u32 {
        let alone = self.range_rows.is_none() && !self.kind.is_cheap();
        let all = u32::try_from(self.job.shared.options.copy_threads.max(1)).unwrap_or(1);
        if alone { all } else { 1 }
    }

    /// The open snapshot, or a new one in its place.
    async fn snapshot(&self, conn: &mut Conn, server: &UpstreamServer, opened: Option<Opened>) -> Result<Opened> {
        let connector = &self.job.shared.connector;
        if let Some(opened) = opened {
            if !self.kind.is_cheap() && opened.since.elapsed() < SNAPSHOT_AGE {
                return Ok(opened);
            }
            self.kind.close(connector, conn).await?;
        }
        let since = Instant::now();
        loop {
            let hold = self.job.hold();
            let snapshot = self.kind.open(&self.job.shared, conn, server, &self.job.name).await?;
            if snapshot.at.covers(&self.from) {
                return Ok(Opened { snapshot, since: Instant::now(), hold });
            }
            // What is in the bin log is visible a moment later only, with semi-synchronous replication once a replica has it.
            self.kind.close(connector, conn).await?;
            if since.elapsed() > VISIBLE_WITHIN {
                return Err(Error::Unavailable(format!(
                    "what is in the bin log up to {} is not visible yet",
                    self.from
                )));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The next range that nobody reads, `None` if there is none.
    ///
    /// A question to the upstream may have to wait for an ALTER TABLE, and that waits for the readers that have rows of the
    /// table in hand: so none of them waits for the one who asks.
    async fn next_range(&self, conn: &mut Conn) -> Result<Option<Range>> {
        let _turn = self.borders.lock().await;
        let frontier = {
            let mut copying = self.copying.lock().await;
            if let Some(left) = copying.left.pop() {
                return Ok(Some(left));
            }
            if copying.whole {
                return Ok(None);
            }
            copying.cursor.frontier.clone()
        };
        let upto = match self.range_rows {
            Some(rows) => self.border(conn, &frontier, rows).await?,
            None => None,
        };
        let mut copying = self.copying.lock().await;
        copying.whole = upto.is_none();
        Ok(Some(copying.cursor.begin(upto)))
    }

    /// The last key of the `rows` rows behind a key; `None`: there are fewer.
    async fn border(&self, conn: &mut Conn, behind: &[Vec<u8>], rows: usize) -> Result<Option<Key>> {
        let row: Option<Row> =
            conn.query_first(border_sql(&self.def, behind, rows)?).await.map_err(|e| self.failed(&e))?;
        Ok(row.map(|row| cells(&row).map(|cell| cell.unwrap_or_default().to_vec()).collect()))
    }

    fn failed(&self, error: &mysql_async::Error) -> Error {
        self.job.shared.connector.table_error(&format!("copy {}", self.job.name), error)
    }

    /// Reads a range and appends its rows, in pieces if they are many.
    async fn read_range(&self, conn: &mut Conn, snapshot: &Snapshot, range: &Range) -> Result<()> {
        let options = &self.job.shared.options;
        let mut result = conn.query_iter(range_sql(&self.def, range)?).await.map_err(|e| self.failed(&e))?;
        let mut builder = RowBuilder::new(&self.def, self.server.flavor)?;
        let mut last: Option<Row> = None;
        while let Some(row) = result.next().await.map_err(|e| self.failed(&e))? {
            // the row before is followed by another one, so it does not end the range
            if builder.rows() >= options.copy_chunk_rows || builder.bytes() >= options.copy_chunk_bytes {
                self.append_rows(&mut builder, last.take(), range, snapshot, false).await?;
            }
            builder.push(cells(&row))?;
            last = Some(row);
        }
        self.append_rows(&mut builder, last, range, snapshot, true).await
    }

    async fn append_rows(
        &self,
        builder: &mut RowBuilder,
        last: Option<Row>,
        range: &Range,
        snapshot: &Snapshot,
        done: bool,
    ) -> Result<()> {
        let key = |row: &Row| {
            let key = self.def.key_indexes();
            key.iter().map(|i| cell(row, *i).unwrap_or_default().to_vec()).collect::<Key>()
        };
        let Some(last) = last.as_ref().map(key) else {
            // all its rows were deleted since its border was found
            self.copying.lock().await.cursor.advance(range, range.after.clone(), 0, done);
            return Ok(());
        };
        let bytes = builder.bytes() as u64;
        let rows = builder.finish()?;
        let count = rows.num_rows() as u64;
        self.job.shared.read_up_to(&*self.job.buffer, &snapshot.upto).await?;
        let mut copying = self.copying.lock().await;
        copying.cursor.advance(range, last, count, done);
        let (copy_id, cursor) = (copying.copy_id, copying.cursor.to_string());
        let record = ControlRecord::CopyRows { copy_id, read_at: snapshot.at.clone(), cursor };
        copying.newest = self.job.append(record, Some(rows)).await?;
        drop(copying);
        self.job.note_rows(count, bytes);
        Ok(())
    }
}
