//! The kit against the real server: what other tests take for granted.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tidelake_testkit::{MariaDb, MariaDbOptions, S3, ServerKind, SqlClient, TcpProxy};

#[test]
fn a_new_server_logs_rows_and_begins_with_an_empty_log() {
    let server = MariaDb::start(MariaDbOptions::default());
    let said = server.batch_text("SELECT @@log_bin, @@binlog_format, @@binlog_row_image, @@binlog_row_metadata");
    assert_eq!(String::from_utf8(said).unwrap(), "1\tROW\tFULL\tFULL\n");
    assert!(server.data_dir().join("binlog.000001").is_file());
    let events = String::from_utf8(server.batch_text("SHOW BINLOG EVENTS")).unwrap();
    assert!(!events.contains("USER"), "the kit's own users are not logged: {events}");
}

#[test]
fn extra_arguments_win() {
    let server = MariaDb::start(MariaDbOptions::default().arg("--binlog-format=STATEMENT").arg("--skip-log-bin"));
    assert_eq!(server.batch_text("SELECT @@binlog_format, @@log_bin"), b"STATEMENT\t0\n");
}

#[tokio::test]
async fn committed_rows_survive_a_kill_and_the_port_stays() {
    let mut server = MariaDb::start(MariaDbOptions::default());
    let port = server.port();
    server.execute(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, v TEXT); INSERT INTO d.t VALUES (1, 'ä\tb')",
    );
    server.kill9();
    assert!(server.client().try_batch_text("SELECT 1").is_err());
    server.restart();
    assert_eq!(server.port(), port);
    assert_eq!(server.batch_text("SELECT * FROM d.t"), "1\tä\tb\n".as_bytes());
    let rows = server.query("SELECT v FROM d.t").await;
    assert_eq!(rows[0].get::<String, _>(0).as_deref(), Some("ä\tb"));
}

#[test]
fn the_guide_s_rights_are_enough_to_read_and_not_to_write() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY)");
    let source = SqlClient { port: server.port(), user: "tidelake".to_owned(), password: "tide".to_owned() };
    let said = String::from_utf8(source.batch_text("SELECT COUNT(*) FROM d.t; SHOW MASTER STATUS")).unwrap();
    assert!(said.starts_with("0\nbinlog.000001\t"), "{said}");
    let refused = source.try_batch_text("INSERT INTO d.t VALUES (1)").unwrap_err();
    assert!(refused.contains("denied"), "{refused}");
}

#[test]
fn a_cut_line_breaks_and_heals() {
    let server = MariaDb::start(MariaDbOptions::default());
    let proxy = TcpProxy::start(server.port());
    let client = SqlClient::root(proxy.port());
    assert_eq!(client.batch_text("SELECT 1"), b"1\n");
    proxy.cut();
    assert!(client.try_batch_text("SELECT 1").is_err());
    proxy.heal();
    assert_eq!(client.batch_text("SELECT 2"), b"2\n");
}

#[test]
fn a_dropped_server_is_gone_with_its_files() {
    let server = MariaDb::start(MariaDbOptions::default());
    let (client, files) = (server.client(), server.data_dir());
    drop(server);
    assert!(client.try_batch_text("SELECT 1").is_err());
    assert!(!files.exists());
}

/// In the child process of the test below: starts a server, tells its port and waits to be killed.
#[test]
fn child_that_is_killed() {
    let Some(tell) = std::env::var_os("TESTKIT_TELL_PORT") else { return };
    let server = MariaDb::start(MariaDbOptions::default());
    std::fs::write(tell, server.port().to_string()).unwrap();
    std::thread::sleep(Duration::from_secs(120));
}

#[test]
fn a_server_dies_with_a_killed_test_process() {
    let dir = tempfile::tempdir().unwrap();
    let tell = dir.path().join("port");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_that_is_killed"]).env("TESTKIT_TELL_PORT", &tell).env("TMPDIR", dir.path());
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let port = wait_for(|| std::fs::read_to_string(&tell).ok()?.parse().ok());
    assert_eq!(SqlClient::root(port).batch_text("SELECT 1"), b"1\n");
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for(|| SqlClient::root(port).try_batch_text("SELECT 1").is_err().then_some(()));
}

fn wait_for<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "waited a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// MySQL and MariaDB, old and new: up, with the users of the guide, logging rows, and themselves again after a kill.
#[test]
fn every_kind_of_server_starts_logs_rows_and_survives_a_kill() {
    for (kind, version) in ServerKind::ALL.into_iter().zip(["10.", "11.", "9.", "5.6"]) {
        let mut server = MariaDb::start(MariaDbOptions::of(kind));
        server.execute("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, v TEXT)");
        server.execute("INSERT INTO d.t VALUES (1, 'ä')");
        server.kill9();
        server.restart();
        let said =
            String::from_utf8(server.batch_text("SELECT @@version, @@binlog_format; SELECT v FROM d.t")).unwrap();
        assert!(said.starts_with(version) && said.ends_with("\tROW\nä\n"), "{kind:?}: {said}");
        let events = String::from_utf8(server.batch_text("SHOW BINLOG EVENTS IN 'binlog.000001'")).unwrap();
        assert!(events.contains("Write_rows") && !events.contains("USER"), "{kind:?}: {events}");
        let source = SqlClient { port: server.port(), user: "root".to_owned(), password: String::new() };
        assert_eq!(source.batch_text("SELECT COUNT(*) FROM d.t"), b"1\n", "{kind:?}");
    }
}

#[test]
fn an_object_store_makes_buckets_and_two_do_not_share_them() {
    let (s3, other) = (S3::start(), S3::start());
    s3.create_bucket("tidelake");
    let get = |s3: &S3| {
        let mut stream = std::net::TcpStream::connect(s3.address()).expect("it listens");
        let request =
            format!("GET /tidelake?list-type=2 HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", s3.address());
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("send");
        std::io::read_to_string(stream).expect("an answer")
    };
    let (listed, missing) = (get(&s3), get(&other));
    assert!(listed.starts_with("HTTP/1.1 200") && listed.contains("<KeyCount>0</KeyCount>"), "{listed}");
    assert!(missing.contains("NoSuchBucket"), "{missing}");
}
