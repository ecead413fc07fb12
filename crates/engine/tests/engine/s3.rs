//! Files in an object store: two engines on one prefix, a cache that is too small, a machine that is lost, damaged copies.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tidelake_core::ports::{StoreEngine, StoreWriter};
use tidelake_core::testing::tables::{Row, accounts, create, inserts, int, position, rows_at, sorted, text};
use tidelake_core::{CommitSeq, Error, TableDef, TableId, WriterEpoch};
use tidelake_engine::{EngineOptions, Faults, MagicEngine};

use crate::harness::{open, over_s3, small, tempdir};

fn def() -> TableDef {
    accounts(1, "t")
}

fn row(id: i64) -> Row {
    vec![int(id), int(id * 7), text(&format!("{id:0>60}"))]
}

fn rows(ids: std::ops::Range<i64>) -> Vec<Row> {
    sorted(ids.map(row).collect())
}

/// The options of another machine with the same object store.
fn elsewhere(options: &EngineOptions) -> (EngineOptions, TempDir) {
    let dir = tempdir();
    (EngineOptions { dir: small(&dir).dir, ..options.clone() }, dir)
}

/// Ten rows at this seq (from 2 on), durable.
async fn insert(engine: &MagicEngine, w: &mut dyn StoreWriter, seq: u64) -> Result<(), Error> {
    let first = 10 * (seq as i64 - 2);
    w.stage(inserts(&def(), seq, &(first..first + 10).map(row).collect::<Vec<_>>())).await?;
    w.publish(CommitSeq(seq), position(seq)).await?;
    engine.flush().await.map(drop)
}

async fn begin(options: &EngineOptions) -> (Arc<MagicEngine>, Box<dyn StoreWriter>) {
    let engine = open(options).await;
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    w.stage(create(&def(), 1)).await.unwrap();
    w.publish(CommitSeq(1), position(1)).await.unwrap();
    (engine, w)
}

fn data_files(dir: &Path) -> Vec<PathBuf> {
    let list = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().map(|e| e.unwrap().path());
    let tables = list(dir.join("table"));
    let files = tables.flat_map(|t| list(t.join("l0")).chain(list(t.join("base"))).collect::<Vec<_>>());
    files.filter(|p| p.extension().is_some_and(|e| e == "parquet")).collect()
}

/// Who opens a prefix takes it over: the engine before can commit nothing, and removes nothing that is in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv9_a_second_engine_on_the_prefix_fences_the_first() {
    let dir = tempdir();
    let options = over_s3(small(&dir));
    let (first, mut w1) = begin(&options).await;
    insert(&first, &mut *w1, 2).await.unwrap();
    let (there, _dir) = elsewhere(&options);
    let second = open(&there).await;
    assert_eq!(rows_at(&*second, 2, TableId(1)).await.unwrap(), rows(0..10));
    let refused = insert(&first, &mut *w1, 3).await.unwrap_err();
    assert!(refused.to_string().contains("another engine has taken over s3://engine/t/"), "{refused}");
    assert!(matches!(insert(&first, &mut *w1, 4).await, Err(Error::Closed(_))));
    let mut w2 = second.open_writer(WriterEpoch(2)).await.unwrap();
    insert(&second, &mut *w2, 3).await.unwrap();
    assert_eq!(rows_at(&*second, 3, TableId(1)).await.unwrap(), rows(0..20));
    drop((w1, first, w2, second));
    let again = open(&there).await;
    assert_eq!(rows_at(&*again, 3, TableId(1)).await.unwrap(), rows(0..20));
}

/// The first engine's next number is free again once the second has written so much that it begins anew: that the number
/// is behind the newest snapshot is found out all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv9_a_number_that_is_free_again_commits_nothing() {
    let dir = tempdir();
    let options = over_s3(small(&dir));
    let (first, mut w1) = begin(&options).await;
    insert(&first, &mut *w1, 2).await.unwrap();
    let (there, _dir) = elsewhere(&options);
    let second = open(&there).await;
    let mut w2 = second.open_writer(WriterEpoch(2)).await.unwrap();
    for seq in 3..40 {
        insert(&second, &mut *w2, seq).await.unwrap();
    }
    let refused = insert(&first, &mut *w1, 3).await.unwrap_err();
    assert!(refused.to_string().contains("another engine has taken over"), "{refused}");
    insert(&second, &mut *w2, 40).await.unwrap();
    drop((w1, first, w2, second));
    let again = open(&there).await;
    assert_eq!(again.durable().borrow().seq, CommitSeq(40));
    assert_eq!(rows_at(&*again, 40, TableId(1)).await.unwrap(), rows(0..390));
}

/// The directory holds no more than it may, and everything is read through it; a machine without any copy has it all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv6_the_cache_is_bounded_and_nothing_depends_on_it() {
    let dir = tempdir();
    let mut options = over_s3(small(&dir));
    options.faults = Faults::armed();
    options.faults.set("test: no own compaction");
    options.cache_bytes = 10_000;
    let (engine, mut w) = begin(&options).await;
    for seq in 2..12 {
        insert(&engine, &mut *w, seq).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(rows_at(&*engine, 11, TableId(1)).await.unwrap(), rows(0..100));
        let bytes: u64 = data_files(&options.dir).iter().map(|p| fs::metadata(p).unwrap().len()).sum();
        let all = engine.table_stats(TableId(1)).unwrap().file_bytes;
        assert!(bytes <= options.cache_bytes && all > 2 * options.cache_bytes, "{bytes} of {all}");
    }
    drop((w, engine));
    let (mut there, _dir) = elsewhere(&options);
    there.max_files = 2;
    let engine = open(&there).await;
    assert_eq!(rows_at(&*engine, 11, TableId(1)).await.unwrap(), rows(0..100));
    assert!(engine.compact().await.unwrap() > 0);
    assert_eq!(rows_at(&*engine, 11, TableId(1)).await.unwrap(), rows(0..100));
}

/// What a merge replaced and the horizon has passed is gone from the object store too: opening finds nothing to remove, and
/// a directory without copies has what the manifest names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merged_files_leave_the_object_store() {
    let dir = tempdir();
    let mut options = over_s3(small(&dir));
    options.max_files = 1;
    options.faults = Faults::armed();
    options.faults.set("test: no own compaction");
    let (engine, mut w) = begin(&options).await;
    for seq in 2..6 {
        insert(&engine, &mut *w, seq).await.unwrap();
    }
    let before = data_files(&options.dir);
    assert!(engine.compact().await.unwrap() > 0);
    for seq in 6..8 {
        engine.set_horizon(CommitSeq(seq));
        insert(&engine, &mut *w, seq).await.unwrap();
    }
    engine.set_horizon(CommitSeq(7));
    engine.flush().await.unwrap();
    assert!(before.iter().all(|p| !p.exists()));
    drop((w, engine));
    // The object is not there either: what is not named would be fetched by its name.
    let (there, _dir) = elsewhere(&options);
    let engine = open(&there).await;
    assert_eq!(rows_at(&*engine, 7, TableId(1)).await.unwrap(), rows(0..60));
    let copies = data_files(&there.dir).len();
    assert_eq!(copies as u64, engine.table_stats(TableId(1)).unwrap().files);
}

/// Copies that a crash or a disk damaged are fetched anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_copies_are_fetched_anew() {
    let dir = tempdir();
    let options = over_s3(small(&dir));
    let (engine, mut w) = begin(&options).await;
    for seq in 2..5 {
        insert(&engine, &mut *w, seq).await.unwrap();
    }
    drop((w, engine));
    let list = |folder: &str| -> Vec<PathBuf> {
        fs::read_dir(options.dir.join("table/1").join(folder)).unwrap().map(|e| e.unwrap().path()).collect()
    };
    for (i, path) in list("l0").into_iter().chain(list("dv")).enumerate() {
        let mut bytes = fs::read(&path).unwrap();
        match i % 3 {
            0 => bytes.truncate(bytes.len() / 2),
            1 => bytes[20] ^= 1,
            _ => bytes.clear(),
        }
        fs::write(&path, bytes).unwrap();
    }
    let engine = open(&options).await;
    assert_eq!(rows_at(&*engine, 4, TableId(1)).await.unwrap(), rows(0..30));
}

/// A directory belongs to one storage: with another one it would look empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_another_storage_is_refused() {
    let dir = tempdir();
    let options = over_s3(small(&dir));
    drop(begin(&options).await);
    let other = EngineOptions { objects: over_s3(small(&dir)).objects, ..options.clone() };
    for wrong in [EngineOptions { objects: None, ..options.clone() }, other] {
        let refused = MagicEngine::open(wrong).await.err().expect("refused");
        assert!(
            matches!(&refused, Error::Invalid(why) if why.contains("has its files in s3://engine/t/")),
            "{refused}"
        );
    }
    let dir = tempdir();
    let local = small(&dir);
    drop(begin(&local).await);
    let refused = MagicEngine::open(over_s3(local)).await.err().expect("refused");
    assert!(matches!(&refused, Error::Invalid(why) if why.contains("this directory")), "{refused}");
}
