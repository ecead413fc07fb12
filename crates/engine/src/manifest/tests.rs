use tidelake_core::TableState;
use tidelake_core::testing::tables::{accounts, position};

use super::*;
use crate::fault::Faults;

fn edit(seq: u64) -> Edit {
    let durable = Progress { seq: CommitSeq(seq), position: position(seq) };
    let (def, state) = (Box::new(accounts(seq, &format!("t{seq}"))), TableState::Live);
    let schema = vec![(CommitSeq(seq), SchemaChange::CreateTable { def, state })];
    Edit { durable, schema, add_deaths: vec![(seq, TableId(1))], ..Edit::default() }
}

/// A manifest of three edits, its bytes, and the lengths after each record.
fn sample() -> (Vec<u8>, Vec<usize>, Vec<State>) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = ManifestLog::start(dir.path(), 1, State::empty(), Faults::default()).unwrap();
    let path = dir.path().join("1.log");
    let length = || std::fs::read(&path).unwrap().len();
    let (mut lengths, mut states) = (vec![length()], vec![log.state().clone()]);
    for seq in 1..=3 {
        log.append(&edit(seq)).unwrap();
        lengths.push(length());
        states.push(log.state().clone());
    }
    (std::fs::read(&path).unwrap(), lengths, states)
}

/// Cut anywhere, the state is the one after the last whole edit; never an error after the snapshot.
#[test]
fn torn_tail_is_cut() {
    let (bytes, lengths, states) = sample();
    for cut in 0..=bytes.len() {
        let whole = lengths.iter().filter(|l| **l <= cut).count();
        match read_manifest("m", &bytes[..cut]) {
            Ok(state) => assert_eq!(state, states[whole - 1], "cut at {cut}"),
            Err(_) => assert_eq!(whole, 0, "cut at {cut}"),
        }
    }
}

/// A damaged byte before the last record is refused with its place.
#[test]
fn damage_in_the_middle_is_refused() {
    let (bytes, lengths, states) = sample();
    for i in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[i] ^= 0x10;
        match read_manifest("m.log", &bad) {
            Ok(state) => {
                assert!(i >= lengths[2], "byte {i} of the middle was accepted");
                assert_eq!(state, states[2]);
            }
            Err(e) => assert!(e.to_string().contains("m.log"), "{e}"),
        }
    }
}

#[test]
fn reopen_keeps_the_state_and_foreign_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = ManifestLog::start(dir.path(), 1, State::empty(), Faults::default()).unwrap();
    log.append(&edit(1)).unwrap();
    let (number, state) = ManifestLog::recover(dir.path()).unwrap();
    assert_eq!((number, &state), (1, log.state()));
    ManifestLog::start(dir.path(), 2, state, Faults::default()).unwrap();
    assert_eq!(ManifestLog::recover(dir.path()).unwrap().1, *log.state());
    std::fs::write(dir.path().join("notes.txt"), "x").unwrap();
    let refused = ManifestLog::recover(dir.path()).unwrap_err();
    assert!(refused.to_string().contains("notes.txt"), "{refused}");
}
