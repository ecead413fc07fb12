//! Handshake and authentication of the replication connection.
//!
//! Protocol: MySQL's "Connection Phase"; packets are read and written by `mysql_common`. Plugins: mysql_native_password,
//! caching_sha2_password (fast, full over TLS, full with the server's RSA key). The password goes over the wire in clear
//! only inside of TLS.

use std::sync::Arc;
use std::time::Duration;

use mysql_common::constants::CapabilityFlags;
use mysql_common::crypto;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest};
use mysql_common::proto::MySerialize;
use tidelake_core::{Error, Result};
use tokio::net::TcpStream;

use super::super::url::{SslMode, UpstreamUrl};
use super::{ERR, MAX_PAYLOAD, OK, Transport, Wire, tls};

const TIMEOUT: Duration = Duration::from_secs(10);
/// A round of authentication data that comes from the plugin.
const MORE: u8 = 1;
/// The server wants another plugin.
const SWITCH: u8 = 0xfe;
/// utf8mb4_general_ci.
const COLLATION: u8 = 45;

/// Opens and authenticates a connection.
///
/// # Errors
/// [`Error::Invalid`] if login or TLS are refused, else [`Error::Unavailable`].
pub(in crate::service) async fn connect(url: &UpstreamUrl) -> Result<Wire> {
    let opened = tokio::time::timeout(TIMEOUT, login(url)).await;
    opened.unwrap_or_else(|_| Err(Error::Unavailable(format!("{url} does not answer in {TIMEOUT:?}"))))
}

async fn login(url: &UpstreamUrl) -> Result<Wire> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await;
    let stream = stream.map_err(|e| Error::Unavailable(format!("connect to {url}: {e}")))?;
    let nodelay = stream.set_nodelay(true);
    nodelay.map_err(|e| Error::Unavailable(format!("set up the connection to {url}: {e}")))?;
    let mut wire = Wire::new(Box::new(stream), url.to_string());
    let greeting = wire.read_packet().await?;
    if greeting.first() == Some(&ERR) {
        return Err(wire.refused("connect", &greeting));
    }
    let hello: HandshakePacket<'_> = ParseBuf(&greeting).parse(()).map_err(|e| wire.garbled(e))?;
    let offered = hello.capabilities();
    let has_tls = offered.contains(CapabilityFlags::CLIENT_SSL);
    let secure = match url.ssl_mode {
        SslMode::Disabled => false,
        SslMode::Preferred => has_tls,
        _ if has_tls => true,
        _ => return Err(Error::Invalid(format!("{url} offers no TLS, but ssl-mode wants it"))),
    };
    let capabilities = wanted_capabilities(secure);
    if secure {
        let mut request = Vec::new();
        SslRequest::new(capabilities, MAX_PAYLOAD as u32, COLLATION).serialize(&mut request);
        wire.write_packet(&request).await?;
        wire = upgrade(wire, url).await?;
    }
    let mut nonce = hello.nonce();
    nonce.resize(20, 0);
    let plugin = match hello.auth_plugin() {
        Some(AuthPlugin::CachingSha2Password) => AuthPlugin::CachingSha2Password,
        _ => AuthPlugin::MysqlNativePassword,
    };
    let proof = plugin.gen_data(Some(&url.password), &nonce);
    let mut response = Vec::new();
    HandshakeResponse::new(
        proof.as_deref(),
        hello.server_version_parsed().unwrap_or((5, 5, 5)),
        Some(url.user.as_bytes()),
        None::<&[u8]>,
        Some(plugin.clone()),
        capabilities,
        None,
        MAX_PAYLOAD as u32,
    )
    .serialize(&mut response);
    wire.write_packet(&response).await?;
    let plugin = plugin.into_owned();
    Authentication { wire, url, secure, plugin, nonce }.finish().await
}

fn wanted_capabilities(secure: bool) -> CapabilityFlags {
    let flags = CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_PLUGIN_AUTH
        | CapabilityFlags::CLIENT_TRANSACTIONS;
    if secure { flags | CapabilityFlags::CLIENT_SSL } else { flags }
}

/// Puts TLS under the connection.
async fn upgrade(wire: Wire, url: &UpstreamUrl) -> Result<Wire> {
    let (sequence, address) = (wire.sequence, wire.address);
    let secured: Box<dyn Transport> = tls::secure(wire.stream.into_inner(), url).await?;
    Ok(Wire { sequence, ..Wire::new(secured, address) })
}

/// The part of the connection phase that goes to and fro.
struct Authentication<'a> {
    wire: Wire,
    url: &'a UpstreamUrl,
    secure: bool,
    plugin: AuthPlugin<'static>,
    nonce: Vec<u8>,
}

impl Authentication<'_> {
    async fn finish(mut self) -> Result<Wire> {
        // OK, or a switch, or some rounds of a plugin: no honest server needs more
        for _ in 0..8 {
            let packet = self.wire.read_packet().await?;
            match packet.first() {
                Some(&OK) => return Ok(self.wire),
                Some(&ERR) => return Err(self.wire.refused("log in", &packet)),
                Some(&SWITCH) => self.switch(&packet).await?,
                Some(&MORE) => self.more(&packet[1..]).await?,
                _ => return Err(self.wire.garbled("unknown packet while logging in")),
            }
        }
        Err(self.wire.garbled("the server does not come to an end of the login"))
    }

    async fn switch(&mut self, packet: &[u8]) -> Result<()> {
        let request: AuthSwitchRequest<'_> = ParseBuf(packet).parse(()).map_err(|e| self.wire.garbled(e))?;
        self.nonce = request.plugin_data().to_vec();
        self.plugin = match request.auth_plugin() {
            AuthPlugin::MysqlNativePassword => AuthPlugin::MysqlNativePassword,
            AuthPlugin::CachingSha2Password => AuthPlugin::CachingSha2Password,
            AuthPlugin::MysqlClearPassword if self.secure => AuthPlugin::MysqlClearPassword,
            other => {
                let name = String::from_utf8_lossy(other.as_bytes()).into_owned();
                return Err(unsupported_plugin(self.url, &name));
            }
        };
        let proof = self.plugin.gen_data(Some(&self.url.password), &self.nonce);
        let mut answer = Vec::new();
        if let Some(proof) = proof {
            proof.serialize(&mut answer);
        }
        self.wire.write_packet(&answer).await
    }

    /// caching_sha2_password: the server knows the proof (3), or wants the password itself (4), or sends its key.
    async fn more(&mut self, data: &[u8]) -> Result<()> {
        match data {
            [3] => Ok(()),
            [4] => {
                let mut password = self.url.password.clone().into_bytes();
                password.push(0);
                if self.secure {
                    return self.wire.write_packet(&password).await;
                }
                self.wire.write_packet(&[2]).await
            }
            key if key.starts_with(b"-----BEGIN") && !self.secure => {
                let sealed = sealed_password(&self.url.password, &self.nonce, key).await;
                let sealed = sealed.ok_or_else(|| self.wire.garbled("the server's RSA key cannot be used"))?;
                self.wire.write_packet(&sealed).await
            }
            _ => Err(self.wire.garbled("unknown round of authentication")),
        }
    }
}

/// The error for a user whose plugin is not spoken.
pub(in crate::service) fn unsupported_plugin(url: &UpstreamUrl, name: &str) -> Error {
    Error::Invalid(format!(
        "{url} authenticates this user by {name:?}, which Tidelake does not speak: use a user with mysql_native_password or \
         caching_sha2_password"
    ))
}

/// The password, masked by the nonce and encrypted with the server's key.
async fn sealed_password(password: &str, nonce: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let nonce = if nonce.is_empty() { &[0][..] } else { nonce };
    let terminated = password.bytes().chain([0]);
    let masked: Vec<u8> = terminated.zip(nonce.iter().cycle()).map(|(p, n)| p ^ n).collect();
    let key = Arc::new(key.to_vec());
    // a key that is none makes the library panic; in a task of its own that is an error
    tokio::task::spawn_blocking(move || crypto::encrypt(&masked, &key)).await.ok()
}
