//! Places in a MySQL or MariaDB binlog as people name them: GTIDs (`0-1-55`, `uuid:1-5`), or a file and an offset
//! (`binlog.000003:1234`), as SHOW MASTER STATUS has them.

use tidelake_core::{Error, Result, SourcePosition};

use super::gtid::GtidState;
use super::position::{BinlogPosition, major};

/// A named place.
enum Named {
    Gtids(GtidState),
    File { name: String, pos: u64 },
}

impl Named {
    fn parse(words: &str) -> Result<Named> {
        if let Ok(state) = GtidState::parse(words)
            && !state.is_empty()
        {
            return Ok(Named::Gtids(state));
        }
        let file = words.rsplit_once(':').and_then(|(name, pos)| Some((name.trim(), pos.trim().parse().ok()?)));
        match file.filter(|(name, _)| numbered(name).is_some()) {
            Some((name, pos)) => Ok(Named::File { name: name.to_owned(), pos }),
            None => Err(Error::Invalid(format!(
                "{words:?} is no place in a binlog: write GTIDs, or FILE:OFFSET as SHOW MASTER STATUS (SHOW BINARY LOG STATUS) says them"
            ))),
        }
    }
}

/// The name of a binlog file without its number.
fn numbered(name: &str) -> Option<&str> {
    let (base, digits) = name.rsplit_once('.')?;
    (!base.is_empty() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(base)
}

/// [`Source::has_read`](tidelake_core::ports::Source::has_read) of sources that read binlogs. A file is one of the server that
/// is followed at `read`.
///
/// # Errors
/// [`Error::Invalid`] for words that name no place, or a file of another name.
pub fn has_read(read: &SourcePosition, wanted: &SourcePosition) -> Result<bool> {
    let Some(words) = wanted.name() else { return Ok(read.covers(wanted)) };
    let (named, read) = (Named::parse(words)?, BinlogPosition::parse(read)?);
    match named {
        Named::Gtids(asked) => {
            let state = GtidState::parse(&read.gtid);
            Ok(state.map_err(|e| e.at(format!("the GTIDs at {read}")))?.has(&asked))
        }
        Named::File { name, pos } => {
            if let Some(base) = numbered(&read.file).filter(|base| numbered(&name) != Some(base)) {
                return Err(Error::Invalid(format!(
                    "{name} is no binlog file of this upstream: its files are called {base}.NNNNNN"
                )));
            }
            Ok(read.order() >= (major(read.moves, &name), pos))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str, pos: u64, gtid: &str) -> SourcePosition {
        let (file, gtid) = (file.to_owned(), gtid.to_owned());
        BinlogPosition { file, pos, gtid, moves: 2, ..BinlogPosition::default() }.to_source(0)
    }

    #[test]
    fn gtids_are_read_when_all_of_them_are() {
        let uuid = "3E11FA47-71CA-11E1-9E33-C80AA9429562";
        let mysql = |at: &str| at.split(',').map(|part| format!("{uuid}:{part}")).collect::<Vec<_>>().join(",");
        for (at, asked, is_read) in [
            ("0-1-55,7-2-3".to_owned(), "0-1-55".to_owned(), true),
            ("0-1-55,7-2-3".into(), "0-1-56".into(), false),
            ("0-1-55,7-2-3".into(), "7-2-3,0-1-2".into(), true),
            ("0-1-55".into(), "0-1-55,7-2-1".into(), false),
            // another server committed later in the same domain
            ("0-2-56".into(), "0-1-55".into(), true),
            (String::new(), "0-1-1".into(), false),
            (mysql("1-9"), mysql("3-9").to_lowercase(), true),
            (mysql("1-9"), mysql("10"), false),
            (mysql("1-9:12"), mysql("11-12"), false),
            (mysql("1-9:tag:1-2"), mysql("tag:2"), true),
        ] {
            let wanted = SourcePosition::named(asked.as_str());
            assert_eq!(has_read(&read("b.000001", 4, &at), &wanted).expect("GTIDs"), is_read, "{asked} at {at}");
        }
    }

    #[test]
    fn files_are_those_of_the_server_that_is_followed() {
        let at = read("binlog.000012", 400, "");
        for (asked, is_read) in [
            ("binlog.000012:400", true),
            ("binlog.000012:401", false),
            ("binlog.000011:99999", true),
            ("binlog.000013:4", false),
        ] {
            assert_eq!(has_read(&at, &SourcePosition::named(asked)).expect(asked), is_read, "{asked}");
        }
        for (wrong, part) in [
            ("other.000012:4", "are called binlog.NNNNNN"),
            ("binlog.000012", "is no place in a binlog"),
            ("binlog:7", "is no place in a binlog"),
            ("soon", "is no place in a binlog"),
        ] {
            let error = has_read(&at, &SourcePosition::named(wrong)).expect_err(wrong).to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(has_read(&at, &read("binlog.000012", 399, "")).expect("a position of the source"));
    }
}
