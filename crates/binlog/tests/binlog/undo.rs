//! ROLLBACK inside a logged transaction: rows of engines that roll back are undone, those of others stay.

use bytes::Bytes;
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::mysql::context::TransactionContext;
use tidelake_binlog::mysql::decoder::{BinlogDecoder, UnknownTables};
use tidelake_binlog::mysql::event::{EventHeader, EventType, HEADER_LEN};
use tidelake_core::ports::{BufferedPayload, BufferedTransaction, TransactionDecoder};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::value::{CellValue, cell_at};
use tidelake_core::{
    Catalog, ColumnDef, CommitSeq, DecodedStep, RowOp, SchemaChange, SourcePosition, TableDef, TableId, TableName,
    TableState, TypeKind, UpstreamType,
};

fn item(kind: EventType, body: &[u8]) -> Bytes {
    let size = (HEADER_LEN + body.len()) as u32;
    let mut out = Vec::new();
    EventHeader { timestamp: 0, kind, server_id: 1, size, end_log_pos: 0, flags: 0 }.write(&mut out);
    out.extend_from_slice(body);
    out.into()
}

fn query(sql: &str) -> Bytes {
    let mut body = vec![0; 8];
    body.extend_from_slice(&[1, 0, 0, 0, 0, b'd', 0]);
    body.extend_from_slice(sql.as_bytes());
    item(EventType::QUERY, &body)
}

/// INSERT of `ids` into table number `id`, named `t<id>`, with one INT column.
fn insert(id: u8, ids: &[i32]) -> [Bytes; 2] {
    let map = [&[id, 0, 0, 0, 0, 0, 0, 0, 1, b'd', 0, 2, b't', b'0' + id, 0, 1, 3, 0, 0][..]].concat();
    let mut rows = vec![id, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1];
    for value in ids {
        rows.push(0);
        rows.extend_from_slice(&value.to_le_bytes());
    }
    [item(EventType::TABLE_MAP, &map), item(EventType::WRITE_ROWS_V2, &rows)]
}

/// Tables `t1` (InnoDB), `t2` (MyISAM) and `t3` (of an engine that is not known).
fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    for (i, engine) in [(1, "InnoDB"), (2, "MyISAM"), (3, "")] {
        let columns = vec![ColumnDef::new(1, "id", UpstreamType::new(TypeKind::Int))];
        let mut def = TableDef::new(TableName::new("d", format!("t{i}")), columns, &["id"]);
        (def.id, def.engine) = (TableId(i), engine.into());
        let create = SchemaChange::CreateTable { def: Box::new(def), state: TableState::Live };
        catalog.apply(CommitSeq(1), &create).expect("creates");
    }
    catalog
}

/// Decodes one transaction; returns the ids that live in each table, and the catalog after it.
fn decode(events: Vec<Bytes>) -> (Vec<(u64, Vec<i64>)>, Catalog) {
    let context =
        TransactionContext { flavor: ServerFlavor::MariaDb, table_id_len: 6, start: 4, file: "b.000001".into() };
    let items = [vec![Bytes::from(context.encode())], events].concat();
    let transaction = BufferedTransaction {
        seq: CommitSeq(2),
        id: "0-1-1".into(),
        position: SourcePosition::default(),
        bytes: 0,
        payload: BufferedPayload::Events(Box::new(items.into_iter().map(Ok))),
    };
    let (mut decoder, mut catalog) = (BinlogDecoder::new(TableFilter::default(), UnknownTables::Stop), catalog());
    decoder.decode(transaction, &mut catalog).expect("decodes");
    let mut tables = vec![(1, vec![]), (2, vec![]), (3, vec![])];
    for step in decoder.take().expect("steps") {
        let DecodedStep::Rows(batch) = step else { continue };
        let rows = &mut tables[batch.table.0 as usize - 1].1;
        for (i, op) in batch.ops.iter().enumerate() {
            let CellValue::Int(id) = cell_at(batch.rows.column(0), i).expect("a cell") else { panic!("an INT") };
            match op {
                RowOp::Insert => rows.push(id),
                _ => assert_eq!(rows.pop(), Some(id), "undone in reverse order"),
            }
        }
    }
    (tables, catalog)
}

#[test]
fn rollback_to_a_savepoint_undoes_what_came_after_it() {
    let events = [
        &insert(1, &[1])[..],
        &[query("SAVEPOINT `a`")],
        &insert(1, &[2, 3]),
        &insert(2, &[10]),
        &[query("SAVEPOINT b")],
        &insert(1, &[4]),
        &[query("ROLLBACK TO `A`")],
        &insert(1, &[5]),
    ];
    let (tables, _) = decode(events.concat());
    assert_eq!(tables[0].1, [1, 5]);
    assert_eq!(tables[1].1, [10]);
}

#[test]
fn rollback_at_the_end_keeps_what_cannot_roll_back() {
    let (tables, catalog) = decode([&insert(1, &[1, 2])[..], &insert(2, &[10]), &[query("ROLLBACK")]].concat());
    assert_eq!(tables[0].1, [0i64; 0]);
    assert_eq!(tables[1].1, [10]);
    assert!(catalog.tables.values().all(|e| e.state == TableState::Live));
}

#[test]
fn what_is_not_known_to_roll_back_stops() {
    let stopped = |catalog: Catalog, id| matches!(&catalog.tables[&TableId(id)].state, TableState::Stopped { reason, .. } if reason.starts_with("resync: "));
    let (_, catalog) = decode([&insert(3, &[1])[..], &[query("ROLLBACK")]].concat());
    assert!(stopped(catalog, 3));
    let (_, catalog) = decode([&insert(1, &[1])[..], &[query("ROLLBACK TO nowhere")]].concat());
    assert!(stopped(catalog, 1));
}
