//! Writer epochs: a number that only grows, also across restarts and crashes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tidelake_core::{Error, Result, WriterEpoch};

use crate::replica::Epochs;

const HEADER: &str = "tidelake writer epoch 1";

/// The file that remembers the newest granted epoch.
pub struct EpochFile {
    dir: PathBuf,
    newest: Mutex<u64>,
}

impl EpochFile {
    /// Opens or creates the directory.
    ///
    /// # Errors
    /// A foreign or damaged file: guessing an epoch could let two writers in.
    pub fn open(dir: &Path) -> Result<EpochFile> {
        fs::create_dir_all(dir).map_err(|e| Error::io(format!("create {}", dir.display()), e))?;
        let path = dir.join("epoch");
        let newest = match fs::read_to_string(&path) {
            Ok(text) => parse(&text).ok_or_else(|| {
                let reason = format!("expected {HEADER:?} and a number; if no other writer runs, delete the file");
                Error::corrupt(path.display().to_string(), reason)
            })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(Error::io(format!("read {}", path.display()), e)),
        };
        Ok(EpochFile { dir: dir.to_owned(), newest: Mutex::new(newest) })
    }

    fn store(&self, epoch: u64) -> std::io::Result<()> {
        let draft = self.dir.join("epoch.new");
        let mut file = File::create(&draft)?;
        writeln!(file, "{HEADER}\n{epoch}")?;
        file.sync_all()?;
        fs::rename(&draft, self.dir.join("epoch"))?;
        File::open(&self.dir)?.sync_all()
    }
}

impl Epochs for EpochFile {
    fn next(&self) -> Result<WriterEpoch> {
        let mut newest = self.newest.lock();
        let granted = *newest + 1;
        self.store(granted).map_err(|e| Error::io(format!("store the writer epoch in {}", self.dir.display()), e))?;
        *newest = granted;
        Ok(WriterEpoch(granted))
    }
}

fn parse(text: &str) -> Option<u64> {
    text.strip_prefix(HEADER)?.strip_prefix('\n')?.strip_suffix('\n')?.parse().ok()
}
