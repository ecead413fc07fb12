//! Who is let in. An [`Authenticator`] judges one login attempt; the handshake only carries bytes.
//!
//! Two methods, both challenge and response: `mysql_native_password` (SHA1(p) ^ SHA1(scramble + SHA1(SHA1(p)))) and the
//! fast path of `caching_sha2_password` (SHA256(p) ^ SHA256(SHA256(SHA256(p)) + scramble)). Only double hashes are
//! kept, as MySQL does; all comparisons take the same time whatever the bytes.

use std::collections::HashMap;
use std::net::IpAddr;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Bytes of a scramble.
pub const SCRAMBLE_LEN: usize = 20;

/// How the client proves that it knows the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// `mysql_native_password`.
    Native,
    /// `caching_sha2_password`.
    CachingSha2,
}

impl AuthMethod {
    /// The plugin's name on the wire.
    #[must_use]
    pub fn plugin_name(self) -> &'static str {
        match self {
            AuthMethod::Native => "mysql_native_password",
            AuthMethod::CachingSha2 => "caching_sha2_password",
        }
    }

    /// The method of a plugin's name; `None` for plugins this server does not have.
    #[must_use]
    pub fn by_plugin_name(name: &str) -> Option<AuthMethod> {
        [AuthMethod::Native, AuthMethod::CachingSha2].into_iter().find(|m| m.plugin_name() == name)
    }
}

/// One try to log in.
#[derive(Clone, Copy, Debug)]
pub struct LoginAttempt<'a> {
    /// The name given.
    pub user: &'a str,
    /// Where the client is.
    pub remote: IpAddr,
    /// How `response` was made.
    pub method: AuthMethod,
    /// The challenge this connection was given.
    pub scramble: &'a [u8; SCRAMBLE_LEN],
    /// The client's answer; empty for an empty password.
    pub response: &'a [u8],
}

/// What becomes of a login attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let in.
    Accept,
    /// Not let in; the text is added to error 1045 and must not tell whether the user exists.
    Refuse(String),
    /// The password is known only for this other method.
    TryMethod(AuthMethod),
}

/// Decides who is let in.
pub trait Authenticator: Send + Sync {
    /// Judges one attempt. Takes the same time for a wrong password and an unknown user.
    fn judge(&self, attempt: &LoginAttempt<'_>) -> Verdict;
}

/// Without configured users: connections from this machine are let in under any name, others never.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopbackOnly;

impl Authenticator for LoopbackOnly {
    fn judge(&self, attempt: &LoginAttempt<'_>) -> Verdict {
        if attempt.remote.to_canonical().is_loopback() {
            return Verdict::Accept;
        }
        Verdict::Refuse("no users are configured, so only connections from this machine are let in".to_owned())
    }
}

/// What is kept of a password: double hashes, from which it cannot be read.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    native: [u8; 20],
    sha2: Option<[u8; 32]>,
    empty: bool,
}

impl PasswordHash {
    /// Hashes a password for both methods.
    #[must_use]
    pub fn of_password(password: &str) -> PasswordHash {
        PasswordHash {
            native: Sha1::digest(Sha1::digest(password)).into(),
            sha2: Some(Sha256::digest(Sha256::digest(password)).into()),
            empty: password.is_empty(),
        }
    }

    /// Reads MySQL's own form, `*` and 40 hexadecimal digits (`SELECT PASSWORD('...')`); `None` if it is not that.
    /// Such a hash serves `mysql_native_password` only.
    #[must_use]
    pub fn parse_native(text: &str) -> Option<PasswordHash> {
        let digits = text.strip_prefix('*').filter(|d| d.len() == 40 && d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let mut native = [0; 20];
        for (i, byte) in native.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(PasswordHash { native, sha2: None, empty: false })
    }

    fn accepts(&self, attempt: &LoginAttempt<'_>) -> bool {
        if self.empty || attempt.response.is_empty() {
            return self.empty && attempt.response.is_empty();
        }
        match (attempt.method, &self.sha2) {
            (AuthMethod::Native, _) => native_matches(&self.native, attempt.scramble, attempt.response),
            (AuthMethod::CachingSha2, Some(sha2)) => sha2_matches(sha2, attempt.scramble, attempt.response),
            (AuthMethod::CachingSha2, None) => false,
        }
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// Configured users.
#[derive(Clone, Debug)]
pub struct Users {
    users: HashMap<String, PasswordHash>,
    /// Judged against for unknown names, so that they take as long as known ones.
    nobody: PasswordHash,
}

impl Users {
    /// A list of names and password hashes.
    #[must_use]
    pub fn new(users: impl IntoIterator<Item = (String, PasswordHash)>) -> Users {
        let nobody = PasswordHash::of_password(&hex(&rand::random::<[u8; 32]>()));
        Users { users: users.into_iter().collect(), nobody }
    }
}

impl Authenticator for Users {
    fn judge(&self, attempt: &LoginAttempt<'_>) -> Verdict {
        let known = self.users.get(attempt.user);
        let hash = known.unwrap_or(&self.nobody);
        if attempt.method == AuthMethod::CachingSha2 && hash.sha2.is_none() {
            return Verdict::TryMethod(AuthMethod::Native);
        }
        if hash.accepts(attempt) && known.is_some() {
            return Verdict::Accept;
        }
        Verdict::Refuse(String::new())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn native_matches(double: &[u8; 20], scramble: &[u8; SCRAMBLE_LEN], response: &[u8]) -> bool {
    let mask: [u8; 20] = Sha1::new().chain_update(scramble).chain_update(double).finalize().into();
    let Some(single) = xor::<20>(response, &mask) else { return false };
    let again: [u8; 20] = Sha1::digest(single).into();
    equal_in_constant_time(&again, double)
}

fn sha2_matches(double: &[u8; 32], scramble: &[u8; SCRAMBLE_LEN], response: &[u8]) -> bool {
    let mask: [u8; 32] = Sha256::new().chain_update(double).chain_update(scramble).finalize().into();
    let Some(single) = xor::<32>(response, &mask) else { return false };
    let again: [u8; 32] = Sha256::digest(single).into();
    equal_in_constant_time(&again, double)
}

fn xor<const N: usize>(response: &[u8], mask: &[u8; N]) -> Option<[u8; N]> {
    let mut out: [u8; N] = response.try_into().ok()?;
    out.iter_mut().zip(mask).for_each(|(o, m)| *o ^= m);
    Some(out)
}

fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0u8, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0 && a.len() == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAMBLE: [u8; 20] = *b"abcdefghijklmnopqrst";

    fn attempt<'a>(user: &'a str, method: AuthMethod, response: &'a [u8]) -> LoginAttempt<'a> {
        LoginAttempt { user, remote: IpAddr::from([10, 0, 0, 1]), method, scramble: &SCRAMBLE, response }
    }

    fn native_response(password: &str) -> Vec<u8> {
        let single: [u8; 20] = Sha1::digest(password).into();
        let double = Sha1::digest(single);
        let mask: [u8; 20] = Sha1::new().chain_update(SCRAMBLE).chain_update(double).finalize().into();
        xor(&single, &mask).unwrap().to_vec()
    }

    fn sha2_response(password: &str) -> Vec<u8> {
        let single: [u8; 32] = Sha256::digest(password).into();
        let double = Sha256::digest(single);
        let mask: [u8; 32] = Sha256::new().chain_update(double).chain_update(SCRAMBLE).finalize().into();
        xor(&single, &mask).unwrap().to_vec()
    }

    #[test]
    fn only_the_right_password_is_accepted() {
        let users = Users::new([
            ("ann".to_owned(), PasswordHash::of_password("secret")),
            ("old".to_owned(), PasswordHash::parse_native("*14E65567ABDB5135D0CFD9A70B3032C179A49EE7").unwrap()),
            ("open".to_owned(), PasswordHash::of_password("")),
        ]);
        let judge = |user, method, response: &[u8]| users.judge(&attempt(user, method, response));
        let refused = Verdict::Refuse(String::new());
        assert_eq!(judge("ann", AuthMethod::Native, &native_response("secret")), Verdict::Accept);
        assert_eq!(judge("ann", AuthMethod::CachingSha2, &sha2_response("secret")), Verdict::Accept);
        assert_eq!(judge("ann", AuthMethod::Native, &native_response("Secret")), refused);
        assert_eq!(judge("ann", AuthMethod::CachingSha2, &native_response("secret")), refused);
        assert_eq!(judge("ann", AuthMethod::Native, b""), refused);
        assert_eq!(judge("ann", AuthMethod::Native, &[0; 19]), refused);
        assert_eq!(judge("bob", AuthMethod::Native, &native_response("secret")), refused);
        assert_eq!(judge("bob", AuthMethod::Native, b""), refused);
        // SELECT PASSWORD('secret') on MariaDB.
        assert_eq!(judge("old", AuthMethod::Native, &native_response("secret")), Verdict::Accept);
        assert_eq!(judge("old", AuthMethod::CachingSha2, b"x"), Verdict::TryMethod(AuthMethod::Native));
        assert_eq!(judge("open", AuthMethod::Native, b""), Verdict::Accept);
        assert_eq!(judge("open", AuthMethod::Native, &native_response("")), refused);
    }

    #[test]
    fn without_users_only_loopback_comes_in() {
        let from = |ip: &str| {
            LoopbackOnly.judge(&LoginAttempt { remote: ip.parse().unwrap(), ..attempt("x", AuthMethod::Native, b"y") })
        };
        assert_eq!(from("127.0.0.1"), Verdict::Accept);
        assert_eq!(from("::1"), Verdict::Accept);
        assert_eq!(from("::ffff:127.0.0.1"), Verdict::Accept);
        assert!(matches!(from("10.0.0.1"), Verdict::Refuse(_)));
        assert!(matches!(from("::ffff:10.0.0.1"), Verdict::Refuse(_)));
    }

    #[test]
    fn foreign_hash_texts_are_refused() {
        for text in
            ["", "*", "14E65567ABDB5135D0CFD9A70B3032C179A49EE7", "*14E6", "*ß4E65567ABDB5135D0CFD9A70B3032C179A49EE7"]
        {
            assert!(PasswordHash::parse_native(text).is_none(), "{text}");
        }
    }
}
