//! What clients do: query, prepare, change, leave.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tokio::process::Command;

use super::super::{WireOptions, WireServer};
use super::{code, conn_of, eventually, start};

#[tokio::test]
async fn results_of_any_size() {
    let running = start(WireOptions::default()).await;
    let mut conn = running.connect().await;
    let numbers: Vec<i64> = conn.query("SELECT 3000 numbers").await.unwrap();
    assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
    let none: Vec<i64> = conn.query("SELECT empty").await.unwrap();
    assert!(none.is_empty());
    // The row's packet has 4 or 9 bytes of length before the value: these end just below, at and above 16 MiB - 1.
    for size in [0, 250, 251, 65_536, (1 << 24) - 6, (1 << 24) - 5, (1 << 24) - 1, 1 << 24, 40 << 20] {
        let big: String = conn.query_first(format!("SELECT big {size}")).await.unwrap().unwrap();
        assert_eq!(big.len(), size);
    }
}

#[tokio::test]
async fn statements_of_any_size_up_to_the_limit() {
    let running = start(WireOptions { max_allowed_packet: 40 << 20, ..WireOptions::default() }).await;
    let mut conn = running.connect().await;
    for size in [1, (1 << 24) - 17, (1 << 24) - 16, (1 << 24) - 15, 39 << 20] {
        let sql = format!("SELECT length {}", "z".repeat(size));
        let length: String = conn.query_first(sql).await.unwrap().unwrap();
        assert_eq!(length, size.to_string());
    }
    let huge = format!("SELECT length {}", "z".repeat(41 << 20));
    assert_eq!(code(conn.query_drop(huge).await), 1153);
    let mut next = running.connect().await;
    next.ping().await.unwrap();
}

#[tokio::test]
async fn errors_reach_the_client_and_the_connection_goes_on() {
    let running = start(WireOptions::default()).await;
    let mut conn = running.connect().await;
    assert_eq!(code(conn.query_drop("nonsense").await), 1064);
    assert_eq!(code(conn.query_drop("SELECT interval").await), 1105);
    assert_eq!(code(conn.query::<i64, _>("SELECT fail").await), 1969);
    assert_eq!(code(conn.exec::<i64, _, _>("SELECT fail", ()).await), 1969);
    let numbers: Vec<i64> = conn.query("SELECT 3000 numbers").await.unwrap();
    assert_eq!(numbers.len(), 3000);
}

#[tokio::test]
async fn databases_are_checked_at_connect_and_later() {
    let running = start(WireOptions::default()).await;
    assert_eq!(code(conn_of(running.opts().db_name(Some("nowhere"))).await), 1049);
    let mut conn = conn_of(running.opts().db_name(Some("shop"))).await.unwrap();
    conn.query_drop("BEGIN").await.unwrap();
    conn.reset().await.unwrap();
    conn.ping().await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_statement() {
    let running = start(WireOptions::default()).await;
    let seen = running.service.seen.clone();
    for sql in ["SELECT hang", "SELECT slow rows", "SELECT endless"] {
        let mut conn = running.connect().await;
        let query = tokio::spawn(async move {
            // Rows are not taken: the connection is dropped in the middle of the result.
            let mut result = conn.query_iter(sql).await.unwrap();
            let _ = result.next().await;
            std::future::pending::<()>().await;
        });
        eventually("the statement runs", || seen.hanging.load(Ordering::SeqCst) == 1).await;
        query.abort();
        eventually("the statement is dropped", || seen.hanging.load(Ordering::SeqCst) == 0).await;
    }
    eventually("the sessions are dropped", || seen.sessions.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_slow_client_slows_its_query() {
    let running = start(WireOptions::default()).await;
    let seen = running.service.seen.clone();
    let mut conn = running.connect().await;
    let mut result = conn.query_iter("SELECT endless").await.unwrap();
    assert!(result.next().await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = seen.pulled.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(seen.pulled.load(Ordering::SeqCst), before, "rows are pulled only as the client takes them");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let options = WireOptions { write_timeout: Duration::from_millis(200), ..WireOptions::default() };
    let running = start(options).await;
    let seen = running.service.seen.clone();
    let mut conn = running.connect().await;
    let result = conn.query_iter("SELECT endless").await.unwrap();
    eventually("the statement runs", || seen.hanging.load(Ordering::SeqCst) == 1).await;
    eventually("the statement is dropped", || seen.hanging.load(Ordering::SeqCst) == 0).await;
    drop(result);
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let options = WireOptions { idle_timeout: Duration::from_millis(100), ..WireOptions::default() };
    let running = start(options).await;
    let _conn = running.connect().await;
    let seen = running.service.seen.clone();
    eventually("the session is dropped", || seen.sessions.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let running = start(WireOptions { max_connections: 1, ..WireOptions::default() }).await;
    let conn = running.connect().await;
    assert_eq!(code(conn_of(running.opts()).await), 1040);
    conn.disconnect().await.unwrap();
    let mut again = None;
    for _ in 0..100 {
        again = conn_of(running.opts()).await.ok();
        if again.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    again.expect("the slot is free again").ping().await.unwrap();
}

#[tokio::test]
async fn shutdown_ends_running_statements_with_an_error() {
    let running = start(WireOptions::default()).await;
    let seen = running.service.seen.clone();
    let mut conn = running.connect().await;
    let query = tokio::spawn(async move { conn.query_drop("SELECT hang").await });
    let _idle = running.connect().await;
    eventually("the statement runs", || seen.hanging.load(Ordering::SeqCst) == 1).await;
    running.cancel.cancel();
    assert_eq!(code(query.await.unwrap()), 1053);
    running.server.finished().await.unwrap();
    assert_eq!(seen.sessions.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_occupied_address_is_named() {
    let running = start(WireOptions::default()).await;
    let address = running.server.local_addr();
    let again = WireServer::bind(address, running.service.clone(), WireOptions::default(), running.cancel.clone());
    let message = again.await.unwrap_err().to_string();
    assert!(message.contains(&address.to_string()) && message.contains("--mysql-listen"), "{message}");
}

#[tokio::test]
async fn the_mariadb_program_prints_what_it_prints_for_mariadb() {
    let running = start(WireOptions::default()).await;
    let port = running.server.local_addr().port().to_string();
    let run = |sql: &'static str| {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "-h127.0.0.1", "-P", &port, "-uann", "-psecret", "--batch", "-e", sql]);
        command.args(["shop", "--column-type-info"]);
        command
    };
    let output = run("SELECT 3000 numbers").output().await.expect("the mariadb program is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().filter(|l| l.parse::<i64>().is_ok()).count(), 3000);
    let output = run("SELECT types").output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for printed in ["2024-02-31", "-838:59:59", "3.40282e38", "00042", "11111111-1111-1111-1111-111111111111"] {
        assert!(text.contains(printed), "{printed} in {text}");
    }
    let output = run("nonsense").output().await.unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("ERROR 1064 (42000) at line 1: not known: nonsense"), "{message}");
}
