use std::time::{Duration, Instant};

use tidelake_core::control::{self, ControlRecord};
use tidelake_core::ports::{Buffer, StoreEngine};
use tidelake_core::testing::tables::{accounts, add_column, altered, int, null, position, sorted, text};
use tidelake_core::testing::{MemBuffer, MemStore};
use tidelake_core::types::{TypeKind, UpstreamType};
use tidelake_core::{CommitSeq, Error, RESYNC, SchemaChange, TableName, TableState};

use super::{Bench, append, create, delete, insert, when_poked};
use crate::{WriterOptions, WriterState};

fn account(id: i64, balance: i64) -> Vec<tidelake_core::CellValue> {
    vec![int(id), int(balance), null()]
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_are_published_whole() {
    let bench = Bench::new(WriterOptions { window_bytes: 300, ..when_poked() }).await;
    let (a, b) = (accounts(1, "a"), accounts(2, "b"));
    bench.commit(1, &[create(&a), create(&b)]);
    for n in 2..50u64 {
        bench.commit(n, &[insert(&a, account(n as i64, 1)), insert(&b, account(n as i64, -1))]);
    }
    let mut published = bench.store.published();
    let head = bench.buffer.sync().unwrap();
    bench.writer.poke();
    while published.borrow_and_update().seq < head {
        published.changed().await.unwrap();
        let progress = published.borrow().clone();
        let seq = progress.seq.0;
        for table in [&a, &b] {
            let rows = tidelake_core::testing::tables::rows_at(&bench.store, seq, table.id).await.unwrap();
            assert_eq!(rows.len() as u64, seq - 1);
        }
        assert_eq!(progress.position.minor, seq);
    }
    bench.settle().await; // the status follows what is published
    let status = bench.writer.status();
    assert_eq!((status.transactions, status.rows, status.applied), (49, 96, head));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interval_changes_take_effect_at_once() {
    let bench = Bench::new(when_poked()).await;
    let a = accounts(1, "a");
    // The first poll is at once.
    tokio::time::sleep(Duration::from_millis(200)).await;
    bench.commit(1, &[create(&a)]);
    bench.buffer.sync().unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.writer.status().applied, CommitSeq::ZERO, "a minute is not over");
    let begun = Instant::now();
    bench.writer.set_interval(Duration::from_millis(5)).unwrap();
    let mut status = bench.writer.watch_status();
    tokio::time::timeout(Duration::from_secs(20), status.wait_for(|s| s.applied.0 == 1)).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(bench.writer.interval(), Duration::from_millis(5));
    for wrong in [Duration::ZERO, Duration::from_micros(999), Duration::from_millis(60_001)] {
        assert!(matches!(bench.writer.set_interval(wrong), Err(Error::Invalid(_))), "{wrong:?}");
    }
    assert_eq!(bench.writer.interval(), Duration::from_millis(5));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inv3_a_diverged_table_stops_and_the_others_go_on() {
    let bench = Bench::new(when_poked()).await;
    let (a, b) = (accounts(1, "a"), accounts(2, "b"));
    bench.commit(1, &[create(&a), create(&b), insert(&a, account(1, 10))]);
    bench.settle().await;
    bench.commit(2, &[insert(&a, account(2, 10)), insert(&b, account(1, 1))]);
    bench.commit(3, &[delete(&a, account(99, 0)), insert(&b, account(2, 2))]);
    let wider = altered(&a, |def| add_column(def, "extra", UpstreamType::new(TypeKind::Int), null()));
    bench.commit(4, &[super::TestEvent::Ddl(SchemaChange::AlterTable(Box::new(wider))), insert(&b, account(3, 3))]);
    bench.settle().await;
    let catalog = bench.catalog();
    let TableState::Stopped { reason, at } = &catalog.table(a.id).unwrap().state else { panic!("{catalog:?}") };
    assert!(reason.contains("delete of a missing row"), "{reason}");
    assert_eq!(at.minor, 3);
    assert!(matches!(bench.rows(&a.name).await, Err(Error::Invalid(_))), "a stopped table is not readable");
    let b_rows = (1..=3).map(|n| account(n, n)).collect();
    assert_eq!(bench.rows(&b.name).await.unwrap(), sorted(b_rows));
    // It stays stopped, and the pipeline goes on.
    let wide = vec![int(5), int(5), null(), null()];
    bench.commit(5, &[insert(&a, wide), insert(&b, account(4, 4))]);
    bench.settle().await;
    assert_eq!(bench.rows(&b.name).await.unwrap().len(), 4);
    let bench = bench.crash().await;
    bench.settle().await;
    assert!(matches!(bench.catalog().table(a.id).unwrap().state, TableState::Stopped { .. }));
    assert_eq!(bench.rows(&b.name).await.unwrap().len(), 4);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inv3_a_diverged_alter_stops_the_table() {
    let bench = Bench::new(when_poked()).await;
    let (a, b) = (accounts(1, "a"), accounts(2, "b"));
    bench.commit(1, &[create(&a), create(&b), insert(&a, account(1, 10))]);
    let mut wrong = altered(&a, |def| add_column(def, "extra", UpstreamType::new(TypeKind::Int), int(0)));
    wrong.columns[3].initial = None;
    let again = altered(&wrong, |def| def.comment = "again".into());
    bench.commit(2, &[super::TestEvent::Ddl(SchemaChange::AlterTable(Box::new(wrong)))]);
    bench.commit(3, &[super::TestEvent::Ddl(SchemaChange::AlterTable(Box::new(again))), insert(&b, account(1, 1))]);
    bench.settle().await;
    assert!(matches!(bench.catalog().table(a.id).unwrap().state, TableState::Stopped { .. }));
    assert_eq!(bench.rows(&b.name).await.unwrap().len(), 1);
    bench.commit(4, &[super::TestEvent::Ddl(SchemaChange::DropTable(a.id)), insert(&b, account(2, 1))]);
    bench.settle().await;
    assert!(bench.catalog().visible(&a.name).is_none());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inv3_what_cannot_be_decoded_stops_the_writer_loudly() {
    let bench = Bench::new(when_poked()).await;
    let a = accounts(1, "a");
    bench.commit(1, &[create(&a), insert(&a, account(1, 1))]);
    bench.settle().await;
    bench.commit(2, &[insert(&a, account(2, 2))]);
    let mut broken = bench.buffer.begin("broken").unwrap();
    broken.push(b"no event").unwrap();
    broken.commit(tidelake_core::testing::tables::position(3)).unwrap();
    bench.buffer.sync().unwrap();
    bench.writer.poke();
    let error = bench.writer.join().await.unwrap_err();
    assert!(matches!(&error, Error::Corrupt { place, .. } if place.contains("tx 3")), "{error}");
    let status = bench.writer.status();
    assert_eq!((status.state, status.applied), (WriterState::Failed, CommitSeq(1)));
    assert!(bench.writer.failure().unwrap().contains("tx 3"));
    assert_eq!(bench.store.published().borrow().seq, CommitSeq(1), "nothing of the window is visible");
    assert!(bench.buffer.read_after(CommitSeq(1)).is_ok(), "nothing is lost");
}

/// Invariant 5, the writer's side: appending does not wait while the writer does not apply, and a full buffer is let go.
#[tokio::test(flavor = "multi_thread")]
async fn inv5_a_full_buffer_is_released() {
    let options = WriterOptions {
        interval: Duration::from_millis(1),
        flush_interval: Duration::from_millis(1),
        ..WriterOptions::default()
    };
    let bench = Bench::on(MemBuffer::new(20_000), MemStore::new(), options, 1).await;
    let a = accounts(1, "a");
    bench.commit(1, &[create(&a)]);
    let buffer = bench.buffer.clone();
    let appended = tokio::task::spawn_blocking(move || {
        for n in 2..1000u64 {
            append(&*buffer, n, &[insert(&accounts(1, "a"), account(n as i64, 1))]);
        }
    });
    tokio::time::timeout(Duration::from_secs(60), appended).await.expect("never blocked for good").unwrap();
    bench.settle().await;
    assert_eq!(bench.rows(&a.name).await.unwrap().len(), 998);
    bench.stop().await;
}

/// Invariant 6: a transaction of many pieces is staged while it is decoded, and visible only as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn inv6_a_huge_transaction_is_one_publish() {
    let bench = Bench::new(when_poked()).await;
    let a = accounts(1, "a");
    bench.commit(1, &[create(&a)]);
    bench.settle().await;
    let rows: Vec<_> = (0..30_000).map(|n| insert(&a, vec![int(n), int(1), text("xxxxxxxxxxxxxxxxxxxx")])).collect();
    bench.commit(2, &rows);
    let mut published = bench.store.published();
    published.borrow_and_update();
    bench.settle().await;
    assert_eq!(published.borrow().seq, CommitSeq(2));
    assert_eq!(bench.rows(&a.name).await.unwrap().len(), 30_000);
    assert_eq!(bench.writer.status().rows, 30_000);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_buffer_is_refused() {
    let bench = Bench::new(when_poked()).await;
    bench.commit(1, &[create(&accounts(1, "a"))]);
    bench.settle().await;
    let store = bench.store.clone();
    bench.stop().await;
    let parts = crate::WriterParts {
        buffer: MemBuffer::new(1000),
        engine: std::sync::Arc::new(store),
        epoch: tidelake_core::WriterEpoch(2),
        decoders: std::sync::Arc::new(|| Box::new(super::TestDecoder::default())),
        options: WriterOptions::default(),
        cancel: Default::default(),
    };
    let refused = crate::MagicWriter::start(parts).await.err().unwrap();
    assert!(matches!(&refused, Error::Invalid(reason) if reason.contains("buffer ends at seq 0")), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_flushes_and_releases() {
    let bench = Bench::new(when_poked()).await;
    bench.commit(1, &[create(&accounts(1, "a"))]);
    bench.settle().await;
    assert_eq!(bench.store.durable().borrow().seq, CommitSeq::ZERO);
    let (store, buffer, writer) = (bench.store.clone(), bench.buffer.clone(), bench.writer.clone());
    bench.stop().await;
    assert_eq!(store.durable().borrow().seq, CommitSeq(1));
    assert_eq!(buffer.bytes().0, 0);
    assert_eq!(writer.status().state, WriterState::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_copied_stops_with_its_definition() {
    let bench = Bench::new(when_poked()).await;
    let control = |record: ControlRecord| {
        let record = control::encode(&record, None).unwrap();
        bench.buffer.append_control(record.into()).unwrap();
    };
    let stop = |name: &str| {
        let name = TableName::new("bank", name);
        control(ControlRecord::StopTable { name, reason: "no copy".into() });
    };
    let begin = |name: &str, copy_id| {
        let def = Box::new(accounts(1, name));
        control(ControlRecord::CopyBegin { copy_id, def, from: position(1) });
    };
    bench.commit(1, &[create(&accounts(1, "other"))]);
    stop("unknown");
    begin("begun", 7);
    stop("begun");
    // a copy beside the table that was stopped before
    stop("again");
    begin("again", 8);
    stop("again");
    bench.settle().await;
    let catalog = bench.catalog();
    for (name, columns) in [("unknown", 1), ("begun", 3), ("again", 3)] {
        let name = TableName::new("bank", name);
        let entry = catalog.visible(&name).unwrap();
        assert!(matches!(&entry.state, TableState::Stopped { reason, .. } if reason == "no copy"), "{entry:?}");
        assert_eq!(entry.def.columns.len(), columns, "{name}");
        assert!(catalog.copying(&name).is_none());
    }
    assert_eq!(catalog.tables.len(), 4);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_created_after_its_copy_failed_is_not_stopped() {
    let bench = Bench::new(when_poked()).await;
    let a = accounts(1, "a");
    bench.commit(1, &[create(&a), insert(&a, account(1, 10))]);
    let record = ControlRecord::StopTable { name: a.name.clone(), reason: "no copy".into() };
    bench.buffer.append_control(control::encode(&record, None).unwrap().into()).unwrap();
    bench.settle().await;
    assert_eq!(bench.rows(&a.name).await.unwrap(), [account(1, 10)]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_created_meanwhile_is_not_dropped_as_one_that_vanished() {
    let bench = Bench::new(when_poked()).await;
    let drop = |name: &TableName, vanished| {
        let record = ControlRecord::DropTable { name: name.clone(), vanished };
        bench.buffer.append_control(control::encode(&record, None).unwrap().into()).unwrap();
    };
    let a = accounts(1, "a");
    bench.commit(1, &[create(&a), insert(&a, account(1, 10))]);
    drop(&a.name, true);
    // of what waits for a copy nothing is left
    let waiting = TableName::new("bank", "waiting");
    let stop = ControlRecord::StopTable { name: waiting.clone(), reason: format!("{RESYNC} once more") };
    bench.buffer.append_control(control::encode(&stop, None).unwrap().into()).unwrap();
    bench.settle().await;
    assert!(bench.catalog().visible(&waiting).is_some());
    drop(&waiting, true);
    bench.settle().await;
    assert_eq!(bench.rows(&a.name).await.unwrap(), [account(1, 10)]);
    assert!(bench.catalog().visible(&waiting).is_none());
    drop(&a.name, false);
    bench.settle().await;
    assert!(bench.catalog().visible(&a.name).is_none());
    bench.stop().await;
}
