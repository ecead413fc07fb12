//! What every [`Buffer`] owes; the numbers are those of the port's guarantees.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::Error;
use crate::moment::{Moment, now_us};
use crate::ports::{Buffer, BufferedPayload};
use crate::position::SourcePosition;
use crate::seq::CommitSeq;

/// One log under test, opened again and again.
pub struct BufferBench {
    open: Box<dyn Fn(u64) -> Arc<dyn Buffer>>,
}

/// No limit that a test would reach.
const PLENTY: u64 = 1 << 30;

impl BufferBench {
    /// `open` gets a limit in bytes and opens the log; the suite drops the buffer it had before, without a sync.
    pub fn new(open: impl Fn(u64) -> Arc<dyn Buffer> + 'static) -> BufferBench {
        BufferBench { open: Box::new(open) }
    }

    /// Opens the log.
    #[must_use]
    pub fn open(&self) -> Arc<dyn Buffer> {
        (self.open)(PLENTY)
    }

    /// Opens the log with a limit.
    #[must_use]
    pub fn open_limited(&self, limit: u64) -> Arc<dyn Buffer> {
        (self.open)(limit)
    }
}

/// A transaction or control record as the tests compare it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its seq.
    pub seq: u64,
    /// Its id; empty for control records.
    pub id: String,
    /// Its position's order.
    pub order: (u64, u64),
    /// Its events, or the control record's bytes.
    pub events: Vec<Bytes>,
}

/// A position.
#[must_use]
pub fn at(minor: u64) -> SourcePosition {
    SourcePosition { major: 1, minor, token: format!("p{minor}"), commit_time_us: minor as i64 }
}

/// Appends a transaction; panics if it cannot.
pub fn append(buffer: &dyn Buffer, id: &str, minor: u64, events: &[&[u8]]) -> CommitSeq {
    let mut appender = buffer.begin(id).expect("begin");
    for event in events {
        appender.push(event).expect("push");
    }
    appender.commit(at(minor)).expect("commit")
}

/// Everything after `seq`, read to the head.
#[must_use]
pub fn read_all(buffer: &dyn Buffer, seq: u64) -> Vec<Seen> {
    let mut reader = buffer.read_after(CommitSeq(seq)).expect("read_after");
    let mut seen = Vec::new();
    while let Some(t) = reader.next().expect("next") {
        let events: Vec<Bytes> = match t.payload {
            BufferedPayload::Events(events) => events.map(|e| e.expect("event")).collect(),
            BufferedPayload::Control(record) => vec![record],
        };
        assert_eq!(t.bytes, events.iter().map(|e| e.len() as u64).sum::<u64>(), "bytes of {}", t.seq);
        seen.push(Seen { seq: t.seq.0, id: t.id, order: t.position.order(), events });
    }
    seen
}

/// Runs every test of the suite, each on a log of its own.
pub fn run_all(bench: impl Fn() -> BufferBench) {
    reads_back_what_was_appended(&bench());
    seqs_are_dense_in_commit_order(&bench());
    visible_only_when_durable(&bench());
    what_is_visible_was_read(&bench());
    uncommitted_leaves_nothing(&bench());
    idempotent_by_id(&bench());
    idempotent_across_restart_and_release(&bench());
    control_records_take_their_place(&bench());
    control_records_say_how_far_was_read(&bench());
    reader_follows_the_head(&bench());
    survives_restart(&bench());
    torn_tail_is_a_prefix(&bench());
    released_is_gone_and_seqs_go_on(&bench());
    holds_keep(&bench());
    huge_transaction_among_others(&bench());
    limit_blocks_until_release(&bench());
    one_transaction_may_exceed_the_limit(&bench());
    holds_do_not_block_for_ever(&bench());
    read_position_is_durable(&bench());
    positions_and_seqs(&bench());
    positions_must_not_go_back(&bench());
    history_is_kept_beyond_release(&bench());
    commit_times_begin_with_the_first_record(&bench());
}

fn numbered(buffer: &dyn Buffer, range: std::ops::RangeInclusive<u64>) {
    for n in range {
        let event = vec![n as u8; 100];
        append(buffer, &format!("t{n}"), n * 10, &[&event, b"", &n.to_le_bytes()]);
    }
    buffer.sync().expect("sync");
}

fn reads_back_what_was_appended(bench: &BufferBench) {
    let buffer = bench.open();
    assert_eq!(*buffer.head().borrow(), CommitSeq::ZERO);
    assert!(read_all(&*buffer, 0).is_empty());
    append(&*buffer, "a", 10, &[b"one", b"", b"three"]);
    append(&*buffer, "b", 20, &[]);
    assert_eq!(buffer.sync().expect("sync"), CommitSeq(2));
    let seen = read_all(&*buffer, 0);
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].seq, seen[0].id.as_str(), seen[0].order), (1, "a", (1, 10)));
    assert_eq!(seen[0].events, [&b"one"[..], b"", b"three"]);
    assert_eq!((seen[1].seq, seen[1].id.as_str(), seen[1].order), (2, "b", (1, 20)));
    assert!(seen[1].events.is_empty());
    assert_eq!(read_all(&*buffer, 1), seen[1..]);
    assert!(read_all(&*buffer, 2).is_empty());
}

/// Guarantee 2.
fn seqs_are_dense_in_commit_order(bench: &BufferBench) {
    let buffer = bench.open();
    let mut first = buffer.begin("first").expect("begin");
    let mut second = buffer.begin("second").expect("begin");
    first.push(b"1").expect("push");
    second.push(b"2").expect("push");
    first.push(b"1").expect("push");
    assert_eq!(second.commit(at(1)).expect("commit"), CommitSeq(1));
    assert_eq!(buffer.append_control(Bytes::from_static(b"c")).expect("control"), CommitSeq(2));
    assert_eq!(first.commit(at(2)).expect("commit"), CommitSeq(3));
    buffer.sync().expect("sync");
    let ids: Vec<(u64, String)> = read_all(&*buffer, 0).into_iter().map(|s| (s.seq, s.id)).collect();
    assert_eq!(ids, [(1, "second".into()), (2, String::new()), (3, "first".into())]);
}

/// Guarantee 3.
fn visible_only_when_durable(bench: &BufferBench) {
    let buffer = bench.open();
    let head = buffer.head();
    let mut reader = buffer.read_after(CommitSeq::ZERO).expect("read_after");
    append(&*buffer, "a", 10, &[b"x"]);
    assert_eq!(*head.borrow(), CommitSeq::ZERO);
    assert!(reader.next().expect("next").is_none());
    assert_eq!(buffer.seq_covering(&at(10)), None);
    buffer.sync().expect("sync");
    assert_eq!(*head.borrow(), CommitSeq(1));
    assert_eq!(reader.next().expect("next").expect("visible").seq, CommitSeq(1));
}

/// Tells another thread, and keeps the one that woke it from going on for a while.
struct Slow(mpsc::Sender<()>);

impl Wake for Slow {
    fn wake(self: Arc<Self>) {
        self.0.send(()).expect("the other thread waits");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Guarantee 3. The head and the position read are shown as one: who is told of a transaction, and asks for its position
/// before the sync that shows it has returned, gets its seq.
fn what_is_visible_was_read(bench: &BufferBench) {
    let buffer = bench.open();
    let (told, waiting) = mpsc::channel();
    let waker = Waker::from(Arc::new(Slow(told)));
    let mut head = buffer.head();
    for n in 1..=3u64 {
        head.mark_unchanged();
        let changed = pin!(head.changed());
        assert!(changed.poll(&mut Context::from_waker(&waker)).is_pending());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                append(&*buffer, &format!("t{n}"), n * 10, &[b"x"]);
                buffer.sync().expect("sync");
            });
            waiting.recv_timeout(Duration::from_secs(30)).expect("the head moves");
            assert_eq!(buffer.seq_covering(&at(n * 10)), Some(CommitSeq(n)));
        });
    }
}

fn uncommitted_leaves_nothing(bench: &BufferBench) {
    let buffer = bench.open();
    let mut dropped = buffer.begin("dropped").expect("begin");
    dropped.push(&[7; 5000]).expect("push");
    drop(dropped);
    append(&*buffer, "kept", 10, &[b"x"]);
    buffer.sync().expect("sync");
    let seen = read_all(&*buffer, 0);
    assert_eq!(seen.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["kept"]);
    assert_eq!(append(&*buffer, "dropped", 20, &[b"again"]), CommitSeq(2), "its id was never in the log");
}

/// Guarantee 4.
fn idempotent_by_id(bench: &BufferBench) {
    let buffer = bench.open();
    numbered(&*buffer, 1..=5);
    assert_eq!(append(&*buffer, "t2", 20, &[b"other"]), CommitSeq(2));
    let mut one = buffer.begin("twin").expect("begin");
    let mut two = buffer.begin("twin").expect("begin");
    one.push(b"twin").expect("push");
    two.push(&[9; 5000]).expect("push");
    assert_eq!(two.commit(at(60)).expect("commit"), CommitSeq(6));
    assert_eq!(one.commit(at(60)).expect("commit"), CommitSeq(6));
    buffer.sync().expect("sync");
    assert_eq!(read_all(&*buffer, 0).len(), 6);
    assert_eq!(append(&*buffer, "next", 70, &[]), CommitSeq(7));
}

/// Guarantee 4.
fn idempotent_across_restart_and_release(bench: &BufferBench) {
    let buffer = bench.open();
    numbered(&*buffer, 1..=200);
    buffer.release(CommitSeq(200)).expect("release");
    drop(buffer);
    let buffer = bench.open();
    assert_eq!(append(&*buffer, "t200", 2000, &[b"other"]), CommitSeq(200));
    assert_eq!(append(&*buffer, "t201", 2010, &[b"new"]), CommitSeq(201));
    buffer.sync().expect("sync");
    drop(buffer);
    let buffer = bench.open();
    assert_eq!(append(&*buffer, "t201", 2010, &[]), CommitSeq(201));
    assert_eq!(read_all(&*buffer, 200).len(), 1);
}

fn control_records_take_their_place(bench: &BufferBench) {
    let buffer = bench.open();
    assert_eq!(buffer.append_control(Bytes::from_static(b"c1")).expect("control"), CommitSeq(1));
    append(&*buffer, "a", 10, &[b"x"]);
    assert_eq!(buffer.append_control(Bytes::from_static(b"c2")).expect("control"), CommitSeq(3));
    buffer.note_read(at(15));
    buffer.append_control(Bytes::from_static(b"c3")).expect("control");
    buffer.sync().expect("sync");
    buffer.note_read(at(17));
    buffer.sync().expect("sync");
    buffer.append_control(Bytes::from_static(b"c4")).expect("control");
    buffer.sync().expect("sync");
    drop(buffer);
    let buffer = bench.open();
    let seen = read_all(&*buffer, 0);
    assert_eq!(seen.iter().map(|s| s.order).collect::<Vec<_>>(), [(0, 0), (1, 10), (1, 10), (1, 15), (1, 17)]);
    assert_eq!(seen[2].events, [&b"c2"[..]]);
    assert_eq!(seen[2].id, "");
    assert_eq!(buffer.read_position().borrow().as_ref().map(SourcePosition::order), Some((1, 17)));
    assert_eq!(buffer.seq_covering(&at(12)), Some(CommitSeq(2)), "control records hold no upstream transaction");
}

/// On an upstream that is idle since the beginning nothing else says from where on to read.
fn control_records_say_how_far_was_read(bench: &BufferBench) {
    let buffer = bench.open();
    buffer.note_read(at(5));
    buffer.sync().expect("sync");
    for record in [&b"c1"[..], b"c2"] {
        buffer.append_control(Bytes::from_static(record)).expect("control");
        buffer.sync().expect("sync");
    }
    assert_eq!(buffer.position_of(CommitSeq(2)).map(|p| p.token), Some(at(5).token));
    drop(buffer);
    let buffer = bench.open();
    assert_eq!(read_all(&*buffer, 0).iter().map(|s| s.order).collect::<Vec<_>>(), [(1, 5), (1, 5)]);
    assert_eq!(buffer.read_position().borrow().as_ref().map(SourcePosition::order), Some((1, 5)));
    assert_eq!(buffer.seq_covering(&at(5)), Some(CommitSeq::ZERO), "they hold no upstream transaction");
    append(&*buffer, "a", 10, &[b"x"]);
    assert_eq!(buffer.sync().expect("sync"), CommitSeq(3));
}

fn reader_follows_the_head(bench: &BufferBench) {
    let buffer = bench.open();
    let mut reader = buffer.read_after(CommitSeq::ZERO).expect("read_after");
    for n in 1..=300u64 {
        assert!(reader.next().expect("next").is_none());
        numbered(&*buffer, n..=n);
        let t = reader.next().expect("next").expect("one more");
        assert_eq!((t.seq, t.id), (CommitSeq(n), format!("t{n}")));
    }
}

/// Guarantee 1.
fn survives_restart(bench: &BufferBench) {
    let buffer = bench.open();
    numbered(&*buffer, 1..=100);
    let before = read_all(&*buffer, 0);
    drop(buffer);
    let buffer = bench.open();
    assert_eq!(*buffer.head().borrow(), CommitSeq(100));
    assert_eq!(read_all(&*buffer, 0), before);
    assert_eq!(buffer.read_position().borrow().as_ref().map(SourcePosition::order), Some((1, 1000)));
    numbered(&*buffer, 101..=102);
    assert_eq!(*buffer.head().borrow(), CommitSeq(102));
}

/// Guarantee 6.
fn torn_tail_is_a_prefix(bench: &BufferBench) {
    let buffer = bench.open();
    numbered(&*buffer, 1..=10);
    let durable = read_all(&*buffer, 0);
    let mut open = buffer.begin("open").expect("begin");
    open.push(&[1; 5000]).expect("push");
    for n in 11..=20u64 {
        append(&*buffer, &format!("t{n}"), n * 10, &[b"not synced"]);
    }
    drop(open);
    drop(buffer);
    let buffer = bench.open();
    let seen = read_all(&*buffer, 0);
    assert_eq!(seen[..10], durable);
    assert!(seen[10..].iter().zip(11..).all(|(s, n)| s.id == format!("t{n}") && s.events == [&b"not synced"[..]]));
    assert_eq!(*buffer.head().borrow(), CommitSeq(seen.len() as u64));
}

fn released_is_gone_and_seqs_go_on(bench: &BufferBench) {
    let buffer = bench.open();
    numbered(&*buffer, 1..=200);
    let (before, _) = buffer.bytes();
    buffer.release(CommitSeq(150)).expect("release");
    let (after, _) = buffer.bytes();
    assert!(after < before, "{before} bytes before, {after} after a release");
    match buffer.read_after(CommitSeq::ZERO) {
        Err(Error::NotFound(_)) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("seq 1 was released"),
    }
    assert_eq!(read_all(&*buffer, 150).len(), 50);
    buffer.release(CommitSeq(200)).expect("release");
    drop(buffer);
    let buffer = bench.open();
    assert_eq!(*buffer.head().borrow(), CommitSeq(200));
    assert!(read_all(&*buffer, 200).is_empty());
    assert_eq!(buffer.position_of(CommitSeq(200)).map(|p| p.order()), Some((1, 2000)));
    assert_eq!(buffer.read_position().borrow().as_ref().map(SourcePosition::order), Some((1, 2000)));
    assert_eq!(append(&*buffer, "t201", 2010, &[]), CommitSeq(201));
}

fn holds_keep(bench: &BufferBench) {
    let buffer = bench.open();
    numbered(&*buffer, 1..=100);
    let low = buffer.hold(CommitSeq(10));
    let high = buffer.hold(CommitSeq(50));
    let mut reader = buffer.read_after(CommitSeq(10)).expect("held");
    buffer.release(CommitSeq(100)).expect("release");
    assert_eq!(read_all(&*buffer, 10).len(), 90);
    drop(low);
    assert_eq!(reader.next().expect("next").map(|t| t.seq), Some(CommitSeq(11)));
    buffer.release(CommitSeq(100)).expect("release");
    assert_eq!(read_all(&*buffer, 50).len(), 50);
    drop(high);
    buffer.release(CommitSeq(100)).expect("release");
    assert!(buffer.read_after(CommitSeq(10)).is_err());
}

fn huge_transaction_among_others(bench: &BufferBench) {
    let buffer = bench.open();
    let event = |n: u64| vec![(n % 251) as u8; 10_000];
    let mut huge = buffer.begin("huge").expect("begin");
    for n in 0..300u64 {
        huge.push(&event(n)).expect("push");
        if n % 10 == 0 {
            append(&*buffer, &format!("small{n}"), n, &[b"s"]);
            buffer.append_control(Bytes::from(event(n + 1))).expect("control");
            buffer.sync().expect("sync");
            buffer.release(*buffer.head().borrow()).expect("release");
        }
    }
    let seq = huge.commit(at(1000)).expect("commit");
    buffer.sync().expect("sync");
    let check = |buffer: &dyn Buffer| {
        let seen = read_all(buffer, seq.0 - 1).remove(0);
        assert_eq!((seen.seq, seen.id.as_str(), seen.events.len()), (seq.0, "huge", 300));
        assert!(seen.events.iter().zip(0..).all(|(e, n)| *e == event(n)));
    };
    check(&*buffer);
    drop(buffer);
    let buffer = bench.open();
    check(&*buffer);
    append(&*buffer, "after", 2000, &[b"x"]);
    buffer.sync().expect("sync");
    buffer.release(seq).expect("release");
    assert_eq!(read_all(&*buffer, seq.0).len(), 1);
}

/// Guarantee 5.
fn limit_blocks_until_release(bench: &BufferBench) {
    let buffer = bench.open_limited(100_000);
    let (done, release_from) = (AtomicBool::new(false), 50u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=100u64 {
                append(&*buffer, &format!("t{n}"), n, &[&[1; 10_000]]);
                // Every other transaction is not synced: waiting must make it visible.
                if n % 2 == 0 {
                    buffer.sync().expect("sync");
                }
            }
            buffer.sync().expect("sync");
            done.store(true, Ordering::SeqCst);
        });
        std::thread::sleep(Duration::from_millis(150));
        let head = *buffer.head().borrow();
        assert!(!done.load(Ordering::SeqCst) && head.0 < release_from, "1 MB went into 100 kB: head {head}");
        assert!(head.0 >= 5, "blocked at {head} already");
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "still blocked at {}", *buffer.head().borrow());
            buffer.release(*buffer.head().borrow()).expect("release");
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(*buffer.head().borrow(), CommitSeq(100), "nothing was dropped");
}

fn one_transaction_may_exceed_the_limit(bench: &BufferBench) {
    let buffer = bench.open_limited(100_000);
    for round in 1..=3u64 {
        let mut huge = buffer.begin(&format!("huge{round}")).expect("begin");
        for _ in 0..50 {
            huge.push(&[5; 10_000]).expect("push");
        }
        assert_eq!(huge.commit(at(round)).expect("commit"), CommitSeq(round));
        buffer.sync().expect("sync");
        buffer.release(CommitSeq(round)).expect("release");
    }
}

/// A hold that the appending itself must end (a copy in progress) may make the log exceed its limit.
fn holds_do_not_block_for_ever(bench: &BufferBench) {
    let buffer = bench.open_limited(100_000);
    append(&*buffer, "first", 1, &[b"x"]);
    buffer.sync().expect("sync");
    let held = buffer.hold(CommitSeq::ZERO);
    for n in 2..=60u64 {
        append(&*buffer, &format!("t{n}"), n, &[&[1; 10_000]]);
        let head = buffer.sync().expect("sync");
        buffer.release(head).expect("release");
    }
    assert_eq!(read_all(&*buffer, 0).len(), 60);
    drop(held);
    buffer.release(CommitSeq(60)).expect("release");
    assert!(buffer.read_after(CommitSeq::ZERO).is_err());
}

fn read_position_is_durable(bench: &BufferBench) {
    let buffer = bench.open();
    let read = buffer.read_position();
    let order = || read.borrow().as_ref().map(SourcePosition::order);
    assert_eq!(order(), None);
    buffer.note_read(at(5));
    assert_eq!(order(), None, "not durable yet");
    buffer.sync().expect("sync");
    assert_eq!(order(), Some((1, 5)));
    append(&*buffer, "a", 10, &[b"x"]);
    assert_eq!(order(), Some((1, 5)));
    buffer.sync().expect("sync");
    assert_eq!(order(), Some((1, 10)));
    buffer.note_read(at(7));
    buffer.sync().expect("sync");
    assert_eq!(order(), Some((1, 10)), "never back");
}

fn positions_and_seqs(bench: &BufferBench) {
    let buffer = bench.open();
    assert_eq!(buffer.seq_covering(&at(0)), None);
    assert_eq!(buffer.position_of(CommitSeq::ZERO), Some(SourcePosition::default()), "before everything");
    for n in 1..=300u64 {
        append(&*buffer, &format!("t{n}"), n * 10, &[&[0; 500]]);
    }
    buffer.note_read(at(3005));
    buffer.sync().expect("sync");
    let check = |buffer: &dyn Buffer, first: u64| {
        for n in first..=300 {
            assert_eq!(buffer.position_of(CommitSeq(n)).map(|p| p.minor), Some(n * 10));
            assert_eq!(buffer.seq_covering(&at(n * 10)), Some(CommitSeq(n)));
            assert_eq!(
                buffer.seq_covering(&at(n * 10 + 5)).filter(|_| n < 300),
                Some(CommitSeq(n)).filter(|_| n < 300)
            );
        }
        assert_eq!(buffer.position_of(CommitSeq(301)), None);
    };
    check(&*buffer, 1);
    assert_eq!(buffer.seq_covering(&at(5)), Some(CommitSeq::ZERO));
    assert_eq!(buffer.seq_covering(&at(3005)), Some(CommitSeq(300)));
    assert_eq!(buffer.seq_covering(&at(3006)), None, "the source has not got there");
    buffer.release(CommitSeq(300)).expect("release");
    drop(buffer);
    let buffer = bench.open();
    assert_eq!(buffer.seq_covering(&at(3000)), Some(CommitSeq(300)));
    assert_eq!(buffer.seq_covering(&at(3005)), None, "noted positions are as durable as transactions");
    let before_first = buffer.seq_covering(&at(5)).expect("read long ago");
    assert_eq!(
        read_all(&*buffer, before_first.0).first().map(|s| s.seq),
        Some(before_first.0 + 1).filter(|n| *n <= 300)
    );
}

fn positions_must_not_go_back(bench: &BufferBench) {
    let buffer = bench.open();
    append(&*buffer, "a", 10, &[b"x"]);
    append(&*buffer, "b", 10, &[b"x"]);
    let back = buffer.begin("c").expect("begin").commit(at(9));
    assert!(matches!(back, Err(Error::Invalid(_))), "{back:?}");
    assert_eq!(append(&*buffer, "d", 11, &[b"x"]), CommitSeq(3));
}

/// Appends a transaction with a commit time of its own.
fn append_timed(buffer: &dyn Buffer, n: u64, commit_time_us: i64) {
    let mut appender = buffer.begin(&format!("t{n}")).expect("begin");
    appender.push(&[n as u8; 200]).expect("push");
    appender.commit(SourcePosition { commit_time_us, ..at(n * 10) }).expect("commit");
}

/// Guarantee 6: the times of 1000 transactions, every seventh of which is said to be old, are found again whatever was released
/// and however often the log was opened.
fn history_is_kept_beyond_release(bench: &BufferBench) {
    const BEGIN: i64 = 1_000_000;
    let said = |n: u64| if n.is_multiple_of(7) { 5 } else { BEGIN + n as i64 * 10 };
    // Times never go back: the old ones count as the one before.
    let time = |n: u64| if n.is_multiple_of(7) { said(n - 1) } else { said(n) };
    let check = |buffer: &dyn Buffer, last: u64| {
        for n in (1..=last).filter(|n| n % 13 == 0 || n % 7 < 2 || *n == last) {
            assert_eq!(buffer.commit_time(CommitSeq(n)).expect("readable"), Some(time(n)), "of {n}");
            for (us, add) in [(time(n), 0), (time(n) + 9, 0), (time(n) - 1, 1)] {
                // The newest with this time, or the one before it.
                let newest = (n..=last).take_while(|m| time(*m) == time(n)).last().unwrap_or(n);
                let oldest = (1..=n).rev().take_while(|m| time(*m) == time(n)).last().unwrap_or(n);
                let wanted = Some(if add == 0 { newest } else { oldest - 1 }).filter(|n| *n > 0).map(CommitSeq);
                assert_eq!(buffer.seq_at(&Moment::Time(us)).expect("readable"), wanted, "at {us} of {last}");
            }
            for minor in [n * 10, n * 10 + 9] {
                let found = buffer.seq_at(&Moment::Position(at(minor))).expect("readable");
                assert_eq!(found, Some(CommitSeq(n)), "at position {minor} of {last}");
            }
        }
        assert_eq!(buffer.seq_at(&Moment::Time(BEGIN)).expect("readable"), None, "before the first");
        assert_eq!(buffer.seq_at(&Moment::Position(at(9))).expect("readable"), None, "before the first");
        assert_eq!(buffer.seq_at(&Moment::Time(i64::MAX)).expect("readable"), Some(CommitSeq(last)));
        assert_eq!(buffer.commit_time(CommitSeq(last + 1)).expect("readable"), None, "above the head");
    };
    let mut buffer = bench.open();
    assert_eq!(buffer.seq_at(&Moment::Time(BEGIN)).expect("readable"), None, "nothing is known");
    for round in 1..=4u64 {
        for n in (round - 1) * 250 + 1..=round * 250 {
            append_timed(&*buffer, n, said(n));
        }
        buffer.sync().expect("sync");
        check(&*buffer, round * 250);
        buffer.release(CommitSeq(round * 250 - 20)).expect("release");
        check(&*buffer, round * 250);
        drop(buffer);
        buffer = bench.open();
        check(&*buffer, round * 250);
    }
    buffer.append_control(Bytes::from_static(b"c")).expect("control");
    buffer.sync().expect("sync");
    assert_eq!(buffer.commit_time(CommitSeq(1001)).expect("readable"), Some(time(1000)), "as the one before");
    assert_eq!(buffer.seq_at(&Moment::Position(at(10_000))).expect("readable"), Some(CommitSeq(1001)));
}

/// What the copy read is at least as new as this machine's clock; a time in the future is not believed.
fn commit_times_begin_with_the_first_record(bench: &BufferBench) {
    let before = now_us();
    let buffer = bench.open();
    buffer.append_control(Bytes::from_static(b"c")).expect("control");
    append_timed(&*buffer, 1, 10);
    append_timed(&*buffer, 2, before + 3_600_000_000);
    buffer.sync().expect("sync");
    let time = buffer.commit_time(CommitSeq(1)).expect("readable").expect("known");
    assert!((before..=now_us()).contains(&time));
    drop(buffer);
    let buffer = bench.open();
    for seq in 1..=3 {
        assert_eq!(buffer.commit_time(CommitSeq(seq)).expect("readable"), Some(time));
    }
    assert_eq!(buffer.seq_at(&Moment::Time(time - 1)).expect("readable"), None);
    assert_eq!(buffer.seq_at(&Moment::Time(time)).expect("readable"), Some(CommitSeq(3)));
    assert_eq!(buffer.read_position().borrow().as_ref().map(SourcePosition::order), Some((1, 20)));
}
