//! Point look-ups read the rows of their keys and no others, at every seq.

use futures::TryStreamExt;
use tidelake_core::ports::{ColumnPredicate, PredicateOp, ScanRequest, StoreEngine};
use tidelake_core::testing::tables::{
    Row, accounts, cells_of, changes, create, inserts, int, lease, null, pairs, position, sorted, text,
};
use tidelake_core::{CellValue, ColumnId, CommitSeq, RowOp, TableId, WriterEpoch};
use tidelake_engine::MagicEngine;

use crate::harness::{open, small, tempdir};

fn equals(column: i32, value: CellValue) -> ColumnPredicate {
    ColumnPredicate { column: ColumnId(column), op: PredicateOp::Eq, values: vec![value] }
}

/// All rows that the scan of a table reads, matching or not.
async fn read(engine: &MagicEngine, table: u64, seq: u64, predicates: Vec<ColumnPredicate>) -> Vec<Row> {
    let mut request = ScanRequest::new(&lease(seq), TableId(table));
    request.predicates = predicates;
    let plan = engine.plan_scan(&request).await.unwrap();
    let mut rows = Vec::new();
    for split in &plan.splits {
        let batches: Vec<_> = engine.read_split(split).await.unwrap().try_collect().await.unwrap();
        batches.iter().for_each(|b| rows.extend(cells_of(b).unwrap()));
    }
    sorted(rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_reads_its_own_row_at_every_seq() {
    let dir = tempdir();
    let mut options = small(&dir);
    options.row_group_rows = 100;
    let engine = open(&options).await;
    let (def, two) = (accounts(1, "a"), pairs(2, "b"));
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    let row = |id: i64, balance: i64| vec![int(id), int(balance), null()];
    let pair = |n: i64| vec![text(&format!("a{}", n % 10)), text(&format!("b{}", n / 10)), int(n)];
    w.stage(create(&def, 1)).await.unwrap();
    w.stage(create(&two, 1)).await.unwrap();
    w.stage(inserts(&def, 1, &(0..1000).map(|id| row(id * 2, 0)).collect::<Vec<_>>())).await.unwrap();
    w.stage(inserts(&two, 1, &(0..300).map(pair).collect::<Vec<_>>())).await.unwrap();
    w.publish(CommitSeq(1), position(1)).await.unwrap();
    engine.flush().await.unwrap();
    let update = [(2, RowOp::Delete, row(500, 0)), (2, RowOp::Insert, row(500, 7)), (2, RowOp::Delete, row(502, 0))];
    w.stage(changes(&def, &update)).await.unwrap();
    w.publish(CommitSeq(2), position(2)).await.unwrap();
    engine.flush().await.unwrap();
    for (seq, id, want) in [
        (1, 500, vec![row(500, 0)]),
        (2, 500, vec![row(500, 7)]),
        (1, 502, vec![row(502, 0)]),
        (2, 502, vec![]),
        (2, 1998, vec![row(1998, 0)]),
        (2, 501, vec![]),
    ] {
        assert_eq!(read(&engine, 1, seq, vec![equals(1, int(id))]).await, want, "key {id} at {seq}");
    }
    let several = ColumnPredicate { values: vec![int(4), int(500), int(3)], op: PredicateOp::In, ..equals(1, null()) };
    assert_eq!(read(&engine, 1, 2, vec![several]).await, sorted(vec![row(4, 0), row(500, 7)]));
    // A key of two columns needs both.
    let both = vec![equals(2, text("b7")), equals(1, text("a3"))];
    assert_eq!(read(&engine, 2, 2, both.clone()).await, [pair(73)]);
    assert!(read(&engine, 2, 2, both[..1].to_vec()).await.len() >= 10);
    // After a restart too, and of a plan that was made before.
    let mut request = ScanRequest::new(&lease(1), TableId(1));
    request.predicates = vec![equals(1, int(500))];
    let plan = engine.plan_scan(&request).await.unwrap();
    drop((w, engine));
    let engine = open(&options).await;
    let batches: Vec<_> = engine.read_split(&plan.splits[0]).await.unwrap().try_collect().await.unwrap();
    assert_eq!(cells_of(&batches[0]).unwrap(), [row(500, 0)]);
    assert_eq!(read(&engine, 1, 2, vec![equals(1, int(500))]).await, [row(500, 7)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_memory_reads_its_own_row_at_every_seq() {
    let dir = tempdir();
    let engine = open(&small(&dir)).await;
    let def = accounts(1, "a");
    let row = |id: i64, balance: i64| vec![int(id), int(balance), null()];
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    w.stage(create(&def, 1)).await.unwrap();
    for first in [0, 100, 200] {
        w.stage(inserts(&def, 1, &(first..first + 100).map(|id| row(id, 0)).collect::<Vec<_>>())).await.unwrap();
    }
    w.publish(CommitSeq(1), position(1)).await.unwrap();
    let step = [(2, RowOp::Delete, row(50, 0)), (2, RowOp::Insert, row(50, 7)), (2, RowOp::Delete, row(150, 0))];
    w.stage(changes(&def, &step)).await.unwrap();
    w.publish(CommitSeq(2), position(2)).await.unwrap();
    w.stage(changes(&def, &[(3, RowOp::Insert, row(150, 9)), (3, RowOp::Delete, row(50, 7))])).await.unwrap();
    w.publish(CommitSeq(3), position(3)).await.unwrap();
    // Staged, so not there yet.
    w.stage(changes(&def, &[(4, RowOp::Delete, row(150, 9)), (4, RowOp::Insert, row(50, 8))])).await.unwrap();
    let wanted = [
        (1, 50, vec![row(50, 0)]),
        (2, 50, vec![row(50, 7)]),
        (3, 50, vec![]),
        (1, 150, vec![row(150, 0)]),
        (2, 150, vec![]),
        (3, 150, vec![row(150, 9)]),
        (3, 299, vec![row(299, 0)]),
        (3, 300, vec![]),
    ];
    let mut plans = Vec::new();
    for (seq, id, want) in &wanted {
        assert_eq!(read(&engine, 1, *seq, vec![equals(1, int(*id))]).await, *want, "key {id} at {seq}");
        let mut request = ScanRequest::new(&lease(*seq), TableId(1));
        request.predicates = vec![equals(1, int(*id))];
        plans.push(engine.plan_scan(&request).await.unwrap());
    }
    w.publish(CommitSeq(4), position(4)).await.unwrap();
    engine.flush().await.unwrap();
    for (plan, (seq, id, want)) in plans.iter().zip(&wanted) {
        let mut rows = Vec::new();
        for split in &plan.splits {
            let batches: Vec<_> = engine.read_split(split).await.unwrap().try_collect().await.unwrap();
            batches.iter().for_each(|b| rows.extend(cells_of(b).unwrap()));
        }
        assert_eq!(rows, *want, "key {id} at {seq}, planned before the flush");
    }
}
