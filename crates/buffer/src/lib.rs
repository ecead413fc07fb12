//! The Data Buffer: a durable local log of whole transactions, between fetching and applying. It is also the
//! engine's write-ahead log: what the engine has not made durable yet is replayed from here after a crash.
//!
//! Words. A *segment* is one file of the log; a *record* is one framed entry of it (`format`). A small
//! transaction is one record, written at its commit; a bigger one is written as *chunks* while it arrives, and its
//! commit record says where they are, so it never has to fit in memory. A record is *durable* after
//! [`sync`](tidelake_core::ports::Buffer::sync), and only then visible to readers. *Released* segments are deleted; the
//! *released mark* remembers where they ended.
//!
//! Rooms: `format` bytes of headers and records; `segment` files and their sparse index; `recovery` what opening does;
//! `log` appending; `disk_buffer` the port; `appender`, `reader` its two sides; `mark` the released mark; `ids` idempotence;
//! `history` what is kept of released segments; `lookup` seqs by commit time and position.

mod appender;
mod disk_buffer;
pub mod format;
mod history;
mod ids;
mod log;
mod lookup;
mod mark;
mod reader;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

pub use disk_buffer::DiskBuffer;

/// How to open a [`DiskBuffer`].
#[derive(Clone, Debug)]
pub struct BufferOptions {
    /// The log's own directory; created if it is not there. Nothing else may live in it.
    pub dir: PathBuf,
    /// Appending waits while this many bytes of transactions are not released. Exceeded by at most one transaction
    /// per appending thread, and by what holds and open transactions pin.
    pub limit_bytes: u64,
    /// A segment is closed when it has this many bytes; never more than a quarter of the limit.
    pub segment_bytes: u64,
    /// A transaction of more bytes is written while it arrives.
    pub spill_bytes: usize,
    /// How long, by their commit times, seqs of released transactions can still be looked up; zero: not at all.
    pub history: Duration,
}

impl BufferOptions {
    /// Defaults: 4 GiB limit, 64 MiB segments, transactions above 1 MiB are written while they arrive, no history.
    pub fn new(dir: impl Into<PathBuf>) -> BufferOptions {
        BufferOptions {
            dir: dir.into(),
            limit_bytes: 4 << 30,
            segment_bytes: 64 << 20,
            spill_bytes: 1 << 20,
            history: Duration::ZERO,
        }
    }
}
