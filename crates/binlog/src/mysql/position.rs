//! Places in a MySQL or MariaDB binlog, as they stand in a [`SourcePosition`]'s token.

use serde::{Deserialize, Serialize};
use tidelake_core::{Error, Result, SourcePosition};

/// The token of a [`SourcePosition`]: JSON such as `{"file":"mariadb-bin.000003","pos":1234,"gtid":"0-1-55","born":1700000000}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinlogPosition {
    /// Name of the binlog file, without directory.
    pub file: String,
    /// Offset right after the last event, 64 bits.
    pub pos: u64,
    /// The GTID state here: MariaDB one GTID a domain (`0-1-55,7-1-3`), MySQL a set; empty if there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gtid: String,
    /// When this file was begun, seconds since 1970 UTC, as its own first event says; 0 if unknown. A server that was
    /// reset, restored or replaced may have a file of the same name and offsets, but not one that began in that second.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub born: u32,
    /// Where reading must start again instead, if XA transactions are prepared here: right before the oldest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Box<BinlogPosition>>,
}

impl BinlogPosition {
    /// The place that a source's position names.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the token is of another kind of source.
    pub fn parse(position: &SourcePosition) -> Result<BinlogPosition> {
        serde_json::from_str(&position.token)
            .map_err(|e| Error::Invalid(format!("{:?} is no position in a binlog: {e}", position.token)))
    }

    /// The position of a source; `commit_time_us` are microseconds since 1970 UTC.
    #[must_use]
    pub fn to_source(&self, commit_time_us: i64) -> SourcePosition {
        let token = serde_json::to_string(self).expect("strings and numbers have a JSON form");
        SourcePosition { major: file_number(&self.file), minor: self.pos, token, commit_time_us }
    }

    /// Where reading must start to continue after this place.
    #[must_use]
    pub fn read_from(&self) -> &BinlogPosition {
        self.from.as_deref().unwrap_or(self)
    }
}

impl std::fmt::Display for BinlogPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.pos)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The number of a binlog file: the digits after its last dot; 0 without.
#[must_use]
pub fn file_number(name: &str) -> u64 {
    name.rsplit('.').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
