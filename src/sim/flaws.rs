//! Bugs that are put in to see that they are found: in the code under test by their names ([`tidelake_core::env::is_flawed`]), or in what is around it.

use std::sync::Arc;

use async_trait::async_trait;
use tidelake_core::ports::store::Progress;
use tidelake_core::ports::{BatchStream, ScanPlan, ScanRequest, ScanSplit, StoreEngine, StoreWriter, TableStats};
use tidelake_core::testing::MemStore;
use tidelake_core::{Catalog, CommitSeq, Result, TableId, WriterEpoch};
use tokio::sync::watch;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The latch shows what the foremost engine has.
    MostCounts,
    /// The horizon goes beyond live leases.
    HorizonPassesLeases,
    /// What is shown is not noted first.
    ShownIsNotNoted,
    /// A lease that has lapsed can be renewed.
    LapsedComesBack,
    /// A new buffer begins where the foremost engine is.
    TakeoverAtForemost,
    /// A latch that begins to lead does not find what was shown.
    ShownIsForgotten,
    /// After a takeover one transaction is not read.
    TakeoverSkips,
    /// The upstream's head is told as it was.
    HeadIsOld,
    /// One table is read at another seq.
    TablesDiffer,
    /// What was durable is not, after a crash.
    FlushLies,
}

impl Flaw {
    pub const ALL: [Flaw; 10] = [
        Flaw::MostCounts,
        Flaw::HorizonPassesLeases,
        Flaw::ShownIsNotNoted,
        Flaw::LapsedComesBack,
        Flaw::TakeoverAtForemost,
        Flaw::ShownIsForgotten,
        Flaw::TakeoverSkips,
        Flaw::HeadIsOld,
        Flaw::TablesDiffer,
        Flaw::FlushLies,
    ];

    /// Its name in the code under test, if it is there.
    pub fn name(self) -> &'static str {
        match self {
            Flaw::MostCounts => "the most counts",
            Flaw::HorizonPassesLeases => "the horizon passes leases",
            Flaw::ShownIsNotNoted => "shown is not noted",
            Flaw::LapsedComesBack => "lapsed leases come back",
            Flaw::TakeoverAtForemost => "a takeover begins at the foremost",
            _ => "",
        }
    }
}

/// The oracle, or one that reads one table at another seq.
pub fn store(store: MemStore, flaw: Option<Flaw>) -> Arc<dyn StoreEngine> {
    match flaw {
        Some(Flaw::TablesDiffer) => Arc::new(Differing(store)),
        _ => Arc::new(store),
    }
}

struct Differing(MemStore);

#[async_trait]
impl StoreEngine for Differing {
    async fn open_writer(&self, epoch: WriterEpoch) -> Result<Box<dyn StoreWriter>> {
        self.0.open_writer(epoch).await
    }

    fn published(&self) -> watch::Receiver<Progress> {
        self.0.published()
    }

    fn durable(&self) -> watch::Receiver<Progress> {
        self.0.durable()
    }

    fn catalog(&self, seq: CommitSeq) -> Result<Arc<Catalog>> {
        self.0.catalog(seq)
    }

    async fn plan_scan(&self, request: &ScanRequest) -> Result<ScanPlan> {
        self.0.plan_scan(request).await
    }

    async fn read_split(&self, split: &ScanSplit) -> Result<BatchStream> {
        let seq = self.0.published_seq().max(split.seq);
        let other = ScanSplit { seq, ..split.clone() };
        self.0.read_split(if split.table == TableId(2) { &other } else { split }).await
    }

    fn horizon(&self) -> CommitSeq {
        self.0.horizon()
    }

    fn set_horizon(&self, seq: CommitSeq) {
        self.0.set_horizon(seq);
    }

    async fn flush(&self) -> Result<CommitSeq> {
        self.0.flush().await
    }

    fn table_stats(&self, table: TableId) -> Result<TableStats> {
        self.0.table_stats(table)
    }

    fn unflushed_bytes(&self) -> u64 {
        self.0.unflushed_bytes()
    }
}
