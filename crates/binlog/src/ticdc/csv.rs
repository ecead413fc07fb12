//! CSV as TiCDC's storage sink writes it.
//!
//! Fields: operation, table, database, commit-ts, [is-update], the values in the table's order. With a quote character strings are
//! quoted and quotes doubled; without one `\`, CR, LF and the delimiter are escaped by backslashes. NULL is its own bare
//! text. How a changefeed is configured is in none of its files, so it is told by [`CsvOptions`].

use tidelake_core::{Error, Result, TableName};

use super::record::{BinaryText, Cell, Event, ImageOp, ImageWriter, Spelling};
use crate::filter::TableFilter;
use crate::mysql::reader::{Malformed, Parsed};

/// The changefeed's `[sink.csv]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// `delimiter`.
    pub delimiter: Vec<u8>,
    /// `quote`; `None`: empty.
    pub quote: Option<u8>,
    /// `null`.
    pub null: Vec<u8>,
    /// `binary-encoding-method`: base64 or hex.
    pub binary: BinaryText,
    /// `terminator` of `[sink]`.
    pub terminator: Vec<u8>,
    /// `output-old-value`: rows have the is-update field. `None`: seen by the fields' number.
    pub old_value: Option<bool>,
}

impl Default for CsvOptions {
    fn default() -> CsvOptions {
        CsvOptions {
            delimiter: b",".to_vec(),
            quote: Some(b'"'),
            null: b"\\N".to_vec(),
            binary: BinaryText::Base64,
            terminator: b"\r\n".to_vec(),
            old_value: None,
        }
    }
}

impl CsvOptions {
    /// Sets one option by its name in a source's URL (`csv-delimiter` ...). `false`: no option of CSV.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value that cannot be.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool> {
        let wrong = |what: &str| Error::Invalid(format!("{name}={value}: {what}"));
        match name {
            "csv-delimiter" => self.delimiter = unescape(value),
            "csv-quote" => {
                let quote = unescape(value);
                if quote.len() > 1 {
                    return Err(wrong("the quote is one character or nothing"));
                }
                self.quote = quote.first().copied();
            }
            "csv-null" => self.null = value.as_bytes().to_vec(),
            "csv-terminator" => self.terminator = unescape(value),
            "csv-binary" => {
                self.binary = match value {
                    "base64" => BinaryText::Base64,
                    "hex" => BinaryText::Hex,
                    _ => return Err(wrong("base64 or hex")),
                }
            }
            "csv-old-value" => self.old_value = Some(value.parse().map_err(|_| wrong("true or false"))?),
            _ => return Ok(false),
        }
        if self.delimiter.is_empty() || self.terminator.is_empty() {
            return Err(wrong("it cannot be empty"));
        }
        Ok(true)
    }

    /// Checks that NULL cannot be taken for a value, nor a value for NULL.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the settings of the changefeed to change.
    pub fn check(&self) -> Result<()> {
        let is_told = match self.quote {
            // what is not quoted is a number
            Some(quote) => {
                let is_number = std::str::from_utf8(&self.null).is_ok_and(|text| text.parse::<f64>().is_ok());
                !is_number && self.null.first() != Some(&quote)
            }
            None => self.is_never_written(&self.null),
        };
        if is_told {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "csv-null {:?} is also what a value looks like with this csv-quote, so NULL cannot be told from it: set quote = '\"' or null = '\\N' under [sink.csv] of the changefeed",
            String::from_utf8_lossy(&self.null)
        )))
    }

    /// True for a text that escaping makes of no value: one with a backslash before what is never escaped.
    fn is_never_written(&self, text: &[u8]) -> bool {
        let mut rest = text.iter();
        while rest.any(|b| *b == b'\\') {
            let Some(escaped) = rest.next() else { return false };
            if !matches!(escaped, b'\\' | b'r' | b'n') && !self.delimiter.contains(escaped) {
                return true;
            }
        }
        false
    }
}

fn unescape(text: &str) -> Vec<u8> {
    text.replace("\\t", "\t").replace("\\r", "\r").replace("\\n", "\n").into_bytes()
}

/// The first field of the line that names the others.
const HEADER: &[u8] = b"ticdc-meta$operation";

/// One field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its bytes, without quotes and escapes.
    pub bytes: Vec<u8>,
    /// The bare NULL text.
    pub null: bool,
    /// It was in quotes.
    pub quoted: bool,
}

/// What [`record`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Record {
    /// A whole record and the bytes it takes, terminator included.
    Whole(Vec<Field>, usize),
    /// The bytes end inside a record.
    Torn,
}

/// Cuts the first record off `bytes`. A line may end with the terminator or, as in files made elsewhere, a plain LF.
///
/// # Errors
/// For a quote in the wrong place.
pub fn record(bytes: &[u8], options: &CsvOptions) -> Parsed<Record> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let start = at;
        let mut field = Field { bytes: Vec::new(), null: false, quoted: false };
        if options.quote.is_some() && bytes.get(at).copied() == options.quote {
            let Some(end) = quoted(&bytes[at..], options, &mut field) else { return Ok(Record::Torn) };
            at += end;
        } else {
            let Some(end) = bare(&bytes[at..], options, &mut field) else { return Ok(Record::Torn) };
            at += end;
            field.null = bytes[start..at] == options.null;
        }
        fields.push(field);
        let rest = &bytes[at..];
        if rest.starts_with(&options.delimiter) {
            at += options.delimiter.len();
        } else if let Some(end) = ends(rest, options) {
            return Ok(Record::Whole(fields, at + end));
        } else if rest.len() < options.terminator.len().max(options.delimiter.len()) {
            return Ok(Record::Torn);
        } else {
            return Err(Malformed::because(
                "something other than a delimiter behind a quoted field: csv-quote or csv-delimiter is not the changefeed's",
            ));
        }
    }
}

/// Length of the record's end here.
fn ends(bytes: &[u8], options: &CsvOptions) -> Option<usize> {
    if bytes.starts_with(&options.terminator) {
        return Some(options.terminator.len());
    }
    (options.terminator == b"\r\n" && bytes.first() == Some(&b'\n')).then_some(1)
}

fn quoted(bytes: &[u8], options: &CsvOptions, field: &mut Field) -> Option<usize> {
    field.quoted = true;
    let quote = options.quote?;
    let mut at = 1;
    loop {
        let end = at + bytes.get(at..)?.iter().position(|b| *b == quote)?;
        field.bytes.extend_from_slice(&bytes[at..end]);
        // a quote at the very end may be the first of two
        if *bytes.get(end + 1)? != quote {
            return Some(end + 1);
        }
        field.bytes.push(quote);
        at = end + 2;
    }
}

fn bare(bytes: &[u8], options: &CsvOptions, field: &mut Field) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).filter(|r| !r.is_empty())?;
        if rest.starts_with(&options.delimiter) || ends(rest, options).is_some() {
            return Some(at);
        }
        if options.quote.is_none() && rest[0] == b'\\' {
            field.bytes.push(match rest.get(1)? {
                b'r' => b'\r',
                b'n' => b'\n',
                other => *other,
            });
            at += 2;
            continue;
        }
        field.bytes.push(rest[0]);
        at += 1;
    }
}

/// Turns a record into events. `columns` are all columns of the table at that version, virtual ones included.
///
/// # Errors
/// For a record of another form, with the setting that is to be changed.
pub fn event(
    fields: &[Field],
    columns: &[String],
    options: &CsvOptions,
    filter: &TableFilter,
    out: &mut Vec<Event>,
) -> Parsed<()> {
    let [op, table, database, rest @ ..] = fields else {
        return Err(Malformed::because("a CSV record of fewer than four fields"));
    };
    // the first line of a file, with output-field-header = true
    if op.bytes == HEADER {
        return Ok(());
    }
    let name = |field: &Field| {
        String::from_utf8(field.bytes.clone()).map_err(|_| Malformed::because("a name that is not UTF-8"))
    };
    let table = TableName::new(name(database)?, name(table)?);
    if !filter.wants(&table) {
        return Ok(());
    }
    let ts = rest.first().filter(|f| !f.quoted).and_then(|f| std::str::from_utf8(&f.bytes).ok()?.parse::<u64>().ok());
    let is_flag = |f: &Field| !f.quoted && matches!(f.bytes.as_slice(), b"true" | b"false");
    // a commit-ts is far above any other number a row begins with; a lower one must be one field more than the values
    let one_more = rest.len() == columns.len() + 1 + usize::from(rest.get(1).is_some_and(is_flag));
    let commit_ts = ts.filter(|ts| *ts >> 18 > 0 || (*ts > 0 && one_more)).ok_or(Malformed::because(
        "a CSV record without a commit-ts: set include-commit-ts = true under [sink.csv] of the changefeed",
    ))?;
    // no value is a bare true or false where strings are quoted
    let could_be = options.quote.is_some() || rest.len() == columns.len() + 2;
    let flagged = options.old_value.unwrap_or_else(|| rest.get(1).is_some_and(is_flag) && could_be);
    let values = rest.get(1 + usize::from(flagged)..).unwrap_or_default();
    if flagged && !rest.get(1).is_some_and(is_flag) {
        return Err(Malformed::because(
            "a CSV record without the is-update field: csv-old-value is not the changefeed's output-old-value",
        ));
    }
    if values.is_empty() || values.len() > columns.len() {
        return Err(Malformed::new(format!(
            "a CSV record of {} values for a table of {} columns (output-handle-key and csv-old-value must be as in the changefeed)",
            values.len(),
            columns.len()
        )));
    }
    let op = match (op.bytes.as_slice(), flagged) {
        (b"I", _) => ImageOp::Insert,
        (b"D", _) => ImageOp::Delete,
        (b"U", _) => ImageOp::Replace,
        _ => return Err(Malformed::because("a CSV record whose first field is none of I, U, D")),
    };
    let positional = values.len() != columns.len();
    let spelling = Spelling { binary: options.binary, labels: true, positional };
    let mut image = ImageWriter::new(op, spelling, &table, b"");
    for (i, field) in values.iter().enumerate() {
        let cell = if field.null { Cell::Null } else { Cell::Text(&field.bytes) };
        image.cell(if positional { "" } else { &columns[i] }, cell);
    }
    out.push(Event::Image { commit_ts, image: image.finish() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_that_looks_like_a_value_is_refused() {
        for (quote, null, is_good) in [
            ("\"", "\\N", true),
            ("\"", "", true),
            ("\"", "NULL", true),
            ("\"", "0", false),
            ("\"", "\"null\"", false),
            ("", "\\N", true),
            ("", "", false),
            ("", "NULL", false),
            ("", "\\n", false),
            ("", "\\\\N", false),
            ("", "\\,", false),
        ] {
            let mut options = CsvOptions::default();
            assert!(options.set("csv-quote", quote).is_ok() && options.set("csv-null", null).is_ok());
            assert_eq!(options.check().is_ok(), is_good, "quote {quote:?}, null {null:?}");
        }
    }
}
