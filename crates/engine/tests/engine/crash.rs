//! Crashes between any two durable steps: the engine stops writing, goes on reading, and opens again at one
//! transaction over all tables.

use tidelake_core::ports::StoreEngine;
use tidelake_core::testing::tables::{position, rows_at};
use tidelake_core::{CommitSeq, Error, TableId, WriterEpoch};
use tidelake_engine::{Faults, MagicEngine};

use crate::model::Run;

const POINTS: [&str; 7] = [
    "flush: before files",
    "flush: after a file",
    "flush: before edit",
    "manifest: torn edit",
    "flush: after edit",
    "compact: before edit",
    "compact: after edit",
];

/// What only an object store has.
const S3_POINTS: [&str; 3] = ["storage: before put", "storage: after put", "manifest: answer lost"];

async fn dies_and_comes_back(point: &'static str, seed: u64, s3: bool) {
    let faults = Faults::armed();
    // Merges happen only where this asks for one, so that there is something to merge.
    faults.set("test: no own compaction");
    let mut run = if s3 { Run::over_s3(seed, faults.clone()).await } else { Run::new(seed, faults.clone()).await };
    run.options.max_files = 1;
    run.crash().await;
    run.begin().await;
    for _ in 0..4 {
        for _ in 0..3 {
            run.transaction().await;
        }
        run.flush().await;
    }
    run.transaction().await;
    faults.set(point);
    let failed = if point.starts_with("compact") {
        run.engine().compact().await.is_err()
    } else {
        run.engine().flush().await.is_err()
    };
    assert!(failed, "{point} was not reached");
    run.compare_everything().await.expect("readers go on");
    let refused = run.writer.as_mut().unwrap().publish(CommitSeq(run.seq + 1), position(run.seq + 1)).await;
    assert!(matches!(refused, Err(Error::Closed(_))), "{point}: {refused:?}");
    assert!(matches!(run.engine().flush().await, Err(Error::Closed(_))));
    run.crash().await;
    run.compare_everything().await.unwrap_or_else(|e| panic!("{point}, seed {seed}: {e}"));
    for _ in 0..3 {
        run.transaction().await;
    }
    run.flush().await;
    run.engine().compact().await.unwrap();
    run.crash().await;
    run.compare_everything().await.unwrap_or_else(|e| panic!("{point}, seed {seed}, later: {e}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv2_nothing_lost_nothing_twice_at_any_crash_point() {
    for point in POINTS {
        for seed in 0..3 {
            dies_and_comes_back(point, seed, false).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv2_nothing_lost_nothing_twice_at_any_crash_point_over_s3() {
    for (seed, point) in POINTS.into_iter().chain(S3_POINTS).enumerate() {
        dies_and_comes_back(point, seed as u64, true).await;
    }
}

/// A disk that is full while a merge writes: nothing of the merge is left, and everything goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_fails_leaves_nothing() {
    for point in ["compact: before files", "compact: before index", "compact: after files", "compact: before death log"]
    {
        let faults = Faults::armed();
        faults.set("test: no own compaction");
        let mut run = Run::new(5, faults.clone()).await;
        run.options.max_files = 1;
        run.options.base_file_rows = 3;
        run.crash().await;
        run.begin().await;
        for _ in 0..4 {
            run.transaction().await;
            run.transaction().await;
            run.flush().await;
        }
        let before = run.files();
        faults.set(point);
        assert!(run.engine().compact().await.is_err(), "{point} was not reached");
        assert_eq!(run.files(), before, "{point}");
        run.transaction().await;
        run.flush().await;
        run.compare_everything().await.expect("readers go on");
        faults.clear();
        assert!(run.engine().compact().await.unwrap() > 0);
        run.compare_everything().await.unwrap();
        run.crash().await;
        run.compare_everything().await.unwrap();
    }
}

/// A crash while the manifest of a new open is written leaves the old one.
#[tokio::test]
async fn a_crash_while_opening_changes_nothing() {
    let faults = Faults::armed();
    let mut run = Run::new(1, faults.clone()).await;
    run.crash().await;
    run.begin().await;
    run.transaction().await;
    run.flush().await;
    let options = run.options.clone();
    run.writer = None;
    drop(run.close());
    faults.set("manifest: before rename");
    assert!(MagicEngine::open(options).await.is_err());
    run.crash().await;
    run.compare_everything().await.unwrap();
}

/// After a restart a seq that was served is not there, or the same; it is never an older state.
#[tokio::test]
async fn inv7_a_published_seq_never_disappears() {
    let mut run = Run::new(3, Faults::armed()).await;
    run.crash().await;
    run.begin().await;
    run.flush().await;
    for _ in 0..4 {
        run.transaction().await;
    }
    let served = run.seq;
    let options = run.options.clone();
    run.writer = None;
    drop(run.close());
    let engine = crate::harness::open(&options).await;
    let durable = engine.durable().borrow().seq;
    assert!(durable < CommitSeq(served));
    assert_eq!(engine.published().borrow().seq, durable);
    let waits = rows_at(&*engine, served, TableId(1)).await;
    assert!(matches!(waits, Err(Error::Unavailable(_) | Error::NotFound(_))), "{waits:?}");
    let _writer = engine.open_writer(WriterEpoch(100)).await.unwrap();
    assert!(matches!(engine.catalog(CommitSeq(served)), Err(Error::Unavailable(_))));
    drop((engine, _writer));
    run.replay_from(101);
    run.crash().await;
    run.compare_everything().await.unwrap();
}
