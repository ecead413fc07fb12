//! The bytes of the manifest: appending edits, starting a new file, reading one back.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelake_core::{Error, Result};

use super::objects::{MOST_EDITS, ObjectLog, read_newest as read_objects};
use super::{Edit, State};
use crate::fault::Faults;
use crate::parquet_file::sync_dir;
use crate::storage::Storage;

const HEADER: &[u8; 16] = b"TLMANIFEST v0002";
/// The version without levels: read, and written anew as version 2 when its directory is opened.
const HEADER_V1: &[u8; 16] = b"TLMANIFEST v0001";
/// The header without its version.
const NAME: &[u8] = b"TLMANIFEST v";
const RECORD: &[u8; 4] = b"\xf7TLR";
const RECORD_HEAD: usize = 12;
/// A new file begins when edits are over this and over twice the snapshot.
const ROLL_BYTES: u64 = 1 << 20;

/// The manifest that is written to.
pub(crate) struct ManifestLog {
    medium: Medium,
    state: State,
    snapshot_bytes: u64,
    bytes: u64,
    /// Edits since the snapshot.
    edits: u64,
    faults: Faults,
}

/// Where its records are.
enum Medium {
    File(FileLog),
    Objects(ObjectLog),
}

struct FileLog {
    dir: PathBuf,
    number: u64,
    file: File,
    path: PathBuf,
}

impl ManifestLog {
    /// Reads the newest manifest, or an empty state for a new engine, and its number.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for damage, [`Error::Invalid`] for files that are not the engine's.
    pub(crate) fn recover(storage: &Storage) -> Result<(u64, State)> {
        if storage.objects().is_none() {
            let dir = folder(storage);
            fs::create_dir_all(&dir).map_err(|e| Error::io(format!("create {}", dir.display()), e))?;
        }
        ManifestLog::read_newest(storage)
    }

    /// The same of an engine that is there.
    pub(crate) fn read_newest(storage: &Storage) -> Result<(u64, State)> {
        let (number, mut state) = match storage.objects() {
            Some(objects) => read_objects(objects)?,
            None => read_files(&folder(storage))?,
        };
        state.forget_gone_tables();
        Ok((number, state))
    }

    /// Starts with `state` as record or file `number`, and lets the older ones go.
    pub(crate) fn start(storage: &Arc<Storage>, number: u64, state: State, faults: Faults) -> Result<ManifestLog> {
        let (medium, length) = if storage.objects().is_some() {
            let (log, length) = ObjectLog::start(storage, number, &state)?;
            (Medium::Objects(log), length)
        } else {
            let (log, length) = FileLog::start(&folder(storage), number, &state, &faults)?;
            (Medium::File(log), length)
        };
        Ok(ManifestLog { medium, state, snapshot_bytes: length, bytes: length, edits: 0, faults })
    }

    /// The state after all edits.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Makes an edit durable. After an error the engine must not write again: whether the edit is on disk is
    /// not known.
    pub(crate) fn append(&mut self, edit: &Edit) -> Result<()> {
        let mut next = self.state.clone();
        next.apply(edit)?;
        self.bytes += match &mut self.medium {
            Medium::File(log) => log.append(edit, &self.faults)?,
            Medium::Objects(log) => {
                self.faults.crash_point("manifest: torn edit")?;
                let length = log.edit(edit)?;
                self.faults.crash_point("manifest: answer lost")?;
                length
            }
        };
        self.edits += 1;
        self.state = next;
        if self.is_long() { self.roll() } else { Ok(()) }
    }

    fn is_long(&self) -> bool {
        let many = matches!(self.medium, Medium::Objects(_)) && self.edits >= MOST_EDITS;
        many || (self.bytes > ROLL_BYTES && self.bytes > 3 * self.snapshot_bytes)
    }

    /// Begins anew with a snapshot.
    fn roll(&mut self) -> Result<()> {
        let length = match &mut self.medium {
            Medium::File(log) => {
                let (next, length) = FileLog::start(&log.dir, log.number + 1, &self.state, &self.faults)?;
                *log = next;
                length
            }
            Medium::Objects(log) => log.snapshot(&self.state)?,
        };
        (self.snapshot_bytes, self.bytes, self.edits) = (length, length, 0);
        Ok(())
    }
}

impl FileLog {
    /// Returns the bytes of the file too.
    fn start(dir: &Path, number: u64, state: &State, faults: &Faults) -> Result<(FileLog, u64)> {
        let path = dir.join(format!("{number}.log"));
        let tmp = dir.join(format!("{number}.tmp"));
        let io = |e| Error::io(format!("write {}", tmp.display()), e);
        let mut bytes = HEADER.to_vec();
        bytes.extend_from_slice(&record(state)?);
        let mut file = File::create(&tmp).map_err(io)?;
        file.write_all(&bytes).map_err(io)?;
        file.sync_all().map_err(io)?;
        faults.crash_point("manifest: before rename")?;
        fs::rename(&tmp, &path).map_err(io)?;
        sync_dir(dir)?;
        for old in numbers(dir)?.into_iter().filter(|n| *n < number) {
            let old = dir.join(format!("{old}.log"));
            fs::remove_file(&old).map_err(|e| Error::io(format!("remove {}", old.display()), e))?;
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(io)?;
        Ok((FileLog { dir: dir.to_owned(), number, file, path }, bytes.len() as u64))
    }

    fn append(&mut self, edit: &Edit, faults: &Faults) -> Result<u64> {
        let io = |e| Error::io(format!("write {}", self.path.display()), e);
        let bytes = record(edit)?;
        if faults.on("manifest: torn edit") {
            self.file.write_all(&bytes[..bytes.len() / 2]).map_err(io)?;
        }
        faults.crash_point("manifest: torn edit")?;
        self.file.write_all(&bytes).map_err(io)?;
        self.file.sync_data().map_err(io)?;
        Ok(bytes.len() as u64)
    }
}

fn folder(storage: &Storage) -> PathBuf {
    storage.dir().join("manifest")
}

fn read_files(dir: &Path) -> Result<(u64, State)> {
    let Some(newest) = numbers(dir)?.into_iter().max() else { return Ok((0, State::empty())) };
    let path = dir.join(format!("{newest}.log"));
    let bytes = fs::read(&path).map_err(|e| Error::io(format!("read {}", path.display()), e))?;
    Ok((newest, read_manifest(&path.display().to_string(), &bytes)?))
}

fn numbers(dir: &Path) -> Result<Vec<u64>> {
    let io = |e| Error::io(format!("list {}", dir.display()), e);
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if let Some(number) = name.strip_suffix(".log").and_then(|n| n.parse().ok()) {
            out.push(number);
        } else if name.strip_suffix(".tmp").and_then(|n| n.parse::<u64>().ok()).is_some() {
            fs::remove_file(&path).map_err(|e| Error::io(format!("remove {}", path.display()), e))?;
        } else {
            return Err(Error::Invalid(format!("{} is not a file of the Magic Engine: move it away", path.display())));
        }
    }
    Ok(out)
}

pub(super) fn record<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(value).map_err(|e| Error::Internal(format!("encode manifest record: {e}")))?;
    let length = u32::try_from(json.len()).map_err(|_| Error::Limit("manifest record over 4 GiB".into()))?;
    let mut out = Vec::with_capacity(json.len() + RECORD_HEAD);
    out.extend_from_slice(RECORD);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&json).to_le_bytes());
    out.extend_from_slice(&json);
    Ok(out)
}

/// The whole record at the front of `bytes`, and what follows it.
pub(super) fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(RECORD)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (json, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (crc32fast::hash(json) == u32::from_le_bytes(*crc)).then_some((json, rest))
}

/// Why a file with another header is refused.
fn refused(place: &str, bytes: &[u8]) -> Error {
    let digits = bytes.strip_prefix(NAME).and_then(|rest| std::str::from_utf8(rest.get(..4)?).ok());
    match digits.and_then(|d| d.parse::<u32>().ok()) {
        Some(version) => Error::Invalid(format!(
            "{place} has format version {version}, this build reads versions 1 and 2: use the Tidelake that wrote it"
        )),
        None => Error::corrupt(place, "not a manifest of the Magic Engine"),
    }
}

/// The state in a manifest file. A torn last edit is as if it had never been written; `place` names the file.
///
/// # Errors
/// [`Error::Corrupt`] if the file is foreign, or damaged anywhere else than at its end; [`Error::Invalid`] if it is of
/// another format version.
pub fn read_manifest(place: &str, bytes: &[u8]) -> Result<State> {
    let at = |rest: &[u8]| format!("{place} offset {}", bytes.len() - rest.len());
    let body = bytes.strip_prefix(HEADER).or_else(|| bytes.strip_prefix(HEADER_V1));
    let Some(body) = body else { return Err(refused(place, bytes)) };
    let (snapshot, mut rest) =
        split_record(body).ok_or_else(|| Error::corrupt(at(body), "the first record is damaged"))?;
    let mut state: State =
        serde_json::from_slice(snapshot).map_err(|e| Error::corrupt(at(body), format!("not a snapshot: {e}")))?;
    while !rest.is_empty() {
        let Some((edit, after)) = split_record(rest) else {
            if (1..rest.len()).any(|i| split_record(&rest[i..]).is_some()) {
                return Err(Error::corrupt(at(rest), "a damaged edit before whole ones"));
            }
            tracing::warn!(place, bytes = rest.len(), "manifest ends in a torn edit: left out");
            break;
        };
        let edit: Edit =
            serde_json::from_slice(edit).map_err(|e| Error::corrupt(at(rest), format!("not an edit: {e}")))?;
        state.apply(&edit).map_err(|e| Error::corrupt(at(rest), e.to_string()))?;
        rest = after;
    }
    Ok(state)
}
