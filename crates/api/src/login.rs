//! How a connection to a Magic API elsewhere is made: where it is, whom to trust there, and as whom to come.

use tidelake_core::{Error, Result};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::door::AUTHORIZATION;

/// How to come in. The default: without TLS, as nobody.
#[derive(Clone, Default)]
pub struct Login {
    /// A bearer token.
    pub token: Option<String>,
    /// For `https`: certificates, PEM, one of which must have signed the server's. Without, those of well-known authorities count.
    pub ca: Option<Vec<u8>>,
    /// For `https`: our certificate chain and its key, PEM, if the server asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Secrets are never printed.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(..)")
    }
}

impl Login {
    /// Encrypts an endpoint whose URL begins with `https`.
    pub(crate) fn encrypt(&self, endpoint: Endpoint) -> Result<Endpoint> {
        let secure = endpoint.uri().scheme_str() == Some("https");
        if !secure {
            return match self.ca.is_some() || self.identity.is_some() {
                true => Err(Error::Invalid(format!("{}: certificates are for https://", endpoint.uri()))),
                false => Ok(endpoint),
            };
        }
        let mut tls = ClientTlsConfig::new();
        tls = match &self.ca {
            Some(ca) => tls.ca_certificate(Certificate::from_pem(ca)),
            None => tls.with_enabled_roots(),
        };
        if let Some((cert, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        let uri = endpoint.uri().clone();
        endpoint
            .tls_config(tls)
            .map_err(|e| Error::Invalid(format!("{uri}: certificates of the connection: {}", causes(&e))))
    }

    /// What goes with every call.
    pub(crate) fn header(&self) -> Result<WithToken> {
        let Some(token) = &self.token else { return Ok(WithToken(None)) };
        let value = MetadataValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| Error::Invalid("the token has characters that no header may have".into()))?;
        value.set_sensitive(true);
        Ok(WithToken(Some(value)))
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", causes(source)),
        None => error.to_string(),
    }
}

/// Puts the token on every call.
#[derive(Clone)]
pub(crate) struct WithToken(Option<MetadataValue<Ascii>>);

impl Interceptor for WithToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert(AUTHORIZATION, value.clone());
        }
        Ok(request)
    }
}
