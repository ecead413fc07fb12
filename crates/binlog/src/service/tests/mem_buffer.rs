//! A Data Buffer in memory: only what the source's own tests look at. Readers see what is synced.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tidelake_core::ports::{Buffer, BufferReader, BufferedPayload, BufferedTransaction, TransactionAppender};
use tidelake_core::{CommitSeq, Result, SourcePosition};
use tokio::sync::watch;

#[derive(Clone, Debug)]
pub(super) struct MemTransaction {
    pub id: String,
    pub position: SourcePosition,
    pub items: Vec<Bytes>,
}

pub(super) struct MemBuffer {
    state: Arc<Mutex<State>>,
    head: watch::Sender<CommitSeq>,
    read: watch::Sender<Option<SourcePosition>>,
}

#[derive(Default)]
struct State {
    transactions: Vec<MemTransaction>,
    noted: Option<SourcePosition>,
}

impl MemBuffer {
    pub fn new() -> Arc<MemBuffer> {
        let (head, read) = (watch::Sender::new(CommitSeq::ZERO), watch::Sender::new(None));
        Arc::new(MemBuffer { state: Arc::default(), head, read })
    }

    /// All synced transactions.
    pub fn transactions(&self) -> Vec<MemTransaction> {
        let synced = self.head.borrow().0 as usize;
        self.state.lock().unwrap().transactions[..synced].to_vec()
    }

    fn commit(&self, transaction: MemTransaction) -> CommitSeq {
        let mut state = self.state.lock().unwrap();
        let known = state.transactions.iter().position(|t| !t.id.is_empty() && t.id == transaction.id);
        if let Some(known) = known {
            return CommitSeq(known as u64 + 1);
        }
        state.transactions.push(transaction);
        CommitSeq(state.transactions.len() as u64)
    }
}

impl Buffer for MemBuffer {
    fn begin(&self, id: &str) -> Result<Box<dyn TransactionAppender + '_>> {
        Ok(Box::new(MemAppender { buffer: self, id: id.to_owned(), items: Vec::new() }))
    }

    fn append_control(&self, record: Bytes) -> Result<CommitSeq> {
        let position = self.state.lock().unwrap().noted.clone().unwrap_or_default();
        Ok(self.commit(MemTransaction { id: String::new(), position, items: vec![record] }))
    }

    fn sync(&self) -> Result<CommitSeq> {
        let (head, noted) = {
            let state = self.state.lock().unwrap();
            (CommitSeq(state.transactions.len() as u64), state.noted.clone())
        };
        self.head.send_replace(head);
        self.read.send_replace(noted);
        Ok(head)
    }

    fn head(&self) -> watch::Receiver<CommitSeq> {
        self.head.subscribe()
    }

    fn read_after(&self, seq: CommitSeq) -> Result<Box<dyn BufferReader>> {
        Ok(Box::new(MemReader { state: self.state.clone(), head: self.head.subscribe(), at: seq }))
    }

    fn release(&self, _durable: CommitSeq) -> Result<()> {
        Ok(())
    }

    fn hold(&self, _seq: CommitSeq) -> Arc<dyn Send + Sync> {
        Arc::new(())
    }

    fn note_read(&self, position: SourcePosition) {
        self.state.lock().unwrap().noted = Some(position);
    }

    fn read_position(&self) -> watch::Receiver<Option<SourcePosition>> {
        self.read.subscribe()
    }

    fn seq_covering(&self, position: &SourcePosition) -> Option<CommitSeq> {
        if !self.read.borrow().as_ref().is_some_and(|read| read.covers(position)) {
            return None;
        }
        let transactions = self.transactions();
        // control records carry the position of what is before them, so the first later one ends the search
        let upstream = |t: &MemTransaction| !t.id.is_empty() && position.covers(&t.position);
        Some(CommitSeq(transactions.iter().rposition(upstream).map_or(0, |i| i as u64 + 1)))
    }

    fn position_of(&self, seq: CommitSeq) -> Option<SourcePosition> {
        self.transactions().get(seq.0.checked_sub(1)? as usize).map(|t| t.position.clone())
    }

    fn bytes(&self) -> (u64, u64) {
        (0, u64::MAX)
    }
}

struct MemAppender<'a> {
    buffer: &'a MemBuffer,
    id: String,
    items: Vec<Bytes>,
}

impl TransactionAppender for MemAppender<'_> {
    fn push(&mut self, event: &[u8]) -> Result<()> {
        self.items.push(Bytes::copy_from_slice(event));
        Ok(())
    }

    fn commit(self: Box<Self>, position: SourcePosition) -> Result<CommitSeq> {
        self.buffer.note_read(position.clone());
        Ok(self.buffer.commit(MemTransaction { id: self.id, position, items: self.items }))
    }
}

struct MemReader {
    state: Arc<Mutex<State>>,
    head: watch::Receiver<CommitSeq>,
    at: CommitSeq,
}

impl BufferReader for MemReader {
    fn next(&mut self) -> Result<Option<BufferedTransaction>> {
        if self.at >= *self.head.borrow() {
            return Ok(None);
        }
        let MemTransaction { id, position, items } =
            self.state.lock().unwrap().transactions[self.at.0 as usize].clone();
        self.at = self.at.next();
        let bytes = items.iter().map(|i| i.len() as u64).sum();
        let payload = if id.is_empty() {
            BufferedPayload::Control(items[0].clone())
        } else {
            BufferedPayload::Events(Box::new(items.into_iter().map(Ok)))
        };
        Ok(Some(BufferedTransaction { seq: self.at, id, position, bytes, payload }))
    }
}
