//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677), the client's side.

use sha2::{Digest, Sha256, Sha512};

use super::options::Sasl;
use crate::mysql::reader::{Malformed, Parsed};
use crate::ticdc::decoder::value::base64;

/// Most rounds a server may ask for.
const MAX_ROUNDS: u32 = 1_000_000;

/// A login under way.
pub(super) struct Scram {
    sasl: Sasl,
    password: String,
    nonce: String,
    first_bare: String,
    server_signature: Vec<u8>,
}

impl Scram {
    /// `nonce`: text that nobody else ever uses.
    pub(super) fn new(sasl: Sasl, user: &str, password: &str, nonce: &str) -> Scram {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        Scram { sasl, password: password.into(), nonce: nonce.into(), first_bare, server_signature: Vec::new() }
    }

    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The answer to the server's first message.
    pub(super) fn proof(&mut self, server_first: &str) -> Parsed<String> {
        let part = |name: &str| server_first.split(',').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
        let wrong = || Malformed::because("an answer to SCRAM that makes no sense");
        let nonce = part("r").filter(|r| r.starts_with(&self.nonce)).ok_or_else(wrong)?;
        let salt = part("s").and_then(|s| base64(s.as_bytes())).ok_or_else(wrong)?;
        let rounds =
            part("i").and_then(|i| i.parse().ok()).filter(|i| (1..=MAX_ROUNDS).contains(i)).ok_or_else(wrong)?;
        let salted = self.stretched(&salt, rounds);
        let client_key = self.hmac(&salted, b"Client Key");
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{server_first},{without_proof}", self.first_bare);
        let signature = self.hmac(&self.hash(&client_key), message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        self.server_signature = self.hmac(&self.hmac(&salted, b"Server Key"), message.as_bytes());
        Ok(format!("{without_proof},p={}", encoded(&proof)))
    }

    /// Checks that the server knows the password too.
    pub(super) fn verify(&self, server_final: &str) -> Parsed<()> {
        let signature = server_final.trim().strip_prefix("v=").and_then(|v| base64(v.as_bytes()));
        match signature.is_some_and(|s| !s.is_empty() && s == self.server_signature) {
            true => Ok(()),
            false => Err(Malformed::because("the broker does not prove that it knows the password")),
        }
    }

    fn hash(&self, bytes: &[u8]) -> Vec<u8> {
        match self.sasl {
            Sasl::Scram512 => Sha512::digest(bytes).to_vec(),
            Sasl::Scram256 | Sasl::Plain => Sha256::digest(bytes).to_vec(),
        }
    }

    fn hmac(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let block = if self.sasl == Sasl::Scram512 { 128 } else { 64 };
        let mut padded = if key.len() > block { self.hash(key) } else { key.to_vec() };
        padded.resize(block, 0);
        let inner: Vec<u8> = padded.iter().map(|b| b ^ 0x36).chain(message.iter().copied()).collect();
        let outer: Vec<u8> = padded.iter().map(|b| b ^ 0x5c).chain(self.hash(&inner)).collect();
        self.hash(&outer)
    }

    /// PBKDF2, one block.
    fn stretched(&self, salt: &[u8], rounds: u32) -> Vec<u8> {
        let password = self.password.as_bytes();
        let mut last = self.hmac(password, &[salt, &[0, 0, 0, 1]].concat());
        let mut out = last.clone();
        for _ in 1..rounds {
            last = self.hmac(password, &last);
            out.iter_mut().zip(&last).for_each(|(a, b)| *a ^= b);
        }
        out
    }
}

fn encoded(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |v, b| v << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            out.push(if i > chunk.len() { '=' } else { char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7677() {
        let mut scram = Scram::new(Sasl::Scram256, "user", "pencil", "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = scram.proof(server).expect("a proof");
        assert!(proof.ends_with(",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), "{proof}");
        assert_eq!(scram.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert!(scram.verify("v=AAAA").is_err() && scram.verify("e=other-error").is_err());
        assert!(scram.proof("r=other,s=AAAA,i=1").is_err());
    }
}
