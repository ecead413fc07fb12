//! Sources: the upstream's bin log, as files or as a service.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::ports::buffer::Buffer;
use crate::ports::decoder::TransactionDecoder;
use crate::ports::store::StoreEngine;
use crate::position::SourcePosition;
use crate::schema::TableName;

/// What a source is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// Not connected yet.
    #[default]
    Starting,
    /// Reading as it comes.
    Streaming,
    /// Lost, trying again with backoff.
    Reconnecting,
    /// A source of files has read all of them.
    Finished,
    /// Stopped with an error.
    Failed,
}

/// What a source is doing, for status and metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// What it is doing.
    pub state: SourceState,
    /// Why it reconnects or failed; empty otherwise.
    pub reason: String,
    /// Bytes of events read since the start.
    pub bytes_read: u64,
    /// Bytes there are to read, if known (files).
    pub bytes_total: Option<u64>,
    /// Seconds by which the newest event read was behind the upstream's clock.
    pub lag_seconds: f64,
}

/// Progress of the copy of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyProgress {
    /// Which table.
    pub name: TableName,
    /// Rows read so far (this process).
    pub rows: u64,
    /// Bytes read so far (this process).
    pub bytes: u64,
    /// The upstream's estimate of all rows.
    pub estimated_rows: u64,
    /// Read whole.
    pub done: bool,
}

/// A source.
///
/// Guarantees:
/// 1. `stream` appends every transaction after `after`, in upstream's commit order, whole or not at all; it waits
///    only for the buffer's own byte limit, never for apply.
/// 2. It notes positions of events that are no transactions too, so that a head can be covered while upstream is idle.
/// 3. A gap (purged, reset or replaced upstream) is an error with position and reason, never skipped.
/// 4. `copy_tables` reads each chunk at an exact position and appends it as control records; killed at any point, it
///    goes on where the catalog's cursor is.
#[async_trait]
pub trait Source: Send + Sync {
    /// `mysql`, `file`, ...
    fn kind(&self) -> &'static str;

    /// Streams into the buffer until cancelled (`Ok`), finished (`Ok`) or failed. Starts after `after`, or at the
    /// upstream's current head if `None` (files: at their beginning).
    async fn stream(
        &self,
        after: Option<SourcePosition>,
        buffer: Arc<dyn Buffer>,
        cancel: CancellationToken,
    ) -> Result<()>;

    /// Where a stream that has never run begins, with all that later tells this upstream's history from another's;
    /// `None`: at the source's own beginning, as the default says.
    async fn first_position(&self) -> Result<Option<SourcePosition>> {
        Ok(None)
    }

    /// The upstream's newest position now. An error (not a wrong answer) if the upstream is seen to have another history
    /// than the one that is streamed.
    async fn head(&self) -> Result<SourcePosition>;

    /// False if another server took the place of the one that told this head: what was committed there before may come
    /// only with the other one's own positions, so its head must be asked for.
    fn still_follows(&self, head: &SourcePosition) -> bool {
        let _ = head;
        true
    }

    /// True if everything up to `wanted` was read once the source has read up to `read`, one of its own positions.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a place that is named in words which say nothing of this upstream.
    fn has_read(&self, read: &SourcePosition, wanted: &SourcePosition) -> Result<bool> {
        match wanted.name() {
            None => Ok(read.covers(wanted)),
            Some(words) => Err(Error::Invalid(format!("{words:?} names no place of this upstream"))),
        }
    }

    /// Copies every wanted table that the engine's catalog does not have live, and keeps doing so (new wishes,
    /// restarts after DDL) until cancelled. The default is that of sources without a catalog (files, feeds): it returns at once.
    async fn copy_tables(
        &self,
        engine: Arc<dyn StoreEngine>,
        buffer: Arc<dyn Buffer>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let _ = (engine, buffer, cancel);
        Ok(())
    }

    /// True if `copy_tables` copies (a table that stopped for a re-sync comes back by itself).
    fn can_copy(&self) -> bool {
        false
    }

    /// True once every wanted table was found live, stopped or gone by `copy_tables` (files: always).
    fn copy_complete(&self) -> watch::Receiver<bool>;

    /// The decoder for what this source appends.
    fn decoder(&self) -> Box<dyn TransactionDecoder>;

    /// What it is doing.
    fn status(&self) -> SourceStatus;

    /// Copies under way or done in this process.
    fn copies(&self) -> Vec<CopyProgress> {
        Vec::new()
    }
}
