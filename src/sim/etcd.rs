//! An etcd by its JSON gateway: keys with revisions, leases, transactions that compare. Only what a latch asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tidelake_core::{Error, Result};
use tidelake_latch::backend::EtcdGateway;

use super::flaws::Flaw;
use super::world::Shared;

/// The cluster.
pub struct Etcd {
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Answers are lost now and then.
    flaky: AtomicBool,
    flaw: Option<Flaw>,
}

#[derive(Default)]
struct State {
    revision: i64,
    keys: BTreeMap<String, Key>,
    /// Until when each lives, and for how long it is prolonged.
    leases: BTreeMap<i64, (Duration, Duration)>,
    /// Latches that cannot reach it.
    away: Vec<usize>,
}

struct Key {
    value: String,
    created: i64,
    changed: i64,
    lease: Option<i64>,
}

impl Etcd {
    pub fn new(shared: Arc<Shared>, flaw: Option<Flaw>) -> Arc<Etcd> {
        Arc::new(Etcd { shared, state: Mutex::default(), flaky: AtomicBool::new(false), flaw })
    }

    /// The way of one latch to it.
    pub fn gateway(self: &Arc<Etcd>, latch: usize) -> Arc<dyn EtcdGateway> {
        Arc::new(Gateway { etcd: self.clone(), latch })
    }

    /// From now on answers are lost now and then, or no more.
    pub fn is_flaky(&self, flaky: bool) {
        self.flaky.store(flaky, Ordering::Relaxed);
    }

    /// A latch cannot reach it, or can again.
    pub fn cut(&self, latch: usize, away: bool) {
        let mut state = self.state.lock();
        state.away.retain(|other| *other != latch);
        if away {
            state.away.push(latch);
        }
    }

    fn ask(&self, what: &str, body: &Value) -> Result<Value> {
        let mut state = self.state.lock();
        let now = self.shared.now();
        state.lapse(now);
        Ok(match what {
            "kv/range" => state.range(body),
            "kv/txn" => state.transact(body),
            "lease/grant" => state.grant(body, now),
            "lease/keepalive" => state.keep_alive(&body["ID"], now),
            "lease/revoke" => state.revoke(&body["ID"]),
            other => return Err(Error::Internal(format!("no latch asks for {other}"))),
        })
    }
}

fn number(value: &Value) -> i64 {
    value.as_str().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl State {
    fn lapse(&mut self, now: Duration) {
        self.leases.retain(|_, (until, _)| *until > now);
        let leases = &self.leases;
        self.keys.retain(|_, key| key.lease.is_none_or(|lease| leases.contains_key(&lease)));
    }

    fn range(&self, body: &Value) -> Value {
        let found = self.keys.get(&text(&body["key"]));
        let kvs: Vec<Value> =
            found.iter().map(|key| json!({ "value": key.value, "mod_revision": key.changed.to_string() })).collect();
        json!({ "kvs": kvs })
    }

    fn transact(&mut self, body: &Value) -> Value {
        let compares = body["compare"].as_array().cloned().unwrap_or_default();
        let holds = |compare: &Value| {
            let key = self.keys.get(&text(&compare["key"]));
            match compare["target"].as_str() {
                Some("CREATE") => key.map_or(0, |key| key.created) == number(&compare["create_revision"]),
                _ => key.map_or(0, |key| key.changed) == number(&compare["mod_revision"]),
            }
        };
        if !compares.iter().all(holds) {
            return json!({ "header": { "revision": self.revision.to_string() } });
        }
        self.revision += 1;
        let put = &body["success"][0]["request_put"];
        let revision = self.revision;
        let name = text(&put["key"]);
        let created = self.keys.get(&name).map_or(revision, |key| key.created);
        let lease = put.get("lease").map(number);
        self.keys.insert(name, Key { value: text(&put["value"]), created, changed: revision, lease });
        json!({ "succeeded": true, "header": { "revision": revision.to_string() } })
    }

    fn grant(&mut self, body: &Value, now: Duration) -> Value {
        self.revision += 1;
        let (id, ttl) = (self.revision + 1_000_000, Duration::from_secs(number(&body["TTL"]).unsigned_abs()));
        self.leases.insert(id, (now + ttl, ttl));
        json!({ "ID": id.to_string() })
    }

    fn keep_alive(&mut self, id: &Value, now: Duration) -> Value {
        match self.leases.get_mut(&number(id)) {
            Some((until, ttl)) => {
                *until = now + *ttl;
                json!({ "result": { "TTL": ttl.as_secs().to_string() } })
            }
            None => json!({ "result": {} }),
        }
    }

    fn revoke(&mut self, id: &Value) -> Value {
        self.leases.remove(&number(id));
        self.lapse(Duration::ZERO);
        json!({})
    }
}

struct Gateway {
    etcd: Arc<Etcd>,
    latch: usize,
}

impl EtcdGateway for Gateway {
    /// Now and then the answer is lost, whatever was done.
    fn ask(&self, what: &str, body: &Value) -> Result<Value> {
        let lost = || Error::Unavailable("etcd does not answer".into());
        if self.etcd.state.lock().away.contains(&self.latch) {
            return Err(lost());
        }
        let answer = self.etcd.ask(what, body)?;
        if self.etcd.flaky.load(Ordering::Relaxed) && self.etcd.shared.once_in(400) {
            self.etcd.shared.note(|| format!("etcd's answer to {what} is lost"));
            return Err(lost());
        }
        Ok(self.forgotten(what, answer))
    }
}

impl Gateway {
    /// With that flaw, a latch that begins to lead does not find what was shown before.
    fn forgotten(&self, what: &str, mut answer: Value) -> Value {
        let value = answer["kvs"][0]["value"].as_str().and_then(|value| STANDARD.decode(value).ok());
        if self.etcd.flaw != Some(Flaw::ShownIsForgotten) || what != "kv/range" {
            return answer;
        }
        if let Some(mut page) = value.and_then(|value| serde_json::from_slice::<Value>(&value).ok())
            && page["shown"].is_number()
        {
            page["shown"] = json!(0);
            answer["kvs"][0]["value"] = json!(STANDARD.encode(page.to_string()));
        }
        answer
    }
}
