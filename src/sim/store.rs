//! An engine's store: the oracle, watched for writers that were replaced, and with bugs of its own if one is put in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tidelake_core::ports::store::Progress;
use tidelake_core::ports::{BatchStream, ScanPlan, ScanRequest, ScanSplit, StoreEngine, StoreWriter, TableStats};
use tidelake_core::testing::MemStore;
use tidelake_core::{Catalog, CommitSeq, DecodedStep, Result, SourcePosition, TableId, WriterEpoch};
use tokio::sync::watch;

use super::flaws::Flaw;
use super::world::Shared;

/// The store of one life of an engine.
pub struct Store {
    inner: MemStore,
    flaw: Option<Flaw>,
    epochs: Arc<Epochs>,
}

/// Invariant 9: once a writer of an epoch was taken, none of an older is.
struct Epochs {
    shared: Arc<Shared>,
    newest: AtomicU64,
}

impl Epochs {
    fn taken(&self, epoch: WriterEpoch, what: &str) {
        let newest = self.newest.fetch_max(epoch.0, Ordering::Relaxed);
        if epoch.0 < newest {
            self.shared.violation(format!("an engine took {what} of epoch {} after epoch {newest}", epoch.0));
        }
    }
}

impl Store {
    pub fn watched(inner: MemStore, shared: Arc<Shared>, flaw: Option<Flaw>) -> Arc<dyn StoreEngine> {
        let epochs = Arc::new(Epochs { shared, newest: AtomicU64::new(0) });
        Arc::new(Store { inner, flaw, epochs })
    }
}

#[async_trait]
impl StoreEngine for Store {
    async fn open_writer(&self, epoch: WriterEpoch) -> Result<Box<dyn StoreWriter>> {
        let told = match self.flaw {
            Some(Flaw::AnyEpoch) => WriterEpoch(u64::MAX),
            _ => epoch,
        };
        let inner = self.inner.open_writer(told).await?;
        self.epochs.taken(epoch, "a writer");
        Ok(Box::new(Writer { inner, epoch, epochs: self.epochs.clone() }))
    }

    fn published(&self) -> watch::Receiver<Progress> {
        self.inner.published()
    }

    fn durable(&self) -> watch::Receiver<Progress> {
        self.inner.durable()
    }

    fn catalog(&self, seq: CommitSeq) -> Result<Arc<Catalog>> {
        self.inner.catalog(seq)
    }

    async fn plan_scan(&self, request: &ScanRequest) -> Result<ScanPlan> {
        self.inner.plan_scan(request).await
    }

    async fn read_split(&self, split: &ScanSplit) -> Result<BatchStream> {
        if self.flaw == Some(Flaw::TablesDiffer) && split.table == TableId(2) {
            let seq = self.inner.published_seq().max(split.seq);
            return self.inner.read_split(&ScanSplit { seq, ..split.clone() }).await;
        }
        self.inner.read_split(split).await
    }

    fn horizon(&self) -> CommitSeq {
        self.inner.horizon()
    }

    fn set_horizon(&self, seq: CommitSeq) {
        self.inner.set_horizon(seq);
    }

    async fn flush(&self) -> Result<CommitSeq> {
        self.inner.flush().await
    }

    fn table_stats(&self, table: TableId) -> Result<TableStats> {
        self.inner.table_stats(table)
    }

    fn unflushed_bytes(&self) -> u64 {
        self.inner.unflushed_bytes()
    }
}

struct Writer {
    inner: Box<dyn StoreWriter>,
    epoch: WriterEpoch,
    epochs: Arc<Epochs>,
}

#[async_trait]
impl StoreWriter for Writer {
    async fn stage(&mut self, step: DecodedStep) -> Result<()> {
        self.inner.stage(step).await?;
        self.epochs.taken(self.epoch, "changes");
        Ok(())
    }

    async fn publish(&mut self, upto: CommitSeq, position: SourcePosition) -> Result<()> {
        self.inner.publish(upto, position).await?;
        self.epochs.taken(self.epoch, "a seq");
        Ok(())
    }
}
