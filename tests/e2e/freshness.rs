//! `SET tidelake_freshness = 'latest'`: who wrote upstream reads it here.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use tidelake_testkit::{MariaDb, MariaDbOptions};

use crate::crashes::wait_copied;
use crate::tidelake::Tidelake;

async fn connect(port: u16) -> Conn {
    let options =
        OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some("anyone")).prefer_socket(false);
    Conn::new(options).await.expect("a loopback connection is let in under any name")
}

#[tokio::test]
async fn latest_reads_what_was_just_written() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute("CREATE DATABASE d; CREATE TABLE d.t (n INT PRIMARY KEY, note VARCHAR(20))");
    // An interval that nobody would wait for 60 times: `latest` flushes.
    let tidelake = Tidelake::run(&upstream.source_url(), &["--interval", "2s"]);
    wait_copied(&tidelake);
    let mut writer = upstream.connect().await;
    let mut reader = connect(tidelake.ports().mysql).await;
    reader.query_drop("SET tidelake_freshness = 'latest'").await.unwrap();
    let begin = std::time::Instant::now();
    for n in 1..=60 {
        writer.query_drop(format!("INSERT INTO d.t VALUES ({n}, 'row {n}')")).await.unwrap();
        let newest: Option<i64> = reader.query_first("SELECT MAX(n) FROM d.t").await.unwrap();
        assert_eq!(newest, Some(n));
        let prepared: Option<String> = reader.exec_first("SELECT note FROM d.t WHERE n = ?", (n,)).await.unwrap();
        assert_eq!(prepared, Some(format!("row {n}")));
    }
    assert!(begin.elapsed().as_secs() < 60, "latest waited for the interval: {:?}", begin.elapsed());
}

/// Places as the upstream itself names them, asked by a reader that knows nothing but what the writer told it.
#[tokio::test]
async fn at_least_reads_what_a_gtid_or_an_offset_names() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute("CREATE DATABASE d; CREATE TABLE d.t (n INT PRIMARY KEY)");
    let tidelake = Tidelake::run(&upstream.source_url(), &["--interval", "1s"]);
    wait_copied(&tidelake);
    let mut writer = upstream.connect().await;
    let mut reader = connect(tidelake.ports().mysql).await;
    for n in 1..=12 {
        writer.query_drop(format!("INSERT INTO d.t VALUES ({n})")).await.unwrap();
        let place: Option<String> = match n % 3 {
            0 => writer.query_first("SELECT @@last_gtid").await.unwrap(),
            1 => writer.query_first("SELECT @@gtid_binlog_state").await.unwrap(),
            _ => {
                let head: Option<(String, u64, String, String)> =
                    writer.query_first("SHOW MASTER STATUS").await.unwrap();
                head.map(|(file, offset, ..)| format!("{file}:{offset}"))
            }
        };
        let place = place.expect("a place");
        reader.query_drop(format!("SET tidelake_freshness = 'at_least:{place}'")).await.unwrap();
        let newest: Option<i64> = reader.query_first("SELECT MAX(n) FROM d.t").await.unwrap();
        assert!(newest >= Some(n), "{newest:?} at {place}");
        if n == 6 {
            writer.query_drop("FLUSH BINARY LOGS").await.unwrap();
        }
    }
    let gtid: Option<String> = writer.query_first("SELECT @@last_gtid").await.unwrap();
    let gtid = gtid.expect("a GTID");
    let (domain, sequence) = gtid.rsplit_once('-').expect("a GTID");
    let later = format!("{domain}-{}", sequence.parse::<u64>().expect("a number") + 1000);
    for (place, parts) in [
        (later.as_str(), [later.as_str(), gtid.as_str(), "timed out"]),
        ("other.000001:4", ["other.000001", "binlog file of this upstream", "are called"]),
        ("soon", ["soon", "is no place in a binlog", "GTIDs"]),
    ] {
        let ask = format!(
            "SET tidelake_freshness_timeout = 1; SET tidelake_freshness = 'at_least:{place}'; SELECT COUNT(*) FROM d.t"
        );
        let error = tidelake.client().try_batch_text(&ask).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    assert_eq!(tidelake.client().batch_text("SELECT COUNT(*) FROM d.t"), b"12\n", "'any' still reads what is here");
}

#[test]
fn latest_waits_for_tables_that_are_being_copied() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&crate::store::setup());
    let tidelake = Tidelake::run(&upstream.source_url(), &["--copy-chunk-rows", "1000"]);
    // A statement without tables waits too: afterwards even `any` has everything.
    assert_eq!(tidelake.latest("SELECT 1"), b"1\n");
    let rows = tidelake.client().batch_text("SELECT COUNT(*) FROM store.ledger");
    assert_eq!(String::from_utf8_lossy(&rows).trim(), crate::store::LEDGER.to_string());
}

#[test]
fn latest_gives_up_with_a_clear_error_while_the_upstream_is_down() {
    let mut upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute("CREATE DATABASE d; CREATE TABLE d.t (n INT PRIMARY KEY); INSERT INTO d.t VALUES (1)");
    let tidelake = Tidelake::run(&upstream.source_url(), &[]);
    wait_copied(&tidelake);
    upstream.kill9();
    let latest = "SET tidelake_freshness_timeout = 2; SET tidelake_freshness = 'latest'; SELECT * FROM d.t";
    let error = tidelake.client().try_batch_text(latest).unwrap_err();
    assert!(error.contains("ERROR") && !error.contains("ERROR 20"), "a server's error, not a lost connection: {error}");
    assert_eq!(tidelake.client().batch_text("SELECT * FROM d.t"), b"1\n", "what is here can still be read");
    upstream.restart();
    upstream.execute("INSERT INTO d.t VALUES (2)");
    assert_eq!(tidelake.latest("SELECT * FROM d.t ORDER BY n"), b"1\n2\n");
}
