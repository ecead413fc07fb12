//! `tidelake demo`: what the recorded server said is what the replica says.

use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::tidelake::{Tidelake, tidelake_prints, wait_for};

#[derive(Deserialize)]
struct Expected {
    tables: Vec<TableTruth>,
    queries: Vec<QueryTruth>,
}

#[derive(Deserialize)]
struct TableTruth {
    table: String,
    sql: String,
    sha256: String,
}

#[derive(Deserialize)]
struct QueryTruth {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

fn expected() -> Expected {
    serde_json::from_str(include_str!("../../demo/expected.json")).expect("demo/expected.json")
}

/// The tables of a page: lines of `| cell | cell |` that stand together, the first one the header.
fn printed_tables(page: &str) -> Vec<Vec<Vec<String>>> {
    let mut tables = vec![Vec::new()];
    for line in page.lines() {
        if let Some(cells) = line.strip_prefix('|').and_then(|l| l.strip_suffix('|')) {
            tables.last_mut().expect("never empty").push(cells.split('|').map(|c| c.trim().to_owned()).collect());
        } else if !line.starts_with('+') {
            tables.push(Vec::new());
        }
    }
    tables.retain(|table| !table.is_empty());
    tables
}

fn assert_prints_the_truth(page: &str) {
    let tables = printed_tables(page);
    let truth = expected();
    assert_eq!(tables.len(), truth.queries.len(), "{page}");
    for (table, query) in tables.iter().zip(&truth.queries) {
        assert!(page.contains(&query.title), "{} is missing:\n{page}", query.title);
        let cell = |text: &Option<String>| text.clone().unwrap_or_else(|| "NULL".to_owned());
        let mut wanted = vec![query.columns.clone()];
        wanted.extend(query.rows.iter().map(|row| row.iter().map(cell).collect::<Vec<String>>()));
        assert_eq!(*table, wanted, "{}", query.title);
    }
}

#[test]
fn the_demo_answers_like_the_recorded_server_and_applies_nothing_twice() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("demo").display().to_string();
    let mut args = vec!["demo", "--exit", "--data-dir", &data];
    for listener in ["--mysql-listen", "--http-listen", "--flight-listen"] {
        args.extend([listener, "127.0.0.1:0"]);
    }
    let first = tidelake_prints(&args);
    assert_prints_the_truth(&first);
    let second = tidelake_prints(&args);
    assert_prints_the_truth(&second);
    assert!(first.contains("row changes"), "{first}");
    assert!(!second.contains("row changes"), "the second run has nothing to apply: {second}");
}

#[test]
fn every_table_of_the_demo_has_the_recorded_bytes() {
    let tidelake = Tidelake::demo(&[]);
    wait_for("the replay", Duration::from_secs(180), || (tidelake.get("/readyz").0 == 200).then_some(()));
    for truth in expected().tables {
        let sql = format!("SET time_zone = '+00:00'; {}", truth.sql);
        // Ready means queryable; the last transactions of the log may come a moment later.
        wait_for(&truth.table, Duration::from_secs(60), || {
            let bytes = tidelake.client().try_batch_text(&sql).ok()?;
            (hex(&Sha256::digest(&bytes)) == truth.sha256).then_some(())
        });
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_recording_fits_in_the_repository() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/binlog");
    let files = std::fs::read_dir(dir).expect("demo/binlog").map(|f| f.expect("an entry").path());
    let bytes: u64 = files.map(|path| std::fs::metadata(path).expect("a file").len()).sum();
    assert!((1..=3 << 20).contains(&bytes), "{bytes} bytes");
    let known = Command::new("bash").arg("-n").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/demo/record.sh")).status();
    assert!(known.is_ok_and(|status| status.success()), "demo/record.sh is a script");
}
