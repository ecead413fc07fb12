//! TiDB's tables as they were at one TSO, copied before a feed is read from there on.
//!
//! A [`Snapshot`] is where the rows come from: a server over the MySQL protocol ([`server`]) or what Dumpling wrote
//! ([`dumpling`]). The copier appends its chunks as control records; the tables become live together when all are read.
//! [`CopiedFeed`] is a feed with such a copy before it. As the copy and the feed meet at one TSO, the feed is not read
//! before the copy is done: its rows at or below the TSO are in the copied ones, all others come behind them.
//!
//! A table that stops later because only upstream knows its rows is copied again from a server, while the feed stands.
//!
//! Limits: nothing of the feed may be removed (retention of the topic, cleaning of files) while the copy takes its time, and the server must
//! keep the snapshot (`tidb_gc_life_time`).

mod again;
mod copier;
pub mod dumpling;
mod gate;
mod options;
mod rows;
pub mod server;
mod source;

use async_trait::async_trait;
use tidelake_core::{Error, Result, TableDef, TableName};
use tokio::sync::mpsc;

use crate::ticdc::databases::Databases;

pub use options::{CopyFrom, CopyOptions};
pub use source::CopiedFeed;

/// A table of a snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotTable {
    /// Which.
    pub name: TableName,
    /// An estimate of its rows; 0 if unknown.
    pub estimated_rows: u64,
    /// Its definition, or why it cannot be copied.
    pub def: Result<TableDef, String>,
}

/// Rows that were read in one piece.
#[derive(Debug)]
pub struct Chunk {
    /// The rows.
    pub rows: arrow::array::RecordBatch,
    /// About how many bytes they took where they come from.
    pub bytes: u64,
    /// Where to read on behind them; opaque outside the snapshot.
    pub at: String,
}

/// Why rows could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// It is about this table or what is in it: the table is stopped with this reason.
    Table(String),
    /// It passes: try again.
    Passing(Error),
    /// The copy cannot be made, or not any more.
    Fatal(Error),
}

/// All tables at one TSO.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// The TSO to copy at.
    ///
    /// # Errors
    /// If it cannot be had.
    async fn tso(&self) -> Result<u64>;

    /// All wanted tables as of `tso`.
    ///
    /// # Errors
    /// Never [`ReadError::Table`].
    async fn tables(&self, tso: u64) -> Result<Vec<SnapshotTable>, ReadError>;

    /// What databases have as their default collation at `tso`, as far as it can be known.
    ///
    /// # Errors
    /// Never [`ReadError::Table`].
    async fn databases(&self, tso: u64) -> Result<Databases, ReadError> {
        let _ = tso;
        Ok(Databases::default())
    }

    /// True if rows of such a table can be read on from a chunk's `at`; false if it must be read in one piece.
    fn resumes(&self, def: &TableDef) -> bool;

    /// True if every later TSO can be read, too: tables that stop can be copied again.
    fn has_any_tso(&self) -> bool {
        false
    }

    /// Sends the rows behind `at` (empty: all) as chunks. The receiver may go away: then nothing more is wanted.
    ///
    /// # Errors
    /// What was sent before it counts.
    async fn read(&self, tso: u64, def: &TableDef, at: &str, out: mpsc::Sender<Chunk>) -> Result<(), ReadError>;
}
