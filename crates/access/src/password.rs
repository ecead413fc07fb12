//! What is kept of a password, and how a client proves that it knows it.
//!
//! Two methods of MySQL, both challenge and response: `mysql_native_password` (SHA1(p) ^ SHA1(scramble + SHA1(SHA1(p)))) and the
//! fast path of `caching_sha2_password` (SHA256(p) ^ SHA256(SHA256(SHA256(p)) + scramble)); and the password itself, as HTTP's `Basic`
//! sends it. Only double hashes are kept, as MySQL does; all comparisons take the same time whatever the bytes.

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Bytes of a scramble.
pub const SCRAMBLE_LEN: usize = 20;

/// How a MySQL client proves that it knows the password.
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

/// What is kept of a password: double hashes, from which it cannot be read.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    native: [u8; 20],
    sha2: Option<[u8; 32]>,
    empty: bool,
}

impl PasswordHash {
    /// Hashes a password for all methods.
    #[must_use]
    pub fn of_password(password: &str) -> PasswordHash {
        PasswordHash {
            native: Sha1::digest(Sha1::digest(password)).into(),
            sha2: Some(Sha256::digest(Sha256::digest(password)).into()),
            empty: password.is_empty(),
        }
    }

    /// The hash of a password that nobody knows.
    pub(crate) fn of_nobody() -> PasswordHash {
        PasswordHash::of_password(&hex(&rand::random::<[u8; 32]>()))
    }

    /// Reads MySQL's own form, `*` and 40 hexadecimal digits (`SELECT PASSWORD('...')`); `None` if it is not that.
    /// Such a hash does not serve `caching_sha2_password`.
    #[must_use]
    pub fn parse_native(text: &str) -> Option<PasswordHash> {
        let digits = text.strip_prefix('*').filter(|d| d.len() == 40 && d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let mut native = [0; 20];
        for (i, byte) in native.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(PasswordHash { native, sha2: None, empty: false })
    }

    /// True if it serves a method.
    pub(crate) fn serves(&self, method: AuthMethod) -> bool {
        method == AuthMethod::Native || self.sha2.is_some()
    }

    /// Checks the answer to a challenge; an empty answer is an empty password.
    pub(crate) fn answers(&self, method: AuthMethod, scramble: &[u8; SCRAMBLE_LEN], response: &[u8]) -> bool {
        if self.empty || response.is_empty() {
            return self.empty && response.is_empty();
        }
        match (method, &self.sha2) {
            (AuthMethod::Native, _) => native_matches(&self.native, scramble, response),
            (AuthMethod::CachingSha2, Some(sha2)) => sha2_matches(sha2, scramble, response),
            (AuthMethod::CachingSha2, None) => false,
        }
    }

    /// Checks a password that was sent as it is.
    pub(crate) fn is_of(&self, password: &str) -> bool {
        let given = PasswordHash::of_password(password);
        equal_in_constant_time(&given.native, &self.native)
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// Two hexadecimal digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
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

/// The same time whatever the bytes; lengths are no secret.
pub(crate) fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0u8, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0 && a.len() == b.len()
}

/// What clients compute, for tests.
#[cfg(test)]
pub(crate) mod client {
    use super::{AuthMethod, SCRAMBLE_LEN, xor};
    use sha1::Sha1;
    use sha2::{Digest, Sha256};

    pub(crate) fn response(method: AuthMethod, scramble: &[u8; SCRAMBLE_LEN], password: &str) -> Vec<u8> {
        match method {
            AuthMethod::Native => {
                let single: [u8; 20] = Sha1::digest(password).into();
                let double = Sha1::digest(single);
                let mask: [u8; 20] = Sha1::new().chain_update(scramble).chain_update(double).finalize().into();
                xor(&single, &mask).unwrap().to_vec()
            }
            AuthMethod::CachingSha2 => {
                let single: [u8; 32] = Sha256::digest(password).into();
                let double = Sha256::digest(single);
                let mask: [u8; 32] = Sha256::new().chain_update(double).chain_update(scramble).finalize().into();
                xor(&single, &mask).unwrap().to_vec()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAMBLE: [u8; 20] = *b"abcdefghijklmnopqrst";

    #[test]
    fn only_the_right_password_is_accepted() {
        let hash = PasswordHash::of_password("secret");
        let answers = |method, response: &[u8]| hash.answers(method, &SCRAMBLE, response);
        let (native, sha2) = (AuthMethod::Native, AuthMethod::CachingSha2);
        assert!(answers(native, &client::response(native, &SCRAMBLE, "secret")));
        assert!(answers(sha2, &client::response(sha2, &SCRAMBLE, "secret")));
        assert!(!answers(native, &client::response(native, &SCRAMBLE, "Secret")));
        assert!(!answers(sha2, &client::response(native, &SCRAMBLE, "secret")));
        assert!(!answers(native, b"") && !answers(native, &[0; 19]));
        assert!(hash.is_of("secret") && !hash.is_of("Secret") && !hash.is_of(""));
    }

    #[test]
    fn an_empty_password_is_empty() {
        let hash = PasswordHash::of_password("");
        assert!(hash.answers(AuthMethod::Native, &SCRAMBLE, b"") && hash.is_of("") && !hash.is_of("x"));
        assert!(!hash.answers(AuthMethod::Native, &SCRAMBLE, &client::response(AuthMethod::Native, &SCRAMBLE, "")));
    }

    #[test]
    fn mysqls_own_hashes_serve_all_but_sha2() {
        // SELECT PASSWORD('secret') on MariaDB.
        let hash = PasswordHash::parse_native("*14E65567ABDB5135D0CFD9A70B3032C179A49EE7").unwrap();
        let native = client::response(AuthMethod::Native, &SCRAMBLE, "secret");
        assert!(hash.answers(AuthMethod::Native, &SCRAMBLE, &native) && hash.is_of("secret"));
        assert!(hash.serves(AuthMethod::Native) && !hash.serves(AuthMethod::CachingSha2));
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
