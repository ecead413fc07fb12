//! Which data files were read to their end, over restarts: a file that did not change and has nothing above the position is
//! not read again.
//!
//! A file of JSON lines that is appended to after each release and written anew at each start. A line that is lost or
//! torn costs a file read again, nothing else.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidelake_core::{Error, Result};

use super::store::Stamp;

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Below the sink's root.
    path: PathBuf,
    /// Its content then.
    pub stamp: Stamp,
    /// The newest commit-ts in it.
    pub newest: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: HashMap<PathBuf, Entry>,
    fresh: Vec<PathBuf>,
    file: Option<PathBuf>,
}

impl Ledger {
    /// Reads what an earlier process kept in `file`, as far as it holds at this position.
    #[must_use]
    pub fn open(file: &Path, floor: u64) -> Ledger {
        let mut ledger = Ledger { file: Some(file.to_owned()), ..Ledger::default() };
        let text = std::fs::read(file).unwrap_or_default();
        for line in text.split(|b| *b == b'\n') {
            let Ok(entry) = serde_json::from_slice::<Entry>(line) else { continue };
            ledger.entries.insert(entry.path.clone(), entry);
        }
        ledger.entries.retain(|_, entry| entry.newest <= floor);
        ledger
    }

    /// The content of a file that was read.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// A file was read to its end.
    pub fn note(&mut self, path: &Path, stamp: Stamp, newest: u64) {
        self.entries.insert(path.to_owned(), Entry { path: path.to_owned(), stamp, newest });
        self.fresh.push(path.to_owned());
    }

    /// A file is gone.
    pub fn forget(&mut self, path: &Path) {
        self.entries.remove(path);
    }

    /// Forgets files that are not there any more, and writes everything anew.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_only(&mut self, there: &dyn Fn(&Path) -> bool) -> Result<()> {
        self.entries.retain(|path, _| there(path));
        let Some(file) = &self.file else { return Ok(()) };
        let io = |e| Error::io(format!("write {}", file.display()), e);
        let mut text = Vec::new();
        for entry in self.entries.values() {
            line(entry, &mut text)?;
        }
        let fresh = file.with_extension("new");
        std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, file)).map_err(io)?;
        self.fresh.clear();
        Ok(())
    }

    /// Keeps what was read since the last time; everything in it is in the Data Buffer, or above the position.
    ///
    /// # Errors
    /// What the file system says.
    pub fn flush(&mut self) -> Result<()> {
        let Some(file) = self.file.as_ref().filter(|_| !self.fresh.is_empty()) else { return Ok(()) };
        let io = |e| Error::io(format!("write {}", file.display()), e);
        let mut text = Vec::new();
        for path in self.fresh.drain(..) {
            if let Some(entry) = self.entries.get(&path) {
                line(entry, &mut text)?;
            }
        }
        let mut out = File::options().create(true).append(true).open(file).map_err(io)?;
        out.write_all(&text).map_err(io)
    }
}

fn line(entry: &Entry, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(&mut *out, entry).map_err(|e| Error::Internal(format!("encode a file's entry: {e}")))?;
    out.push(b'\n');
    Ok(())
}
