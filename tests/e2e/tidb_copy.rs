//! `--copy-from`: tables copied at one TSO, from a stand-in of TiDB's protocol and from Dumpling's files, and a storage sink behind them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tidelake_testkit::{MariaDb, MariaDbOptions};

use crate::tidb_double::{TidbDouble, now};
use crate::tidelake::{Tidelake, wait_for};

const ACCOUNTS: usize = 3000;
const ACCOUNTS_SQL: &str = "CREATE TABLE `accounts` (\n  `id` int(11) NOT NULL,\n  `balance` bigint(20) DEFAULT NULL,\n  PRIMARY KEY (`id`) /*T![clustered_index] CLUSTERED */\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";
const NOTES_SQL: &str = "CREATE TABLE `notes` (\n  `text` varchar(20) DEFAULT NULL\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

/// Every type of TiDB, as TiDB prints the definition.
const KINDS_SQL: &str = "CREATE TABLE `kinds` (\n  `id` bigint(20) unsigned NOT NULL,\n  `t` tinyint(4) DEFAULT NULL,\n  `s` smallint(5) unsigned DEFAULT NULL,\n  `m` mediumint(9) DEFAULT NULL,\n  `b` bigint(20) DEFAULT NULL,\n  `dec` decimal(65,30) DEFAULT NULL,\n  `f` float DEFAULT NULL,\n  `d` double DEFAULT NULL,\n  `bits` bit(64) DEFAULT NULL,\n  `y` year(4) DEFAULT NULL,\n  `day` date DEFAULT NULL,\n  `dt` datetime(6) DEFAULT NULL,\n  `ts` timestamp(6) NULL DEFAULT NULL,\n  `tm` time(6) DEFAULT NULL,\n  `c` char(10) DEFAULT NULL,\n  `v` varchar(100) CHARACTER SET latin1 COLLATE latin1_bin DEFAULT NULL,\n  `tx` longtext DEFAULT NULL,\n  `bin` binary(4) DEFAULT NULL,\n  `vb` varbinary(100) DEFAULT NULL,\n  `bl` longblob DEFAULT NULL,\n  `e` enum('red','green','it''s') DEFAULT NULL,\n  `st` set('a','b','c') DEFAULT NULL,\n  PRIMARY KEY (`id`) /*T![clustered_index] CLUSTERED */\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

/// As Dumpling writes it, which is also what MySQL reads.
const KINDS_ROWS: &str = "INSERT INTO `kinds` VALUES\n\
(18446744073709551615,-128,65535,-8388608,-9223372036854775808,-99999999999999999999999999999999999.999999999999999999999999999999,-3.40282e38,1.7976931348623157e308,x'ffffffffffffffff','2155','9999-12-31','9999-12-31 23:59:59.999999','2038-01-19 03:14:07.999999','-838:59:59.000000','ä€😀','\u{fc}\u{e9}','a\\'b\\\"c\\\\d\\ne\\rf\\0g',x'00ff0001',x'',x'deadbeef00','it\\'s','a,c'),\n\
(0,127,0,8388607,9223372036854775807,0.000000000000000000000000000001,1.5,-0.1,x'0000000000000000','0000','0000-00-00','0000-00-00 00:00:00.000000','1970-01-01 00:00:01.000000','838:59:59.000000','','','',x'00000000',x'27',x'','red',''),\n\
(5,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'NULL',NULL,NULL,NULL,NULL,NULL);\n";

const KINDS: &str = "SELECT * FROM bank.kinds ORDER BY id";

fn setup(upstream: &MariaDb) {
    let versioned = |sql: &str| format!("{} WITH SYSTEM VERSIONING", sql.split("/*T").next().unwrap_or(sql).trim_end());
    upstream.execute("CREATE DATABASE bank");
    let accounts = versioned(ACCOUNTS_SQL).replace(" WITH", "\n) WITH");
    upstream.execute(&format!("USE bank; {accounts}"));
    upstream.execute(&format!("USE bank; {}", versioned(NOTES_SQL)));
    upstream.execute(&format!("USE bank; {}", KINDS_SQL.replace("/*T![clustered_index] CLUSTERED */", "")));
    let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id},100)")).collect();
    upstream.execute(&format!("INSERT INTO bank.accounts VALUES {}", rows.join(",")));
    upstream.execute("INSERT INTO bank.notes VALUES ('one'),('one'),(NULL)");
    upstream.execute(&format!("USE bank; SET sql_mode = ''; SET time_zone = '+00:00'; {KINDS_ROWS}"));
}

fn double(upstream: &MariaDb) -> TidbDouble {
    let schemas = [("`bank`.`accounts`", ACCOUNTS_SQL), ("`bank`.`notes`", NOTES_SQL), ("`bank`.`kinds`", KINDS_SQL)];
    TidbDouble::start(upstream.port(), &schemas)
}

/// A storage sink, begun at a TSO, with transfers between accounts.
struct Sink {
    dir: TempDir,
    rng: StdRng,
    start: u64,
    ts: u64,
    number: u64,
    balances: Vec<i64>,
}

impl Sink {
    fn new(start: u64) -> Sink {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let rng = StdRng::seed_from_u64(7);
        let sink = Sink { dir, rng, start, ts: start, number: 0, balances: vec![100; ACCOUNTS] };
        let schema = serde_json::json!({"Table": "accounts", "Schema": "bank", "Version": 1, "TableVersion": start, "Query": "", "Type": 0,
            "TableColumns": [{"ColumnName": "id"}, {"ColumnName": "balance"}], "TableColumnsTotal": 2});
        sink.write(&format!("bank/accounts/meta/schema_{start}_1.json"), &schema.to_string());
        // what the copy has already: the feed of an older start, a DDL at the very TSO
        let truncate = serde_json::json!({"Table": "notes", "Schema": "bank", "Version": 1, "TableVersion": start, "Query": "TRUNCATE TABLE `notes`",
            "Type": 11, "TableColumns": [{"ColumnName": "text"}], "TableColumnsTotal": 1});
        sink.write(&format!("bank/notes/meta/schema_{start}_1.json"), &truncate.to_string());
        sink
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    fn transfers(&mut self, count: usize) {
        let mut text = String::new();
        if self.number == 0 {
            let old = self.line(self.start, "INSERT", 1, 77, None) + &self.line(self.start - 5, "DELETE", 2, 100, None);
            text.push_str(&old);
        }
        for _ in 0..count {
            self.ts += 1000;
            let amount = self.rng.random_range(1..50);
            for sign in [-1, 1] {
                let id = self.rng.random_range(0..self.balances.len());
                let (old, ts) = (self.balances[id], self.ts + u64::from(sign > 0));
                self.balances[id] += sign * amount;
                let line = self.line(ts, "UPDATE", id, self.balances[id], Some(old));
                text.push_str(&line);
            }
            self.ts += 1;
        }
        self.number += 1;
        self.write(&format!("bank/accounts/{}/CDC{:020}.json", self.start, self.number), &text);
        self.write("metadata", &format!("{{\"checkpoint-ts\":{}}}", self.ts));
    }

    /// The hundred last accounts go with their partition, upstream too, which has everything else of the feed then; the feed has the
    /// statement only.
    fn drop_partition(&mut self, upstream: &MariaDb, sql: &str) {
        self.balances.truncate(self.balances.len() - 100);
        let rows: Vec<String> = self.balances.iter().enumerate().map(|(id, b)| format!("({id},{b})")).collect();
        upstream.execute(&format!(
            "INSERT INTO bank.accounts VALUES {} ON DUPLICATE KEY UPDATE balance = VALUES(balance); DELETE FROM bank.accounts WHERE id >= {}",
            rows.join(","),
            self.balances.len()
        ));
        std::thread::sleep(Duration::from_millis(20));
        self.ts = self.ts.max(now());
        let schema = serde_json::json!({"Table": "accounts", "Schema": "bank", "Version": 1, "TableVersion": self.ts, "Query": sql,
            "Type": 22, "TableColumns": [{"ColumnName": "id"}, {"ColumnName": "balance"}], "TableColumnsTotal": 2});
        self.write(&format!("bank/accounts/meta/schema_{}_1.json", self.ts), &schema.to_string());
        // a checkpoint that equals a DDL's commit-ts does not promise the DDL
        self.ts += 1;
        self.write("metadata", &format!("{{\"checkpoint-ts\":{}}}", self.ts));
    }

    fn line(&self, ts: u64, kind: &str, id: usize, balance: i64, old: Option<i64>) -> String {
        let row = |balance: i64| serde_json::json!({"id": id.to_string(), "balance": balance.to_string()});
        let message = serde_json::json!({"id": 0, "database": "bank", "table": "accounts", "pkNames": ["id"], "isDdl": false,
            "type": kind, "es": ts >> 18, "ts": 1, "sql": "", "data": [row(balance)], "old": old.map(|b| vec![row(b)]),
            "_tidb": {"commitTs": ts}});
        format!("{message}\r\n")
    }

    fn source(&self) -> String {
        format!("ticdc-storage:{}", self.dir.path().display())
    }

    fn check(&self, tidelake: &Tidelake) {
        let have =
            String::from_utf8(tidelake.latest("SELECT id, balance FROM bank.accounts ORDER BY id")).expect("text");
        let want = self.balances.iter().enumerate().fold(String::new(), |mut out, (id, balance)| {
            let _ = writeln!(out, "{id}\t{balance}");
            out
        });
        assert_eq!(have.trim_end(), want.trim_end());
    }
}

/// Nobody may see a part of a copy. True once the table is there.
fn audit(tidelake: &Tidelake) -> bool {
    let count = tidelake.client().try_batch_text("SELECT COUNT(*) FROM bank.accounts");
    if let Ok(count) = &count {
        assert_eq!(String::from_utf8_lossy(count).trim(), ACCOUNTS.to_string());
    }
    count.is_ok()
}

fn copied(tidelake: &Tidelake) {
    wait_for("the end of the copy", Duration::from_secs(120), || {
        let status = tidelake.status();
        let copying = status["source"]["reason"].as_str().is_some_and(|r| r.contains("cop"));
        (audit(tidelake) && !copying).then_some(())
    });
}

fn same_kinds(upstream: &MariaDb, tidelake: &Tidelake) {
    let want =
        String::from_utf8_lossy(&upstream.batch_text(&format!("SET time_zone = '+00:00'; {KINDS}"))).into_owned();
    let have = String::from_utf8_lossy(&tidelake.latest(KINDS)).into_owned();
    assert_eq!(have, want);
    let notes = String::from_utf8_lossy(&tidelake.latest("SELECT text FROM bank.notes ORDER BY text")).into_owned();
    assert_eq!(notes.trim_end(), "NULL\none\none");
}

#[test]
fn a_copy_from_tidb_meets_the_feed_at_one_tso_over_kills_and_lost_connections() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    setup(&upstream);
    std::thread::sleep(Duration::from_millis(20));
    let tso = now();
    std::thread::sleep(Duration::from_millis(20));
    // what comes later must not be in the copy
    upstream.execute("DELETE FROM bank.accounts WHERE id % 2 = 0; UPDATE bank.accounts SET balance = 1; INSERT INTO bank.accounts VALUES (99999, 5); DELETE FROM bank.notes");
    let double = double(&upstream);
    let mut sink = Sink::new(tso);
    sink.transfers(100);
    let from = format!("{}/?tso={tso}", double.url());
    let options =
        ["--follow", "--copy-from", &from, "--copy-chunk-rows", "50", "--interval", "5ms", "--flush-interval", "1s"];
    let mut tidelake = Tidelake::prepare(&["run", "--source", &sink.source()], &options);
    let (mut rng, mut early) = (StdRng::seed_from_u64(3), 0);
    for round in 0..4 {
        double.cut_after(20_000);
        tidelake.restart();
        std::thread::sleep(Duration::from_millis(rng.random_range(20..200)));
        early += usize::from(!audit(&tidelake));
        tidelake.kill9();
        sink.transfers(10 * round);
    }
    assert!(early > 0, "it was never killed before the end of the copy");
    tidelake.restart();
    copied(&tidelake);
    same_kinds(&upstream, &tidelake);
    sink.check(&tidelake);
    assert!(double.snapshots().iter().all(|s| *s == tso), "{:?}", double.snapshots());
    let asked = double.snapshots().len();
    sink.transfers(20);
    tidelake.kill9();
    tidelake.restart();
    sink.check(&tidelake);
    assert_eq!(double.snapshots().len(), asked, "what is copied is not copied again");
    assert!(!tidelake.printed().contains("tide@"), "no password in the log");
    assert!(tidelake.interrupt().success(), "{}", tidelake.printed());
}

/// The writer is lost with its buffer in the middle of the copy: another one goes on with it as of the same TSO, whatever it would begin with itself.
#[test]
fn another_writer_goes_on_with_the_copy_as_of_its_tso() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    setup(&upstream);
    std::thread::sleep(Duration::from_millis(20));
    let tso = now();
    std::thread::sleep(Duration::from_millis(20));
    upstream.execute(
        "DELETE FROM bank.accounts WHERE id % 2 = 0; UPDATE bank.accounts SET balance = 1; DELETE FROM bank.notes",
    );
    let (double, mut sink) = (double(&upstream), Sink::new(tso));
    sink.transfers(100);
    let mut engine = Tidelake::part(&["engine"], &[], &["--magic-listen", "--http-listen"]);
    engine.keep_data();
    engine.restart();
    let at = format!("127.0.0.1:{}", engine.ports().magic);
    let mut front =
        Tidelake::part(&["query", "--engine", &at], &[], &["--mysql-listen", "--http-listen", "--flight-listen"]);
    front.spawn();
    let writer = |tso: u64| {
        let from = format!("{}/?tso={tso}", double.url());
        let command = ["writer", "--engine", &at, "--source", &sink.source(), "--follow", "--copy-from", &from];
        let options = ["--copy-chunk-rows", "50", "--interval", "5ms", "--flush-interval", "50ms"];
        let mut writer = Tidelake::part(&command, &options, &["--http-listen"]);
        writer.keep_data();
        writer.spawn();
        writer
    };
    double.cut_after(20_000);
    let mut first = writer(tso);
    wait_for("the copy to be interrupted", Duration::from_secs(60), || {
        first.printed().contains("the copy is interrupted").then_some(())
    });
    // What was not durable yet is lost with the buffer, and with all of it the copy would be a new one.
    let published = engine.status()["seq"]["published"].as_u64();
    wait_for("the copy's beginning to be durable", Duration::from_secs(60), || {
        let durable = engine.status()["seq"]["durable"].as_u64();
        (durable > Some(0) && durable >= published).then_some(())
    });
    first.kill9();
    let second = writer(now());
    front.wait_ports();
    sink.transfers(20);
    copied(&front);
    sink.check(&front);
    same_kinds(&upstream, &front);
    assert!(double.snapshots().iter().all(|s| *s == tso), "{:?}", double.snapshots());
    assert!(second.printed().contains("the copy goes on"), "it was no copy's middle:\n{}", second.printed());
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).expect("memory");
    packed.finish().expect("memory")
}

/// The files as Dumpling writes them: several of one table, SQL and CSV, one of them compressed.
fn dump(dir: &Path, tso: u64) {
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("a file");
    let preamble = "/*!40014 SET FOREIGN_KEY_CHECKS=0*/;\n/*!40101 SET NAMES binary*/;\n";
    write(
        "bank-schema-create.sql",
        &format!("{preamble}CREATE DATABASE `bank` /*!40100 DEFAULT CHARACTER SET utf8mb4 */;\n"),
    );
    for (table, sql) in [("accounts", ACCOUNTS_SQL), ("notes", NOTES_SQL), ("kinds", KINDS_SQL)] {
        write(&format!("bank.{table}-schema.sql"), &format!("{preamble}{sql};\n"));
    }
    write("bank.v-schema.sql", &format!("{preamble}CREATE TABLE `v`(\n`id` int\n)ENGINE=MyISAM;\n"));
    write("bank.v-schema-view.sql", &format!("{preamble}CREATE VIEW `v` AS SELECT 1 AS `id`;\n"));
    write("bank.kinds.000000000.sql", &format!("{preamble}{KINDS_ROWS}"));
    write("bank.notes.000000000.csv", "\"text\"\r\n\"one\"\r\n\"one\"\r\n\\N\r\n");
    let rows = |from: usize, to: usize| {
        let rows: Vec<String> = (from..to).map(|id| format!("({id},100)")).collect();
        format!("{preamble}INSERT INTO `accounts` VALUES\n{};\n", rows.join(",\n"))
    };
    write("bank.accounts.000000000.sql", &rows(0, 1000));
    std::fs::write(dir.join("bank.accounts.0000000010000.sql.gz"), gzip(&rows(1000, 1001))).expect("a file");
    let csv: String = (1001..ACCOUNTS).map(|id| format!("100,{id}\r\n")).collect();
    write("bank.accounts.000000002.csv", &format!("\"balance\",\"id\"\r\n{csv}"));
    write(
        "metadata",
        &format!(
            "Started dump at: 2026-11-29 10:40:19\nSHOW MASTER STATUS:\n\tLog: tidb-binlog\n\tPos: {tso}\n\tGTID:\n\nFinished dump at: 2026-11-29 10:40:20\n"
        ),
    );
}

#[test]
fn a_dump_of_dumpling_meets_the_feed_at_its_tso_over_kills() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    setup(&upstream);
    let (dir, tso) = (tempfile::tempdir().expect("a temporary directory"), now());
    dump(dir.path(), tso);
    let mut sink = Sink::new(tso);
    sink.transfers(100);
    let from = format!("dumpling:{}", dir.path().display());
    let options =
        ["--follow", "--copy-from", &from, "--copy-chunk-rows", "2", "--interval", "5ms", "--flush-interval", "1s"];
    let mut tidelake = Tidelake::prepare(&["run", "--source", &sink.source()], &options);
    let (mut rng, mut early) = (StdRng::seed_from_u64(4), 0);
    for _ in 0..3 {
        tidelake.restart();
        std::thread::sleep(Duration::from_millis(rng.random_range(20..150)));
        early += usize::from(!audit(&tidelake));
        tidelake.kill9();
    }
    assert!(early > 0, "it was never killed before the end of the copy");
    tidelake.restart();
    copied(&tidelake);
    same_kinds(&upstream, &tidelake);
    sink.check(&tidelake);
    std::fs::remove_dir_all(dir.path()).expect("the dump may go once it is copied");
    sink.transfers(20);
    tidelake.kill9();
    tidelake.restart();
    sink.check(&tidelake);
    assert!(tidelake.interrupt().success(), "{}", tidelake.printed());
}

#[test]
fn what_cannot_be_copied_is_said() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    dump(dir.path(), now());
    let metadata = std::fs::read_to_string(dir.path().join("metadata")).expect("metadata");
    let unfinished = metadata.split("Finished").next().expect("a beginning");
    let sink = Sink::new(now());
    for (text, part) in
        [(unfinished.to_owned(), "is not whole"), (metadata.replace("tidb-binlog", "ON.000001"), "no dump of TiDB")]
    {
        std::fs::write(dir.path().join("metadata"), text).expect("a file");
        let from = format!("dumpling:{}", dir.path().display());
        let mut tidelake = Tidelake::prepare(&["run", "--source", &sink.source()], &["--copy-from", &from]);
        tidelake.spawn();
        assert!(!tidelake.wait_end().success());
        assert!(tidelake.printed().contains(part), "{}", tidelake.printed());
    }
    let upstream = MariaDb::start(MariaDbOptions::default());
    let from = format!("{}/?tso={}", upstream.source_url(), now());
    let mut tidelake = Tidelake::prepare(&["run", "--source", &sink.source()], &["--copy-from", &from]);
    tidelake.spawn();
    assert!(!tidelake.wait_end().success());
    assert!(tidelake.printed().contains("tidb_snapshot"), "{}", tidelake.printed());
}

#[test]
fn tables_that_lost_a_partition_are_copied_again_where_the_feed_stands() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    setup(&upstream);
    let double = double(&upstream);
    std::thread::sleep(Duration::from_millis(20));
    let mut sink = Sink::new(now());
    let from = format!("{}/?tso={}", double.url(), sink.start);
    let options = ["--follow", "--interval", "5ms", "--copy-from", &from, "--copy-chunk-rows", "200"];
    sink.transfers(20);
    let mut tidelake = Tidelake::run(&sink.source(), &options);
    copied(&tidelake);
    sink.check(&tidelake);
    for round in 0..3 {
        let exchange = "ALTER TABLE `bank`.`accounts` EXCHANGE PARTITION `p9` WITH TABLE `bank`.`notes`";
        if round == 1 {
            double.cut_after(20_000);
        }
        sink.drop_partition(
            &upstream,
            if round == 0 { exchange } else { "ALTER TABLE `accounts` DROP PARTITION `p9`" },
        );
        if round == 2 {
            std::thread::sleep(Duration::from_millis(150));
            tidelake.kill9();
            tidelake.restart();
        }
        // waits for the copy
        sink.check(&tidelake);
        assert!(double.snapshots().contains(&sink.ts), "{} is none of {:?}", sink.ts, double.snapshots());
        sink.transfers(10);
        sink.check(&tidelake);
    }
    same_kinds(&upstream, &tidelake);
    let status = tidelake.status();
    assert_eq!(
        (&status["source"]["state"], &status["source"]["reason"]),
        (&"streaming".into(), &"".into()),
        "{status}"
    );
    assert!(tidelake.interrupt().success(), "{}", tidelake.printed());
}
