//! A writer elsewhere: whose rows the engine takes, from when on readers may read, and what the writer is asked.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidelake_api::wire::{Progresses, Question};
use tidelake_api::{Connection, FlightStore, RemoteLatch, WriterLine, about};
use tidelake_core::ports::{Freshness, Latch, StoreEngine, StoreWriter};
use tidelake_core::testing::tables::{accounts, create, position};
use tidelake_core::{CommitSeq, Error, Result};

use crate::served::{Kind, Served, tempdir};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// An engine's process with its directories, over all its starts.
struct Process {
    kind: Kind,
    desk: Arc<tempfile::TempDir>,
    served: Option<Served>,
}

impl Process {
    async fn start() -> Process {
        let kind = Kind::Engine(Arc::new(tempdir()));
        let mut process = Process { kind, desk: Arc::new(tempdir()), served: None };
        process.restart().await;
        process
    }

    /// Killed, if it runs, and started.
    async fn restart(&mut self) {
        self.served = None;
        let (kind, desk) = (self.kind.clone(), self.desk.clone());
        let start = move || Served::with_desk(&kind, desk.path());
        self.served = Some(tokio::task::spawn_blocking(start).await.expect("started"));
    }

    fn connection(&self) -> Connection {
        Connection::open(&self.served.as_ref().expect("up").url()).expect("an address")
    }

    async fn begin(&self, lineage: &str, anew: bool) -> Result<(WriterLine, Progresses)> {
        WriterLine::begin(self.connection(), lineage, anew).await
    }

    async fn writer(&self, line: &WriterLine) -> Result<Box<dyn StoreWriter>> {
        FlightStore::over(self.connection()).await?.open_writer(line.epoch()).await
    }

    async fn acquire(&self, freshness: Freshness) -> Result<CommitSeq> {
        let lease = RemoteLatch::over(self.connection()).acquire(freshness, LONG, SHORT).await?;
        Ok(lease.seq())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv9_an_engine_has_the_seqs_of_one_buffer() {
    let mut process = Process::start().await;
    let (first, now) = process.begin("a", true).await.expect("a new engine takes any buffer");
    assert_eq!(now.durable.seq, CommitSeq::ZERO);
    let mut old = process.writer(&first).await.expect("writer");
    old.stage(create(&accounts(1, "a"), 1)).await.expect("stage");
    old.publish(CommitSeq(1), position(1)).await.expect("publish");

    let refused = process.begin("b", false).await;
    assert!(matches!(&refused, Err(Error::Invalid(why)) if why.contains("another Data Buffer")), "{:?}", refused.err());
    old.publish(CommitSeq(2), position(2)).await.expect("who was refused fenced nobody");

    let (second, now) = process.begin("b", true).await.expect("takes over");
    assert_eq!((now.durable.seq, now.durable.position), (CommitSeq(2), position(2)), "nothing published is lost");
    let fenced = old.publish(CommitSeq(3), position(3)).await;
    assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
    assert!(matches!(process.writer(&first).await.err(), Some(Error::Fenced { .. })));
    let mut new = process.writer(&second).await.expect("writer");
    new.publish(CommitSeq(3), position(3)).await.expect("publish");

    process.restart().await;
    assert!(matches!(process.begin("a", false).await.err(), Some(Error::Invalid(_))), "also after a restart");
    assert!(matches!(process.writer(&second).await.err(), Some(Error::Closed(_))), "each start begins anew");
    let (_, now) = process.begin("b", false).await.expect("goes on");
    assert_eq!(now.published.seq, CommitSeq(2), "seq 3 was not durable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv7_readers_wait_for_the_writers_word() {
    let mut process = Process::start().await;
    let refused = process.acquire(Freshness::Any).await;
    assert!(matches!(&refused, Err(Error::Timeout(why)) if why.contains("no writer is connected")), "{refused:?}");
    let (line, _) = process.begin("a", true).await.expect("begins");
    line.tell(false, None, None).await.expect("told");
    assert!(matches!(process.acquire(Freshness::Any).await, Err(Error::Timeout(_))));
    line.tell(true, Some(serde_json::json!({"version": "x"})), Some(CommitSeq(2))).await.expect("told");
    assert!(matches!(process.acquire(Freshness::Any).await, Err(Error::Timeout(_))), "it is not published yet");
    let mut writer = process.writer(&line).await.expect("writer");
    writer.publish(CommitSeq(1), position(1)).await.expect("publish");
    assert!(matches!(process.acquire(Freshness::Any).await, Err(Error::Timeout(_))));
    let known = about(&process.connection()).await.expect("about");
    assert!(known.waiting.as_deref().is_some_and(|why| why.contains("1 of 2")), "{known:?}");
    writer.publish(CommitSeq(2), position(2)).await.expect("publish");
    assert_eq!(process.acquire(Freshness::Any).await.expect("readers are served"), CommitSeq(2));
    // What was told first stays: readers are served already.
    line.tell(true, None, Some(CommitSeq(100))).await.expect("told");
    assert_eq!(process.acquire(Freshness::Any).await.expect("still"), CommitSeq(2));

    process.restart().await;
    assert!(matches!(process.acquire(Freshness::Any).await, Err(Error::Timeout(_))), "nobody knows what was seen");
    let known = about(&process.connection()).await.expect("about");
    assert_eq!(known.upstream, Some(serde_json::json!({"version": "x"})), "what was told of the upstream is kept");
    assert!(matches!(line.tell(false, None, Some(CommitSeq(0))).await, Err(Error::Unavailable(_) | Error::Closed(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_reach_the_writer_that_listens() {
    let process = Process::start().await;
    let (first, _) = process.begin("a", true).await.expect("begins");
    first.tell(false, None, Some(CommitSeq::ZERO)).await.expect("told");
    process.writer(&first).await.expect("writer").publish(CommitSeq(5), position(5)).await.expect("publish");
    // Nobody listens: the reader has its own patience.
    let refused = process.acquire(Freshness::Latest).await;
    assert!(matches!(&refused, Err(Error::Timeout(why)) if why.contains("no writer")), "{refused:?}");

    // One that never answers, then one that does: what waits is asked again.
    let silent = first.clone();
    let silent = tokio::spawn(async move { silent.answer(|_| std::future::pending()).await });
    let latch = RemoteLatch::over(process.connection());
    let waiting = tokio::spawn(async move { latch.acquire(Freshness::Latest, LONG, LONG).await.map(|l| l.seq()) });
    tokio::time::sleep(SHORT).await;
    let (second, _) = process.begin("a", false).await.expect("begins again");
    let line = second.clone();
    let answering = tokio::spawn(async move {
        line.answer(|question| async move {
            match question {
                Question::Latest => Ok(Some(CommitSeq(4))),
                Question::SeqOf(at) if at.minor < 100 => Ok(Some(CommitSeq(at.minor))),
                other => Err(Error::NotFound(format!("{other:?}"))),
            }
        })
        .await
    });
    assert_eq!(waiting.await.expect("joins").expect("answered"), CommitSeq(5));
    assert_eq!(process.acquire(Freshness::AtLeast(position(3))).await.expect("answered"), CommitSeq(5));
    let refused = process.acquire(Freshness::AtLeast(position(100))).await;
    assert!(matches!(&refused, Err(Error::NotFound(what)) if what.contains("SeqOf")), "{refused:?}");
    // The first one has noticed that it is fenced, although it had nothing to say.
    let fenced = tokio::time::timeout(LONG, silent).await.expect("in time").expect("joins");
    assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
    answering.abort();
}

/// A clean end says that nothing beyond it was served, once.
#[tokio::test]
async fn a_clean_end_is_remembered_once() {
    use tidelake_api::Desk;
    let dir = tempdir();
    let open = |durable: u64| Desk::open(Path::new(dir.path()), CommitSeq(durable)).expect("desk");
    let waits = |desk: &Desk| desk.about(CommitSeq(50)).waiting.is_some();
    assert!(waits(&open(0)));
    // Nobody was let in: what earlier readers saw is still not known.
    open(50).end(CommitSeq(50)).expect("kept");
    assert!(waits(&open(50)));
    std::fs::write(dir.path().join("writer.json"), r#"{"lineage":"a","upstream":null,"served":50}"#).expect("write");
    let desk = open(50);
    assert!(!waits(&desk));
    desk.end(CommitSeq(50)).expect("kept");
    drop(desk);
    assert!(!waits(&open(50)), "it ended well again");
    assert!(waits(&open(50)), "it did not end well");
    std::fs::write(dir.path().join("writer.json"), r#"{"lineage":"a","upstream":null,"served":50}"#).expect("write");
    assert!(waits(&open(49)), "the engine has lost what it had then");
    std::fs::write(dir.path().join("writer.json"), "{").expect("write");
    assert!(matches!(Desk::open(dir.path(), CommitSeq(0)), Err(Error::Corrupt { .. })));
}

/// What a writer that takes over does with its buffer: it begins right after what the engine has.
#[test]
fn a_new_buffer_begins_after_a_seq() {
    use tidelake_buffer::{BufferOptions, DiskBuffer};
    use tidelake_core::ports::Buffer;
    use tidelake_core::testing::conformance::buffer::{append, at, read_all};

    let home = tempdir();
    let dir = home.path().join("buffer");
    assert!(DiskBuffer::is_new(&dir).expect("read"));
    DiskBuffer::begin_after(&dir, CommitSeq(41), &at(7)).expect("begun");
    assert!(!DiskBuffer::is_new(&dir).expect("read"));
    // Once it has begun, it stays as it is.
    DiskBuffer::begin_after(&dir, CommitSeq(50), &at(9)).expect("nothing to do");
    for round in 0..2 {
        let buffer = DiskBuffer::open(BufferOptions::new(&dir)).expect("open");
        assert_eq!(*buffer.head().borrow(), CommitSeq(41 + round));
        assert_eq!(*buffer.read_position().borrow(), Some(at(7 + round)));
        assert_eq!(buffer.seq_covering(&at(7)), Some(CommitSeq(41)));
        assert_eq!(buffer.position_of(CommitSeq(41)), Some(at(7)));
        assert!(matches!(buffer.read_after(CommitSeq(40)).err(), Some(Error::NotFound(_))));
        // An empty id names no transaction.
        assert_eq!(append(&*buffer, "", 8 + round, &[b"event"]), CommitSeq(42 + round));
        buffer.sync().expect("sync");
        assert_eq!(read_all(&*buffer, 41).len() as u64, 1 + round);
        assert_eq!(buffer.seq_covering(&at(8 + round)), Some(CommitSeq(42 + round)));
    }
}
