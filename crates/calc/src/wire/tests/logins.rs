//! Who gets in, and as whom.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, SslOpts};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::super::WireOptions;
use super::super::auth::{Authenticator, LoginAttempt, PasswordHash, Users, Verdict};
use super::{code, conn_of, start};

fn with_users() -> WireOptions {
    let users = Users::new([
        ("ann".to_owned(), PasswordHash::of_password("secret")),
        ("old".to_owned(), PasswordHash::parse_native("*14E65567ABDB5135D0CFD9A70B3032C179A49EE7").unwrap()),
    ]);
    WireOptions { authenticator: Arc::new(users), ..WireOptions::default() }
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

/// Lets nobody in, as [`super::super::auth::LoopbackOnly`] does for other machines.
struct Nobody;

impl Authenticator for Nobody {
    fn judge(&self, _: &LoginAttempt<'_>) -> Verdict {
        Verdict::Refuse("only from this machine".to_owned())
    }
}

#[tokio::test]
async fn the_reason_of_a_refusal_is_told() {
    let running = start(WireOptions { authenticator: Arc::new(Nobody), ..WireOptions::default() }).await;
    let error = conn_of(running.opts()).await.err().unwrap().to_string();
    assert!(error.contains("Access denied for user 'ann'@'127.0.0.1' (using password: NO): only from this machine"));
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

fn tls() -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("key.pem")).unwrap();
    Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}

#[tokio::test]
async fn connections_can_be_encrypted() {
    let running = start(WireOptions { tls: Some(tls()), ..with_users() }).await;
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
