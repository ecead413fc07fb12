//! The released mark: where the log begins after its oldest segments were deleted.
//!
//! A small file, replaced atomically *before* the segments go: a crash in between leaves segments below the mark,
//! which the next opening deletes. First line: crc32 of the second, as hex; second line: JSON.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tidelake_core::{CommitSeq, Error, Result, SourcePosition};

use crate::history::Place;
use crate::segment::Segment;

/// The mark's file name.
pub(crate) const MARK_FILE: &str = "released.json";
const VERSION: u32 = 1;

/// An upstream transaction as the log remembers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Upstream {
    pub seq: CommitSeq,
    pub id: String,
    pub position: SourcePosition,
}

/// What is known at one place of the log about everything before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tail {
    /// The last upstream transaction.
    pub upstream: Option<Upstream>,
    /// How far the source had read, if a control record says it.
    pub read: Option<SourcePosition>,
    /// Commit time of the last seq (0: unknown), unless that of the last upstream transaction is later.
    #[serde(default)]
    pub time_us: i64,
}

impl Tail {
    /// What is known right after the last seq.
    pub(crate) fn place(&self) -> Place {
        let upstream = self.upstream.as_ref().map(|u| (u.position.commit_time_us, u.position.order()));
        let (time_us, order) = upstream.unwrap_or_default();
        Place { time_us: time_us.max(self.time_us), order }
    }

    /// Takes the commit time of one more seq: times never go back.
    pub(crate) fn pass_time(&mut self, time_us: i64) {
        self.time_us = self.place().time_us.max(time_us);
    }

    /// The last upstream transaction's seq.
    pub(crate) fn upstream_seq(&self) -> CommitSeq {
        self.upstream.as_ref().map_or(CommitSeq::ZERO, |u| u.seq)
    }

    /// How far the source has read.
    pub(crate) fn read_position(&self) -> Option<&SourcePosition> {
        let upstream = self.upstream.as_ref().map(|u| &u.position);
        match (upstream, self.read.as_ref()) {
            (Some(u), Some(r)) => Some(if u.covers(r) { u } else { r }),
            (u, r) => u.or(r),
        }
    }
}

/// The released mark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReleasedMark {
    version: u32,
    /// The newest seq in the deleted segments: the first kept one begins with the next.
    pub seq: CommitSeq,
    /// The newest released seq. Later than `seq` if a deleted segment held chunks of a transaction whose commit
    /// record is kept.
    pub released: CommitSeq,
    /// Number of the first segment that is kept.
    pub first_segment: u64,
    /// What was known at the end of the released part.
    pub tail: Tail,
}

impl ReleasedMark {
    /// Nothing was released yet.
    pub(crate) fn start() -> ReleasedMark {
        let (seq, released) = (CommitSeq::ZERO, CommitSeq::ZERO);
        ReleasedMark { version: VERSION, seq, released, first_segment: 1, tail: Tail::default() }
    }

    /// Everything up to `seq` is elsewhere.
    pub(crate) fn begin_after(seq: CommitSeq, position: &SourcePosition) -> ReleasedMark {
        let mut tail = Tail::default();
        if position.is_known() {
            // Which transaction was the last is not known, so it has no id that could come again.
            tail.upstream = Some(Upstream { seq, id: String::new(), position: position.clone() });
        }
        ReleasedMark { seq, released: seq, tail, ..ReleasedMark::start() }
    }

    /// Moves over the oldest segment.
    pub(crate) fn pass(&mut self, segment: Segment) {
        self.seq = segment.last_seq;
        self.released = self.released.max(segment.needed_until);
        self.first_segment = segment.number + 1;
        self.tail = segment.tail;
    }

    /// Reads the mark; `None` if nothing was ever released.
    pub(crate) fn load(dir: &Path) -> Result<Option<ReleasedMark>> {
        let path = dir.join(MARK_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(format!("read {}", path.display()), e)),
        };
        let corrupt = |reason: String| Error::corrupt(path.display().to_string(), reason);
        let text = std::str::from_utf8(&bytes).map_err(|e| corrupt(e.to_string()))?;
        let (crc, json) = text.trim_end().split_once('\n').ok_or_else(|| corrupt("no checksum line".into()))?;
        if crc != format!("{:08x}", crc32fast::hash(json.as_bytes())) {
            return Err(corrupt("checksum does not match".into()));
        }
        let mark: ReleasedMark = serde_json::from_str(json).map_err(|e| corrupt(e.to_string()))?;
        if mark.version > VERSION {
            let reason = format!("{} has format version {}", path.display(), mark.version);
            return Err(Error::Invalid(format!("{reason}, this build reads up to {VERSION}: use a newer Tidelake")));
        }
        Ok(Some(mark))
    }

    /// Replaces the mark, durably.
    pub(crate) fn store(&self, dir: &Path) -> Result<()> {
        let json = serde_json::to_string(self).map_err(|e| Error::Internal(format!("encode released mark: {e}")))?;
        let text = format!("{:08x}\n{json}\n", crc32fast::hash(json.as_bytes()));
        replace_file(dir, MARK_FILE, text.as_bytes()).map(|_| ())
    }
}

/// Writes a file under a temporary name, syncs it, renames it and syncs the directory. Returns it, open for writing at its end.
pub(crate) fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<File> {
    let (path, temporary) = (dir.join(name), dir.join(format!("{name}.tmp")));
    let write = || -> std::io::Result<File> {
        let mut file = File::options().create(true).truncate(true).read(true).write(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        sync_dir(dir)?;
        Ok(file)
    };
    write().map_err(|e| Error::io(format!("write {}", path.display()), e))
}

/// Makes names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}
