//! TiDB's change feeds: unordered and at-least-once, with watermarks that say "everything up to here was sent".
//!
//! Whatever the format, its messages become [`record`]s: images of rows and DDL, each with its commit-ts. The [`assembler`]
//! holds them until a watermark covers them, sorts and de-duplicates them (memory is bounded: sorted [`runs`] go to disk), and
//! [`append`] makes whole transactions of them for the Data Buffer: the rows of one commit-ts over all tables, then each DDL of
//! that commit-ts. The [`decoder`] turns these into columns, with the schema of that place in the stream.
//!
//! Formats: [`canal`] (Canal-JSON with the TiDB extension), [`simple`], [`open`], [`csv`]. Places: [`storage`] (TiCDC's storage
//! sink).

pub mod append;
pub mod assembler;
pub mod canal;
pub mod csv;
pub mod databases;
pub mod decoder;
pub mod json;
pub mod open;
pub mod partitions;
pub mod place;
pub mod progress;
pub mod record;
mod renames;
pub mod runs;
pub mod simple;
pub mod storage;
pub mod zone;

pub use assembler::Assembler;
pub use decoder::FeedDecoder;
