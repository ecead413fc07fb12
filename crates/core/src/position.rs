//! Where a source would resume.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A place in the upstream's bin log, right after a transaction (or after other events that were read).
///
/// `token` is opaque outside the source that made it. `major` and `minor` order positions of one upstream
/// history (binlog: file number and byte offset; TiDB: commit-ts and 0). A place that a person names in the upstream's own
/// words has no order here: see [`SourcePosition::named`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourcePosition {
    /// First part of the order within one upstream history.
    pub major: u64,
    /// Second part of the order within one upstream history.
    pub minor: u64,
    /// What the source needs to resume here; JSON by convention, opaque outside the source.
    pub token: String,
    /// The upstream's commit time, microseconds since 1970 UTC; 0 if unknown. Not part of the order.
    pub commit_time_us: i64,
}

impl SourcePosition {
    /// A place as the upstream names it, such as a set of GTIDs: only the source knows whether it was read
    /// ([`Source::has_read`](crate::ports::Source::has_read)).
    #[must_use]
    pub fn named(words: impl Into<String>) -> SourcePosition {
        SourcePosition { token: words.into(), ..SourcePosition::default() }
    }

    /// The words of [`SourcePosition::named`]; tokens that sources make are JSON.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let is_named = self.order() == (0, 0) && !self.token.is_empty() && !self.token.starts_with('{');
        is_named.then_some(self.token.as_str())
    }

    /// The order within one upstream history, as a pair.
    #[must_use]
    pub fn order(&self) -> (u64, u64) {
        (self.major, self.minor)
    }

    /// True if everything before `wanted` is also before `self`.
    #[must_use]
    pub fn covers(&self, wanted: &SourcePosition) -> bool {
        self.order() >= wanted.order()
    }

    /// False for the default: before everything, or not told. The commit time does not count.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.order() != (0, 0) || !self.token.is_empty()
    }

    /// Compares by the order within one upstream history only.
    #[must_use]
    pub fn cmp_order(&self, other: &SourcePosition) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl std::fmt::Display for SourcePosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.token.is_empty() { write!(f, "{}:{}", self.major, self.minor) } else { f.write_str(&self.token) }
    }
}
