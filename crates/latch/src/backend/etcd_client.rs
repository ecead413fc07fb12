//! etcd's version 3 API over its JSON gateway: the few requests that a latch makes.
//!
//! Keys, values and 64-bit numbers are as the gateway has them: base64, and decimal digits in a string.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tidelake_core::{Error, Result};

use super::etcd_login::{EtcdLogin, Session};

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What carries a request of the JSON gateway to a cluster.
pub trait EtcdGateway: Send + Sync {
    /// The answer to `body` at `/v3/` and `what`, for example `kv/range`.
    ///
    /// # Errors
    /// `Unavailable` if nobody knows whether it was done.
    fn ask(&self, what: &str, body: &Value) -> Result<Value>;
}

/// A cluster.
pub(super) struct EtcdClient(pub Arc<dyn EtcdGateway>);

/// The gateways of a cluster's servers.
struct Servers {
    agent: ureq::Agent,
    /// `http://HOST:PORT` or `https://HOST:PORT` each.
    endpoints: Vec<String>,
    /// The one that answered last.
    current: AtomicUsize,
    /// If etcd knows users.
    session: Option<Session>,
}

/// A key as it was found.
pub(super) struct Found {
    pub value: String,
    pub mod_revision: i64,
}

impl EtcdClient {
    /// A key; `None` if it is not there.
    pub(super) fn get(&self, key: &str) -> Result<Option<Found>> {
        let answer = self.0.ask("kv/range", &json!({ "key": encode(key) }))?;
        let Some(kv) = answer["kvs"].get(0) else { return Ok(None) };
        let bytes = STANDARD.decode(kv["value"].as_str().unwrap_or_default()).map_err(|e| strange("a value", &e))?;
        let value = String::from_utf8(bytes).map_err(|e| strange("a value", &e))?;
        Ok(Some(Found { value, mod_revision: number(&kv["mod_revision"])? }))
    }

    /// Writes if everything compared holds; the revision of the write, `None` if something does not hold.
    pub(super) fn put_if(&self, compare: Value, key: &str, value: &str, lease: Option<i64>) -> Result<Option<i64>> {
        let mut put = json!({ "key": encode(key), "value": encode(value) });
        if let Some(lease) = lease {
            put["lease"] = json!(lease.to_string());
        }
        let answer = self.0.ask("kv/txn", &json!({ "compare": compare, "success": [{ "request_put": put }] }))?;
        if answer["succeeded"] != json!(true) {
            return Ok(None);
        }
        number(&answer["header"]["revision"]).map(Some)
    }

    /// A lease for so many seconds.
    pub(super) fn grant(&self, seconds: u64) -> Result<i64> {
        let answer = self.0.ask("lease/grant", &json!({ "TTL": seconds.to_string() }))?;
        number(&answer["ID"])
    }

    /// Prolongs a lease; false if it has lapsed.
    pub(super) fn keep_alive(&self, lease: i64) -> Result<bool> {
        let answer = self.0.ask("lease/keepalive", &json!({ "ID": lease.to_string() }))?;
        // A lease that is no more has no time to live.
        Ok(answer["result"].get("TTL").is_some_and(|ttl| number(ttl).is_ok_and(|ttl| ttl > 0)))
    }

    /// Ends a lease, and what hangs on it.
    pub(super) fn revoke(&self, lease: i64) -> Result<()> {
        self.0.ask("lease/revoke", &json!({ "ID": lease.to_string() })).map(|_| ())
    }
}

/// Over HTTP.
///
/// # Errors
/// [`Error::Invalid`] for certificates that are none.
pub(super) fn over_http(endpoints: Vec<String>, login: EtcdLogin) -> Result<Arc<dyn EtcdGateway>> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    let agent = config.tls_config(login.tls()?).build().into();
    let session = login.user.map(Session::new);
    Ok(Arc::new(Servers { agent, endpoints, current: AtomicUsize::new(0), session }))
}

impl EtcdGateway for Servers {
    /// One after the other, until one answers. A request that another server took already may come twice: a comparison then
    /// fails, which its sender takes for the work of somebody else.
    fn ask(&self, what: &str, body: &Value) -> Result<Value> {
        let first = self.current.load(Ordering::Relaxed);
        let mut problem = Error::Unavailable("no etcd is named".into());
        for turn in 0..self.endpoints.len() {
            let at = (first + turn) % self.endpoints.len();
            let Some(endpoint) = self.endpoints.get(at) else { continue };
            match self.ask_one(endpoint, what, body) {
                Ok(answer) => {
                    self.current.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }
}

impl Servers {
    /// A token that etcd has forgotten is asked for again, once: what it came with was not done.
    fn ask_one(&self, endpoint: &str, what: &str, body: &Value) -> Result<Value> {
        let Some(session) = &self.session else { return self.post(endpoint, what, body, None)?.good(endpoint, what) };
        let known = session.token();
        if let Some(token) = &known {
            let answer = self.post(endpoint, what, body, Some(token))?;
            if !answer.wants_another_token() {
                return answer.good(endpoint, what);
            }
            session.refused(token);
        }
        let token = self.authenticate(endpoint, session)?;
        self.post(endpoint, what, body, Some(&token))?.good(endpoint, what)
    }

    fn authenticate(&self, endpoint: &str, session: &Session) -> Result<String> {
        let ask = json!({ "name": session.user.name, "password": session.user.password });
        let answer = self.post(endpoint, "auth/authenticate", &ask, None)?.good(endpoint, "auth/authenticate")?;
        let token = answer["token"].as_str().ok_or_else(|| strange("auth/authenticate", &"no token is in it"))?;
        session.keep(token.to_owned());
        Ok(token.to_owned())
    }

    fn post(&self, endpoint: &str, what: &str, body: &Value, token: Option<&str>) -> Result<Answer> {
        let failed = |e: ureq::Error| Error::Unavailable(format!("etcd at {endpoint}: {e}"));
        let mut request = self.agent.post(format!("{endpoint}/v3/{what}"));
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        let mut answer = request.send_json(body).map_err(failed)?;
        let text = answer.body_mut().read_to_string().map_err(failed)?;
        Ok(Answer { status: answer.status().as_u16(), text })
    }
}

/// What a server said.
struct Answer {
    status: u16,
    text: String,
}

impl Answer {
    /// As etcd's errors are worded since 3.4.
    fn says(&self, part: &str) -> bool {
        self.status != 200 && self.text.contains(part)
    }

    fn wants_another_token(&self) -> bool {
        self.status == 401 || self.says("invalid auth token") || self.says("revision of auth store is old")
    }

    /// Its message.
    fn good(self, endpoint: &str, what: &str) -> Result<Value> {
        if self.status == 200 {
            return serde_json::from_str(&self.text).map_err(|e| strange(what, &e));
        }
        let hint = match () {
            () if self.says("user name is empty") => "it asks for a user: give --etcd-user and --etcd-password-file",
            () if self.says("authentication failed") => "the user or its password is wrong",
            () if self.says("authentication is not enabled") => "it knows no users: leave --etcd-user out",
            () if self.says("permission denied") => {
                "the user needs a role that may read and write the prefix of --latch-backend"
            }
            () => {
                let (status, text) = (self.status, self.text.trim());
                return Err(Error::Unavailable(format!("etcd at {endpoint}: {what}: {status}: {text}")));
            }
        };
        Err(Error::Invalid(format!("etcd at {endpoint}: {what}: {hint}")))
    }
}

/// What an answer could not be understood by.
fn strange(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Unavailable(format!("etcd's answer to {what} cannot be read: {error}"))
}

/// The gateway leaves out zeros.
fn number(value: &Value) -> Result<i64> {
    match value {
        Value::Null => Ok(0),
        Value::String(digits) => digits.parse().map_err(|e| strange("a number", &e)),
        other => other.as_i64().ok_or_else(|| strange("a number", &other)),
    }
}

/// As the gateway has keys and values.
pub(super) fn encode(text: &str) -> String {
    STANDARD.encode(text)
}
