//! Who may connect: users, certificates, and what may listen beyond this machine.
//!
//! Rooms: `args` what is said on command lines; `users` users of the configuration file; here what a process makes of both.

pub mod args;
pub mod users;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tidelake_access::{Door, Guard, ServerTls, TlsFiles};
use tidelake_calc::wire::WireOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::read_file;
use args::{MysqlTlsArgs, TlsArgs};
use users::UserConfig;

/// What is configured of it.
#[derive(Clone, Debug, Default)]
pub struct AccessConfig {
    /// Users of the configuration file.
    pub users: Vec<UserConfig>,
    /// That file, to read them again.
    pub file: Option<PathBuf>,
    /// The certificate of all listeners.
    pub tls: TlsArgs,
    /// That of the MySQL listener, if it has its own.
    pub mysql_tls: MysqlTlsArgs,
    /// Listen beyond this machine without users and TLS all the same.
    pub insecure_listen: bool,
}

/// What decides who may connect to this process.
#[derive(Debug)]
pub struct Access {
    /// Knows the users.
    pub guard: Arc<Guard>,
    tls: Option<Arc<ServerTls>>,
    mysql_tls: Option<Arc<ServerTls>>,
    file: Option<PathBuf>,
    insecure_listen: bool,
}

impl AccessConfig {
    /// Reads secrets and certificates, and refuses listeners that others could reach without a password or in the clear.
    ///
    /// # Errors
    /// Names the option, file or user and what to configure.
    pub fn open(self, listeners: &[(&str, SocketAddr)]) -> Result<Arc<Access>> {
        let users = users::users(&self.users)?;
        let TlsArgs { tls_cert, tls_key, tls_client_ca } = self.tls;
        let tls = certificate("tls", tls_cert, tls_key, tls_client_ca.clone())?;
        let MysqlTlsArgs { mysql_tls_cert: cert, mysql_tls_key: key } = self.mysql_tls;
        let mysql_tls = certificate("mysql-tls", cert, key, tls_client_ca.clone())?.or_else(|| tls.clone());
        if tls_client_ca.is_some() && tls.is_none() {
            bail!(
                "tls-client-ca asks clients for certificates, and that is done by TLS: give tls-cert and tls-key too"
            );
        }
        for (option, address) in listeners {
            let encrypted = if *option == "--mysql-listen" { mysql_tls.is_some() } else { tls.is_some() };
            let beyond = !address.ip().to_canonical().is_loopback();
            if beyond && !self.insecure_listen && (users.is_empty() || !encrypted) {
                bail!(
                    "{option} {address} can be reached from other machines: configure [[users]] and tls-cert/tls-key, or say \
                     --insecure-listen"
                );
            }
        }
        let guard = Arc::new(Guard::new(users, self.insecure_listen));
        Ok(Arc::new(Access { guard, tls, mysql_tls, file: self.file, insecure_listen: self.insecure_listen }))
    }
}

fn certificate(
    option: &str,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
) -> Result<Option<Arc<ServerTls>>> {
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(ServerTls::load(TlsFiles { cert, key, client_ca })?)),
        _ => bail!("{option}-cert and {option}-key belong together: give both"),
    }
}

impl Access {
    /// True if clients must log in.
    pub fn has_users(&self) -> bool {
        self.guard.has_users()
    }

    /// True if MySQL clients can use TLS.
    pub fn mysql_has_tls(&self) -> bool {
        self.mysql_tls.is_some()
    }

    /// True if HTTP and Flight speak TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Options of the MySQL listener.
    pub fn wire_options(&self) -> WireOptions {
        let require_tls = self.mysql_tls.is_some() && !self.insecure_listen;
        WireOptions { guard: self.guard.clone(), tls: self.mysql_tls.clone(), require_tls, ..WireOptions::default() }
    }

    /// A listener for gRPC.
    ///
    /// # Errors
    /// An address that cannot be listened on, with its option.
    pub async fn grpc(&self, option: &str, address: SocketAddr) -> Result<Door> {
        Door::grpc(address, self.tls.clone()).await.with_context(|| cannot(option, address))
    }

    /// A listener for HTTP.
    ///
    /// # Errors
    /// An address that cannot be listened on, with its option.
    pub async fn http(&self, option: &str, address: SocketAddr) -> Result<Door> {
        Door::http(address, self.tls.clone()).await.with_context(|| cannot(option, address))
    }

    /// Reads users and certificates again at every SIGHUP, until `cancel`. What is wrong is logged, and what was stays.
    ///
    /// # Errors
    /// If the signal's handler cannot be installed.
    pub fn reload_on_hangup(self: &Arc<Access>, cancel: CancellationToken) -> Result<()> {
        let mut hangup = signal(SignalKind::hangup()).context("handle SIGHUP")?;
        let access = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = cancel.cancelled() => return,
                    got = hangup.recv() => if got.is_none() { return },
                }
                match access.reload() {
                    Ok(()) => tracing::info!("users and certificates were read again"),
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "users and certificates stay as they were")
                    }
                }
            }
        });
        Ok(())
    }

    fn reload(&self) -> Result<()> {
        let configured = read_file(self.file.as_deref())?.users;
        let users = users::users(&configured)?;
        if users.is_empty() && self.guard.has_users() {
            bail!(
                "the configuration file has no users any more, and without any everybody on this machine is let in: restart for that"
            );
        }
        // All is read before anything is replaced: what is wrong with one file leaves everything as it was.
        let certificates: Vec<&Arc<ServerTls>> = self.tls.iter().chain(&self.mysql_tls).collect();
        let read = certificates.iter().map(|tls| tls.read_again()).collect::<tidelake_core::Result<Vec<_>>>()?;
        certificates.iter().zip(read).for_each(|(tls, config)| tls.replace(config));
        self.guard.set_users(users);
        Ok(())
    }
}

fn cannot(option: &str, address: SocketAddr) -> String {
    format!("listen on {address} ({option})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn user(toml: &str) -> UserConfig {
        toml::from_str(toml).expect("a user")
    }

    fn with_certificate(dir: &std::path::Path) -> TlsArgs {
        // Of the wire server's tests.
        let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/calc/src/wire/tests");
        let copy = |name: &str| {
            std::fs::copy(here.join(name), dir.join(name)).expect("copy");
            Some(dir.join(name))
        };
        TlsArgs { tls_cert: copy("cert.pem"), tls_key: copy("key.pem"), tls_client_ca: None }
    }

    #[test]
    fn beyond_this_machine_only_with_users_and_tls() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (local, everywhere) = (address("127.0.0.1:1"), address("0.0.0.0:1"));
        let users = vec![user("name = 'bi'\npassword = 'secret'")];
        let open = AccessConfig::default();
        let only_users = AccessConfig { users, ..AccessConfig::default() };
        let both = AccessConfig { tls: with_certificate(dir.path()), ..only_users.clone() };
        for option in ["--mysql-listen", "--flight-listen", "--http-listen", "--magic-listen"] {
            for config in [&open, &only_users] {
                assert!(config.clone().open(&[(option, local), (option, address("[::1]:1"))]).is_ok());
                let message = config.clone().open(&[(option, everywhere)]).unwrap_err().to_string();
                assert!(message.contains(option) && message.contains("--insecure-listen"), "{message}");
                let insecure = AccessConfig { insecure_listen: true, ..config.clone() };
                assert!(insecure.open(&[(option, everywhere)]).is_ok());
            }
            assert!(both.clone().open(&[(option, everywhere)]).is_ok());
        }
    }

    #[test]
    fn half_a_certificate_is_refused() {
        let half = TlsArgs { tls_cert: Some("/nowhere/cert.pem".into()), ..TlsArgs::default() };
        let refused = |tls| AccessConfig { tls, ..AccessConfig::default() }.open(&[]).unwrap_err().to_string();
        assert!(refused(half.clone()).contains("belong together"));
        let missing = refused(TlsArgs { tls_key: Some("/nowhere/key.pem".into()), ..half });
        assert!(missing.contains("/nowhere/cert.pem"), "{missing}");
        let ca = TlsArgs { tls_client_ca: Some("ca.pem".into()), ..TlsArgs::default() };
        assert!(refused(ca).contains("tls-cert"));
    }

    #[test]
    fn users_are_read_again_and_never_all_lost() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("t.toml");
        let write = |text: &str| std::fs::write(&file, text).expect("write");
        write("[[users]]\nname = 'a'\npassword = 'x'\n");
        let users = read_file(Some(&file)).expect("reads").users;
        let config = AccessConfig { users, file: Some(file.clone()), ..AccessConfig::default() };
        let access = config.open(&[]).expect("opens");
        let remote = "127.0.0.1".parse().expect("an address");
        let b = "Basic Yjp5"; // b:y
        assert!(access.guard.by_header(Some(b), remote).is_err());
        write("[[users]]\nname = 'b'\npassword = 'y'\n");
        access.reload().expect("reloads");
        assert!(access.guard.by_header(Some(b), remote).is_ok());
        for wrong in ["", "nonsense"] {
            write(wrong);
            assert!(access.reload().is_err());
            assert!(access.guard.by_header(Some(b), remote).is_ok(), "what was stays");
        }
    }

    #[test]
    fn a_certificate_that_cannot_be_read_leaves_the_users_too() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("t.toml");
        let write = |text: &str| std::fs::write(&file, text).expect("write");
        write("[[users]]\nname = 'b'\npassword = 'y'\n");
        let users = read_file(Some(&file)).expect("reads").users;
        let tls = with_certificate(dir.path());
        let access = AccessConfig { users, file: Some(file.clone()), tls, ..AccessConfig::default() };
        let access = access.open(&[]).expect("opens");
        write("[[users]]\nname = 'c'\npassword = 'y'\n");
        std::fs::write(dir.path().join("cert.pem"), "nothing").expect("write");
        assert!(access.reload().is_err());
        let (remote, b) = ("127.0.0.1".parse().expect("an address"), "Basic Yjp5"); // b:y
        assert!(access.guard.by_header(Some(b), remote).is_ok());
    }
}
