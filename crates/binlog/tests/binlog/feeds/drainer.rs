//! Drainer's files.

use std::path::Path;

use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_binlog::tidb_binlog::message::{Binlog, Column, DmlData, Event};
use tidelake_binlog::tidb_binlog::segment::{MAGIC, crc32c};
use tidelake_binlog::tidb_binlog::{DrainerOptions, DrainerSource};
use tidelake_core::CellValue;
use tidelake_core::ports::{Buffer, Source, SourceState};
use tidelake_core::testing::mem_buffer::MemBuffer;
use tokio_util::sync::CancellationToken;

use super::files;
use super::history::{Change, Commit, History, Kind, Row};
use super::replica::Replica;
use super::storage::Check;

fn uvarint(mut v: u64, out: &mut Vec<u8>) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn datum(kind: Kind, value: &CellValue) -> Vec<u8> {
    let mut out = Vec::new();
    let mut number = |flag: u8, v: u64| {
        out.push(flag);
        uvarint(v, &mut out);
    };
    match value {
        CellValue::Null => out.push(0),
        CellValue::Int(v) if matches!(kind, Kind::Int | Kind::BigInt) => number(8, ((v << 1) ^ (v >> 63)) as u64),
        CellValue::UInt(v) => number(9, *v),
        CellValue::Float(v) => {
            let bits = v.to_bits();
            out.push(5);
            out.extend_from_slice(&(if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }).to_be_bytes());
        }
        value => {
            let bytes = match value {
                CellValue::Bytes(bytes) => bytes.clone(),
                value => files::text(kind, value).into_bytes(),
            };
            number(2, (bytes.len() as u64) << 1);
            out.extend_from_slice(&bytes);
        }
    }
    out
}

fn event(change: &Change) -> Event {
    let (tp, first, second): (i32, &Row, Option<&Row>) = match (&change.old, &change.new) {
        (Some(old), Some(new)) => (1, old, Some(new)),
        (Some(old), None) => (2, old, None),
        (None, Some(new)) => (0, new, None),
        (None, None) => unreachable!("a change has a row"),
    };
    let column = |(name, kind): &(String, Kind)| Column {
        name: Some(name.clone()),
        tp: Some(vec![3]),
        mysql_type: Some("int".into()),
        value: Some(datum(*kind, &first[name])),
        changed_value: second.map(|row| datum(*kind, &row[name])),
    };
    Event {
        schema_name: Some(change.table.name.database.clone()),
        table_name: Some(change.table.name.table.clone()),
        tp: Some(tp),
        row: change.table.columns.iter().map(|c| column(c).encode_to_vec()).collect(),
    }
}

fn record(ts: u64, commit: &Commit) -> Vec<u8> {
    let mut binlog = Binlog { commit_ts: Some(ts as i64), ..Binlog::default() };
    match commit {
        Commit::Rows(changes) => {
            binlog.tp = Some(0);
            binlog.dml_data = Some(DmlData { events: changes.iter().map(event).collect() });
        }
        Commit::Ddl { sql, database, table, .. } => {
            binlog.tp = Some(1);
            let text = if table.is_empty() { format!("{sql};") } else { format!("use `{database}`; {sql};") };
            binlog.ddl_query = Some(text.into_bytes());
        }
    }
    let payload = binlog.encode_to_vec();
    let mut out = MAGIC.to_le_bytes().to_vec();
    out.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    out.extend_from_slice(&payload);
    out.extend_from_slice(&crc32c(&payload).to_le_bytes());
    out
}

fn path(dir: &Path, number: u64) -> std::path::PathBuf {
    dir.join(format!("binlog-{number:016}-20261129120000"))
}

fn options(dir: &Path) -> DrainerOptions {
    DrainerOptions::parse(&format!("{}?zone=+08:00", dir.display())).expect("options")
}

#[tokio::test(flavor = "multi_thread")]
async fn drainer_s_files_give_the_same_tables_at_every_commit() {
    for seed in 300..308 {
        let history = History::whole(seed, 60);
        let dir = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        let buffer = MemBuffer::new(u64::MAX);
        let mut check = Check { history, replica: Replica::new(), applied: 0 };
        let (mut upto, mut number) = (0, 7);
        while upto < check.history.commits.len() {
            let from = upto;
            upto = (upto + rng.random_range(1..15)).min(check.history.commits.len());
            // the first record may be the last one again
            let again = from.saturating_sub(rng.random_range(0..2));
            let mut bytes = std::fs::read(path(dir.path(), number)).unwrap_or_default();
            for (ts, commit) in &check.history.commits[again..upto] {
                if rng.random_ratio(1, 5) {
                    std::fs::write(path(dir.path(), number), std::mem::take(&mut bytes)).unwrap();
                    number += 1;
                }
                bytes.extend(record(*ts, commit));
            }
            std::fs::write(path(dir.path(), number), bytes).unwrap();
            let source = DrainerSource::new(options(dir.path()));
            let after = buffer.read_position().borrow().clone();
            source
                .stream(after, buffer.clone(), CancellationToken::new())
                .await
                .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_eq!(source.status().state, SourceState::Finished);
            check.catch_up(&buffer, &format!("seed {seed}"));
            assert_eq!(check.applied, upto, "seed {seed}");
        }
    }
}

async fn read(dir: &Path) -> (Replica, Result<(), String>) {
    let buffer = MemBuffer::new(u64::MAX);
    let result = DrainerSource::new(options(dir)).stream(None, buffer.clone(), CancellationToken::new()).await;
    let mut replica = Replica::new();
    while replica.next(&buffer).is_some() {}
    (replica, result.map_err(|e| e.to_string()))
}

const SAMPLE: &[u8] = include_bytes!("../../data/ticdc/binlog-0000000000000000-20200101000000");

#[tokio::test]
async fn the_sample_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(path(dir.path(), 0), SAMPLE).unwrap();
    let (replica, result) = read(dir.path()).await;
    assert_eq!((result, replica.stopped()), (Ok(()), Vec::new()));
    let rows = format!("{:?}", replica.contents());
    // inserted: 1 'aa' and 2 NULL; then 2 becomes 'bb', and 1 goes
    assert!(rows.contains(r#"Str("bb")"#) && !rows.contains(r#"Str("aa")"#), "{rows}");
}

#[tokio::test]
async fn damage_is_an_error_that_names_the_place() {
    let dir = tempfile::tempdir().unwrap();
    for at in [0, 5, 20, SAMPLE.len() / 2, SAMPLE.len() - 2] {
        let mut bytes = SAMPLE.to_vec();
        bytes[at] ^= 0x10;
        std::fs::write(path(dir.path(), 0), bytes).unwrap();
        let (_, result) = read(dir.path()).await;
        assert!(result.expect_err("damaged").contains("binlog-0000000000000000"), "byte {at}");
    }
    std::fs::write(path(dir.path(), 0), &SAMPLE[..SAMPLE.len() - 3]).unwrap();
    assert!(read(dir.path()).await.1.expect_err("torn").contains("ends inside a record"));
    std::fs::write(path(dir.path(), 0), SAMPLE).unwrap();
    std::fs::write(path(dir.path(), 2), SAMPLE).unwrap();
    assert!(read(dir.path()).await.1.expect_err("a hole").contains("misses the files between"));
}

#[test]
fn damaged_payloads_are_errors_or_records() {
    let mut rng = StdRng::seed_from_u64(9);
    let history = History::random(301, 40);
    for _ in 0..20_000 {
        let (ts, commit) = &history.commits[rng.random_range(0..40)];
        let whole = record(*ts, commit);
        let mut payload = whole[12..whole.len() - 4].to_vec();
        for _ in 0..rng.random_range(1..5) {
            let at = rng.random_range(0..payload.len());
            payload[at] = rng.random();
        }
        if let Ok(binlog) = Binlog::decode(payload.as_slice()) {
            let _ = binlog.read(&|_| true);
        }
    }
}
