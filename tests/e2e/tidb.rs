//! A feed of TiDB as the source: files as TiCDC's storage sink writes them, read by the real binary while they come.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tidelake_testkit::{S3, TcpProxy};

use crate::tidelake::{Tidelake, wait_for};

const ACCOUNTS: usize = 10;
const START: u64 = 441_349_361_156_227_074;

/// Two tables of accounts; every commit moves money between accounts of both, and is in a file of each.
struct Sink {
    dir: TempDir,
    /// A record of a change, and the files' extension.
    format: (Line, &'static str),
    rng: StdRng,
    ts: u64,
    number: u64,
    balances: [[i64; ACCOUNTS]; 2],
}

/// commit-ts, table, kind, id, balance, old balance
type Line = fn(u64, usize, &str, usize, i64, Option<i64>) -> String;

fn table(i: usize) -> &'static str {
    ["left", "right"][i]
}

impl Sink {
    fn new() -> Sink {
        Sink::of((line, "json"))
    }

    fn of(format: (Line, &'static str)) -> Sink {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (rng, balances) = (StdRng::seed_from_u64(4), [[100; ACCOUNTS]; 2]);
        let mut sink = Sink { dir, format, rng, ts: START, number: 0, balances };
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
        let rows =
            |i: usize| (0..ACCOUNTS).map(|id| format.0(START + 10, i, "INSERT", id, 100, None)).collect::<String>();
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
            let (version, number, extension) = (START + i as u64, self.number, self.format.1);
            let path = format!("bank/{}/{version}/2026-11-29/CDC{number:020}.{extension}", table(i));
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
                let _ = write!(texts[i], "{}", self.format.0(self.ts, i, "UPDATE", id, old + change, Some(old)));
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

/// CSV with `output-old-value`.
fn csv_line(ts: u64, i: usize, kind: &str, id: usize, balance: i64, old: Option<i64>) -> String {
    let is_update = kind == "UPDATE";
    let row =
        |op: &str, balance: i64| format!("\"{op}\",\"{}\",\"bank\",{ts},{is_update},{id},{balance}\r\n", table(i));
    old.map(|old| row("D", old)).unwrap_or_default() + &row("I", balance)
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
    let published = status["source"]["published"].as_str().expect("text");
    assert!(published.contains(&format!("\"tso\":{}", sink.ts)), "{status}");
    let head = status["seq"]["head"].as_u64().expect("a number");
    assert_eq!(head, 2 + 1 + 20 + 5 * 65, "every commit once: {status}");
    assert!(tidelake.interrupt().success(), "{}", tidelake.printed());
}

#[test]
fn at_least_a_tso_waits_for_the_checkpoint_that_covers_it() {
    let mut sink = Sink::new();
    sink.transfers(5);
    let source = format!("ticdc-storage:{}", sink.root().display());
    let tidelake = Tidelake::run(&source, &["--follow", "--interval", "5ms"]);
    check(&sink, &tidelake);
    let asked = |tso: u64, timeout: u64| {
        let sql = format!(
            "SET tidelake_freshness_timeout = {timeout}; SET tidelake_freshness = 'at_least:{tso}'; SELECT id, balance FROM bank.`left` ORDER BY id"
        );
        tidelake.client().try_batch_text(&sql)
    };
    let late = asked(START + 1_000_000, 1).expect_err("nobody committed that yet");
    let published = format!("\"tso\":{}", sink.ts);
    assert!(late.contains(&format!("TSO {}", START + 1_000_000)) && late.contains(&published), "{late}");
    for _ in 0..5 {
        // asked before the files are there
        let tso = sink.ts + 3000;
        let have = std::thread::scope(|scope| {
            let reading = scope.spawn(|| asked(tso, 60));
            std::thread::sleep(Duration::from_millis(300));
            sink.transfers(3);
            reading.join().expect("no panic").expect("it comes")
        });
        assert_eq!(sink.ts, tso);
        assert_eq!(String::from_utf8(have).expect("text").trim_end(), sink.contents(0).trim_end());
    }
    let error = tidelake.client().try_batch_text("SET tidelake_freshness = 'at_least:0-1-55'").unwrap_err();
    assert!(error.contains("1231") && error.contains("a TSO is wanted"), "{error}");
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
        ("ticdc-storage:gcs://bucket/prefix", "a local directory or s3:// is read"),
        ("ticdc-storage:s3://bucket/prefix?secret-access-key=hush", "AWS_SECRET_ACCESS_KEY"),
        ("ticdc-storage:/x?protocol=csv", "has no option protocol"),
        ("drainer:/x?zone=Mars/Base", "time zone"),
    ] {
        let mut tidelake = Tidelake::prepare(&["run", "--source", source], &[]);
        tidelake.spawn();
        assert!(!tidelake.wait_end().success());
        assert!(tidelake.printed().contains(part) && !tidelake.printed().contains("hush"), "{}", tidelake.printed());
    }
}

/// A bucket that a sink's directory is put into, by requests of the simplest kind.
fn put(s3: &S3, root: &Path, path: &str) {
    let body = std::fs::read(root.join(path)).expect("a file");
    let mut stream = std::net::TcpStream::connect(s3.address()).expect("it listens");
    let head = format!(
        "PUT /feeds/some/prefix/{path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n",
        s3.address(),
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).expect("send");
    let answer = std::io::read_to_string(stream).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn upload(s3: &S3, root: &Path) {
    for i in 0..2 {
        put(s3, root, &format!("bank/{}/meta/schema_{}_1.json", table(i), START + i as u64));
        let dir = format!("bank/{}/{}/2026-11-29", table(i), START + i as u64);
        for file in std::fs::read_dir(root.join(&dir)).expect("a directory") {
            let name = file.expect("a file").file_name();
            put(s3, root, &format!("{dir}/{}", name.to_string_lossy()));
        }
    }
    put(s3, root, "metadata");
}

#[test]
fn a_sink_in_a_bucket_is_followed_with_credentials_of_the_environment() {
    let s3 = S3::start();
    s3.create_bucket("feeds");
    let mut sink = Sink::new();
    sink.transfers(20);
    upload(&s3, sink.root());
    let source = format!("ticdc-storage:s3://feeds/some/prefix?endpoint={}&region=us-east-1", s3.endpoint());
    let mut tidelake = Tidelake::prepare(&["run", "--source", &source], &["--follow", "--interval", "5ms"]);
    for (name, value) in S3::environment() {
        tidelake.set_variable(name, value);
    }
    tidelake.restart();
    check(&sink, &tidelake);
    tidelake.kill9();
    sink.transfers(10);
    upload(&s3, sink.root());
    tidelake.restart();
    check(&sink, &tidelake);
    assert!(tidelake.interrupt().success(), "{}", tidelake.printed());
    assert!(!tidelake.printed().contains(S3::SECRET_KEY), "{}", tidelake.printed());
}

#[test]
fn a_csv_sink_in_a_bucket_is_followed_over_a_lost_network() {
    let s3 = S3::start();
    s3.create_bucket("feeds");
    let network = TcpProxy::start(s3.port());
    let mut sink = Sink::of((csv_line, "csv"));
    sink.transfers(20);
    upload(&s3, sink.root());
    let endpoint = format!("http://127.0.0.1:{}", network.port());
    let source = format!("ticdc-storage:s3://feeds/some/prefix?endpoint={endpoint}&region=us-east-1");
    let mut tidelake = Tidelake::prepare(&["run", "--source", &source], &["--follow", "--interval", "5ms"]);
    for (name, value) in S3::environment() {
        tidelake.set_variable(name, value);
    }
    tidelake.restart();
    check(&sink, &tidelake);
    for round in 0..3 {
        sink.transfers(10);
        upload(&s3, sink.root());
        if round > 0 {
            // in the middle of whatever it is doing
            network.reset();
            check(&sink, &tidelake);
            continue;
        }
        let before = sink.contents(0);
        network.cut();
        let reason = wait_for("the lost bucket in the status", Duration::from_secs(60), || {
            let status = tidelake.status();
            (status["source"]["state"] == "reconnecting").then(|| status["source"]["reason"].to_string())
        });
        assert!(reason.contains("s3://feeds/some/prefix"), "{reason}");
        let have = String::from_utf8(tidelake.client().batch_text("SELECT id, balance FROM bank.`left` ORDER BY id"));
        let have = have.expect("text");
        assert!(!have.is_empty() && have.lines().count() == before.lines().count(), "what is here can be read: {have}");
        network.heal();
        check(&sink, &tidelake);
        wait_for("the bucket in the status", Duration::from_secs(60), || {
            (tidelake.status()["source"]["state"] == "streaming").then_some(())
        });
    }
    assert!(tidelake.interrupt().success(), "{}", tidelake.printed());
}
