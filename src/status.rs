//! What a running Tidelake is doing: gathered from the parts, sent as JSON, printed for people.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tidelake_binlog::mysql::position::BinlogPosition;
use tidelake_core::moment::time_text;
use tidelake_core::ports::{CopyProgress, SourceState};
use tidelake_core::{Catalog, SourcePosition, TableEntry, TableState};
use tidelake_writer::{WriterState, WriterStatus};

use crate::cli::StatusArgs;
use crate::client;
use crate::pipeline::Pipeline;

/// `GET /api/v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the server.
    pub version: String,
    /// The source.
    pub source: SourceReport,
    /// The seqs.
    pub seq: SeqReport,
    /// Milliseconds by which readers are behind what the upstream has committed, as far as the source knows.
    pub lag_ms: u64,
    /// Current interval of the Magic Writer, milliseconds.
    pub interval_ms: u64,
    /// The Magic Writer.
    pub writer: WriterReport,
    /// The Data Buffer.
    pub buffer: BufferReport,
    /// The engines of a writer that feeds several, or one at a latch of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<EngineReport>,
    /// All tables.
    pub tables: Vec<TableReport>,
}

/// One of the engines that a writer feeds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EngineReport {
    /// As it was given.
    pub address: String,
    /// `writing`, `waiting` or `refused`.
    pub state: String,
    /// Why it is not written to.
    pub reason: String,
    /// Newest that it has shown, as it said last.
    pub published: u64,
    /// Newest that it still has after a crash.
    pub durable: u64,
    /// The buffer keeps everything after this seq for it.
    pub needs_after: u64,
}

/// The source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceReport {
    /// `mysql`, `file`, or the kind of feed: `ticdc-storage`, `kafka`, `drainer`.
    pub kind: String,
    /// Where it has read to.
    pub position: String,
    /// The last upstream transaction that readers see; empty before the first. Of a feed of TiDB this has its commit-ts, as `position` has the watermark.
    #[serde(default)]
    pub published: String,
    /// What it is doing.
    pub state: SourceState,
    /// Why, if something is wrong.
    pub reason: String,
    /// Bytes of events read since the start.
    pub bytes_read: u64,
}

/// The seqs (docs/ARCHITECTURE.md).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SeqReport {
    /// Newest in the buffer.
    pub head: u64,
    /// Newest that readers see.
    pub published: u64,
    /// Newest that the engine still has after a crash.
    pub durable: u64,
    /// Oldest that can be read.
    #[serde(default)]
    pub oldest: u64,
    /// When upstream committed the oldest, microseconds since 1970 UTC; 0 if that is not known.
    #[serde(default)]
    pub oldest_commit_time_us: i64,
}

/// The Magic Writer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WriterReport {
    /// `running`, `stopped` or `failed`.
    pub state: String,
    /// Why it failed.
    pub reason: String,
    /// Transactions applied since the start.
    pub transactions: u64,
    /// Row changes applied since the start.
    pub rows: u64,
}

/// The Data Buffer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct BufferReport {
    /// Retained bytes.
    pub bytes: u64,
    /// Most bytes before fetching waits.
    pub limit: u64,
}

/// One table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableReport {
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
    /// `copying`, `live` or `stopped`.
    pub state: String,
    /// Live rows; for a copying table the rows read so far.
    pub rows: u64,
    /// Why it is stopped; for a copying table how far it is; empty otherwise.
    pub reason: String,
}

/// Gathers the report.
#[must_use]
pub fn gather(pipeline: &Pipeline) -> StatusReport {
    // Values first: a guard of a watch that lives on while the buffer is asked would block the buffer's own writer.
    let published = pipeline.engine.published().borrow().clone();
    let head = pipeline.buffer.head().borrow().0;
    let durable = pipeline.engine.durable().borrow().seq.0;
    let (oldest, oldest_time) = match &pipeline.serving {
        Some(serving) => serving.latch.oldest(),
        None => (pipeline.engine.horizon(), None),
    };
    let source = pipeline.source.status();
    let writer = pipeline.writer().status();
    let (bytes, limit) = pipeline.buffer.bytes();
    let position = pipeline.buffer.read_position().borrow().clone();
    let tables = pipeline.engine.catalog(published.seq).map_or_else(|_| Vec::new(), |c| tables(pipeline, &c));
    StatusReport {
        version: env!("CARGO_PKG_VERSION").into(),
        source: SourceReport {
            kind: pipeline.source.kind().into(),
            position: position.map_or_else(|| published.position.to_string(), |p| p.to_string()),
            published: published.position.token.clone(),
            state: source.state,
            reason: source.reason,
            bytes_read: source.bytes_read,
        },
        seq: SeqReport {
            head,
            published: published.seq.0,
            durable,
            oldest: oldest.0,
            oldest_commit_time_us: oldest_time.unwrap_or(0),
        },
        lag_ms: lag_ms(pipeline, source.lag_seconds),
        interval_ms: pipeline.writer().interval().as_millis() as u64,
        writer: writer_report(&writer),
        buffer: BufferReport { bytes, limit },
        engines: pipeline.engines(),
        tables,
    }
}

fn writer_report(status: &WriterStatus) -> WriterReport {
    let state = match status.state {
        WriterState::Running => "running",
        WriterState::Stopped => "stopped",
        WriterState::Failed => "failed",
    };
    let reason = status.reason.clone();
    WriterReport { state: state.into(), reason, transactions: status.transactions, rows: status.rows }
}

/// Readers are behind by the age of the oldest transaction that waits in the buffer, plus what the source has not
/// fetched yet. The upstream's commit times have whole seconds, so with nothing waiting it is the source's own lag.
fn lag_ms(pipeline: &Pipeline, source_lag_seconds: f64) -> u64 {
    let published = pipeline.engine.published_seq();
    let fetch_lag = (source_lag_seconds.max(0.0) * 1000.0) as u64;
    let head = *pipeline.buffer.head().borrow();
    if published >= head {
        return fetch_lag;
    }
    let oldest = pipeline.buffer.position_of(published.next()).map_or(0, |p| p.commit_time_us);
    if oldest == 0 {
        return fetch_lag;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64);
    fetch_lag.max(((now - oldest).max(0) / 1000) as u64)
}

fn tables(pipeline: &Pipeline, catalog: &Catalog) -> Vec<TableReport> {
    let copies = pipeline.source.copies();
    let mut tables: Vec<TableReport> = catalog.tables.values().map(|e| table(pipeline, e, &copies)).collect();
    let waiting = copies.iter().filter(|c| !c.done && catalog.tables.values().all(|e| e.def.name != c.name));
    tables.extend(waiting.map(|c| TableReport {
        database: c.name.database.clone(),
        table: c.name.table.clone(),
        state: "copying".into(),
        rows: c.rows,
        reason: copy_text(c),
    }));
    tables.sort_by(|a, b| (&a.database, &a.table, &a.state).cmp(&(&b.database, &b.table, &b.state)));
    tables
}

fn table(pipeline: &Pipeline, entry: &TableEntry, copies: &[CopyProgress]) -> TableReport {
    let stats = pipeline.engine.table_stats(entry.def.id).unwrap_or_default();
    let copy = copies.iter().find(|c| c.name == entry.def.name);
    let (state, rows, reason) = match &entry.state {
        TableState::Live => ("live", stats.live_rows, String::new()),
        TableState::Stopped { reason, at } => ("stopped", stats.live_rows, format!("{reason} (at {at})")),
        TableState::Copying { .. } => (
            "copying",
            copy.map_or(stats.live_rows, |c| c.rows.max(stats.live_rows)),
            copy.map_or_else(String::new, copy_text),
        ),
    };
    TableReport {
        database: entry.def.name.database.clone(),
        table: entry.def.name.table.clone(),
        state: state.into(),
        rows,
        reason,
    }
}

fn copy_text(copy: &CopyProgress) -> String {
    format!("{} of about {} rows", copy.rows, copy.estimated_rows.max(copy.rows))
}

/// `tidelake status`.
///
/// # Errors
/// If no Tidelake answers.
pub fn print(args: &StatusArgs) -> Result<()> {
    let text = client::get(&args.http, "/api/v1/status")?;
    if args.json {
        println!("{text}");
        return Ok(());
    }
    match serde_json::from_str(&text) {
        Ok(report) => print!("{}", for_people(&report)),
        // A process without a source has another status.
        Err(_) => println!("{}", serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&text)?)?),
    }
    Ok(())
}

/// A position as people write it: file and offset, and the GTIDs if there are any.
pub fn place(token: &str) -> String {
    let position = SourcePosition { token: token.to_owned(), ..SourcePosition::default() };
    match BinlogPosition::parse(&position) {
        Ok(at) if at.gtid.is_empty() => at.to_string(),
        Ok(at) => format!("{at} (GTID {})", at.gtid),
        Err(_) => token.to_owned(),
    }
}

fn for_people(report: &StatusReport) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let source = &report.source;
    let state = format!("{:?}", source.state).to_lowercase();
    let _ = writeln!(out, "source    {} {state}, read to {}", source.kind, place(&source.position));
    if !source.reason.is_empty() {
        let _ = writeln!(out, "          {}", source.reason);
    }
    let SeqReport { head, published, durable, oldest, oldest_commit_time_us } = report.seq;
    let _ = writeln!(out, "seq       head {head}, published {published}, durable {durable}, oldest readable {oldest}");
    if oldest_commit_time_us != 0 {
        let _ = writeln!(out, "past      readable from {} on", time_text(oldest_commit_time_us));
    }
    let _ = writeln!(out, "lag       {} ms, interval {} ms", report.lag_ms, report.interval_ms);
    let writer = &report.writer;
    let _ =
        writeln!(out, "writer    {}, {} transactions, {} row changes", writer.state, writer.transactions, writer.rows);
    if !writer.reason.is_empty() {
        let _ = writeln!(out, "          {}", writer.reason);
    }
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    let _ = writeln!(out, "buffer    {:.1} of {:.0} MiB", mib(report.buffer.bytes), mib(report.buffer.limit));
    for engine in &report.engines {
        let EngineReport { address, state, reason, published, durable, needs_after } = engine;
        let seqs = format!("published {published}, durable {durable}, kept for it after {needs_after}");
        let _ = writeln!(out, "engine    {address} {state}, {seqs}");
        if !reason.is_empty() {
            let _ = writeln!(out, "          {reason}");
        }
    }
    let name = |t: &TableReport| format!("{}.{}", t.database, t.table);
    let width = report.tables.iter().map(|t| name(t).chars().count()).max().unwrap_or(0).max(5);
    let _ = writeln!(out, "\n{:width$}  {:8}  {:>12}", "table", "state", "rows");
    for table in &report.tables {
        let _ = writeln!(out, "{:width$}  {:8}  {:>12}  {}", name(table), table.state, table.rows, table.reason);
    }
    out
}
