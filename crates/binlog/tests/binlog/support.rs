//! A Data Buffer in memory, and the recorded files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tidelake_core::ports::{Buffer, BufferReader, BufferedPayload, BufferedTransaction, TransactionAppender};
use tidelake_core::{CommitSeq, Error, Result, SourcePosition};
use tokio::sync::watch;

/// A transaction as it was committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    pub id: String,
    pub position: SourcePosition,
    pub items: Vec<Bytes>,
}

impl Committed {
    /// The same, read back.
    pub fn buffered(&self, seq: u64) -> BufferedTransaction {
        BufferedTransaction {
            seq: CommitSeq(seq),
            id: self.id.clone(),
            position: self.position.clone(),
            bytes: self.items.iter().map(|i| i.len() as u64).sum(),
            payload: BufferedPayload::Events(Box::new(self.items.clone().into_iter().map(Ok))),
        }
    }
}

/// Keeps everything; durable at once.
pub struct MemoryBuffer {
    committed: Mutex<Vec<Committed>>,
    head: watch::Sender<CommitSeq>,
    read: watch::Sender<Option<SourcePosition>>,
}

impl MemoryBuffer {
    pub fn new() -> Arc<MemoryBuffer> {
        Arc::new(MemoryBuffer {
            committed: Mutex::default(),
            head: watch::Sender::new(CommitSeq::ZERO),
            read: watch::Sender::new(None),
        })
    }

    pub fn committed(&self) -> Vec<Committed> {
        self.committed.lock().expect("no panic under the lock").clone()
    }
}

struct Appender<'a> {
    buffer: &'a MemoryBuffer,
    id: String,
    items: Vec<Bytes>,
}

impl TransactionAppender for Appender<'_> {
    fn push(&mut self, event: &[u8]) -> Result<()> {
        self.items.push(Bytes::copy_from_slice(event));
        Ok(())
    }

    fn commit(self: Box<Self>, position: SourcePosition) -> Result<CommitSeq> {
        let mut committed = self.buffer.committed.lock().expect("no panic under the lock");
        self.buffer.read.send_replace(Some(position.clone()));
        committed.push(Committed { id: self.id, position, items: self.items });
        let seq = CommitSeq(committed.len() as u64);
        self.buffer.head.send_replace(seq);
        Ok(seq)
    }
}

impl Buffer for MemoryBuffer {
    fn begin(&self, id: &str) -> Result<Box<dyn TransactionAppender + '_>> {
        Ok(Box::new(Appender { buffer: self, id: id.to_owned(), items: Vec::new() }))
    }
    fn append_control(&self, _: Bytes) -> Result<CommitSeq> {
        Err(Error::Internal("files have no control records".into()))
    }
    fn sync(&self) -> Result<CommitSeq> {
        Ok(*self.head.borrow())
    }
    fn head(&self) -> watch::Receiver<CommitSeq> {
        self.head.subscribe()
    }
    fn read_after(&self, _: CommitSeq) -> Result<Box<dyn BufferReader>> {
        Err(Error::Internal("tests read what was committed".into()))
    }
    fn release(&self, _: CommitSeq) -> Result<()> {
        Ok(())
    }
    fn hold(&self, _: CommitSeq) -> Arc<dyn Send + Sync> {
        Arc::new(())
    }
    fn note_read(&self, position: SourcePosition) {
        self.read.send_replace(Some(position));
    }
    fn read_position(&self) -> watch::Receiver<Option<SourcePosition>> {
        self.read.subscribe()
    }
    fn seq_covering(&self, _: &SourcePosition) -> Option<CommitSeq> {
        None
    }
    fn position_of(&self, _: CommitSeq) -> Option<SourcePosition> {
        None
    }
    fn bytes(&self) -> (u64, u64) {
        (0, u64::MAX)
    }
}

/// The directory of recorded files.
pub fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

/// One of the other recorded files.
pub fn recorded(name: &str) -> Vec<u8> {
    let path = data("recorded").join(format!("{name}.zst"));
    zstd::decode_all(std::fs::File::open(&path).expect(name)).expect(name)
}
