//! The Magic Writer: takes what is durable in the Data Buffer, decodes it, and makes it readable.
//!
//! Every *interval* it reads a *window* of transactions after the newest applied one (`window`), decodes them
//! with its working catalog, applies control records in their place (`copies`), stages the steps and publishes
//! the window at once over all tables (`publish`). A flusher beside it makes published rows durable and lets the
//! buffer go (`flush`).
//!
//! Rooms: `handle` what others hold of a running writer; `rescan` what the stream did to a table while a
//! chunk of it was being copied; `steps` pieces, so that nothing has to fit in memory whole.

mod flush;
pub mod handle;

mod copies;
mod publish;
mod rescan;
mod run;
mod steps;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::time::Duration;

use tidelake_core::ports::{Buffer, StoreEngine, TransactionDecoder};
use tidelake_core::{Result, WriterEpoch};
use tokio_util::sync::CancellationToken;

pub use handle::{WriterHandle, WriterState, WriterStatus};

/// Makes decoders; each has state of its own.
pub type DecoderFactory = Arc<dyn Fn() -> Box<dyn TransactionDecoder> + Send + Sync>;

/// What a writer works with.
pub struct WriterParts {
    /// Where transactions come from.
    pub buffer: Arc<dyn Buffer>,
    /// Where rows go.
    pub engine: Arc<dyn StoreEngine>,
    /// Granted by the Latch Service.
    pub epoch: WriterEpoch,
    /// For the stream, and for rescans.
    pub decoders: DecoderFactory,
    /// Settings.
    pub options: WriterOptions,
    /// Ends the writer cleanly: with a last flush.
    pub cancel: CancellationToken,
}

/// Settings of a writer.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// How often it polls and publishes, at first.
    pub interval: Duration,
    /// Most bytes of buffered transactions in one window (one transaction may be larger).
    pub window_bytes: u64,
    /// Unflushed bytes in the engine that start a flush.
    pub flush_bytes: u64,
    /// Longest time that something published stays unflushed.
    pub flush_interval: Duration,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions {
            interval: Duration::from_millis(100),
            window_bytes: 32 << 20,
            flush_bytes: 256 << 20,
            flush_interval: Duration::from_secs(60),
        }
    }
}

/// The Magic Writer.
pub struct MagicWriter;

impl MagicWriter {
    /// Takes over writing to the engine and starts polling, from the engine's newest published seq.
    ///
    /// # Errors
    /// If the engine refuses the epoch, or the buffer no longer has what follows the engine's seq.
    pub async fn start(parts: WriterParts) -> Result<WriterHandle> {
        run::start(parts).await
    }
}
