//! Places in a MySQL or MariaDB binlog, as they stand in a [`SourcePosition`]'s token.

use std::fmt::Write;

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
    /// The server id in the same event: who wrote the file. 0 if unknown; then `gtid` may not be exactly what was committed here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub by: u32,
    /// When the newest transaction before this place was made, as all servers that have it tell it: microseconds since 1970
    /// UTC of its commit (MySQL since 8.0), else of its first statement, in whole seconds; 0 if unknown.
    #[serde(default, skip_serializing_if = "is_none")]
    pub stamp: i64,
    /// How often the replica moved to another server before it read this; each has files and offsets of its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moves: u32,
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
        let mut token = String::with_capacity(64 + self.file.len() + self.gtid.len());
        self.write_token(&mut token);
        let (major, minor) = self.order();
        SourcePosition { major, minor, token, commit_time_us }
    }

    /// The order over all servers that were followed, one after the other.
    #[must_use]
    pub fn order(&self) -> (u64, u64) {
        (major(self.moves, &self.file), self.pos)
    }

    /// The JSON form, as `Serialize` has it; every transaction needs one, so it is written by hand.
    fn write_token(&self, out: &mut String) {
        out.push_str("{\"file\":");
        write_string(&self.file, out);
        let _ = write!(out, ",\"pos\":{}", self.pos);
        if !self.gtid.is_empty() {
            out.push_str(",\"gtid\":");
            write_string(&self.gtid, out);
        }
        if self.born != 0 {
            let _ = write!(out, ",\"born\":{}", self.born);
        }
        if self.by != 0 {
            let _ = write!(out, ",\"by\":{}", self.by);
        }
        if self.stamp != 0 {
            let _ = write!(out, ",\"stamp\":{}", self.stamp);
        }
        if self.moves != 0 {
            let _ = write!(out, ",\"moves\":{}", self.moves);
        }
        if let Some(from) = &self.from {
            out.push_str(",\"from\":");
            from.write_token(out);
        }
        out.push('}');
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(stamp: &i64) -> bool {
    *stamp == 0
}

/// The first part of the order of positions: a file of the server that was moved to after `moves` moves. Servers number their
/// files in 31 bits.
#[must_use]
pub fn major(moves: u32, file: &str) -> u64 {
    (u64::from(moves) << 32).saturating_add(file_number(file))
}

/// The number of a binlog file: the digits after its last dot; 0 without.
#[must_use]
pub fn file_number(name: &str) -> u64 {
    name.rsplit('.').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// A JSON string.
fn write_string(text: &str, out: &mut String) {
    if text.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b'"' && b != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::to_string(text).expect("a string has a JSON form"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_json_form() {
        let place = |file: &str, gtid: &str, born| BinlogPosition {
            file: file.to_owned(),
            pos: 4_294_967_300,
            gtid: gtid.to_owned(),
            born,
            by: born / 2,
            stamp: i64::from(born) * 1_000_000,
            ..BinlogPosition::default()
        };
        let mut resumed = place("binlog.000003", "0-1-55,7-1-3", 1_700_000_000);
        resumed.from = Some(Box::new(place("binlog.000001", "", 0)));
        resumed.moves = 3;
        assert_eq!(resumed.to_source(0).order(), (3 << 32 | 3, resumed.pos));
        for position in [place("", "", 0), place("a \"b\\ \u{1}é.000009", "x", 1), resumed] {
            let source = position.to_source(5);
            assert_eq!(source.token, serde_json::to_string(&position).expect("a JSON form"));
            assert_eq!(BinlogPosition::parse(&source).expect("parses"), position);
        }
    }
}
