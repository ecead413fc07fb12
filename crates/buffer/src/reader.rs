//! Reading back: transactions in order, from segment to segment, up to the durable head.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tidelake_core::ports::{BufferReader, BufferedPayload, BufferedTransaction};
use tidelake_core::{CommitSeq, Error, Result, SourcePosition};

use crate::disk_buffer::Shared;
use crate::format::{EventIter, HEADER_BYTES, Record, RecordPlace};
use crate::history::Place;
use crate::log::Log;
use crate::segment::{Found, SegmentFile};

/// Reads a [`DiskBuffer`](crate::DiskBuffer) in order.
pub(crate) struct DiskReader {
    shared: Arc<Shared>,
    dir: PathBuf,
    /// The next seq to give.
    next: CommitSeq,
    segment: u64,
    offset: u64,
    /// Bytes of the segment that may be read, as known last.
    end: u64,
    file: Option<SegmentFile>,
}

impl DiskReader {
    /// Reads what follows `seq`.
    pub(crate) fn after(shared: Arc<Shared>, seq: CommitSeq) -> Result<DiskReader> {
        let log = shared.log.lock();
        log.check()?;
        if seq < log.released.released {
            return Err(released(seq.next(), log.released.released));
        }
        drop(log);
        DiskReader::records_after(shared, seq)
    }

    /// Reads the records after `seq`; those of released transactions may have lost their chunks.
    pub(crate) fn records_after(shared: Arc<Shared>, seq: CommitSeq) -> Result<DiskReader> {
        let log = shared.log.lock();
        let place = locate(&log, seq.next())?;
        let dir = log.dir.clone();
        drop(log);
        Ok(DiskReader {
            shared,
            dir,
            next: seq.next(),
            segment: place.segment,
            offset: place.offset,
            end: 0,
            file: None,
        })
    }

    /// The newest upstream transaction at or before `position`, or the seq before the first retained one.
    pub(crate) fn newest_at(shared: &Arc<Shared>, position: &SourcePosition) -> Result<CommitSeq> {
        let log = shared.log.lock();
        let wanted = position.order();
        let before = |segment: &crate::segment::Segment| segment.index.first().is_some_and(|e| e.place.order <= wanted);
        let at = log.segments.iter().rposition(before);
        let entry = at.and_then(|at| {
            let index = &log.segments[at].index;
            index[..index.partition_point(|e| e.place.order <= wanted)].last().copied()
        });
        let (released, first) = (log.released.released, log.released.seq);
        drop(log);
        let mut newest = entry.map_or(released, |e| e.upstream.max(released));
        let start = entry.map_or(first, |e| CommitSeq(e.seq.0 - 1));
        let mut reader = DiskReader::records_after(shared.clone(), start)?;
        while let Some((seq, Some(at))) = reader.next_upstream()? {
            if at.order() > wanted {
                break;
            }
            newest = seq.max(newest);
        }
        Ok(newest)
    }

    /// The next upstream transaction's seq and position, past control records.
    fn next_upstream(&mut self) -> Result<Option<(CommitSeq, Option<SourcePosition>)>> {
        loop {
            match self.next_record()? {
                None => return Ok(None),
                Some(Record::Transaction { meta, .. } | Record::Commit { meta, .. }) => {
                    return Ok(Some((meta.seq, Some(meta.position))));
                }
                Some(_) => {}
            }
        }
    }

    /// The next transaction's seq and position.
    pub(crate) fn next_meta(&mut self) -> Result<Option<(CommitSeq, SourcePosition)>> {
        Ok(match self.next_record()? {
            Some(Record::Transaction { meta, .. } | Record::Commit { meta, .. }) => Some((meta.seq, meta.position)),
            Some(Record::Control { seq, position, .. }) => Some((seq, position)),
            _ => None,
        })
    }

    /// The next seq, and what is known right after it; `before` is what is known before it.
    pub(crate) fn next_place(&mut self, before: Place) -> Result<Option<(CommitSeq, Place)>> {
        let (seq, position, order) = match self.next_record()? {
            Some(Record::Transaction { meta, .. } | Record::Commit { meta, .. }) => {
                let order = meta.position.order();
                (meta.seq, meta.position, order)
            }
            Some(Record::Control { seq, position, .. }) => (seq, position, before.order),
            _ => return Ok(None),
        };
        Ok(Some((seq, Place { time_us: before.time_us.max(position.commit_time_us), order })))
    }

    /// The record that ends transaction `next`; `None` at the head.
    fn next_record(&mut self) -> Result<Option<Record>> {
        if self.next > *self.shared.head.borrow() {
            return Ok(None);
        }
        loop {
            if self.offset >= self.end && !self.find_more()? {
                continue;
            }
            let file = match &mut self.file {
                Some(file) => file,
                None => match SegmentFile::open(&self.dir, self.segment) {
                    Ok(file) => self.file.insert(file),
                    Err(Error::NotFound(_)) => {
                        // Released since `find_more`, with all that was read of it.
                        self.end = 0;
                        continue;
                    }
                    Err(e) => return Err(e),
                },
            };
            let at = self.offset;
            let (record, after) = file.unless_chunk(at, self.end)?;
            self.offset = after;
            let Some((record, seq)) = record.and_then(|r| r.seq().map(|seq| (r, seq))) else { continue };
            if seq > self.next {
                let reason = format!("transaction {seq} where {} was expected", self.next);
                return Err(Error::corrupt(file.place(at), reason));
            }
            if seq == self.next {
                self.next = seq.next();
                return Ok(Some(record));
            }
        }
    }

    /// Looks up how far the segment goes by now, or moves on to where the next transaction is; true if there is
    /// something at the offset.
    fn find_more(&mut self) -> Result<bool> {
        let log = self.shared.log.lock();
        let place = match log.segments.binary_search_by_key(&self.segment, |s| s.number) {
            Ok(at) => {
                self.end = log.segments[at].synced;
                if self.offset < self.end {
                    return Ok(true);
                }
                if at + 1 == log.segments.len() {
                    return Err(Error::Internal(format!("the log ends before the durable transaction {}", self.next)));
                }
                RecordPlace { segment: self.segment + 1, offset: HEADER_BYTES }
            }
            Err(_) => locate(&log, self.next)?,
        };
        (self.segment, self.offset, self.end, self.file) = (place.segment, place.offset, 0, None);
        Ok(false)
    }
}

fn released(wanted: CommitSeq, upto: CommitSeq) -> Error {
    Error::NotFound(format!("buffered transaction {wanted} (released up to {upto})"))
}

/// A place at or shortly before the record of `next`.
fn locate(log: &Log, next: CommitSeq) -> Result<RecordPlace> {
    if next <= log.released.seq {
        return Err(released(next, log.released.seq));
    }
    let at = log.segments.partition_point(|s| s.first_seq <= next);
    let segment = &log.segments[at.saturating_sub(1)];
    let entry = segment.index.partition_point(|e| e.seq <= next).checked_sub(1);
    Ok(RecordPlace { segment: segment.number, offset: entry.map_or(HEADER_BYTES, |i| segment.index[i].offset) })
}

impl BufferReader for DiskReader {
    fn next(&mut self) -> Result<Option<BufferedTransaction>> {
        let Some(record) = self.next_record()? else { return Ok(None) };
        let (meta, payload) = match record {
            Record::Transaction { meta, events } => (meta, BufferedPayload::Events(Box::new(EventIter::new(events)))),
            Record::Commit { meta, stream, chunks } => {
                let events = ChunkedEvents::new(self.dir.clone(), stream, chunks);
                (meta, BufferedPayload::Events(Box::new(events)))
            }
            Record::Control { seq, position, body } => {
                let (bytes, payload) = (body.len() as u64, BufferedPayload::Control(body));
                return Ok(Some(BufferedTransaction { seq, id: String::new(), position, bytes, payload }));
            }
            Record::Chunk { .. } | Record::SyncMark { .. } => {
                return Err(Error::Internal("a record without a seq was taken for a transaction".into()));
            }
        };
        let (seq, bytes) = (meta.seq, meta.bytes);
        Ok(Some(BufferedTransaction { seq, id: meta.id, position: meta.position, bytes, payload }))
    }
}

/// The events of a transaction that was written as chunks; reads one chunk at a time.
struct ChunkedEvents {
    dir: PathBuf,
    stream: u64,
    chunks: std::vec::IntoIter<RecordPlace>,
    current: EventIter,
    file: Option<(u64, SegmentFile)>,
}

impl ChunkedEvents {
    fn new(dir: PathBuf, stream: u64, chunks: Vec<RecordPlace>) -> ChunkedEvents {
        let current = EventIter::new(Bytes::new());
        ChunkedEvents { dir, stream, chunks: chunks.into_iter(), current, file: None }
    }

    fn read(&mut self, place: RecordPlace) -> Result<EventIter> {
        let mut file = match self.file.take() {
            Some((number, file)) if number == place.segment => file,
            _ => SegmentFile::open(&self.dir, place.segment)?,
        };
        let end = file.file_len()?;
        let found = file.record_at(place.offset, end)?;
        let at = file.place(place.offset);
        self.file = Some((place.segment, file));
        match found {
            Found::Record(Record::Chunk { stream, events }, _) if stream == self.stream => Ok(EventIter::new(events)),
            Found::Record(..) => Err(Error::corrupt(at, format!("no chunk of stream {} here", self.stream))),
            Found::Bad(reason) => Err(Error::corrupt(at, reason)),
        }
    }
}

impl Iterator for ChunkedEvents {
    type Item = Result<Bytes>;

    fn next(&mut self) -> Option<Result<Bytes>> {
        loop {
            if let Some(event) = self.current.next() {
                return Some(event);
            }
            let place = self.chunks.next()?;
            match self.read(place) {
                Ok(events) => self.current = events,
                Err(e) => {
                    self.chunks = Vec::new().into_iter();
                    return Some(Err(e));
                }
            }
        }
    }
}
