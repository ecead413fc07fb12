//! Leases that clients hold by name. A name cannot be guessed, so nobody releases or prolongs what is another's.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tidelake_core::ports::{Latch, SnapshotLease};
use tidelake_core::{Error, Result};

/// Most leases held at a time by all clients.
pub const MAX_LEASES: usize = 10_000;
/// Longest time that a lease lives without a renewal, and that a client may wait for one.
pub const LONGEST: Duration = Duration::from_secs(3600);

/// A name that nothing has, and nobody guesses.
#[must_use]
pub fn new_name() -> String {
    format!("{:032x}", tidelake_core::env::chance().unwrap_or_else(rand::random))
}

/// The leases of one server.
#[derive(Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<String, SnapshotLease>>,
}

impl Leases {
    /// Keeps a lease; its name.
    pub(crate) fn keep(&self, latch: &dyn Latch, lease: SnapshotLease) -> Result<String> {
        let mut held = self.held.lock();
        if held.len() >= MAX_LEASES {
            held.retain(|_, lease| latch.check(lease).is_ok());
        }
        if held.len() >= MAX_LEASES {
            return Err(Error::Limit(format!("{MAX_LEASES} leases are held; release some")));
        }
        let name = new_name();
        held.insert(name.clone(), lease);
        Ok(name)
    }

    /// The lease of a name, if it lives.
    pub(crate) fn live(&self, latch: &dyn Latch, name: &str) -> Result<SnapshotLease> {
        let mut held = self.held.lock();
        let unknown = || {
            Error::SnapshotExpired("there is no such lease: it lapsed, was released, or the server restarted".into())
        };
        let lease = held.get(name).cloned().ok_or_else(unknown)?;
        if let Err(e) = latch.check(&lease) {
            held.remove(name);
            return Err(e);
        }
        Ok(lease)
    }

    /// The client is done. Not an error for a lease that is gone.
    pub(crate) fn release(&self, name: &str) {
        self.held.lock().remove(name);
    }

    /// Forgets what lapsed.
    pub(crate) fn sweep(&self, latch: &dyn Latch) {
        self.held.lock().retain(|_, lease| latch.check(lease).is_ok());
    }
}
