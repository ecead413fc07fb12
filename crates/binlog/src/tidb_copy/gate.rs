//! A gate behind a feed: closed, it holds the feed where everything that it released is durable, and nothing more comes.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tidelake_core::ports::{Buffer, BufferReader, TransactionAppender};
use tidelake_core::{CommitSeq, Moment, Result, SourcePosition};
use tokio::sync::watch;

#[derive(Default)]
struct State {
    closed: bool,
    /// No feed runs: none needs to be held.
    ended: bool,
}

/// See the module.
pub(super) struct Gate {
    state: Mutex<State>,
    opened: Condvar,
    stands: watch::Sender<bool>,
}

impl Gate {
    pub(super) fn new() -> Arc<Gate> {
        Arc::new(Gate { state: Mutex::default(), opened: Condvar::new(), stands: watch::Sender::new(false) })
    }

    /// The buffer for a feed that begins to run.
    pub(super) fn before(self: &Arc<Gate>, buffer: Arc<dyn Buffer>) -> Arc<dyn Buffer> {
        self.state.lock().ended = false;
        Arc::new(GatedBuffer { buffer, gate: Arc::clone(self) })
    }

    /// The feed runs no more.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        self.stands.send_replace(state.closed);
        self.opened.notify_all();
    }

    /// Closes the gate, and waits until the feed stands. It goes on when the returned value is dropped.
    pub(super) async fn close(self: &Arc<Gate>) -> Closed {
        let closed = Closed { gate: Arc::clone(self) };
        {
            let mut state = self.state.lock();
            state.closed = true;
            self.stands.send_replace(state.ended);
        }
        // the sender lives as long as the gate
        let _ = self.stands.subscribe().wait_for(|stands| *stands).await;
        closed
    }

    /// Where the feed is held. It has just made durable what it released.
    fn pass(&self) {
        let mut state = self.state.lock();
        while state.closed && !state.ended {
            self.stands.send_replace(true);
            self.opened.wait(&mut state);
        }
    }
}

/// The feed stands while this lives.
pub(super) struct Closed {
    gate: Arc<Gate>,
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.gate.state.lock().closed = false;
        self.gate.stands.send_replace(false);
        self.gate.opened.notify_all();
    }
}

/// The Data Buffer as a feed sees it: each of its syncs passes the gate. Feeds note their position and sync after each release, never
/// within a transaction.
struct GatedBuffer {
    buffer: Arc<dyn Buffer>,
    gate: Arc<Gate>,
}

impl Buffer for GatedBuffer {
    fn begin(&self, id: &str) -> Result<Box<dyn TransactionAppender + '_>> {
        self.buffer.begin(id)
    }

    fn append_control(&self, record: Bytes) -> Result<CommitSeq> {
        self.buffer.append_control(record)
    }

    fn sync(&self) -> Result<CommitSeq> {
        let head = self.buffer.sync()?;
        self.gate.pass();
        Ok(head)
    }

    fn head(&self) -> watch::Receiver<CommitSeq> {
        self.buffer.head()
    }

    fn read_after(&self, seq: CommitSeq) -> Result<Box<dyn BufferReader>> {
        self.buffer.read_after(seq)
    }

    fn release(&self, durable: CommitSeq) -> Result<()> {
        self.buffer.release(durable)
    }

    fn hold(&self, seq: CommitSeq) -> Arc<dyn Send + Sync> {
        self.buffer.hold(seq)
    }

    fn note_read(&self, position: SourcePosition) {
        self.buffer.note_read(position);
    }

    fn read_position(&self) -> watch::Receiver<Option<SourcePosition>> {
        self.buffer.read_position()
    }

    fn seq_covering(&self, position: &SourcePosition) -> Option<CommitSeq> {
        self.buffer.seq_covering(position)
    }

    fn position_of(&self, seq: CommitSeq) -> Option<SourcePosition> {
        self.buffer.position_of(seq)
    }

    fn seq_at(&self, moment: &Moment) -> Result<Option<CommitSeq>> {
        self.buffer.seq_at(moment)
    }

    fn commit_time(&self, seq: CommitSeq) -> Result<Option<i64>> {
        self.buffer.commit_time(seq)
    }

    fn bytes(&self) -> (u64, u64) {
        self.buffer.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidelake_core::testing::mem_buffer::MemBuffer;

    use super::*;

    #[tokio::test]
    async fn a_feed_stands_while_the_gate_is_closed() {
        let (gate, buffer) = (Gate::new(), MemBuffer::new(u64::MAX));
        let gated = gate.before(buffer.clone());
        let (stop, stopped) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), watch::Sender::new(0u64));
        let (ends, count) = (stop.clone(), stopped.clone());
        let feed = std::thread::spawn(move || {
            while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                gated.sync().expect("syncs");
                count.send_modify(|count| *count += 1);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        stopped.subscribe().wait_for(|count| *count > 5).await.expect("it runs");
        let closed = gate.close().await;
        let at = *stopped.borrow();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(*stopped.borrow(), at, "it stands");
        drop(closed);
        stopped.subscribe().wait_for(|count| *count > at + 5).await.expect("it goes on");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        feed.join().expect("no panic");
        gate.end();
        drop(gate.close().await); // nobody is to be waited for
    }
}
