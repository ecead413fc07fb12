//! Numbers that must not be mistaken for one another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// The replica's own commit order: dense, monotonic, assigned by the Data Buffer. `0` is "before the
    /// first transaction". One upstream transaction has one `CommitSeq`; so has one control record.
    CommitSeq(u64)
}
number! {
    /// A table for its whole life in the replica, across renames and schema changes. Never reused.
    TableId(u64)
}
number! {
    /// A column for its whole life: also the Parquet and Iceberg field id. Never reused within a table.
    ColumnId(i32)
}
number! {
    /// Fencing token: an engine refuses a writer of an older epoch.
    WriterEpoch(u64)
}

impl CommitSeq {
    /// Before the first transaction.
    pub const ZERO: CommitSeq = CommitSeq(0);
    /// Later than every transaction: the death of a row version that lives.
    pub const MAX: CommitSeq = CommitSeq(u64::MAX);

    /// The seq that follows this one.
    #[must_use]
    pub fn next(self) -> CommitSeq {
        CommitSeq(self.0 + 1)
    }
}
