//! Readers, flushes and compactions beside a writer that never stops: money moves between two tables, and no
//! reader ever sees some of it missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidelake_core::ports::StoreEngine;
use tidelake_core::testing::tables::{Row, accounts, changes, create, inserts, int, null, position, rows_at};
use tidelake_core::{CellValue, CommitSeq, RowOp, TableId, WriterEpoch};
use tidelake_engine::MagicEngine;

use crate::harness::{open, small, tempdir};

const ACCOUNTS: i64 = 20;

fn row(id: i64, balance: i64) -> Row {
    vec![int(id), int(balance), null()]
}

async fn total(engine: &MagicEngine, seq: u64) -> i64 {
    let mut total = 0;
    for table in [1, 2] {
        let rows = rows_at(engine, seq, TableId(table)).await.expect("readable while leased");
        assert_eq!(rows.len(), ACCOUNTS as usize, "table {table} at {seq}");
        for row in rows {
            let CellValue::Int(balance) = row[1] else { panic!("balances are numbers") };
            total += balance;
        }
    }
    total
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv1_whole_transactions_while_flushing_and_compacting() {
    let dir = tempdir();
    let mut options = small(&dir);
    // Flushes by themselves, stalls and compactions all happen.
    options.memtable_bytes = 20_000;
    options.max_files = 2;
    options.max_dead = 0.3;
    let engine = open(&options).await;
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    let defs = [accounts(1, "a"), accounts(2, "b")];
    for def in &defs {
        w.stage(create(def, 1)).await.unwrap();
        w.stage(inserts(def, 1, &(0..ACCOUNTS).map(|i| row(i, 100)).collect::<Vec<_>>())).await.unwrap();
    }
    w.publish(CommitSeq(1), position(1)).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let scans = Arc::new(AtomicU64::new(0));
    let reader = tokio::spawn(read_all_the_time(engine.clone(), stop.clone(), scans.clone()));
    let mut balances = [[100i64; ACCOUNTS as usize]; 2];
    let mut seq = 1;
    while seq < 400 || scans.load(Ordering::Relaxed) < 20 {
        seq += 1;
        let id = (seq as usize * 7) % ACCOUNTS as usize;
        for (t, amount) in [(0, -(seq as i64 % 5)), (1, seq as i64 % 5)] {
            let old = balances[t][id];
            balances[t][id] += amount;
            let ops = [(seq, RowOp::Delete, row(id as i64, old)), (seq, RowOp::Insert, row(id as i64, old + amount))];
            w.stage(changes(&defs[t], &ops)).await.unwrap();
        }
        w.publish(CommitSeq(seq), position(seq)).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    reader.await.unwrap();
    assert!(engine.durable().borrow().seq > CommitSeq(1), "the memtable limit makes it flush");
    engine.flush().await.unwrap();
    // All files but the live ones are let go once the horizon has passed. What a merge replaced is kept for plans made
    // before it, at or below the seq that was published then: so commits go on, as upstream's do.
    for _ in 0..100 {
        engine.compact().await.unwrap();
        seq += 1;
        w.publish(CommitSeq(seq), position(seq)).await.unwrap();
        engine.set_horizon(CommitSeq(seq));
        engine.flush().await.unwrap();
        if engine.table_stats(TableId(1)).unwrap().files <= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stats = engine.table_stats(TableId(1)).unwrap();
    assert_eq!(stats.live_rows, ACCOUNTS as u64);
    assert!(stats.files <= 3, "{stats:?}");
    assert_eq!(total(&engine, seq).await, 200 * ACCOUNTS);
}

/// Reads the newest seq and one held for a while, again and again; the held one must not change.
async fn read_all_the_time(engine: Arc<MagicEngine>, stop: Arc<AtomicBool>, scans: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let held = engine.published().borrow().seq.0;
        let first = rows_at(&*engine, held, TableId(1)).await.unwrap();
        for _ in 0..5 {
            let newest = engine.published().borrow().seq.0;
            assert_eq!(total(&engine, newest).await, 200 * ACCOUNTS, "at {newest}");
            assert_eq!(rows_at(&*engine, held, TableId(1)).await.unwrap(), first, "held {held}");
            scans.fetch_add(1, Ordering::Relaxed);
        }
        engine.set_horizon(CommitSeq(held));
    }
}
