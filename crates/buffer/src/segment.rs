//! Segment files: their names, reading records from them, and what is kept in memory about each.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tidelake_core::{CommitSeq, Error, Result};

use crate::format::{FRAME_BYTES, HEADER_BYTES, Record, SegmentHeader};
use crate::history::Place;
use crate::mark::Tail;

/// Distance between entries of the sparse index, in bytes.
const INDEX_STEP: u64 = 64 << 10;
/// Bytes read at once.
const BLOCK_BYTES: u64 = 256 << 10;

/// A segment's file name.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:020}.seg")
}

/// The number in a segment's file name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    if digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// One place of the sparse index: a record that ends a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexEntry {
    pub seq: CommitSeq,
    pub offset: u64,
    /// The newest upstream transaction at or before this record.
    pub upstream: CommitSeq,
    /// What is known right after this record.
    pub place: Place,
}

/// What is kept in memory about a segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub number: u64,
    pub first_seq: CommitSeq,
    /// The newest seq committed in it; the one before `first_seq` if none.
    pub last_seq: CommitSeq,
    /// Bytes, header included; also those not written yet.
    pub len: u64,
    /// Bytes known durable.
    pub synced: u64,
    /// The newest transaction that has a record or a chunk in it.
    pub needed_until: CommitSeq,
    /// What is known at its end; set when it is closed.
    pub tail: Tail,
    pub index: Vec<IndexEntry>,
}

impl Segment {
    pub(crate) fn new(header: &SegmentHeader) -> Segment {
        let before = CommitSeq(header.first_seq.0 - 1);
        Segment {
            number: header.number,
            first_seq: header.first_seq,
            last_seq: before,
            len: HEADER_BYTES,
            synced: HEADER_BYTES,
            needed_until: before,
            tail: Tail::default(),
            index: Vec::new(),
        }
    }

    /// Notes the end of a transaction at `offset`; `upstream` is the newest upstream transaction up to there.
    pub(crate) fn note_commit(&mut self, seq: CommitSeq, offset: u64, upstream: CommitSeq, place: Place) {
        self.last_seq = seq;
        self.needed_until = self.needed_until.max(seq);
        if self.index.last().is_none_or(|e| offset - e.offset >= INDEX_STEP) {
            self.index.push(IndexEntry { seq, offset, upstream, place });
        }
    }
}

/// What is at an offset.
pub(crate) enum Found {
    /// A record, and where the next one begins.
    Record(Record, u64),
    /// Not a record, and why.
    Bad(String),
}

/// A segment open for reading.
pub(crate) struct SegmentFile {
    path: PathBuf,
    file: File,
    block: Bytes,
    block_at: u64,
}

impl SegmentFile {
    /// Opens segment `number`; `NotFound` if it was deleted.
    pub(crate) fn open(dir: &Path, number: u64) -> Result<SegmentFile> {
        let path = dir.join(file_name(number));
        match File::open(&path) {
            Ok(file) => Ok(SegmentFile { path, file, block: Bytes::new(), block_at: 0 }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::NotFound(format!("released segment {}", path.display())))
            }
            Err(e) => Err(Error::io(format!("open {}", path.display()), e)),
        }
    }

    /// File and offset, for errors.
    pub(crate) fn place(&self, offset: u64) -> String {
        format!("{} at offset {offset}", self.path.display())
    }

    pub(crate) fn file_len(&self) -> Result<u64> {
        let metadata = self.file.metadata().map_err(|e| Error::io(format!("stat {}", self.path.display()), e))?;
        Ok(metadata.len())
    }

    pub(crate) fn header(&mut self) -> Result<SegmentHeader> {
        let end = self.file_len()?.min(HEADER_BYTES);
        let bytes = self.read(0, end, end)?;
        SegmentHeader::decode(&bytes, &self.path.display().to_string())
    }

    /// The record whose frame begins at `offset`; the file counts up to `end`.
    pub(crate) fn record_at(&mut self, offset: u64, end: u64) -> Result<Found> {
        let (length, crc) = match self.frame_at(offset, end)? {
            Ok(frame) => frame,
            Err(reason) => return Ok(Found::Bad(reason)),
        };
        let start = offset + FRAME_BYTES as u64;
        let body = self.read(start, length, end)?;
        if crc32fast::hash(&body) != crc {
            return Ok(Found::Bad(format!("checksum of a record of {length} bytes does not match")));
        }
        Ok(match Record::decode(body) {
            Ok(record) => Found::Record(record, start + length),
            Err(reason) => Found::Bad(reason),
        })
    }

    /// The record at `offset`, or `None` and the next offset if it is a chunk (whose body is not read).
    pub(crate) fn unless_chunk(&mut self, offset: u64, end: u64) -> Result<(Option<Record>, u64)> {
        if let Ok((length, _)) = self.frame_at(offset, end)? {
            let start = offset + FRAME_BYTES as u64;
            if self.read(start, 1, end)?[0] == crate::format::CHUNK {
                return Ok((None, start + length));
            }
        }
        match self.record_at(offset, end)? {
            Found::Record(record, next) => Ok((Some(record), next)),
            Found::Bad(reason) => Err(Error::corrupt(self.place(offset), reason)),
        }
    }

    fn frame_at(&mut self, offset: u64, end: u64) -> Result<std::result::Result<(u64, u32), String>> {
        let left = end.saturating_sub(offset);
        if left < FRAME_BYTES as u64 {
            return Ok(Err(format!("{left} bytes where a record begins")));
        }
        let frame = self.read(offset, FRAME_BYTES as u64, end)?;
        let (length, crc) = frame.split_at(4);
        let number = |b: &[u8]| u32::from_le_bytes(b.try_into().expect("a frame is two times four bytes"));
        let length = u64::from(number(length));
        if length == 0 {
            return Ok(Err("an empty record".into()));
        }
        if length > left - FRAME_BYTES as u64 {
            return Ok(Err(format!("a record of {length} bytes where {left} are left")));
        }
        Ok(Ok((length, number(crc))))
    }

    /// `len` bytes at `offset`, all below `end`.
    pub(crate) fn read(&mut self, offset: u64, len: u64, end: u64) -> Result<Bytes> {
        let block_end = self.block_at + self.block.len() as u64;
        if offset < self.block_at || offset + len > block_end {
            let size = len.max(BLOCK_BYTES.min(end.saturating_sub(offset)));
            let mut block = vec![0; size as usize];
            self.file
                .read_exact_at(&mut block, offset)
                .map_err(|e| Error::io(format!("read {}", self.place(offset)), e))?;
            self.block = Bytes::from(block);
            self.block_at = offset;
        }
        let start = (offset - self.block_at) as usize;
        Ok(self.block.slice(start..start + len as usize))
    }
}
