//! Clients as they are: what drivers and tools ask for before their user asks for anything.

use std::process::Command;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Params};
use tidelake_testkit::{MariaDb, MariaDbOptions, SqlClient};

use crate::bank;
use crate::crashes::wait_copied;
use crate::tidelake::{Tidelake, wait_for};

/// Statements that clients send by themselves. None may fail; most of them have answers that nobody looks at.
const ASKED: &[(&str, &[&str])] = &[
    (
        "mariadb",
        &["select @@version_comment limit 1", "SELECT DATABASE()", "show databases", "show tables", "SHOW WARNINGS"],
    ),
    (
        "PyMySQL",
        &["SET AUTOCOMMIT = 0", "SET NAMES utf8mb4", "SELECT VERSION()", "COMMIT", "ROLLBACK", "SET AUTOCOMMIT = 1"],
    ),
    (
        "Connector/J",
        &[
            "/* mysql-connector-j-8.0.33 */SELECT @@session.auto_increment_increment AS auto_increment_increment, \
             @@character_set_client AS character_set_client, @@character_set_connection AS character_set_connection, \
             @@character_set_results AS character_set_results, @@character_set_server AS character_set_server, \
             @@collation_server AS collation_server, @@collation_connection AS collation_connection, @@init_connect AS init_connect, \
             @@interactive_timeout AS interactive_timeout, @@license AS license, @@lower_case_table_names AS lower_case_table_names, \
             @@max_allowed_packet AS max_allowed_packet, @@net_write_timeout AS net_write_timeout, \
             @@performance_schema AS performance_schema, @@sql_mode AS sql_mode, @@system_time_zone AS system_time_zone, \
             @@time_zone AS time_zone, @@tx_isolation AS transaction_isolation, @@wait_timeout AS wait_timeout",
            "SET character_set_results = NULL",
            "SET autocommit=1",
            "SET sql_mode='STRICT_TRANS_TABLES'",
            "SET SESSION TRANSACTION READ ONLY",
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "select @@session.tx_read_only",
            "SHOW FULL TABLES FROM `bank` LIKE '%'",
            "SHOW FULL COLUMNS FROM `accounts` FROM `bank` LIKE '%'",
            "SHOW KEYS FROM `accounts` FROM `bank`",
        ],
    ),
    (
        "SQLAlchemy",
        &[
            "SELECT @@tx_isolation",
            "select @@version, @@sql_mode, @@lower_case_table_names",
            "SELECT CAST('test plain returns' AS CHAR(60)) AS anon_1",
            "SHOW VARIABLES LIKE 'sql_mode'",
            "show collation where `Charset` = 'utf8mb4' and `Collation` = 'utf8mb4_bin'",
            "SHOW FULL TABLES FROM `bank`",
            "SHOW CREATE TABLE `bank`.`accounts`",
            "DESCRIBE `bank`.`accounts`",
        ],
    ),
    (
        "DBeaver",
        &[
            "SET SESSION wait_timeout = 28800",
            "SHOW ENGINES",
            "SHOW CHARSET",
            "SHOW COLLATION",
            "SHOW PLUGINS",
            "SHOW VARIABLES LIKE 'lower_case_%'",
            "SHOW VARIABLES LIKE 'version'",
            "SHOW SESSION STATUS LIKE 'Ssl_cipher'",
            "SHOW TABLE STATUS FROM `bank`",
            "SHOW INDEX FROM `bank`.`accounts`",
            "SELECT * FROM information_schema.TABLES t WHERE t.TABLE_SCHEMA = 'information_schema' AND t.TABLE_NAME = 'CHECK_CONSTRAINTS'",
            "SELECT * FROM information_schema.SCHEMATA",
            "SELECT * FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'bank' ORDER BY ORDINAL_POSITION",
            "SELECT @@GLOBAL.character_set_server, @@GLOBAL.collation_server",
            "SHOW GRANTS",
            "SHOW PROCESSLIST",
        ],
    ),
    (
        "Metabase and Superset",
        &[
            "SELECT 1",
            "SET time_zone = '+00:00'",
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
            "SELECT * FROM (SELECT * FROM `bank`.`accounts`) AS virtual_table LIMIT 10",
            "EXPLAIN SELECT * FROM bank.accounts",
            "USE bank",
            "KILL QUERY 1000000000",
        ],
    ),
];

/// Errors that are right answers: there is no thread of that number.
const RIGHTLY_REFUSED: &[&str] = &["KILL QUERY"];

fn replica() -> (MariaDb, Tidelake) {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&bank::setup());
    let tidelake = Tidelake::run(&upstream.source_url(), &[]);
    wait_copied(&tidelake);
    (upstream, tidelake)
}

#[test]
fn what_clients_ask_for_by_themselves_is_answered() {
    let (_upstream, tidelake) = replica();
    let mut wrong = Vec::new();
    for (client, statements) in ASKED {
        for sql in *statements {
            let asked = tidelake.client().run(&["--database=bank"], sql);
            let allowed = RIGHTLY_REFUSED.iter().any(|start| sql.starts_with(start));
            match asked {
                Err(error) if !allowed => wrong.push(format!("{client}: {sql}\n  {error}")),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const PYTHON: &str = "
import datetime, decimal, pymysql, sys
db = pymysql.connect(host='127.0.0.1', port=int(sys.argv[1]), user='anyone', database='bank', charset='utf8mb4')
with db.cursor() as cursor:
    cursor.execute('SELECT id, owner, balance FROM accounts WHERE id = %s', (7,))
    row = cursor.fetchone()
    assert row == (7, 'owner № 7', decimal.Decimal('1000.00')), row
    cursor.execute('SELECT COUNT(*), MAX(at) FROM transfers')
    assert cursor.fetchone() == (0, None)
    try:
        cursor.execute('DELETE FROM accounts')
    except pymysql.err.MySQLError as refused:
        assert 'read' in str(refused), refused
    else:
        raise SystemExit('a write was taken')
    cursor.execute('SELECT COUNT(*) FROM accounts')
    assert cursor.fetchone() == (200,)
db.close()
print('fine')
";

#[test]
fn pymysql_connects_reads_and_is_refused_to_write() {
    let (_upstream, tidelake) = replica();
    let mut python = Command::new("/usr/bin/python3");
    let output =
        python.args(["-c", PYTHON, &tidelake.ports().mysql.to_string()]).output().expect("python3 is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "fine\n", "{error}");
}

#[tokio::test]
async fn prepared_statements_take_values_of_all_kinds() {
    let (upstream, tidelake) = replica();
    let options = |port: u16, user: &'static str| {
        OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some(user)).prefer_socket(false)
    };
    let mut here = Conn::new(options(tidelake.ports().mysql, "anyone")).await.unwrap();
    let mut there = Conn::new(options(upstream.port(), "root")).await.unwrap();
    let questions: Vec<(&str, Params)> = vec![
        ("SELECT COUNT(*) FROM bank.accounts WHERE id > ? AND id <= ?", (10, 20_u64).into()),
        ("SELECT owner FROM bank.accounts WHERE owner = ?", ("owner № 3",).into()),
        ("SELECT COUNT(*) FROM bank.accounts WHERE balance >= ?", (999.5,).into()),
        ("SELECT COUNT(*) FROM bank.accounts WHERE balance = ?", ("1000.00",).into()),
        ("SELECT id FROM bank.accounts WHERE id < ? ORDER BY id LIMIT 3", (100_i64,).into()),
        ("SELECT COUNT(*) FROM bank.accounts WHERE ? IS NULL", (None::<i32>,).into()),
    ];
    for (sql, params) in questions {
        let wanted: Vec<mysql_async::Row> = there.exec(sql, params.clone()).await.unwrap();
        let found: Vec<mysql_async::Row> = here.exec(sql, params).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let values = |rows: Vec<mysql_async::Row>| -> Vec<Vec<mysql_async::Value>> {
            rows.into_iter().map(mysql_async::Row::unwrap).collect()
        };
        assert_eq!(values(found), values(wanted), "{sql}");
    }
}

#[tokio::test]
async fn configured_users_need_their_passwords() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&bank::setup());
    let dir = tempfile::tempdir().unwrap();
    let (config, secret) = (dir.path().join("tidelake.toml"), dir.path().join("secret"));
    std::fs::write(&secret, "from a file\n").unwrap();
    let users = format!(
        "[[users]]\nname = 'bi'\npassword = 'secret'\n[[users]]\nname = 'file'\npassword-file = '{}'\n",
        secret.display()
    );
    std::fs::write(&config, users).unwrap();
    let tidelake = Tidelake::run(&upstream.source_url(), &["--config", config.to_str().unwrap()]);
    // The status is for users too.
    assert_eq!(tidelake.get("/api/v1/status").0, 401);
    let client = SqlClient { port: tidelake.ports().mysql, user: "bi".into(), password: "secret".into() };
    let counted = || client.try_batch_text("SELECT COUNT(*) FROM bank.accounts").ok();
    wait_for("the copy", Duration::from_secs(60), || counted().filter(|rows| rows == b"200\n"));
    let port = tidelake.ports().mysql;
    let log_in = |user: &'static str, password: Option<&'static str>| {
        let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).prefer_socket(false);
        Conn::new(options.user(Some(user)).pass(password))
    };
    for (user, password) in [("bi", "secret"), ("file", "from a file")] {
        let mut conn = log_in(user, Some(password)).await.unwrap_or_else(|e| panic!("{user}: {e}"));
        let rows: Option<u64> = conn.query_first("SELECT COUNT(*) FROM bank.accounts").await.unwrap();
        assert_eq!(rows, Some(200));
    }
    for (user, password) in [("bi", Some("wrong")), ("bi", None), ("root", None), ("nobody", Some("secret"))] {
        match log_in(user, password).await {
            Err(mysql_async::Error::Server(e)) => assert_eq!(e.code, 1045, "{user}"),
            other => panic!("{user} was let in: {other:?}"),
        }
    }
}

#[test]
fn listening_beyond_this_machine_needs_users_and_tls() {
    let mut open = Tidelake::prepare(&["run", "--source", "mysql://nobody@127.0.0.1:1"], &[]);
    open.set_option("--mysql-listen", "0.0.0.0:0");
    open.spawn();
    assert!(!open.wait_end().success());
    assert!(open.printed().contains("--insecure-listen"), "{}", open.printed());
}

#[tokio::test]
async fn several_statements_in_one_text_give_several_results() {
    let (_upstream, tidelake) = replica();
    let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(tidelake.ports().mysql).user(Some("x"));
    let mut conn = Conn::new(options.prefer_socket(false)).await.unwrap();
    let mut results = conn.query_iter("SET @a = 2; SELECT @a; SELECT ';', 3").await.unwrap();
    let mut all: Vec<Vec<mysql_async::Row>> = Vec::new();
    while !results.is_empty() || all.len() < 3 {
        all.push(results.collect().await.unwrap());
    }
    drop(results);
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 1]);
    let failed = conn.query_drop("SELECT 1; SELECT nothing; SELECT 2").await.unwrap_err();
    assert!(matches!(failed, mysql_async::Error::Server(ref e) if e.code == 1054), "{failed}");
    let still: Option<u64> = conn.query_first("SELECT COUNT(*) FROM bank.accounts").await.unwrap();
    assert_eq!(still, Some(200));
}
