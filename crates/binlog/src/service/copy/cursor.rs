//! How far a copy is, as the text that stands in every chunk: which ranges of the key are done.

use serde::{Deserialize, Serialize};
use tidelake_core::{Error, Result};

use super::select::hex;

/// A row's key: its cells, as the server printed them.
pub(crate) type Key = Vec<Vec<u8>>;

/// A range of the key, that one reader copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    /// The last key before it. Empty: it begins with the first row.
    pub after: Key,
    /// Its last key; `None`: it goes to the end of the table.
    pub upto: Option<Key>,
}

/// Everything up to `frontier` is copied, but for the open ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The end of the last range that was begun. Empty: none was.
    pub frontier: Key,
    /// Ranges that are being copied, each without what is copied of it.
    pub open: Vec<Range>,
    /// Rows copied so far.
    pub rows: u64,
}

#[derive(Serialize, Deserialize)]
struct Form {
    after: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    open: Vec<(Vec<String>, Option<Vec<String>>)>,
    rows: u64,
}

impl Cursor {
    /// Begins the range from the frontier to `upto`.
    pub fn begin(&mut self, upto: Option<Key>) -> Range {
        let range = Range { after: self.frontier.clone(), upto };
        if let Some(upto) = &range.upto {
            self.frontier.clone_from(upto);
        }
        self.open.push(range.clone());
        range
    }

    /// `range` is copied up to its key `last`, and whole if it is `done`.
    pub fn advance(&mut self, range: &Range, last: Key, rows: u64, done: bool) {
        self.rows += rows;
        if done && range.upto.is_none() {
            self.frontier.clone_from(&last); // if it is read on from here, there is next to nothing left
        }
        match self.open.iter().position(|open| open.upto == range.upto) {
            Some(at) if done => drop(self.open.remove(at)),
            Some(at) => self.open[at].after = last,
            None => {}
        }
    }

    /// Reads the text form; empty text is the beginning.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is no cursor.
    pub fn parse(text: &str) -> Result<Cursor> {
        if text.is_empty() {
            return Ok(Cursor::default());
        }
        let corrupt = |reason: String| Error::corrupt("cursor of the initial copy", reason);
        let form: Form = serde_json::from_str(text).map_err(|e| corrupt(e.to_string()))?;
        let broken = || corrupt(format!("{text:?} has a broken cell"));
        let range = |(after, upto): &(Vec<String>, Option<Vec<String>>)| -> Result<Range> {
            let upto = upto.as_ref().map(|cells| key(cells).ok_or_else(broken)).transpose()?;
            Ok(Range { after: key(after).ok_or_else(broken)?, upto })
        };
        let open = form.open.iter().map(range).collect::<Result<Vec<Range>>>()?;
        Ok(Cursor { frontier: key(&form.after).ok_or_else(broken)?, open, rows: form.rows })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cells = |key: &Key| key.iter().map(|cell| hex(cell)).collect::<Vec<String>>();
        let open = self.open.iter().map(|range| (cells(&range.after), range.upto.as_ref().map(cells))).collect();
        let form = Form { after: cells(&self.frontier), open, rows: self.rows };
        f.write_str(&serde_json::to_string(&form).expect("strings and numbers have a JSON form"))
    }
}

fn key(cells: &[String]) -> Option<Key> {
    cells.iter().map(|cell| unhex(cell)).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys<const N: usize>(cells: [&[u8]; N]) -> Key {
        cells.map(<[u8]>::to_vec).to_vec()
    }

    #[test]
    fn round_trip() {
        let mut cursor = Cursor { frontier: keys([b"\x00\xffA", b""]), rows: 7, ..Cursor::default() };
        assert_eq!(cursor.to_string(), r#"{"after":["00ff41",""],"rows":7}"#);
        cursor.begin(Some(keys([b"b", b"1"])));
        cursor.begin(None);
        assert_eq!(Cursor::parse(&cursor.to_string()).unwrap(), cursor);
        assert_eq!(Cursor::parse("").unwrap(), Cursor::default());
        for wrong in [
            "{",
            "{\"after\":[\"0\"],\"rows\":1}",
            "{\"after\":[\"zz\"],\"rows\":1}",
            "{\"after\":[],\"open\":[[[\"0\"],null]],\"rows\":1}",
        ] {
            assert!(Cursor::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_end_in_any_order() {
        let mut cursor = Cursor::default();
        let first = cursor.begin(Some(keys([b"b"])));
        let second = cursor.begin(Some(keys([b"d"])));
        let last = cursor.begin(None);
        assert_eq!((&second.after, &last.after), (&keys([b"b"]), &keys([b"d"])));
        cursor.advance(&second, keys([b"d"]), 2, true);
        cursor.advance(&first, keys([b"a"]), 1, false);
        let left = Range { after: keys([b"a"]), upto: first.upto.clone() };
        assert_eq!((cursor.open.clone(), cursor.rows), (vec![left, last.clone()], 3));
        cursor.advance(&first, keys([b"b"]), 1, true);
        cursor.advance(&last, keys([b"z"]), 9, true);
        assert_eq!(cursor, Cursor { frontier: keys([b"z"]), open: Vec::new(), rows: 13 });
    }
}
