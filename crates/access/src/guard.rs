//! Who is let in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::header::{self, Credentials};
use crate::password::{AuthMethod, PasswordHash, SCRAMBLE_LEN};
use crate::rights::Rights;
use crate::tokens::{self, TokenHash, Tokens};

/// A configured user.
#[derive(Clone)]
pub struct User {
    name: String,
    password: Option<PasswordHash>,
    token: Option<TokenHash>,
    rights: Arc<Rights>,
}

impl User {
    /// Without password and token nobody logs in as this user.
    #[must_use]
    pub fn new(name: impl Into<String>, rights: Rights) -> User {
        User { name: name.into(), password: None, token: None, rights: Arc::new(rights) }
    }

    /// With a password.
    #[must_use]
    pub fn with_password(self, password: PasswordHash) -> User {
        User { password: Some(password), ..self }
    }

    /// With a bearer token, for Flight and HTTP.
    #[must_use]
    pub fn with_token(self, token: &str) -> User {
        User { token: Some(tokens::hash(token)), ..self }
    }
}

/// Secrets are never printed.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({:?})", self.name)
    }
}

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user's name.
    pub user: String,
    /// What the user may do.
    pub rights: Arc<Rights>,
}

impl Caller {
    /// This process itself, or whoever reaches an open door.
    #[must_use]
    pub fn trusted(user: impl Into<String>) -> Caller {
        Caller { user: user.into(), rights: Arc::new(Rights::all()) }
    }
}

/// One try to log in over the MySQL protocol.
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
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Let in.
    Accept(Caller),
    /// Not let in; the text is told to the client and does not tell whether the user exists.
    Refuse(String),
    /// The password is known only for this other method.
    TryMethod(AuthMethod),
}

/// Not let in; the text may be told to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

struct State {
    users: HashMap<String, User>,
    tokens: HashMap<TokenHash, String>,
    /// Judged against for unknown names, so that they take as long as known ones.
    nobody: PasswordHash,
}

/// Knows the users, and lets in.
pub struct Guard {
    state: RwLock<Arc<State>>,
    given: Tokens,
    /// Without users: connections from other machines are let in too.
    from_anywhere: bool,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guard({} users)", self.state.read().users.len())
    }
}

impl Default for Guard {
    /// Without users, for this machine only.
    fn default() -> Guard {
        Guard::new(Vec::new(), false)
    }
}

impl Guard {
    /// Knows these users. Without any, everybody on this machine is let in under any name, with all rights; and everybody else only
    /// `from_anywhere`.
    #[must_use]
    pub fn new(users: Vec<User>, from_anywhere: bool) -> Guard {
        Guard { state: RwLock::new(Arc::new(State::of(users))), given: Tokens::default(), from_anywhere }
    }

    /// Other users from now on. Whoever is connected stays; tokens of users that are gone are worth nothing.
    pub fn set_users(&self, users: Vec<User>) {
        *self.state.write() = Arc::new(State::of(users));
    }

    /// True if somebody must log in.
    #[must_use]
    pub fn has_users(&self) -> bool {
        !self.state.read().users.is_empty()
    }

    /// Judges a login of the MySQL protocol. Takes the same time for a wrong password and an unknown user.
    #[must_use]
    pub fn judge(&self, attempt: &LoginAttempt<'_>) -> Verdict {
        let state = self.state.read().clone();
        if state.users.is_empty() {
            return match self.without_users(attempt.user, attempt.remote) {
                Ok(caller) => Verdict::Accept(caller),
                Err(Refused(reason)) => Verdict::Refuse(reason),
            };
        }
        let known = state.users.get(attempt.user);
        let hash = known.and_then(|user| user.password.as_ref());
        let judged = hash.unwrap_or(&state.nobody);
        if !judged.serves(attempt.method) {
            return Verdict::TryMethod(AuthMethod::Native);
        }
        let right = judged.answers(attempt.method, attempt.scramble, attempt.response);
        match known.filter(|_| right && hash.is_some()) {
            Some(user) => Verdict::Accept(user.caller()),
            None => Verdict::Refuse(String::new()),
        }
    }

    /// Judges a request by its `Authorization` header.
    ///
    /// # Errors
    /// [`Refused`] with what to send instead; it does not tell whether a user exists.
    pub fn by_header(&self, header: Option<&str>, remote: IpAddr) -> Result<Caller, Refused> {
        let state = self.state.read().clone();
        let credentials = header.and_then(header::parse);
        if state.users.is_empty() {
            let user = match credentials {
                Some(Credentials::Basic(user, _)) if !user.is_empty() => user,
                _ => "anonymous".to_owned(),
            };
            return self.without_users(&user, remote);
        }
        let found = match credentials {
            None => {
                return Err(Refused(
                    "log in: send Authorization: Basic (user and password) or Bearer (a token)".into(),
                ));
            }
            Some(Credentials::Basic(user, password)) => state.by_password(&user, &password),
            Some(Credentials::Bearer(token)) => {
                let hash = tokens::hash(&token);
                let name = state.tokens.get(&hash).cloned().or_else(|| self.given.user(&hash));
                name.and_then(|name| state.users.get(&name).map(User::caller))
            }
        };
        found.ok_or_else(|| {
            tracing::info!(%remote, "login refused");
            Refused("access denied: wrong user, password or token".into())
        })
    }

    /// A token for somebody who was let in, to be sent as `Bearer` from then on.
    #[must_use]
    pub fn give_token(&self, caller: &Caller) -> String {
        self.given.give(&caller.user)
    }

    fn without_users(&self, user: &str, remote: IpAddr) -> Result<Caller, Refused> {
        if self.from_anywhere || remote.to_canonical().is_loopback() {
            return Ok(Caller::trusted(user));
        }
        Err(Refused("no users are configured, so only connections from this machine are let in".into()))
    }
}

impl State {
    fn of(users: Vec<User>) -> State {
        let tokens = users.iter().filter_map(|user| Some((user.token?, user.name.clone()))).collect();
        let users = users.into_iter().map(|user| (user.name.clone(), user)).collect();
        State { users, tokens, nobody: PasswordHash::of_nobody() }
    }

    fn by_password(&self, name: &str, password: &str) -> Option<Caller> {
        let known = self.users.get(name);
        let hash = known.and_then(|user| user.password.as_ref());
        let right = hash.unwrap_or(&self.nobody).is_of(password);
        known.filter(|_| right && hash.is_some()).map(User::caller)
    }
}

impl User {
    fn caller(&self) -> Caller {
        Caller { user: self.name.clone(), rights: self.rights.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password::client;
    use crate::rights::Right;

    const SCRAMBLE: [u8; 20] = *b"abcdefghijklmnopqrst";
    const NATIVE: AuthMethod = AuthMethod::Native;

    fn far() -> IpAddr {
        IpAddr::from([10, 0, 0, 1])
    }

    fn attempt<'a>(user: &'a str, method: AuthMethod, response: &'a [u8]) -> LoginAttempt<'a> {
        LoginAttempt { user, remote: far(), method, scramble: &SCRAMBLE, response }
    }

    fn users() -> Guard {
        let reader = || Rights::new(vec![Right::Read], None);
        let old = PasswordHash::parse_native("*14E65567ABDB5135D0CFD9A70B3032C179A49EE7").unwrap();
        let users = vec![
            User::new("ann", reader()).with_password(PasswordHash::of_password("secret")),
            User::new("old", reader()).with_password(old),
            User::new("open", reader()).with_password(PasswordHash::of_password("")),
            User::new("robot", Rights::all()).with_token("t0ken"),
        ];
        Guard::new(users, false)
    }

    fn accepted(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Accept(_))
    }

    #[test]
    fn only_who_knows_the_password_logs_in() {
        let guard = users();
        let answer = client::response(NATIVE, &SCRAMBLE, "secret");
        let judge = |user, method, response: &[u8]| guard.judge(&attempt(user, method, response));
        assert!(accepted(&judge("ann", NATIVE, &answer)));
        let sha2 = client::response(AuthMethod::CachingSha2, &SCRAMBLE, "secret");
        assert!(accepted(&judge("ann", AuthMethod::CachingSha2, &sha2)));
        assert!(accepted(&judge("open", NATIVE, b"")));
        assert!(accepted(&judge("old", NATIVE, &answer)));
        assert!(matches!(judge("old", AuthMethod::CachingSha2, b"x"), Verdict::TryMethod(NATIVE)));
        for (user, response) in [("ann", &b""[..]), ("bob", &answer), ("bob", b""), ("robot", b""), ("robot", &answer)]
        {
            let verdict = judge(user, NATIVE, response);
            assert!(matches!(&verdict, Verdict::Refuse(text) if text.is_empty()), "{user}: {verdict:?}");
        }
    }

    #[test]
    fn headers_carry_passwords_and_tokens() {
        let guard = users();
        let by = |header| guard.by_header(header, far()).map(|caller| caller.user);
        assert_eq!(by(Some("Basic YW5uOnNlY3JldA==")).as_deref(), Ok("ann"));
        assert_eq!(by(Some("Bearer t0ken")).as_deref(), Ok("robot"));
        let wrong = Err(Refused("access denied: wrong user, password or token".into()));
        for header in ["Basic YW5uOndyb25n", "Basic Ym9iOnNlY3JldA==", "Basic cm9ib3Q6", "Bearer t0kem"] {
            assert_eq!(by(Some(header)), wrong, "{header}");
        }
        assert!(by(None).unwrap_err().0.contains("Authorization"));
        assert!(by(Some("Digest x")).is_err());
    }

    #[test]
    fn a_given_token_is_worth_what_its_user_is() {
        let guard = users();
        let ann = guard.by_header(Some("Basic YW5uOnNlY3JldA=="), far()).expect("let in");
        let bearer = format!("Bearer {}", guard.give_token(&ann));
        assert_eq!(guard.by_header(Some(&bearer), far()).expect("let in").user, "ann");
        guard.set_users(vec![User::new("bob", Rights::all())]);
        assert!(guard.by_header(Some(&bearer), far()).is_err(), "the user is gone");
    }

    #[test]
    fn without_users_only_this_machine_comes_in() {
        let guard = Guard::default();
        let from = |ip: &str| {
            let remote = ip.parse().unwrap();
            let mysql = accepted(&guard.judge(&LoginAttempt { remote, ..attempt("x", NATIVE, b"y") }));
            assert_eq!(guard.by_header(None, remote).is_ok(), mysql, "{ip}");
            mysql
        };
        assert!(from("127.0.0.1") && from("::1") && from("::ffff:127.0.0.1"));
        assert!(!from("10.0.0.1") && !from("::ffff:10.0.0.1"));
        assert!(Guard::new(Vec::new(), true).by_header(None, far()).is_ok(), "said explicitly");
    }
}
