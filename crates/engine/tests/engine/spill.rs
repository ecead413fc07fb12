//! Transactions that are larger than memory (invariant 6).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tidelake_core::ports::{StoreEngine, StoreWriter};
use tidelake_core::testing::tables::{
    Row, accounts, changes, create, events, inserts, int, position, rows_at, sorted, text,
};
use tidelake_core::{CommitSeq, Error, RowOp, TableDef, TableId, WriterEpoch};
use tidelake_engine::{EngineOptions, Faults, MagicEngine};

use crate::harness::{open, small, tempdir};

const LIMIT: u64 = 100_000;
const ROWS: i64 = 12_000;
const STEP: i64 = 200;
/// More than one step of the tests below takes.
const STEP_BYTES: u64 = 100_000;

fn row(def: &TableDef, id: i64, version: i64) -> Row {
    let note = text(&format!("{version:-<30}{id}"));
    if def.key.is_empty() { vec![int(id / 2), note] } else { vec![int(id), int(version), note] }
}

fn all(def: &TableDef, ids: std::ops::Range<i64>, version: i64) -> Vec<Row> {
    sorted(ids.map(|id| row(def, id, version)).collect())
}

fn tiny(dir: &tempfile::TempDir) -> EngineOptions {
    let mut options = small(dir);
    options.row_group_rows = 1000;
    options.memtable_bytes = LIMIT;
    options.faults = Faults::armed();
    options
}

fn data_files(dir: &Path) -> usize {
    let listed = fs::read_dir(dir.join("table/1/l0"));
    listed.map_or(0, |l| l.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "parquet")).count())
}

/// Stages one transaction in steps; returns the most bytes that were in memory after any of them.
async fn stage_update(
    engine: &MagicEngine,
    w: &mut dyn StoreWriter,
    def: &TableDef,
    seq: u64,
    from: i64,
    to: i64,
) -> u64 {
    let mut most = 0;
    for first in (0..ROWS).step_by(STEP as usize) {
        let ids = first..first + STEP;
        let pair = |id| [(seq, RowOp::Delete, row(def, id, from)), (seq, RowOp::Insert, row(def, id, to))];
        let ops: Vec<_> = ids.flat_map(pair).collect();
        w.stage(changes(def, &ops)).await.unwrap();
        most = most.max(engine.memtable_bytes());
    }
    most
}

async fn stage_inserts(engine: &MagicEngine, w: &mut dyn StoreWriter, def: &TableDef, seq: u64) -> u64 {
    let mut most = 0;
    for first in (0..ROWS).step_by(STEP as usize) {
        let rows: Vec<Row> = (first..first + STEP).map(|id| row(def, id, 1)).collect();
        w.stage(inserts(def, seq, &rows)).await.unwrap();
        most = most.max(engine.memtable_bytes());
    }
    most
}

async fn begin(options: &EngineOptions, def: &TableDef) -> (Arc<MagicEngine>, Box<dyn StoreWriter>) {
    let engine = open(options).await;
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    w.stage(create(def, 1)).await.unwrap();
    w.publish(CommitSeq(1), position(1)).await.unwrap();
    (engine, w)
}

async fn larger_than_memory(def: TableDef) {
    let dir = tempdir();
    let options = tiny(&dir);
    let (engine, mut w) = begin(&options, &def).await;
    let bound = 2 * LIMIT + STEP_BYTES;
    let inserted = stage_inserts(&engine, &mut *w, &def, 2).await;
    assert!(inserted < bound, "{inserted} bytes in memory while one transaction inserts");
    assert_eq!(rows_at(&*engine, 1, def.id).await.unwrap(), Vec::<Row>::new());
    w.publish(CommitSeq(2), position(2)).await.unwrap();
    assert_eq!(rows_at(&*engine, 2, def.id).await.unwrap(), all(&def, 0..ROWS, 1));
    // Three times over the same rows in one transaction: rows are born and die in private files.
    for (from, to) in [(1, 2), (2, 3), (3, 4)] {
        let updated = stage_update(&engine, &mut *w, &def, 3, from, to).await;
        assert!(updated < bound, "{updated} bytes in memory while one transaction updates");
    }
    let weight: u64 = 3 * 2 * ROWS as u64 * 60;
    assert!(weight > 10 * bound, "the transaction is many times the limit");
    assert_eq!(rows_at(&*engine, 2, def.id).await.unwrap(), all(&def, 0..ROWS, 1), "right before");
    assert!(matches!(rows_at(&*engine, 3, def.id).await, Err(Error::Unavailable(_))));
    w.publish(CommitSeq(3), position(3)).await.unwrap();
    for seq in [2, 3] {
        assert_eq!(rows_at(&*engine, seq, def.id).await.unwrap(), all(&def, 0..ROWS, if seq == 2 { 1 } else { 4 }));
    }
    engine.flush().await.unwrap();
    drop((w, engine));
    let engine = open(&options).await;
    assert_eq!(engine.durable().borrow().seq, CommitSeq(3));
    for seq in [2, 3] {
        assert_eq!(rows_at(&*engine, seq, def.id).await.unwrap(), all(&def, 0..ROWS, if seq == 2 { 1 } else { 4 }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv6_a_transaction_larger_than_memory() {
    larger_than_memory(accounts(1, "t")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv6_a_transaction_larger_than_memory_without_keys() {
    larger_than_memory(events(1, "t")).await;
}

/// A crash before the manifest names spilled files leaves nothing of them, staged or published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv2_a_crash_before_the_edit_leaves_nothing_spilled() {
    for published in [false, true] {
        let dir = tempdir();
        let options = tiny(&dir);
        let def = accounts(1, "t");
        let (engine, mut w) = begin(&options, &def).await;
        engine.flush().await.unwrap();
        // No flush of its own gets through.
        options.faults.set("flush: before edit");
        stage_inserts(&engine, &mut *w, &def, 2).await;
        assert!(data_files(&options.dir) > 3, "spilled");
        if published {
            w.publish(CommitSeq(2), position(2)).await.unwrap();
            assert!(engine.flush().await.is_err());
        }
        drop((w, engine));
        options.faults.clear();
        let engine = open(&options).await;
        assert_eq!((engine.durable().borrow().seq, data_files(&options.dir)), (CommitSeq(1), 0));
        let mut w = engine.open_writer(WriterEpoch(2)).await.unwrap();
        assert_eq!(rows_at(&*engine, 1, def.id).await.unwrap(), Vec::<Row>::new());
        stage_inserts(&engine, &mut *w, &def, 2).await;
        w.publish(CommitSeq(2), position(2)).await.unwrap();
        assert_eq!(rows_at(&*engine, 2, def.id).await.unwrap(), all(&def, 0..ROWS, 1));
    }
}

/// A new writer finds nothing of what was staged before it, in files or in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_writer_discards_what_was_spilled() {
    let dir = tempdir();
    let options = tiny(&dir);
    let def = accounts(1, "t");
    let (engine, mut w) = begin(&options, &def).await;
    stage_inserts(&engine, &mut *w, &def, 2).await;
    w.publish(CommitSeq(2), position(2)).await.unwrap();
    engine.flush().await.unwrap();
    let before = data_files(&options.dir);
    stage_update(&engine, &mut *w, &def, 3, 1, 2).await;
    assert!(data_files(&options.dir) > before);
    let mut w = engine.open_writer(WriterEpoch(2)).await.unwrap();
    assert_eq!((data_files(&options.dir), engine.memtable_bytes()), (before, 0));
    assert_eq!(rows_at(&*engine, 2, def.id).await.unwrap(), all(&def, 0..ROWS, 1));
    stage_update(&engine, &mut *w, &def, 3, 1, 3).await;
    w.publish(CommitSeq(3), position(3)).await.unwrap();
    assert_eq!(rows_at(&*engine, 3, def.id).await.unwrap(), all(&def, 0..ROWS, 3));
}

/// A disk that fails while spilling stops the writer; readers go on, and the replay repeats everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv2_a_spill_that_fails_changes_nothing() {
    for point in ["spill: before files", "spill: after files"] {
        let dir = tempdir();
        let options = tiny(&dir);
        let def = accounts(1, "t");
        let (engine, mut w) = begin(&options, &def).await;
        stage_inserts(&engine, &mut *w, &def, 2).await;
        w.publish(CommitSeq(2), position(2)).await.unwrap();
        engine.flush().await.unwrap();
        options.faults.set(point);
        let mut failed = false;
        for id in 0..ROWS {
            let step = changes(&def, &[(3, RowOp::Delete, row(&def, id, 1)), (3, RowOp::Insert, row(&def, id, 2))]);
            failed = w.stage(step).await.is_err();
            if failed {
                break;
            }
        }
        assert!(failed, "{point} was not reached");
        assert!(matches!(w.publish(CommitSeq(3), position(3)).await, Err(Error::Closed(_))));
        assert_eq!(rows_at(&*engine, 2, TableId(1)).await.unwrap(), all(&def, 0..ROWS, 1));
        drop((w, engine));
        options.faults.clear();
        let engine = open(&options).await;
        assert_eq!(rows_at(&*engine, 2, TableId(1)).await.unwrap(), all(&def, 0..ROWS, 1));
    }
}
