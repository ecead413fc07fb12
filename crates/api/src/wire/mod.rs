//! What goes over the wire: JSON of these types, each message with the version `v` in it. Rows are Arrow IPC.
//!
//! `docs/magic-api.md` describes them for people who write a client; `tests/wire.rs` holds an example of each, so that a change
//! is seen. Unknown fields are errors: whoever sends something that is not understood must not be answered as if it were.

//!
//! Rooms: `calls` leases, catalog, writing; `desk` what a writer elsewhere tells and is asked; `fleet` several engines at one latch; `scan` plans and splits; `value` cells, conditions and bounds.

mod calls;
mod desk;
mod fleet;
mod scan;
mod value;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidelake_core::{Error, Result};

pub use calls::{
    Acquire, Catalogs, Leased, OfCatalog, OfEpoch, OfLease, OfSeq, OfTable, Progresses, Publish, Renew, Stage,
    StageSchema, WireFreshness,
};
pub use desk::{About, Answer, Asked, BeginWriter, Question, Tell};
pub use fleet::{Before, Forget, GrantWriter, Known, Lineages, Reported, TakeOver, WireReport};
pub use scan::{Plan, Planned, Split};
pub use value::{WireBounds, WireCell, WirePredicate, to_hex};

/// The version of the API that this build speaks.
pub const VERSION: u32 = 1;
/// A ticket or descriptor that begins so is of the Magic API; what follows is JSON.
pub const PREFIX: &[u8] = b"tidelake:";
/// Longest request in bytes, rows aside.
pub const MAX_REQUEST: usize = 4 << 20;

/// Any request or reply, with the version it is written in.
#[derive(Debug, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// [`VERSION`].
    pub v: u32,
    /// The message.
    #[serde(flatten)]
    pub message: T,
}

/// A message as JSON.
///
/// # Errors
/// [`Error::Internal`] for what has no JSON form.
pub fn encode<T: Serialize>(message: T) -> Result<Vec<u8>> {
    let versioned = Versioned { v: VERSION, message };
    serde_json::to_vec(&versioned).map_err(|e| Error::Internal(format!("encode a message of the Magic API: {e}")))
}

/// A message from JSON, of a peer that is not trusted.
///
/// # Errors
/// [`Error::Invalid`] for another version, something longer than [`MAX_REQUEST`], or what is no such message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    if bytes.len() > MAX_REQUEST {
        return Err(Error::Invalid(format!("a request of {} bytes; at most {MAX_REQUEST} are taken", bytes.len())));
    }
    decode_answer(bytes)
}

/// An answer of the server; the catalog of many tables may be long.
///
/// # Errors
/// As for [`decode`], length aside.
pub fn decode_answer<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let wrong =
        |e: serde_json::Error| Error::Invalid(format!("not a message of the Magic API, version {VERSION}: {e}"));
    let mut message: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes).map_err(wrong)?;
    match message.remove("v") {
        Some(v) if v == VERSION => serde_json::from_value(message.into()).map_err(wrong),
        Some(v) => Err(Error::Invalid(format!("version {v} of the Magic API; this build speaks {VERSION}"))),
        None => Err(Error::Invalid(format!("a message without its version: \"v\":{VERSION}"))),
    }
}

/// A message as bytes of a ticket or descriptor.
///
/// # Errors
/// As for [`encode`].
pub fn ticket<T: Serialize>(message: T) -> Result<Vec<u8>> {
    Ok([PREFIX, &encode(message)?].concat())
}

/// A message from bytes of a ticket or descriptor; `None` if they are of something else.
///
/// # Errors
/// As for [`decode`].
pub fn from_ticket<T: DeserializeOwned>(bytes: &[u8]) -> Option<Result<T>> {
    bytes.strip_prefix(PREFIX).map(decode)
}

/// Nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}
