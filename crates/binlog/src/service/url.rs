//! `mysql://USER:PASSWORD@HOST:PORT/?options`: what a user writes, and what an error may show of it. The password
//! is in no error, no log and no `Debug` form.

use std::fmt;
use std::path::PathBuf;

use tidelake_core::{Error, Result};

/// How TLS is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SslMode {
    /// No TLS.
    Disabled,
    /// TLS if the server offers it, certificate unchecked.
    Preferred,
    /// TLS, certificate unchecked.
    Required,
    /// TLS, chain and host name are checked.
    VerifyIdentity,
}

/// A parsed URL of an upstream.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UpstreamUrl {
    pub user: String,
    pub password: String,
    pub host: String,
    pub port: u16,
    pub ssl_mode: SslMode,
    pub ssl_ca: Option<PathBuf>,
}

impl UpstreamUrl {
    /// Parses a URL; user and password are percent-decoded.
    ///
    /// # Errors
    /// [`Error::Invalid`] that says which part is wrong; never with the password.
    pub fn parse(url: &str) -> Result<UpstreamUrl> {
        let rest = ["mysql://", "mariadb://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let rest = rest.ok_or_else(|| wrong("must begin with mysql://"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let Some((login, address)) = authority.rsplit_once('@') else {
            let why = if tail.contains('@') {
                "characters such as / ? # @ in user or password must be percent-encoded (/ is %2F)"
            } else {
                "has no user: mysql://USER:PASSWORD@HOST:PORT"
            };
            return Err(wrong(why));
        };
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let user = percent_decode(user).ok_or_else(|| wrong("user has a broken %-escape"))?;
        if user.is_empty() {
            return Err(wrong("has no user: mysql://USER:PASSWORD@HOST:PORT"));
        }
        let password =
            percent_decode(password).ok_or_else(|| wrong("password has a broken %-escape (% itself is %25)"))?;
        let (host, port) = parse_address(address)?;
        let loopback = is_loopback(&host);
        let ssl_mode = if loopback { SslMode::Disabled } else { SslMode::Preferred };
        let mut parsed = UpstreamUrl { user, password, host, port, ssl_mode, ssl_ca: None };
        parsed.parse_tail(tail)?;
        Ok(parsed)
    }

    fn parse_tail(&mut self, tail: &str) -> Result<()> {
        let tail = tail.split('#').next().unwrap_or_default();
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        if !path.trim_matches('/').is_empty() {
            return Err(wrong("names a database: choose tables with --tables 'database.*' instead"));
        }
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode(value).ok_or_else(|| wrong("has an option with a broken %-escape"))?;
            self.set_option(name, &value)?;
        }
        Ok(())
    }

    fn set_option(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "ssl-mode" => {
                self.ssl_mode = match value.to_ascii_lowercase().replace('_', "-").as_str() {
                    "disabled" => SslMode::Disabled,
                    "preferred" => SslMode::Preferred,
                    "required" => SslMode::Required,
                    "verify-identity" => SslMode::VerifyIdentity,
                    _ => {
                        return Err(wrong("ssl-mode is one of disabled, preferred, required, verify-identity"));
                    }
                };
            }
            "ssl-ca" => self.ssl_ca = Some(PathBuf::from(value)),
            _ => return Err(wrong("has an unknown option; known are ssl-mode and ssl-ca")),
        }
        Ok(())
    }
}

/// Without the password.
impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "mysql://{}@[{}]:{}", self.user, self.host, self.port);
        }
        write!(f, "mysql://{}@{}:{}", self.user, self.host, self.port)
    }
}

impl fmt::Debug for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn wrong(what: &str) -> Error {
    Error::Invalid(format!("source URL: {what}"))
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn parse_address(address: &str) -> Result<(String, u16)> {
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(|| wrong("has an IPv6 address without ]"))?;
        (host, after.strip_prefix(':').unwrap_or(after))
    } else {
        address.split_once(':').unwrap_or((address, ""))
    };
    if host.is_empty() {
        return Err(wrong("has no host"));
    }
    if port.is_empty() {
        return Ok((host.to_owned(), 3306));
    }
    match port.parse() {
        Ok(port) if port > 0 => Ok((host.to_owned(), port)),
        _ => Err(wrong("port is no number from 1 to 65535")),
    }
}

/// `%XX` is a byte; `None` if one is broken, or what comes out is no UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (high, low) = (char::from(bytes.next()?).to_digit(16)?, char::from(bytes.next()?).to_digit(16)?);
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_decoded() {
        let url = UpstreamUrl::parse("mysql://re%40pl:p%20w%3A%40%2F@db.example:3307/?ssl-mode=REQUIRED").unwrap();
        assert_eq!((url.user.as_str(), url.password.as_str()), ("re@pl", "p w:@/"));
        assert_eq!((url.host.as_str(), url.port, url.ssl_mode), ("db.example", 3307, SslMode::Required));
        let url = UpstreamUrl::parse("mysql://root@[::1]").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.password.as_str()), ("::1", 3306, ""));
        assert_eq!(url.ssl_mode, SslMode::Disabled);
        assert_eq!(UpstreamUrl::parse("mysql://u:a@b@h").unwrap().password, "a@b");
    }

    #[test]
    fn errors_say_what_and_never_the_password() {
        for (url, part) in [
            ("postgres://u:secret@h", "mysql://"),
            ("mysql://u:secret", "no user"),
            ("mysql://u:sec/ret@h", "percent-encoded"),
            ("mysql://u:secret%zz@h", "broken"),
            ("mysql://:secret@h", "no user"),
            ("mysql://u:secret@h:secret", "port"),
            ("mysql://u:secret@h:0", "port"),
            ("mysql://u:secret@:1", "no host"),
            ("mysql://u:secret@h/db", "--tables"),
            ("mysql://u:secret@h/?secret=1", "unknown option"),
        ] {
            let error = UpstreamUrl::parse(url).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("sec"), "{url}: {error}");
        }
        let url = UpstreamUrl::parse("mysql://u:secret@h:1").unwrap();
        assert_eq!(format!("{url:?} {url}"), "mysql://u@h:1 mysql://u@h:1");
    }
}
