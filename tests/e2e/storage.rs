//! The engine's files in an object store: kills, a lost cache, scrub, and no secret where it must not be.

use std::path::{Path, PathBuf};

use tidelake_testkit::{MariaDb, MariaDbOptions, S3};

use crate::compare::assert_same_contents;
use crate::crashes::wait_copied;
use crate::store;
use crate::tidelake::{Tidelake, tidelake_with};

fn data_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(data_files(&path));
        } else if path.extension().is_some_and(|e| e == "parquet") {
            found.push(path);
        }
    }
    found
}

#[test]
fn files_in_an_object_store_outlive_kills_and_the_cache() {
    let s3 = S3::start();
    s3.create_bucket("lake");
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&store::setup());
    let url = format!("s3://lake/replica?endpoint={}&region={}", s3.endpoint(), S3::REGION);
    let (source, environment) = (upstream.source_url(), S3::environment());
    let options = ["--memtable-limit", "1MiB", "--engine-cache", "1MiB", "--engine-storage", &url];
    let mut replica = Tidelake::prepare(&["run", "--source", &source], &options);
    environment.iter().for_each(|(name, value)| replica.set_variable(name, value));
    replica.restart();
    wait_copied(&replica);
    let engine = replica.data_dir().join("engine");
    for round in 0..3 {
        upstream.execute(&format!("UPDATE store.ledger SET note = 'round {round}' WHERE id MOD 4 = {round}"));
        drop(replica.latest("SELECT COUNT(*) FROM store.ledger"));
        replica.kill9();
        if round == 1 {
            std::fs::remove_dir_all(engine.join("table")).expect("lose all copies");
        }
        replica.restart();
    }
    assert_same_contents(&upstream, &replica);
    assert!(replica.interrupt().success(), "{}", replica.printed());
    let bytes: u64 = data_files(&engine).iter().map(|f| f.metadata().expect("a file").len()).sum();
    assert!(bytes <= 1 << 20, "{bytes} bytes of copies");
    assert!(!replica.printed().contains(S3::SECRET_KEY));
    let dir = replica.data_dir().display().to_string();
    let whole = tidelake_with(&environment, &["scrub", "--data-dir", &dir]);
    let report = String::from_utf8_lossy(&whole.stdout).into_owned();
    assert!(whole.status.success() && report.contains("whole"), "{report}");
    let stats = tidelake_with(&environment, &["engine", "stats", "--data-dir", &dir]);
    assert!(String::from_utf8_lossy(&stats.stdout).contains("store.ledger"), "{stats:?}");
    // Without the option it would be an empty engine.
    replica.set_option("--engine-storage", "s3://lake/another");
    let mut process = replica;
    process.spawn();
    assert!(!process.wait_end().success());
    assert!(process.printed().contains("has its files in s3://lake/replica"), "{}", process.printed());
}
