//! The writer against the oracle store, the model buffer and a small decoder.

#![allow(clippy::disallowed_methods, reason = "real time passes in these tests")]

mod copy;
mod decoder;
mod pipeline;
mod restart;

use std::sync::Arc;
use std::time::Duration;

use tidelake_core::ports::{Buffer, StoreEngine};
use tidelake_core::testing::tables::{Row, position, rows_at};
use tidelake_core::testing::{MemBuffer, MemStore};
use tidelake_core::{Catalog, CommitSeq, SchemaChange, TableDef, TableName, TableState, WriterEpoch};
use tokio_util::sync::CancellationToken;

use self::decoder::{TestDecoder, TestEvent};
use crate::{MagicWriter, WriterHandle, WriterOptions, WriterParts};

/// A running writer and what it works with.
struct Bench {
    buffer: Arc<MemBuffer>,
    store: MemStore,
    writer: WriterHandle,
    cancel: CancellationToken,
    options: WriterOptions,
    epoch: u64,
}

/// Polls when poked, as good as never otherwise.
fn when_poked() -> WriterOptions {
    WriterOptions { interval: Duration::from_secs(60), ..WriterOptions::default() }
}

impl Bench {
    async fn new(options: WriterOptions) -> Bench {
        Bench::on(MemBuffer::new(1 << 30), MemStore::new(), options, 1).await
    }

    async fn on(buffer: Arc<MemBuffer>, store: MemStore, options: WriterOptions, epoch: u64) -> Bench {
        let cancel = CancellationToken::new();
        let parts = WriterParts {
            buffer: buffer.clone(),
            engine: Arc::new(store.clone()),
            epoch: WriterEpoch(epoch),
            decoders: Arc::new(|| Box::new(TestDecoder::default())),
            options: options.clone(),
            cancel: cancel.clone(),
        };
        let writer = MagicWriter::start(parts).await.unwrap();
        Bench { buffer, store, writer, cancel, options, epoch }
    }

    /// Everything that is not durable is gone; a new process starts.
    async fn crash(self) -> Bench {
        let buffer = self.buffer.crash();
        let store = self.store.crash();
        self.cancel.cancel();
        self.writer.join().await.unwrap();
        Bench::on(buffer, store, self.options, self.epoch + 1).await
    }

    fn commit(&self, n: u64, events: &[TestEvent]) -> CommitSeq {
        append(&*self.buffer, n, events)
    }

    /// Applies everything in the buffer.
    async fn settle(&self) -> CommitSeq {
        let head = self.buffer.sync().unwrap();
        self.writer.poke();
        let mut status = self.writer.watch_status();
        let applied = status.wait_for(|s| s.applied >= head || !s.reason.is_empty());
        let status = tokio::time::timeout(Duration::from_secs(30), applied).await.expect("applied in time").unwrap();
        assert_eq!(status.reason, "");
        head
    }

    fn catalog(&self) -> Arc<Catalog> {
        let published = self.store.published().borrow().seq;
        self.store.catalog(published).unwrap()
    }

    async fn rows(&self, name: &TableName) -> tidelake_core::Result<Vec<Row>> {
        let published = self.store.published().borrow().seq;
        let id = self.catalog().visible(name).expect("visible").def.id;
        rows_at(&self.store, published.0, id).await
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.writer.join().await.unwrap();
    }
}

fn append(buffer: &dyn Buffer, n: u64, events: &[TestEvent]) -> CommitSeq {
    let mut transaction = buffer.begin(&format!("t{n}")).unwrap();
    events.iter().for_each(|e| transaction.push(&serde_json::to_vec(e).unwrap()).unwrap());
    transaction.commit(position(n)).unwrap()
}

fn create(def: &TableDef) -> TestEvent {
    TestEvent::Ddl(SchemaChange::CreateTable { def: Box::new(def.clone()), state: TableState::Live })
}

fn insert(def: &TableDef, row: Row) -> TestEvent {
    TestEvent::Row { name: def.name.clone(), before: None, after: Some(row) }
}

fn delete(def: &TableDef, row: Row) -> TestEvent {
    TestEvent::Row { name: def.name.clone(), before: Some(row), after: None }
}
