//! Certificates of the listeners, read from PEM files, and read again when that is asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use tidelake_core::{Error, Result};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Where a listener's certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, PEM, the listener's own first.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Certificates, PEM, one of which must have signed a client's: without, clients need none.
    pub client_ca: Option<PathBuf>,
}

/// What is spoken inside TLS; it is negotiated, so that no server is spoken to in another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// The MySQL protocol, which negotiates nothing.
    Mysql,
    /// HTTP/2, for gRPC.
    Grpc,
    /// HTTP/1.1.
    Http,
}

impl Inside {
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Inside::Mysql => Vec::new(),
            Inside::Grpc => vec![b"h2".to_vec()],
            Inside::Http => vec![b"http/1.1".to_vec()],
        }
    }
}

/// The certificate of this process's listeners.
pub struct ServerTls {
    files: TlsFiles,
    current: RwLock<ServerConfig>,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerTls({:?})", self.files)
    }
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the file and what is wrong with it.
    pub fn load(files: TlsFiles) -> Result<Arc<ServerTls>> {
        let current = RwLock::new(configure(&files)?);
        Ok(Arc::new(ServerTls { files, current }))
    }

    /// Reads the files again, for [`ServerTls::replace`].
    ///
    /// # Errors
    /// As for [`ServerTls::load`].
    pub fn read_again(&self) -> Result<ServerConfig> {
        configure(&self.files)
    }

    /// New connections get this; those that are there stay.
    pub fn replace(&self, config: ServerConfig) {
        *self.current.write() = config;
    }

    /// True if clients must show a certificate.
    #[must_use]
    pub fn is_mutual(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// For the MySQL protocol, whose connections begin without TLS.
    #[must_use]
    pub fn for_mysql(&self) -> Arc<ServerConfig> {
        self.config(Inside::Mysql)
    }

    pub(crate) fn config(&self, inside: Inside) -> Arc<ServerConfig> {
        let mut config = self.current.read().clone();
        config.alpn_protocols = inside.alpn();
        Arc::new(config)
    }
}

fn configure(files: &TlsFiles) -> Result<ServerConfig> {
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| wrong("private key", &files.key, &e))?;
    let builder = match &files.client_ca {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(ca)? {
                roots.add(certificate).map_err(|e| wrong("certificate", ca, &e))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
            ServerConfig::builder().with_client_cert_verifier(verifier.map_err(|e| wrong("certificate", ca, &e))?)
        }
    };
    builder.with_single_cert(chain, key).map_err(|e| wrong("certificate and its key", &files.cert, &e))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(|all| all.collect::<Result<Vec<_>, _>>());
    let all = read.map_err(|e| wrong("certificate", file, &e))?;
    if all.is_empty() {
        return Err(wrong("certificate", file, &"no certificate in PEM is in it"));
    }
    Ok(all)
}

fn wrong(what: &str, file: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::Invalid(format!("read the {what} {}: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let files = TlsFiles { cert: cert.clone(), key, client_ca: None };
        let refused = || ServerTls::load(files.clone()).expect_err("refused").to_string();
        assert!(refused().contains("cert.pem"), "{}", refused());
        std::fs::write(&cert, "nothing").expect("write");
        assert!(refused().contains("no certificate in PEM"), "{}", refused());
    }
}
