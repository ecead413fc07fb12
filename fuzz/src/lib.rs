//! What the targets and the maker of their seeds share: an input is a list of events without headers and checksums, so that what is
//! changed in one of them does not hide the others.

use bytes::Bytes;
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::mysql::decoder::{BinlogDecoder, UnknownTables};
use tidelake_binlog::mysql::event::{EventHeader, EventType, HEADER_LEN};
use tidelake_binlog::mysql::group::{GrouperMode, TransactionGrouper, TransactionSink};
use tidelake_core::ports::{BufferedPayload, BufferedTransaction, TransactionDecoder};
use tidelake_core::{Catalog, CommitSeq, Result, SourcePosition};

/// Real files, by the name of the folder and file in the tests' data; the first byte of an input says which one's server wrote it.
pub const SERVERS: [(&str, &[u8]); 3] = [
    ("mysql-9.7.4", include_bytes!("../../crates/binlog/tests/data/mysql-9.7.4/binlog.000001")),
    ("mariadb-11.8.9", include_bytes!("../../crates/binlog/tests/data/mariadb-11.8.9/binlog.000001")),
    ("mysql-5.6.14", include_bytes!("../../crates/binlog/tests/data/mysql-5.6.14/binlog.000001")),
];

/// Type and body of each event of an input: `u8` type, `u16` length, body.
pub fn events(mut input: &[u8]) -> Vec<(u8, &[u8])> {
    let mut events = Vec::new();
    while let [kind, low, high, rest @ ..] = input {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (body, rest) = rest.split_at(length);
        events.push((*kind, body));
        input = rest;
    }
    events
}

/// The other way round; bodies that are too long for it are left out.
pub fn input(server: u8, events: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = vec![server];
    for (kind, body) in events {
        let Ok(length) = u16::try_from(body.len()) else { continue };
        out.push(*kind);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(body);
    }
    out
}

/// The events of a whole file, without their checksums.
pub fn events_of_file(file: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut rest, mut events, mut checksum) = (&file[4..], Vec::new(), 0);
    while let Ok(header) = EventHeader::parse(rest) {
        let size = (header.size as usize).clamp(HEADER_LEN, rest.len());
        let (event, tail) = rest.split_at(size);
        rest = tail;
        if header.kind == EventType::FORMAT_DESCRIPTION {
            checksum = if event[event.len() - 5] == 1 { 4 } else { 0 };
        } else {
            events.push((header.kind.0, &event[HEADER_LEN..event.len() - checksum]));
        }
    }
    events
}

/// The format description of a server, which says that there are no checksums.
fn format_of(server: u8) -> Vec<u8> {
    let file = SERVERS[usize::from(server) % SERVERS.len()].1;
    let size = EventHeader::parse(&file[4..]).expect("a real file").size as usize;
    let mut event = file[4..4 + size].to_vec();
    event[size - 5] = 0;
    event
}

fn with_header(kind: u8, body: &[u8]) -> Vec<u8> {
    let size = (HEADER_LEN + body.len()) as u32;
    let header = EventHeader { timestamp: 1, kind: EventType(kind), server_id: 1, size, end_log_pos: 0, flags: 0 };
    let mut event = Vec::with_capacity(size as usize);
    header.write(&mut event);
    event.extend_from_slice(body);
    event
}

/// Groups and decodes an input's events up to the first error.
pub fn decode(input: &[u8]) {
    let Some((server, rest)) = input.split_first() else { return };
    let format = format_of(*server);
    let events = events(rest).into_iter().map(|(kind, body)| with_header(kind, body));
    decode_events(std::iter::once(format).chain(events));
}

/// The same for whole events.
pub fn decode_events(events: impl Iterator<Item = Vec<u8>>) {
    let mut grouper = TransactionGrouper::new(GrouperMode::File, None).expect("no position");
    grouper.begin_file("binlog.000001");
    let mut sink = Collected::default();
    for event in events {
        if grouper.feed(&event, &mut sink).is_err() {
            break;
        }
    }
    let mut decoder = BinlogDecoder::new(TableFilter::default(), UnknownTables::Stop);
    let mut catalog = Catalog::default();
    for transaction in sink.committed {
        if decoder.decode(transaction, &mut catalog).is_err() || decoder.take().is_err() {
            break;
        }
    }
}

/// Transactions in memory.
#[derive(Default)]
struct Collected {
    open: Option<Vec<Bytes>>,
    held: Vec<(String, Vec<Bytes>)>,
    committed: Vec<BufferedTransaction>,
}

impl TransactionSink for Collected {
    fn begin(&mut self, _id: &str) -> Result<()> {
        self.open = Some(Vec::new());
        Ok(())
    }

    fn push(&mut self, item: &[u8]) -> Result<()> {
        self.open.as_mut().expect("pushed into a transaction").push(Bytes::copy_from_slice(item));
        Ok(())
    }

    fn commit(&mut self, position: SourcePosition) -> Result<()> {
        let items = self.open.take().expect("committed in a transaction");
        self.committed.push(BufferedTransaction {
            seq: CommitSeq(self.committed.len() as u64 + 1),
            id: String::new(),
            position,
            bytes: items.iter().map(|item| item.len() as u64).sum(),
            payload: BufferedPayload::Events(Box::new(items.into_iter().map(Ok))),
        });
        Ok(())
    }

    fn abandon(&mut self) {
        self.open = None;
    }

    fn hold(&mut self, xid: &str) {
        self.held.extend(self.open.take().map(|open| (xid.to_owned(), open)));
    }

    fn unhold(&mut self, xid: &str) -> bool {
        let at = self.held.iter().position(|(name, _)| name == xid);
        self.open = at.map(|at| self.held.swap_remove(at).1);
        self.open.is_some()
    }

    fn note_read(&mut self, _position: SourcePosition) {}
}
