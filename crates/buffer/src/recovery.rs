//! Opening: what is in the directory becomes the log's state again.
//!
//! Every record of every retained segment is read and its checksum verified. Only the last segment can have a torn
//! tail, because a segment is durable before the next one is created; there, what does not check out is cut off,
//! unless a later sync mark says it was durable once. Anything else that is wrong is an error that names the place.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use tidelake_core::{CommitSeq, Error, Result};

use crate::BufferOptions;
use crate::format::{FRAME_BYTES, HEADER_BYTES, Record, SYNC_MARK_BYTES};
use crate::history;
use crate::ids::RetainedIds;
use crate::log::{Log, create_segment, note_needed};
use crate::mark::{MARK_FILE, ReleasedMark, Tail, Upstream, sync_dir};
use crate::segment::{Found, Segment, SegmentFile, file_name, number_of};

/// The lock file's name.
pub(crate) const LOCK_FILE: &str = "lock";
/// Bytes searched at once for a sync mark.
const SEARCH_BYTES: u64 = 1 << 20;

/// Opens the log in a locked directory.
pub(crate) fn recover(options: &BufferOptions) -> Result<Log> {
    let dir = &options.dir;
    let mark = ReleasedMark::load(dir)?;
    let found = list_segments(dir)?;
    let released = mark.clone().unwrap_or_else(ReleasedMark::start);
    let (stale, kept): (Vec<u64>, Vec<u64>) = found.into_iter().partition(|n| *n < released.first_segment);
    for number in stale {
        remove(dir, &file_name(number))?;
    }
    check_numbers(dir, &kept, &released, mark.is_some())?;
    let mut scan = Scan::new(&released);
    for number in &kept {
        scan.segment(dir, *number, kept.last() == Some(number))?;
    }
    scan.into_log(options, released)
}

/// Numbers of all segments, ascending. Removes what an interrupted replacement left; refuses foreign files.
pub(crate) fn list_segments(dir: &Path) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    let list = |e| Error::io(format!("list {}", dir.display()), e);
    for entry in fs::read_dir(dir).map_err(list)? {
        let entry = entry.map_err(list)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let plain = name.strip_suffix(".tmp").unwrap_or(&name);
        let of_history = history::number_of(plain).is_some();
        let ours = plain == MARK_FILE || number_of(plain).is_some() || of_history;
        if name == LOCK_FILE || name == MARK_FILE || (of_history && plain == name) {
            continue;
        }
        if ours && plain.len() != name.len() {
            remove(dir, &name)?;
            continue;
        }
        match number_of(&name) {
            Some(number) => numbers.push(number),
            None => {
                let path = entry.path();
                let reason = format!("{} does not belong to a Tidelake buffer", path.display());
                return Err(Error::Invalid(format!("{reason}: move it away or choose another directory")));
            }
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn remove(dir: &Path, name: &str) -> Result<()> {
    let path = dir.join(name);
    fs::remove_file(&path).map_err(|e| Error::io(format!("remove {}", path.display()), e))
}

fn check_numbers(dir: &Path, kept: &[u64], released: &ReleasedMark, marked: bool) -> Result<()> {
    // A log that was made to begin after a seq has a mark before its first segment.
    if kept.is_empty() && (!marked || released.first_segment == 1) {
        return Ok(());
    }
    let mut expected = released.first_segment;
    for number in kept {
        if *number != expected {
            break;
        }
        expected += 1;
    }
    let whole = expected - released.first_segment;
    if whole == 0 || whole != kept.len() as u64 {
        let place = dir.join(file_name(expected)).display().to_string();
        return Err(Error::corrupt(place, "the segment is missing, and transactions with it"));
    }
    Ok(())
}

struct Scan {
    segments: VecDeque<Segment>,
    ids: RetainedIds,
    tail: Tail,
    next_seq: CommitSeq,
    next_stream: u64,
    salt: u64,
}

impl Scan {
    fn new(released: &ReleasedMark) -> Scan {
        let mut ids = RetainedIds::new();
        if let Some(last) = &released.tail.upstream {
            ids.insert(&last.id, last.seq);
        }
        Scan {
            segments: VecDeque::new(),
            ids,
            tail: released.tail.clone(),
            next_seq: released.seq.next(),
            next_stream: 1,
            salt: 0,
        }
    }

    fn segment(&mut self, dir: &Path, number: u64, last: bool) -> Result<()> {
        let mut file = SegmentFile::open(dir, number)?;
        let header = file.header()?;
        if header.number != number || header.first_seq != self.next_seq {
            let reason = format!(
                "header is of segment {} from seq {}, expected {number} from {}",
                header.number, header.first_seq, self.next_seq
            );
            return Err(Error::corrupt(file.place(0), reason));
        }
        self.salt = header.salt;
        self.segments.push_back(Segment::new(&header));
        let end = file.file_len()?;
        let (mut offset, mut whole) = (HEADER_BYTES, HEADER_BYTES);
        while offset < end {
            match file.record_at(offset, end)? {
                Found::Record(record, next) => {
                    if self.record(&file, offset, record)? {
                        whole = next;
                    }
                    offset = next;
                }
                Found::Bad(reason) if !last => return Err(Error::corrupt(file.place(offset), reason)),
                Found::Bad(reason) => {
                    self.check_torn(&mut file, offset, end, &reason)?;
                    tracing::warn!(place = file.place(offset), reason, "cut off what was not durable");
                    break;
                }
            }
        }
        let segment = self.segments.back_mut().expect("pushed above");
        // Chunks behind the last commit belong to transactions that never ended.
        segment.len = if last { whole } else { end };
        segment.synced = segment.len;
        segment.tail = self.tail.clone();
        Ok(())
    }

    /// Takes one record; true if it ends a transaction.
    fn record(&mut self, file: &SegmentFile, offset: u64, record: Record) -> Result<bool> {
        if let Record::Chunk { stream, .. } | Record::Commit { stream, .. } = &record {
            self.next_stream = self.next_stream.max(stream.saturating_add(1));
        }
        let Some(seq) = record.seq() else { return Ok(false) };
        if seq != self.next_seq {
            let reason = format!("transaction {seq} where {} was expected", self.next_seq);
            return Err(Error::corrupt(file.place(offset), reason));
        }
        if let Record::Commit { chunks, .. } = &record {
            note_needed(&mut self.segments, chunks, seq);
        }
        match record {
            Record::Transaction { meta, .. } | Record::Commit { meta, .. } => {
                self.tail.pass_time(meta.position.commit_time_us);
                self.ids.insert(&meta.id, seq);
                self.tail.upstream = Some(Upstream { seq, id: meta.id, position: meta.position });
            }
            Record::Control { position, .. } => {
                self.tail.pass_time(position.commit_time_us);
                if position.is_known() {
                    self.tail.read = Some(position);
                }
            }
            _ => {}
        }
        self.next_seq = seq.next();
        let (upstream, place) = (self.tail.upstream_seq(), self.tail.place());
        self.segments.back_mut().expect("a record is in a segment").note_commit(seq, offset, upstream, place);
        Ok(true)
    }

    /// Fails if a sync mark behind `bad` says that `bad` was durable once.
    fn check_torn(&self, file: &mut SegmentFile, bad: u64, end: u64, reason: &str) -> Result<()> {
        let salt = self.salt.to_le_bytes();
        let lead = FRAME_BYTES as u64 + 1;
        let mut at = bad;
        while at + (SYNC_MARK_BYTES as u64) <= end {
            let len = (SEARCH_BYTES + salt.len() as u64).min(end - at);
            let block = file.read(at, len, end)?;
            for start in block.windows(salt.len()).enumerate().filter(|(_, w)| **w == salt).map(|(i, _)| i as u64) {
                let Some(offset) = (at + start).checked_sub(lead).filter(|o| *o >= bad) else { continue };
                if let Found::Record(Record::SyncMark { salt, offset: own, synced }, _) = file.record_at(offset, end)?
                    && (salt, own) == (self.salt, offset)
                    && synced > bad
                {
                    let reason = format!("{reason}; it was durable: a sync mark at offset {offset} covers it");
                    return Err(Error::corrupt(file.place(bad), reason));
                }
            }
            at += SEARCH_BYTES;
        }
        Ok(())
    }

    fn into_log(mut self, options: &BufferOptions, released: ReleasedMark) -> Result<Log> {
        let dir = &options.dir;
        let (file, written) = match self.segments.back() {
            Some(last) => (open_for_writing(dir, last)?, last.len),
            None => {
                let (segment, file, salt) = create_segment(dir, released.first_segment, self.next_seq)?;
                self.salt = salt;
                self.segments.push_back(segment);
                (file, HEADER_BYTES)
            }
        };
        let mut log = Log {
            dir: dir.clone(),
            segment_bytes: options.segment_bytes.min(options.limit_bytes / 4),
            retained_bytes: self.segments.iter().map(|s| s.len).sum(),
            segments: self.segments,
            file: Arc::new(file),
            salt: self.salt,
            unwritten: Vec::new(),
            written,
            mark_due: written > HEADER_BYTES,
            dirty: false,
            spare: Vec::new(),
            next_seq: self.next_seq,
            next_stream: self.next_stream,
            open: Default::default(),
            tail: self.tail,
            noted: None,
            ids: self.ids,
            requested: released.released,
            released,
            holds: Default::default(),
            settled_bytes: 0,
            appended: 0,
            poisoned: None,
        };
        log.settle();
        Ok(log)
    }
}

/// Cuts the file behind its last whole transaction and makes the rest durable: it is shown to readers from now on.
fn open_for_writing(dir: &Path, segment: &Segment) -> Result<File> {
    let path = dir.join(file_name(segment.number));
    let open = || -> std::io::Result<File> {
        let mut file = File::options().read(true).write(true).open(&path)?;
        file.set_len(segment.len)?;
        file.sync_all()?;
        sync_dir(dir)?;
        file.seek(SeekFrom::Start(segment.len))?;
        Ok(file)
    };
    open().map_err(|e| Error::io(format!("open {} for writing", path.display()), e))
}
