//! Fetching one file once, however many ask for it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

/// Files that are being fetched.
#[derive(Default)]
pub(super) struct Fetching {
    files: Mutex<HashSet<PathBuf>>,
    done: Condvar,
    names: AtomicU64,
}

/// Who has it fetches the file alone.
pub(super) struct Turn<'a> {
    of: &'a Fetching,
    path: &'a Path,
}

impl Fetching {
    /// Waits until nobody else fetches the file.
    pub(super) fn begin<'a>(&'a self, path: &'a Path) -> Turn<'a> {
        let mut files = self.files.lock();
        while !files.insert(path.to_owned()) {
            self.done.wait(&mut files);
        }
        Turn { of: self, path }
    }

    /// A name that no other file on its way has.
    pub(super) fn name(&self) -> String {
        self.names.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.of.files.lock().remove(self.path);
        self.of.done.notify_all();
    }
}
