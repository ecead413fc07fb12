//! Bytes that nobody wrote: no panic, and no more memory than the input asks for.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::mysql::decoder::{BinlogDecoder, UnknownTables};
use tidelake_binlog::mysql::event::{EventHeader, HEADER_LEN};
use tidelake_binlog::mysql::group::{GrouperMode, TransactionGrouper};
use tidelake_binlog::mysql::sink::BufferSink;
use tidelake_core::ports::TransactionDecoder;
use tidelake_core::{Catalog, Error};

use crate::support::{MemoryBuffer, data, recorded};

fn decoder() -> BinlogDecoder {
    BinlogDecoder::new(TableFilter::default(), UnknownTables::Stop)
}

/// Groups and decodes a file's bytes up to the first error.
fn run(file: &[u8]) -> Result<usize, Error> {
    let buffer = MemoryBuffer::new();
    let mut grouper = TransactionGrouper::new(GrouperMode::File, None)?;
    grouper.begin_file("binlog.000001");
    let (mut sink, mut rest, mut result) = (BufferSink::new(&*buffer), &file[4.min(file.len())..], Ok(()));
    while rest.len() >= HEADER_LEN && result.is_ok() {
        let size = EventHeader::parse(rest).expect("a header's length").size as usize;
        let (event, tail) = rest.split_at(size.clamp(HEADER_LEN, rest.len()));
        rest = tail;
        result = grouper.feed(event, &mut sink);
    }
    let (mut decoder, mut catalog) = (decoder(), Catalog::default());
    let committed = buffer.committed();
    for (i, transaction) in committed.iter().enumerate() {
        decoder.decode(transaction.buffered(i as u64 + 1), &mut catalog)?;
        decoder.take()?;
    }
    result.map(|()| committed.len())
}

fn file(path: &str) -> Vec<u8> {
    if path.contains('/') { std::fs::read(data(path)).expect(path) } else { recorded(path) }
}

/// A file without checksums: every event's checksum cut off, and the format description saying so.
pub fn without_checksums(file: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (file[..4].to_vec(), 4);
    while at < file.len() {
        let header = EventHeader::parse(&file[at..]).expect("a whole file");
        let event = &file[at..at + header.size as usize];
        at += event.len();
        let format = event[4] == 15;
        let keep = if format { event.len() } else { event.len() - 4 };
        let start = out.len();
        out.extend_from_slice(&event[..keep]);
        if format {
            let algorithm = out.len() - 5;
            out[algorithm] = 0;
        }
        out[start + 9..start + 13].copy_from_slice(&(keep as u32).to_le_bytes());
    }
    out
}

#[test]
fn every_prefix_is_whole_or_corrupt() {
    for path in ["mysql-5.6.14/binlog.000001", "mariadb-11.8.9/binlog.000003", "mysql-9.7.4/binlog.000002"] {
        let whole = file(path);
        let all = run(&whole).expect("the whole file");
        for end in (0..whole.len()).step_by(7) {
            match run(&whole[..end]) {
                Ok(transactions) => assert!(transactions <= all),
                Err(Error::Corrupt { place, .. }) => assert!(place.contains("binlog.000001 at offset"), "{place}"),
                Err(other) => panic!("prefix of {end} bytes of {path}: {other}"),
            }
        }
    }
}

#[test]
fn flipped_bits_are_found_by_the_checksum() {
    let mut random = StdRng::seed_from_u64(7);
    let whole = file("mysql-9.7.4/binlog.000003");
    for _ in 0..400 {
        let mut damaged = whole.clone();
        let at = random.random_range(150..damaged.len());
        damaged[at] ^= 1 << random.random_range(0..8);
        match run(&damaged) {
            Err(Error::Corrupt { place, .. }) => assert!(place.contains("binlog.000001 at offset"), "{place}"),
            other => panic!("flip at {at}: {other:?}"),
        }
    }
}

#[test]
fn without_checksums_damage_never_panics() {
    let mut random = StdRng::seed_from_u64(11);
    let files = [
        "mysql-5.6.14/binlog.000001",
        "mariadb-11.8.9/binlog.000001",
        "mariadb-11.8.9/binlog.000002",
        "mysql-9.7.4/binlog.000001",
        "mysql-9.7.4/binlog.000002",
        "mariadb10.11-alltypes.binlog",
    ];
    for path in files {
        let plain = without_checksums(&file(path));
        assert_eq!(run(&plain).expect("only the checksums are gone"), run(&file(path)).expect("whole"), "{path}");
        let mut errors = 0;
        for _ in 0..150 {
            let mut damaged = plain.clone();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(120..damaged.len());
                damaged[at] = random.random();
            }
            errors += usize::from(run(&damaged).is_err());
        }
        assert!(errors > 0, "some damage must hit what holds the events together");
    }
}
