//! Scrubbing and figures: what is whole is called whole, and whatever byte is flipped is found.

use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_core::ports::StoreEngine;
use tidelake_core::testing::tables::{Row, accounts, changes, create, events, inserts, int, null, position};
use tidelake_core::{CommitSeq, Error, RowOp, TableDef, WriterEpoch};
use tidelake_engine::{EngineOptions, Faults, MagicEngine, scrub, stats_of_directory};

use crate::harness::{open, small, tempdir};

fn row(def: &TableDef, id: i64) -> Row {
    if def.key.is_empty() { vec![int(id % 50), null()] } else { vec![int(id), int(id * 7), null()] }
}

/// Two tables, with and without a key, of several files, with deaths in them, and one merge.
async fn filled(options: &EngineOptions) {
    let engine = open(options).await;
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    let defs = [accounts(1, "a"), events(2, "b")];
    for seq in 1..=4u64 {
        for def in &defs {
            if seq == 1 {
                w.stage(create(def, 1)).await.unwrap();
            }
            let ids = 200 * seq as i64..200 * (seq as i64 + 1);
            w.stage(inserts(def, seq, &ids.map(|id| row(def, id)).collect::<Vec<_>>())).await.unwrap();
            let dead: Vec<_> = (0..20).map(|i| (seq, RowOp::Delete, row(def, 200 * seq as i64 + i))).collect();
            w.stage(changes(def, &dead)).await.unwrap();
        }
        w.publish(CommitSeq(seq), position(seq)).await.unwrap();
        engine.flush().await.unwrap();
        if seq == 2 {
            assert_eq!(engine.compact().await.unwrap(), 2);
        }
    }
    let dead: Vec<_> = (700..720).map(|id| (5, RowOp::Delete, row(&defs[0], id))).collect();
    w.stage(changes(&defs[0], &dead)).await.unwrap();
    w.publish(CommitSeq(5), position(5)).await.unwrap();
    engine.flush().await.unwrap();
}

fn options(dir: &tempfile::TempDir) -> EngineOptions {
    let mut options = small(dir);
    options.max_files = 1;
    options.faults = Faults::armed();
    options.faults.set("test: no own compaction");
    options
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out.sort();
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_directory_is_whole() {
    let dir = tempdir();
    let options = options(&dir);
    filled(&options).await;
    let report = scrub(&options.dir).unwrap();
    assert_eq!((report.damage.as_slice(), report.notes.as_slice()), (&[][..], &[][..]), "{report:?}");
    assert_eq!((report.durable, report.tables), (5, 2));
    // The retired inputs of the merges are read too.
    assert!(report.files >= 8 && report.rows > 1600 && report.deaths >= 20, "{report:?}");
    // A file that a crash left is no damage.
    fs::write(options.dir.join("table/1/l0/999.parquet"), "half").unwrap();
    let report = scrub(&options.dir).unwrap();
    assert!(report.damage.is_empty() && report.notes[0].contains("999.parquet"), "{report:?}");
    let engine = open(&options).await;
    assert!(matches!(scrub(&options.dir), Err(Error::Unavailable(_))));
    drop(engine);
    assert!(matches!(scrub(&dir.path().join("elsewhere")), Err(Error::NotFound(_))));
}

/// Any flipped bit of any file is found, and the report names the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_flipped_bit_is_found() {
    let dir = tempdir();
    let options = options(&dir);
    filled(&options).await;
    let all: Vec<PathBuf> = files(&options.dir).into_iter().filter(|f| !f.ends_with("LOCK")).collect();
    let mut rng = StdRng::seed_from_u64(3);
    let mut torn = 0;
    for round in 0..120 {
        let victim = &all[round % all.len()];
        let good = fs::read(victim).unwrap();
        let mut bad = good.clone();
        let at = rng.random_range(0..bad.len());
        bad[at] ^= 1 << rng.random_range(0..8);
        fs::write(victim, &bad).unwrap();
        let report = scrub(&options.dir).unwrap();
        fs::write(victim, &good).unwrap();
        // The last edit of a manifest may be torn by a crash: then an earlier state is checked, and it has less deaths.
        if report.durable == 4 || report.durable == 5 && report.damage.is_empty() {
            assert!(victim.starts_with(options.dir.join("manifest")), "{} byte {at}", victim.display());
            torn += 1;
            continue;
        }
        let name = victim.file_name().unwrap().to_string_lossy().into_owned();
        assert!(report.damage.iter().any(|d| d.contains(&name)), "{} byte {at}: {report:?}", victim.display());
    }
    assert!(torn < 20, "{torn}");
    assert!(scrub(&options.dir).unwrap().damage.is_empty());
}

/// Files that are gone, and files of another table's rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_and_swapped_files_are_found() {
    let dir = tempdir();
    let options = options(&dir);
    filled(&options).await;
    for victim in files(&options.dir.join("table")) {
        let good = fs::read(&victim).unwrap();
        fs::remove_file(&victim).unwrap();
        let report = scrub(&options.dir).unwrap();
        fs::write(&victim, &good).unwrap();
        let name = victim.file_name().unwrap().to_string_lossy().into_owned();
        assert!(report.damage.iter().any(|d| d.contains(&name)), "{name}: {report:?}");
    }
    // Two indexes of one size change places: each is whole, but of other rows.
    let indexes: Vec<PathBuf> = files(&options.dir.join("table/1/l0"))
        .into_iter()
        .filter(|f| f.extension().is_some_and(|e| e == "pki"))
        .collect();
    let [.., one, other] = indexes.as_slice() else { panic!("{indexes:?}") };
    let bytes = [fs::read(one).unwrap(), fs::read(other).unwrap()];
    fs::write(one, &bytes[1]).unwrap();
    fs::write(other, &bytes[0]).unwrap();
    let report = scrub(&options.dir).unwrap();
    assert!(report.damage.iter().any(|d| d.contains("does not have the keys")), "{report:?}");
}

/// A death that is lost makes a key alive twice: checksums cannot find that, the key check does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_alive_twice_is_found() {
    let dir = tempdir();
    let options = options(&dir);
    let def = accounts(1, "a");
    let engine = open(&options).await;
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    w.stage(create(&def, 1)).await.unwrap();
    w.stage(inserts(&def, 1, &[row(&def, 1), row(&def, 2)])).await.unwrap();
    w.publish(CommitSeq(1), position(1)).await.unwrap();
    let update = [(2, RowOp::Delete, row(&def, 2)), (2, RowOp::Insert, row(&def, 2))];
    engine.flush().await.unwrap();
    options.faults.set("bug: lose death logs");
    w.stage(changes(&def, &update)).await.unwrap();
    w.publish(CommitSeq(2), position(2)).await.unwrap();
    engine.flush().await.unwrap();
    drop((w, engine));
    let report = scrub(&options.dir).unwrap();
    assert!(report.damage.iter().any(|d| d.contains("alive twice")), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_of_a_directory_are_those_of_its_engine() {
    let dir = tempdir();
    let options = options(&dir);
    filled(&options).await;
    let engine = open(&options).await;
    let running = engine.stats();
    drop(engine);
    let mut resting = stats_of_directory(&options.dir).unwrap();
    resting.memtable_limit = options.memtable_bytes;
    assert_eq!(running, resting);
    let of_a = &running.tables[0];
    assert_eq!((of_a.table.as_str(), of_a.state.as_str()), ("bank.a", "live"));
    let levels: Vec<_> = of_a.levels.iter().map(|l| (l.level.as_str(), l.files, l.rows)).collect();
    assert_eq!((levels.as_slice(), of_a.dead_rows), (&[("base", 1, 360), ("l0", 2, 360)][..], 20), "{of_a:?}");
    assert!(of_a.retired_files == 2 && of_a.index_bytes > 0 && of_a.deaths_bytes > 0, "{of_a:?}");
    let written = of_a.write_amplification.unwrap();
    assert!(written > 1.1 && written < 2.0, "{written}");
}

/// A format that this build does not know is refused with both versions, and nothing is touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_format_version_is_refused() {
    let dir = tempdir();
    let options = options(&dir);
    filled(&options).await;
    let manifest = files(&options.dir.join("manifest")).pop().unwrap();
    let mut bytes = fs::read(&manifest).unwrap();
    bytes[12..16].copy_from_slice(b"0007");
    fs::write(&manifest, &bytes).unwrap();
    let before: Vec<_> = files(&options.dir);
    let refused = MagicEngine::open(options.clone()).await.err().expect("refused");
    assert!(matches!(refused, Error::Invalid(_)), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("version 7") && text.contains("versions 1 and 2") && text.contains(".log"), "{text}");
    assert_eq!((files(&options.dir), fs::read(&manifest).unwrap()), (before, bytes));
    assert!(scrub(&options.dir).unwrap().damage[0].contains("version 7"));
}
