//! Which data files have a copy in the directory, and which of them go first.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// Copies, the least recently opened ones going first.
pub(super) struct Cache {
    /// Bytes that may be here.
    most: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: u64,
    /// Counts openings.
    clock: u64,
    /// Bytes and last opening.
    files: HashMap<PathBuf, (u64, u64)>,
}

impl Cache {
    pub(super) fn new(most: u64) -> Cache {
        Cache { most, held: Mutex::default() }
    }

    /// A file was opened.
    pub(super) fn used(&self, path: &Path) {
        let held = &mut *self.held.lock();
        held.clock += 1;
        if let Some(file) = held.files.get_mut(path) {
            file.1 = held.clock;
        }
    }

    /// A file is here now. Returns those that are too much with it: the caller removes them.
    pub(super) fn add(&self, path: &Path, bytes: u64) -> Vec<PathBuf> {
        let held = &mut *self.held.lock();
        held.clock += 1;
        let before = held.files.insert(path.to_owned(), (bytes, held.clock));
        held.bytes = held.bytes - before.map_or(0, |b| b.0) + bytes;
        let mut gone = Vec::new();
        while held.bytes > self.most && held.files.len() > 1 {
            let oldest = held.files.iter().min_by_key(|f| f.1.1).map(|f| f.0.clone());
            let Some((path, (bytes, _))) = oldest.and_then(|p| held.files.remove_entry(&p)) else { break };
            held.bytes -= bytes;
            gone.push(path);
        }
        metrics::gauge!("tidelake_engine_cache_bytes").set(held.bytes as f64);
        gone
    }

    /// A file is here no more.
    pub(super) fn gone(&self, path: &Path) {
        let held = &mut *self.held.lock();
        if let Some((bytes, _)) = held.files.remove(path) {
            held.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_opened_go() {
        let cache = Cache::new(100);
        let path = |name: &str| PathBuf::from(name);
        assert!(cache.add(&path("a"), 40).is_empty() && cache.add(&path("b"), 40).is_empty());
        cache.used(&path("a"));
        assert_eq!(cache.add(&path("c"), 40), [path("b")]);
        cache.gone(&path("a"));
        assert!(cache.add(&path("d"), 60).is_empty());
        // One that is larger than the cache stays until the next one comes.
        assert_eq!(cache.add(&path("e"), 500).len(), 2);
        assert_eq!(cache.add(&path("f"), 1), [path("e")]);
        // A file that is added again counts once.
        assert!(cache.add(&path("f"), 1).is_empty() && cache.add(&path("g"), 99).is_empty());
    }
}
