use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tidelake_core::CommitSeq;
use tidelake_core::ports::{Buffer, BufferedPayload};
use tidelake_core::testing::conformance::buffer::{append, at};

use super::{open, options};
use crate::DiskBuffer;

/// The bytes transaction `n` must have; some are written as chunks.
fn events(n: u64) -> Vec<Vec<u8>> {
    let big = if n.is_multiple_of(37) { 40 } else { 2 };
    (0..big).map(|e| vec![(n + e) as u8; 300]).collect()
}

/// Ends the other threads when the test's own fails.
struct EndOnPanic<F: Fn()>(F);

impl<F: Fn()> Drop for EndOnPanic<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)();
        }
    }
}

#[test]
fn appender_reader_and_release_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = DiskBuffer::open(options(dir.path(), 200_000)).unwrap();
    let (last, done) = (4000u64, AtomicBool::new(false));
    let applied = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let _end = EndOnPanic(|| {
            done.store(true, Ordering::SeqCst);
            applied.store(last, Ordering::SeqCst);
            buffer.close();
        });
        scope.spawn(|| {
            for n in 1..=last {
                let events = events(n);
                let events: Vec<&[u8]> = events.iter().map(Vec::as_slice).collect();
                assert_eq!(append(&*buffer, &format!("t{n}"), n, &events), CommitSeq(n));
            }
            buffer.sync().unwrap();
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                buffer.sync().unwrap();
                std::thread::yield_now();
            }
        });
        scope.spawn(|| {
            while applied.load(Ordering::SeqCst) < last {
                buffer.release(CommitSeq(applied.load(Ordering::SeqCst))).unwrap();
                std::thread::yield_now();
            }
        });
        let mut reader = buffer.read_after(CommitSeq::ZERO).unwrap();
        for n in 1..=last {
            let transaction = loop {
                if let Some(transaction) = reader.next().unwrap() {
                    break transaction;
                }
                std::thread::yield_now();
            };
            assert_eq!((transaction.seq, transaction.id), (CommitSeq(n), format!("t{n}")));
            let BufferedPayload::Events(read) = transaction.payload else { panic!("{n} is no control record") };
            assert!(read.map(Result::unwrap).eq(events(n)), "events of {n}");
            applied.store(n, Ordering::SeqCst);
        }
    });
    let (bytes, limit) = buffer.bytes();
    assert!(bytes < 2 * limit, "{bytes} retained");
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    let refused = DiskBuffer::open(options(dir.path(), 1 << 30)).err().unwrap();
    assert!(refused.to_string().contains("in use"), "{refused}");
    drop(buffer);
    open(dir.path());
}

#[test]
fn close_wakes_who_waits() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = DiskBuffer::open(options(dir.path(), 10_000)).unwrap();
    append(&*buffer, "full", 1, &[&[0; 20_000]]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| buffer.begin("waits").map(drop));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished());
        buffer.close();
        assert!(matches!(waiting.join().unwrap(), Err(tidelake_core::Error::Closed(_))));
    });
    assert!(buffer.stalled_seconds() > 0.0);
}

#[test]
fn a_failed_write_poisons() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("buffer");
    let buffer = open(&gone);
    append(&*buffer, "a", 1, &[b"x"]);
    buffer.sync().unwrap();
    std::fs::remove_dir_all(&gone).unwrap();
    // The next segment cannot be created.
    let failed = (2..1000).find_map(|n| {
        buffer
            .begin("")
            .and_then(|mut t| {
                t.push(&[0; 500])?;
                t.commit(at(n))
            })
            .err()
    });
    assert!(failed.is_some());
    for error in [buffer.sync().err(), buffer.begin("b").map(drop).err(), buffer.release(CommitSeq(1)).err()] {
        let error = error.unwrap();
        assert!(matches!(&error, tidelake_core::Error::Closed(cause) if cause.contains(".seg")), "{error}");
    }
    assert_eq!(*buffer.head().borrow(), CommitSeq(1));
}
