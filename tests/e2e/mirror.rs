//! Tidelake looks like its upstream to clients: names, metadata, bytes; and it is read-only.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

use crate::compare::assert_same_contents;
use crate::crashes::wait_copied;
use crate::tidelake::{Tidelake, tidelake, tidelake_prints, wait_for};
use crate::{bank, kinds, store};

fn shared() -> (MariaDb, Tidelake) {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&(bank::setup() + &store::setup() + &kinds::setup(ServerKind::MariaDb)));
    let tidelake = Tidelake::run(&upstream.source_url(), &["--interval", "20ms"]);
    wait_copied(&tidelake);
    (upstream, tidelake)
}

/// Statements that must print the same bytes on both, column names included.
const SAME: &[&str] = &[
    "SHOW DATABASES LIKE 'bank'",
    "SHOW DATABASES LIKE 'größe%'",
    "SHOW TABLES FROM kinds",
    "SHOW TABLES FROM `größe \"x\"`",
    "SHOW TABLES FROM store LIKE '%er%'",
    "SHOW COLUMNS FROM bank.transfers",
    "SHOW COLUMNS FROM store.orders",
    "DESCRIBE store.items",
    "DESCRIBE kinds.composite",
    "DESCRIBE `größe \"x\"`.`ta``ble`",
    "SELECT table_schema, table_name, table_type FROM information_schema.tables \
     WHERE table_schema IN ('bank', 'store', 'kinds') ORDER BY table_schema, table_name",
    "SELECT table_name, column_name, ordinal_position, is_nullable, data_type, column_type, column_key \
     FROM information_schema.columns WHERE table_schema IN ('bank', 'store') ORDER BY table_name, ordinal_position",
    "SELECT column_name, data_type, column_type, is_nullable, character_maximum_length, numeric_precision, numeric_scale, \
     datetime_precision FROM information_schema.columns WHERE table_schema = 'kinds' AND table_name IN ('numbers', 'times', 'texts') \
     ORDER BY table_name, ordinal_position",
    "SELECT schema_name FROM information_schema.schemata WHERE schema_name IN ('bank', 'store', 'kinds') ORDER BY 1",
    "SELECT * FROM bank.accounts WHERE id = 7",
    "SELECT customer, COUNT(*) AS n, SUM(total) FROM store.orders GROUP BY customer ORDER BY n DESC, customer LIMIT 5",
    "SELECT o.id, i.sku, i.quantity * i.price AS amount FROM store.orders o JOIN store.items i ON i.order_id = o.id \
     WHERE o.id < 4 ORDER BY o.id, i.line_no",
    "SELECT id, SUM(balance) OVER (ORDER BY id) AS running FROM bank.savings WHERE id <= 5 ORDER BY id",
    "WITH big AS (SELECT id, total FROM store.orders WHERE total > 80) SELECT COUNT(*), MAX(total), MIN(total) FROM big",
    "SELECT status, AVG(total), COUNT(DISTINCT customer) FROM store.orders GROUP BY status",
    "SELECT 7 / 2, 7 DIV 2, 7 % 3, -7 % 3, NULL IS NULL, 'a' = 'A', CONCAT('x', 1)",
    "USE store; SELECT DATABASE(), COUNT(*) FROM items",
];

#[test]
fn metadata_and_answers_print_as_upstream() {
    let (upstream, tidelake) = shared();
    let mut wrong = Vec::new();
    for sql in SAME {
        let wanted = upstream.client().run(&["--batch", "--raw"], sql).expect("the upstream answers");
        let found = tidelake.client().run(&["--batch", "--raw"], sql);
        if found.as_ref() != Ok(&wanted) {
            let found = found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            wrong.push(format!("{sql}\nupstream:\n{}here:\n{found:?}", String::from_utf8_lossy(&wanted)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let created = String::from_utf8(tidelake.client().batch_text("SHOW CREATE TABLE store.orders")).unwrap();
    for part in
        ["CREATE TABLE `orders`", "`total` decimal(12,2) NOT NULL", "PRIMARY KEY (`id`)", "enum('open','paid','gone')"]
    {
        assert!(created.contains(part), "{part} is missing in {created}");
    }
    assert_same_contents(&upstream, &tidelake);
}

#[test]
fn timestamps_print_in_the_session_s_time_zone() {
    let (upstream, tidelake) = shared();
    for zone in ["+00:00", "+05:30", "-11:00"] {
        let sql = format!("SET time_zone = '{zone}'; SELECT id, ts, ts6, dt FROM kinds.times ORDER BY id");
        let (wanted, found) = (upstream.batch_text(&sql), tidelake.client().batch_text(&sql));
        assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&wanted), "{zone}");
    }
}

#[test]
fn writes_are_refused_and_change_nothing() {
    let (upstream, tidelake) = shared();
    let writes = [
        "INSERT INTO bank.savings VALUES (999, 1)",
        "UPDATE bank.savings SET balance = 0",
        "DELETE FROM bank.savings",
        "REPLACE INTO bank.savings VALUES (1, 1)",
        "CREATE TABLE bank.mine (id INT)",
        "CREATE DATABASE mine",
        "ALTER TABLE bank.savings ADD COLUMN x INT",
        "TRUNCATE TABLE bank.savings",
        "DROP TABLE bank.savings",
        "DROP DATABASE bank",
    ];
    for sql in writes {
        let error = tidelake.client().try_batch_text(sql).expect_err(sql);
        assert!(error.contains("read-only") || error.contains("read only"), "{sql}: {error}");
    }
    assert_same_contents(&upstream, &tidelake);
}

#[tokio::test]
async fn a_read_only_transaction_holds_one_snapshot() {
    let (upstream, tidelake) = shared();
    let options =
        OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(tidelake.ports().mysql).prefer_socket(false);
    let mut reader = Conn::new(options.user(Some("reader"))).await.unwrap();
    reader.query_drop("START TRANSACTION READ ONLY").await.unwrap();
    let before: Option<i64> = reader.query_first("SELECT ticks FROM bank.clock WHERE teller = 1").await.unwrap();
    upstream.execute("UPDATE bank.clock SET ticks = 77 WHERE teller = 1; DELETE FROM bank.savings");
    assert_eq!(tidelake.latest("SELECT COUNT(*) FROM bank.savings"), b"0\n");
    let held: Option<i64> = reader.query_first("SELECT ticks FROM bank.clock WHERE teller = 1").await.unwrap();
    let saved: Option<i64> = reader.query_first("SELECT COUNT(*) FROM bank.savings").await.unwrap();
    assert_eq!((before, held, saved), (Some(0), Some(0), Some(200)));
    reader.query_drop("COMMIT").await.unwrap();
    let after: Option<i64> = reader.query_first("SELECT ticks FROM bank.clock WHERE teller = 1").await.unwrap();
    assert_eq!(after, Some(77));
}

#[test]
fn status_health_and_metrics_tell_what_is_going_on() {
    let (_upstream, replica) = shared();
    let status = replica.status();
    assert_eq!(status["source"]["kind"], "mysql");
    assert_eq!(status["source"]["state"], "streaming");
    let seq = |name: &str| status["seq"][name].as_u64().unwrap_or_else(|| panic!("{status}"));
    assert!(seq("durable") <= seq("published") && seq("published") <= seq("head"));
    let tables = status["tables"].as_array().unwrap();
    let ledger = tables.iter().find(|t| t["table"] == "ledger").unwrap();
    assert_eq!((ledger["state"].as_str(), ledger["rows"].as_u64()), (Some("live"), Some(store::LEDGER)));
    assert_eq!(replica.get("/healthz").0, 200);
    std::net::TcpStream::connect(("127.0.0.1", replica.ports().flight)).expect("the Flight listener listens");
    wait_for("readiness", std::time::Duration::from_secs(10), || (replica.get("/readyz").0 == 200).then_some(()));
    let (code, metrics) = replica.get("/metrics");
    assert_eq!(code, 200);
    for word in ["lag", "rows", "bytes", "buffer", "flush"] {
        assert!(
            metrics.lines().any(|l| l.starts_with("tidelake_") && l.contains(word)),
            "no metric of {word}:\n{metrics}"
        );
    }
    let http = format!("127.0.0.1:{}", replica.ports().http);
    let printed = tidelake_prints(&["status", "--http", &http]);
    assert!(printed.contains("ledger") && printed.contains("live"), "{printed}");
    let json: serde_json::Value =
        serde_json::from_str(&tidelake_prints(&["status", "--json", "--http", &http])).unwrap();
    assert_eq!(json["source"]["kind"], "mysql");
}

#[test]
fn the_sql_command_prints_tables_csv_and_json() {
    let (_upstream, replica) = shared();
    let connect = format!("127.0.0.1:{}", replica.ports().mysql);
    let sql = "SELECT id, balance, NULL AS nothing FROM bank.savings WHERE id < 3 ORDER BY id";
    let print = |format: &str| tidelake_prints(&["sql", "--connect", &connect, "--format", format, sql]);
    let table = print("table");
    assert!(table.contains("| id | balance | nothing |"), "{table}");
    assert_eq!(print("csv"), "id,balance,nothing\n1,1000.00,\n2,1000.00,\n");
    let json = print("json");
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first, serde_json::json!({"id": 1, "balance": "1000.00", "nothing": null}));
    let output = tidelake(&["sql", "--connect", &connect, "SELECT * FROM bank.nowhere"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere"));
}

#[test]
fn only_wanted_tables_are_here() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&(bank::setup() + &store::setup()));
    let tables = ["--tables", "bank.*,!bank.transfers,store.ord*"];
    let tidelake = Tidelake::run(&upstream.source_url(), &tables);
    upstream.execute("CREATE TABLE bank.later (id INT PRIMARY KEY); CREATE TABLE store.never (id INT PRIMARY KEY)");
    upstream
        .execute("INSERT INTO bank.later VALUES (1); INSERT INTO store.never VALUES (1); DELETE FROM bank.transfers");
    let list = "SELECT table_schema, table_name FROM information_schema.tables \
                WHERE table_schema IN ('bank', 'store') ORDER BY 1, 2";
    let found = String::from_utf8(tidelake.latest(list)).unwrap();
    assert_eq!(found, "bank\taccounts\nbank\tclock\nbank\tlater\nbank\tsavings\nstore\torders\n");
    assert_eq!(tidelake.latest("SELECT * FROM bank.later"), b"1\n");
}

/// The upstream logs no values of VIRTUAL columns. Whatever is done about it, it is not answered wrongly.
#[test]
fn virtual_columns_are_right_or_refused() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    let table = "CREATE DATABASE d; CREATE TABLE d.v (id INT PRIMARY KEY, a INT, \
                 made VARCHAR(20) AS (CONCAT('<', a, '>')) VIRTUAL, behind INT)";
    upstream.execute(&format!("{table}; INSERT INTO d.v (id, a, behind) VALUES (1, 5, 1), (2, NULL, NULL)"));
    let tidelake = Tidelake::run(&upstream.source_url(), &[]);
    tidelake.latest("SELECT 1");
    upstream.execute("INSERT INTO d.v (id, a, behind) VALUES (3, 7, 1); UPDATE d.v SET a = 6 WHERE id = 1");
    let sql = "SELECT * FROM d.v ORDER BY id";
    match tidelake.try_latest(sql) {
        Ok(found) => {
            assert_eq!(String::from_utf8(found).unwrap(), String::from_utf8(upstream.batch_text(sql)).unwrap())
        }
        Err(refused) => assert!(refused.contains("d.v"), "{refused}"),
    }
    let plain = "SELECT id, a, behind FROM d.v ORDER BY id";
    if let Ok(found) = tidelake.try_latest(plain) {
        assert_eq!(String::from_utf8(found).unwrap(), String::from_utf8(upstream.batch_text(plain)).unwrap());
    }
}
