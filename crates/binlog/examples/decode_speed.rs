//! How fast one thread turns buffered row events into Arrow columns: `cargo run --release --example decode_speed`.
//!
//! The events are made here: 1000 inserts an event into a table of eight columns of common types.

use std::time::Instant;

use bytes::Bytes;
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::mysql::context::TransactionContext;
use tidelake_binlog::mysql::decoder::{BinlogDecoder, UnknownTables};
use tidelake_binlog::mysql::event::{EventHeader, EventType, HEADER_LEN};
use tidelake_core::ports::{BufferedPayload, BufferedTransaction, TransactionDecoder};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{
    Catalog, ColumnDef, CommitSeq, Result, SchemaChange, SourcePosition, TableDef, TableId, TableName, TableState,
    TypeKind, UpstreamType,
};

const ROWS_AN_EVENT: usize = 1000;
const EVENTS: usize = 2000;

fn table() -> TableDef {
    let ty = UpstreamType::new;
    let columns = vec![
        ColumnDef::new(1, "id", ty(TypeKind::BigInt)),
        ColumnDef::new(2, "customer", ty(TypeKind::Int).unsigned()),
        ColumnDef::new(3, "amount", UpstreamType::decimal(12, 2)),
        ColumnDef::new(4, "at", ty(TypeKind::DateTime)),
        ColumnDef::new(5, "state", ty(TypeKind::Enum).with_labels(["new", "paid"])),
        ColumnDef::new(6, "note", ty(TypeKind::VarChar).with_length(50).with_charset("utf8mb4", "utf8mb4_bin"))
            .nullable(),
        ColumnDef::new(7, "score", ty(TypeKind::Double)),
        ColumnDef::new(8, "flag", ty(TypeKind::TinyInt)),
    ];
    let mut def = TableDef::new(TableName::new("shop", "orders"), columns, &["id"]);
    def.id = TableId(1);
    def
}

fn item(kind: EventType, body: &[u8]) -> Bytes {
    let size = (HEADER_LEN + body.len()) as u32;
    let mut out = Vec::new();
    EventHeader { timestamp: 0, kind, server_id: 1, size, end_log_pos: 0, flags: 0 }.write(&mut out);
    out.extend_from_slice(body);
    out.into()
}

fn table_map() -> Bytes {
    let mut body = vec![7, 0, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(b"\x04shop\0\x06orders\0\x08");
    body.extend_from_slice(&[8, 3, 246, 18, 254, 15, 5, 1]);
    body.extend_from_slice(&[8, 12, 2, 0, 247, 1, 200, 0, 8, 0b0010_0000]);
    item(EventType::TABLE_MAP, &body)
}

fn rows(first: u64) -> Bytes {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0xff];
    for id in first..first + ROWS_AN_EVENT as u64 {
        body.push(if id.is_multiple_of(7) { 0b0010_0000 } else { 0 });
        body.extend_from_slice(&id.to_le_bytes());
        body.extend_from_slice(&(id as u32 % 1000).to_le_bytes());
        body.extend_from_slice(&[0x80, 0, 0, 1, (id % 250) as u8, (id % 100) as u8]);
        body.extend_from_slice(&[0x99, 0xb2, 0x43, (id % 15) as u8, (id % 60) as u8]);
        body.push(1 + (id % 2) as u8);
        if !id.is_multiple_of(7) {
            body.extend_from_slice(b"\x0ea note on this");
        }
        body.extend_from_slice(&(id as f64).to_le_bytes());
        body.push((id % 3) as u8);
    }
    item(EventType::WRITE_ROWS_V2, &body)
}

fn main() -> Result<()> {
    let mut catalog = Catalog::default();
    catalog.apply(CommitSeq(1), &SchemaChange::CreateTable { def: Box::new(table()), state: TableState::Live })?;
    let context =
        TransactionContext { flavor: ServerFlavor::MariaDb, table_id_len: 6, start: 4, file: "b.000001".into() };
    let context = Bytes::from(context.encode());
    let transactions: Vec<Vec<Bytes>> =
        (0..EVENTS).map(|i| vec![context.clone(), table_map(), rows((i * ROWS_AN_EVENT) as u64)]).collect();
    let bytes: usize = transactions.iter().flatten().map(Bytes::len).sum();
    let mut decoder = BinlogDecoder::with_interpreter(TableFilter::default(), UnknownTables::Stop, |_, _, _| {
        tidelake_binlog::mysql::decoder::port::DdlOutcome::Ignore
    });
    let (began, mut decoded) = (Instant::now(), 0);
    for (i, items) in transactions.into_iter().enumerate() {
        let transaction = BufferedTransaction {
            seq: CommitSeq(i as u64 + 2),
            id: String::new(),
            position: SourcePosition::default(),
            bytes: 0,
            payload: BufferedPayload::Events(Box::new(items.into_iter().map(Ok))),
        };
        decoder.decode(transaction, &mut catalog)?;
        if decoder.pending_bytes() > 32 << 20 {
            decoded += row_count(&mut decoder)?;
        }
    }
    decoded += row_count(&mut decoder)?;
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(decoded, EVENTS * ROWS_AN_EVENT, "every row is decoded");
    println!(
        "decoded {decoded} rows of 8 columns in {seconds:.3} s: {:.2} M rows/s, {:.0} MB/s, one thread",
        decoded as f64 / seconds / 1e6,
        bytes as f64 / seconds / 1e6
    );
    Ok(())
}

fn row_count(decoder: &mut BinlogDecoder) -> Result<usize> {
    let steps = decoder.take()?;
    Ok(steps.iter().map(|s| if let tidelake_core::DecodedStep::Rows(batch) = s { batch.len() } else { 0 }).sum())
}
