//! Messages of a latch in a process of its own: what engines report to it, and what a writer asks of it.

use serde::{Deserialize, Serialize};
use tidelake_core::ports::store::Progress;
use tidelake_core::{CommitSeq, TableName};

/// `report`: how far an engine is. Said at each change, and every now and then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireReport {
    /// The engine's name, the same over all its starts.
    pub engine: String,
    /// A name that it has until its process ends.
    pub instance: String,
    /// Where it listens, for people.
    pub address: String,
    /// The buffer whose seqs it has; absent: it has none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    /// Newest published.
    pub published: Progress,
    /// Newest durable.
    pub durable: CommitSeq,
    /// Oldest readable.
    pub horizon: CommitSeq,
    /// At what is published, a table whose copy is still to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaiting: Option<TableName>,
}

/// The answer to `report`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// How many times a latch began to lead: an engine obeys none of an older term.
    pub term: u64,
    /// Versions that only snapshots below can see may go.
    pub horizon: CommitSeq,
}

/// A buffer that another one took over from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Its lineage.
    pub lineage: String,
    /// Up to here its seqs are those of every later one.
    pub upto: CommitSeq,
}

/// The answer to `lineage`, and to a latch's `begin_writer` and `take_over`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineages {
    /// The buffer whose seqs count; absent: none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    /// Those before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Before>,
}

/// `take_over`: a new buffer begins where an older one was at a seq that is durable in the engines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeOver {
    /// The writer's epoch.
    pub epoch: u64,
    /// The new buffer.
    pub lineage: String,
    /// What `lineage` answered before: nothing is done if it is another one by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<String>,
    /// The buffer whose seqs the engines have; absent: they are empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Where they are.
    pub at: CommitSeq,
}

/// `forget`: an engine that was taken away for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forget {
    /// Its name.
    pub engine: String,
}

/// The answer to `forget`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The engines that the latch knows still.
    pub engines: Vec<String>,
}

/// `grant_writer`: an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantWriter {
    /// Only to a writer of the buffer that counts, if this is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
}
