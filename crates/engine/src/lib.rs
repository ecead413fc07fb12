//! The Magic Engine: columnar storage of many row versions, read at any recent seq.
//!
//! A row version has one *birth* and at most one *death*, both seqs. It is born into the *memtable* of its table (a
//! *generation* of Arrow chunks), is readable as soon as its seq is published, and moves to a Parquet file with
//! the next *flush*. A delete finds its row when it is written and records the death beside it; a scan at `seq`
//! only leaves out rows that were born later or are dead by then, and never merges or sorts.
//!
//! There is no log: the Data Buffer keeps everything after `durable()`, and one *manifest edit* per flush makes
//! files, deaths, catalog, seq and position durable together. `docs/engine.md` describes the files.
//!
//! Rooms: `memory` generations, chunks, key indexes; `pki` keys of files on disk; `manifest` the log of
//! edits; `stage`, `schema` what a writer does; `flush`, `spill`, `compact`, `recovery` what makes it last; `scan` reading;
//! `stats`, `scrub` what is there, and whether it is whole; `storage` where the files are.

mod adapt;
mod compact;
mod deaths;
mod engine;
mod extent;
mod fault;
mod file;
mod flush;
mod hash;
mod keys;
mod manifest;
mod memory;
mod meters;
mod options;
mod parquet_file;
#[doc(hidden)]
pub mod parts;
mod pki;
mod recovery;
mod scan;
mod schema;
mod scrub;
mod spill;
mod stage;
mod stats;
mod storage;
mod table;
mod worth;
mod writer;

pub use engine::MagicEngine;
#[doc(hidden)]
pub use fault::Faults;
pub use options::{Compression, EngineOptions};
pub use scrub::{ScrubReport, scrub};
pub use stats::{EngineStats, LevelFigures, TableFigures, stats_of_directory};
pub use storage::ObjectPlace;

/// Entry points for tests that feed the decoders of bytes from disk with garbage.
#[doc(hidden)]
pub mod decoders {
    pub use crate::deaths::decode_deaths;
    pub use crate::manifest::read_manifest;
    pub use crate::pki::Pki;
}
