//! Dumpling's CSV files: a header, then rows; strings are quoted, NULL and numbers are not.

use tidelake_core::{Error, Result};

use super::cutter::{Cells, Cut, DumpedCell};

/// What `--csv-separator` and the like say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvDialect {
    /// Between fields.
    pub separator: Vec<u8>,
    /// Around strings; may be empty.
    pub delimiter: Vec<u8>,
    /// What NULL is.
    pub null: Vec<u8>,
    /// `None`: a line feed, with or without a carriage return before it.
    pub terminator: Option<Vec<u8>>,
    /// The first row has the names of the columns.
    pub header: bool,
}

impl Default for CsvDialect {
    fn default() -> CsvDialect {
        CsvDialect {
            separator: b",".to_vec(),
            delimiter: b"\"".to_vec(),
            null: b"\\N".to_vec(),
            terminator: None,
            header: true,
        }
    }
}

impl CsvDialect {
    /// Refuses what cannot be told apart.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<()> {
        let empty = self.separator.is_empty() || self.terminator.as_ref().is_some_and(Vec::is_empty);
        if empty || self.separator == self.delimiter || self.delimiter.contains(&b'\\') {
            return Err(Error::Invalid(
                "dumpling: csv-separator and csv-line-terminator must not be empty, csv-delimiter is something else than these and has no backslash".into(),
            ));
        }
        Ok(())
    }

    /// The bytes that end a line here.
    fn line_end(&self, bytes: &[u8]) -> Option<usize> {
        match &self.terminator {
            Some(terminator) => bytes.starts_with(terminator).then_some(terminator.len()),
            None if bytes.starts_with(b"\n") => Some(1),
            None => bytes.starts_with(b"\r\n").then_some(2),
        }
    }

    /// Cuts a row at the front of `bytes`; `ended`: there are no more.
    ///
    /// # Errors
    /// What is no such row.
    pub fn cut(&self, bytes: &[u8], escape: bool, ended: bool) -> Result<Cut, String> {
        if bytes.is_empty() {
            return Ok(Cut::Torn);
        }
        let mut cells = Vec::new();
        let mut rest = bytes;
        loop {
            let Some((cell, after)) = self.field(rest, escape, ended)? else { return Ok(Cut::Torn) };
            cells.push(cell);
            if after.is_empty() {
                // a file may end without a terminator
                return Ok(if ended { Cut::Row(Cells(cells), bytes.len()) } else { Cut::Torn });
            }
            if let Some(length) = self.line_end(after) {
                return Ok(Cut::Row(Cells(cells), bytes.len() - after.len() + length));
            }
            if !after.starts_with(&self.separator) {
                // the rest of a terminator or separator may be missing
                let most = self.separator.len().max(self.terminator.as_ref().map_or(2, Vec::len));
                if after.len() < most && !ended {
                    return Ok(Cut::Torn);
                }
                return Err("a field is followed by neither separator nor end of line".into());
            }
            rest = &after[self.separator.len()..];
        }
    }

    fn field<'a>(&self, bytes: &'a [u8], escape: bool, ended: bool) -> Result<Option<(DumpedCell, &'a [u8])>, String> {
        let of = |bytes: Vec<u8>| DumpedCell { bytes: Some(bytes), hex: false };
        if !self.delimiter.is_empty() && bytes.starts_with(&self.delimiter) {
            let found = self.quoted(&bytes[self.delimiter.len()..], escape, ended);
            return Ok(found.map(|(text, rest)| (of(text), rest)));
        }
        let mut out = Vec::new();
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            if rest.is_empty() && !ended {
                return Ok(None);
            }
            if rest.is_empty() || rest.starts_with(&self.separator) || self.line_end(rest).is_some() {
                break;
            }
            // without quotes strings have escapes; NULL is told by its whole spelling
            if rest[0] == b'\\' && escape && self.delimiter.is_empty() && rest.len() > 1 {
                at += 1;
            }
            at += 1;
        }
        let field = &bytes[..at];
        if field == self.null {
            return Ok(Some((DumpedCell::default(), &bytes[at..])));
        }
        if escape && self.delimiter.is_empty() {
            let mut field = field.iter();
            while let Some(byte) = field.next() {
                out.push(match byte {
                    b'\\' => unescaped(*field.next().ok_or("a field ends with a backslash")?),
                    byte => *byte,
                });
            }
        } else {
            out.extend_from_slice(field);
        }
        Ok(Some((of(out), &bytes[at..])))
    }

    fn quoted<'a>(&self, bytes: &'a [u8], escape: bool, ended: bool) -> Option<(Vec<u8>, &'a [u8])> {
        let (mut out, mut at) = (Vec::new(), 0);
        let delimiter = &self.delimiter;
        loop {
            let rest = &bytes[at..];
            let first = *rest.first()?;
            if first == b'\\' && escape {
                out.push(unescaped(*rest.get(1)?));
                at += 2;
            } else if rest.starts_with(delimiter) {
                let after = &rest[delimiter.len()..];
                if !escape {
                    // it may be doubled
                    if after.starts_with(delimiter) {
                        out.extend_from_slice(delimiter);
                        at += 2 * delimiter.len();
                        continue;
                    }
                    if after.len() < delimiter.len() && !ended {
                        return None;
                    }
                }
                return Some((out, after));
            } else {
                out.push(first);
                at += 1;
            }
        }
    }
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'0' => 0,
        b'n' => b'\n',
        b'r' => b'\r',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8], dialect: &CsvDialect, escape: bool) -> Result<Vec<Vec<Option<Vec<u8>>>>, String> {
        let read = |step: usize| {
            let (mut out, mut start, mut upto) = (Vec::new(), 0, 0);
            loop {
                match dialect.cut(&text[start..upto], escape, upto == text.len())? {
                    Cut::Row(cells, taken) => {
                        out.push(cells.0.into_iter().map(|c| c.bytes).collect::<Vec<_>>());
                        start += taken;
                    }
                    Cut::Skip(taken) => start += taken,
                    Cut::Torn if upto == text.len() => return if start == upto { Ok(out) } else { Err("torn".into()) },
                    Cut::Torn => upto = (upto + step).min(text.len()),
                }
            }
        };
        let whole = read(text.len());
        for step in [1, 2, 7] {
            assert_eq!(read(step), whole, "in pieces of {step} bytes");
        }
        whole
    }

    fn texts(rows: Vec<Vec<Option<Vec<u8>>>>) -> Vec<Vec<String>> {
        let text = |cell: Option<Vec<u8>>| cell.map_or("NULL".to_owned(), |b| String::from_utf8_lossy(&b).into_owned());
        rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect()
    }

    #[test]
    fn the_defaults() {
        let text = b"\"id\",\"v\"\r\n1,\"a\\\"b\\\\,\\r\\n\\0'\"\r\n2,\\N\r\n3,\"\\\\N\"\r\n";
        let found = texts(rows(text, &CsvDialect::default(), true).unwrap());
        assert_eq!(found, [["id", "v"], ["1", "a\"b\\,\r\n\0'"], ["2", "NULL"], ["3", "\\N"]]);
    }

    #[test]
    fn doubled_quotes_without_escapes() {
        let found = texts(rows(b"1,\"a\"\"b\\\"\n2,\"\"", &CsvDialect::default(), false).unwrap());
        assert_eq!(found, [["1", "a\"b\\"], ["2", ""]]);
    }

    #[test]
    fn no_quotes_and_other_separators() {
        let dialect = CsvDialect { separator: b"|+|".to_vec(), delimiter: Vec::new(), ..CsvDialect::default() };
        let found = texts(rows(b"1|+|a\\|+|b\\\\\n2|+|\\N\n3|+|\\\\N\n", &dialect, true).unwrap());
        assert_eq!(found, [["1", "a|+|b\\"], ["2", "NULL"], ["3", "\\N"]]);
    }

    #[test]
    fn what_is_no_row_is_refused() {
        for text in [&b"1,\"a\"b\n"[..], b"1,\"a", b"\"a\" ,1\n"] {
            assert!(rows(text, &CsvDialect::default(), true).is_err(), "{:?}", String::from_utf8_lossy(text));
        }
    }
}
