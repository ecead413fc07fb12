//! A Data Buffer in memory, in the simplest way that is obviously right: the model of the buffer's port.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::moment::{Moment, believed, now_us};
use crate::ports::{Buffer, BufferReader, BufferedPayload, BufferedTransaction, TransactionAppender};
use crate::position::SourcePosition;
use crate::seq::CommitSeq;

/// The model buffer. [`MemBuffer::crash`] gives what a restart after a crash would find.
pub struct MemBuffer {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    space: Condvar,
    limit: u64,
    head: watch::Sender<CommitSeq>,
    read: watch::Sender<Option<SourcePosition>>,
    /// Held while what is durable is shown, as all of it at once.
    showing: Mutex<()>,
}

#[derive(Clone)]
struct Entry {
    id: String,
    position: SourcePosition,
    events: Vec<Bytes>,
    control: bool,
}

impl Entry {
    fn bytes(&self) -> u64 {
        self.events.iter().map(|e| e.len() as u64).sum()
    }
}

#[derive(Clone, Default)]
struct State {
    /// Everything appended so far, by seq; released ones lose their events only.
    log: BTreeMap<CommitSeq, Entry>,
    released: CommitSeq,
    requested: CommitSeq,
    durable: CommitSeq,
    holds: Vec<CommitSeq>,
    noted: Option<SourcePosition>,
}

impl State {
    fn last(&self) -> CommitSeq {
        self.log.keys().next_back().copied().unwrap_or_default()
    }

    fn upstream(&self, upto: CommitSeq) -> impl Iterator<Item = (&CommitSeq, &Entry)> {
        self.log.range(..=upto).rev().filter(|(_, e)| !e.control)
    }

    fn read_position(&self) -> Option<SourcePosition> {
        let logged = self.log.values().map(|e| &e.position).filter(|p| p.is_known());
        logged.chain(self.noted.iter()).max_by(|a, b| a.cmp_order(b)).cloned()
    }

    /// Commit times never go back.
    fn commit_time(&self, upto: CommitSeq) -> i64 {
        self.log.range(..=upto).map(|(_, e)| e.position.commit_time_us).max().unwrap_or(0)
    }

    fn pending(&self) -> u64 {
        self.log.range(self.requested.next()..).map(|(_, e)| e.bytes()).sum()
    }

    fn retained(&self) -> u64 {
        self.log.range(self.released.next()..).map(|(_, e)| e.bytes()).sum()
    }

    fn append(&mut self, entry: Entry) -> CommitSeq {
        let seq = self.last().next();
        self.log.insert(seq, entry);
        seq
    }
}

impl MemBuffer {
    /// An empty buffer that blocks at this many bytes of events.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Arc<MemBuffer> {
        MemBuffer::with(State::default(), limit_bytes)
    }

    fn with(state: State, limit: u64) -> Arc<MemBuffer> {
        let shared = Shared {
            head: watch::Sender::new(state.durable),
            read: watch::Sender::new(state.read_position()),
            state: Mutex::new(state),
            space: Condvar::new(),
            showing: Mutex::new(()),
            limit,
        };
        Arc::new(MemBuffer { shared: Arc::new(shared) })
    }

    /// What a restart finds: everything durable, nothing else.
    #[must_use]
    pub fn crash(&self) -> Arc<MemBuffer> {
        let mut state = self.shared.state.lock().clone();
        let durable = state.durable;
        state.log.retain(|seq, _| *seq <= durable);
        state.holds.clear();
        state.noted = None;
        state.requested = state.released;
        MemBuffer::with(state, self.shared.limit)
    }

    fn wait_for_space(&self) -> Result<()> {
        let mut state = self.shared.state.lock();
        while state.pending() >= self.shared.limit {
            drop(state);
            self.sync()?;
            state = self.shared.state.lock();
            if state.pending() >= self.shared.limit {
                self.shared.space.wait_for(&mut state, Duration::from_millis(100));
            }
        }
        Ok(())
    }
}

impl Buffer for MemBuffer {
    fn begin(&self, id: &str) -> Result<Box<dyn TransactionAppender + '_>> {
        self.wait_for_space()?;
        Ok(Box::new(MemAppender { buffer: self, id: id.to_owned(), events: Vec::new() }))
    }

    fn append_control(&self, record: Bytes) -> Result<CommitSeq> {
        self.wait_for_space()?;
        let mut state = self.shared.state.lock();
        let mut position = state.read_position().unwrap_or_default();
        if state.commit_time(CommitSeq::MAX) == 0 {
            position.commit_time_us = now_us();
        }
        Ok(state.append(Entry { id: String::new(), position, events: vec![record], control: true }))
    }

    fn sync(&self) -> Result<CommitSeq> {
        let _both = self.shared.showing.lock();
        let mut state = self.shared.state.lock();
        state.durable = state.last();
        let (durable, read) = (state.durable, state.read_position());
        drop(state);
        self.shared.head.send_if_modified(|head| std::mem::replace(head, durable) != durable);
        self.shared.read.send_if_modified(|old| std::mem::replace(old, read.clone()) != read);
        Ok(durable)
    }

    fn head(&self) -> watch::Receiver<CommitSeq> {
        self.shared.head.subscribe()
    }

    fn read_after(&self, seq: CommitSeq) -> Result<Box<dyn BufferReader>> {
        if seq < self.shared.state.lock().released {
            return Err(Error::NotFound(format!("buffered transaction {} (released)", seq.next())));
        }
        Ok(Box::new(MemReader { shared: self.shared.clone(), next: seq.next() }))
    }

    fn release(&self, durable: CommitSeq) -> Result<()> {
        let mut state = self.shared.state.lock();
        state.requested = state.requested.max(durable.min(state.last()));
        let held = state.holds.iter().min().copied().unwrap_or(CommitSeq::MAX);
        state.released = state.released.max(state.requested.min(held));
        let released = state.released;
        for (_, entry) in state.log.range_mut(..=released) {
            entry.events.clear();
        }
        drop(state);
        self.shared.space.notify_all();
        Ok(())
    }

    fn hold(&self, seq: CommitSeq) -> Arc<dyn Send + Sync> {
        self.shared.state.lock().holds.push(seq);
        Arc::new(Hold { seq, shared: self.shared.clone() })
    }

    fn note_read(&self, position: SourcePosition) {
        let mut state = self.shared.state.lock();
        if state.noted.as_ref().is_none_or(|noted| position.covers(noted)) {
            state.noted = Some(position);
        }
    }

    fn read_position(&self) -> watch::Receiver<Option<SourcePosition>> {
        self.shared.read.subscribe()
    }

    fn seq_covering(&self, position: &SourcePosition) -> Option<CommitSeq> {
        let both = self.shared.showing.lock();
        if !self.shared.read.borrow().as_ref()?.covers(position) {
            return None;
        }
        drop(both);
        let state = self.shared.state.lock();
        let newest = state.upstream(state.durable).find(|(_, e)| position.covers(&e.position));
        Some(newest.map_or(state.released, |(seq, _)| state.released.max(*seq)))
    }

    fn position_of(&self, seq: CommitSeq) -> Option<SourcePosition> {
        let state = self.shared.state.lock();
        if seq < state.released || seq > state.durable {
            return None;
        }
        if seq == state.released {
            return Some(state.upstream(seq).next().map(|(_, e)| e.position.clone()).unwrap_or_default());
        }
        state.log.get(&seq).map(|e| e.position.clone())
    }

    fn seq_at(&self, moment: &Moment) -> Result<Option<CommitSeq>> {
        let state = self.shared.state.lock();
        let (mut newest, mut time_us, mut upstream) = (None, 0, false);
        for (seq, entry) in state.log.range(..=state.durable) {
            time_us = time_us.max(entry.position.commit_time_us);
            upstream |= !entry.control;
            let (within, known) = match moment {
                Moment::Time(us) => (time_us <= *us, time_us != 0),
                Moment::Position(at) => (entry.control || at.covers(&entry.position), upstream),
            };
            if !within {
                break;
            }
            newest = Some(*seq).filter(|_| known);
        }
        Ok(newest)
    }

    fn commit_time(&self, seq: CommitSeq) -> Result<Option<i64>> {
        let state = self.shared.state.lock();
        Ok(Some(state.commit_time(seq)).filter(|us| *us != 0 && seq <= state.durable))
    }

    fn bytes(&self) -> (u64, u64) {
        (self.shared.state.lock().retained(), self.shared.limit)
    }
}

struct MemAppender<'a> {
    buffer: &'a MemBuffer,
    id: String,
    events: Vec<Bytes>,
}

impl TransactionAppender for MemAppender<'_> {
    fn push(&mut self, event: &[u8]) -> Result<()> {
        self.events.push(Bytes::copy_from_slice(event));
        Ok(())
    }

    fn commit(self: Box<Self>, mut position: SourcePosition) -> Result<CommitSeq> {
        position.commit_time_us = believed(position.commit_time_us, now_us());
        let mut state = self.buffer.shared.state.lock();
        let retained = state.log.range(state.released.next()..).filter(|(_, e)| !e.control);
        let last_released = state.upstream(state.released).next();
        if let Some((seq, _)) = retained.chain(last_released).find(|(_, e)| !self.id.is_empty() && e.id == self.id) {
            return Ok(*seq);
        }
        if state.upstream(CommitSeq::MAX).next().is_some_and(|(_, last)| !position.covers(&last.position)) {
            return Err(Error::Invalid(format!("transaction {} is before the one buffered last", self.id)));
        }
        Ok(state.append(Entry { id: self.id.clone(), position, events: self.events, control: false }))
    }
}

struct Hold {
    seq: CommitSeq,
    shared: Arc<Shared>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Some(at) = state.holds.iter().position(|seq| *seq == self.seq) {
            state.holds.swap_remove(at);
        }
    }
}

struct MemReader {
    shared: Arc<Shared>,
    next: CommitSeq,
}

impl BufferReader for MemReader {
    fn next(&mut self) -> Result<Option<BufferedTransaction>> {
        let state = self.shared.state.lock();
        if self.next > state.durable {
            return Ok(None);
        }
        if self.next <= state.released {
            return Err(Error::NotFound(format!("buffered transaction {} (released)", self.next)));
        }
        let (seq, entry) = (self.next, state.log[&self.next].clone());
        drop(state);
        self.next = seq.next();
        let bytes = entry.bytes();
        let payload = match entry.control {
            true => BufferedPayload::Control(entry.events.concat().into()),
            false => BufferedPayload::Events(Box::new(entry.events.into_iter().map(Ok))),
        };
        Ok(Some(BufferedTransaction { seq, id: entry.id, position: entry.position, bytes, payload }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::MemBuffer;
    use crate::ports::Buffer;
    use crate::testing::conformance::buffer::{BufferBench, run_all};

    #[test]
    fn conforms() {
        run_all(|| {
            let last: Mutex<Option<Arc<MemBuffer>>> = Mutex::new(None);
            BufferBench::new(move |limit| {
                let mut last = last.lock();
                let next = last.take().map_or_else(|| MemBuffer::new(limit), |old| old.crash());
                *last = Some(next.clone());
                next as Arc<dyn Buffer>
            })
        });
    }
}
