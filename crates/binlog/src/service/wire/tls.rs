//! TLS for the replication connection, with the same modes as the ordinary connections have.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tidelake_core::{Error, Result};
use tokio_rustls::TlsConnector;

use super::super::url::{SslMode, UpstreamUrl};
use super::Transport;

/// Runs the TLS handshake over `stream`.
///
/// # Errors
/// [`Error::Invalid`] if certificates are refused, [`Error::Unavailable`] if the connection breaks.
pub(super) async fn secure(stream: Box<dyn Transport>, url: &UpstreamUrl) -> Result<Box<dyn Transport>> {
    let invalid = |what: &str| Error::Invalid(format!("TLS to {url}: {what}"));
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier { inner: verifier(url, &provider)?, provider: provider.clone() };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| invalid(&e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let name = ServerName::try_from(url.host.clone()).map_err(|_| invalid("the host is no name that TLS knows"))?;
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Err(invalid(&e.to_string())),
        Err(e) => Err(Error::Unavailable(format!("TLS to {url}: {e}"))),
    }
}

/// The checker of certificates; `None` for modes that check none.
fn verifier(url: &UpstreamUrl, provider: &Arc<CryptoProvider>) -> Result<Option<Arc<WebPkiServerVerifier>>> {
    if url.ssl_mode != SslMode::VerifyIdentity {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    match &url.ssl_ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let wrong = |e: String| Error::Invalid(format!("ssl-ca {}: {e}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))? {
                let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
                roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
            }
        }
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    built.map(Some).map_err(|e| Error::Invalid(format!("TLS to {url}: {e}")))
}

#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.inner {
            Some(inner) => inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
