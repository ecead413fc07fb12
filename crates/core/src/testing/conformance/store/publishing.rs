//! Publishing: all tables or none, durable over all tables at once, one writer.

use std::time::Duration;

use super::{StoreFactory, publish, writer};
use crate::change::RowOp;
use crate::error::Error;
use crate::seq::{CommitSeq, TableId, WriterEpoch};
use crate::testing::tables::{accounts, changes, create, inserts, int, null, pairs, position, rows_at, text};

const A: TableId = TableId(1);
const B: TableId = TableId(2);

/// What is staged changes no reader's rows, catalog or statistics.
pub async fn staged_is_invisible(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let def = accounts(1, "a");
    w.stage(create(&def, 1)).await.unwrap();
    w.stage(inserts(&def, 1, &[vec![int(1), int(10), null()]])).await.unwrap();
    assert!(engine.catalog(CommitSeq(0)).unwrap().tables.is_empty());
    publish(&mut *w, 1).await;
    w.stage(changes(&def, &[(2, RowOp::Delete, vec![int(1), int(10), null()])])).await.unwrap();
    w.stage(inserts(&def, 2, &[vec![int(2), int(20), null()]])).await.unwrap();
    engine.flush().await.unwrap();
    assert_eq!(rows_at(&*engine, 1, A).await.unwrap(), [vec![int(1), int(10), null()]]);
    assert_eq!(engine.table_stats(A).unwrap().live_rows, 1);
    publish(&mut *w, 2).await;
    assert_eq!(rows_at(&*engine, 2, A).await.unwrap(), [vec![int(2), int(20), null()]]);
    assert_eq!(rows_at(&*engine, 1, A).await.unwrap(), [vec![int(1), int(10), null()]]);
}

/// A transfer between two tables is never half seen, at any published seq.
pub async fn publish_is_atomic_over_tables(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let (a, b) = (accounts(1, "a"), accounts(2, "b"));
    w.stage(create(&a, 1)).await.unwrap();
    w.stage(create(&b, 1)).await.unwrap();
    w.stage(inserts(&a, 1, &[vec![int(1), int(100), null()]])).await.unwrap();
    w.stage(inserts(&b, 1, &[vec![int(1), int(100), null()]])).await.unwrap();
    publish(&mut *w, 1).await;
    for seq in 2..12u64 {
        let moved = seq as i64 - 1;
        for (def, sign) in [(&a, -1), (&b, 1)] {
            let row = |m: i64| vec![int(1), int(100 + sign * m), null()];
            let step = changes(def, &[(seq, RowOp::Delete, row(moved - 1)), (seq, RowOp::Insert, row(moved))]);
            w.stage(step).await.unwrap();
            let now = engine.published_seq().0;
            assert_eq!(now, seq - 1);
            assert_eq!(total(&*engine, now).await, 200, "staged half of {seq}");
        }
        publish(&mut *w, seq).await;
        if seq % 3 == 0 {
            engine.flush().await.unwrap();
        }
    }
    for seq in 1..12 {
        assert_eq!(total(&*engine, seq).await, 200, "at {seq}");
    }
}

async fn total(engine: &dyn crate::ports::StoreEngine, seq: u64) -> i64 {
    let mut total = 0;
    for table in [A, B] {
        for row in rows_at(engine, seq, table).await.unwrap() {
            if let crate::value::CellValue::Int(v) = row[1] {
                total += v;
            }
        }
    }
    total
}

/// Publishing below what is staged or published is refused.
pub async fn publish_checks_its_seq(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let def = accounts(1, "a");
    w.stage(create(&def, 5)).await.unwrap();
    assert!(matches!(w.publish(CommitSeq(4), position(4)).await, Err(Error::Internal(_))));
    publish(&mut *w, 6).await;
    publish(&mut *w, 6).await;
    assert!(matches!(w.publish(CommitSeq(5), position(5)).await, Err(Error::Internal(_))));
    let late = inserts(&def, 6, &[vec![int(1), int(1), null()]]);
    assert!(matches!(w.stage(late).await, Err(Error::Internal(_))), "seq 6 is published");
    assert_eq!(engine.published_seq(), CommitSeq(6));
}

/// After a crash all tables are at the durable seq, with its position.
pub async fn crash_goes_back_to_durable_over_all_tables(make: &dyn StoreFactory) {
    let mut store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let (a, b) = (accounts(1, "a"), pairs(2, "b"));
    w.stage(create(&a, 1)).await.unwrap();
    w.stage(create(&b, 1)).await.unwrap();
    w.stage(inserts(&a, 2, &[vec![int(1), int(1), null()]])).await.unwrap();
    w.stage(inserts(&b, 2, &[vec![text("x"), text("y"), int(1)]])).await.unwrap();
    publish(&mut *w, 2).await;
    assert_eq!(engine.flush().await.unwrap(), CommitSeq(2));
    w.stage(inserts(&a, 3, &[vec![int(2), int(2), null()]])).await.unwrap();
    w.stage(changes(&b, &[(3, RowOp::Delete, vec![text("x"), text("y"), int(1)])])).await.unwrap();
    publish(&mut *w, 3).await;
    drop((w, engine));
    store.crash().await;
    let engine = store.engine();
    for progress in [engine.published(), engine.durable()] {
        assert_eq!(progress.borrow().seq, CommitSeq(2));
        assert_eq!(progress.borrow().position, position(2));
    }
    assert_eq!(rows_at(&*engine, 2, A).await.unwrap(), [vec![int(1), int(1), null()]]);
    assert_eq!(rows_at(&*engine, 2, B).await.unwrap(), [vec![text("x"), text("y"), int(1)]]);
    // The replay brings the same transaction again.
    let mut w = engine.open_writer(WriterEpoch(2)).await.unwrap();
    w.stage(inserts(&a, 3, &[vec![int(2), int(2), null()]])).await.unwrap();
    w.stage(changes(&b, &[(3, RowOp::Delete, vec![text("x"), text("y"), int(1)])])).await.unwrap();
    publish(&mut *w, 3).await;
    assert_eq!(rows_at(&*engine, 3, A).await.unwrap().len(), 2);
    assert!(rows_at(&*engine, 3, B).await.unwrap().is_empty());
}

/// A new writer starts from what is published; what was published but not durable stays.
pub async fn open_writer_discards_staged(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let def = accounts(1, "a");
    let row = |id: i64| vec![int(id), int(0), null()];
    w.stage(create(&def, 1)).await.unwrap();
    w.stage(inserts(&def, 1, &[row(1), row(2)])).await.unwrap();
    publish(&mut *w, 1).await;
    engine.flush().await.unwrap();
    w.stage(inserts(&def, 2, &[row(3), row(4)])).await.unwrap();
    publish(&mut *w, 2).await;
    let doomed = [(3, RowOp::Delete, row(1)), (3, RowOp::Delete, row(3)), (3, RowOp::Insert, row(5))];
    w.stage(changes(&def, &doomed)).await.unwrap();
    w.stage(create(&accounts(2, "b"), 3)).await.unwrap();
    let mut w = engine.open_writer(WriterEpoch(2)).await.unwrap();
    assert_eq!(rows_at(&*engine, 2, A).await.unwrap(), [row(1), row(2), row(3), row(4)]);
    // The same again must fit: nothing of the first attempt is left.
    w.stage(changes(&def, &doomed)).await.unwrap();
    w.stage(create(&accounts(2, "b"), 3)).await.unwrap();
    publish(&mut *w, 3).await;
    assert_eq!(rows_at(&*engine, 3, A).await.unwrap(), [row(2), row(4), row(5)]);
}

/// A writer of an older epoch changes nothing and is told so.
pub async fn old_writers_are_fenced(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut old = engine.open_writer(WriterEpoch(3)).await.unwrap();
    let def = accounts(1, "a");
    old.stage(create(&def, 1)).await.unwrap();
    let mut new = engine.open_writer(WriterEpoch(4)).await.unwrap();
    let fenced = |r: crate::error::Result<()>| matches!(r, Err(Error::Fenced { mine: 3, newest: 4 }));
    assert!(fenced(old.stage(create(&def, 1)).await));
    assert!(fenced(old.publish(CommitSeq(1), position(1)).await));
    assert!(matches!(engine.open_writer(WriterEpoch(3)).await.err(), Some(Error::Fenced { .. })));
    assert_eq!(engine.published_seq(), CommitSeq(0));
    new.stage(create(&def, 1)).await.unwrap();
    publish(&mut *new, 1).await;
    assert!(engine.catalog(CommitSeq(1)).unwrap().table(A).is_ok());
}

/// Waiters on published and durable wake up.
pub async fn progress_wakes_waiters(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let (mut published, mut durable) = (engine.published(), engine.durable());
    let waiter = tokio::spawn(async move {
        published.wait_for(|p| p.seq >= CommitSeq(1)).await.expect("engine lives");
        durable.wait_for(|p| p.seq >= CommitSeq(1)).await.expect("engine lives").clone()
    });
    let mut w = writer(&*engine).await;
    w.stage(create(&accounts(1, "a"), 1)).await.unwrap();
    publish(&mut *w, 1).await;
    assert_eq!(engine.flush().await.unwrap(), CommitSeq(1));
    let seen = tokio::time::timeout(std::time::Duration::from_secs(20), waiter).await.unwrap().unwrap();
    assert_eq!(seen.position, position(1));
}

/// A publish waits while somebody looks at the published seq; the looker can still be answered, or both wait forever.
pub async fn a_reader_of_the_seq_may_ask_for_the_catalog(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    w.stage(create(&accounts(1, "a"), 1)).await.unwrap();
    publish(&mut *w, 1).await;
    let (look, looking) = std::sync::mpsc::channel();
    let (answer, answered) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let published = engine.published();
        let seen = published.borrow();
        look.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(200)); // the publish below waits by now
        answer.send(engine.catalog(seen.seq).unwrap().tables.len()).unwrap();
    });
    looking.recv().unwrap();
    let publishing = std::thread::spawn(move || futures::executor::block_on(publish(&mut *w, 2)));
    let tables = answered.recv_timeout(Duration::from_secs(20)).expect("the reader is answered");
    assert_eq!(tables, 1);
    publishing.join().unwrap();
}
