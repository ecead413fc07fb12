//! One connection to one broker: TLS, login, requests one after the other.

use std::sync::Arc;
use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tidelake_core::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::options::{KafkaOptions, Sasl};
use super::scram::Scram;
use super::wire::{In, Out};

/// Largest answer.
const MAX_ANSWER: u64 = 1 << 30;
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for an answer, besides what the request itself asks to wait.
const ANSWER: Duration = Duration::from_secs(30);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// See the module.
pub struct Connection {
    broker: String,
    stream: Box<dyn Stream>,
    correlation: i32,
}

impl Connection {
    /// Connects to `host:port` and logs in.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if nobody answers; [`Error::Invalid`] if certificate, user or password are refused.
    pub async fn open(broker: &str, options: &KafkaOptions) -> Result<Connection> {
        let unavailable = |e: &dyn std::fmt::Display| Error::Unavailable(format!("connect to Kafka at {broker}: {e}"));
        let tcp = tokio::time::timeout(CONNECT, TcpStream::connect(broker)).await;
        let tcp = tcp.map_err(|e| unavailable(&e))?.map_err(|e| unavailable(&e))?;
        tcp.set_nodelay(true).map_err(|e| unavailable(&e))?;
        let stream: Box<dyn Stream> = match options.tls {
            false => Box::new(tcp),
            true => {
                let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host).trim_matches(['[', ']']);
                let name = ServerName::try_from(host.to_owned());
                let name = name.map_err(|e| Error::Invalid(format!("TLS to Kafka at {broker}: {e}")))?;
                let connector = TlsConnector::from(tls(options)?);
                let secured =
                    tokio::time::timeout(CONNECT, connector.connect(name, tcp)).await.map_err(|e| unavailable(&e))?;
                Box::new(secured.map_err(|e| match e.kind() {
                    std::io::ErrorKind::InvalidData => Error::Invalid(format!("TLS to Kafka at {broker}: {e}")),
                    _ => unavailable(&e),
                })?)
            }
        };
        let mut connection = Connection { broker: broker.to_owned(), stream, correlation: 0 };
        if let Some((user, password)) = &options.user {
            connection.login(options.sasl, user, password).await?;
        }
        Ok(connection)
    }

    /// Sends a request and waits for its answer, at most `wait` longer than for others.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the connection is of no use any more.
    pub async fn call(&mut self, (api, version): (i16, i16), body: Vec<u8>, wait: Duration) -> Result<Vec<u8>> {
        let lost = |broker: &str, e: &dyn std::fmt::Display| Error::Unavailable(format!("Kafka at {broker}: {e}"));
        let answer = tokio::time::timeout(ANSWER + wait, self.exchange(api, version, &body)).await;
        let broker = self.broker.clone();
        answer.map_err(|_| lost(&broker, &"no answer in time"))?.map_err(|e| lost(&broker, &e))
    }

    async fn exchange(&mut self, api: i16, version: i16, body: &[u8]) -> std::io::Result<Vec<u8>> {
        self.correlation = self.correlation.wrapping_add(1);
        let mut request = Out::default().i16(api).i16(version).i32(self.correlation).text("tidelake").0;
        request.extend_from_slice(body);
        let mut frame = (request.len() as u32).to_be_bytes().to_vec();
        frame.append(&mut request);
        self.stream.write_all(&frame).await?;
        self.stream.flush().await?;
        let length = u64::from(self.stream.read_u32().await?);
        let broken = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
        if !(4..=MAX_ANSWER).contains(&length) {
            return Err(broken("an answer of impossible length"));
        }
        // grows with what comes, not with what is claimed
        let mut answer = Vec::new();
        (&mut self.stream).take(length).read_to_end(&mut answer).await?;
        if answer.len() as u64 != length {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if answer[..4] != self.correlation.to_be_bytes() {
            return Err(broken("an answer to another request"));
        }
        answer.drain(..4);
        Ok(answer)
    }

    async fn login(&mut self, sasl: Sasl, user: &str, password: &str) -> Result<()> {
        let mechanism = match sasl {
            Sasl::Plain => "PLAIN",
            Sasl::Scram256 => "SCRAM-SHA-256",
            Sasl::Scram512 => "SCRAM-SHA-512",
        };
        let answer = self.call((17, 1), Out::default().text(mechanism).0, Duration::ZERO).await?;
        if In::new(&answer).i16().map_err(|e| e.at("Kafka's answer to SaslHandshake"))? != 0 {
            return Err(Error::Invalid(format!(
                "Kafka at {} does not take sasl={}",
                self.broker,
                mechanism.to_lowercase()
            )));
        }
        if sasl == Sasl::Plain {
            return self.authenticate(format!("\0{user}\0{password}").as_bytes()).await.map(drop);
        }
        let nonce = Alphanumeric.sample_string(&mut rand::rng(), 24);
        let mut scram = Scram::new(sasl, user, password, &nonce);
        let place = || "Kafka's answer to SaslAuthenticate";
        let first = self.authenticate(scram.first().as_bytes()).await?;
        let proof = scram.proof(&String::from_utf8_lossy(&first)).map_err(|e| e.at(place()))?;
        let last = self.authenticate(proof.as_bytes()).await?;
        scram.verify(&String::from_utf8_lossy(&last)).map_err(|e| e.at(place()))
    }

    async fn authenticate(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        let answer = self.call((36, 0), Out::default().bytes(bytes).0, Duration::ZERO).await?;
        let mut r = In::new(&answer);
        let read = r.i16().and_then(|code| Ok((code, r.text()?.unwrap_or_default().to_owned(), r.bytes()?.to_vec())));
        let (code, message, bytes) = read.map_err(|e| e.at("Kafka's answer to SaslAuthenticate"))?;
        match code {
            0 => Ok(bytes),
            _ => Err(Error::Invalid(format!("Kafka at {} refuses user or password: {message}", self.broker))),
        }
    }
}

fn tls(options: &KafkaOptions) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match &options.ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let wrong = |e: String| Error::Invalid(format!("ca={}: {e}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))? {
                let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
                roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| Error::Invalid(format!("TLS: {e}")))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
