//! Every port: the traits between the parts. Each numbers what its implementors owe; `testing::conformance`
//! proves it.

pub mod buffer;
pub mod decoder;
pub mod latch;
pub mod source;
pub mod store;

pub use buffer::{Buffer, BufferReader, BufferedPayload, BufferedTransaction, TransactionAppender};
pub use decoder::TransactionDecoder;
pub use latch::{Freshness, Latch, SnapshotLease};
pub use source::{CopyProgress, Source, SourceState, SourceStatus};
pub use store::{
    BatchStream, ColumnBounds, ColumnPredicate, PredicateOp, Progress, RowFilter, ScanPlan, ScanRequest, ScanSplit,
    StoreEngine, StoreWriter, TableStats,
};
