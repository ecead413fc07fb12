//! Directories of older format versions: bytes that an older build wrote (`tests/data`) open here and hold what they
//! held.
//!
//! `tests/data/engine-v1` was written by `write_sample` of the build before the base level; `TIDELAKE_WRITE_SAMPLE=<dir>`
//! writes the like with this build, for the next format version.

use std::path::{Path, PathBuf};

use tidelake_core::ports::{StoreEngine, StoreWriter};
use tidelake_core::testing::tables::{
    Row, accounts, altered, changes, create, events, inserts, int, position, rows_at, schema, sorted, text,
};
use tidelake_core::types::{TypeKind, UpstreamType};
use tidelake_core::{CommitSeq, RowOp, SchemaChange, TableDef, TableId, WriterEpoch};
use tidelake_engine::{EngineOptions, Faults, scrub};

use crate::harness::{open, small, tempdir};

/// The newest durable seq of a sample.
const NEWEST: u64 = 6;

fn row(def: &TableDef, id: i64, version: i64) -> Row {
    let note = text(&format!("{id}/{version}"));
    if def.key.is_empty() { vec![int(id % 7), note] } else { vec![int(id), int(version), note] }
}

/// Rows of a table of the sample at a seq from 4 on.
fn rows(def: &TableDef, seq: u64) -> Vec<Row> {
    let version = |id: i64| i64::from(seq >= 5 && (10..20).contains(&id));
    let living = (0..80).filter(|id| !(seq >= 6 && (60..65).contains(id)));
    sorted(living.map(|id| row(def, id, version(id))).collect())
}

fn defs() -> [TableDef; 3] {
    [accounts(1, "keyed"), events(2, "keyless"), accounts(3, "widened")]
}

/// The third table after its key became wider.
fn widened() -> TableDef {
    altered(&accounts(3, "widened"), |d| d.columns[0].ty = UpstreamType::new(TypeKind::BigInt))
}

async fn commit(w: &mut dyn StoreWriter, seq: u64) {
    w.publish(CommitSeq(seq), position(seq)).await.unwrap();
}

/// Four flushes of twenty rows in each table, two of them merged; an ALTER of a key; updates and deletes.
async fn write_sample(options: &EngineOptions) {
    let engine = open(options).await;
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    for seq in 1..=4u64 {
        for def in defs() {
            if seq == 1 {
                w.stage(create(&def, 1)).await.unwrap();
            }
            let ids = 20 * (seq as i64 - 1)..20 * seq as i64;
            w.stage(inserts(&def, seq, &ids.map(|id| row(&def, id, 0)).collect::<Vec<_>>())).await.unwrap();
        }
        commit(&mut *w, seq).await;
        engine.flush().await.unwrap();
        if seq == 2 {
            engine.compact().await.unwrap();
        }
    }
    w.stage(schema(5, SchemaChange::AlterTable(Box::new(widened())))).await.unwrap();
    let [keyed, keyless, _] = defs();
    for def in [&keyed, &keyless, &widened()] {
        let update = |id| [(5, RowOp::Delete, row(def, id, 0)), (5, RowOp::Insert, row(def, id, 1))];
        w.stage(changes(def, &(10..20).flat_map(update).collect::<Vec<_>>())).await.unwrap();
    }
    commit(&mut *w, 5).await;
    engine.flush().await.unwrap();
    for def in [&keyed, &keyless, &widened()] {
        let dead: Vec<_> = (60..65).map(|id| (6, RowOp::Delete, row(def, id, 0))).collect();
        w.stage(changes(def, &dead)).await.unwrap();
    }
    commit(&mut *w, 6).await;
    engine.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_version_is_as_the_samples_are() {
    let dir = tempdir();
    let mut options = small(&dir);
    if let Some(wanted) = std::env::var_os("TIDELAKE_WRITE_SAMPLE") {
        options.dir = wanted.into();
    }
    options.max_files = 1;
    options.faults = Faults::armed();
    options.faults.set("test: no own compaction");
    write_sample(&options).await;
    holds_the_sample(&options).await;
}

async fn holds_the_sample(options: &EngineOptions) {
    let engine = open(options).await;
    assert_eq!(engine.durable().borrow().seq, CommitSeq(NEWEST));
    for seq in 4..=NEWEST {
        for def in defs() {
            assert_eq!(rows_at(&*engine, seq, def.id).await.unwrap(), rows(&def, seq), "{} at {seq}", def.name);
        }
    }
    let mut w = engine.open_writer(WriterEpoch(9)).await.unwrap();
    let [keyed, keyless, _] = defs();
    for def in [&keyed, &keyless, &widened()] {
        let all: Vec<_> = rows(def, NEWEST).into_iter().map(|r| (7, RowOp::Delete, r)).collect();
        w.stage(changes(def, &all)).await.unwrap();
    }
    commit(&mut *w, 7).await;
    for table in 1..=3 {
        assert_eq!(rows_at(&*engine, 7, TableId(table)).await.unwrap(), Vec::<Row>::new());
    }
}

/// A directory of version 1 opens, holds what it held, and is of this version from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_1_is_upgraded() {
    let dir = tempdir();
    let mut options = small(&dir);
    options.max_files = 1;
    options.faults = Faults::armed();
    options.faults.set("test: no own compaction");
    copy(&sample("engine-v1"), &options.dir);
    let report = scrub(&options.dir).unwrap();
    assert!(report.damage.is_empty() && report.durable == NEWEST && report.files > 12, "{report:?}");
    holds_the_sample(&options).await;
    // All it has, files sorted by a key of before too, goes to the base level.
    let engine = open(&options).await;
    assert!(engine.compact().await.unwrap() > 3);
    for figures in engine.stats().tables {
        let levels: Vec<&str> = figures.levels.iter().map(|l| l.level.as_str()).collect();
        let want = if figures.table == "bank.keyless" { "l0" } else { "base" };
        assert_eq!(levels, [want], "{figures:?}");
    }
    drop(engine);
    holds_the_sample(&options).await;
    let report = scrub(&options.dir).unwrap();
    assert!(report.damage.is_empty(), "{report:?}");
    let manifests = std::fs::read_dir(options.dir.join("manifest")).unwrap();
    for manifest in manifests {
        assert!(std::fs::read(manifest.unwrap().path()).unwrap().starts_with(b"TLMANIFEST v0002"));
    }
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target)
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
