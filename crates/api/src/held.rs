//! Leases that this process holds over one connection: our own numbers, their names at the server, and until when they live.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tidelake_core::{Error, Result, env};

/// Numbers of leases are unique in the process, and no latch in the process gives such high ones: a lease of another
/// connection or latch is never mistaken for one of this.
static NEXT: AtomicU64 = AtomicU64::new(1 << 63);

struct Held {
    name: String,
    /// The buffer whose seq it is, if the latch is in a process of its own.
    lineage: Option<String>,
    /// Which of the latches of a line gave it.
    at: usize,
    until: Instant,
}

/// The leases of one connection.
#[derive(Default)]
pub(crate) struct HeldLeases {
    held: Mutex<HashMap<u64, Held>>,
}

impl HeldLeases {
    /// Its number.
    pub(crate) fn keep(&self, name: String, lineage: Option<String>, at: usize, until: Instant) -> u64 {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.held.lock().insert(id, Held { name, lineage, at, until });
        id
    }

    /// The name at the server, and which server; `None` for a lease of somebody else.
    pub(crate) fn name(&self, id: u64) -> Option<(String, usize)> {
        self.held.lock().get(&id).map(|held| (held.name.clone(), held.at))
    }

    /// The buffer whose seq it is.
    pub(crate) fn lineage(&self, id: u64) -> Option<String> {
        self.held.lock().get(&id).and_then(|held| held.lineage.clone())
    }

    /// `SnapshotExpired` once it lapsed. Asks nobody: the server checks it with every read anyway.
    pub(crate) fn check(&self, id: u64) -> Result<()> {
        match self.held.lock().get(&id) {
            Some(held) if held.until > env::now() || env::is_flawed("lapsed leases come back") => Ok(()),
            Some(_) => Err(Error::SnapshotExpired(format!("lease {id} lapsed: it was not renewed in time"))),
            None => Err(Error::SnapshotExpired(format!("lease {id} is not held here"))),
        }
    }

    /// Renewed. One that lapsed meanwhile does not come back to life.
    pub(crate) fn prolong(&self, id: u64, until: Instant) -> Result<()> {
        self.check(id)?;
        if let Some(held) = self.held.lock().get_mut(&id) {
            held.until = held.until.max(until);
        }
        Ok(())
    }

    /// The server says that it lapsed.
    pub(crate) fn lapse(&self, id: u64) {
        if let Some(held) = self.held.lock().get_mut(&id) {
            held.until = env::now();
        }
    }

    /// Forgets it; its name, and at which server.
    pub(crate) fn release(&self, id: u64) -> Option<(String, usize)> {
        self.held.lock().remove(&id).map(|held| (held.name, held.at))
    }
}
