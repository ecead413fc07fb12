//! The thread that appends: raw events in, durable transactions out.
//!
//! It takes what has arrived, appends it, and syncs once nothing more is waiting, or after some bytes or milliseconds:
//! a group commit whose size follows the load. Between it and the socket is a window of bytes, so memory is bounded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidelake_core::control::{self, ControlRecord};
use tidelake_core::ports::Buffer;
use tidelake_core::{CommitSeq, Error, Result, SourcePosition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::mysql::group::{GrouperMode, TransactionGrouper, TransactionSink};
use crate::mysql::sink::BufferSink;

/// A sync happens at the latest after this many bytes of events.
const SYNC_BYTES: usize = 4 << 20;
/// A sync happens at the latest this long after the first event it covers.
const SYNC_EVERY: Duration = Duration::from_millis(20);
/// How long the end of a cancelled stream waits for an append that is blocked by the buffer's limit.
const LINGER: Duration = Duration::from_secs(3);
/// Most events in the window, whatever their bytes.
const WINDOW_EVENTS: usize = 65_536;

type Outcome = (SourcePosition, Result<()>);

struct Item {
    /// The event stands behind the first byte.
    packet: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

/// The sending side of the appending thread.
pub(super) struct Appender {
    items: Option<mpsc::Sender<Item>>,
    room: Arc<Semaphore>,
    window: usize,
    outcome: oneshot::Receiver<Outcome>,
    start: SourcePosition,
}

impl Appender {
    /// Starts the thread; the events that will be sent continue `start`. At most `window` bytes wait in between.
    ///
    /// # Errors
    /// If `start` is no binlog position, or no thread can be made.
    pub fn start(buffer: Arc<dyn Buffer>, start: SourcePosition, window: usize) -> Result<Appender> {
        let grouper = TransactionGrouper::new(GrouperMode::Wire, Some(&start))?;
        let window = window.clamp(1 << 16, Semaphore::MAX_PERMITS >> 4);
        let (items, received) = mpsc::channel(WINDOW_EVENTS);
        let (tell, outcome) = oneshot::channel();
        let from = start.clone();
        let work = move || {
            let mut reached = from;
            let result = append(&*buffer, grouper, received, &mut reached);
            let _ = tell.send((reached, result)); // nobody waits after a cancelled stream
        };
        std::thread::Builder::new()
            .name("tidelake-append".into())
            .spawn(work)
            .map_err(|e| Error::io("start the appending thread", e))?;
        Ok(Appender { items: Some(items), room: Arc::new(Semaphore::new(window)), window, outcome, start })
    }

    /// Hands an event's packet over; waits while the window is full. False: the thread has ended.
    pub async fn send(&mut self, packet: Vec<u8>) -> bool {
        let Some(items) = &self.items else { return false };
        let bytes = packet.len().clamp(1, self.window) as u32;
        let Ok(room) = self.room.clone().acquire_many_owned(bytes).await else { return false };
        items.send(Item { packet, _room: room }).await.is_ok()
    }

    /// Lets the thread append what it has, and tells how far it came. If the stream was cancelled, it does not wait
    /// for a buffer that is full.
    pub async fn finish(mut self, cancel: &CancellationToken) -> Outcome {
        self.items = None;
        let gone = || Error::Internal("the appending thread ended without a word".into());
        let waited = tokio::select! {
            outcome = &mut self.outcome => Some(outcome),
            () = async { cancel.cancelled().await; tokio::time::sleep(LINGER).await } => None,
        };
        match waited {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => (self.start, Err(gone())),
            None => (self.start, Ok(())),
        }
    }
}

fn append(
    buffer: &dyn Buffer,
    mut grouper: TransactionGrouper,
    mut items: mpsc::Receiver<Item>,
    reached: &mut SourcePosition,
) -> Result<()> {
    let start = reached.clone();
    // positions are kept with transactions; that of a file without any, or of another server, in a record of its own
    let mut kept = buffer.read_position().borrow().as_ref().map_or(start.major, |read| read.major);
    let untold = *buffer.head().borrow() > CommitSeq::ZERO && buffer.read_position().borrow().is_none();
    let mut sink = Tracking { inner: BufferSink::new(buffer), reached, dirty: false };
    sink.inner.note_read(start);
    if untold {
        // a copy by a Tidelake that did not say with its records how far it had read
        note_in_record(buffer)?;
    }
    buffer.sync()?;
    while let Some(first) = items.blocking_recv() {
        let (begun, mut bytes) = (Instant::now(), 0);
        let mut next = Some(first);
        while let Some(item) = next {
            grouper.feed(&item.packet[1..], &mut sink)?;
            bytes += item.packet.len();
            drop(item);
            next = if bytes < SYNC_BYTES && begun.elapsed() < SYNC_EVERY { items.try_recv().ok() } else { None };
        }
        grouper.note_read(&mut sink);
        if sink.reached.major != kept && grouper.is_outside() && grouper.read_from().born != 0 {
            kept = sink.reached.major;
            note_in_record(buffer)?;
        }
        if std::mem::take(&mut sink.dirty) {
            buffer.sync()?;
        }
    }
    Ok(())
}

/// Keeps how far was read, without a transaction.
fn note_in_record(buffer: &dyn Buffer) -> Result<()> {
    buffer.append_control(Bytes::from(control::encode(&ControlRecord::ReadUpTo, None)?)).map(drop)
}

/// Remembers the last place to resume from, and whether there is something to sync.
struct Tracking<'a, 'b> {
    inner: BufferSink<'a>,
    reached: &'b mut SourcePosition,
    dirty: bool,
}

impl TransactionSink for Tracking<'_, '_> {
    fn begin(&mut self, id: &str) -> Result<()> {
        self.inner.begin(id)
    }

    fn push(&mut self, item: &[u8]) -> Result<()> {
        self.inner.push(item)
    }

    fn commit(&mut self, position: SourcePosition) -> Result<()> {
        self.dirty = true;
        self.inner.commit(position)
    }

    fn abandon(&mut self) {
        self.inner.abandon();
    }

    fn hold(&mut self, xid: &str) {
        self.inner.hold(xid);
    }

    fn unhold(&mut self, xid: &str) -> bool {
        self.inner.unhold(xid)
    }

    fn note_read(&mut self, position: SourcePosition) {
        if position != *self.reached {
            self.dirty = true;
            self.reached.clone_from(&position);
            self.inner.note_read(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidelake_core::testing::MemBuffer;

    use super::*;
    use crate::mysql::position::BinlogPosition;

    async fn streamed(buffer: &Arc<MemBuffer>) {
        let start = BinlogPosition { file: "bin.000007".into(), pos: 4, born: 7, ..BinlogPosition::default() };
        let appender = Appender::start(buffer.clone(), start.to_source(0), 1 << 16).expect("starts");
        let (_, ended) = appender.finish(&CancellationToken::new()).await;
        ended.expect("ends well");
    }

    /// A Tidelake of before gave its control records no position, and nothing more may come.
    #[tokio::test]
    async fn what_an_older_copy_did_not_tell_is_told_once() {
        let buffer = MemBuffer::new(u64::MAX);
        streamed(&buffer).await;
        assert_eq!(*buffer.head().borrow(), CommitSeq::ZERO, "nothing was copied: whoever begins here copies all");
        let buffer = MemBuffer::new(u64::MAX);
        buffer.append_control(Bytes::from_static(b"chunk")).expect("append");
        buffer.sync().expect("sync");
        for _ in 0..2 {
            streamed(&buffer).await;
            assert_eq!(*buffer.head().borrow(), CommitSeq(2));
            assert_eq!(buffer.position_of(CommitSeq(2)).map(|at| at.order()), Some((7, 4)));
        }
    }
}
