//! Merges stand in nobody's way: flushes and staging go on while one runs, and what dies meanwhile is dead after it.

use std::time::Duration;

use tidelake_core::ports::StoreEngine;
use tidelake_core::testing::tables::{
    Row, accounts, changes, create, events, inserts, int, null, position, rows_at, schema,
};
use tidelake_core::{CommitSeq, RowOp, SchemaChange, TableDef, WriterEpoch};
use tidelake_engine::{Faults, scrub};

use crate::harness::{open, small, tempdir};

const HOLD: &str = "test: hold merges";
/// Much longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

fn row(def: &TableDef, id: i64) -> Row {
    if def.key.is_empty() { vec![int(id % 3), null()] } else { vec![int(id), int(0), null()] }
}

/// Two flushed files are merged; deaths of their rows become durable, are published and are staged meanwhile.
async fn flushes_go_on_beside_a_merge(def: TableDef) {
    let dir = tempdir();
    let mut options = small(&dir);
    options.max_files = 1;
    options.faults = Faults::armed();
    options.faults.set("test: no own compaction");
    let engine = open(&options).await;
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    w.stage(create(&def, 1)).await.unwrap();
    for (seq, ids) in [(1, 0..700), (2, 700..1400)] {
        w.stage(inserts(&def, seq, &ids.map(|id| row(&def, id)).collect::<Vec<_>>())).await.unwrap();
        w.publish(CommitSeq(seq), position(seq)).await.unwrap();
        engine.flush().await.unwrap();
    }
    options.faults.set(HOLD);
    let merging = tokio::spawn({
        let engine = engine.clone();
        async move { engine.compact().await }
    });
    while !options.faults.reached(HOLD) {
        assert!(!merging.is_finished(), "there is something to merge");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Durable deaths (so many that they are a run), then published ones, then staged ones.
    for (seq, ids) in [(3u64, 0..600), (4, 600..610), (5, 700..705)] {
        let deaths: Vec<_> = ids.map(|id| (seq, RowOp::Delete, row(&def, id))).collect();
        w.stage(changes(&def, &deaths)).await.unwrap();
        if seq < 5 {
            w.publish(CommitSeq(seq), position(seq)).await.unwrap();
        }
        if seq == 3 {
            let flushed = tokio::time::timeout(LONG, engine.flush()).await.expect("a flush waits for no merge");
            assert_eq!(flushed.unwrap(), CommitSeq(3));
        }
    }
    options.faults.unset(HOLD);
    assert_eq!(merging.await.unwrap().unwrap(), 1);
    w.publish(CommitSeq(5), position(5)).await.unwrap();
    for (seq, lives) in [(2, 1400), (3, 800), (4, 790), (5, 785)] {
        assert_eq!(rows_at(&*engine, seq, def.id).await.unwrap().len(), lives, "at {seq}");
    }
    // What was durable before the merge was installed is durable in its output.
    drop((w, engine));
    let engine = open(&options).await;
    assert_eq!(engine.durable().borrow().seq, CommitSeq(3));
    assert_eq!(rows_at(&*engine, 3, def.id).await.unwrap().len(), 800);
    assert_eq!(rows_at(&*engine, 2, def.id).await.unwrap().len(), 1400);
    // The rows of later deaths are found in the output.
    let mut w = engine.open_writer(WriterEpoch(2)).await.unwrap();
    let deaths: Vec<_> = (600..610).chain(700..705).map(|id| (4, RowOp::Delete, row(&def, id))).collect();
    w.stage(changes(&def, &deaths)).await.unwrap();
    w.publish(CommitSeq(4), position(4)).await.unwrap();
    assert_eq!(rows_at(&*engine, 4, def.id).await.unwrap().len(), 785);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushes_go_on_beside_a_merge_of_keys() {
    flushes_go_on_beside_a_merge(accounts(1, "t")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushes_go_on_beside_a_merge_without_keys() {
    flushes_go_on_beside_a_merge(events(1, "t")).await;
}

/// A table is dropped while a merge reads its files, and the horizon passes the drop: the flush then cannot let the files
/// go yet, and the process ends before another one comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_dropped_under_a_merge_is_no_damage() {
    let dir = tempdir();
    let mut options = small(&dir);
    options.max_files = 1;
    options.faults = Faults::armed();
    options.faults.set("test: no own compaction");
    let engine = open(&options).await;
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    let def = accounts(1, "t");
    w.stage(create(&def, 1)).await.unwrap();
    for seq in 1..4u64 {
        w.stage(inserts(&def, seq, &[row(&def, seq as i64)])).await.unwrap();
        if seq == 3 {
            w.stage(changes(&def, &[(3, RowOp::Delete, row(&def, 1))])).await.unwrap();
        }
        w.publish(CommitSeq(seq), position(seq)).await.unwrap();
        engine.flush().await.unwrap();
    }
    options.faults.set(HOLD);
    let merging = tokio::spawn({
        let engine = engine.clone();
        async move { engine.compact().await }
    });
    while !options.faults.reached(HOLD) {
        assert!(!merging.is_finished(), "there is something to merge");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    w.stage(schema(4, SchemaChange::DropTable(def.id))).await.unwrap();
    w.publish(CommitSeq(4), position(4)).await.unwrap();
    engine.set_horizon(CommitSeq(4));
    engine.flush().await.unwrap();
    options.faults.unset(HOLD);
    merging.await.unwrap().unwrap();
    drop((w, engine));
    assert_eq!(scrub(&options.dir).unwrap().damage, Vec::<String>::new());
    let engine = open(&options).await;
    assert_eq!(engine.durable().borrow().seq, CommitSeq(4));
    drop(engine);
    assert_eq!(scrub(&options.dir).unwrap().notes, Vec::<String>::new(), "its files are gone");
}
