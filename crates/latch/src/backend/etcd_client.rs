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
    /// `http://HOST:PORT` each.
    endpoints: Vec<String>,
    /// The one that answered last.
    current: AtomicUsize,
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
pub(super) fn over_http(endpoints: Vec<String>) -> Arc<dyn EtcdGateway> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    Arc::new(Servers { agent: config.build().into(), endpoints, current: AtomicUsize::new(0) })
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
    fn ask_one(&self, endpoint: &str, what: &str, body: &Value) -> Result<Value> {
        let failed = |e: ureq::Error| Error::Unavailable(format!("etcd at {endpoint}: {e}"));
        let mut answer = self.agent.post(format!("{endpoint}/v3/{what}")).send_json(body).map_err(failed)?;
        let text = answer.body_mut().read_to_string().map_err(failed)?;
        if !answer.status().is_success() {
            return Err(Error::Unavailable(format!(
                "etcd at {endpoint}: {what}: {}: {}",
                answer.status(),
                text.trim()
            )));
        }
        serde_json::from_str(&text).map_err(|e| strange(what, &e))
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
