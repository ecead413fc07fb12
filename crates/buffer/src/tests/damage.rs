use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use tidelake_core::ports::Buffer;
use tidelake_core::testing::conformance::buffer::{Seen, append, at, read_all};
use tidelake_core::{CommitSeq, Error};

use super::{open, options, segments};
use crate::format::{EventIter, HEADER_BYTES, Record, SegmentHeader};
use crate::{BufferOptions, DiskBuffer};

/// One segment; small transactions, a chunked one, control records; `syncs` of them. Returns what is in it.
fn filled(dir: &Path, syncs: u64) -> Vec<Seen> {
    let buffer = one_segment(dir).unwrap();
    for n in 1..=syncs {
        append(&*buffer, &format!("s{n}"), n * 10, &[b"small", &[n as u8; 9]]);
        append(&*buffer, &format!("b{n}"), n * 10 + 1, &[&[n as u8; 40], &[7; 40]]);
        buffer.append_control(Bytes::from(vec![n as u8; 30])).unwrap();
        buffer.sync().unwrap();
    }
    read_all(&*buffer, 0)
}

fn one_segment(dir: &Path) -> tidelake_core::Result<Arc<DiskBuffer>> {
    DiskBuffer::open(BufferOptions { segment_bytes: 1 << 20, spill_bytes: 64, ..options(dir, 1 << 30) })
}

/// A fresh directory with this only segment.
fn with_segment(name: &Path, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name.file_name().unwrap());
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

#[test]
fn torn_at_every_byte_gives_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path(), 1);
    let path = segments(dir.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    let mut counts = std::collections::BTreeSet::new();
    for len in HEADER_BYTES as usize..=bytes.len() {
        for zeros in [0, 1 + len % 100] {
            let mut torn = bytes[..len].to_vec();
            torn.resize(len + zeros, 0);
            let (dir, _) = with_segment(&path, &torn);
            let buffer = one_segment(dir.path()).unwrap();
            let seen = read_all(&*buffer, 0);
            assert_eq!(seen, all[..seen.len()], "cut at {len}, then {zeros} zeros");
            counts.insert(seen.len());
            if len % 5 != 0 {
                continue;
            }
            let next = append(&*buffer, "next", 1000, &[b"x"]);
            assert_eq!(next.0, seen.len() as u64 + 1);
            buffer.sync().unwrap();
            drop(buffer);
            let again = read_all(&*one_segment(dir.path()).unwrap(), 0);
            assert_eq!(again.len(), seen.len() + 1, "cut at {len}, then {zeros} zeros, then appended");
        }
    }
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), (0..=all.len()).collect::<Vec<_>>());
}

#[test]
fn flipped_bytes_are_an_error_or_a_clean_cut() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path(), 3);
    let path = segments(dir.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    let last_mark = mark_offset(&bytes);
    let (mut errors, mut cuts) = (0, 0);
    for offset in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[offset] ^= 1 << (offset % 8);
        let (dir, path) = with_segment(&path, &flipped);
        match one_segment(dir.path()) {
            Ok(buffer) => {
                let seen = read_all(&*buffer, 0);
                assert_eq!(seen, all[..seen.len()], "flipped {offset}");
                let padding = (12..16).contains(&offset) || (44..48).contains(&offset);
                assert!(padding || offset >= last_mark, "flipped {offset}: durable transactions are gone silently");
                cuts += 1;
            }
            Err(Error::Corrupt { place, .. }) => {
                assert!(place.contains(path.to_str().unwrap()), "{place}");
                errors += 1;
            }
            Err(Error::Invalid(reason)) => assert!(offset < 12, "flipped {offset}: {reason}"),
            Err(other) => panic!("flipped {offset}: {other}"),
        }
    }
    assert!(errors > 0 && cuts > 0);
}

/// Where the last sync mark's frame begins: what is before it was durable when it was written.
fn mark_offset(bytes: &[u8]) -> usize {
    let salt = SegmentHeader::decode(bytes, "x").unwrap().salt.to_le_bytes();
    (HEADER_BYTES as usize..bytes.len() - 8).rev().find(|i| bytes[*i..*i + 8] == salt).unwrap() - 9
}

#[test]
fn damage_in_a_closed_segment_names_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    for n in 1..=100u64 {
        append(&*buffer, &format!("t{n}"), n, &[&[n as u8; 300]]);
    }
    buffer.sync().unwrap();
    drop(buffer);
    let files = segments(dir.path());
    assert!(files.len() > 2);
    let mut bytes = fs::read(&files[0]).unwrap();
    let end = bytes.len();
    bytes[end - 1] ^= 1;
    fs::write(&files[0], &bytes).unwrap();
    match DiskBuffer::open(options(dir.path(), 1 << 30)) {
        Err(Error::Corrupt { place, .. }) => {
            assert!(place.starts_with(files[0].to_str().unwrap()) && place.contains("at offset"), "{place}");
        }
        other => panic!("{:?}", other.err()),
    }
    fs::remove_file(&files[0]).unwrap();
    let missing = DiskBuffer::open(options(dir.path(), 1 << 30)).err().unwrap();
    assert!(missing.to_string().contains("missing"), "{missing}");
}

#[test]
fn damage_under_a_reader_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 3);
    let path = segments(dir.path()).remove(0);
    let buffer = one_segment(dir.path()).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 90].fill(0xee);
    fs::write(&path, &bytes).unwrap();
    let mut reader = buffer.read_after(CommitSeq::ZERO).unwrap();
    let failed = std::iter::from_fn(|| Some(reader.next())).take(20).find_map(Result::err);
    let in_chunk = read_events(&*buffer);
    assert!(failed.is_some() || in_chunk.is_some(), "damage was read as data");
    let error = failed.or(in_chunk).unwrap();
    assert!(matches!(&error, Error::Corrupt { place, .. } if place.contains(path.to_str().unwrap())), "{error}");
}

/// The first error in anybody's events.
fn read_events(buffer: &dyn Buffer) -> Option<Error> {
    let mut reader = buffer.read_after(CommitSeq::ZERO).unwrap();
    while let Ok(Some(t)) = reader.next() {
        if let tidelake_core::ports::BufferedPayload::Events(mut events) = t.payload
            && let Some(error) = events.find_map(Result::err)
        {
            return Some(error);
        }
    }
    None
}

#[test]
fn foreign_and_newer_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let foreign = dir.path().join("holiday.jpg");
    fs::write(&foreign, b"x").unwrap();
    let refused = DiskBuffer::open(options(dir.path(), 1 << 30)).err().unwrap();
    assert!(matches!(&refused, Error::Invalid(reason) if reason.contains("holiday.jpg")), "{refused}");
    fs::remove_file(&foreign).unwrap();
    let path = segments(dir.path()).remove(0);
    let good = fs::read(&path).unwrap();
    for (bytes, word) in [(b"not a segment at all".to_vec(), "not a segment"), (newer(&good), "format version 2")] {
        fs::write(&path, bytes).unwrap();
        let refused = DiskBuffer::open(options(dir.path(), 1 << 30)).err().unwrap();
        assert!(matches!(&refused, Error::Invalid(reason) if reason.contains(word)), "{refused}");
    }
    fs::write(&path, &good).unwrap();
    fs::write(dir.path().join("released.json"), "00000000\n{}\n").unwrap();
    assert!(matches!(DiskBuffer::open(options(dir.path(), 1 << 30)), Err(Error::Corrupt { .. })));
}

fn newer(segment: &[u8]) -> Vec<u8> {
    let mut newer = segment.to_vec();
    newer[8] = 2;
    newer
}

#[test]
fn leftovers_of_an_interrupted_replacement_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    append(&*buffer, "a", 1, &[b"x"]);
    buffer.sync().unwrap();
    drop(buffer);
    for name in ["00000000000000000002.seg.tmp", "released.json.tmp"] {
        fs::write(dir.path().join(name), b"half").unwrap();
    }
    assert_eq!(read_all(&*open(dir.path()), 0).len(), 1);
    assert!(!dir.path().join("released.json.tmp").exists());
}

#[test]
fn a_crash_between_mark_and_deletion_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    for n in 1..=100u64 {
        append(&*buffer, &format!("t{n}"), n, &[&[n as u8; 300]]);
    }
    buffer.sync().unwrap();
    let first = segments(dir.path()).remove(0);
    let kept = fs::read(&first).unwrap();
    buffer.release(CommitSeq(100)).unwrap();
    assert!(!first.exists());
    drop(buffer);
    fs::write(&first, kept).unwrap();
    let buffer = open(dir.path());
    assert!(!first.exists());
    assert_eq!(*buffer.head().borrow(), CommitSeq(100));
    assert_eq!(buffer.begin("t100").unwrap().commit(at(100)).unwrap(), CommitSeq(100));
}

proptest! {
    #[test]
    fn decoding_any_bytes_never_panics(body in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..7) {
        let mut body = body;
        if let Some(first) = body.first_mut() {
            *first = kind;
        }
        if let Ok(Record::Transaction { events, .. } | Record::Chunk { events, .. }) = Record::decode(body.into()) {
            prop_assert!(EventIter::new(events).count() <= 301);
        }
    }

    #[test]
    fn opening_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let header = SegmentHeader { number: 1, first_seq: CommitSeq(1), salt: 7 };
        let mut file = header.encode();
        file.extend_from_slice(&bytes);
        let (dir, _) = with_segment(Path::new("00000000000000000001.seg"), &file);
        let buffer = open(dir.path());
        prop_assert_eq!(*buffer.head().borrow(), CommitSeq::ZERO);
    }
}
