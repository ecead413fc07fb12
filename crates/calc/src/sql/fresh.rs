//! Values of `tidelake_freshness`: how new a statement's snapshot must be.

use tidelake_core::SourcePosition;
use tidelake_core::ports::Freshness;
use tidelake_core::types::text::ServerFlavor;

/// What stands before a place.
const AT_LEAST: &str = "at_least:";

/// True for a text that can be a value.
pub(crate) fn is_value(text: &str) -> bool {
    matches!(text, "any" | "latest") || text.strip_prefix(AT_LEAST).is_some_and(|place| !place.trim().is_empty())
}

/// What is asked of the latch; `None`: the text names no place of such an upstream.
///
/// TiDB's places are TSOs. Those of MySQL and MariaDB are GTIDs or a file and an offset, which only the source understands.
pub(crate) fn freshness(text: &str, flavor: ServerFlavor) -> Option<Freshness> {
    let Some(place) = text.strip_prefix(AT_LEAST).map(str::trim) else {
        return Some(if text == "latest" { Freshness::Latest } else { Freshness::Any });
    };
    if flavor != ServerFlavor::TiDb {
        return Some(Freshness::AtLeast(SourcePosition::named(place)));
    }
    let tso: u64 = place.parse().ok().filter(|tso| *tso > 0)?;
    let (token, commit_time_us) = (format!("TSO {tso}"), 0);
    Some(Freshness::AtLeast(SourcePosition { major: tso, minor: 0, token, commit_time_us }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for good in ["any", "latest", "at_least:0-1-55", "at_least: binlog.000003:1234"] {
            assert!(is_value(good), "{good}");
        }
        for wrong in ["soon", "at_least", "at_least:", "at_least: ", "at_most:1"] {
            assert!(!is_value(wrong), "{wrong}");
        }
        let of = |text| freshness(text, ServerFlavor::TiDb);
        let Some(Freshness::AtLeast(position)) = of("at_least: 441349361156227074") else { panic!("a TSO") };
        assert_eq!((position.order(), position.name()), ((441_349_361_156_227_074, 0), None));
        assert_eq!(position.to_string(), "TSO 441349361156227074");
        assert_eq!((of("at_least:0-1-55"), of("at_least:0"), of("any")), (None, None, Some(Freshness::Any)));
        let Some(Freshness::AtLeast(named)) = freshness("at_least:0-1-55", ServerFlavor::MariaDb) else {
            panic!("a named place")
        };
        assert_eq!(named.name(), Some("0-1-55"));
    }
}
