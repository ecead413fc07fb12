//! The vocabulary of Tidelake: what every other crate speaks, and nothing that does I/O.
//!
//! Words (`docs/ARCHITECTURE.md` has the whole list): a *source* reads the upstream's bin log; the *Data
//! Buffer* keeps its transactions durably and gives each a [`CommitSeq`]; the *Magic Writer* decodes them,
//! *stages* rows invisibly in a *store engine* and *publishes* whole transactions over all tables at once;
//! readers hold a [`SnapshotLease`](ports::SnapshotLease) on one published seq.
//!
//! Every port (trait) lives in [`ports`]; every upstream type in [`types`]; arrows point at this crate.

pub mod catalog;
pub mod change;
pub mod control;
pub mod env;
pub mod error;
pub mod filter;
pub mod key;
pub mod moment;
pub mod ports;
pub mod position;
pub mod schema;
pub mod seq;
pub mod show_create;
pub mod types;
pub mod value;

#[cfg(feature = "testing")]
pub mod testing;

pub use catalog::{Catalog, RESYNC, SchemaChange, TableEntry, TableState};
pub use change::{ChangeBatch, DecodedStep, RowOp};
pub use error::{Error, Result};
pub use moment::Moment;
pub use position::SourcePosition;
pub use schema::{ColumnDef, TableDef, TableName};
pub use seq::{ColumnId, CommitSeq, TableId, WriterEpoch};
pub use types::{TypeKind, UpstreamType};
pub use value::CellValue;
