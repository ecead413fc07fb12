//! Where a copy goes on after a restart, as the text that stands in every chunk.

use serde::{Deserialize, Serialize};
use tidelake_core::{Error, Result};

use super::select::hex;

/// The last key that was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The cells of its key, as the server printed them. Empty: nothing was copied yet.
    pub key: Vec<Vec<u8>>,
    /// Rows copied up to here.
    pub rows: u64,
}

#[derive(Serialize, Deserialize)]
struct Form {
    after: Vec<String>,
    rows: u64,
}

impl Cursor {
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
        let key = form.after.iter().map(|cell| unhex(cell)).collect::<Option<Vec<_>>>();
        Ok(Cursor { key: key.ok_or_else(|| corrupt(format!("{text:?} has a broken cell")))?, rows: form.rows })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let form = Form { after: self.key.iter().map(|cell| hex(cell)).collect(), rows: self.rows };
        f.write_str(&serde_json::to_string(&form).expect("strings and numbers have a JSON form"))
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let cursor = Cursor { key: vec![b"\x00\xffA".to_vec(), Vec::new()], rows: 7 };
        assert_eq!(Cursor::parse(&cursor.to_string()).unwrap(), cursor);
        assert_eq!(Cursor::parse("").unwrap(), Cursor::default());
        for wrong in ["{", "{\"after\":[\"0\"],\"rows\":1}", "{\"after\":[\"zz\"],\"rows\":1}"] {
            assert!(Cursor::parse(wrong).is_err(), "{wrong}");
        }
    }
}
