//! A feed of TiDB as the source: files as TiCDC's storage sink writes them, read by the real binary while they come.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::tidelake::{Tidelake, wait_for};

const ACCOUNTS: usize = 10;
const START: u64 = 441_349_361_156_227_074;

/// Two tables of accounts; every commit moves money between accounts of both, and is in a file of each.
struct Sink {
    dir: TempDir,
    rng: StdRng,
    ts: u64,
    number: u64,
    balances: [[i64; ACCOUNTS]; 2],
}

fn table(i: usize) -> &'static str {
    ["left", "right"][i]
}

impl Sink {
    fn new() -> Sink {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut sink =
            Sink { dir, rng: StdRng::seed_from_u64(4), ts: START, number: 0, balances: [[100; ACCOUNTS]; 2] };
        for i in 0..2 {
            let name = table(i);
            let sql = format!(
                "CREATE TABLE `{name}` (`id` INT PRIMARY KEY /*T![clustered_index] CLUSTERED */, `balance` BIGINT)"
            );
            let schema = serde_json::json!({"Table": name, "Schema": "bank", "Version": 1, "TableVersion": START + i as u64,
                "Query": sql, "Type": 3, "TableColumns": [{"ColumnName": "id"}, {"ColumnName": "balance"}], "TableColumnsTotal": 2});
            sink.write(&format!("bank/{name}/meta/schema_{}_1.json", START + i as u64), &schema.to_string());
        }
        sink.ts += 10;
        let rows = |i: usize| (0..ACCOUNTS).map(|id| line(START + 10, i, "INSERT", id, 100, None)).collect::<String>();
        let files = [rows(0), rows(1)];
        sink.files(files);
        sink
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
        std::fs::write(&path, text).expect("a file");
        path
    }

    fn files(&mut self, texts: [String; 2]) {
        self.number += 1;
        for (i, text) in texts.into_iter().enumerate() {
            let path = format!("bank/{}/{}/2026-11-29/CDC{:020}.json", table(i), START + i as u64, self.number);
            self.write(&path, &text);
        }
    }

    /// So many transfers, with files of both tables, sent twice; then the checkpoint.
    fn transfers(&mut self, count: usize) {
        let mut texts = [String::new(), String::new()];
        for _ in 0..count {
            self.ts += 1000;
            let (from, to) = (self.rng.random_range(0..ACCOUNTS), self.rng.random_range(0..ACCOUNTS));
            let amount = self.rng.random_range(1..50);
            for (i, id, change) in [(0, from, -amount), (1, to, amount)] {
                let old = self.balances[i][id];
                self.balances[i][id] += change;
                let _ = write!(texts[i], "{}", line(self.ts, i, "UPDATE", id, old + change, Some(old)));
            }
        }
        self.files(texts.clone());
        self.files(texts);
        self.write("metadata", &format!("{{\"checkpoint-ts\":{}}}", self.ts));
    }

    fn contents(&self, i: usize) -> String {
        self.balances[i].iter().enumerate().fold(String::new(), |mut out, (id, b)| {
            let _ = writeln!(out, "{id}\t{b}");
            out
        })
    }
}

fn line(ts: u64, i: usize, kind: &str, id: usize, balance: i64, old: Option<i64>) -> String {
    let row = |balance: i64| serde_json::json!({"id": id.to_string(), "balance": balance.to_string()});
    let old = old.map(|b| vec![row(b)]);
    let message = serde_json::json!({"id": 0, "database": "bank", "table": table(i), "pkNames": ["id"], "isDdl": false, "type": kind,
        "es": ts >> 18, "ts": 1, "sql": "", "data": [row(balance)], "old": old, "_tidb": {"commitTs": ts}});
    format!("{message}\r\n")
}

fn check(sink: &Sink, tidelake: &Tidelake) {
    for i in 0..2 {
        let sql = format!("SELECT id, balance FROM bank.`{}` ORDER BY id", table(i));
        let have = String::from_utf8(tidelake.latest(&sql)).expect("text");
        assert_eq!(have.trim_end(), sink.contents(i).trim_end(), "table {}", table(i));
    }
}

/// The sum over both tables at whatever moment: no commit is ever seen half.
fn audit(tidelake: &Tidelake) {
    let sql = "SELECT (SELECT SUM(balance) FROM bank.`left`) + (SELECT SUM(balance) FROM bank.`right`)";
    if let Ok(sum) = tidelake.client().try_batch_text(sql) {
        let sum = String::from_utf8(sum).expect("text");
        assert!(sum.contains("2000"), "{sum}");
    }
}

#[test]
fn a_storage_sink_is_followed_over_kills() {
    let mut sink = Sink::new();
    sink.transfers(20);
    let source = format!("ticdc-storage:{}?zone=UTC", sink.root().display());
    let mut tidelake = Tidelake::run(&source, &["--follow", "--flush-interval", "1s", "--interval", "5ms"]);
    check(&sink, &tidelake);
    for round in 0..5 {
        sink.transfers(60);
        for _ in 0..round {
            audit(&tidelake);
        }
        tidelake.kill9();
        sink.transfers(5);
        tidelake.restart();
        audit(&tidelake);
        check(&sink, &tidelake);
    }
    let status = tidelake.status();
    assert_eq!(status["source"]["kind"], "ticdc-storage", "{status}");
    assert!(status["source"]["position"].as_str().is_some_and(|p| p.contains(&sink.ts.to_string())), "{status}");
    let head = status["seq"]["head"].as_u64().expect("a number");
    assert_eq!(head, 2 + 1 + 20 + 5 * 65, "every commit once: {status}");
    assert!(tidelake.interrupt().success(), "{}", tidelake.printed());
}

#[test]
fn without_follow_what_is_above_the_checkpoint_is_left_out_and_said() {
    let mut sink = Sink::new();
    sink.transfers(10);
    let above = line(sink.ts + 1, 0, "UPDATE", 0, 1_000_000, Some(sink.balances[0][0]));
    sink.files([above, String::new()]);
    let tidelake = Tidelake::run(&format!("ticdc-storage:{}", sink.root().display()), &[]);
    let reason = wait_for("the end of the feed", Duration::from_secs(60), || {
        let status = tidelake.status();
        (status["source"]["state"] == "finished").then(|| status["source"]["reason"].to_string())
    });
    assert!(reason.contains("above the checkpoint"), "{reason}");
    check(&sink, &tidelake);
}

#[test]
fn what_a_feed_must_have_is_said_at_once() {
    for (source, part) in [
        ("ticdc-storage:s3://bucket/prefix", "only a local directory can be read so far"),
        ("ticdc-storage:/x?protocol=csv", "has no option protocol"),
        ("drainer:/x?zone=Mars/Base", "time zone"),
    ] {
        let mut tidelake = Tidelake::prepare(&["run", "--source", source], &[]);
        tidelake.spawn();
        assert!(!tidelake.wait_end().success());
        assert!(tidelake.printed().contains(part), "{}", tidelake.printed());
    }
}
