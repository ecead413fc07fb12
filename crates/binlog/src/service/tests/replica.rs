//! A whole pipeline around the source: the real writer, an engine in memory, a real upstream.

use std::sync::Arc;
use std::time::Duration;

use tidelake_core::ports::{Buffer, Source, StoreEngine};
use tidelake_core::testing::{MemBuffer, MemStore, tables};
use tidelake_core::{Catalog, CellValue, TableEntry, TableName, WriterEpoch};
use tidelake_testkit::MariaDb;
use tidelake_writer::{MagicWriter, WriterHandle, WriterOptions, WriterParts};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::BUFFER_LIMIT;
use crate::service::{ServiceOptions, ServiceSource};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A running replica of one upstream.
pub(super) struct Replica {
    pub source: Arc<ServiceSource>,
    pub buffer: Arc<MemBuffer>,
    pub engine: Arc<MemStore>,
    pub writer: WriterHandle,
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<tidelake_core::Result<()>>>,
}

impl Replica {
    pub async fn start(server: &MariaDb, change: impl FnOnce(&mut ServiceOptions)) -> Replica {
        let (buffer, engine) = (MemBuffer::new(BUFFER_LIMIT), Arc::new(MemStore::new()));
        Replica::go_on(server, buffer, engine, 1, change).await
    }

    /// As a new process does over what an earlier one left.
    pub async fn go_on(
        server: &MariaDb,
        buffer: Arc<MemBuffer>,
        engine: Arc<MemStore>,
        epoch: u64,
        change: impl FnOnce(&mut ServiceOptions),
    ) -> Replica {
        let mut options = ServiceOptions::new(server.source_url());
        options.heartbeat = Duration::from_millis(200);
        change(&mut options);
        let source = Arc::new(ServiceSource::new(options).unwrap());
        let cancel = CancellationToken::new();
        let decoding = source.clone();
        let parts = WriterParts {
            buffer: buffer.clone(),
            engine: engine.clone(),
            epoch: WriterEpoch(epoch),
            decoders: Arc::new(move || decoding.decoder()),
            options: WriterOptions { interval: Duration::from_millis(10), ..WriterOptions::default() },
            cancel: cancel.clone(),
        };
        let writer = MagicWriter::start(parts).await.unwrap();
        let after = buffer.read_position().borrow().clone();
        let (streaming, copying) = (source.clone(), source.clone());
        let (into, stop) = (buffer.clone(), cancel.clone());
        let stream = tokio::spawn(async move { streaming.stream(after, into, stop).await });
        let (store, into, stop) = (engine.clone(), buffer.clone(), cancel.clone());
        let copy = tokio::spawn(async move { copying.copy_tables(store, into, stop).await });
        Replica { source, buffer, engine, writer, cancel, tasks: vec![stream, copy] }
    }

    /// Until every wanted table is there and everything acknowledged so far is readable.
    pub async fn catch_up(&self) {
        let mut complete = self.source.copy_complete();
        let all = complete.wait_for(|complete| *complete);
        tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| self.late()).unwrap();
        let head = self.source.head().await.unwrap();
        let covered = async {
            loop {
                let published = self.engine.published_seq();
                if self.buffer.seq_covering(&head).is_some_and(|seq| seq <= published) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, covered).await.unwrap_or_else(|_| self.late());
        assert_eq!(self.writer.failure(), None);
    }

    fn late(&self) -> ! {
        let writer = self.writer.status();
        panic!("copies {:?}, source {:?}, writer {writer:?}", self.source.copies(), self.source.status());
    }

    pub fn catalog(&self) -> Arc<Catalog> {
        let published = self.engine.published_seq();
        self.engine.catalog(published).unwrap()
    }

    pub fn entry(&self, database: &str, table: &str) -> TableEntry {
        let name = TableName::new(database, table);
        self.catalog().visible(&name).unwrap_or_else(|| panic!("no {name} in {:#?}", self.catalog().tables)).clone()
    }

    /// All rows of a table, sorted, in stored form.
    pub async fn rows(&self, database: &str, table: &str) -> Vec<Vec<CellValue>> {
        let (entry, published) = (self.entry(database, table), self.engine.published_seq());
        tables::sorted(tables::rows_at(&*self.engine, published.0, entry.def.id).await.unwrap())
    }

    /// Ends the process; what is durable stays.
    pub async fn stop(self) -> (Arc<MemBuffer>, Arc<MemStore>) {
        self.cancel.cancel();
        for task in self.tasks {
            tokio::time::timeout(PATIENCE, task).await.expect("ends in time").unwrap().unwrap();
        }
        self.writer.join().await.unwrap();
        (self.buffer, self.engine)
    }
}
