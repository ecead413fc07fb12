//! What is kept of released segments: seq, commit time and order of every transaction, so that it can be looked up where the
//! replica was when, also after a restart.
//!
//! Each released segment leaves a *stretch*, a file that is written before the segment is deleted:
//!
//! ```text
//! header   magic "TIDETIME", version u32, 0 u32, number u64, first seq u64, last seq u64
//!          what held before it: commit time i64, order 2 x u64; and at its end: the same
//! entries  per upstream transaction (and record with a new commit time), as differences to the one before:
//!          seq, commit time, major and minor, as LEB128, the last two zigzag
//! end      crc32 u32 of all before
//! ```
//!
//! Stretches follow one another up to the first retained segment. One that is missing or damaged ends what is known: it and all
//! before it are removed with a warning, because times before can then be refused, but never answered wrongly.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Buf;
use tidelake_core::moment::now_us;
use tidelake_core::{CommitSeq, Error, Moment, Result};

use crate::format::{HEADER_BYTES, Record};
use crate::mark::replace_file;
use crate::segment::SegmentFile;

const MAGIC: &[u8; 8] = b"TIDETIME";
const VERSION: u32 = 1;
const HEADER: usize = 88;

/// What is known right after a seq.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its commit time; 0 if unknown.
    pub time_us: i64,
    /// Order of the last upstream transaction's position; (0, 0) without one.
    pub order: (u64, u64),
}

impl Place {
    /// True if nothing at or before it is later than the moment.
    pub(crate) fn is_within(&self, moment: &Moment) -> bool {
        match moment {
            Moment::Time(us) => self.time_us <= *us,
            Moment::Position(at) => self.order <= at.order(),
        }
    }

    /// True if [`Place::is_within`] says something.
    pub(crate) fn is_known(&self, moment: &Moment) -> bool {
        match moment {
            Moment::Time(_) => self.time_us != 0,
            Moment::Position(_) => self.order != (0, 0),
        }
    }
}

/// A segment that is about to be released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving {
    pub number: u64,
    pub first_seq: CommitSeq,
    pub last_seq: CommitSeq,
    pub len: u64,
    /// Before its first record.
    pub begin: Place,
}

/// What is in memory of one stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    number: u64,
    first_seq: CommitSeq,
    last_seq: CommitSeq,
    begin: Place,
    end: Place,
}

/// The stretches, oldest first.
#[derive(Debug)]
pub(crate) struct History {
    dir: PathBuf,
    keep: Duration,
    stretches: VecDeque<Stretch>,
}

/// A stretch's file name.
fn file_name(number: u64) -> String {
    format!("{number:020}.times")
}

/// The number in a stretch's file name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".times")?;
    if digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

impl History {
    /// Loads the stretches before segment `first_segment`, whose first seq follows `released`.
    ///
    /// # Errors
    /// If the directory cannot be listed, or a file not removed.
    pub(crate) fn load(dir: &Path, keep: Duration, first_segment: u64, released: CommitSeq) -> Result<History> {
        let list = |e| Error::io(format!("list {}", dir.display()), e);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(dir).map_err(list)? {
            numbers.extend(number_of(&entry.map_err(list)?.file_name().to_string_lossy()));
        }
        numbers.sort_unstable();
        let mut history = History { dir: dir.to_owned(), keep, stretches: VecDeque::new() };
        let (mut number, mut last) = (first_segment, released);
        while let Some(found) = numbers.pop() {
            if found >= first_segment {
                // Written for a release that a crash interrupted: the segment is still there.
                history.remove(found)?;
                continue;
            }
            let stretch = match history.read(found) {
                Ok((stretch, _)) if found + 1 == number && stretch.last_seq == last => stretch,
                other => {
                    let error = other.err().map_or_else(|| "the one after it is missing".to_owned(), |e| e.to_string());
                    tracing::warn!(stretch = file_name(found), error, "commit times before it are not known any more");
                    history.remove(found)?;
                    numbers.drain(..).try_for_each(|n| history.remove(n))?;
                    break;
                }
            };
            (number, last) = (found, CommitSeq(stretch.first_seq.0.saturating_sub(1)));
            history.stretches.push_front(stretch);
        }
        Ok(history)
    }

    /// Keeps what is to be known of segments that are about to go. Never fails: without it, older times are refused.
    pub(crate) fn add(&mut self, leaving: &[Leaving]) {
        if self.keep.is_zero() {
            return;
        }
        for segment in leaving {
            if self.stretches.back().is_some_and(|s| s.number >= segment.number) {
                continue;
            }
            if let Err(error) = self.add_one(segment) {
                tracing::warn!(%error, segment = segment.number, "commit times up to this segment are not known any more");
                while let Some(stretch) = self.stretches.pop_front() {
                    let _ = self.remove(stretch.number);
                }
            }
        }
        self.prune();
    }

    fn add_one(&mut self, segment: &Leaving) -> Result<()> {
        let (stretch, bytes) = encode(&self.dir, segment)?;
        replace_file(&self.dir, &file_name(segment.number), &bytes)?;
        self.stretches.push_back(stretch);
        Ok(())
    }

    /// Lets go of what was committed longer ago than is to be kept.
    fn prune(&mut self) {
        let keep = i64::try_from(self.keep.as_micros()).unwrap_or(i64::MAX);
        let oldest = now_us().saturating_sub(keep);
        while self.stretches.front().is_some_and(|s| s.end.time_us < oldest) {
            let Some(stretch) = self.stretches.pop_front() else { return };
            if let Err(error) = self.remove(stretch.number) {
                tracing::warn!(%error, "a file of old commit times stays");
            }
        }
    }

    /// The newest seq of a stretch that is within the moment; `None` before what is known.
    pub(crate) fn seq_at(&self, moment: &Moment) -> Result<Option<CommitSeq>> {
        let Some(at) = self.stretches.iter().rposition(|s| s.begin.is_within(moment)) else { return Ok(None) };
        let (stretch, entries) = self.read(self.stretches[at].number)?;
        let before = (CommitSeq(stretch.first_seq.0.saturating_sub(1)), stretch.begin);
        let later = entries.iter().position(|(_, place)| !place.is_within(moment));
        let newest = match later {
            None => (stretch.last_seq, stretch.end),
            Some(at) => {
                let place = if at == 0 { before.1 } else { entries[at - 1].1 };
                (CommitSeq(entries[at].0.0 - 1), place)
            }
        };
        Ok(Some(newest).filter(|(_, place)| place.is_known(moment)).map(|(seq, _)| seq))
    }

    /// What is known of a released seq.
    pub(crate) fn place_of(&self, seq: CommitSeq) -> Result<Option<Place>> {
        let Some(found) = self.stretches.iter().find(|s| s.last_seq >= seq) else { return Ok(None) };
        if seq.next() == found.first_seq {
            return Ok(Some(found.begin));
        }
        if seq < found.first_seq {
            return Ok(None);
        }
        let (stretch, entries) = self.read(found.number)?;
        let at = entries.partition_point(|(s, _)| *s <= seq);
        Ok(Some(if at == 0 { stretch.begin } else { entries[at - 1].1 }))
    }

    fn read(&self, number: u64) -> Result<(Stretch, Vec<(CommitSeq, Place)>)> {
        let path = self.dir.join(file_name(number));
        let bytes = fs::read(&path).map_err(|e| Error::io(format!("read {}", path.display()), e))?;
        decode(number, &bytes).map_err(|reason| Error::corrupt(path.display().to_string(), reason))
    }

    fn remove(&self, number: u64) -> Result<()> {
        let path = self.dir.join(file_name(number));
        fs::remove_file(&path).map_err(|e| Error::io(format!("remove {}", path.display()), e))
    }
}

fn put_place(out: &mut Vec<u8>, place: Place) {
    out.extend_from_slice(&place.time_us.to_le_bytes());
    out.extend_from_slice(&place.order.0.to_le_bytes());
    out.extend_from_slice(&place.order.1.to_le_bytes());
}

fn put_number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 128 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -((n & 1).cast_signed())
}

/// Reads a whole segment through and writes down its places.
fn encode(dir: &Path, segment: &Leaving) -> Result<(Stretch, Vec<u8>)> {
    let mut file = SegmentFile::open(dir, segment.number)?;
    let (mut entries, mut offset) = (Vec::new(), HEADER_BYTES);
    let (mut seq, mut place) = (segment.first_seq, segment.begin);
    while offset < segment.len {
        let (record, next) = file.unless_chunk(offset, segment.len)?;
        offset = next;
        let (at, position, upstream) = match record {
            Some(Record::Transaction { meta, .. } | Record::Commit { meta, .. }) => (meta.seq, meta.position, true),
            Some(Record::Control { seq, position, .. }) => (seq, position, false),
            _ => continue,
        };
        let time_us = place.time_us.max(position.commit_time_us);
        if !upstream && time_us == place.time_us {
            continue;
        }
        let order = if upstream { position.order() } else { place.order };
        put_number(&mut entries, at.0.wrapping_sub(seq.0));
        put_number(&mut entries, time_us.wrapping_sub(place.time_us).cast_unsigned());
        put_number(&mut entries, zigzag(order.0.wrapping_sub(place.order.0).cast_signed()));
        put_number(&mut entries, zigzag(order.1.wrapping_sub(place.order.1).cast_signed()));
        (seq, place) = (at, Place { time_us, order });
    }
    let Leaving { number, first_seq, last_seq, begin, .. } = *segment;
    let mut out = Vec::with_capacity(HEADER + entries.len() + 4);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for n in [number, first_seq.0, last_seq.0] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    put_place(&mut out, begin);
    put_place(&mut out, place);
    out.extend_from_slice(&entries);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    Ok((Stretch { number, first_seq, last_seq, begin, end: place }, out))
}

type Decoded = std::result::Result<(Stretch, Vec<(CommitSeq, Place)>), String>;

fn decode(number: u64, bytes: &[u8]) -> Decoded {
    if bytes.len() < HEADER + 4 || &bytes[..8] != MAGIC {
        return Err("not a file of commit times".into());
    }
    let (mut body, mut crc) = bytes.split_at(bytes.len() - 4);
    if crc.get_u32_le() != crc32fast::hash(body) {
        return Err("checksum does not match".into());
    }
    body.advance(8);
    let version = body.get_u32_le();
    if version != VERSION {
        return Err(format!("format version {version}, this build reads {VERSION}"));
    }
    body.advance(4);
    let own = body.get_u64_le();
    let (first_seq, last_seq) = (CommitSeq(body.get_u64_le()), CommitSeq(body.get_u64_le()));
    let mut place = || Place { time_us: body.get_i64_le(), order: (body.get_u64_le(), body.get_u64_le()) };
    let (begin, end) = (place(), place());
    let stretch = Stretch { number, first_seq, last_seq, begin, end };
    let (mut seq, mut place, mut entries) = (first_seq, begin, Vec::new());
    while !body.is_empty() {
        seq = CommitSeq(seq.0.wrapping_add(get_number(&mut body)?));
        place.time_us = place.time_us.wrapping_add(get_number(&mut body)?.cast_signed());
        place.order.0 = place.order.0.wrapping_add(unzigzag(get_number(&mut body)?).cast_unsigned());
        place.order.1 = place.order.1.wrapping_add(unzigzag(get_number(&mut body)?).cast_unsigned());
        entries.push((seq, place));
    }
    let within = entries.iter().all(|(seq, _)| (first_seq..=last_seq).contains(seq));
    let ends = entries.last().map_or(begin, |(_, place)| *place) == end;
    if own != number || first_seq.0 == 0 || last_seq.next() < first_seq || !within || !ends {
        return Err("its header does not fit its entries".into());
    }
    Ok((stretch, entries))
}

fn get_number(rest: &mut &[u8]) -> std::result::Result<u64, String> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let [byte, after @ ..] = *rest else { return Err("an entry ends early".into()) };
        *rest = after;
        n |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Ok(n);
        }
    }
    Err("a number of more than 64 bits".into())
}
