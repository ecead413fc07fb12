//! How a latch comes in at etcd: certificates, and a user whose token is asked for when etcd wants one.

use std::fmt;

use parking_lot::Mutex;
use tidelake_core::{Error, Result};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// A user of etcd.
#[derive(Clone)]
pub struct EtcdUser {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
}

/// Without the password.
impl fmt::Debug for EtcdUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Certificates and user. The default: plain HTTP, and nobody.
#[derive(Clone, Default)]
pub struct EtcdLogin {
    /// Certificates (PEM) that may have signed etcd's; the connection is then encrypted.
    pub ca: Option<Vec<u8>>,
    /// Our certificate chain and its key (PEM); the connection is then encrypted.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// A user, if etcd knows users.
    pub user: Option<EtcdUser>,
}

impl EtcdLogin {
    pub(super) fn is_encrypted(&self) -> bool {
        self.ca.is_some() || self.identity.is_some()
    }

    /// For connections.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no PEM.
    pub(super) fn tls(&self) -> Result<TlsConfig> {
        let mut tls = TlsConfig::builder();
        if let Some(ca) = &self.ca {
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates("the certificates of etcd's signers", ca)?));
        }
        if let Some((chain, key)) = &self.identity {
            let wrong = |e| Error::Invalid(format!("the key for etcd is no private key in PEM: {e}"));
            let key = PrivateKey::from_pem(key).map_err(wrong)?;
            let chain = certificates("the certificate for etcd", chain)?;
            tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
        }
        Ok(tls.build())
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<Certificate<'static>>> {
    let all = parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(Error::Invalid(format!("{what}: {error}")))),
    });
    let all: Vec<_> = all.collect::<Result<_>>()?;
    if all.is_empty() {
        return Err(Error::Invalid(format!("{what}: no certificate in PEM is in it")));
    }
    Ok(all)
}

/// A user and the token it has now. Shared by all terms: a token is good for minutes, and the password is made slow to check.
pub(super) struct Session {
    pub user: EtcdUser,
    token: Mutex<Option<String>>,
}

impl Session {
    pub(super) fn new(user: EtcdUser) -> Session {
        Session { user, token: Mutex::new(None) }
    }

    /// The token, if there is one that was not refused.
    pub(super) fn token(&self) -> Option<String> {
        self.token.lock().clone()
    }

    /// Another one from now on.
    pub(super) fn keep(&self, token: String) {
        *self.token.lock() = Some(token);
    }

    /// This one was refused.
    pub(super) fn refused(&self, token: &str) {
        let mut own = self.token.lock();
        if own.as_deref() == Some(token) {
            *own = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let user = EtcdUser { name: "latch".into(), password: "s3cret".into() };
        assert!(!format!("{user:?}").contains("s3cret"));
    }

    #[test]
    fn what_is_no_pem_is_said() {
        let login = EtcdLogin { ca: Some(b"nothing".to_vec()), ..EtcdLogin::default() };
        assert!(matches!(login.tls(), Err(Error::Invalid(why)) if why.contains("no certificate")));
    }
}
