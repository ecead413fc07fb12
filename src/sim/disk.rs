//! The disk of a writer's Data Buffer: real files, of which a power failure leaves what was synced, and of the rest any beginning.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use parking_lot::Mutex;

use super::world::Shared;

/// The segments in one directory.
pub struct Disk {
    dir: PathBuf,
    /// How long each was when everything was synced last.
    synced: Mutex<BTreeMap<PathBuf, u64>>,
}

impl Disk {
    pub fn new(dir: PathBuf) -> Disk {
        Disk { dir, synced: Mutex::default() }
    }

    fn lengths(&self) -> BTreeMap<PathBuf, u64> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let segments = entries.filter(|path| path.extension().is_some_and(|kind| kind == "seg"));
        segments.filter_map(|path| fs::metadata(&path).ok().map(|found| (path, found.len()))).collect()
    }

    /// Everything was synced just now.
    pub fn is_synced(&self) {
        *self.synced.lock() = self.lengths();
    }

    /// The machine stops. To be called when the process is gone.
    pub fn lose_power(&self, shared: &Shared) {
        let synced = self.synced.lock();
        for (path, length) in self.lengths() {
            let Some(kept) = synced.get(&path).copied().filter(|kept| *kept < length) else { continue };
            let left = shared.pick(kept..length + 1);
            shared.note(|| format!("of {length} bytes of {:?} {left} are left, {kept} were synced", path.file_name()));
            let cut = OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(left));
            cut.expect("a segment can be cut");
        }
    }
}
