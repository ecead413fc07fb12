//! A page in a directory of this machine. A lock of the file system says who leads.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tidelake_core::{Error, Result};

use super::{Backend, Leading};

/// A directory.
pub struct FileBackend {
    dir: PathBuf,
}

impl FileBackend {
    /// In this directory, which is created if it is not there.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> FileBackend {
        FileBackend { dir: dir.into() }
    }
}

impl Backend for FileBackend {
    fn campaign(&self) -> Result<Option<Box<dyn Leading>>> {
        let dir = &self.dir;
        fs::create_dir_all(dir).map_err(|e| Error::io(format!("create {}", dir.display()), e))?;
        let path = dir.join("lock");
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = opened.map_err(|e| Error::io(format!("open {}", path.display()), e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Box::new(FileLeading { dir: dir.clone(), _lock: lock }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(Error::io(format!("lock {}", path.display()), e)),
        }
    }
}

struct FileLeading {
    dir: PathBuf,
    _lock: File,
}

impl FileLeading {
    fn path(&self) -> PathBuf {
        self.dir.join("page.json")
    }
}

fn write(dir: &Path, path: &Path, page: &str) -> std::io::Result<()> {
    let draft = dir.join("page.json.new");
    let mut file = File::create(&draft)?;
    file.write_all(page.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(dir)?.sync_all()
}

impl Leading for FileLeading {
    fn load(&self) -> Result<Option<String>> {
        match fs::read_to_string(self.path()) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(format!("read {}", self.path().display()), e)),
        }
    }

    fn store(&self, page: &str) -> Result<()> {
        write(&self.dir, &self.path(), page).map_err(|e| Error::io(format!("write {}", self.path().display()), e))
    }

    fn until(&self) -> Option<Instant> {
        None
    }

    fn keep(&self) -> Result<()> {
        Ok(())
    }

    fn resign(&self) {}
}
