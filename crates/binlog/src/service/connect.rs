//! Connections to the upstream: how they are opened, what their sessions are set to, and what their errors mean.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, IoError, OptsBuilder, SslOpts};
use tidelake_core::{Error, Result};

use super::url::{SslMode, UpstreamUrl};
use super::wire::{self, Wire};

/// Longest wait for a connection to be open and authenticated.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest packet taken from the upstream: a row event can be as large as MySQL's own limit of 1 GiB.
const MAX_PACKET: usize = 1 << 30;

/// What every session of Tidelake is set to: values come as stored, in UTC, no server default cuts a long read short, and
/// whoever waits for a table's definition gives up after a minute and tries again, so that others get their turn.
/// `character_set_results = NULL` sends text in the column's own charset, as row events do.
const SESSION: &str = "SET NAMES utf8mb4, SESSION character_set_results = NULL, SESSION time_zone = '+00:00', \
    SESSION sql_mode = 'ALLOW_INVALID_DATES', SESSION sql_quote_show_create = 1, SESSION sql_select_limit = DEFAULT, \
    SESSION net_write_timeout = 3600, SESSION net_read_timeout = 3600, SESSION wait_timeout = 86400, \
    SESSION lock_wait_timeout = 60, SESSION autocommit = 1";

/// The same for MariaDB.
const SESSION_MARIADB: &str = "SET NAMES utf8mb4, SESSION character_set_results = NULL, SESSION time_zone = '+00:00', \
    SESSION sql_mode = 'ALLOW_INVALID_DATES', SESSION sql_quote_show_create = 1, SESSION sql_select_limit = DEFAULT, \
    SESSION net_write_timeout = 3600, SESSION net_read_timeout = 3600, SESSION wait_timeout = 86400, \
    SESSION lock_wait_timeout = 60, SESSION max_statement_time = 0, SESSION autocommit = 1";

/// A statement of its own: the variable has three names over the servers' versions.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";

/// Opens connections to one upstream.
#[derive(Debug)]
pub(crate) struct Connector {
    url: UpstreamUrl,
    /// `preferred` only: the server has no TLS.
    plain: AtomicBool,
}

impl Connector {
    pub fn new(url: UpstreamUrl) -> Connector {
        Connector { url, plain: AtomicBool::new(false) }
    }

    /// Opens a connection for the bin log.
    ///
    /// # Errors
    /// As for [`Connector::connect_plain`].
    pub(super) async fn connect_replica(&self) -> Result<Wire> {
        wire::connect(&self.url).await
    }

    /// The upstream's address for messages, without the password.
    pub fn address(&self) -> String {
        self.url.to_string()
    }

    /// Opens a connection, without any session settings.
    ///
    /// # Errors
    /// [`Error::Invalid`] if user, password or TLS are refused, else [`Error::Unavailable`].
    pub async fn connect_plain(&self) -> Result<Conn> {
        self.check_ca()?;
        let tls = self.url.ssl_mode != SslMode::Disabled && !self.plain.load(Ordering::Relaxed);
        match self.open(tls).await {
            Err(mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer))
                if self.url.ssl_mode == SslMode::Preferred =>
            {
                self.plain.store(true, Ordering::Relaxed);
                self.open(false).await
            }
            other => other,
        }
        .map_err(|e| self.error("connect", &e))
    }

    /// Opens a connection for statements, its session set as the copy needs it.
    ///
    /// # Errors
    /// As for [`Connector::connect_plain`].
    pub async fn connect(&self) -> Result<Conn> {
        let mut conn = self.connect_plain().await?;
        let version: Option<String> =
            conn.query_first("SELECT VERSION()").await.map_err(|e| self.error("ask for the version", &e))?;
        let mariadb = version.is_some_and(|v| v.to_ascii_lowercase().contains("mariadb"));
        let session = if mariadb { SESSION_MARIADB } else { SESSION };
        for statement in [session, ISOLATION] {
            conn.query_drop(statement).await.map_err(|e| self.error("set up the session", &e))?;
        }
        Ok(conn)
    }

    /// The library names no file.
    fn check_ca(&self) -> Result<()> {
        let Some(path) = &self.url.ssl_ca else { return Ok(()) };
        let opened = std::fs::File::open(path);
        opened.map(drop).map_err(|e| Error::Invalid(format!("ssl-ca {}: {e}", path.display())))
    }

    async fn open(&self, tls: bool) -> Result<Conn, mysql_async::Error> {
        let url = &self.url;
        let opts = OptsBuilder::default()
            .ip_or_hostname(url.host.clone())
            .tcp_port(url.port)
            .user(Some(url.user.clone()))
            .pass(Some(url.password.clone()))
            .prefer_socket(false)
            .max_allowed_packet(Some(MAX_PACKET))
            .wait_timeout(Some(28_800))
            .stmt_cache_size(0)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .connect_attribute("program_name", "tidelake")
            .ssl_opts(tls.then(|| self.ssl()));
        // in a task of its own: the library panics for a plugin that it knows but was not built with
        let opening = tokio::spawn(Conn::new(opts));
        match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => {
                let name = "one that this build does not have".to_owned();
                Err(mysql_async::Error::Driver(DriverError::UnknownAuthPlugin { name }))
            }
            Err(_) => {
                let slow = std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in 10 s");
                Err(mysql_async::Error::Io(IoError::Io(slow)))
            }
        }
    }

    fn ssl(&self) -> SslOpts {
        let mut ssl = SslOpts::default();
        if let Some(ca) = &self.url.ssl_ca {
            ssl = ssl.with_root_certs(vec![ca.clone().into()]).with_disable_built_in_roots(true);
        }
        match self.url.ssl_mode {
            SslMode::VerifyIdentity => ssl,
            _ => ssl.with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true),
        }
    }

    /// What an error of the upstream means to the caller.
    pub fn error(&self, doing: &str, error: &mysql_async::Error) -> Error {
        let text = format!("{doing} at {}: {}", self.url, describe(error));
        match error {
            mysql_async::Error::Server(e) if is_passing(e.code) => Error::Unavailable(text),
            mysql_async::Error::Server(_) | mysql_async::Error::Url(_) => Error::Invalid(text),
            mysql_async::Error::Io(IoError::Tls(_)) => Error::Invalid(text),
            // a refused certificate
            mysql_async::Error::Io(IoError::Io(e)) if e.kind() == std::io::ErrorKind::InvalidData => {
                Error::Invalid(text)
            }
            mysql_async::Error::Driver(e) if is_configuration(e) => Error::Invalid(text),
            _ => Error::Unavailable(text),
        }
    }

    /// The same where it is about one table: a privilege that is missing says nothing about the table, and can be granted.
    pub fn table_error(&self, doing: &str, error: &mysql_async::Error) -> Error {
        match (error, self.error(doing, error)) {
            (mysql_async::Error::Server(e), Error::Invalid(text)) if is_denied(e.code) => Error::Unavailable(text),
            (_, other) => other,
        }
    }
}

fn describe(error: &mysql_async::Error) -> String {
    match error {
        mysql_async::Error::Server(e) => format!("server error {}: {}", e.code, e.message),
        mysql_async::Error::Io(IoError::Io(e)) => e.to_string(),
        mysql_async::Error::Io(IoError::Tls(e)) => format!("TLS: {e}"),
        mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            "the server offers no TLS, but ssl-mode wants it".to_owned()
        }
        mysql_async::Error::Driver(e) => e.to_string(),
        other => other.to_string(),
    }
}

/// Server errors that pass by themselves: too many connections, shutdown, lock waits, killed connections.
pub(super) fn is_passing(code: u16) -> bool {
    matches!(
        code,
        1040 | 1041 | 1053 | 1077 | 1079 | 1158..=1161 | 1203 | 1205 | 1213 | 1226 | 1317 | 1412 | 1927 | 3159 | 4031
    )
}

fn is_denied(code: u16) -> bool {
    matches!(code, 1044 | 1045 | 1142 | 1143 | 1227 | 1370)
}

fn is_configuration(error: &DriverError) -> bool {
    matches!(
        error,
        DriverError::NoClientSslFlagFromServer
            | DriverError::UnknownAuthPlugin { .. }
            | DriverError::MysqlOldPasswordDisabled
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_ca_is_named() {
        let url = "mysql://u:secret@127.0.0.1:1/?ssl-mode=verify-identity&ssl-ca=/nowhere/ca.pem";
        let connector = Connector::new(UpstreamUrl::parse(url).expect("a URL"));
        let error = connector.connect_plain().await.expect_err("no such file").to_string();
        assert!(error.contains("/nowhere/ca.pem") && error.contains("No such file"), "{error}");
    }
}
