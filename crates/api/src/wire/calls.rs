//! Messages of calls: leases, the catalog, progress, and those of a writer.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidelake_core::ports::Freshness;
use tidelake_core::ports::store::Progress;
use tidelake_core::{Catalog, CommitSeq, Moment, SchemaChange, SourcePosition, TableId};

/// How fresh a snapshot must be: [`Freshness`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WireFreshness {
    /// What is published now.
    Any,
    /// Everything that upstream has committed.
    Latest,
    /// At least everything up to a position.
    AtLeast(SourcePosition),
    /// Exactly this seq.
    AtSeq(CommitSeq),
    /// What upstream had at a time, microseconds since 1970 UTC.
    AtTime(i64),
    /// What upstream had right after a position.
    AtPosition(SourcePosition),
}

impl From<Freshness> for WireFreshness {
    fn from(freshness: Freshness) -> WireFreshness {
        match freshness {
            Freshness::Any => WireFreshness::Any,
            Freshness::Latest => WireFreshness::Latest,
            Freshness::AtLeast(position) => WireFreshness::AtLeast(position),
            Freshness::AtSeq(seq) => WireFreshness::AtSeq(seq),
            Freshness::At(Moment::Time(us)) => WireFreshness::AtTime(us),
            Freshness::At(Moment::Position(position)) => WireFreshness::AtPosition(position),
        }
    }
}

impl From<WireFreshness> for Freshness {
    fn from(freshness: WireFreshness) -> Freshness {
        match freshness {
            WireFreshness::Any => Freshness::Any,
            WireFreshness::Latest => Freshness::Latest,
            WireFreshness::AtLeast(position) => Freshness::AtLeast(position),
            WireFreshness::AtSeq(seq) => Freshness::AtSeq(seq),
            WireFreshness::AtTime(us) => Freshness::At(Moment::Time(us)),
            WireFreshness::AtPosition(position) => Freshness::At(Moment::Position(position)),
        }
    }
}

/// `acquire`: a lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acquire {
    /// How fresh.
    pub freshness: WireFreshness,
    /// How long it lives without a renewal, milliseconds.
    pub ttl_ms: u64,
    /// How long to wait for the freshness at most, milliseconds.
    pub wait_ms: u64,
}

/// The answer to `acquire`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leased {
    /// Names the lease; cannot be guessed.
    pub lease: String,
    /// The pinned seq.
    pub seq: CommitSeq,
    /// How long it lives, milliseconds: what was asked, or the server's most.
    pub ttl_ms: u64,
    /// Of a latch in a process of its own: the buffer whose seq it is, for the plans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    /// Of such a latch: how many times one began to lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
}

/// `renew`: a lease lives on for so long from now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// Which.
    pub lease: String,
    /// Milliseconds.
    pub ttl_ms: u64,
}

/// `check` and `release`: a lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfLease {
    /// Which.
    pub lease: String,
}

/// `catalog`: all tables right after a seq.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfCatalog {
    /// Which seq.
    pub seq: CommitSeq,
    /// A seq whose catalog the client has: if it is the same, it is not sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<CommitSeq>,
}

/// The answer to `catalog`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogs {
    /// Absent: that of the known seq.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<Arc<Catalog>>,
}

/// `set_horizon`, and what is answered with a seq.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfSeq {
    /// Which.
    pub seq: CommitSeq,
}

/// `table_stats`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfTable {
    /// Which.
    pub table: TableId,
}

/// The answer to `progress`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progresses {
    /// A name that the engine has until its process ends.
    pub engine: String,
    /// The newest published seq.
    pub published: Progress,
    /// The newest durable seq.
    pub durable: Progress,
    /// The oldest readable seq.
    pub horizon: CommitSeq,
    /// Bytes of published rows that are not durable.
    pub unflushed_bytes: u64,
    /// The buffer whose seqs these are, if the engine is at a latch of another process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    /// Of a latch in a process of its own: how many times one began to lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
}

/// `open_writer`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfEpoch {
    /// The writer's epoch.
    pub epoch: u64,
}

/// The command of `DoPut`: rows of one table follow, with the columns `_seq` (UInt64) and `_op` (UInt8) behind those of the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The writer's epoch.
    pub epoch: u64,
    /// The table.
    pub table: TableId,
    /// The version of its definition.
    pub version: u32,
}

/// `stage_schema`: a step of the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSchema {
    /// The writer's epoch.
    pub epoch: u64,
    /// Its seq.
    pub seq: CommitSeq,
    /// What changes.
    pub change: SchemaChange,
}

/// `publish`: everything staged becomes visible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The writer's epoch.
    pub epoch: u64,
    /// The newest seq.
    pub upto: CommitSeq,
    /// The upstream's position right after it.
    pub position: SourcePosition,
}
