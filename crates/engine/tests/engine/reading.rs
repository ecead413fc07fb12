//! What readers may ask for so that less is read: filters, pages, limits, bounds. Nothing that they want is left out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type};
use futures::TryStreamExt;
use tidelake_core::ports::{
    ColumnBounds, ColumnPredicate, PredicateOp, RowFilter, ScanRequest, ScanSplit, StoreEngine,
};
use tidelake_core::testing::tables::{
    Row, accounts, add_column, altered, cells_of, changes, create, inserts, int, lease, null, position, rows_at,
    schema, sorted, text,
};
use tidelake_core::types::{TypeKind, UpstreamType};
use tidelake_core::{CellValue, ColumnId, CommitSeq, Error, RowOp, SchemaChange, TableId, WriterEpoch};
use tidelake_engine::MagicEngine;

use crate::harness::{open, small, tempdir};

const T: TableId = TableId(1);

/// `column < limit`, NULLs not.
struct Below {
    columns: Vec<ColumnId>,
    limit: i32,
}

impl RowFilter for Below {
    fn columns(&self) -> &[ColumnId] {
        &self.columns
    }

    fn keep(&self, rows: &RecordBatch) -> BooleanArray {
        assert_eq!(rows.num_columns(), 1, "only the asked column");
        rows.column(0).as_primitive::<Int32Type>().iter().map(|v| v.map(|v| v < self.limit)).collect()
    }

    fn pays(&self) -> bool {
        true
    }
}

fn row(id: i64, balance: i64) -> Row {
    vec![int(id), int(balance), text(&format!("note {id}"))]
}

async fn read(engine: &MagicEngine, request: &ScanRequest, filter: Option<Arc<Below>>) -> Vec<Row> {
    let mut rows = Vec::new();
    for split in &engine.plan_scan(request).await.unwrap().splits {
        let batches = match &filter {
            Some(filter) => engine.read_filtered(split, filter.clone()).await.unwrap(),
            None => engine.read_split(split).await.unwrap(),
        };
        let batches: Vec<_> = batches.try_collect().await.unwrap();
        batches.iter().for_each(|b| rows.extend(cells_of(b).unwrap()));
    }
    sorted(rows)
}

/// Three versions: 1000 rows; a tenth updated and some deleted; the rest of a file's rows dead but for a few.
async fn history(engine: &MagicEngine, flush: bool) {
    let def = accounts(1, "a");
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    w.stage(create(&def, 1)).await.unwrap();
    w.stage(inserts(&def, 1, &(0..1000).map(|id| row(id, id % 50)).collect::<Vec<_>>())).await.unwrap();
    w.publish(CommitSeq(1), position(1)).await.unwrap();
    if flush {
        engine.flush().await.unwrap();
    }
    let mut ops = Vec::new();
    for id in (0..1000).step_by(10) {
        ops.push((2, RowOp::Delete, row(id, id % 50)));
        ops.push((2, RowOp::Insert, row(id, id % 50 + 1)));
    }
    ops.extend((0..1000).filter(|id| id % 97 == 1).map(|id| (2, RowOp::Delete, row(id, id % 50))));
    w.stage(changes(&def, &ops)).await.unwrap();
    w.publish(CommitSeq(2), position(2)).await.unwrap();
    let gone = (200..800).filter(|id| id % 10 != 0 && id % 97 != 1);
    w.stage(changes(&def, &gone.map(|id| (3, RowOp::Delete, row(id, id % 50))).collect::<Vec<_>>())).await.unwrap();
    w.publish(CommitSeq(3), position(3)).await.unwrap();
    if flush {
        engine.flush().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_spares_rows_and_loses_none() {
    for flush in [false, true] {
        let dir = tempdir();
        let mut options = small(&dir);
        options.row_group_rows = 300;
        let engine = open(&options).await;
        history(&engine, flush).await;
        for (seq, limit, splits) in [(1, 7, 1), (2, 7, 1), (3, 7, 1), (3, 0, 1), (2, 100, 1), (1, 7, 9), (3, 7, 9)] {
            let filter = Arc::new(Below { columns: vec![ColumnId(2)], limit });
            let mut request = ScanRequest::new(&lease(seq), T);
            request.target_splits = splits;
            let matches = |r: &Row| matches!(&r[1], CellValue::Int(b) if *b < i64::from(limit));
            let all = rows_at(&*engine, seq, T).await.unwrap();
            let wanted: Vec<Row> = all.iter().filter(|r| matches(r)).cloned().collect();
            let got = read(&engine, &request, Some(filter)).await;
            let kept: Vec<Row> = got.iter().filter(|r| matches(r)).cloned().collect();
            assert_eq!(kept, wanted, "seq {seq} below {limit}, {splits} splits");
            // From files nothing else comes.
            assert!(!flush || got.len() == wanted.len(), "{} rows, {} match", got.len(), wanted.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_on_an_added_column_and_on_one_that_is_not_asked_for() {
    let dir = tempdir();
    let engine = open(&small(&dir)).await;
    let def = accounts(1, "a");
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    w.stage(create(&def, 1)).await.unwrap();
    w.stage(inserts(&def, 1, &(0..10).map(|id| row(id, id)).collect::<Vec<_>>())).await.unwrap();
    w.publish(CommitSeq(1), position(1)).await.unwrap();
    engine.flush().await.unwrap();
    let wider = altered(&def, |d| add_column(d, "more", UpstreamType::new(TypeKind::Int), int(5)));
    w.stage(schema(2, SchemaChange::AlterTable(Box::new(wider.clone())))).await.unwrap();
    w.stage(inserts(&wider, 2, &[vec![int(10), int(10), null(), int(6)]])).await.unwrap();
    w.publish(CommitSeq(2), position(2)).await.unwrap();
    engine.flush().await.unwrap();
    let mut request = ScanRequest::new(&lease(2), T);
    request.projection = Some(vec![ColumnId(1)]);
    let filter = |column, limit| Some(Arc::new(Below { columns: vec![ColumnId(column)], limit }));
    // Old rows have 5, though their file has no such column.
    assert!(read(&engine, &request, filter(4, 6)).await.len() >= 10);
    assert_eq!(read(&engine, &request, filter(2, 3)).await, [[int(0)], [int(1)], [int(2)]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_come_as_views_where_they_are_asked_for() {
    for flush in [false, true] {
        let dir = tempdir();
        let engine = open(&small(&dir)).await;
        history(&engine, flush).await;
        let mut w = engine.open_writer(WriterEpoch(2)).await.unwrap();
        let wider = altered(&accounts(1, "a"), |d| {
            add_column(d, "more", UpstreamType::new(TypeKind::VarChar).with_length(40), text("a text of the catalog"));
        });
        w.stage(schema(4, SchemaChange::AlterTable(Box::new(wider.clone())))).await.unwrap();
        w.stage(inserts(&wider, 4, &[vec![int(5000), int(3), null(), text("more")]])).await.unwrap();
        w.publish(CommitSeq(4), position(4)).await.unwrap();
        for (seq, columns) in [(1, 3), (3, 3), (4, 4)] {
            let mut request = ScanRequest::new(&lease(seq), T);
            let types = async |request: &ScanRequest| {
                let plan = engine.plan_scan(request).await.unwrap();
                let types: Vec<_> = plan.schema.fields().iter().map(|f| f.data_type().clone()).collect();
                types
            };
            assert!(!types(&request).await.contains(&DataType::Utf8View));
            let filter = || Some(Arc::new(Below { columns: vec![ColumnId(2)], limit: 7 }));
            let plain = (read(&engine, &request, None).await, read(&engine, &request, filter()).await);
            request.text_views = true;
            assert_eq!(types(&request).await[2..], vec![DataType::Utf8View; columns - 2]);
            let views = (read(&engine, &request, None).await, read(&engine, &request, filter()).await);
            assert!(views == plain && !plain.1.is_empty(), "seq {seq}, flushed: {flush}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_as_large_as_is_welcome() {
    let dir = tempdir();
    let mut options = small(&dir);
    (options.memtable_bytes, options.row_group_rows, options.read_bytes) = (64 << 20, 1 << 20, 64 << 20);
    let engine = open(&options).await;
    let def = accounts(1, "a");
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    w.stage(create(&def, 1)).await.unwrap();
    let rows: Vec<Row> = (0..100_000).map(|id| vec![int(id), int(id % 7), text(&format!("{id:010}"))]).collect();
    w.stage(inserts(&def, 1, &rows)).await.unwrap();
    w.publish(CommitSeq(1), position(1)).await.unwrap();
    engine.flush().await.unwrap();
    for columns in [2, 3] {
        let mut request = ScanRequest::new(&lease(1), T);
        request.projection = Some((1..=columns).map(ColumnId).collect());
        let [split] = engine.plan_scan(&request).await.unwrap().splits.try_into().expect("one split");
        let wanted: Vec<Row> = rows.iter().map(|row| row[..columns as usize].to_vec()).collect();
        let mut largest = Vec::new();
        for batch_bytes in [0, 1, 1 << 18, usize::MAX] {
            let split = ScanSplit { batch_bytes, ..split.clone() };
            let batches: Vec<RecordBatch> = engine.read_split(&split).await.unwrap().try_collect().await.unwrap();
            let got: Vec<Row> = batches.iter().flat_map(|batch| cells_of(batch).unwrap()).collect();
            assert!(got == wanted, "{columns} columns, {batch_bytes}");
            largest.push(batches.iter().map(RecordBatch::num_rows).max().unwrap());
        }
        // 8 bytes of numbers; a text may have any size.
        let numbers = columns == 2;
        assert_eq!(largest, if numbers { [8192, 8192, (1 << 18) / 8, 65_536] } else { [8192; 4] });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_cannot_match_are_left_out() {
    let dir = tempdir();
    let mut options = small(&dir);
    (options.memtable_bytes, options.row_group_rows) = (64 << 20, 1 << 20);
    let engine = open(&options).await;
    let def = accounts(1, "a");
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    w.stage(create(&def, 1)).await.unwrap();
    w.stage(inserts(&def, 1, &(0..100_000).map(|id| row(id, id % 7)).collect::<Vec<_>>())).await.unwrap();
    w.publish(CommitSeq(1), position(1)).await.unwrap();
    engine.flush().await.unwrap();
    let dead: Vec<_> = (60_000..60_010).map(|id| (2, RowOp::Delete, row(id, id % 7))).collect();
    w.stage(changes(&def, &dead)).await.unwrap();
    w.publish(CommitSeq(2), position(2)).await.unwrap();
    let bound = |op, id| ColumnPredicate { column: ColumnId(1), op, values: vec![int(id)] };
    let ranges = [(1, 60_005, 60_020), (2, 60_005, 60_020), (2, 0, 5), (2, 99_990, 200_000), (2, 7, 3), (2, 1, 40_000)];
    for ((seq, from, to), splits) in ranges.into_iter().flat_map(|range| [(range, 1), (range, 7)]) {
        let mut request = ScanRequest::new(&lease(seq), T);
        request.target_splits = splits;
        request.predicates = vec![bound(PredicateOp::GtEq, from), bound(PredicateOp::Lt, to)];
        let got = read(&engine, &request, None).await;
        assert!(got.len() < 50_000, "{} rows are read for {from}..{to}", got.len());
        let cut = engine.plan_scan(&request).await.unwrap().splits.len();
        assert!(cut >= splits, "one group is cut to {cut} splits, not {splits}");
        let inside = |r: &Row| matches!(r[0], CellValue::Int(id) if from <= id && id < to);
        let mut wanted: Vec<Row> = (from..to.min(100_000)).map(|id| row(id, id % 7)).collect();
        wanted.retain(|r| seq == 1 || !matches!(r[0], CellValue::Int(60_000..60_010)));
        assert_eq!(got.into_iter().filter(inside).collect::<Vec<_>>(), sorted(wanted), "{from}..{to} at {seq}");
    }
}

/// Two files, of which the first is overwritten: who asks for rows that only the second can have does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_match_are_not_even_opened() {
    let dir = tempdir();
    let options = small(&dir);
    let engine = open(&options).await;
    let def = accounts(1, "a");
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    w.stage(create(&def, 1)).await.unwrap();
    for (seq, first) in [(1, 0), (2, 5000)] {
        w.stage(inserts(&def, seq, &(first..first + 100).map(|id| row(id, id % 7)).collect::<Vec<_>>())).await.unwrap();
        w.publish(CommitSeq(seq), position(seq)).await.unwrap();
        engine.flush().await.unwrap();
    }
    drop((w, engine));
    let engine = open(&options).await;
    let mut files: Vec<_> =
        walk(&options.dir).into_iter().filter(|f| f.extension().is_some_and(|e| e == "parquet")).collect();
    files.sort_by_key(|f| f.file_stem().and_then(|n| n.to_str()?.parse::<u64>().ok()));
    assert_eq!(files.len(), 2);
    let bytes = std::fs::metadata(&files[0]).unwrap().len();
    std::fs::write(&files[0], vec![0; bytes as usize]).unwrap();
    let asked = |op, id| {
        let mut request = ScanRequest::new(&lease(2), T);
        request.predicates = vec![ColumnPredicate { column: ColumnId(1), op, values: vec![int(id)] }];
        request
    };
    assert_eq!(read(&engine, &asked(PredicateOp::GtEq, 100), None).await.len(), 100);
    assert_eq!(read(&engine, &asked(PredicateOp::Gt, 6000), None).await.len(), 0);
    let damaged = engine.plan_scan(&asked(PredicateOp::GtEq, 99)).await.expect_err("the first file is asked too");
    assert!(matches!(damaged, Error::Corrupt { .. }), "{damaged}");
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_reads_less() {
    let dir = tempdir();
    let engine = open(&small(&dir)).await;
    history(&engine, true).await;
    for (seq, limit) in [(1, 5), (2, 5), (3, 3), (3, 5000)] {
        let all = rows_at(&*engine, seq, T).await.unwrap();
        let mut request = ScanRequest::new(&lease(seq), T);
        request.limit = Some(limit);
        let got = read(&engine, &request, None).await;
        assert!(got.len() >= limit.min(all.len()), "{} rows at {seq}", got.len());
        assert!(limit > 1000 || got.len() < 500, "{} rows at {seq}", got.len());
        assert!(got.iter().all(|r| all.contains(r)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_are_exact_only_where_all_rows_are_seen() {
    let dir = tempdir();
    let engine = open(&small(&dir)).await;
    let def = accounts(1, "a");
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    w.stage(create(&def, 1)).await.unwrap();
    w.stage(inserts(&def, 1, &[row(-7, 3), row(5, 900), row(6, -1)])).await.unwrap();
    w.publish(CommitSeq(1), position(1)).await.unwrap();
    let bounds = async |seq| engine.plan_scan(&ScanRequest::new(&lease(seq), T)).await.unwrap().bounds;
    let of = |least, greatest, exact| Some(ColumnBounds { least: int(least), greatest: int(greatest), exact });
    // In memory nothing is known.
    assert!(bounds(1).await.iter().all(Option::is_none));
    engine.flush().await.unwrap();
    assert_eq!(bounds(1).await, [of(-7, 6, true), of(-1, 900, true), None]);
    w.stage(changes(&def, &[(2, RowOp::Delete, row(5, 900)), (2, RowOp::Insert, row(5, 1))])).await.unwrap();
    w.publish(CommitSeq(2), position(2)).await.unwrap();
    assert_eq!(bounds(1).await, [of(-7, 6, true), of(-1, 900, true), None]);
    assert_eq!(bounds(2).await, [of(-7, 6, false), of(-1, 900, false), None]);
    engine.flush().await.unwrap();
    assert_eq!(bounds(2).await, [of(-7, 6, false), of(-1, 900, false), None]);
}
