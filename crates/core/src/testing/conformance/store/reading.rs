//! Reading: a readable seq gives the same rows whatever happens beside it; plans and splits say what they hold.

use std::sync::Arc;

use futures::TryStreamExt;

use super::{StoreFactory, publish, writer};
use crate::change::RowOp;
use crate::error::Error;
use crate::ports::{ColumnPredicate, PredicateOp, ScanRequest, ScanSplit, StoreEngine};
use crate::schema::{ColumnDef, TableDef, TableName};
use crate::seq::{ColumnId, CommitSeq, TableId, WriterEpoch};
use crate::testing::tables::{
    Row, accounts, cells_of, changes, create, inserts, int, lease, null, rows_at, scan, sorted, text, with_id,
};
use crate::types::{TypeKind, UpstreamType, temporal};
use crate::value::CellValue;

const A: TableId = TableId(1);

/// Ten transactions on one table; returns what it holds after each.
async fn history(engine: &dyn StoreEngine, flush_at: &[u64]) -> Vec<Vec<Row>> {
    let def = accounts(1, "a");
    let row = |id: i64, v: i64| vec![int(id), int(v), text("n")];
    let mut w = writer(engine).await;
    let mut states = vec![Vec::new()];
    let mut now: Vec<Row> = Vec::new();
    for seq in 1..=10i64 {
        if seq == 1 {
            w.stage(create(&def, 1)).await.unwrap();
        }
        let mut ops = vec![(seq as u64, RowOp::Insert, row(seq, 0))];
        if seq > 3 {
            ops.push((seq as u64, RowOp::Delete, row(seq - 3, 0)));
        }
        if seq > 1 {
            // Update of the row before: 0 -> 1 -> back to 0.
            ops.push((seq as u64, RowOp::Delete, row(seq - 1, 0)));
            ops.push((seq as u64, RowOp::Insert, row(seq - 1, 1)));
            ops.push((seq as u64, RowOp::Delete, row(seq - 1, 1)));
            ops.push((seq as u64, RowOp::Insert, row(seq - 1, 0)));
        }
        w.stage(changes(&def, &ops)).await.unwrap();
        publish(&mut *w, seq as u64).await;
        now.push(row(seq, 0));
        now.retain(|r| r[0] != int(seq - 3));
        states.push(sorted(now.clone()));
        if flush_at.contains(&(seq as u64)) {
            engine.flush().await.unwrap();
        }
    }
    states
}

/// Every published seq reads the same before and after flushes.
pub async fn snapshots_repeat_under_flush(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let states = history(&*engine, &[4, 7]).await;
    for round in 0..3 {
        for seq in 1..=10u64 {
            assert_eq!(rows_at(&*engine, seq, A).await.unwrap(), states[seq as usize], "seq {seq} round {round}");
        }
        engine.flush().await.unwrap();
    }
}

/// Splits planned before a flush give the same rows after it, each split by itself.
pub async fn splits_survive_a_flush(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    history(&*engine, &[5]).await;
    let mut request = ScanRequest::new(&lease(9), A);
    request.target_splits = 4;
    let plan = engine.plan_scan(&request).await.unwrap();
    let mut before = Vec::new();
    for split in &plan.splits {
        before.push(read(&*engine, split).await);
    }
    engine.flush().await.unwrap();
    for (split, rows) in plan.splits.iter().zip(&before) {
        let wire = serde_json::to_string(split).unwrap();
        let split: ScanSplit = serde_json::from_str(&wire).unwrap();
        assert_eq!(read(&*engine, &split).await, *rows, "{wire}");
        assert_eq!(read(&*engine, &split).await, *rows, "again");
    }
}

async fn read(engine: &dyn StoreEngine, split: &ScanSplit) -> Vec<Row> {
    let batches: Vec<_> = engine.read_split(split).await.unwrap().try_collect().await.unwrap();
    sorted(batches.iter().flat_map(|b| cells_of(b).unwrap()).collect())
}

/// Snapshots at or below durable read the same after a restart, with the plan made before it too.
pub async fn durable_snapshots_survive_a_restart(make: &dyn StoreFactory) {
    let mut store = make.open().await;
    let engine = store.engine();
    let states = history(&*engine, &[3, 8]).await;
    let plan = engine.plan_scan(&ScanRequest::new(&lease(6), A)).await.unwrap();
    drop(engine);
    store.crash().await;
    let engine = store.engine();
    assert_eq!(engine.published_seq(), CommitSeq(8));
    for seq in 1..=8u64 {
        assert_eq!(rows_at(&*engine, seq, A).await.unwrap(), states[seq as usize], "seq {seq}");
    }
    let mut rows = Vec::new();
    for split in &plan.splits {
        rows.extend(read(&*engine, split).await);
    }
    assert_eq!(sorted(rows), states[6]);
}

/// Below the horizon is refused, at the horizon and above is repeatable, whatever was dropped.
pub async fn below_the_horizon_is_expired(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let states = history(&*engine, &[4]).await;
    let old = engine.plan_scan(&ScanRequest::new(&lease(3), A)).await.unwrap();
    engine.set_horizon(CommitSeq(6));
    for round in 0..2 {
        assert!(matches!(rows_at(&*engine, 5, A).await, Err(Error::SnapshotExpired(_))));
        assert!(matches!(engine.catalog(CommitSeq(5)), Err(Error::SnapshotExpired(_))));
        assert!(matches!(engine.read_split(&old.splits[0]).await.err(), Some(Error::SnapshotExpired(_))));
        for seq in 6..=10u64 {
            assert_eq!(rows_at(&*engine, seq, A).await.unwrap(), states[seq as usize], "seq {seq} round {round}");
        }
        engine.flush().await.unwrap();
    }
}

/// A seq that is not published cannot be read.
pub async fn unpublished_is_refused(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    history(&*engine, &[]).await;
    assert!(matches!(rows_at(&*engine, 11, A).await, Err(Error::Unavailable(_))));
    assert!(matches!(engine.catalog(CommitSeq(11)), Err(Error::Unavailable(_))));
    assert!(matches!(rows_at(&*engine, 10, TableId(7)).await, Err(Error::NotFound(_))));
}

/// Columns come in the asked order, only those, down to none at all.
pub async fn projection_reorders_and_narrows(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let states = history(&*engine, &[6]).await;
    for round in 0..2 {
        let mut request = ScanRequest::new(&lease(10), A);
        request.projection = Some(vec![ColumnId(3), ColumnId(1)]);
        let wanted = states[10].iter().map(|r| vec![r[2].clone(), r[0].clone()]).collect();
        assert_eq!(scan(&*engine, &request).await.unwrap(), sorted(wanted), "round {round}");
        request.projection = Some(Vec::new());
        assert_eq!(scan(&*engine, &request).await.unwrap().len(), states[10].len(), "count only, round {round}");
        request.projection = Some(vec![ColumnId(9)]);
        assert!(matches!(scan(&*engine, &request).await, Err(Error::NotFound(_))));
        engine.flush().await.unwrap();
    }
}

/// Pruning never loses a matching row.
pub async fn predicates_never_lose_rows(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let def = accounts(1, "a");
    let mut w = writer(&*engine).await;
    w.stage(create(&def, 1)).await.unwrap();
    for seq in 1..=4u64 {
        let rows: Vec<Row> = (0..50i64)
            .map(|i| (seq as i64 - 1) * 50 + i)
            .map(|i| vec![int(i), int(i % 7), if i % 5 == 0 { null() } else { text(&format!("n{i}")) }])
            .collect();
        w.stage(inserts(&def, seq, &rows)).await.unwrap();
        publish(&mut *w, seq).await;
        if seq != 4 {
            engine.flush().await.unwrap();
        }
    }
    let all = rows_at(&*engine, 4, A).await.unwrap();
    assert_eq!(all.len(), 200);
    use PredicateOp as P;
    type Matches = Box<dyn Fn(&Row) -> bool>;
    let cases: Vec<(i32, P, Vec<CellValue>, Matches)> = vec![
        (1, P::Eq, vec![int(77)], Box::new(|r| r[0] == int(77))),
        (1, P::Eq, vec![int(-5)], Box::new(|_| false)),
        (1, P::In, vec![int(3), int(120), int(199)], Box::new(|r| [int(3), int(120), int(199)].contains(&r[0]))),
        (1, P::Lt, vec![int(51)], Box::new(|r| matches!(r[0], CellValue::Int(v) if v < 51))),
        (1, P::LtEq, vec![int(50)], Box::new(|r| matches!(r[0], CellValue::Int(v) if v <= 50))),
        (1, P::Gt, vec![int(148)], Box::new(|r| matches!(r[0], CellValue::Int(v) if v > 148))),
        (1, P::GtEq, vec![int(150)], Box::new(|r| matches!(r[0], CellValue::Int(v) if v >= 150))),
        (3, P::IsNull, vec![], Box::new(|r| r[2] == null())),
        (3, P::IsNotNull, vec![], Box::new(|r| r[2] != null())),
        (3, P::Eq, vec![text("n101")], Box::new(|r| r[2] == text("n101"))),
    ];
    for (column, op, values, matches) in cases {
        let mut request = ScanRequest::new(&lease(4), A);
        request.predicates = vec![ColumnPredicate { column: ColumnId(column), op, values }];
        let got = scan(&*engine, &request).await.unwrap();
        let keep = |rows: &[Row]| rows.iter().filter(|r| matches(r)).cloned().collect::<Vec<_>>();
        assert_eq!(keep(&got), keep(&all), "{:?}", request.predicates);
    }
}

/// `table_stats` counts what a scan at the published seq returns.
pub async fn statistics_count_live_rows(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let states = history(&*engine, &[5]).await;
    assert!(engine.unflushed_bytes() > 0);
    assert_eq!(engine.table_stats(A).unwrap().live_rows, states[10].len() as u64);
    engine.flush().await.unwrap();
    assert_eq!(engine.unflushed_bytes(), 0);
    assert_eq!(engine.table_stats(A).unwrap().live_rows, states[10].len() as u64);
    assert!(matches!(engine.table_stats(TableId(99)), Err(Error::NotFound(_))));
}

/// Every stored type survives memory, flush and restart, extremes and NULL included.
pub async fn every_type_reads_back(make: &dyn StoreFactory) {
    let (def, rows) = every_type();
    let mut store = make.open().await;
    let engine = store.engine();
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    w.stage(create(&def, 1)).await.unwrap();
    w.stage(inserts(&def, 1, &rows)).await.unwrap();
    publish(&mut *w, 1).await;
    assert_eq!(rows_at(&*engine, 1, A).await.unwrap(), sorted(rows.clone()));
    engine.flush().await.unwrap();
    assert_eq!(rows_at(&*engine, 1, A).await.unwrap(), sorted(rows.clone()), "flushed");
    drop((w, engine));
    store.crash().await;
    let engine: Arc<dyn StoreEngine> = store.engine();
    assert_eq!(rows_at(&*engine, 1, A).await.unwrap(), sorted(rows.clone()), "restarted");
    let mut w = engine.open_writer(WriterEpoch(2)).await.unwrap();
    let deletes: Vec<_> = rows.iter().map(|r| (2, RowOp::Delete, r.clone())).collect();
    w.stage(changes(&def, &deletes)).await.unwrap();
    publish(&mut *w, 2).await;
    assert!(rows_at(&*engine, 2, A).await.unwrap().is_empty());
}

/// A table without a key with a column of each stored type: rows of smallest, largest and NULL values.
fn every_type() -> (TableDef, Vec<Row>) {
    use CellValue::{Bytes, Decimal, Float, Int, Str, UInt};
    use TypeKind as K;
    let plain = UpstreamType::new;
    let nines = |n: usize| "9".repeat(n);
    let table: Vec<(UpstreamType, CellValue, CellValue)> = vec![
        (plain(K::TinyInt), Int(-128), Int(127)),
        (plain(K::SmallInt).unsigned(), UInt(0), UInt(65_535)),
        (plain(K::MediumInt), Int(-8_388_608), Int(8_388_607)),
        (plain(K::Int).unsigned(), UInt(0), UInt(u32::MAX.into())),
        (plain(K::BigInt), Int(i64::MIN), Int(i64::MAX)),
        (plain(K::BigInt).unsigned(), UInt(0), UInt(u64::MAX)),
        (UpstreamType::decimal(10, 2), Decimal(format!("-{}", nines(10))), Decimal(nines(10))),
        (UpstreamType::decimal(65, 30), Decimal(format!("-{}", nines(65))), Decimal(nines(65))),
        (plain(K::Float), Float(-1.5), Float(f64::from(f32::MAX))),
        (plain(K::Double), Float(-0.0), Float(f64::MAX)),
        (plain(K::Bit).with_length(64), UInt(0), UInt(u64::MAX)),
        (plain(K::Year), UInt(0), UInt(2155)),
        (plain(K::Date), Int(temporal::day_number(0, 0, 0).into()), Int(temporal::day_number(9999, 12, 31).into())),
        (plain(K::DateTime).with_fsp(6), Int(temporal::zero_micros()), Int(253_402_300_799_999_999)),
        (plain(K::Timestamp), Int(temporal::zero_micros()), Int(2_147_483_647_000_000)),
        (plain(K::Time).with_fsp(6), Int(-temporal::TIME_MAX_US), Int(temporal::TIME_MAX_US)),
        (plain(K::VarChar).with_length(9), Str(String::new()), Str("\u{10ffff}\0é ".into())),
        (plain(K::Blob), Bytes(Vec::new()), Bytes(vec![0, 255, 0])),
        (plain(K::Enum).with_labels(["x", "y"]), UInt(0), UInt(2)),
        (plain(K::Set).with_labels(["x", "y"]), UInt(0), UInt(3)),
        (plain(K::Json), Str("{}".into()), Str("[1, 2]".into())),
        (plain(K::Uuid), Bytes(vec![0; 16]), Bytes(vec![255; 16])),
        (plain(K::Inet4), Bytes(vec![0; 4]), Bytes(vec![255; 4])),
    ];
    let column =
        |(i, t): (usize, &(UpstreamType, _, _))| ColumnDef::new(i as i32 + 1, format!("c{i}"), t.0.clone()).nullable();
    let columns = table.iter().enumerate().map(column).collect();
    let def = with_id(TableDef::new(TableName::new("types", "all"), columns, &[]), 1);
    let low = table.iter().map(|t| t.1.clone()).collect();
    let high = table.iter().map(|t| t.2.clone()).collect();
    let nulls = table.iter().map(|_| null()).collect();
    (def, vec![low, high, nulls])
}
