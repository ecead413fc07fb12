//! Crash loops: random work, then the process is gone, and of what was written after the last sync a random part.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_core::ports::Buffer;
use tidelake_core::testing::conformance::buffer::{Seen, at, read_all};
use tidelake_core::{CommitSeq, SourcePosition};

use super::{options, segments};
use crate::DiskBuffer;

/// What must be in the log.
#[derive(Default)]
struct Model {
    log: Vec<Seen>,
    durable: usize,
    released: u64,
}

#[test]
fn random_crashes_lose_nothing_durable() {
    for seed in 0..40 {
        let mut random = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        let mut minor = 0;
        for round in 0..8 {
            let buffer = DiskBuffer::open(options(dir.path(), 1 << 30)).unwrap();
            check_opened(&buffer, &mut model, seed, round);
            let synced = work(&buffer, &mut model, &mut minor, dir.path(), &mut random);
            drop(buffer);
            tear(dir.path(), synced, &mut random);
        }
    }
}

/// Everything durable is there, what follows is a prefix of what was appended, positions fit.
fn check_opened(buffer: &DiskBuffer, model: &mut Model, seed: u64, round: u32) {
    let head = buffer.head().borrow().0 as usize;
    assert!(
        head >= model.durable && head <= model.log.len(),
        "seed {seed} round {round}: head {head}, durable {}, appended {}",
        model.durable,
        model.log.len()
    );
    model.log.truncate(head);
    model.durable = head;
    assert_eq!(read_all(buffer, model.released), model.log[model.released as usize..], "seed {seed} round {round}");
    let last = model.log.last().map_or((0, 0), |s| s.order);
    assert_eq!(buffer.read_position().borrow().as_ref().map_or((0, 0), SourcePosition::order), last);
}

/// Returns the last segment that was durable at the end, and its length.
fn work(
    buffer: &Arc<DiskBuffer>,
    model: &mut Model,
    minor: &mut u64,
    dir: &Path,
    random: &mut StdRng,
) -> (PathBuf, u64) {
    let mut open = None;
    let mut synced = last_segment(dir);
    for _ in 0..random.random_range(0..60) {
        match random.random_range(0..10) {
            0..=4 => {
                *minor += 1;
                let (id, events) = (format!("t{minor}"), random_events(random));
                let mut appender = buffer.begin(&id).unwrap();
                events.iter().for_each(|e| appender.push(e).unwrap());
                let seq = appender.commit(at(*minor)).unwrap();
                model.log.push(Seen { seq: seq.0, id, order: (1, *minor), events });
            }
            5 => {
                let order = model.log.last().map_or((0, 0), |s| s.order);
                let record = Bytes::from(vec![3; random.random_range(0..5000)]);
                let seq = buffer.append_control(record.clone()).unwrap();
                model.log.push(Seen { seq: seq.0, id: String::new(), order, events: vec![record] });
            }
            6 => {
                // Never committed: must leave nothing, wherever its chunks are.
                let appender = open.get_or_insert_with(|| buffer.begin("open").unwrap());
                appender.push(&vec![6; random.random_range(0..6000)]).unwrap();
            }
            7 | 8 => {
                assert_eq!(buffer.sync().unwrap().0, model.log.len() as u64);
                model.durable = model.log.len();
                synced = last_segment(dir);
            }
            _ => {
                buffer.release(CommitSeq(random.random_range(0..=model.durable as u64))).unwrap();
                while buffer.read_after(CommitSeq(model.released)).is_err() {
                    model.released += 1;
                }
            }
        }
    }
    synced
}

fn random_events(random: &mut StdRng) -> Vec<Bytes> {
    let one = |random: &mut StdRng| Bytes::from(vec![random.random::<u8>(); random.random_range(0..700)]);
    (0..random.random_range(0..8)).map(|_| one(random)).collect()
}

/// The segment that is written to, and its length.
fn last_segment(dir: &Path) -> (PathBuf, u64) {
    let path = segments(dir).pop().unwrap();
    let len = fs::metadata(&path).unwrap().len();
    (path, len)
}

/// The last segment loses a random part of what was written after the last sync, and may get garbage or zeros.
fn tear(dir: &Path, synced: (PathBuf, u64), random: &mut StdRng) {
    let (last, written) = last_segment(dir);
    // Of a later segment than at the last sync, only the header is durable.
    let durable = if last == synced.0 { synced.1 } else { crate::format::HEADER_BYTES };
    let mut bytes = fs::read(&last).unwrap();
    bytes.truncate(random.random_range(durable.min(written)..=written) as usize);
    match random.random_range(0..3) {
        0 => bytes.resize(bytes.len() + random.random_range(0..3000), 0),
        1 => bytes.extend((0..random.random_range(0..3000)).map(|_| random.random::<u8>())),
        _ => {}
    }
    fs::write(&last, bytes).unwrap();
}
