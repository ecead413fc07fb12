//! Bytes of the log. Little-endian throughout.
//!
//! A segment file is a header and then records:
//!
//! ```text
//! header   magic "TIDEBUF\n", version u32, 0 u32, number u64, first seq u64, salt u64, crc32 u32 of all before, 0 u32
//! record   length u32 of the body, crc32 u32 of the body, body; the body's first byte is its kind
//!   1 transaction  seq u64, id, position, event bytes u64, events
//!   2 chunk        stream u64, events
//!   3 commit       seq u64, id, position, event bytes u64, stream u64, count u32, count x (segment u64, offset u64)
//!   4 control      seq u64, position, the record's own bytes up to the end
//!   5 sync mark    salt u64, own offset u64, synced u64: this file was durable up to `synced` before the mark was written
//! string   length u32, UTF-8;   position   major u64, minor u64, commit time i64, token string
//! events   up to the end of the body: length u32, bytes
//! ```
//!
//! The sync mark tells damage from a torn tail: what fails its checksum below a later mark's `synced` was durable once.

use bytes::{Buf, Bytes};
use tidelake_core::{CommitSeq, Error, Result, SourcePosition};

/// The first bytes of a segment.
pub const MAGIC: [u8; 8] = *b"TIDEBUF\n";
/// The newest format version this build reads, and the one it writes.
pub const VERSION: u32 = 1;
/// Bytes of a segment's header.
pub const HEADER_BYTES: u64 = 48;
/// Bytes before a record's body.
pub const FRAME_BYTES: usize = 8;
/// Bytes of a whole sync mark.
pub const SYNC_MARK_BYTES: usize = FRAME_BYTES + 25;
/// The longest event or control record: a frame's length is a `u32`, and there must be room for the rest.
pub const MAX_EVENT_BYTES: usize = u32::MAX as usize - (1 << 20);

const TRANSACTION: u8 = 1;
/// Kind of a chunk: readers skip chunks by their frames.
pub const CHUNK: u8 = 2;
const COMMIT: u8 = 3;
const CONTROL: u8 = 4;
const SYNC_MARK: u8 = 5;

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Counts segments, from 1.
    pub number: u64,
    /// The seq that the first transaction committed in this segment gets.
    pub first_seq: CommitSeq,
    /// Random; sync marks repeat it, so no payload looks like one.
    pub salt: u64,
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES as usize);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.first_seq.0.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out
    }

    /// Reads a header; `place` names the file in errors.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a file that is not a segment or is of a newer version, [`Error::Corrupt`] for a damaged one.
    pub fn decode(bytes: &[u8], place: &str) -> Result<SegmentHeader> {
        if bytes.len() < HEADER_BYTES as usize || bytes[..8] != MAGIC {
            return Err(Error::Invalid(format!("{place} is not a segment of a Tidelake buffer: move it away")));
        }
        let mut rest = &bytes[8..HEADER_BYTES as usize];
        let version = rest.get_u32_le();
        if version > VERSION {
            let reason = format!("{place} has format version {version}, this build reads up to {VERSION}");
            return Err(Error::Invalid(format!("{reason}: start the newer Tidelake that wrote it")));
        }
        rest.advance(4);
        let header = SegmentHeader {
            number: rest.get_u64_le(),
            first_seq: CommitSeq(rest.get_u64_le()),
            salt: rest.get_u64_le(),
        };
        if rest.get_u32_le() != crc32fast::hash(&bytes[..40]) {
            return Err(Error::corrupt(place, "checksum of the segment header does not match"));
        }
        Ok(header)
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// Number of the segment.
    pub segment: u64,
    /// Offset of the frame in the file.
    pub offset: u64,
}

/// What a transaction's records say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct TransactionMeta {
    /// Its seq.
    pub seq: CommitSeq,
    /// The source's name for it.
    pub id: String,
    /// Right after it.
    pub position: SourcePosition,
    /// Bytes of its events, without framing.
    pub bytes: u64,
}

/// A record's body, decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A whole small transaction.
    Transaction {
        /// Its description.
        meta: TransactionMeta,
        /// Its events, framed.
        events: Bytes,
    },
    /// Events of a transaction that is still arriving.
    Chunk {
        /// Which transaction.
        stream: u64,
        /// Some of its events, framed.
        events: Bytes,
    },
    /// The end of a transaction written as chunks.
    Commit {
        /// Its description.
        meta: TransactionMeta,
        /// Which chunks.
        stream: u64,
        /// Where they are, in order.
        chunks: Vec<RecordPlace>,
    },
    /// A control record.
    Control {
        /// Its seq.
        seq: CommitSeq,
        /// How far the source had read.
        position: SourcePosition,
        /// Its bytes.
        body: Bytes,
    },
    /// The file was durable up to `synced`.
    SyncMark {
        /// The header's salt.
        salt: u64,
        /// Where the mark is.
        offset: u64,
        /// Bytes durable before the mark was written.
        synced: u64,
    },
}

impl Record {
    /// Decodes a body whose checksum was verified. Takes no memory beyond what `body` holds.
    ///
    /// # Errors
    /// What does not fit, as text.
    pub fn decode(body: Bytes) -> std::result::Result<Record, String> {
        let mut parser = Parser { rest: body };
        let record = match parser.u8()? {
            TRANSACTION => Record::Transaction { meta: parser.meta()?, events: parser.rest },
            CHUNK => Record::Chunk { stream: parser.u64()?, events: parser.rest },
            COMMIT => {
                let (meta, stream) = (parser.meta()?, parser.u64()?);
                Record::Commit { meta, stream, chunks: parser.places()? }
            }
            CONTROL => {
                Record::Control { seq: CommitSeq(parser.u64()?), position: parser.position()?, body: parser.rest }
            }
            SYNC_MARK => Record::SyncMark { salt: parser.u64()?, offset: parser.u64()?, synced: parser.u64()? },
            kind => return Err(format!("record of unknown kind {kind}")),
        };
        Ok(record)
    }

    /// The seq of a record that ends a transaction.
    #[must_use]
    pub fn seq(&self) -> Option<CommitSeq> {
        match self {
            Record::Transaction { meta, .. } | Record::Commit { meta, .. } => Some(meta.seq),
            Record::Control { seq, .. } => Some(*seq),
            Record::Chunk { .. } | Record::SyncMark { .. } => None,
        }
    }
}

struct Parser {
    rest: Bytes,
}

type Parsed<T> = std::result::Result<T, String>;

impl Parser {
    fn need(&self, bytes: usize) -> Parsed<()> {
        if self.rest.len() < bytes {
            return Err(format!("record ends {} bytes early", bytes - self.rest.len()));
        }
        Ok(())
    }

    fn u8(&mut self) -> Parsed<u8> {
        self.need(1)?;
        Ok(self.rest.get_u8())
    }

    fn u32(&mut self) -> Parsed<u32> {
        self.need(4)?;
        Ok(self.rest.get_u32_le())
    }

    fn u64(&mut self) -> Parsed<u64> {
        self.need(8)?;
        Ok(self.rest.get_u64_le())
    }

    fn string(&mut self) -> Parsed<String> {
        let length = self.u32()? as usize;
        self.need(length)?;
        let bytes = self.rest.split_to(length);
        String::from_utf8(bytes.to_vec()).map_err(|e| e.to_string())
    }

    fn position(&mut self) -> Parsed<SourcePosition> {
        let (major, minor) = (self.u64()?, self.u64()?);
        let commit_time_us = self.u64()?.cast_signed();
        Ok(SourcePosition { major, minor, token: self.string()?, commit_time_us })
    }

    fn meta(&mut self) -> Parsed<TransactionMeta> {
        let seq = CommitSeq(self.u64()?);
        Ok(TransactionMeta { seq, id: self.string()?, position: self.position()?, bytes: self.u64()? })
    }

    fn places(&mut self) -> Parsed<Vec<RecordPlace>> {
        let count = self.u32()? as usize;
        if self.rest.len() != count.saturating_mul(16) {
            return Err(format!("{} bytes for the places of {count} chunks", self.rest.len()));
        }
        (0..count).map(|_| Ok(RecordPlace { segment: self.u64()?, offset: self.u64()? })).collect()
    }
}

/// Appends one framed record; `write` appends its body.
pub(crate) fn frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    write(out);
    let body = start + FRAME_BYTES;
    let length = u32::try_from(out.len() - body).expect("callers keep records below 4 GiB");
    let crc = crc32fast::hash(&out[body..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..body].copy_from_slice(&crc.to_le_bytes());
}

pub(crate) fn put_event(out: &mut Vec<u8>, event: &[u8]) {
    let length = u32::try_from(event.len()).expect("callers refuse events above MAX_EVENT_BYTES");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(event);
}

pub(crate) fn put_transaction(
    out: &mut Vec<u8>,
    seq: CommitSeq,
    id: &str,
    position: &SourcePosition,
    bytes: u64,
    events: &[u8],
) {
    out.push(TRANSACTION);
    put_meta(out, seq, id, position, bytes);
    out.extend_from_slice(events);
}

pub(crate) fn put_chunk(out: &mut Vec<u8>, stream: u64, events: &[u8]) {
    out.push(CHUNK);
    out.extend_from_slice(&stream.to_le_bytes());
    out.extend_from_slice(events);
}

pub(crate) fn put_commit(out: &mut Vec<u8>, meta: &TransactionMeta, stream: u64, chunks: &[RecordPlace]) {
    out.push(COMMIT);
    put_meta(out, meta.seq, &meta.id, &meta.position, meta.bytes);
    out.extend_from_slice(&stream.to_le_bytes());
    let count = u32::try_from(chunks.len()).expect("fewer than 4 G chunks");
    out.extend_from_slice(&count.to_le_bytes());
    for place in chunks {
        out.extend_from_slice(&place.segment.to_le_bytes());
        out.extend_from_slice(&place.offset.to_le_bytes());
    }
}

pub(crate) fn put_control(out: &mut Vec<u8>, seq: CommitSeq, position: &SourcePosition, body: &[u8]) {
    out.push(CONTROL);
    out.extend_from_slice(&seq.0.to_le_bytes());
    put_position(out, position);
    out.extend_from_slice(body);
}

pub(crate) fn put_sync_mark(out: &mut Vec<u8>, salt: u64, offset: u64, synced: u64) {
    out.push(SYNC_MARK);
    out.extend_from_slice(&salt.to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&synced.to_le_bytes());
}

fn put_meta(out: &mut Vec<u8>, seq: CommitSeq, id: &str, position: &SourcePosition, bytes: u64) {
    out.extend_from_slice(&seq.0.to_le_bytes());
    put_string(out, id);
    put_position(out, position);
    out.extend_from_slice(&bytes.to_le_bytes());
}

fn put_position(out: &mut Vec<u8>, position: &SourcePosition) {
    out.extend_from_slice(&position.major.to_le_bytes());
    out.extend_from_slice(&position.minor.to_le_bytes());
    out.extend_from_slice(&position.commit_time_us.to_le_bytes());
    put_string(out, &position.token);
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("callers refuse ids and tokens above 64 KiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Splits framed events.
pub struct EventIter {
    rest: Bytes,
}

impl EventIter {
    /// Over the `events` of a [`Record`].
    #[must_use]
    pub fn new(events: Bytes) -> EventIter {
        EventIter { rest: events }
    }
}

impl Iterator for EventIter {
    type Item = Result<Bytes>;

    fn next(&mut self) -> Option<Result<Bytes>> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.rest.first_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize);
        match length {
            Some(length) if self.rest.len() - 4 >= length => {
                self.rest.advance(4);
                Some(Ok(self.rest.split_to(length)))
            }
            _ => {
                let reason = format!("an event ends behind its record, {} bytes are left", self.rest.len());
                self.rest.clear();
                Some(Err(Error::corrupt("buffered transaction", reason)))
            }
        }
    }
}
