//! What the user asks for while the source runs: other tables, and tables copied again.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tidelake_core::TableName;
use tokio::sync::Notify;

/// Tables that are to be copied again although they may be fine.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// False: it waits; true: its copy has begun (and is in the catalog, which a restart goes on with).
    resyncs: Mutex<BTreeMap<TableName, bool>>,
    changed: Notify,
}

impl Wishes {
    /// Wakes whoever waits for [`Wishes::changed`].
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Returns after the next change.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Asks for a copy of a table that begins from now on.
    pub fn ask(&self, name: TableName) {
        self.resyncs.lock().insert(name, false);
        self.wake();
    }

    /// True if the table's copy was asked for and has not begun.
    pub fn is_waiting(&self, name: &TableName) -> bool {
        self.resyncs.lock().get(name) == Some(&false)
    }

    /// The copy has begun.
    pub fn begun(&self, name: &TableName) {
        if let Some(begun) = self.resyncs.lock().get_mut(name) {
            *begun = true;
        }
    }

    /// The wish is fulfilled, unless it was made again meanwhile.
    pub fn done(&self, name: &TableName) {
        let mut resyncs = self.resyncs.lock();
        if resyncs.get(name) == Some(&true) {
            resyncs.remove(name);
        }
    }

    /// The wish can never be fulfilled.
    pub fn forget(&self, name: &TableName) {
        self.resyncs.lock().remove(name);
    }

    /// All of them, with whether they have begun.
    pub fn all(&self) -> Vec<(TableName, bool)> {
        self.resyncs.lock().iter().map(|(name, begun)| (name.clone(), *begun)).collect()
    }
}
