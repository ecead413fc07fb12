use tidelake_core::TableState;
use tidelake_core::testing::tables::{accounts, position};

use super::*;
use crate::fault::Faults;
use crate::storage::Storage;

fn edit(seq: u64) -> Edit {
    let durable = Progress { seq: CommitSeq(seq), position: position(seq) };
    let (def, state) = (Box::new(accounts(seq, &format!("t{seq}"))), TableState::Live);
    let schema = vec![(CommitSeq(seq), SchemaChange::CreateTable { def, state })];
    Edit { durable, schema, add_deaths: vec![(seq, TableId(1))], ..Edit::default() }
}

/// A new directory with a folder for manifests, as storage.
fn storage(dir: &std::path::Path) -> std::sync::Arc<Storage> {
    std::fs::create_dir_all(dir.join("manifest")).unwrap();
    Storage::of_directory(dir).unwrap()
}

/// A manifest of three edits, its bytes, and the lengths after each record.
fn sample() -> (Vec<u8>, Vec<usize>, Vec<State>) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = ManifestLog::start(&storage(dir.path()), 1, State::empty(), Faults::default()).unwrap();
    let path = dir.path().join("manifest/1.log");
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
    let mut log = ManifestLog::start(&storage(dir.path()), 1, State::empty(), Faults::default()).unwrap();
    log.append(&edit(1)).unwrap();
    let (number, state) = ManifestLog::recover(&storage(dir.path())).unwrap();
    assert_eq!((number, &state), (1, log.state()));
    ManifestLog::start(&storage(dir.path()), 2, state, Faults::default()).unwrap();
    assert_eq!(ManifestLog::recover(&storage(dir.path())).unwrap().1, *log.state());
    std::fs::write(dir.path().join("manifest/notes.txt"), "x").unwrap();
    let refused = ManifestLog::recover(&storage(dir.path())).unwrap_err();
    assert!(refused.to_string().contains("notes.txt"), "{refused}");
}

/// An object holds one whole record or is refused by its name, wherever it is damaged.
#[test]
fn damaged_objects_are_refused() {
    let bytes = objects::encode("me", false, &edit(7)).unwrap();
    let objects::Step::Edit(read) = objects::read_step("o", &bytes).unwrap() else { panic!("an edit") };
    assert_eq!(*read, edit(7));
    let snapshot = objects::encode("me", true, &State::empty()).unwrap();
    assert!(matches!(objects::read_step("o", &snapshot), Ok(objects::Step::Snapshot(s)) if *s == State::empty()));
    let refused = |bytes: &[u8]| objects::read_step("an/object", bytes).unwrap_err().to_string();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(refused(&damaged).contains("an/object"), "byte {at}");
        assert!(refused(&bytes[..at]).contains("an/object"), "cut at {at}");
    }
    assert!(refused(&[&bytes[..], b"x"].concat()).contains("behind its record"));
    let newer = [b"TLMANIFOBJ v0002", &bytes[16..]].concat();
    assert!(refused(&newer).contains("format version 2"), "{}", refused(&newer));
}
