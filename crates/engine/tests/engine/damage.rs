//! Hostile bytes: damaged, torn and foreign files are refused by name; decoders take anything without panic.

use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_core::ports::StoreEngine;
use tidelake_core::testing::tables::{accounts, create, inserts, int, null, position, rows_at};
use tidelake_core::{CommitSeq, TableId, WriterEpoch};
use tidelake_engine::{EngineOptions, MagicEngine, decoders};

use crate::harness::{open, small, tempdir};

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out.sort();
    out
}

/// An engine directory with rows, deaths and a manifest; returns its rows.
async fn filled(options: &EngineOptions) -> Vec<Vec<tidelake_core::CellValue>> {
    let engine = open(options).await;
    let def = accounts(1, "a");
    let mut w = engine.open_writer(WriterEpoch(1)).await.unwrap();
    w.stage(create(&def, 1)).await.unwrap();
    let rows: Vec<_> = (0..40).map(|i| vec![int(i), int(i * 7), null()]).collect();
    w.stage(inserts(&def, 1, &rows)).await.unwrap();
    w.publish(CommitSeq(1), position(1)).await.unwrap();
    engine.flush().await.unwrap();
    let dead = [(2, tidelake_core::RowOp::Delete, rows[3].clone())];
    w.stage(tidelake_core::testing::tables::changes(&def, &dead)).await.unwrap();
    w.publish(CommitSeq(2), position(2)).await.unwrap();
    engine.flush().await.unwrap();
    rows_at(&*engine, 2, TableId(1)).await.unwrap()
}

/// Whatever byte of whatever file is damaged: an error that names the file, or the right rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv3_damage_never_gives_other_rows() {
    let dir = tempdir();
    let options = small(&dir);
    let rows = filled(&options).await;
    let backup = dir.path().join("backup");
    copy(&options.dir, &backup);
    let mut rng = StdRng::seed_from_u64(7);
    let (mut refused, mut healed) = (0, 0);
    for round in 0..150 {
        fs::remove_dir_all(&options.dir).unwrap();
        copy(&backup, &options.dir);
        let all: Vec<PathBuf> = files(&options.dir).into_iter().filter(|f| !f.ends_with("LOCK")).collect();
        let victim = &all[round % all.len()];
        let mut bytes = fs::read(victim).unwrap();
        let at = rng.random_range(0..bytes.len());
        if round % 5 == 0 {
            bytes.truncate(at)
        } else {
            bytes[at] ^= 1 << rng.random_range(0..8)
        }
        fs::write(victim, &bytes).unwrap();
        let read = match MagicEngine::open(options.clone()).await {
            Ok(engine) => {
                let seq = engine.published().borrow().seq.0;
                (seq, rows_at(&*engine, seq, TableId(1)).await)
            }
            Err(e) => (0, Err(e)),
        };
        match read {
            // A torn manifest tail is an earlier durable state, and says so by its seq.
            (2, Ok(got)) => {
                assert_eq!(got, rows, "{} byte {at}", victim.display());
                healed += 1;
            }
            (1, Ok(got)) => assert_eq!(got.len(), 40),
            (0, Ok(got)) => panic!("{} byte {at}: {} rows from nothing", victim.display(), got.len()),
            (_, Ok(_)) => panic!("a seq that never was"),
            (_, Err(e)) => {
                let name = victim.file_name().unwrap().to_string_lossy().into_owned();
                let nothing = matches!(e, tidelake_core::Error::NotFound(_));
                assert!(nothing || e.to_string().contains(&name), "{e} does not name {name}");
                refused += 1;
            }
        }
    }
    assert!(refused > 50 && healed > 10, "{refused} refused, {healed} healed");
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
}

#[tokio::test]
async fn foreign_files_are_refused_by_name() {
    for place in ["readme.txt", "table/x", "table/1/l0/photo.jpg", "table/1/dv/1.dvlog.bak", "manifest/old"] {
        let dir = tempdir();
        let options = small(&dir);
        filled(&options).await;
        fs::write(options.dir.join(place), "not ours").unwrap();
        let refused = MagicEngine::open(options.clone()).await.err().expect("refused").to_string();
        assert!(refused.contains(Path::new(place).file_name().unwrap().to_str().unwrap()), "{refused}");
    }
}

#[tokio::test]
async fn leftovers_of_a_crash_are_removed_and_two_engines_do_not_share() {
    let dir = tempdir();
    let options = small(&dir);
    let rows = filled(&options).await;
    let leftovers =
        ["table/1/l0/999.parquet", "table/1/l0/999-00000000.pki", "table/1/dv/999.dvlog", "manifest/99.tmp"];
    for name in leftovers {
        fs::write(options.dir.join(name), "half").unwrap();
    }
    let engine = open(&options).await;
    assert_eq!(rows_at(&*engine, 2, TableId(1)).await.unwrap(), rows);
    for name in leftovers {
        assert!(!options.dir.join(name).exists(), "{name}");
    }
    let second = MagicEngine::open(options.clone()).await.err().expect("locked");
    assert!(matches!(second, tidelake_core::Error::Unavailable(_)), "{second}");
}

/// Random bytes, and random bytes behind a right beginning.
#[test]
fn decoders_take_any_bytes() {
    let dir = tempdir();
    let mut rng = StdRng::seed_from_u64(1);
    for round in 0..3000 {
        let mut bytes: Vec<u8> = match round % 4 {
            0 => Vec::new(),
            1 => b"TLDEATH1".to_vec(),
            2 => b"TLMANIFEST v0001\xf7TLR".to_vec(),
            _ => b"TLPKI001".to_vec(),
        };
        let length = rng.random_range(0..200);
        bytes.extend((0..length).map(|_| if rng.random_bool(0.3) { 255 } else { rng.random() }));
        if round % 4 == 3 {
            bytes.extend_from_slice(b"\x01\0\0\0TLPKI001");
        }
        assert!(decoders::decode_deaths("x", &bytes).is_err());
        assert!(decoders::read_manifest("x", &bytes).is_err());
        let path = dir.path().join("x.pki");
        fs::write(&path, &bytes).unwrap();
        assert!(decoders::Pki::open(&path).is_err());
    }
}
