//! Scans: a plan lists the parts of a table that a snapshot needs; a split reads one part, the same rows
//! whenever it is read.

mod lookup;
pub(crate) mod plan;
mod prune;
pub(crate) mod read;

use serde::{Deserialize, Serialize};

/// What a split reads. Travels as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "lowercase")]
pub(crate) enum Part {
    /// Rows of a memtable generation born in `from..to`; after a flush they are in that generation's file.
    Memory { generation: u64, from: u64, to: u64 },
    /// Row groups of a file.
    File {
        file: u64,
        groups: Vec<usize>,
        /// Only these rows, ascending; none: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows: Option<Vec<u32>>,
    },
}
