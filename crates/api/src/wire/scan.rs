//! Messages of scans: what is asked, and the splits that are answered.

use serde::{Deserialize, Serialize};
use tidelake_core::ports::{ScanRequest, ScanSplit};
use tidelake_core::{ColumnId, CommitSeq, Result, TableId};

use super::value::{WireBounds, WirePredicate};

/// Bytes of a batch that is sent: one message (many clients take no more than 4 MiB), and few enough for a processor's caches.
const BATCH: usize = 5 << 19;

/// A scan: the command of `GetFlightInfo`, and `plan` over HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The lease; without one, the seq is read as long as it happens to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// The lineage that a latch in a process of its own gave with the lease; then the engine has no lease to be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    /// The seq; with a lease, its own.
    pub seq: CommitSeq,
    /// The table.
    pub table: TableId,
    /// Columns, in this order; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<ColumnId>>,
    /// All must hold; for pruning: rows that do not match may come too.
    #[serde(default)]
    pub predicates: Vec<WirePredicate>,
    /// So many rows are enough (of those that match).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How many splits are wanted.
    pub splits: u32,
}

impl Plan {
    /// What a store engine is asked, under a lease of its own latch.
    #[must_use]
    pub fn of(request: &ScanRequest, lease: Option<String>) -> Plan {
        Plan {
            lease,
            lineage: None,
            seq: request.seq,
            table: request.table,
            columns: request.projection.clone(),
            predicates: request.predicates.iter().map(WirePredicate::from).collect(),
            limit: request.limit.map(|n| n as u64),
            splits: u32::try_from(request.target_splits).unwrap_or(u32::MAX),
        }
    }

    /// The same for a store engine.
    ///
    /// # Errors
    /// [`Error::Invalid`](tidelake_core::Error::Invalid) for values that are none.
    pub fn request(&self) -> Result<ScanRequest> {
        Ok(ScanRequest {
            seq: self.seq,
            lease: None,
            table: self.table,
            projection: self.columns.clone(),
            predicates: self.predicates.iter().map(WirePredicate::predicate).collect::<Result<_>>()?,
            limit: self.limit.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            target_splits: self.splits.clamp(1, 1 << 16) as usize,
            text_views: false,
        })
    }
}

/// A planned scan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// Parts to read, each once.
    pub splits: Vec<Split>,
    /// Exact number of live rows over all splits, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact_rows: Option<u64>,
    /// Per column of the result what is known of its values; empty if nothing is.
    #[serde(default)]
    pub bounds: Vec<Option<WireBounds>>,
}

/// A split: what a ticket of `DoGet` and the body of `split` over HTTP hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The lease of the plan; every reading checks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// The lineage of the plan; every reading checks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    /// The snapshot.
    pub seq: CommitSeq,
    /// The table.
    pub table: TableId,
    /// Columns, in order.
    pub columns: Vec<ColumnId>,
    /// For pruning within the split.
    #[serde(default)]
    pub predicates: Vec<WirePredicate>,
    /// The engine's own description of the part.
    pub part: String,
    /// Estimated rows.
    pub rows: u64,
    /// Estimated bytes.
    pub bytes: u64,
}

impl Split {
    /// A split of a plan made under a lease.
    #[must_use]
    pub fn of(split: &ScanSplit, lease: Option<String>) -> Split {
        Split {
            lease,
            lineage: None,
            seq: split.seq,
            table: split.table,
            columns: split.columns.clone(),
            predicates: split.predicates.iter().map(WirePredicate::from).collect(),
            part: split.part.clone(),
            rows: split.rows,
            bytes: split.bytes,
        }
    }

    /// The same for an engine.
    ///
    /// # Errors
    /// [`Error::Invalid`](tidelake_core::Error::Invalid) for values that are none.
    pub fn split(&self) -> Result<ScanSplit> {
        Ok(ScanSplit {
            seq: self.seq,
            table: self.table,
            columns: self.columns.clone(),
            predicates: self.predicates.iter().map(WirePredicate::predicate).collect::<Result<_>>()?,
            part: self.part.clone(),
            text_views: false,
            batch_bytes: BATCH,
            rows: self.rows,
            bytes: self.bytes,
        })
    }
}
