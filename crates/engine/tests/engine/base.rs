//! The base level: files that share no keys, reached with as few bytes written as possible.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelake_core::ports::{StoreEngine, StoreWriter};
use tidelake_core::testing::tables::{Row, accounts, changes, create, inserts, int, position, rows_at, sorted, text};
use tidelake_core::{CommitSeq, RowOp, TableDef, TableId, WriterEpoch};
use tidelake_engine::{EngineOptions, Faults, MagicEngine, TableFigures, scrub};

use crate::harness::{open, small, tempdir};

const ROWS: i64 = 1000;

fn options(dir: &tempfile::TempDir) -> EngineOptions {
    let mut options = small(dir);
    options.row_group_rows = 300;
    options.base_file_rows = ROWS as u64;
    options.max_files = 2;
    options.faults = Faults::armed();
    options.faults.set("test: no own compaction");
    options
}

/// An engine with one table, and what the table holds.
struct Filled {
    engine: Arc<MagicEngine>,
    w: Box<dyn StoreWriter>,
    def: TableDef,
    seq: u64,
    balances: BTreeMap<i64, i64>,
}

impl Filled {
    async fn new(options: &EngineOptions) -> Filled {
        let engine = open(options).await;
        let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
        let def = accounts(1, "t");
        w.stage(create(&def, 1)).await.unwrap();
        w.publish(CommitSeq(1), position(1)).await.unwrap();
        Filled { engine, w, def, seq: 1, balances: BTreeMap::new() }
    }

    async fn reopen(self, options: &EngineOptions) -> Filled {
        let Filled { engine, w, def, seq, balances } = self;
        drop((w, engine));
        let engine = open(options).await;
        let w = engine.open_writer(WriterEpoch(2)).await.unwrap();
        Filled { engine, w, def, seq, balances }
    }

    fn row(&self, id: i64) -> Row {
        row(id, self.balances[&id])
    }

    async fn flush(&mut self) {
        self.w.publish(CommitSeq(self.seq), position(self.seq)).await.unwrap();
        self.engine.flush().await.unwrap();
    }

    /// One flushed transaction of new rows.
    async fn insert(&mut self, ids: impl Iterator<Item = i64>) {
        self.seq += 1;
        let rows: Vec<Row> = ids.map(|id| row(id, 0)).collect();
        self.w.stage(inserts(&self.def, self.seq, &rows)).await.unwrap();
        self.balances.extend(rows.iter().map(|r| (id_of(r), 0)));
        self.flush().await;
    }

    /// One flushed transaction of updates.
    async fn update(&mut self, ids: impl Iterator<Item = i64>) {
        self.seq += 1;
        let mut ops = Vec::new();
        for id in ids {
            ops.push((self.seq, RowOp::Delete, self.row(id)));
            *self.balances.get_mut(&id).unwrap() += 1;
            ops.push((self.seq, RowOp::Insert, self.row(id)));
        }
        self.w.stage(changes(&self.def, &ops)).await.unwrap();
        self.flush().await;
    }

    async fn check(&self) {
        let want = sorted(self.balances.iter().map(|(id, balance)| row(*id, *balance)).collect());
        assert_eq!(rows_at(&*self.engine, self.seq, TableId(1)).await.unwrap(), want);
    }

    fn figures(&self) -> TableFigures {
        self.engine.stats().tables.remove(0)
    }

    fn files(&self) -> Vec<(String, u64, u64)> {
        self.figures().levels.into_iter().map(|l| (l.level, l.files, l.rows)).collect()
    }
}

fn row(id: i64, balance: i64) -> Row {
    vec![int(id), int(balance), text(&format!("{balance:-<40}{id}"))]
}

fn id_of(row: &Row) -> i64 {
    match row[0] {
        tidelake_core::CellValue::Int(id) => id,
        _ => panic!("ids are numbers"),
    }
}

fn levels(base: (u64, u64), l0: Option<(u64, u64)>) -> Vec<(String, u64, u64)> {
    let base = ("base".to_owned(), base.0, base.1);
    std::iter::once(base).chain(l0.map(|l| ("l0".to_owned(), l.0, l.1))).collect()
}

/// What a copy brings in the order of its key, and what is appended, is written once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_in_key_order_go_to_the_base_level_at_once() {
    let dir = tempdir();
    let options = options(&dir);
    let mut t = Filled::new(&options).await;
    for part in 0..6 {
        t.insert(part * ROWS..(part + 1) * ROWS).await;
    }
    assert_eq!(t.files(), levels((6, 6000), None));
    assert_eq!(t.engine.compact().await.unwrap(), 0);
    assert_eq!((t.figures().merged_bytes, t.figures().write_amplification), (0, Some(1.0)));
    t.check().await;
    let mut t = t.reopen(&options).await;
    t.update((0..6000).step_by(7)).await;
    t.check().await;
    // A flush that overlaps base files is no base file.
    assert_eq!(t.files(), levels((6, 6000), Some((1, 858))));
}

/// Changes of few neighbours rewrite the base file of these only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_takes_only_the_base_files_it_overlaps() {
    let dir = tempdir();
    let options = options(&dir);
    let mut t = Filled::new(&options).await;
    for part in 0..6 {
        t.insert(part * ROWS..(part + 1) * ROWS).await;
    }
    for first in [2100, 2200, 2900] {
        t.update(first..first + 100).await;
    }
    assert_eq!(t.files(), levels((6, 6000), Some((3, 300))));
    let before = t.figures();
    assert_eq!(t.engine.compact().await.unwrap(), 1);
    let after = t.figures();
    assert_eq!(t.files(), levels((6, 6000), None));
    assert_eq!(after.retired_files, 4, "three of L0 and one base file");
    assert!(after.merged_bytes * 4 < before.levels[0].bytes, "{after:?}");
    t.check().await;
    // New keys between old ones: the range splits.
    for offset in 1..4 {
        t.insert((0..200).map(|i| 10_000 + 5 * i + offset)).await;
    }
    t.engine.compact().await.unwrap();
    t.check().await;
    let mut t = t.reopen(&options).await;
    t.update(t.balances.keys().copied().collect::<Vec<_>>().into_iter()).await;
    t.check().await;
    drop(t);
    let report = scrub(&options.dir).unwrap();
    assert!(report.damage.is_empty(), "{report:?}");
}

/// Few changes all over a large table stay in L0 until they are worth rewriting it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_changes_do_not_rewrite_the_base_level() {
    let dir = tempdir();
    let mut options = options(&dir);
    options.base_ratio = 1;
    let mut t = Filled::new(&options).await;
    for part in 0..6 {
        t.insert(part * ROWS..(part + 1) * ROWS).await;
    }
    for first in 0..3 {
        t.update((first..6000).step_by(1500)).await;
    }
    assert_eq!(t.engine.compact().await.unwrap(), 1);
    assert_eq!(t.files(), levels((6, 6000), Some((1, 12))));
    t.check().await;
    options.base_ratio = 1000;
    let mut t = t.reopen(&options).await;
    for first in 0..2 {
        t.update((first..6000).step_by(1500)).await;
    }
    t.engine.compact().await.unwrap();
    assert_eq!(t.files(), levels((6, 6000), None));
    t.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_keep_to_their_bytes_per_second() {
    let dir = tempdir();
    let mut options = options(&dir);
    options.merge_bytes_per_second = Some(40_000);
    let mut t = Filled::new(&options).await;
    for part in 0..3 {
        t.insert((0..300).map(|i| 3 * i + part)).await;
    }
    let begun = Instant::now();
    assert_eq!(t.engine.compact().await.unwrap(), 1);
    let (took, written) = (begun.elapsed(), t.figures().merged_bytes);
    assert!(took >= Duration::from_secs_f64(written as f64 / 40_000.0 / 2.0), "{written} bytes in {took:?}");
    t.check().await;
}
