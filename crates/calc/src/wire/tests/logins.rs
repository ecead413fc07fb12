//! Who gets in, and as whom.

use std::path::Path;
use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, SslOpts};
use tidelake_access::{Guard, PasswordHash, Right, Rights, ServerTls, TlsFiles, User};

use super::super::WireOptions;
use super::{code, conn_of, start};

fn with_users() -> WireOptions {
    let user = |name, hash| User::new(name, Rights::new(vec![Right::Read], None)).with_password(hash);
    let users = vec![
        user("ann", PasswordHash::of_password("secret")),
        user("old", PasswordHash::parse_native("*14E65567ABDB5135D0CFD9A70B3032C179A49EE7").unwrap()),
    ];
    WireOptions { guard: Arc::new(Guard::new(users, false)), ..WireOptions::default() }
}

#[tokio::test]
async fn without_users_any_name_from_this_machine_gets_in() {
    let running = start(WireOptions::default()).await;
    for password in [None, Some("whatever")] {
        let mut conn = conn_of(running.opts().user(Some("root")).pass(password)).await.unwrap();
        let user: Option<String> = conn.query_first("SELECT user").await.unwrap();
        assert_eq!(user.as_deref(), Some("root"));
    }
}

#[tokio::test]
async fn configured_users_need_their_password() {
    let running = start(with_users()).await;
    conn_of(running.opts().pass(Some("secret"))).await.unwrap().ping().await.unwrap();
    conn_of(running.opts().user(Some("old")).pass(Some("secret"))).await.unwrap().ping().await.unwrap();
    assert_eq!(code(conn_of(running.opts().pass(Some("wrong"))).await), 1045);
    assert_eq!(code(conn_of(running.opts()).await), 1045);
    assert_eq!(code(conn_of(running.opts().user(Some("bob")).pass(Some("secret"))).await), 1045);
}

#[tokio::test]
async fn changing_the_user_needs_that_users_password() {
    let running = start(with_users()).await;
    let mut conn = conn_of(running.opts().pass(Some("secret"))).await.unwrap();
    let old =
        |password: &str| ChangeUserOpts::default().with_user(Some("old".into())).with_pass(Some(password.to_owned()));
    conn.change_user(old("secret")).await.unwrap();
    let user: Option<String> = conn.query_first("SELECT user").await.unwrap();
    assert_eq!(user.as_deref(), Some("old"));
    assert_eq!(code(conn.change_user(old("wrong")).await), 1045);
    assert!(conn.query_drop("SELECT user").await.is_err(), "a failed change of user ends the connection");
    assert_eq!(running.service.seen.users.lock().as_slice(), ["ann", "old"]);
}

fn tls(mutual: bool) -> Arc<ServerTls> {
    let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire/tests").join(name);
    let client_ca = mutual.then(|| file("cert.pem"));
    ServerTls::load(TlsFiles { cert: file("cert.pem"), key: file("key.pem"), client_ca }).unwrap()
}

#[tokio::test]
async fn a_client_that_has_a_certificate_to_show_cannot_leave_tls_out() {
    let running = start(WireOptions { tls: Some(tls(true)), ..with_users() }).await;
    assert_eq!(code(conn_of(running.opts().pass(Some("secret"))).await), 3159);
    let ssl = SslOpts::default().with_danger_accept_invalid_certs(true);
    let without = conn_of(running.opts().pass(Some("secret")).ssl_opts(Some(ssl))).await;
    assert!(without.is_err(), "no certificate was shown");
}

#[tokio::test]
async fn connections_can_be_encrypted() {
    let running = start(WireOptions { tls: Some(tls(false)), ..with_users() }).await;
    let ssl = SslOpts::default().with_danger_accept_invalid_certs(true);
    let opts = running.opts().pass(Some("secret")).ssl_opts(Some(ssl.clone()));
    let mut conn = conn_of(opts).await.unwrap();
    let numbers: Vec<i64> = conn.query("SELECT 3000 numbers").await.unwrap();
    assert_eq!(numbers.len(), 3000);
    let big: String = conn.query_first("SELECT big 17000000").await.unwrap().unwrap();
    assert_eq!(big.len(), 17_000_000);
    assert_eq!(code(conn_of(running.opts().pass(Some("wrong")).ssl_opts(Some(ssl))).await), 1045);
    conn_of(running.opts().pass(Some("secret"))).await.unwrap().ping().await.unwrap();
}
