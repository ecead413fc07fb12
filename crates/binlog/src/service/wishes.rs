//! What the user asks for while the source runs: other tables, and tables copied again.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tidelake_core::TableName;
use tokio::sync::Notify;

/// Tables that are to be copied again although they may be fine.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    resyncs: Mutex<BTreeMap<TableName, Wish>>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Waits,
    /// Its copy is in the catalog, which a restart goes on with.
    Begun,
    /// It can never be fulfilled. Whoever made it is still to be told.
    GivenUp,
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
        self.resyncs.lock().insert(name, Wish::Waits);
        self.wake();
    }

    /// True if the table's copy was asked for and has not begun.
    pub fn is_waiting(&self, name: &TableName) -> bool {
        self.resyncs.lock().get(name) == Some(&Wish::Waits)
    }

    /// The copy has begun.
    pub fn begun(&self, name: &TableName) {
        if let Some(wish) = self.resyncs.lock().get_mut(name) {
            *wish = Wish::Begun;
        }
    }

    /// The wish is fulfilled, unless it was made again meanwhile.
    pub fn done(&self, name: &TableName) {
        let mut resyncs = self.resyncs.lock();
        if resyncs.get(name) == Some(&Wish::Begun) {
            resyncs.remove(name);
        }
    }

    /// The wish can never be fulfilled.
    pub fn give_up(&self, name: &TableName) {
        self.resyncs.lock().insert(name.clone(), Wish::GivenUp);
    }

    /// Those that are still to be fulfilled, with whether they have begun.
    pub fn all(&self) -> Vec<(TableName, bool)> {
        let resyncs = self.resyncs.lock();
        let open = resyncs.iter().filter(|(_, wish)| **wish != Wish::GivenUp);
        open.map(|(name, wish)| (name.clone(), *wish == Wish::Begun)).collect()
    }

    /// Those that can never be fulfilled, until they are made again.
    pub fn given_up(&self) -> Vec<TableName> {
        let resyncs = self.resyncs.lock();
        resyncs.iter().filter(|(_, wish)| **wish == Wish::GivenUp).map(|(name, _)| name.clone()).collect()
    }
}
