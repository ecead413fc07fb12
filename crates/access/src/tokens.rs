//! Tokens that are given for a login, so that a password is sent once: what Flight's `Handshake` answers.
//!
//! They live in memory only, are forgotten when they were not used for a day, and are worth what the user is worth at each use: they
//! name the user and hold no rights.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::password::hex;

/// One that was not used for so long is forgotten.
const IDLE: Duration = Duration::from_secs(24 * 3600);
/// Most that are kept; one more takes the place of the one that was not used for longest.
const MOST: usize = 10_000;

/// What is kept of a token: it cannot be read from it, and comparing it tells nothing.
pub(crate) type TokenHash = [u8; 32];

/// The hash of a token.
pub(crate) fn hash(token: &str) -> TokenHash {
    Sha256::digest(token).into()
}

struct Given {
    user: String,
    used: Instant,
}

/// The tokens that were given.
#[derive(Default)]
pub(crate) struct Tokens {
    given: Mutex<HashMap<TokenHash, Given>>,
}

impl Tokens {
    /// A new one for a user.
    pub(crate) fn give(&self, user: &str) -> String {
        let token = hex(&rand::random::<[u8; 32]>());
        let mut given = self.given.lock();
        let now = Instant::now();
        if given.len() >= MOST {
            given.retain(|_, one| now.duration_since(one.used) < IDLE);
        }
        if given.len() >= MOST {
            let oldest = given.iter().min_by_key(|(_, one)| one.used).map(|(hash, _)| *hash);
            oldest.map(|hash| given.remove(&hash));
        }
        given.insert(hash(&token), Given { user: user.to_owned(), used: now });
        token
    }

    /// Whose it is.
    pub(crate) fn user(&self, token: &TokenHash) -> Option<String> {
        let mut given = self.given.lock();
        let one = given.get_mut(token)?;
        if one.used.elapsed() >= IDLE {
            given.remove(token);
            return None;
        }
        one.used = Instant::now();
        Some(one.user.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_user() {
        let tokens = Tokens::default();
        let (ann, bob) = (tokens.give("ann"), tokens.give("bob"));
        assert_eq!(tokens.user(&hash(&ann)).as_deref(), Some("ann"));
        assert_eq!(tokens.user(&hash(&bob)).as_deref(), Some("bob"));
        assert_eq!(tokens.user(&hash("x")), None);
    }

    #[test]
    fn there_are_not_more_than_so_many() {
        let tokens = Tokens::default();
        let first = tokens.give("first");
        (0..MOST).for_each(|_| drop(tokens.give("x")));
        assert_eq!(tokens.given.lock().len(), MOST);
        assert_eq!(tokens.user(&hash(&first)), None);
    }
}
