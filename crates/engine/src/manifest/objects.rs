//! The manifest in an object store, which cannot append: one object per record, numbered without a gap.
//!
//! A record is a snapshot of the whole state or an edit of it. Each must be *new* under its number (`If-None-Match`): of
//! two engines that write after the same record only one gets it, and the other one stops. An engine that opens puts a
//! snapshot first; from then on those before it cannot commit any more. Numbers below the newest snapshot are of no
//! meaning and are removed; as a late request may still put one there, a commit counts only if nothing of a higher
//! number is there right after it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidelake_core::{Error, Result};

use super::log::{record, split_record};
use super::{Edit, State};
use crate::storage::{Objects, Put, Storage};

const HEADER: &[u8; 16] = b"TLMANIFOBJ v0001";
const FOLDER: &str = "manifest";
/// Edits after one snapshot: opening reads them all.
pub(super) const MOST_EDITS: u64 = 32;
/// Objects that vanish while they are read: another engine writes a snapshot.
const ATTEMPTS: usize = 5;

/// What an object holds, before its snapshot or edit.
#[derive(Serialize, Deserialize)]
struct Head {
    /// Tells records of one engine from those of another, should it put the same.
    owner: String,
    snapshot: bool,
}

/// The objects that one engine writes.
pub(super) struct ObjectLog {
    storage: Arc<Storage>,
    owner: String,
    next: u64,
}

/// A record as it was read.
#[derive(Debug)]
pub(super) enum Step {
    Snapshot(Box<State>),
    Edit(Box<Edit>),
}

impl ObjectLog {
    /// Takes over: a snapshot as record `number`. Returns its bytes too.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if another engine got the number.
    pub(super) fn start(storage: &Arc<Storage>, number: u64, state: &State) -> Result<(ObjectLog, u64)> {
        let random = || RandomState::new().build_hasher().finish();
        let owner = format!("{:016x}{:016x}", random(), random());
        let mut log = ObjectLog { storage: storage.clone(), owner, next: number };
        let bytes = log.first_snapshot(state).map_err(|e| match e {
            Error::Closed(_) => Error::Unavailable(format!(
                "another engine opened {} at the same moment: only one may; try again if it is gone",
                objects(storage).map_or("the object store", Objects::name)
            )),
            other => other,
        })?;
        Ok((log, bytes))
    }

    fn first_snapshot(&mut self, state: &State) -> Result<u64> {
        let (name, bytes) = (name(self.next), encode(&self.owner, true, state)?);
        let length = self.snapshot(state)?;
        // The same bytes once more: a server that takes them would let two engines write over each other.
        let objects = objects(&self.storage)?;
        if objects.create(&name, bytes)? == Put::Done {
            return Err(Error::Invalid(format!(
                "the server of {} does not keep conditional puts (If-None-Match): it cannot be used",
                objects.name()
            )));
        }
        Ok(length)
    }

    /// Commits an edit; its bytes.
    ///
    /// # Errors
    /// [`Error::Closed`] if another engine has taken over; [`Error::Io`], and then whether it is there is not known.
    pub(super) fn edit(&mut self, edit: &Edit) -> Result<u64> {
        let bytes = encode(&self.owner, false, edit)?;
        self.put(bytes).map(|put| put.0)
    }

    /// Commits the whole state and removes what came before it; its bytes.
    pub(super) fn snapshot(&mut self, state: &State) -> Result<u64> {
        let bytes = encode(&self.owner, true, state)?;
        let (bytes, numbers) = self.put(bytes)?;
        let objects = objects(&self.storage)?;
        for old in numbers.into_iter().filter(|n| *n + 1 < self.next) {
            // What stays is in nobody's way.
            if let Err(e) = objects.delete(&name(old)) {
                tracing::warn!(error = %e, "an old manifest stays");
            }
        }
        Ok(bytes)
    }

    /// Returns the bytes, and all numbers that are there now.
    fn put(&mut self, bytes: Vec<u8>) -> Result<(u64, Vec<u64>)> {
        let (objects, name, length) = (objects(&self.storage)?, name(self.next), bytes.len() as u64);
        let taken = || Error::Closed(format!("another engine has taken over {}", objects.name()));
        if objects.create(&name, bytes.clone())? == Put::Exists {
            // Ours, if the answer to it was lost and the request repeated.
            if objects.get(&name)?.is_none_or(|found| found != bytes) {
                return Err(taken());
            }
        }
        let numbers = numbers(objects)?;
        if numbers.iter().any(|n| *n > self.next) {
            return Err(taken());
        }
        self.next += 1;
        Ok((length, numbers))
    }
}

/// The bytes of an object.
pub(super) fn encode<T: Serialize>(owner: &str, snapshot: bool, body: &T) -> Result<Vec<u8>> {
    let mut bytes = HEADER.to_vec();
    bytes.extend_from_slice(&record(&Head { owner: owner.to_owned(), snapshot })?);
    bytes.extend_from_slice(&record(body)?);
    Ok(bytes)
}

fn objects(storage: &Storage) -> Result<&Objects> {
    storage.objects().ok_or_else(|| Error::Internal("a manifest of objects without an object store".into()))
}

fn name(number: u64) -> String {
    format!("{FOLDER}/{number:020}")
}

fn numbers(objects: &Objects) -> Result<Vec<u64>> {
    let number = |(name, _): (String, u64)| {
        let digits = name.strip_prefix(FOLDER).and_then(|n| n.strip_prefix('/'));
        digits.and_then(|d| d.parse().ok()).ok_or_else(|| {
            Error::Invalid(format!("{}/{name} is not an object of the Magic Engine: move it away", objects.name()))
        })
    };
    objects.list(FOLDER)?.into_iter().map(number).collect()
}

/// The newest state and its number; an empty one of a prefix without any.
pub(super) fn read_newest(objects: &Objects) -> Result<(u64, State)> {
    for _ in 0..ATTEMPTS {
        if let Some(found) = try_read(objects)? {
            return Ok(found);
        }
    }
    Err(Error::corrupt(format!("{}/{FOLDER}", objects.name()), "records after the newest snapshot are missing"))
}

/// `None` if a record is missing.
fn try_read(objects: &Objects) -> Result<Option<(u64, State)>> {
    let Some(newest) = numbers(objects)?.into_iter().max() else { return Ok(Some((0, State::empty()))) };
    let (mut edits, mut number) = (Vec::new(), newest);
    let mut state = loop {
        let name = name(number);
        let Some(bytes) = objects.get(&name)? else { return Ok(None) };
        match read_step(&format!("{}/{name}", objects.name()), &bytes)? {
            Step::Snapshot(state) => break *state,
            Step::Edit(edit) => edits.push((number, edit)),
        }
        let Some(before) = number.checked_sub(1) else { return Ok(None) };
        number = before;
    };
    for (number, edit) in edits.into_iter().rev() {
        let place = || format!("{}/{}", objects.name(), name(number));
        state.apply(&edit).map_err(|e| Error::corrupt(place(), e.to_string()))?;
    }
    Ok(Some((newest, state)))
}

/// Decodes one object; `place` names it.
pub(super) fn read_step(place: &str, bytes: &[u8]) -> Result<Step> {
    let corrupt = |reason: String| Error::corrupt(place, reason);
    let Some(body) = bytes.strip_prefix(HEADER) else {
        let version = bytes.strip_prefix(&HEADER[..12]).and_then(|v| std::str::from_utf8(v.get(..4)?).ok());
        return Err(match version.and_then(|v| v.parse::<u32>().ok()) {
            Some(version) => Error::Invalid(format!(
                "{place} has format version {version}, this build reads version 1: use the Tidelake that wrote it"
            )),
            None => corrupt("not a manifest".into()),
        });
    };
    let (head, body) = split_record(body).ok_or_else(|| corrupt("its head is damaged".into()))?;
    let head: Head = serde_json::from_slice(head).map_err(|e| corrupt(format!("not a head: {e}")))?;
    let (body, rest) = split_record(body).ok_or_else(|| corrupt("its record is damaged".into()))?;
    if !rest.is_empty() {
        return Err(corrupt(format!("{} bytes behind its record", rest.len())));
    }
    let wrong = |e: serde_json::Error| corrupt(format!("not a record: {e}"));
    Ok(if head.snapshot {
        Step::Snapshot(serde_json::from_slice(body).map_err(wrong)?)
    } else {
        Step::Edit(serde_json::from_slice(body).map_err(wrong)?)
    })
}
