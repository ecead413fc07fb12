//! Users, rights and TLS on every port of every process, with real clients; and that no secret is printed.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use futures::TryStreamExt;
use tempfile::TempDir;
use tidelake_api::{Connection, FlightStore, Login, RemoteLatch};
use tidelake_core::ports::{Freshness, Latch, ScanRequest, StoreEngine};
use tidelake_core::{Error, TableName};
use tidelake_testkit::{MariaDb, MariaDbOptions, Signal, SqlClient};

use crate::compare::assert_same_contents;
use crate::tidelake::{Tidelake, tidelake_with, wait_for};

const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(10);
const SECRETS: [&str; 4] =
    ["the-readers-password", "the-readers-token-0123", "the-chiefs-token-4567", "the-writers-token-89"];

/// A file of `certs/`: a CA, a server's and a client's certificate that it signed (for localhost and 127.0.0.1, for a hundred years), and
/// a stranger's that another CA signed.
fn cert(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/certs").join(name)
}

fn path(file: &Path) -> &str {
    file.to_str().expect("UTF-8")
}

/// A directory with a configuration: `bi` reads the database `shop` but one table, `chief` may change settings, `filler` writes.
struct Config(TempDir);

impl Config {
    fn new() -> Config {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (file, secret) in ["bi.password", "bi.token", "chief.token", "filler.token"].iter().zip(SECRETS) {
            std::fs::write(dir.path().join(file), format!("{secret}\n")).expect("write");
        }
        let config = Config(dir);
        config.write(&[config.bi(), config.chief(), config.filler()]);
        config
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, users: &[String]) {
        let [cert, key] = ["server.pem", "server.key"].map(|name| cert(name).display().to_string());
        let tls = format!("tls-cert = '{cert}'\ntls-key = '{key}'\n");
        std::fs::write(self.file("tidelake.toml"), tls + &users.concat()).expect("write");
    }

    fn bi(&self) -> String {
        let (password, token) = (self.file("bi.password"), self.file("bi.token"));
        format!(
            "[[users]]\nname = 'bi'\npassword-file = '{}'\ntoken-file = '{}'\ntables = 'shop.*,!shop.secret'\n",
            password.display(),
            token.display()
        )
    }

    fn chief(&self) -> String {
        let token = self.file("chief.token");
        format!(
            "[[users]]\nname = 'chief'\npassword = 'chiefs-password'\ntoken-file = '{}'\nrights = ['read', 'admin']\n",
            token.display()
        )
    }

    fn filler(&self) -> String {
        let token = self.file("filler.token");
        format!("[[users]]\nname = 'filler'\ntoken-file = '{}'\nrights = ['write']\n", token.display())
    }
}

fn upstream() -> MariaDb {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(
        "CREATE DATABASE shop; CREATE TABLE shop.items (id INT PRIMARY KEY, name TEXT); \
         CREATE TABLE shop.secret (id INT PRIMARY KEY); CREATE DATABASE hr; CREATE TABLE hr.pay (id INT PRIMARY KEY, amount INT); \
         INSERT INTO shop.items VALUES (1, 'ä'), (2, 'b'); INSERT INTO shop.secret VALUES (7); INSERT INTO hr.pay VALUES (1, 100)",
    );
    upstream
}

/// As a user, over TLS, with the server's name checked.
pub fn mysql(port: u16, user: &str, password: &str, sql: &str) -> Result<String, String> {
    let client = SqlClient { port, user: user.into(), password: password.into() };
    let ca = format!("--ssl-ca={}", cert("ca.pem").display());
    let options = ["--batch", "--skip-column-names", "--host=localhost", "--ssl", &ca, "--ssl-verify-server-cert"];
    client.run(&options, sql).map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
}

/// `tidelake ARGS --http https://... --ca ...`
fn command(replica: &Tidelake, login: &[&str], args: &[&str]) -> Output {
    let (http, ca) = (format!("https://localhost:{}", replica.ports().http), cert("ca.pem"));
    let all = [args, &["--http", &http, "--ca", path(&ca)], login].concat();
    tidelake_with(&[("TIDELAKE_PASSWORD", SECRETS[0])], &all)
}

fn error_of(output: &Output) -> String {
    assert!(!output.status.success(), "it succeeded: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn login(token: &str, ca: &str) -> Login {
    Login { token: Some(token.into()), ca: Some(std::fs::read(cert(ca)).expect("the CA")), identity: None }
}

fn assert_no_secrets(what: &str, text: &str) {
    for secret in SECRETS.into_iter().chain(["chiefs-password"]) {
        assert!(!text.contains(secret), "{what} tells {secret}:\n{text}");
    }
}

#[test]
fn every_port_of_the_whole_asks_who_is_there() {
    let (upstream, config) = (upstream(), Config::new());
    let file = config.file("tidelake.toml");
    let mut replica = Tidelake::run(&upstream.source_url(), &["--config", path(&file), "--interval", "20ms"]);
    let bi = ["--user", "bi"];
    let token = config.file("chief.token");
    let chief = ["--token-file", path(&token)];
    wait_for("the copy", MINUTE, || {
        mysql(replica.ports().mysql, "chief", "chiefs-password", "SELECT COUNT(*) FROM hr.pay")
            .ok()
            .filter(|n| n == "1\n")
    });
    mysql_knows_tables(&replica);
    http_knows_rights(&replica, &bi, &chief);
    magic_over_http_knows_tables(&replica);
    tokio::runtime::Runtime::new().expect("threads").block_on(flight_knows_tables(&replica));
    let status = command(&replica, &chief, &["status", "--json"]);
    assert_no_secrets("the status", &String::from_utf8_lossy(&status.stdout));
    users_are_read_again(&config, &mut replica);
    assert_no_secrets("the log", &replica.printed());
}

fn mysql_knows_tables(replica: &Tidelake) {
    let port = replica.ports().mysql;
    let bi = |sql: &str| mysql(port, "bi", SECRETS[0], sql);
    assert_eq!(
        bi("SELECT COUNT(*) FROM shop.items; SHOW TABLES FROM shop; SELECT CURRENT_USER()").as_deref(),
        Ok("2\nitems\nbi@127.0.0.1\n")
    );
    for table in ["shop.secret", "hr.pay", "hr.nothing"] {
        let error = bi(&format!("SELECT * FROM {table}")).expect_err("denied");
        assert!(error.contains("ERROR 1142") && error.contains("denied to user 'bi'"), "{error}");
    }
    assert!(bi("USE hr").expect_err("denied").contains("ERROR 1044"));
    assert!(mysql(port, "bi", "wrong", "SELECT 1").expect_err("refused").contains("ERROR 1045"));
    assert!(mysql(port, "filler", "", "SELECT 1").expect_err("a token is no password").contains("ERROR 1045"));
    let (ca, out) = (cert("ca.pem"), "--format");
    let args = ["sql", "SELECT name FROM shop.items ORDER BY id", "--user", "bi", "--ca", path(&ca), out, "csv"];
    let connect = format!("localhost:{port}");
    let printed = tidelake_with(&[("TIDELAKE_PASSWORD", SECRETS[0])], &[&args[..], &["--connect", &connect]].concat());
    assert_eq!(
        String::from_utf8_lossy(&printed.stdout),
        "name\nä\nb\n",
        "{}",
        String::from_utf8_lossy(&printed.stderr)
    );
    let other = cert("other-ca.pem");
    let args = ["sql", "SELECT 1", "--user", "bi", "--ca", path(&other), "--connect", &connect];
    assert!(
        error_of(&tidelake_with(&[("TIDELAKE_PASSWORD", SECRETS[0])], &args)).to_lowercase().contains("certificate")
    );
}

fn http_knows_rights(replica: &Tidelake, bi: &[&str], chief: &[&str]) {
    assert!(command(replica, chief, &["status"]).status.success());
    assert!(error_of(&command(replica, &[], &["status"])).contains("--token-file"));
    assert!(error_of(&command(replica, &["--user", "nobody"], &["status"])).contains("access denied"));
    assert!(error_of(&command(replica, bi, &["status"])).contains("403"), "it shows tables that bi may not read");
    for args in [&["interval", "30ms"][..], &["tables", "remove", "shop.items"], &["resync", "shop.items"], &["verify"]]
    {
        let error = error_of(&command(replica, bi, args));
        assert!(error.contains("403") && error.contains("\"admin\""), "{args:?}: {error}");
    }
    assert!(command(replica, chief, &["interval", "30ms"]).status.success());
    let port = replica.ports().http;
    let plain = ureq::get(format!("http://127.0.0.1:{port}/healthz")).call();
    assert!(plain.is_err(), "without TLS nothing is answered");
    let https = agent().get(format!("https://localhost:{port}/healthz")).call().expect("health is open to all");
    assert_eq!(https.status(), 200);
    assert!(matches!(
        agent().get(format!("https://localhost:{port}/metrics")).call(),
        Err(ureq::Error::StatusCode(401))
    ));
}

/// Knows the tests' CA.
fn agent() -> ureq::Agent {
    use ureq::tls::{Certificate, RootCerts, TlsConfig};
    let ca = Certificate::from_pem(&std::fs::read(cert("ca.pem")).expect("the CA")).expect("a certificate");
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca])).build();
    ureq::Agent::config_builder().tls_config(tls).build().into()
}

fn magic_over_http_knows_tables(replica: &Tidelake) {
    let port = replica.ports().http;
    let call = |token: &str, name: &str, body: serde_json::Value| -> Result<serde_json::Value, u16> {
        let request = agent().post(format!("https://localhost:{port}/api/v1/magic/{name}"));
        match request.header("Authorization", format!("Bearer {token}")).send_json(body) {
            Ok(mut answer) => Ok(answer.body_mut().read_json().expect("JSON")),
            Err(ureq::Error::StatusCode(code)) => Err(code),
            Err(other) => panic!("{name}: {other}"),
        }
    };
    let (bi, chief) = (SECRETS[1], SECRETS[2]);
    let acquire = serde_json::json!({"v": 1, "freshness": "any", "ttl_ms": 60_000, "wait_ms": 10_000});
    assert_eq!(call("x", "acquire", acquire.clone()), Err(401));
    let leased = call(bi, "acquire", acquire).expect("a lease");
    let names = |token| {
        let catalog = call(token, "catalog", serde_json::json!({"v": 1, "seq": leased["seq"]})).expect("a catalog");
        catalog.to_string()
    };
    assert!(names(bi).contains("items") && !names(bi).contains("secret") && !names(bi).contains("pay"));
    assert!(names(chief).contains("secret") && names(chief).contains("pay"));
    for table in 1..=3 {
        let plan =
            serde_json::json!({"v": 1, "lease": leased["lease"], "seq": leased["seq"], "table": table, "splits": 1});
        let (mine, all) = (call(bi, "plan", plan.clone()), call(chief, "plan", plan));
        let planned = all.unwrap_or_else(|code| panic!("table {table}: {code}"));
        let split = &planned["splits"][0];
        let mut split = split.clone();
        split["v"] = 1.into();
        if mine.is_err() {
            assert_eq!(mine, Err(403));
            // A ticket of somebody else opens nothing.
            assert_eq!(call(bi, "split", split), Err(403));
        }
    }
    assert_eq!(call(chief, "set_horizon", serde_json::json!({"v": 1, "seq": 1})), Err(403), "it is a writer's call");
}

async fn flight_knows_tables(replica: &Tidelake) {
    let url = format!("https://localhost:{}", replica.ports().flight);
    let connect = |login: &Login| FlightStore::over(Connection::open_as(&url, login).expect("a connection"));
    let nobody = connect(&Login { token: None, ..login("", "ca.pem") }).await.err();
    assert!(matches!(nobody, Some(Error::Denied(_))), "{nobody:?}");
    assert!(connect(&login(SECRETS[1], "other-ca.pem")).await.is_err(), "a server that nobody vouches for");
    let connection = Connection::open_as(&url, &login(SECRETS[1], "ca.pem")).expect("a connection");
    let store = FlightStore::over(connection.clone()).await.expect("let in");
    let latch = RemoteLatch::over(connection);
    let lease = latch.acquire(Freshness::Any, MINUTE, SHORT).await.expect("a lease");
    let catalog = store.catalog(lease.seq()).expect("a catalog");
    assert!(catalog.visible(&TableName::new("hr", "pay")).is_none());
    let items = catalog.visible(&TableName::new("shop", "items")).expect("its own table").def.id;
    let plan = store.plan_scan(&ScanRequest::new(&lease, items)).await.expect("a plan");
    let mut rows = 0;
    for split in &plan.splits {
        let batches = store.read_split(split).await.expect("rows");
        rows += batches.try_fold(0, |n, batch| async move { Ok(n + batch.num_rows()) }).await.expect("rows");
    }
    assert_eq!(rows, 2);
    let all = FlightStore::over(Connection::open_as(&url, &login(SECRETS[2], "ca.pem")).expect("a connection")).await;
    let hidden = all.expect("let in").catalog(lease.seq()).expect("a catalog");
    let pay = hidden.visible(&TableName::new("hr", "pay")).expect("chief sees it").def.id;
    let denied = store.plan_scan(&ScanRequest::new(&lease, pay)).await.err();
    assert!(matches!(denied, Some(Error::Denied(_))), "{denied:?}");
}

fn users_are_read_again(config: &Config, replica: &mut Tidelake) {
    let port = replica.ports().mysql;
    config.write(&[config.chief()]);
    replica.signal(Signal::Hangup);
    wait_for("bi to be gone", SHORT, || mysql(port, "bi", SECRETS[0], "SELECT 1").is_err().then_some(()));
    assert_eq!(mysql(port, "chief", "chiefs-password", "SELECT 1").as_deref(), Ok("1\n"));
    std::fs::write(config.file("tidelake.toml"), "nonsense = 1").expect("write");
    replica.signal(Signal::Hangup);
    wait_for("the complaint", SHORT, || replica.printed().contains("stay as they were").then_some(()));
    assert_eq!(mysql(port, "chief", "chiefs-password", "SELECT 1").as_deref(), Ok("1\n"));
}

/// Options of a process that comes to the engine.
fn comes_with(token: &Path, identity: Option<&str>) -> Vec<String> {
    let mut options = vec!["--engine-token-file".to_owned(), path(token).to_owned()];
    options.extend(["--engine-ca".to_owned(), cert("ca.pem").display().to_string()]);
    if let Some(name) = identity {
        let [cert, key] = ["pem", "key"].map(|ext| cert(&format!("{name}.{ext}")).display().to_string());
        options.extend(["--engine-cert".to_owned(), cert, "--engine-key".to_owned(), key]);
    }
    options
}

fn part(command: &[&str], options: &[String], listeners: &[&str]) -> Tidelake {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Tidelake::part(command, &options, listeners)
}

#[test]
fn processes_show_certificates_and_tokens_to_each_other() {
    let (upstream, config) = (upstream(), Config::new());
    let (file, ca) = (config.file("tidelake.toml"), cert("ca.pem"));
    let mutual = ["--config", path(&file), "--tls-client-ca", path(&ca)];
    let mut engine = Tidelake::part(&["engine"], &mutual, &["--magic-listen", "--http-listen"]);
    engine.keep_data();
    engine.restart();
    let (address, source) = (format!("localhost:{}", engine.ports().magic), upstream.source_url());
    let (filler, chief) = (config.file("filler.token"), config.file("chief.token"));
    let write = ["writer", "--engine", &address, "--source", &source, "--interval", "20ms"];
    let mut writer = part(&write, &comes_with(&filler, Some("client")), &["--http-listen"]);
    writer.keep_data();
    writer.restart();
    let listeners = ["--mysql-listen", "--http-listen", "--flight-listen"];
    let read = ["query", "--engine", &address];
    let mut query = part(&read, &comes_with(&chief, Some("client")), &listeners);
    query.restart();
    wait_for("the copy", MINUTE, || query.try_latest("SELECT * FROM hr.pay").ok().filter(|rows| rows == b"1\t100\n"));
    upstream.execute("INSERT INTO hr.pay VALUES (2, 200)");
    assert_same_contents(&upstream, &query);

    // What a front's token may not read, nobody reads there.
    let mut narrow = part(&read, &comes_with(&config.file("bi.token"), Some("client")), &listeners);
    narrow.restart();
    let answers =
        |sql: &str| narrow.client().try_batch_text(sql).map(|rows| String::from_utf8_lossy(&rows).into_owned());
    assert_eq!(answers("SHOW TABLES FROM shop; SELECT COUNT(*) FROM shop.items").as_deref(), Ok("items\n2\n"));
    for hidden in ["hr.pay", "shop.secret"] {
        assert!(answers(&format!("SELECT * FROM {hidden}")).is_err(), "{hidden}");
    }

    let mut reads = part(&write, &comes_with(&chief, Some("client")), &["--http-listen"]);
    reads.keep_data();
    reads.spawn();
    assert!(!reads.wait_end().success());
    assert!(reads.printed().contains("needs the right \"write\""), "{}", reads.printed());
    let wrong = config.file("wrong.token");
    std::fs::write(&wrong, "nobodys-token-0123456789").expect("write");
    let mut nobody = part(&read, &comes_with(&wrong, Some("client")), &listeners);
    nobody.spawn();
    assert!(!nobody.wait_end().success());
    assert!(nobody.printed().contains("access denied"), "{}", nobody.printed());
    // Without a certificate, or with a stranger's, no call gets through; it may be put right, so it is tried again.
    for identity in [None, Some("stranger")] {
        let mut stranger = part(&read, &comes_with(&chief, identity), &listeners);
        stranger.spawn();
        wait_for("the complaint", SHORT, || stranger.printed().contains("the engine cannot be reached").then_some(()));
        assert!(stranger.address().get().is_none());
    }
    assert_eq!(query.latest("SELECT COUNT(*) FROM hr.pay"), b"2\n", "the others go on");
    for process in [&engine, &writer, &query, &reads, &nobody] {
        assert_no_secrets("a log", &process.printed());
    }
}

/// A latch of its own lets in who has a certificate and a token, and takes reports from those who may write.
#[test]
fn a_latch_asks_who_is_there() {
    let (upstream, config) = (upstream(), Config::new());
    let (file, ca) = (config.file("tidelake.toml"), cert("ca.pem"));
    let mutual: Vec<String> = ["--config", path(&file), "--tls-client-ca", path(&ca)].map(str::to_owned).to_vec();
    let (filler, chief) = (config.file("filler.token"), config.file("chief.token"));
    let to_latch = |token: &Path| -> Vec<String> {
        let options = comes_with(token, Some("client")).into_iter();
        options.map(|option| option.replace("--engine-", "--latch-")).collect()
    };
    let mut latch = part(&["latch"], &mutual, &["--latch-listen", "--http-listen"]);
    latch.keep_data();
    latch.restart();
    let (at, source) = (format!("localhost:{}", latch.ports().latch), upstream.source_url());
    let engine = |token: &Path| {
        let listeners = ["--magic-listen", "--http-listen"];
        let mut engine = part(&["engine", "--latch", &at], &[mutual.clone(), to_latch(token)].concat(), &listeners);
        engine.keep_data();
        engine.restart();
        engine
    };
    let (engine, reads) = (engine(&filler), engine(&chief));
    wait_for("the complaint", SHORT, || reads.printed().contains("needs the right \"write\"").then_some(()));
    let address = format!("localhost:{}", engine.ports().magic);
    // What is not said of the latch is as for the engine.
    let write = ["writer", "--latch", &at, "--engine", &address, "--source", &source, "--interval", "20ms"];
    let mut writer = part(&write, &comes_with(&filler, Some("client")), &["--http-listen"]);
    writer.keep_data();
    writer.restart();
    let listeners = ["--mysql-listen", "--http-listen", "--flight-listen"];
    let read = ["query", "--latch", &at, "--engine", &address];
    let mut query = part(&read, &comes_with(&chief, Some("client")), &listeners);
    query.restart();
    wait_for("the copy", MINUTE, || query.try_latest("SELECT * FROM hr.pay").ok().filter(|rows| rows == b"1\t100\n"));
    assert_same_contents(&upstream, &query);
    let mut narrow = part(&read, &comes_with(&config.file("bi.token"), Some("client")), &listeners);
    narrow.restart();
    let count = narrow.client().try_batch_text("SELECT COUNT(*) FROM shop.items");
    assert_eq!(count.as_deref(), Ok(&b"2\n"[..]));
    assert!(narrow.client().try_batch_text("SELECT * FROM hr.pay").is_err());
    let wrong = config.file("wrong.token");
    std::fs::write(&wrong, "nobodys-token-0123456789").expect("write");
    let mut nobody = part(&read, &comes_with(&wrong, Some("client")), &listeners);
    nobody.spawn();
    assert!(!nobody.wait_end().success());
    assert!(nobody.printed().contains("access denied"), "{}", nobody.printed());
    for process in [&latch, &engine, &reads, &writer, &query, &nobody] {
        assert_no_secrets("a log", &process.printed());
    }
}

/// What the ADBC driver of Flight SQL does, as its users write it.
const ADBC: &str = r#"
import sys
import adbc_driver_flightsql.dbapi as flight_sql
from adbc_driver_flightsql import DatabaseOptions
import adbc_driver_manager

port, ca, password, token = sys.argv[1:]
uri = "grpc+tls://localhost:" + port
roots = {DatabaseOptions.TLS_ROOT_CERTS.value: open(ca).read()}
logins = [
    {"username": "bi", "password": password},
    {DatabaseOptions.AUTHORIZATION_HEADER.value: "Bearer " + token},
]
for login in logins:
    with flight_sql.connect(uri, db_kwargs={**roots, **login}) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id, name FROM shop.items ORDER BY id")
        table = cursor.fetch_arrow_table()
        print(table.column("id").to_pylist(), table.column("name").to_pylist())
        objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
        schemas = [schema for catalog in objects for schema in catalog["catalog_db_schemas"]]
        print(sorted(t["table_name"] for s in schemas if s["db_schema_name"] == "shop" for t in s["db_schema_tables"]))
        cursor.execute("SHOW TABLES FROM shop")
        print(cursor.fetchall())
        cursor.execute("SELECT name FROM shop.items WHERE id = ?", (2,))
        print(cursor.fetchall())
        for sql in ["SELCT 1", "DELETE FROM shop.items", "SET time_zone = '+01:00'"]:
            try:
                cursor.execute(sql)
                cursor.fetchall()
                print("done: " + sql)
            except adbc_driver_manager.Error as error:
                parts = ["ERROR 1064", "ERROR 1290", "no effect on the next one"]
                print(next((part for part in parts if part in str(error)), error))
        try:
            cursor.execute("SELECT * FROM hr.pay")
            print("read what it may not")
        except adbc_driver_manager.Error as error:
            print("denied" if "denied to user" in str(error) else error)
for login in [{}, {"username": "bi", "password": "wrong"}]:
    try:
        with flight_sql.connect(uri, db_kwargs={**roots, **login}) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        print("let in")
    except adbc_driver_manager.Error as error:
        print("refused" if "denied" in str(error).lower() or "Authorization" in str(error) else error)
"#;

#[test]
fn the_adbc_driver_logs_in() {
    let (upstream, config) = (upstream(), Config::new());
    let replica = Tidelake::run(&upstream.source_url(), &["--config", path(&config.file("tidelake.toml"))]);
    let counted = || mysql(replica.ports().mysql, "bi", SECRETS[0], "SELECT COUNT(*) FROM shop.items").ok();
    wait_for("the copy", MINUTE, || counted().filter(|n| n == "2\n"));
    let python = tidelake_testkit::component("adbc").join("venv/bin/python");
    let (port, ca) = (replica.ports().flight.to_string(), cert("ca.pem"));
    let args = ["-c", ADBC, &port, path(&ca), SECRETS[0], SECRETS[1]];
    let output = std::process::Command::new(python).args(args).output().expect("Python starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    let each = "[1, 2] ['ä', 'b']\n['items']\n[('items',)]\n[('b',)]\nERROR 1064\nERROR 1290\nno effect on the next one\ndenied\n";
    assert_eq!(printed, format!("{each}{each}refused\nrefused\n"), "{}", String::from_utf8_lossy(&output.stderr));
}
