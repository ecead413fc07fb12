//! How fast one thread turns a binlog file's bytes into Arrow columns, beside `mysql_common` on the same bytes.
//!
//! `cargo test --workspace --bench decoder -- --bench`, in the profile that everything else is built with. Both get the same file in memory: transactions of one event of 1000 inserted
//! rows of 11 common columns, with CRC32 checksums; time is the thread's own processor time. Ours verifies them, groups transactions and fills Arrow builders;
//! `mysql_common` verifies nothing and makes one vector of values a row.

use std::hint::black_box;
use std::path::Path;

use bytes::Bytes;
use mysql_common::binlog::BinlogFile;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::EventData;
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::mysql::decoder::{BinlogDecoder, UnknownTables};
use tidelake_binlog::mysql::event::{EventHeader, EventType, HEADER_LEN};
use tidelake_binlog::mysql::group::{GrouperMode, TransactionGrouper, TransactionSink};
use tidelake_core::ports::{BufferedPayload, BufferedTransaction, TransactionDecoder};
use tidelake_core::{
    Catalog, ColumnDef, CommitSeq, DecodedStep, Result, SchemaChange, SourcePosition, TableDef, TableId, TableName,
    TableState, TypeKind, UpstreamType,
};

const ROWS_AN_EVENT: u64 = 1000;
const EVENTS: u64 = 1000;
const PASSES: usize = 5;

fn table() -> TableDef {
    let ty = UpstreamType::new;
    let mut with_millis = ty(TypeKind::Timestamp);
    with_millis.fsp = 3;
    let note = ty(TypeKind::VarChar).with_length(50).with_charset("utf8mb4", "utf8mb4_bin");
    let columns = vec![
        ColumnDef::new(1, "id", ty(TypeKind::BigInt)),
        ColumnDef::new(2, "customer", ty(TypeKind::Int).unsigned()),
        ColumnDef::new(3, "amount", UpstreamType::decimal(12, 2)),
        ColumnDef::new(4, "at", ty(TypeKind::DateTime)),
        ColumnDef::new(5, "changed", with_millis),
        ColumnDef::new(6, "state", ty(TypeKind::Enum).with_labels(["new", "paid"])),
        ColumnDef::new(7, "note", note).nullable(),
        ColumnDef::new(8, "score", ty(TypeKind::Double)),
        ColumnDef::new(9, "flag", ty(TypeKind::TinyInt)),
        ColumnDef::new(10, "quantity", ty(TypeKind::SmallInt)),
        ColumnDef::new(11, "day", ty(TypeKind::Date)),
    ];
    let mut def = TableDef::new(TableName::new("shop", "orders"), columns, &["id"]);
    def.id = TableId(1);
    def
}

/// A whole event with its checksum.
fn event(kind: EventType, body: &[u8], out: &mut Vec<u8>) {
    let (start, size) = (out.len(), HEADER_LEN + body.len() + 4);
    let end_log_pos = (start + size) as u32;
    EventHeader { timestamp: 1, kind, server_id: 1, size: size as u32, end_log_pos, flags: 0 }.write(out);
    out.extend_from_slice(body);
    let sum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

fn table_map() -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
    body.extend_from_slice(b"\x04shop\0\x06orders\0\x0b");
    body.extend_from_slice(&[8, 3, 246, 18, 17, 254, 15, 5, 1, 2, 10]);
    body.extend_from_slice(&[9, 12, 2, 0, 3, 247, 1, 200, 0, 8, 0b0100_0000, 0]);
    body
}

fn rows(first: u64) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 11, 0xff, 0x07];
    for id in first..first + ROWS_AN_EVENT {
        let noted = !id.is_multiple_of(7);
        body.extend_from_slice(&[if noted { 0 } else { 0b0100_0000 }, 0]);
        body.extend_from_slice(&id.to_le_bytes());
        body.extend_from_slice(&(id as u32 % 1000).to_le_bytes());
        body.extend_from_slice(&[0x80, 0, 0, 1, (id % 250) as u8, (id % 100) as u8]);
        body.extend_from_slice(&[0x99, 0xb2, 0x43, (id % 15) as u8, (id % 60) as u8]);
        body.extend_from_slice(&(1_700_000_000 + id as u32 % 100_000).to_be_bytes());
        body.extend_from_slice(&((id % 1000) as u16 * 10).to_be_bytes());
        body.push(1 + (id % 2) as u8);
        if noted {
            body.extend_from_slice(b"\x0ea note on this");
        }
        body.extend_from_slice(&(id as f64).to_le_bytes());
        body.push((id % 3) as u8);
        body.extend_from_slice(&(id as u16 % 30_000).to_le_bytes());
        let day = (2024 * 16 + 5) * 32 + (id % 28) as u32 + 1;
        body.extend_from_slice(&day.to_le_bytes()[..3]);
    }
    body
}

/// A binlog file: the format description of a recorded one, then the transactions.
fn file() -> Vec<u8> {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mysql-9.7.4/binlog.000001");
    let recorded = std::fs::read(&recorded).expect("the recorded file");
    let format = EventHeader::parse(&recorded[4..]).expect("a format description").size as usize;
    let mut file = recorded[..4 + format].to_vec();
    let begin = [&[0; 8][..], &[4, 0, 0, 0, 0], b"shop\0BEGIN"].concat();
    let map = table_map();
    for i in 0..EVENTS {
        event(EventType::QUERY, &begin, &mut file);
        event(EventType::TABLE_MAP, &map, &mut file);
        event(EventType::WRITE_ROWS_V2, &rows(i * ROWS_AN_EVENT), &mut file);
        event(EventType::XID, &i.to_le_bytes(), &mut file);
    }
    file
}

/// Holds the open transaction.
#[derive(Default)]
struct One {
    items: Vec<Bytes>,
    whole: bool,
}

impl TransactionSink for One {
    fn begin(&mut self, _: &str) -> Result<()> {
        self.items.clear();
        Ok(())
    }
    fn push(&mut self, item: &[u8]) -> Result<()> {
        self.items.push(Bytes::copy_from_slice(item));
        Ok(())
    }
    fn commit(&mut self, _: SourcePosition) -> Result<()> {
        self.whole = true;
        Ok(())
    }
    fn abandon(&mut self) {}
    fn hold(&mut self, _: &str) {}
    fn unhold(&mut self, _: &str) -> bool {
        false
    }
    fn note_read(&mut self, _: SourcePosition) {}
}

/// Rows decoded by this crate.
fn ours(file: &[u8]) -> Result<u64> {
    let mut catalog = Catalog::default();
    catalog.apply(CommitSeq(1), &SchemaChange::CreateTable { def: Box::new(table()), state: TableState::Live })?;
    let mut decoder = BinlogDecoder::new(TableFilter::default(), UnknownTables::Stop);
    let mut grouper = TransactionGrouper::new(GrouperMode::File, None)?;
    grouper.begin_file("binlog.000001");
    let (mut sink, mut rest, mut seq, mut count) = (One::default(), &file[4..], 1, 0);
    while !rest.is_empty() {
        let size = EventHeader::parse(rest).expect("whole events").size as usize;
        let (event, tail) = rest.split_at(size);
        rest = tail;
        grouper.feed(event, &mut sink)?;
        if !std::mem::take(&mut sink.whole) {
            continue;
        }
        seq += 1;
        let items = std::mem::take(&mut sink.items);
        let transaction = BufferedTransaction {
            seq: CommitSeq(seq),
            id: String::new(),
            position: SourcePosition::default(),
            bytes: 0,
            payload: BufferedPayload::Events(Box::new(items.into_iter().map(Ok))),
        };
        decoder.decode(transaction, &mut catalog)?;
        if decoder.pending_bytes() > 32 << 20 {
            count += taken(&mut decoder)?;
        }
    }
    Ok(count + taken(&mut decoder)?)
}

fn taken(decoder: &mut BinlogDecoder) -> Result<u64> {
    let rows = |step: &DecodedStep| if let DecodedStep::Rows(batch) = step { batch.len() as u64 } else { 0 };
    Ok(black_box(decoder.take()?).iter().map(rows).sum())
}

/// Rows decoded by `mysql_common`.
fn theirs(file: &[u8]) -> u64 {
    let mut binlog = BinlogFile::new(BinlogVersion::Version4, file).expect("a binlog file");
    let mut count = 0;
    while let Some(event) = binlog.next() {
        let event = event.expect("whole events");
        if let Some(EventData::RowsEvent(rows)) = event.read_data().expect("known events") {
            let map = binlog.reader().get_tme(rows.table_id()).expect("its table map");
            for row in rows.rows(map) {
                black_box(row.expect("whole rows"));
                count += 1;
            }
        }
    }
    count
}

/// Processor time of this thread in seconds: what else runs on the machine is not in the figures.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanoseconds = stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
    nanoseconds.expect("the first number of schedstat") / 1e9
}

/// Seconds of the fastest pass.
fn fastest(mut pass: impl FnMut() -> u64) -> f64 {
    let timed = (0..PASSES).map(|_| {
        let begin = processor_time();
        assert_eq!(pass(), EVENTS * ROWS_AN_EVENT, "every row is decoded");
        processor_time() - begin
    });
    timed.fold(f64::INFINITY, f64::min)
}

fn main() {
    // `cargo test --benches` only wants to know that it starts
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let file = file();
    let (rows, megabytes) = ((EVENTS * ROWS_AN_EVENT) as f64, file.len() as f64 / 1e6);
    let seconds = fastest(|| ours(&file).expect("decodes"));
    println!(
        "tidelake:     {:6.2} M rows/s, {:5.0} MB/s (one thread, 11 columns, checksums verified)",
        rows / seconds / 1e6,
        megabytes / seconds
    );
    let seconds = fastest(|| theirs(&file));
    println!(
        "mysql_common: {:6.2} M rows/s, {:5.0} MB/s (one thread, no checksums)",
        rows / seconds / 1e6,
        megabytes / seconds
    );
}
