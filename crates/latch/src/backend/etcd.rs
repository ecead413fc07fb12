//! A page in etcd. Two or more latches may run: a key that hangs on an etcd lease says who leads, and every write compares it.
//!
//! `PREFIX/leader` is there as long as a latch leads and prolongs its lease; it belongs to whoever created it. `PREFIX/page` is written by
//! transactions that compare both: the leader's own key, and the page as this leader knows it. So one that was frozen, and does not know that another
//! leads, writes nothing; and it gives no lease, because by its own clock its time is over before etcd lets go of the key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tidelake_core::{Error, Result, env};

use super::etcd_client::{EtcdClient, EtcdGateway, encode, over_http};
use super::{Backend, EtcdLogin, Leading};

/// How long etcd keeps the key of a latch that says nothing, seconds.
const TTL: u64 = 5;
/// How much of that the latch itself counts on: clocks of two machines may run differently fast.
const OWN: Duration = Duration::from_millis(TTL * 900);

/// A cluster, and a prefix of keys.
pub struct EtcdBackend {
    gateway: Arc<dyn EtcdGateway>,
    prefix: String,
    name: String,
}

impl EtcdBackend {
    /// `etcd://HOST:PORT[,HOST:PORT...][/PREFIX]`; the prefix is `tidelake` unless it is given. `name`: of this latch, for people.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no such address.
    pub fn parse(url: &str, name: &str) -> Result<EtcdBackend> {
        EtcdBackend::parse_as(url, name, EtcdLogin::default())
    }

    /// The same with certificates and a user.
    ///
    /// # Errors
    /// As for [`EtcdBackend::parse`]; [`Error::Invalid`] for certificates that are none.
    pub fn parse_as(url: &str, name: &str, login: EtcdLogin) -> Result<EtcdBackend> {
        let wrong = || Error::Invalid(format!("{url:?} is not etcd://HOST:PORT[,HOST:PORT...][/PREFIX]"));
        let rest = url.strip_prefix("etcd://").ok_or_else(wrong)?;
        let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = if prefix.is_empty() { "tidelake" } else { prefix.trim_end_matches('/') };
        let is_host = |host: &&str| {
            host.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok())
        };
        let hosts: Vec<&str> = hosts.split(',').collect();
        if !hosts.iter().all(is_host) || hosts.iter().any(|host| host.contains('@')) {
            return Err(wrong());
        }
        let scheme = if login.is_encrypted() { "https" } else { "http" };
        let endpoints = hosts.iter().map(|host| format!("{scheme}://{host}")).collect();
        Ok(EtcdBackend::over(over_http(endpoints, login)?, prefix, name))
    }

    /// Over any gateway.
    pub fn over(gateway: Arc<dyn EtcdGateway>, prefix: &str, name: &str) -> EtcdBackend {
        EtcdBackend { gateway, prefix: prefix.to_owned(), name: name.to_owned() }
    }
}

impl Backend for EtcdBackend {
    fn campaign(&self) -> Result<Option<Box<dyn Leading>>> {
        let client = EtcdClient(self.gateway.clone());
        let (leader, page) = (format!("{}/leader", self.prefix), format!("{}/page", self.prefix));
        if client.get(&leader)?.is_some() {
            return Ok(None);
        }
        let begun = env::now();
        let lease = client.grant(TTL)?;
        let absent = json!([{ "key": encode(&leader), "target": "CREATE", "create_revision": "0" }]);
        let created = client.put_if(absent, &leader, &self.name, Some(lease));
        let Ok(Some(created)) = created else {
            // Of no use to anybody; it lapses by itself too.
            let _ = client.revoke(lease);
            return created.map(|_| None);
        };
        let known = Mutex::new(None);
        let until = Mutex::new(begun + OWN);
        Ok(Some(Box::new(EtcdLeading { client, leader, page, created, lease, known, until })))
    }
}

struct EtcdLeading {
    client: EtcdClient,
    leader: String,
    page: String,
    /// The revision in which our own key was created: no other key has it.
    created: i64,
    lease: i64,
    /// The revision of the page as we know it; `None`: not read yet.
    known: Mutex<Option<i64>>,
    until: Mutex<Instant>,
}

impl EtcdLeading {
    fn own(&self) -> Value {
        json!({ "key": encode(&self.leader), "target": "CREATE", "create_revision": self.created.to_string() })
    }
}

impl Leading for EtcdLeading {
    fn load(&self) -> Result<Option<String>> {
        let found = self.client.get(&self.page)?;
        *self.known.lock() = Some(found.as_ref().map_or(0, |found| found.mod_revision));
        Ok(found.map(|found| found.value))
    }

    fn store(&self, page: &str) -> Result<()> {
        let mut known = self.known.lock();
        let revision = known.take().ok_or_else(|| Error::Unavailable("an earlier write ended in the dark".into()))?;
        let same = json!({ "key": encode(&self.page), "target": "MOD", "mod_revision": revision.to_string() });
        let written = self.client.put_if(json!([self.own(), same]), &self.page, page, None)?;
        *known = Some(written.ok_or_else(|| Error::Unavailable("another latch leads".into()))?);
        Ok(())
    }

    fn until(&self) -> Option<Instant> {
        Some(*self.until.lock())
    }

    fn keep(&self) -> Result<()> {
        let begun = env::now();
        if !self.client.keep_alive(self.lease)? {
            return Err(Error::Closed("etcd has ended this latch's lease".into()));
        }
        let mut until = self.until.lock();
        *until = (*until).max(begun + OWN);
        Ok(())
    }

    fn resign(&self) {
        if let Err(error) = self.client.revoke(self.lease) {
            tracing::debug!(%error, "the latch's lease was not revoked; it lapses");
        }
    }
}
