//! Thousands of damaged events: no panic, and no more memory than the input accounts for. Each run is repeated by its seed.
//!
//! Files are taken apart into events, some of which are changed (bytes, lengths, pieces cut out or repeated, swapped for others of
//! their kind); checksums are off, so that what is wrong inside an event meets the code that reads it. Single values go
//! through the readers that claims of lengths and depths could hurt: JSON, decimals, compressed pieces, statements.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::mysql::compressed;
use tidelake_binlog::mysql::decoder::{BinlogDecoder, UnknownTables};
use tidelake_binlog::mysql::event::{EventHeader, EventType, HEADER_LEN};
use tidelake_binlog::mysql::group::{GrouperMode, PayloadEvents, TransactionGrouper};
use tidelake_binlog::mysql::gtid::{self, GtidState};
use tidelake_binlog::mysql::query::{QueryEvent, QueryForm};
use tidelake_binlog::mysql::rows::{RowsEvent, json};
use tidelake_binlog::mysql::sink::BufferSink;
use tidelake_binlog::mysql::statement::classify;
use tidelake_binlog::mysql::table_map::TableMap;
use tidelake_core::Catalog;
use tidelake_core::ports::TransactionDecoder;

use crate::damage::without_checksums;
use crate::memory::peak;
use crate::support::{MemoryBuffer, data, recorded};

/// Files that decode whole, with every kind of event that has rows.
const FOLDERS: [&str; 7] = [
    "mysql-5.6.14/binlog.000001",
    "mariadb-11.8.9/binlog.000001",
    "mariadb-11.8.9/binlog.000002",
    "mariadb-11.8.9/binlog.000003",
    "mysql-9.7.4/binlog.000001",
    "mysql-9.7.4/binlog.000002",
    "mysql-9.7.4/binlog.000003",
];
const SINGLE: [&str; 8] = [
    "mariadb10.11-alltypes.binlog",
    "mariadb10.11-log_bin_compress.binlog",
    "keep.29_invisible_and_versioned.binlog",
    "keep.42_mixed_engines.binlog",
    "json-opaque.binlog",
    "vector.binlog",
    "ver_5_1_23.001",
    "transaction_compression.000001",
];

/// Bytes that may be held for every byte of input: a NULL of one bit becomes a value of up to 32 bytes, and a column of
/// binary JSON text.
const A_BYTE: usize = 512;
/// Bytes that may be held besides.
const ANYWAY: usize = 8 << 20;

/// A file's events, without checksums.
fn events_of(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut at, mut events) = (4, Vec::new());
    while at < file.len() {
        let size = EventHeader::parse(&file[at..]).expect("a whole file").size as usize;
        events.push(file[at..at + size].to_vec());
        at += size;
    }
    events
}

fn sample_files() -> Vec<Vec<Vec<u8>>> {
    let folders = FOLDERS.iter().map(|path| std::fs::read(data(path)).expect(path));
    let files = folders.chain(SINGLE.iter().map(|name| recorded(name)));
    files.map(|file| events_of(&if checksums(&file) { without_checksums(&file) } else { file })).collect()
}

/// True if the file's format description says that events end with a checksum.
fn checksums(file: &[u8]) -> bool {
    let size = EventHeader::parse(&file[4..]).expect("a header").size as usize;
    let version = String::from_utf8_lossy(&file[25..75]).into_owned();
    !version.starts_with("5.1") && file[4 + size - 5] == 1
}

/// Changes some bytes behind the header, and sets the header's size right.
fn mutate(event: &mut Vec<u8>, others: &[Vec<u8>], random: &mut StdRng) {
    let body = HEADER_LEN..event.len().max(HEADER_LEN + 1);
    for _ in 0..random.random_range(1..4) {
        if event.len() <= HEADER_LEN {
            break;
        }
        let at = random.random_range(body.start..event.len());
        match random.random_range(0..8) {
            0 => event[at] ^= 1 << random.random_range(0..8),
            1 => event[at] = random.random(),
            2 => event[at] = *[0, 1, 0x7f, 0x80, 0xfb, 0xfc, 0xfd, 0xfe, 0xff].choose(random).expect("not empty"),
            3 => event.truncate(at),
            4 => drop(
                event.splice(at..at, (0..random.random_range(1..9)).map(|_| random.random::<u8>()).collect::<Vec<_>>()),
            ),
            5 => {
                let end = random.random_range(at..event.len().min(at + 40)) + 1;
                event.drain(at..end);
            }
            6 => {
                let end = random.random_range(at..event.len().min(at + 40)) + 1;
                let piece = event[at..end].to_vec();
                event.splice(at..at, piece);
            }
            _ => {
                let same: Vec<&Vec<u8>> = others.iter().filter(|o| o[4] == event[4]).collect();
                if let Some(other) = same.choose(random) {
                    event.clone_from(other);
                }
            }
        }
    }
    let size = (event.len() as u32).to_le_bytes();
    event[9..13].copy_from_slice(&size);
}

/// Groups and decodes events, up to the first error. Returns the number of transactions.
fn run<'e>(events: impl Iterator<Item = &'e [u8]>) -> usize {
    let buffer = MemoryBuffer::new();
    let mut grouper = TransactionGrouper::new(GrouperMode::File, None).expect("no position");
    grouper.begin_file("binlog.000001");
    let mut sink = BufferSink::new(&*buffer);
    for event in events {
        if grouper.feed(event, &mut sink).is_err() {
            break;
        }
    }
    let mut decoder = BinlogDecoder::new(TableFilter::default(), UnknownTables::Stop);
    let mut catalog = Catalog::default();
    let committed = buffer.committed();
    for (i, transaction) in committed.iter().enumerate() {
        if decoder.decode(transaction.buffered(i as u64 + 1), &mut catalog).is_err() || decoder.take().is_err() {
            break;
        }
    }
    committed.len()
}

#[test]
fn damaged_events_cost_no_panic_and_little_memory() {
    let files = sample_files();
    let all: Vec<Vec<u8>> = files.concat();
    let mut transactions = 0;
    for (number, file) in files.iter().enumerate() {
        for seed in 0..120 {
            let mut random = StdRng::seed_from_u64(seed * 1000 + number as u64);
            let mut events = file.clone();
            for _ in 0..random.random_range(1..4) {
                // the format description stays: without it nothing is read
                let at = random.random_range(1..events.len());
                mutate(&mut events[at], &all, &mut random);
            }
            let bytes: usize = events.iter().map(Vec::len).sum();
            let (found, held) = peak(|| run(events.iter().map(Vec::as_slice)));
            assert!(held < bytes * A_BYTE + ANYWAY, "file {number}, seed {seed}: {held} bytes held for {bytes}");
            transactions += found;
        }
    }
    assert!(transactions > 10_000, "most events are whole: {transactions}");
}

/// Bodies of single events through the readers of their parts.
#[test]
fn damaged_parts_cost_no_panic_and_little_memory() {
    let all: Vec<Vec<u8>> = sample_files().concat();
    let mut random = StdRng::seed_from_u64(5);
    let mut read = 0;
    for _ in 0..20_000 {
        let mut event = all.choose(&mut random).expect("events").clone();
        mutate(&mut event, &all, &mut random);
        let (kind, body) = (EventType(event[4]), &event[HEADER_LEN..]);
        let (ok, held) = peak(|| parse(kind, body));
        read += usize::from(ok);
        assert!(held < event.len() * 64 + (4 << 20), "{held} bytes held for {event:?}");
    }
    assert!(read > 1000, "{read} of the damaged events can be read");
}

fn parse(kind: EventType, body: &[u8]) -> bool {
    match kind {
        EventType::TABLE_MAP => TableMap::parse(body, 6).is_ok(),
        EventType::QUERY => QueryEvent::parse(body, QueryForm::Plain).is_ok_and(|q| {
            let _ = classify(&q.sql);
            true
        }),
        EventType::MARIADB_QUERY_COMPRESSED => QueryEvent::parse(body, QueryForm::Compressed).is_ok(),
        EventType::PREVIOUS_GTIDS => GtidState::default().add_previous_gtids(body).is_ok(),
        EventType::MARIADB_GTID_LIST => GtidState::default().add_gtid_list(body).is_ok(),
        EventType::MARIADB_GTID => gtid::parse_mariadb(body, 1).is_ok(),
        EventType::GTID_TAGGED => gtid::parse_mysql_tagged(body).is_ok(),
        EventType::GTID | EventType::ANONYMOUS_GTID => gtid::parse_mysql(body, false).is_ok(),
        EventType::TRANSACTION_PAYLOAD => PayloadEvents::open(body).is_ok_and(|mut events| {
            while let Ok(Some(_)) = events.next(1 << 20) {}
            true
        }),
        kind if kind.is_rows() => RowsEvent::parse(kind, body, 6).is_ok(),
        _ => false,
    }
}

/// Binary JSON whose offsets, counts and kinds are anything.
#[test]
fn damaged_json_costs_no_panic_and_little_memory() {
    // {"a": [1, "x", {"b": null}], "c": 1.5}, as MySQL 9.7 wrote it, and an array of arrays
    let object: &[u8] = b"\x00\x02\x00\x33\x00\x12\x00\x01\x00\x13\x00\x01\x00\x02\x14\x00\x0b\x2b\x00ac\x03\x00\x17\x00\
        \x05\x01\x00\x0c\x0d\x00\x00\x0f\x00\x01x\x01\x00\x0c\x00\x0b\x00\x01\x00\x04\x00\x00b\x00\x00\x00\x00\x00\x00\xf8\x3f";
    let nested: &[u8] = b"\x02\x01\x00\x11\x00\x02\x07\x00\x01\x00\x0a\x00\x02\x07\x00\x00\x00\x04\x00";
    let mut random = StdRng::seed_from_u64(9);
    for i in 0..30_000 {
        let mut value = if i % 2 == 0 { object.to_vec() } else { nested.to_vec() };
        for _ in 0..random.random_range(0..5) {
            let at = random.random_range(0..value.len());
            let most = if random.random() { 20 } else { 255 };
            value[at] = random.random_range(0..=most);
        }
        let mut text = String::new();
        let (_, held) = peak(|| json::write_text(&value, &mut text));
        assert!(held < 64 * 1024, "{held} bytes for {value:?}");
    }
}

fn deflated(bytes: &[u8], claimed: u32) -> Vec<u8> {
    use std::io::Write;
    let mut stream = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    stream.write_all(bytes).expect("into memory");
    let stream = stream.finish().expect("into memory");
    [&[0x84][..], &claimed.to_be_bytes(), &stream].concat()
}

/// A stream that grows a thousandfold is read up to the length that it claims, and no claim is believed beforehand.
#[test]
fn compressed_pieces_are_bounded_by_what_they_claim() {
    let bomb = deflated(&vec![0; 64 << 20], 1000);
    let (result, held) = peak(|| compressed::event_data(&bomb, compressed::MAX_EVENT, false));
    assert!(result.is_err() && held < 1 << 20, "{held} bytes held");
    let boast = deflated(b"short", 1 << 30);
    let (result, held) = peak(|| compressed::event_data(&boast, compressed::MAX_EVENT, false));
    assert!(result.is_err() && held < 1 << 20, "{held} bytes held");
    let (result, held) = peak(|| compressed::event_data(&deflated(b"short", u32::MAX), compressed::MAX_EVENT, false));
    assert!(result.is_err() && held < 1 << 20, "{held} bytes held");
    assert_eq!(
        compressed::event_data(&deflated(b"short", 5), compressed::MAX_EVENT, false).as_deref(),
        Ok(&b"short"[..])
    );
}

/// A payload of one event of zeros; `claimed` bytes by its own account.
fn payload(event_bytes: u32, claimed: u64) -> Vec<u8> {
    let mut event = Vec::new();
    let kind = EventType::ROWS_QUERY;
    EventHeader { timestamp: 0, kind, server_id: 1, size: event_bytes, end_log_pos: 0, flags: 0 }.write(&mut event);
    event.resize(event_bytes as usize, 0);
    let stream = zstd::encode_all(&event[..], 19).expect("zstd");
    let number = |n: u64| [&[9, 0xfe][..], &n.to_le_bytes()].concat();
    let fields = [&[2, 1, 0, 1][..], &number(stream.len() as u64), &[3], &number(claimed), &[0], &stream];
    fields.concat()
}

#[test]
fn payloads_are_bounded_by_what_they_claim() {
    let body = Bytes::from(payload(64 << 20, 1000));
    let (result, held) = peak(|| PayloadEvents::open(&body).expect("opens").next(compressed::MAX_EVENT).map(drop));
    assert!(result.is_err() && held < 16 << 20, "{held} bytes held");
    let body = payload(1000, 1000);
    let mut events = PayloadEvents::open(&body).expect("opens");
    assert_eq!(events.next(compressed::MAX_EVENT).expect("whole").expect("one event").1.len(), 1000 - HEADER_LEN);
    assert!(events.next(compressed::MAX_EVENT).expect("the end").is_none());
}
