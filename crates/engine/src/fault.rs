//! Crash points and known bugs, switched on by tests by name. Nothing is armed outside tests.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tidelake_core::{Error, Result};

/// Named faults; clones share one set.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Mutex<BTreeSet<&'static str>>>>);

impl Faults {
    /// A set that tests can switch.
    #[must_use]
    pub fn armed() -> Faults {
        Faults(Some(Arc::default()))
    }

    /// Switches a fault on.
    pub fn set(&self, name: &'static str) {
        if let Some(set) = &self.0 {
            set.lock().insert(name);
        }
    }

    /// Switches all faults off; settings of a test (`test: ...`) stay.
    pub fn clear(&self) {
        if let Some(set) = &self.0 {
            set.lock().retain(|name| name.starts_with("test:"));
        }
    }

    /// True if the fault is on.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|set| set.lock().contains(name))
    }

    /// A place between two durable steps: fails as a dying disk would.
    pub(crate) fn crash_point(&self, name: &str) -> Result<()> {
        if self.on(name) {
            return Err(Error::io(format!("crash point {name}"), std::io::Error::other("injected")));
        }
        Ok(())
    }
}
