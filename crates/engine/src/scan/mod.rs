//! Scans: a plan lists the parts of a table that a snapshot needs; a split reads one part, the same rows
//! whenever it is read.

mod bounds;
mod buffers;
mod lookup;
mod memory;
pub(crate) mod plan;
mod prune;
pub(crate) mod read;
mod rows;
pub(crate) mod split;
mod stream;

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What a split reads. Travels as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "lowercase")]
pub(crate) enum Part {
    /// Rows of a memtable generation born in `from..to`; after a flush they are in that generation's file.
    Memory {
        generation: u64,
        from: u64,
        to: u64,
        /// The split's predicates name whole keys: only rows of these.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        keyed: bool,
    },
    /// Row groups of a file.
    File {
        file: u64,
        groups: Vec<usize>,
        /// Of the one group only the rows at these places; none: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        span: Option<Range<u32>>,
        /// Only these rows, ascending; none: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows: Option<Vec<u32>>,
        /// As many rows are enough.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<usize>,
    },
}
