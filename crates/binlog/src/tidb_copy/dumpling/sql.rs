//! Dumpling's SQL files: some `/*! ... */;`, then INSERT statements of any number of rows.

use super::cutter::{Cells, Cut, DumpedCell};

/// Where in a file.
pub struct Inserts {
    /// Strings have backslash escapes.
    escape: bool,
    columns: Option<Vec<String>>,
    zone: Option<String>,
    /// Inside the rows of a statement.
    inside: bool,
}

/// What a parser found: the value and the bytes behind it; `None`: not whole.
type Found<'a, T> = Result<Option<(T, &'a [u8])>, String>;

impl Inserts {
    pub fn new(escape: bool) -> Inserts {
        Inserts { escape, columns: None, zone: None, inside: false }
    }

    pub fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Cuts at the front of `bytes`; `ended`: there are no more.
    ///
    /// # Errors
    /// What is no such file.
    pub fn cut(&mut self, bytes: &[u8], ended: bool) -> Result<Cut, String> {
        let blank = bytes.iter().take_while(|b| b.is_ascii_whitespace()).count();
        if blank > 0 {
            return Ok(Cut::Skip(blank));
        }
        let Some(first) = bytes.first() else { return Ok(Cut::Torn) };
        if self.inside {
            return match first {
                b',' => Ok(Cut::Skip(1)),
                b';' => {
                    self.inside = false;
                    Ok(Cut::Skip(1))
                }
                b'(' => self.tuple(bytes),
                other => Err(format!("{:?} between the rows of an INSERT", char::from(*other))),
            };
        }
        if *first == b';' {
            return Ok(Cut::Skip(1));
        }
        let taken = |rest: &[u8]| bytes.len() - rest.len();
        if bytes.starts_with(b"/*") {
            let Some(end) = find(bytes, b"*/") else { return Ok(Cut::Torn) };
            self.session(&bytes[2..end])?;
            return Ok(Cut::Skip(end + 2));
        }
        if bytes.starts_with(b"--") || *first == b'#' {
            let end = bytes.iter().position(|b| *b == b'\n').or(ended.then_some(bytes.len()));
            return Ok(end.map_or(Cut::Torn, Cut::Skip));
        }
        if word(bytes, b"SET") {
            let Some(end) = bytes.iter().position(|b| *b == b';') else { return Ok(Cut::Torn) };
            self.session(&bytes[..end])?;
            return Ok(Cut::Skip(end));
        }
        match self.head(bytes)? {
            Some(((), rest)) => {
                self.inside = true;
                Ok(Cut::Skip(taken(rest)))
            }
            None => Ok(Cut::Torn),
        }
    }

    /// A statement about the session: the time zone matters.
    fn session(&mut self, statement: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(statement).to_ascii_uppercase();
        let Some((_, value)) = text.split_once("TIME_ZONE") else { return Ok(()) };
        let value = value.trim_start_matches(|c: char| c.is_whitespace() || c == '=').trim();
        let zone = value.strip_prefix('\'').and_then(|v| v.split_once('\'')).map(|(zone, _)| zone);
        let zone = zone.ok_or_else(|| format!("a time zone that is not understood: {value}"))?;
        let original = String::from_utf8_lossy(statement);
        // as it was spelled, not in upper case
        let at = text.find(&format!("'{zone}'")).ok_or("a time zone that is not understood")? + 1;
        let zone = original.get(at..at + zone.len()).unwrap_or(zone).to_owned();
        crate::ticdc::zone::Zone::parse(&zone).map_err(|e| e.to_string())?;
        self.zone = Some(zone);
        Ok(())
    }

    /// `INSERT INTO t [(columns)] VALUES`
    fn head<'a>(&mut self, bytes: &'a [u8]) -> Found<'a, ()> {
        if !word(bytes, b"INSERT") {
            let whole = bytes.len() >= 7;
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(7)]).into_owned();
            return if whole { Err(format!("{shown:?} where an INSERT should begin")) } else { Ok(None) };
        }
        let rest = blank(&bytes[6..]);
        if rest.len() < 5 {
            return Ok(None);
        }
        if !word(rest, b"INTO") {
            return Err("INSERT without INTO".into());
        }
        let Some((_, mut rest)) = identifier(blank(&rest[4..]))? else { return Ok(None) };
        while rest.first() == Some(&b'.') {
            let Some((_, after)) = identifier(&rest[1..])? else { return Ok(None) };
            rest = after;
        }
        rest = blank(rest);
        let mut columns = None;
        if rest.first() == Some(&b'(') {
            let mut names = Vec::new();
            loop {
                let Some((name, after)) = identifier(blank(&rest[1..]))? else { return Ok(None) };
                names.push(name);
                rest = blank(after);
                match rest.first() {
                    None => return Ok(None),
                    Some(b',') => {}
                    Some(b')') => break,
                    Some(other) => return Err(format!("{:?} in the list of columns", char::from(*other))),
                }
            }
            columns = Some(names);
            rest = blank(&rest[1..]);
        }
        if rest.len() < 7 {
            return Ok(None);
        }
        if !word(rest, b"VALUES") {
            return Err("INSERT without VALUES".into());
        }
        self.columns = columns;
        Ok(Some(((), &rest[6..])))
    }

    fn tuple(&self, bytes: &[u8]) -> Result<Cut, String> {
        let mut cells = Vec::new();
        let mut rest = blank(&bytes[1..]);
        loop {
            let Some((cell, after)) = self.value(rest)? else { return Ok(Cut::Torn) };
            cells.push(cell);
            rest = blank(after);
            match rest.first() {
                None => return Ok(Cut::Torn),
                Some(b',') => rest = blank(&rest[1..]),
                Some(b')') => return Ok(Cut::Row(Cells(cells), bytes.len() - rest.len() + 1)),
                Some(other) => return Err(format!("{:?} behind a value", char::from(*other))),
            }
        }
    }

    fn value<'a>(&self, bytes: &'a [u8]) -> Found<'a, DumpedCell> {
        let of = |bytes: Vec<u8>, hex: bool| DumpedCell { bytes: Some(bytes), hex };
        match bytes {
            [] => Ok(None),
            [quote @ (b'\'' | b'"'), ..] => {
                Ok(string(&bytes[1..], *quote, self.escape).map(|(text, rest)| (of(text, false), rest)))
            }
            [b'x' | b'X', b'\'', ..] => {
                let Some(end) = bytes[2..].iter().position(|b| *b == b'\'') else { return Ok(None) };
                let digits = &bytes[2..2 + end];
                let value = crate::ticdc::decoder::value::hex(digits).ok_or("a broken x'...'")?;
                Ok(Some((of(value, true), &bytes[2 + end + 1..])))
            }
            [b'_', ..] => {
                // a charset before a string
                let Some(end) = bytes.iter().position(|b| *b == b'\'' || *b == b'"' || *b == b' ') else {
                    return Ok(None);
                };
                self.value(blank(&bytes[end..]))
            }
            _ => {
                let Some(end) = bytes.iter().position(|b| b",)".contains(b) || b.is_ascii_whitespace()) else {
                    return Ok(None);
                };
                let (token, rest) = bytes.split_at(end);
                if token.eq_ignore_ascii_case(b"NULL") {
                    return Ok(Some((DumpedCell::default(), rest)));
                }
                if let Some(digits) = token.strip_prefix(b"0x") {
                    let value = crate::ticdc::decoder::value::hex(digits).ok_or("a broken 0x...")?;
                    return Ok(Some((of(value, true), rest)));
                }
                let number = !token.is_empty() && token.iter().all(|b| b.is_ascii_digit() || b"+-.eE".contains(b));
                if !number {
                    return Err(format!("{:?} is no value", String::from_utf8_lossy(&token[..token.len().min(40)])));
                }
                Ok(Some((of(token.to_vec(), false), rest)))
            }
        }
    }
}

/// A string whose quote was taken already; `None`: it does not end.
pub(super) fn string(bytes: &[u8], quote: u8, escape: bool) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        let byte = *bytes.get(at)?;
        if byte == quote {
            match bytes.get(at + 1) {
                Some(next) if *next == quote => at += 1,
                Some(_) => return Some((out, &bytes[at + 1..])),
                // it may be doubled
                None => return None,
            }
            out.push(quote);
        } else if byte == b'\\' && escape {
            at += 1;
            out.push(match *bytes.get(at)? {
                b'0' => 0,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'Z' => 26,
                other => other,
            });
        } else {
            out.push(byte);
        }
        at += 1;
    }
}

fn blank(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii_start()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// True if `bytes` begin with this word.
fn word(bytes: &[u8], word: &[u8]) -> bool {
    let whole = bytes.get(word.len()).is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'_');
    bytes.get(..word.len()).is_some_and(|w| w.eq_ignore_ascii_case(word)) && whole
}

/// A name, in backticks or plain.
fn identifier(bytes: &[u8]) -> Found<'_, String> {
    let utf8 = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "a name that is not UTF-8".to_owned());
    if bytes.first() == Some(&b'`') {
        let Some((name, rest)) = string(&bytes[1..], b'`', false) else { return Ok(None) };
        return Ok(Some((utf8(name)?, rest)));
    }
    let Some(end) = bytes.iter().position(|b| b" \t\r\n.,()".contains(b)) else { return Ok(None) };
    if end == 0 {
        return Err("a name is missing".into());
    }
    Ok(Some((utf8(bytes[..end].to_vec())?, &bytes[end..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All rows, whichever way the bytes come.
    fn rows(text: &[u8], escape: bool) -> Result<Vec<Vec<Option<Vec<u8>>>>, String> {
        let read = |step: usize| {
            let (mut inserts, mut out) = (Inserts::new(escape), Vec::new());
            let (mut start, mut upto) = (0, 0);
            loop {
                match inserts.cut(&text[start..upto], upto == text.len())? {
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

    fn cells<const N: usize>(cells: [Option<&[u8]>; N]) -> Vec<Option<Vec<u8>>> {
        cells.map(|c| c.map(<[u8]>::to_vec)).to_vec()
    }

    #[test]
    fn values_as_dumpling_writes_them() {
        let text = b"/*!40101 SET NAMES binary*/;\nINSERT INTO `t` VALUES\n(1,'a\\'b\\\\\\n\\0\\\"',x'00ff',NULL,1e+06),\n(-2,'',x'',-0.5,'),(');\nINSERT INTO `t` VALUES\n(3,'NULL','x',1,'\xc3\xa4');\n";
        let found = rows(text, true).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], cells([Some(b"1"), Some(b"a'b\\\n\0\""), Some(b"\x00\xff"), None, Some(b"1e+06")]));
        assert_eq!(found[1], cells([Some(b"-2"), Some(b""), Some(b""), Some(b"-0.5"), Some(b"),(")]));
        assert_eq!(found[2][4].as_deref(), Some("ä".as_bytes()));
    }

    #[test]
    fn quotes_are_doubled_without_escapes() {
        assert_eq!(rows(b"INSERT INTO t VALUES ('a''b\\');", false).unwrap(), vec![cells([Some(b"a'b\\")])]);
    }

    #[test]
    fn columns_and_zones_are_told() {
        let text = b"/*!40103 SET TIME_ZONE='+08:00' */;\nINSERT INTO `d`.`t` (`a``b`,`c`) VALUES\n(1,2);";
        let mut inserts = Inserts::new(true);
        let mut start = 0;
        while let Cut::Skip(taken) = inserts.cut(&text[start..], true).unwrap() {
            start += taken;
        }
        assert_eq!(inserts.columns(), Some(&["a`b".to_owned(), "c".to_owned()][..]));
        assert_eq!(inserts.zone(), Some("+08:00"));
    }

    #[test]
    fn what_is_no_dump_is_refused() {
        for text in [
            "DELETE FROM t;",
            "INSERT INTO t VALUES (a);",
            "INSERT INTO t VALUES (1 2);",
            "INSERT INTO t VALUES (x'0');",
            "INSERT INTO t VALUES (1",
            "INSERT INTO t VALUES ('a",
        ] {
            assert!(rows(text.as_bytes(), true).is_err(), "{text}");
        }
    }
}
