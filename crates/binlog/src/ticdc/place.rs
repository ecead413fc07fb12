//! Places in TiDB's history: a commit-ts, as it stands in a [`SourcePosition`]'s token.

use serde::{Deserialize, Serialize};
use tidelake_core::{Error, Result, SourcePosition};

use super::databases::Databases;

/// Microseconds since 1970 UTC at which a TSO was given out (its upper bits are milliseconds).
#[must_use]
pub fn time_us(tso: u64) -> i64 {
    i64::try_from(tso >> 18).unwrap_or(0).saturating_mul(1000)
}

/// The token of a [`SourcePosition`]: JSON such as `{"tso":441349361156227074}`. Every row at or before `tso` was taken, every
/// DDL before it, and those DDLs at `tso` itself whose hashes are in `ddl`: TiCDC may send a DDL after the watermark that equals its
/// commit-ts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedPlace {
    /// The commit-ts.
    pub tso: u64,
    /// What was taken of the DDLs at exactly this commit-ts, in order, as [`ddl_hash`] in hex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ddl: Vec<String>,
    /// Kafka: the offset from which each partition is read again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<i64>,
    /// What the feed has told of databases up to here.
    #[serde(default, skip_serializing_if = "Databases::is_empty")]
    pub databases: Databases,
    /// The tables are to be copied as of `tso` before anything of the feed is read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copying: bool,
    /// The tables were copied as of `tso`: every DDL at it was taken too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copied: bool,
}

/// Of a place where the tables were copied: behind everything else at its commit-ts.
const COPIED: u64 = u32::MAX as u64;

impl FeedPlace {
    /// Right after everything with this commit-ts but its DDLs.
    #[must_use]
    pub fn at(tso: u64) -> FeedPlace {
        FeedPlace { tso, ..FeedPlace::default() }
    }

    /// Before a copy of the tables as of this TSO.
    #[must_use]
    pub fn copying(tso: u64) -> FeedPlace {
        FeedPlace { copying: true, ..FeedPlace::at(tso) }
    }

    /// Right after that copy: what the feed has of this commit-ts or before it is in the copied rows.
    #[must_use]
    pub fn copied(tso: u64) -> FeedPlace {
        FeedPlace { copied: true, ..FeedPlace::at(tso) }
    }

    /// The place in a feed that a source's position names.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the token is of another kind of source, or a copy must come first.
    pub fn parse(position: &SourcePosition) -> Result<FeedPlace> {
        let place = FeedPlace::parse_any(position)?;
        if place.copying {
            return Err(Error::Invalid(format!(
                "the copy of the tables as of TSO {} is not finished: start with the same --copy-from again",
                place.tso
            )));
        }
        Ok(place)
    }

    /// The same, also of a place before a copy.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the token is of another kind of source.
    pub fn parse_any(position: &SourcePosition) -> Result<FeedPlace> {
        serde_json::from_str(&position.token)
            .map_err(|e| Error::Invalid(format!("{:?} is no position in a feed of TiDB: {e}", position.token)))
    }

    /// The position of a source: ordered by commit-ts, then by the DDLs taken at it.
    #[must_use]
    pub fn to_source(&self) -> SourcePosition {
        let token = serde_json::to_string(self).expect("strings and numbers have a JSON form");
        let minor = if self.copied { COPIED } else { self.ddl.len() as u64 };
        SourcePosition { major: self.tso, minor, token, commit_time_us: time_us(self.tso) }
    }
}

/// What a DDL at one commit-ts is known again by (FNV-1a): several partitions carry the same one.
#[must_use]
pub fn ddl_hash(query: &str) -> u64 {
    query.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tso_has_a_time() {
        // the real watermark message of TiCDC v8.5.8 has "es":1790519926702
        assert_eq!(time_us(469_374_055_665_369_095), 1_790_519_926_702_000);
    }

    #[test]
    fn places_go_through_positions() {
        let place = FeedPlace { ddl: vec!["a".into()], offsets: vec![3], ..FeedPlace::at(7) };
        let position = place.to_source();
        assert_eq!(position.order(), (7, 1));
        assert_eq!(FeedPlace::parse(&position).expect("parses"), place);
        assert!(position.covers(&FeedPlace::at(7).to_source()));
        let other = SourcePosition { token: r#"{"file":"a","pos":4}"#.into(), ..SourcePosition::default() };
        assert!(FeedPlace::parse(&other).is_err());
    }

    #[test]
    fn a_copy_comes_before_the_feed() {
        let (before, after) = (FeedPlace::copying(7).to_source(), FeedPlace::copied(7).to_source());
        assert!(FeedPlace::parse(&before).unwrap_err().to_string().contains("--copy-from"));
        assert_eq!(FeedPlace::parse_any(&before).expect("parses"), FeedPlace::copying(7));
        assert_eq!(FeedPlace::parse(&after).expect("parses"), FeedPlace::copied(7));
        assert!(after.covers(&before) && !before.covers(&after));
        assert!(FeedPlace::at(8).to_source().covers(&after));
    }
}
