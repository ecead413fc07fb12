//! Appending: the state behind the buffer's lock. Records collect in memory, are written when there are enough of
//! them or a sync asks for it, and segments follow one another. Nothing here is shown to readers; a sync does that.
//!
//! After a failed write or fsync the log is *poisoned*: what reached the disk is unknown, so every later call fails
//! with the cause, and only opening the log again finds out.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelake_core::moment::{believed, now_us};
use tidelake_core::{CommitSeq, Error, Result, SourcePosition};

use crate::format::{self, RecordPlace, SegmentHeader, TransactionMeta};
use crate::history::Leaving;
use crate::ids::RetainedIds;
use crate::mark::{ReleasedMark, Tail, Upstream, replace_file};
use crate::segment::{Segment, file_name};

/// Records collect up to this many bytes before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// What a transaction left behind when its commit comes.
pub(crate) enum CommitBody<'a> {
    /// All events, framed; nothing was written yet.
    Whole(&'a [u8]),
    /// All events were written as chunks.
    Chunks { stream: u64, places: &'a [RecordPlace] },
}

/// The log's state.
pub(crate) struct Log {
    pub dir: PathBuf,
    pub segment_bytes: u64,
    /// Retained segments, oldest first; the last one is written to.
    pub segments: VecDeque<Segment>,
    pub file: Arc<File>,
    pub salt: u64,
    /// Records not written yet, and where in the file they begin.
    pub unwritten: Vec<u8>,
    pub written: u64,
    /// A sync ended; the next record is preceded by a sync mark.
    pub mark_due: bool,
    /// Something was appended since the last sync began.
    pub dirty: bool,
    /// Empty: room for the events of the next transaction.
    pub spare: Vec<u8>,
    pub next_seq: CommitSeq,
    pub next_stream: u64,
    /// Spilling transactions that are open, and the segment of their first chunk.
    pub open: BTreeMap<u64, u64>,
    pub tail: Tail,
    /// How far the source said that it had read; control records are stored with it.
    pub noted: Option<SourcePosition>,
    pub ids: RetainedIds,
    pub released: ReleasedMark,
    /// The newest seq that `release` named.
    pub requested: CommitSeq,
    pub holds: BTreeMap<CommitSeq, usize>,
    pub retained_bytes: u64,
    /// Retained bytes that no transaction above `requested` needs: only holds and open transactions keep them.
    pub settled_bytes: u64,
    pub appended: u64,
    pub poisoned: Option<String>,
}

impl Log {
    /// Fails if the log is poisoned or closed.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.poisoned {
            Some(cause) => Err(Error::Closed(format!("data buffer {}: {cause}", self.dir.display()))),
            None => Ok(()),
        }
    }

    /// Poisons the log if a write failed.
    pub(crate) fn guard<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(e) = &result {
            self.poisoned.get_or_insert_with(|| format!("an earlier write failed: {e}"));
            tracing::error!(error = %e, "data buffer cannot write and is closed");
        }
        result
    }

    /// The newest committed seq.
    pub(crate) fn last_seq(&self) -> CommitSeq {
        CommitSeq(self.next_seq.0 - 1)
    }

    /// Bytes that only applying can free.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.retained_bytes.saturating_sub(self.settled_bytes)
    }

    fn active(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("there is always a segment to write to")
    }

    /// Appends the commit of an upstream transaction, unless its id is known.
    pub(crate) fn commit(
        &mut self,
        id: &str,
        mut position: SourcePosition,
        bytes: u64,
        body: CommitBody<'_>,
    ) -> Result<CommitSeq> {
        self.check()?;
        position.commit_time_us = believed(position.commit_time_us, now_us());
        if let CommitBody::Chunks { stream, .. } = body {
            self.open.remove(&stream);
        }
        if let Some(seq) = self.ids.get(id) {
            return Ok(seq);
        }
        self.check_order(id, &position)?;
        let seq = self.next_seq;
        let offset = match body {
            CommitBody::Whole(events) => {
                self.append(|out| format::put_transaction(out, seq, id, &position, bytes, events))?.offset
            }
            CommitBody::Chunks { stream, places } => {
                let meta = TransactionMeta { seq, id: id.to_owned(), position: position.clone(), bytes };
                let place = self.append(|out| format::put_commit(out, &meta, stream, places))?;
                note_needed(&mut self.segments, places, seq);
                self.settle();
                place.offset
            }
        };
        self.tail.pass_time(position.commit_time_us);
        self.ids.insert(id, seq);
        self.tail.upstream = Some(Upstream { seq, id: id.to_owned(), position });
        let place = self.tail.place();
        self.active().note_commit(seq, offset, seq, place);
        self.next_seq = seq.next();
        self.appended += 1;
        Ok(seq)
    }

    fn check_order(&self, id: &str, position: &SourcePosition) -> Result<()> {
        let Some(last) = &self.tail.upstream else { return Ok(()) };
        if position.covers(&last.position) {
            return Ok(());
        }
        let (at, before) = (position.order(), last.position.order());
        Err(Error::Invalid(format!(
            "transaction {id} is at {at:?}, before the buffered {} at {before:?}: the upstream's history was replaced, \
             re-sync into a new data directory",
            last.id
        )))
    }

    /// Appends a control record.
    pub(crate) fn control(&mut self, body: &[u8]) -> Result<CommitSeq> {
        self.check()?;
        let noted = self.noted.as_ref().or(self.tail.read_position());
        let newest = noted.into_iter().chain(self.tail.read_position()).max_by(|a, b| a.cmp_order(b)).cloned();
        let (seq, mut position) = (self.next_seq, newest.unwrap_or_default());
        if self.tail.place().time_us == 0 {
            // What a copy read is at least as new as this.
            position.commit_time_us = now_us();
        }
        let place = self.append(|out| format::put_control(out, seq, &position, body))?;
        self.tail.pass_time(position.commit_time_us);
        let (upstream, known) = (self.tail.upstream_seq(), self.tail.place());
        self.active().note_commit(seq, place.offset, upstream, known);
        if position.is_known() {
            self.tail.read = Some(position);
        }
        self.next_seq = seq.next();
        self.appended += 1;
        Ok(seq)
    }

    /// Appends a chunk of an open transaction.
    pub(crate) fn chunk(&mut self, stream: u64, events: &[u8]) -> Result<RecordPlace> {
        self.check()?;
        let place = self.append(|out| format::put_chunk(out, stream, events))?;
        self.open.entry(stream).or_insert(place.segment);
        Ok(place)
    }

    /// Appends one record; returns where it is.
    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<RecordPlace> {
        if self.active().len >= self.segment_bytes.max(format::HEADER_BYTES + 1) {
            let rotated = self.rotate();
            self.guard(rotated)?;
        }
        let before = self.unwritten.len();
        if std::mem::take(&mut self.mark_due) {
            let (salt, offset) = (self.salt, self.written + before as u64);
            let synced = self.active().synced;
            format::frame(&mut self.unwritten, |out| format::put_sync_mark(out, salt, offset, synced));
        }
        let offset = self.written + self.unwritten.len() as u64;
        format::frame(&mut self.unwritten, write);
        let grown = (self.unwritten.len() - before) as u64;
        self.active().len += grown;
        self.retained_bytes += grown;
        self.dirty = true;
        if self.unwritten.len() >= WRITE_BYTES {
            self.write_out()?;
        }
        Ok(RecordPlace { segment: self.active().number, offset })
    }

    /// Hands all records to the operating system.
    pub(crate) fn write_out(&mut self) -> Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let written = (&*self.file).write_all(&self.unwritten);
        let context = || format!("write segment {}", self.segments.back().map_or(0, |s| s.number));
        let result = written.map_err(|e| Error::io(context(), e));
        self.guard(result)?;
        self.written += self.unwritten.len() as u64;
        self.unwritten.clear();
        self.unwritten.shrink_to(2 * WRITE_BYTES);
        Ok(())
    }

    /// Closes the active segment, durably, and begins the next: damage in a closed segment is never a torn tail.
    fn rotate(&mut self) -> Result<()> {
        self.write_out()?;
        let number = self.active().number;
        self.file.sync_data().map_err(|e| Error::io(format!("sync segment {number}"), e))?;
        let tail = self.tail.clone();
        let active = self.active();
        active.synced = active.len;
        active.tail = tail;
        let (segment, file, salt) = create_segment(&self.dir, number + 1, self.next_seq)?;
        self.retained_bytes += segment.len;
        self.written = segment.len;
        self.segments.push_back(segment);
        self.file = Arc::new(file);
        self.salt = salt;
        self.mark_due = false;
        Ok(())
    }

    /// A sync made the first `len` bytes of a segment durable.
    pub(crate) fn note_synced(&mut self, number: u64, len: u64) {
        let active = self.active();
        if active.number == number {
            active.synced = active.synced.max(len);
            self.mark_due = true;
        }
    }

    /// Counts again which retained bytes applying cannot free.
    pub(crate) fn settle(&mut self) {
        let settled = self.segments.iter().filter(|s| s.needed_until <= self.requested);
        self.settled_bytes = settled.map(|s| s.len).sum();
    }

    /// Everything up to `durable` may go. Says which segments nobody needs any more.
    pub(crate) fn request_release(&mut self, durable: CommitSeq) -> Vec<Leaving> {
        self.requested = self.requested.max(durable.min(self.last_seq()));
        self.settle();
        let mut begin = self.released.tail.place();
        let unneeded = self.segments.iter().take(self.unneeded());
        let leaving = unneeded.map(|s| {
            let begin = std::mem::replace(&mut begin, s.tail.place());
            Leaving { number: s.number, first_seq: s.first_seq, last_seq: s.last_seq, len: s.len, begin }
        });
        leaving.collect()
    }

    /// How many of the oldest segments nobody needs.
    fn unneeded(&self) -> usize {
        let held = self.holds.keys().next().copied().unwrap_or(CommitSeq::MAX);
        let allowed = self.requested.min(held);
        let open = self.open.values().min().copied().unwrap_or(u64::MAX);
        let closed = self.segments.iter().take(self.segments.len() - 1);
        closed.take_while(|s| s.needed_until <= allowed && s.number < open).count()
    }

    /// Takes the segments off that nobody needs, up to the number `last`, and moves the released mark.
    pub(crate) fn take_released(&mut self, last: u64) -> Vec<u64> {
        let mut gone = Vec::new();
        for _ in 0..self.unneeded() {
            if self.segments.front().is_none_or(|s| s.number > last) {
                break;
            }
            let front = self.segments.pop_front().expect("it was there a line ago");
            self.retained_bytes -= front.len;
            gone.push(front.number);
            self.released.pass(front);
        }
        if !gone.is_empty() {
            let last = self.released.tail.upstream_seq();
            self.ids.sweep(last, self.last_seq());
        }
        self.settle();
        gone
    }
}

/// Segments that hold chunks of a transaction are needed until it is released.
pub(crate) fn note_needed(segments: &mut VecDeque<Segment>, places: &[RecordPlace], seq: CommitSeq) {
    let mut last = None;
    for place in places {
        if last == Some(place.segment) {
            continue;
        }
        last = Some(place.segment);
        if let Ok(at) = segments.binary_search_by_key(&place.segment, |s| s.number) {
            segments[at].needed_until = segments[at].needed_until.max(seq);
        }
    }
}

/// Creates a segment file, durably, open for writing behind its header.
pub(crate) fn create_segment(dir: &Path, number: u64, first_seq: CommitSeq) -> Result<(Segment, File, u64)> {
    let salt = RandomState::new().build_hasher().finish();
    let header = SegmentHeader { number, first_seq, salt };
    let file = replace_file(dir, &file_name(number), &header.encode())?;
    Ok((Segment::new(&header), file, salt))
}
