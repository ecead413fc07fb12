//! Where the engine's files are: in its directory, or in an object store that the directory is a cache of (docs/adr/0007).
//!
//! Files are written in the directory either way, and read from there. With an object store, a finished file is put there
//! before any manifest names it; data files leave the directory again when it holds more than it may, and are fetched whole when
//! they are read. Key indexes and death logs always have their copy here.

mod cache;
mod fetching;
mod objects;
mod place;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelake_core::{Error, Result};

use crate::fault::Faults;
use crate::options::EngineOptions;
use crate::parquet_file::sync_dir;
use cache::Cache;
use fetching::Fetching;
pub(crate) use objects::{Objects, Put};
pub use place::ObjectPlace;

/// Says which object store a directory is a cache of.
const MARK: &str = "STORAGE";
/// Files on their way from the object store.
const FETCHED: &str = "fetch";
/// What a directory has besides `manifest` and `table`.
pub(crate) const OWN_NAMES: [&str; 3] = ["LOCK", MARK, FETCHED];
/// Bytes of data files in a directory that is only read.
const READER_CACHE: u64 = 4 << 30;

/// The storage of one engine.
pub(crate) struct Storage {
    dir: PathBuf,
    remote: Option<Remote>,
    faults: Faults,
}

struct Remote {
    objects: Objects,
    cache: Cache,
    fetching: Fetching,
}

/// What a whole file is like.
#[derive(Clone, Copy)]
pub(crate) struct Whole {
    pub(crate) bytes: u64,
    pub(crate) crc: u32,
}

impl Storage {
    /// The storage that the options ask for. The caller holds the directory's lock.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the directory belongs to another storage.
    pub(crate) fn open(options: &EngineOptions) -> Result<Arc<Storage>> {
        let dir = options.dir.clone();
        let marked = read_mark(&dir)?;
        let wanted = options.objects.as_ref().map(ObjectPlace::name);
        if marked != wanted && (marked.is_some() || dir.join("manifest").is_dir()) {
            let have = marked.unwrap_or_else(|| "this directory".into());
            let want = wanted.unwrap_or_else(|| "no object store".into());
            return Err(Error::Invalid(format!(
                "the engine in {} has its files in {have}, the options name {want}: they cannot be moved by an option; use \
                 the storage it was made with, or another data directory",
                dir.display()
            )));
        }
        let remote = options.objects.as_ref().map(|o| Remote::open(&dir, o, options.cache_bytes)).transpose()?;
        if let Some(place) = &options.objects
            && read_mark_url(&dir)?.as_deref() != Some(place.url())
        {
            write_mark(&dir, place)?;
        }
        Ok(Arc::new(Storage { dir, remote, faults: options.faults.clone() }))
    }

    /// The storage of a directory that some engine was opened in; credentials come from the environment.
    pub(crate) fn of_directory(dir: &Path) -> Result<Arc<Storage>> {
        let faults = Faults::default();
        let Some(url) = read_mark_url(dir)? else {
            return Ok(Arc::new(Storage { dir: dir.to_owned(), remote: None, faults }));
        };
        let remote = Some(Remote::open(dir, &ObjectPlace::parse(&url)?, READER_CACHE)?);
        Ok(Arc::new(Storage { dir: dir.to_owned(), remote, faults }))
    }

    /// True if the directory holds an engine, or is the cache of one.
    pub(crate) fn is_engine(dir: &Path) -> bool {
        dir.join("manifest").is_dir() || dir.join(MARK).is_file()
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The object store, if files are there.
    pub(crate) fn objects(&self) -> Option<&Objects> {
        self.remote.as_ref().map(|r| &r.objects)
    }

    /// Makes finished files of one folder durable under their names.
    pub(crate) fn keep(&self, paths: &[&Path]) -> Result<()> {
        let Some(remote) = &self.remote else {
            let folder = paths.first().and_then(|p| p.parent());
            return folder.map_or(Ok(()), sync_dir);
        };
        for path in paths {
            self.faults.crash_point("storage: before put")?;
            remote.objects.put_file(&self.key(path)?, path)?;
            self.faults.crash_point("storage: after put")?;
            remote.hold(path)?;
        }
        Ok(())
    }

    /// Writes a small file, durably.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let io = |e| Error::io(format!("write {}", path.display()), e);
        let mut file = File::create(path).map_err(io)?;
        file.write_all(bytes).map_err(io)?;
        file.sync_all().map_err(io)?;
        self.keep(&[path])
    }

    /// Removes a file that no manifest names any more. What stays, the next open removes.
    pub(crate) fn remove(&self, path: &Path) {
        let stays = |e: &dyn std::fmt::Display| {
            tracing::warn!(path = %path.display(), error = %e, "a file that is no longer needed stays");
        };
        if let Err(e) = fs::remove_file(path)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            stays(&e);
        }
        if let Some(remote) = &self.remote {
            remote.cache.gone(path);
            if let Err(e) = self.key(path).and_then(|key| remote.objects.delete(&key)) {
                stays(&e);
            }
        }
    }

    /// Opens a file for reading, fetched if it is not here; what is fetched must be `whole`.
    ///
    /// # Errors
    /// [`Error::SnapshotExpired`] if it was let go meanwhile.
    pub(crate) fn open_file(&self, path: &Path, whole: Option<Whole>) -> Result<File> {
        match (File::open(path), &self.remote) {
            (Ok(file), None) => Ok(file),
            (Ok(file), Some(remote)) => {
                remote.cache.used(path);
                Ok(file)
            }
            (Err(e), Some(remote)) if e.kind() == std::io::ErrorKind::NotFound => {
                remote.fetch(&self.dir, path, &self.key(path)?, whole)
            }
            (Err(e), None) if e.kind() == std::io::ErrorKind::NotFound => Err(let_go(path)),
            (Err(e), _) => Err(Error::io(format!("open {}", path.display()), e)),
        }
    }

    /// Puts the object's bytes in the place of a damaged copy. False if there is no object store.
    pub(crate) fn fetch_anew(&self, path: &Path, whole: Option<Whole>) -> Result<bool> {
        let Some(remote) = &self.remote else { return Ok(false) };
        let exists = path.exists();
        self.drop_copy(path)?;
        if exists {
            tracing::warn!(path = %path.display(), "fetching a damaged copy anew");
        }
        remote.fetch(&self.dir, path, &self.key(path)?, whole).map(|_| true)
    }

    /// Removes the copy of an object.
    pub(crate) fn drop_copy(&self, path: &Path) -> Result<()> {
        let Some(remote) = &self.remote else { return Ok(()) };
        remote.cache.gone(path);
        match fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove {}", path.display()), e))
            }
            _ => Ok(()),
        }
    }

    /// True if reading this file needs no object store.
    pub(crate) fn is_here(&self, path: &Path) -> bool {
        self.remote.is_none() || path.exists()
    }

    /// Name of a file in the object store.
    fn key(&self, path: &Path) -> Result<String> {
        let below = path.strip_prefix(&self.dir).ok().and_then(Path::to_str);
        below.map(str::to_owned).ok_or_else(|| Error::Internal(format!("{} is not in the engine", path.display())))
    }

    /// Files in the object store below `table/`, as paths they have here, with their bytes.
    pub(crate) fn stored_files(&self) -> Result<Vec<(PathBuf, u64)>> {
        let Some(objects) = self.objects() else { return Ok(Vec::new()) };
        Ok(objects.list("table")?.into_iter().map(|(key, bytes)| (self.dir.join(key), bytes)).collect())
    }
}

impl Remote {
    fn open(dir: &Path, place: &ObjectPlace, cache_bytes: u64) -> Result<Remote> {
        let fetched = dir.join(FETCHED);
        let io = |e| Error::io(format!("empty {}", fetched.display()), e);
        if fetched.is_dir() {
            fs::remove_dir_all(&fetched).map_err(io)?;
        }
        fs::create_dir_all(&fetched).map_err(io)?;
        let remote =
            Remote { objects: Objects::open(place)?, cache: Cache::new(cache_bytes), fetching: Fetching::default() };
        remote.find_copies(&dir.join("table"))?;
        Ok(remote)
    }

    /// Data files that are here already.
    fn find_copies(&self, folder: &Path) -> Result<()> {
        let io = |e| Error::io(format!("list {}", folder.display()), e);
        if !folder.is_dir() {
            return Ok(());
        }
        for entry in fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.is_dir() {
                self.find_copies(&path)?;
            } else {
                self.hold(&path)?;
            }
        }
        Ok(())
    }

    /// A data file is here now; others may have to go.
    fn hold(&self, path: &Path) -> Result<()> {
        if path.extension().is_none_or(|e| e != "parquet") {
            return Ok(());
        }
        let bytes = fs::metadata(path).map_err(|e| Error::io(format!("open {}", path.display()), e))?.len();
        for old in self.cache.add(path, bytes) {
            // Who reads it has it open.
            if let Err(e) = fs::remove_file(&old)
                && e.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %old.display(), error = %e, "a copy that is too much stays");
            }
        }
        Ok(())
    }

    fn fetch(&self, dir: &Path, path: &Path, key: &str, whole: Option<Whole>) -> Result<File> {
        let _one_at_a_time = self.fetching.begin(path);
        if let Ok(file) = File::open(path) {
            return Ok(file);
        }
        let io = |e| Error::io(format!("fetch {}", path.display()), e);
        let temporary = dir.join(FETCHED).join(self.fetching.name());
        let got = self.objects.get_file(key, &temporary)?;
        let Some(got) = got else { return Err(let_go(path)) };
        if whole.is_some_and(|w| w.bytes != got.bytes || w.crc != got.crc) {
            let _ = fs::remove_file(&temporary);
            return Err(Error::corrupt(
                format!("{}/{key}", self.objects.name()),
                format!("{} bytes with checksum {:08x}: not what the manifest has", got.bytes, got.crc),
            ));
        }
        metrics::counter!("tidelake_engine_fetched_bytes_total").increment(got.bytes);
        let file = File::open(&temporary).map_err(io)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io)?;
        }
        fs::rename(&temporary, path).map_err(io)?;
        self.hold(path)?;
        Ok(file)
    }
}

fn let_go(path: &Path) -> Error {
    Error::SnapshotExpired(format!("{} was let go", path.display()))
}

fn read_mark_url(dir: &Path) -> Result<Option<String>> {
    let path = dir.join(MARK);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(format!("read {}", path.display()), e)),
    }
}

/// Which object store a directory is a cache of, without how it is reached.
fn read_mark(dir: &Path) -> Result<Option<String>> {
    read_mark_url(dir)?.map(|url| Ok(ObjectPlace::parse(&url)?.name())).transpose()
}

fn write_mark(dir: &Path, place: &ObjectPlace) -> Result<()> {
    let (path, temporary) = (dir.join(MARK), dir.join(FETCHED).join(MARK));
    let io = |e| Error::io(format!("write {}", path.display()), e);
    let mut file = File::create(&temporary).map_err(io)?;
    file.write_all(place.url().as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    fs::rename(&temporary, &path).map_err(io)?;
    sync_dir(dir)
}
