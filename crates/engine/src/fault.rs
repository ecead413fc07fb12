//! Crash points and known bugs, switched on by tests by name. Nothing is armed outside tests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidelake_core::{Error, Result};

/// Named faults; clones share one set.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Mutex<Switches>>>);

#[derive(Default)]
struct Switches {
    on: BTreeSet<&'static str>,
    reached: BTreeSet<String>,
}

impl Faults {
    /// A set that tests can switch.
    #[must_use]
    pub fn armed() -> Faults {
        Faults(Some(Arc::default()))
    }

    /// Switches a fault on.
    pub fn set(&self, name: &'static str) {
        if let Some(switches) = &self.0 {
            switches.lock().on.insert(name);
        }
    }

    /// Switches a fault off.
    pub fn unset(&self, name: &str) {
        if let Some(switches) = &self.0 {
            let mut switches = switches.lock();
            switches.on.remove(name);
            switches.reached.remove(name);
        }
    }

    /// Switches all faults off; settings of a test (`test: ...`) stay.
    pub fn clear(&self) {
        if let Some(switches) = &self.0 {
            switches.lock().on.retain(|name| name.starts_with("test:"));
        }
    }

    /// True if somebody waits, or waited, at this place since it was switched on.
    #[must_use]
    pub fn reached(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|switches| switches.lock().reached.contains(name))
    }

    /// True if the fault is on.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|switches| switches.lock().on.contains(name))
    }

    /// A place between two durable steps: fails as a dying disk would.
    pub(crate) fn crash_point(&self, name: &str) -> Result<()> {
        if self.on(name) {
            return Err(Error::io(format!("crash point {name}"), std::io::Error::other("injected")));
        }
        Ok(())
    }

    /// A place where a test makes a thread wait.
    pub(crate) fn hold(&self, name: &str) {
        while self.on(name) {
            if let Some(switches) = &self.0 {
                switches.lock().reached.insert(name.to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
