//! The grouper over real files, and over damaged ones.

use std::collections::HashMap;
use std::path::PathBuf;

use super::*;

/// One committed transaction.
#[derive(Clone, Debug, PartialEq)]
struct Committed {
    id: String,
    items: usize,
    position: SourcePosition,
}

#[derive(Default)]
struct Recorder {
    open: Option<(String, usize)>,
    held: HashMap<String, (String, usize)>,
    committed: Vec<Committed>,
    read: SourcePosition,
}

impl TransactionSink for Recorder {
    fn begin(&mut self, id: &str) -> Result<()> {
        assert!(self.open.is_none(), "two open transactions");
        self.open = Some((id.to_owned(), 0));
        Ok(())
    }
    fn push(&mut self, item: &[u8]) -> Result<()> {
        let header = EventHeader::parse(item).expect("items have headers");
        assert_eq!(header.size as usize, item.len());
        self.open.as_mut().expect("open").1 += 1;
        Ok(())
    }
    fn commit(&mut self, position: SourcePosition) -> Result<()> {
        let (id, items) = self.open.take().expect("open");
        self.committed.push(Committed { id, items, position });
        Ok(())
    }
    fn abandon(&mut self) {
        self.open = None;
    }
    fn hold(&mut self, xid: &str) {
        self.held.insert(xid.to_owned(), self.open.take().expect("open"));
    }
    fn unhold(&mut self, xid: &str) -> bool {
        self.open = self.held.remove(xid);
        self.open.is_some()
    }
    fn note_read(&mut self, position: SourcePosition) {
        self.read = position;
    }
}

fn data(path: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::read(root.join(path)).expect(path)
}

fn events(file: &[u8]) -> Vec<&[u8]> {
    let (mut at, mut out) = (4, Vec::new());
    while at < file.len() {
        let size = u32::from_le_bytes(file[at + 9..at + 13].try_into().expect("4 bytes")) as usize;
        out.push(&file[at..at + size]);
        at += size;
    }
    out
}

/// All transactions of the files, begun again at `after`.
fn run(folder: &str, files: &[&str], after: Option<&SourcePosition>) -> (TransactionGrouper, Recorder) {
    let mut grouper = TransactionGrouper::new(GrouperMode::File, after).expect("position parses");
    let mut sink = Recorder::default();
    let from = grouper.read_from();
    for name in files.iter().filter(|n| **n >= from.file.as_str()) {
        let bytes = data(&format!("{folder}/{name}"));
        grouper.begin_file(name);
        let mut at = 4;
        for event in events(&bytes) {
            let skip = *name == from.file && at < from.pos && event[4] != 15;
            at += event.len() as u64;
            if skip {
                grouper.seek(at);
                continue;
            }
            grouper.feed(event, &mut sink).expect("real files are whole");
            grouper.note_read(&mut sink);
        }
        assert_eq!(grouper.position().minor, bytes.len() as u64);
    }
    (grouper, sink)
}

const MARIADB: (&str, &[&str]) =
    ("mariadb-11.8.9", &["binlog.000001", "binlog.000002", "binlog.000003", "binlog.000004", "binlog.000005"]);
const MYSQL: (&str, &[&str]) = (
    "mysql-9.7.4",
    &[
        "binlog.000001",
        "binlog.000002",
        "binlog.000003",
        "binlog.000004",
        "binlog.000005",
        "binlog.000006",
        "binlog.000007",
    ],
);

#[test]
fn mysql_groups_and_gtids_are_those_of_the_server() {
    let (grouper, sink) = run(MYSQL.0, MYSQL.1, None);
    // what the server lists at the head of its last file
    let listed = "65c061af-e6a6-11f1-8952-02fc00000001:1-93:mytag:1,aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee:9:other_tag:5";
    assert_eq!(grouper.read_from().gtid, listed);
    let ids: Vec<&str> = sink.committed.iter().map(|t| t.id.as_str()).collect();
    assert!(ids.contains(&"65c061af-e6a6-11f1-8952-02fc00000001:mytag:1"), "{ids:?}");
    // 43 + 4 + 31 + 18 groups, of which 4 only end a prepared XA transaction, and one is rolled back
    assert_eq!(ids.len(), 43 + 4 + 31 + 18 - 4 - 1);
    assert!(sink.held.is_empty());
    assert!(sink.committed.iter().all(|t| t.position.commit_time_us > 1_700_000_000_000_000));
}

#[test]
fn mariadb_positions_are_computed_where_the_server_writes_none() {
    let (grouper, sink) = run(MARIADB.0, MARIADB.1, None);
    assert_eq!(grouper.read_from().gtid, "0-99-70,0-33118-73,7-33118-1", "server 99 has written in domain 0 too");
    let last = sink.committed.last().expect("transactions");
    assert_eq!(last.position.major, 4);
    assert!(sink.committed.windows(2).all(|w| w[0].position.order() < w[1].position.order()));
}

#[test]
fn every_position_resumes_to_the_same_transactions() {
    for (folder, files) in [MARIADB, MYSQL] {
        let (_, whole) = run(folder, files, None);
        for (i, transaction) in whole.committed.iter().enumerate() {
            let (_, rest) = run(folder, files, Some(&transaction.position));
            assert!(rest.committed == whole.committed[i + 1..], "after {}", transaction.position);
        }
    }
}

#[test]
fn inside_a_transaction_what_was_read_ends_before_it() {
    for (folder, files) in [MARIADB, MYSQL] {
        let (_, whole) = run(folder, files, None);
        let bytes = data(&format!("{folder}/{}", files[0]));
        let mut grouper = TransactionGrouper::new(GrouperMode::File, None).expect("no position");
        let mut sink = Recorder::default();
        grouper.begin_file(files[0]);
        let mut inside = 0;
        for event in events(&bytes) {
            grouper.feed(event, &mut sink).expect("real files are whole");
            grouper.note_read(&mut sink);
            if grouper.is_outside() {
                assert_eq!(sink.read, grouper.position());
                continue;
            }
            inside += 1;
            if inside % 11 == 0 {
                let (_, rest) = run(folder, files, Some(&sink.read));
                assert!(rest.committed == whole.committed[sink.committed.len()..], "after {}", sink.read);
            }
        }
        assert!(inside > 50, "{folder}: {inside}");
    }
}

#[test]
fn damage_is_an_error_with_file_and_offset() {
    let bytes = data("mariadb-11.8.9/binlog.000003");
    for flip in (300..bytes.len()).step_by(37) {
        let mut damaged = bytes.clone();
        damaged[flip] ^= 0x10;
        let mut grouper = TransactionGrouper::new(GrouperMode::File, None).expect("no position");
        grouper.begin_file("binlog.000003");
        let (mut sink, mut error) = (Recorder::default(), None);
        let mut at = 4;
        while at < damaged.len() && error.is_none() {
            let size = u32::from_le_bytes(damaged[at + 9..at + 13].try_into().expect("4 bytes")) as usize;
            let end = at.saturating_add(size).min(damaged.len());
            error = grouper.feed(&damaged[at..end.max(at)], &mut sink).err();
            at = end.max(at + 1);
        }
        match error {
            Some(Error::Corrupt { place, .. }) => assert!(place.contains("binlog.000003 at offset"), "{place}"),
            other => panic!("flip at {flip}: {other:?}"),
        }
    }
}

/// The same events as the wire has them: an artificial ROTATE first, and no positions inside transactions.
#[test]
fn wire_and_file_agree() {
    let file = data("mariadb-11.8.9/binlog.000003");
    let (_, from_file) = run("mariadb-11.8.9", &["binlog.000003"], None);
    let mut grouper = TransactionGrouper::new(GrouperMode::Wire, None).expect("no position");
    let mut sink = Recorder::default();
    let mut rotate = Vec::new();
    let mut body = 4u64.to_le_bytes().to_vec();
    body.extend_from_slice(b"binlog.000003");
    let header = EventHeader {
        timestamp: 0,
        kind: EventType::ROTATE,
        server_id: 1,
        size: (HEADER_LEN + body.len()) as u32,
        end_log_pos: 0,
        flags: super::super::event::FLAG_ARTIFICIAL,
    };
    header.write(&mut rotate);
    rotate.extend_from_slice(&body);
    grouper.feed(&rotate, &mut sink).expect("rotate");
    for event in events(&file) {
        grouper.feed(event, &mut sink).expect("wire events");
    }
    assert_eq!(sink.committed, from_file.committed);
    assert_eq!(grouper.read_from().file, "binlog.000004");
    // what a server sends to open connections after RESET MASTER
    let again = grouper.feed(&rotate, &mut sink).expect_err("read before");
    assert!(matches!(&again, Error::Invalid(why) if why.contains("was reset")), "{again}");
}
