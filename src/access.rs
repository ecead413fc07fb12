//! Who may connect: users and certificate of the MySQL listener, and what may listen beyond this machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tidelake_calc::wire::WireOptions;
use tidelake_calc::wire::auth::{PasswordHash, Users};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// One user of the configuration file. Exactly one of the three says the password.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UserConfig {
    /// The name to log in with.
    pub name: String,
    password: Option<String>,
    password_file: Option<PathBuf>,
    native_hash: Option<String>,
}

/// Passwords are never printed.
impl std::fmt::Debug for UserConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserConfig({:?})", self.name)
    }
}

/// What decides who may connect.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Nobody configured: connections from this machine are let in under any name.
    pub users: Vec<UserConfig>,
    /// Certificate chain of the MySQL listener, PEM.
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Listen beyond this machine without users and TLS all the same.
    pub insecure_listen: bool,
}

impl UserConfig {
    fn hash(&self) -> Result<PasswordHash> {
        let name = &self.name;
        match (&self.password, &self.password_file, &self.native_hash) {
            (Some(password), None, None) => Ok(PasswordHash::of_password(password)),
            (None, Some(file), None) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("read the password of user {name} from {}", file.display()))?;
                Ok(PasswordHash::of_password(text.trim_end_matches(['\r', '\n'])))
            }
            (None, None, Some(hash)) => PasswordHash::parse_native(hash)
                .with_context(|| format!("native-hash of user {name} is not `*` and 40 hexadecimal digits")),
            _ => bail!("user {name}: write exactly one of password, password-file and native-hash"),
        }
    }
}

impl Access {
    /// Refuses listeners that others could reach without a password or in the clear.
    ///
    /// # Errors
    /// Names the listener and what to configure.
    pub fn check(&self, mysql: SocketAddr, flight: SocketAddr, http: SocketAddr) -> Result<()> {
        if !flight.ip().to_canonical().is_loopback() {
            bail!(
                "--flight-listen {flight} can be reached from other machines, and Flight SQL knows no users yet: it listens on \
                 loopback addresses only, also with --insecure-listen"
            );
        }
        if self.insecure_listen {
            return Ok(());
        }
        if !mysql.ip().is_loopback() && (self.users.is_empty() || self.tls_cert.is_none()) {
            bail!(
                "--mysql-listen {mysql} can be reached from other machines: configure [[users]] and \
                 mysql-tls-cert/mysql-tls-key, or say --insecure-listen"
            );
        }
        if !http.ip().is_loopback() {
            bail!(
                "--http-listen {http} can be reached from other machines, and this listener knows no users yet: listen on \
                 127.0.0.1, or say --insecure-listen"
            );
        }
        Ok(())
    }

    /// Options of the MySQL listener.
    ///
    /// # Errors
    /// A password, certificate or key that cannot be read.
    pub fn wire_options(&self) -> Result<WireOptions> {
        let mut options = WireOptions { tls: self.tls()?, ..WireOptions::default() };
        if !self.users.is_empty() {
            let users = self.users.iter().map(|u| Ok((u.name.clone(), u.hash()?))).collect::<Result<Vec<_>>>()?;
            options.authenticator = Arc::new(Users::new(users));
        }
        Ok(options)
    }

    fn tls(&self) -> Result<Option<Arc<ServerConfig>>> {
        let (cert, key) = match (&self.tls_cert, &self.tls_key) {
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert, key),
            _ => bail!("mysql-tls-cert and mysql-tls-key belong together: give both"),
        };
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(|all| all.collect::<Result<Vec<_>, _>>())
            .with_context(|| format!("read the certificate {}", cert.display()))?;
        let private = PrivateKeyDer::from_pem_file(key).with_context(|| format!("read the key {}", key.display()))?;
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private);
        Ok(Some(Arc::new(config.with_context(|| format!("certificate {} and its key", cert.display()))?)))
    }
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

    #[test]
    fn beyond_this_machine_only_with_users_and_tls() {
        let (local, everywhere) = (address("127.0.0.1:1"), address("0.0.0.0:1"));
        let open = Access::default();
        assert!(open.check(local, local, address("[::1]:1")).is_ok());
        for (m, f, h) in [(everywhere, local, local), (local, everywhere, local), (local, local, everywhere)] {
            let message = open.check(m, f, h).unwrap_err().to_string();
            assert!(message.contains("0.0.0.0:1") && message.contains("--insecure-listen"), "{message}");
            let insecure = Access { insecure_listen: true, ..Access::default() };
            assert_eq!(insecure.check(m, f, h).is_ok(), f == local, "Flight SQL stays on loopback");
        }
        let users = vec![user("name = 'bi'\npassword = 'secret'")];
        let only_users = Access { users, ..Access::default() };
        assert!(only_users.check(everywhere, local, local).is_err());
        let both = Access { tls_cert: Some("c".into()), tls_key: Some("k".into()), ..only_users };
        assert!(both.check(everywhere, local, local).is_ok());
        assert!(both.check(everywhere, local, everywhere).is_err());
    }

    #[test]
    fn passwords_come_from_text_file_or_hash() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("secret");
        std::fs::write(&file, "secret\n").expect("write");
        let plain = user("name = 'a'\npassword = 'secret'");
        let from_file = user(&format!("name = 'a'\npassword-file = '{}'", file.display()));
        assert!(plain.hash().expect("hash") == from_file.hash().expect("hash"));
        assert!(user("name = 'a'\nnative-hash = '*14E65567ABDB5135D0CFD9A70B3032C179A49EE7'").hash().is_ok());
        assert!(user("name = 'a'\nnative-hash = 'secret'").hash().is_err());
        assert!(user("name = 'a'").hash().is_err());
        assert!(user("name = 'a'\npassword = 'x'\nnative-hash = 'y'").hash().is_err());
        assert_eq!(format!("{plain:?}"), "UserConfig(\"a\")");
    }

    #[test]
    fn half_a_certificate_is_refused() {
        let half = Access { tls_cert: Some("cert.pem".into()), ..Access::default() };
        assert!(half.wire_options().err().expect("refused").to_string().contains("belong together"));
        let missing =
            Access { tls_key: Some("/nowhere/key.pem".into()), tls_cert: Some("/nowhere/cert.pem".into()), ..half };
        assert!(missing.wire_options().err().expect("refused").to_string().contains("/nowhere/cert.pem"));
    }
}
