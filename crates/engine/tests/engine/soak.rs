//! A process that writes, merges and reads old snapshots is killed at random moments, again and again: what is on disk is
//! whole each time, and exactly the state after one transaction.
//!
//! `TIDELAKE_SOAK=<seconds>` runs it longer than CI does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_core::ports::StoreEngine;
use tidelake_core::testing::tables::{Row, accounts, changes, create, events, int, position, rows_at, sorted, text};
use tidelake_core::{CommitSeq, DecodedStep, Error, RowOp, TableId, WriterEpoch};
use tidelake_engine::{EngineOptions, MagicEngine, scrub};

use crate::harness::{open, tempdir};

const DIR: &str = "TIDELAKE_SOAK_DIR";
/// Accounts that there may be.
const IDS: i64 = 3000;
/// Snapshots below the newest that stay readable.
const KEPT: u64 = 40;

fn options(dir: &Path) -> EngineOptions {
    let mut options = EngineOptions::new(dir);
    options.memtable_bytes = 150_000;
    options.row_group_rows = 100;
    options.base_file_rows = 400;
    options.max_files = 3;
    options.join_chunks = 4;
    options
}

/// What upstream has; every transaction follows from its seq.
#[derive(Default)]
struct World {
    seq: u64,
    accounts: BTreeMap<i64, i64>,
    events: Vec<(i64, i64)>,
}

fn account(id: i64, balance: i64) -> Row {
    vec![int(id), int(balance), text(&format!("{balance:->50}"))]
}

fn event(of: (i64, i64)) -> Row {
    vec![int(of.0), text(&format!("what {}", of.1))]
}

impl World {
    fn at(seq: u64) -> World {
        let mut world = World::default();
        while world.seq < seq {
            world.next();
        }
        world
    }

    /// The next transaction. Now and then it is large enough to spill.
    fn next(&mut self) -> Vec<DecodedStep> {
        self.seq += 1;
        let seq = self.seq;
        let mut rng = StdRng::seed_from_u64(seq);
        let (a, e) = (accounts(1, "accounts"), events(2, "events"));
        let mut steps = if seq == 1 { vec![create(&a, 1), create(&e, 1)] } else { Vec::new() };
        let size = if seq.is_multiple_of(97) { 1500 } else { rng.random_range(1..60) };
        let mut ops = Vec::new();
        for _ in 0..size {
            let id = rng.random_range(0..IDS);
            let old = self.accounts.get(&id).copied();
            ops.extend(old.map(|balance| (seq, RowOp::Delete, account(id, balance))));
            if old.is_some() && rng.random_bool(0.3) {
                self.accounts.remove(&id);
                continue;
            }
            let balance = rng.random_range(0..1_000_000);
            self.accounts.insert(id, balance);
            ops.push((seq, RowOp::Insert, account(id, balance)));
        }
        steps.push(changes(&a, &ops));
        let mut ops = Vec::new();
        for _ in 0..rng.random_range(1..20) {
            if self.events.len() > 500 || !self.events.is_empty() && rng.random_bool(0.4) {
                let at = rng.random_range(0..self.events.len());
                ops.push((seq, RowOp::Delete, event(self.events.swap_remove(at))));
            } else {
                self.events.push((rng.random_range(0..20), rng.random_range(0..3)));
                ops.push((seq, RowOp::Insert, event(*self.events.last().unwrap())));
            }
        }
        steps.push(changes(&e, &ops));
        steps
    }

    fn rows(&self, table: u64) -> Vec<Row> {
        match table {
            1 => sorted(self.accounts.iter().map(|(id, balance)| account(*id, *balance)).collect()),
            _ => sorted(self.events.iter().map(|e| event(*e)).collect()),
        }
    }
}

/// The process that is killed. Run by the test below, never by itself.
#[test]
#[ignore = "the other half of inv2_a_killed_process_leaves_one_state"]
fn child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(write_for_ever(&dir));
}

async fn write_for_ever(dir: &Path) {
    let engine = open(&options(dir)).await;
    let mut world = World::at(engine.durable().borrow().seq.0);
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    let held = Arc::new(Mutex::new(u64::MAX));
    tokio::spawn(read_old_snapshots(engine.clone(), held.clone()));
    loop {
        for step in world.next() {
            w.stage(step).await.unwrap();
        }
        w.publish(CommitSeq(world.seq), position(world.seq)).await.unwrap();
        if world.seq.is_multiple_of(7) {
            let held = held.lock().unwrap();
            engine.set_horizon(CommitSeq(held.min(world.seq.saturating_sub(KEPT))));
        }
        if world.seq.is_multiple_of(50) {
            engine.flush().await.unwrap();
        }
    }
}

/// Reads one snapshot several times while the writer goes on; ends the process if it changes.
async fn read_old_snapshots(engine: Arc<MagicEngine>, held: Arc<Mutex<u64>>) {
    loop {
        let seq = {
            let mut held = held.lock().unwrap();
            *held = engine.published().borrow().seq.0;
            *held
        };
        for table in [1, 2] {
            let first = rows_at(&*engine, seq, TableId(table)).await;
            for _ in 0..3 {
                let again = rows_at(&*engine, seq, TableId(table)).await;
                match (&first, again) {
                    (Ok(first), Ok(again)) if *first == again => {}
                    // There is no table yet.
                    (Err(Error::NotFound(_)), _) if seq == 0 => {}
                    (first, again) => {
                        eprintln!("table {table} at {seq}: {:?}, then {:?}", first.as_ref().err(), again.err());
                        std::process::exit(3);
                    }
                }
            }
        }
        *held.lock().unwrap() = u64::MAX;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv2_a_killed_process_leaves_one_state() {
    let seconds = std::env::var("TIDELAKE_SOAK").ok().and_then(|s| s.parse().ok()).unwrap_or(8);
    let dir = tempdir();
    let engine_dir = dir.path().join("engine");
    let mut rng = StdRng::seed_from_u64(1);
    let begun = Instant::now();
    let (mut durable, mut rounds) = (0, 0);
    // At least so much happens, however slow the machine is.
    while begun.elapsed() < Duration::from_secs(seconds) || durable < 150 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["soak::child", "--exact", "--ignored", "--nocapture"])
            .env(DIR, &engine_dir)
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(rng.random_range(200..1500))).await;
        assert!(child.try_wait().unwrap().is_none(), "the writing process ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        if !engine_dir.join("manifest").is_dir() {
            continue;
        }
        durable = whole(&engine_dir, durable).await;
        rounds += 1;
    }
    println!("killed {rounds} times, {durable} transactions");
}

/// Scrubs, opens and compares everything; returns the durable seq, which never goes back.
async fn whole(dir: &Path, before: u64) -> u64 {
    let report = scrub(dir).unwrap();
    assert!(report.damage.is_empty(), "{report:?}");
    let engine = open(&options(dir)).await;
    let durable = engine.durable().borrow().seq.0;
    assert!(durable >= before, "{durable} after {before}");
    for seq in [durable.saturating_sub(KEPT / 2), durable].into_iter().filter(|s| *s > 0) {
        let world = World::at(seq);
        for table in [1, 2] {
            match rows_at(&*engine, seq, TableId(table)).await {
                Ok(rows) => assert_eq!(rows, world.rows(table), "table {table} at {seq}"),
                Err(Error::SnapshotExpired(_)) if seq < durable => {}
                Err(e) => panic!("table {table} at {seq}: {e}"),
            }
        }
    }
    durable
}
