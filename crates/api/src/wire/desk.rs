//! Messages between an engine and its writer in another process, beside those of writing.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidelake_core::{CommitSeq, SourcePosition};

use super::fleet::Before;
use crate::errors::WireError;

/// `begin_writer`: takes over writing, before `open_writer` of the same epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginWriter {
    /// The writer's epoch.
    pub epoch: u64,
    /// Names the writer's Data Buffer, whose seqs the engine's are.
    pub lineage: String,
    /// That buffer is empty, and will begin where the engine is durable once this is answered.
    #[serde(default)]
    pub anew: bool,
    /// Buffers whose seqs are that buffer's too, as far as each says: an engine that has one of them goes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Before>,
}

/// `tell`: what the engine's process needs to know of the upstream to serve readers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tell {
    /// The writer's epoch.
    pub epoch: u64,
    /// Tables that stopped for a re-sync come back by a copy.
    pub copies: bool,
    /// What SQL sessions take from the upstream; for calculators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Value>,
    /// Whatever any reader ever saw is published at this seq; absent while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<CommitSeq>,
}

/// The answer to `about`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// What the writer told of the upstream, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Value>,
    /// Why readers would have to wait for now, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// What a latch asks the writer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// The seq that covers what upstream has committed now.
    Latest,
    /// The seq that covers a position.
    SeqOf(SourcePosition),
    /// The seq that shows a time, microseconds since 1970 UTC.
    SeqAtTime(i64),
    /// The seq that shows a position.
    SeqAtPosition(SourcePosition),
}

/// One of the answers of `tidelake.questions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// To be named in the answer.
    pub id: u64,
    /// The question.
    pub question: Question,
}

/// `answer`: to one question; its seq, or why there is none. Neither: nothing is known of the moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The writer's epoch.
    pub epoch: u64,
    /// Which question.
    pub id: u64,
    /// The seq.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<CommitSeq>,
    /// The error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WireError>,
}
