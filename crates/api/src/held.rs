//! Leases that this process holds over one connection: our own numbers, their names at the server, and until when they live.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tidelake_core::{Error, Result};

/// Numbers of leases are unique in the process, and no latch in the process gives such high ones: a lease of another
/// connection or latch is never mistaken for one of this.
static NEXT: AtomicU64 = AtomicU64::new(1 << 63);

struct Held {
    name: String,
    until: Instant,
}

/// The leases of one connection.
#[derive(Default)]
pub(crate) struct HeldLeases {
    held: Mutex<HashMap<u64, Held>>,
}

impl HeldLeases {
    /// Its number.
    pub(crate) fn keep(&self, name: String, until: Instant) -> u64 {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.held.lock().insert(id, Held { name, until });
        id
    }

    /// The name at the server; `None` for a lease of somebody else.
    pub(crate) fn name(&self, id: u64) -> Option<String> {
        self.held.lock().get(&id).map(|held| held.name.clone())
    }

    /// `SnapshotExpired` once it lapsed. Asks nobody: the server checks it with every read anyway.
    pub(crate) fn check(&self, id: u64) -> Result<()> {
        match self.held.lock().get(&id) {
            Some(held) if held.until > Instant::now() => Ok(()),
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
            held.until = Instant::now();
        }
    }

    /// Forgets it; its name.
    pub(crate) fn release(&self, id: u64) -> Option<String> {
        self.held.lock().remove(&id).map(|held| held.name)
    }
}
