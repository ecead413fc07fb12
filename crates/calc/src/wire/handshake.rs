//! From the first byte to a checked login: greeting, perhaps TLS, the client's answer, perhaps another method.

use std::net::{IpAddr, SocketAddr};

use rand::Rng;
use tidelake_access::{AuthMethod, Caller, LoginAttempt, SCRAMBLE_LEN, Verdict};
use tokio_rustls::TlsAcceptor;

use crate::session::SqlError;

use super::WireOptions;
use super::channel::{Channel, ChannelError};
use super::constants::{capability, error, status};
use super::payload::{Payload, malformed, utf8};

/// What the greeting's charset byte says: utf8mb4_general_ci.
const GREETING_COLLATION: u8 = 45;
/// Largest packet before the login is checked.
pub(super) const HANDSHAKE_LIMIT: usize = 128 << 10;

/// Who logs in, as both the handshake and COM_CHANGE_USER say it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) database: Option<String>,
    pub(super) capabilities: u32,
    plugin: Option<String>,
    response: Vec<u8>,
}

/// A connection whose login has been checked.
pub(super) struct Greeted {
    pub(super) channel: Channel,
    pub(super) login: Login,
    pub(super) caller: Caller,
    pub(super) scramble: [u8; SCRAMBLE_LEN],
}

/// Greets, upgrades to TLS if asked, checks the login. The OK packet is not sent yet: the session may refuse the database.
/// `None`: the client left without a word.
pub(super) async fn greet(
    mut channel: Channel,
    remote: SocketAddr,
    connection_id: u32,
    version: &str,
    options: &WireOptions,
) -> Result<Option<Greeted>, (Channel, ChannelError)> {
    let scramble = new_scramble();
    let offered = capability::OFFERED | if options.tls.is_some() { capability::SSL } else { 0 };
    channel.put_bytes(&greeting(version, connection_id, &scramble, offered));
    let mut packet = match answer(&mut channel).await {
        Ok(Some(packet)) => packet,
        Ok(None) => return Ok(None),
        Err(e) => return Err((channel, e)),
    };
    let encrypted = asks_for_tls(&packet);
    if encrypted {
        channel = match upgrade(channel, options).await {
            Ok(channel) => channel,
            Err(failed) => return Err(failed),
        };
        packet = match channel.next_packet().await {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(None),
            Err(e) => return Err((channel, e)),
        };
    }
    let checked = async {
        let login = parse_login(&packet, offered).map_err(ChannelError::Refused)?;
        if !encrypted && must_encrypt(remote.ip(), options) {
            let message = "Connections using insecure transport are prohibited: this server asks for TLS";
            return Err(refuse(error::SECURE_TRANSPORT_REQUIRED, message));
        }
        let caller = authenticate(&mut channel, &login, &scramble, remote.ip(), options).await?;
        Ok((login, caller))
    };
    match checked.await {
        Ok((login, caller)) => Ok(Some(Greeted { channel, login, caller, scramble })),
        Err(e) => Err((channel, e)),
    }
}

/// A client that has a certificate to show must, and one on another machine must not send rows and names in the clear.
fn must_encrypt(remote: IpAddr, options: &WireOptions) -> bool {
    let mutual = options.tls.as_ref().is_some_and(|tls| tls.is_mutual());
    mutual || (options.require_tls && !remote.to_canonical().is_loopback())
}

async fn answer(channel: &mut Channel) -> Result<Option<Vec<u8>>, ChannelError> {
    channel.flush().await?;
    channel.next_packet().await
}

/// An SSLRequest is the first 32 bytes of a login with the SSL flag set.
fn asks_for_tls(packet: &[u8]) -> bool {
    packet.len() == 32 && packet[1] & (capability::SSL >> 8) as u8 != 0
}

async fn upgrade(mut channel: Channel, options: &WireOptions) -> Result<Channel, (Channel, ChannelError)> {
    let Some(tls) = &options.tls else {
        let message = "Bad handshake: the client asks for TLS, but this server has no certificate configured";
        return Err((channel, refuse(error::BAD_HANDSHAKE, message)));
    };
    let plain = channel.take_transport();
    match TlsAcceptor::from(tls.for_mysql()).accept(plain).await {
        Ok(stream) => Ok(channel.replace_transport(Box::new(stream))),
        Err(e) => Err((channel, ChannelError::Gone(e))),
    }
}

/// 20 random bytes, none of them zero or `$` (clients treat the scramble as a string).
fn new_scramble() -> [u8; SCRAMBLE_LEN] {
    let mut rng = rand::rng();
    std::array::from_fn(|_| match rng.random_range(1..=126u8) {
        b'$' => 127,
        byte => byte,
    })
}

fn greeting(version: &str, connection_id: u32, scramble: &[u8; SCRAMBLE_LEN], offered: u32) -> Vec<u8> {
    let mut out = vec![10];
    out.extend_from_slice(version.as_bytes());
    out.push(0);
    out.extend_from_slice(&connection_id.to_le_bytes());
    out.extend_from_slice(&scramble[..8]);
    out.push(0);
    out.extend_from_slice(&(offered as u16).to_le_bytes());
    out.push(GREETING_COLLATION);
    out.extend_from_slice(&status::AUTOCOMMIT.to_le_bytes());
    out.extend_from_slice(&((offered >> 16) as u16).to_le_bytes());
    out.push(SCRAMBLE_LEN as u8 + 1);
    out.extend_from_slice(&[0; 10]);
    out.extend_from_slice(&scramble[8..]);
    out.push(0);
    out.extend_from_slice(AuthMethod::Native.plugin_name().as_bytes());
    out.push(0);
    out
}

/// HandshakeResponse41; the capabilities kept are those both sides have.
fn parse_login(packet: &[u8], offered: u32) -> Result<Login, SqlError> {
    let mut payload = Payload::new(packet);
    let wanted = payload.u32()?;
    if wanted & capability::PROTOCOL_41 == 0 {
        let (code, state) = error::BAD_HANDSHAKE;
        return Err(SqlError::new(code, state, "Bad handshake: the client is older than MySQL 4.1"));
    }
    let capabilities = wanted & offered;
    payload.bytes(4 + 1 + 23)?;
    let user = utf8(payload.zero_terminated(), "the user name")?.to_owned();
    let response = if capabilities & capability::PLUGIN_AUTH_LENENC != 0 {
        payload.string()?
    } else if capabilities & capability::SECURE_CONNECTION != 0 {
        let length = payload.u8()?;
        payload.bytes(usize::from(length))?
    } else {
        payload.zero_terminated()
    };
    let mut database = None;
    if capabilities & capability::CONNECT_WITH_DB != 0 {
        database = Some(utf8(payload.zero_terminated(), "the database name")?.to_owned()).filter(|d| !d.is_empty());
    }
    let plugin = plugin_name(&mut payload, capabilities)?;
    Ok(Login { user, database, capabilities, plugin, response: response.to_vec() })
}

/// COM_CHANGE_USER after its command byte.
pub(super) fn parse_change_user(packet: &[u8], capabilities: u32) -> Result<Login, SqlError> {
    let mut payload = Payload::new(packet);
    let user = utf8(payload.zero_terminated(), "the user name")?.to_owned();
    let response = if capabilities & capability::SECURE_CONNECTION != 0 {
        let length = payload.u8()?;
        payload.bytes(usize::from(length))?
    } else {
        payload.zero_terminated()
    };
    let database = Some(utf8(payload.zero_terminated(), "the database name")?.to_owned()).filter(|d| !d.is_empty());
    if payload.is_empty() {
        return Ok(Login { user, database, capabilities, plugin: None, response: response.to_vec() });
    }
    payload.u16()?;
    let plugin = plugin_name(&mut payload, capabilities)?;
    Ok(Login { user, database, capabilities, plugin, response: response.to_vec() })
}

fn plugin_name(payload: &mut Payload<'_>, capabilities: u32) -> Result<Option<String>, SqlError> {
    if capabilities & capability::PLUGIN_AUTH == 0 || payload.is_empty() {
        return Ok(None);
    }
    Ok(Some(utf8(payload.zero_terminated(), "the plugin name")?.to_owned()))
}

/// Checks a login, asking once for another method if the first cannot be judged.
pub(super) async fn authenticate(
    channel: &mut Channel,
    login: &Login,
    scramble: &[u8; SCRAMBLE_LEN],
    remote: IpAddr,
    options: &WireOptions,
) -> Result<Caller, ChannelError> {
    let named = login.plugin.as_deref().map_or(Some(AuthMethod::Native), AuthMethod::by_plugin_name);
    let judge = |method, scramble: &[u8; SCRAMBLE_LEN], response: &[u8]| {
        options.guard.judge(&LoginAttempt { user: &login.user, remote, method, scramble, response })
    };
    let first = match named {
        Some(method) => (method, judge(method, scramble, &login.response)),
        None => (AuthMethod::Native, Verdict::TryMethod(AuthMethod::Native)),
    };
    let (method, verdict, response_len) = match first {
        (_, Verdict::TryMethod(other)) => {
            let fresh = new_scramble();
            let Some(response) = switch(channel, other, &fresh).await? else {
                return Err(ChannelError::Gone(std::io::ErrorKind::UnexpectedEof.into()));
            };
            (other, judge(other, &fresh, &response), response.len())
        }
        (method, verdict) => (method, verdict, login.response.len()),
    };
    match verdict {
        Verdict::Accept(caller) => {
            // The plugin on the client's side waits for this word before it looks for the OK packet.
            if method == AuthMethod::CachingSha2 && response_len > 1 {
                channel.put_bytes(&[1, 3]);
            }
            Ok(caller)
        }
        Verdict::Refuse(reason) => Err(access_denied(login, remote, response_len, &reason)),
        Verdict::TryMethod(_) => Err(access_denied(login, remote, response_len, "no common authentication method")),
    }
}

/// AuthSwitchRequest and the client's answer to it.
async fn switch(
    channel: &mut Channel,
    method: AuthMethod,
    scramble: &[u8; SCRAMBLE_LEN],
) -> Result<Option<Vec<u8>>, ChannelError> {
    let mut request = vec![0xfe];
    request.extend_from_slice(method.plugin_name().as_bytes());
    request.push(0);
    request.extend_from_slice(scramble);
    request.push(0);
    channel.put_bytes(&request);
    answer(channel).await
}

fn access_denied(login: &Login, remote: IpAddr, response_len: usize, reason: &str) -> ChannelError {
    let using = if response_len > 0 { "YES" } else { "NO" };
    let mut message = format!("Access denied for user '{}'@'{remote}' (using password: {using})", login.user);
    if !reason.is_empty() {
        message = format!("{message}: {reason}");
    }
    refuse(error::ACCESS_DENIED, &message)
}

fn refuse((code, state): (u16, &'static str), message: &str) -> ChannelError {
    ChannelError::Refused(SqlError::new(code, state, message))
}

/// The error for a handshake that took too long.
pub(super) fn too_slow() -> SqlError {
    malformed("no complete handshake in time")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scrambles_differ_and_hold_no_zero() {
        let (a, b) = (new_scramble(), new_scramble());
        assert_ne!(a, b);
        assert!(a.iter().chain(&b).all(|c| (1..128).contains(c) && *c != b'$'));
    }

    #[test]
    fn other_machines_must_encrypt_where_it_is_demanded() {
        let of = |remote: &str, require_tls| {
            must_encrypt(remote.parse().unwrap(), &WireOptions { require_tls, ..WireOptions::default() })
        };
        assert!(of("10.0.0.1", true) && of("::ffff:10.0.0.1", true));
        assert!(!of("127.0.0.1", true) && !of("::1", true) && !of("::ffff:127.0.0.1", true));
        assert!(!of("10.0.0.1", false), "--insecure-listen");
    }

    #[test]
    fn old_clients_are_refused() {
        assert_eq!(parse_login(&[0; 40], capability::OFFERED).unwrap_err().code, 1043);
    }

    proptest! {
        #[test]
        fn no_login_bytes_panic(mut bytes: Vec<u8>, flags: u32) {
            let _ = parse_login(&bytes, u32::MAX);
            let _ = parse_change_user(&bytes, flags);
            bytes.splice(0..0, (flags | capability::PROTOCOL_41).to_le_bytes());
            let _ = parse_login(&bytes, capability::OFFERED);
        }
    }
}
