//! The raw form of a feed's events: what sorts in the assembler and what the Data Buffer keeps.
//!
//! An image is one row before or after a commit; an UPDATE is two images. Cells are as the format spells them (text), by
//! name, so an image needs no schema until it is decoded. Equal images have equal bytes: that is how repeated messages are
//! known again.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidelake_core::{Error, Result, TableName};

use crate::mysql::reader::{Malformed, Parsed, Reader};

/// What an image is of. The order is that of application within one commit-ts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ImageOp {
    /// The row before: it dies.
    Delete = 0,
    /// The row after: it is born; its before image was sent too, or there was none.
    Insert = 1,
    /// The row after an UPDATE whose before image was not sent: a row of its key dies.
    Replace = 2,
}

/// How an image spells bytes of binary columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BinaryText {
    /// As they are.
    Raw = 0,
    /// One character a byte: U+0000 to U+00FF.
    Latin1 = 1,
    /// Base 64 with padding.
    Base64 = 2,
    /// Hexadecimal digits.
    Hex = 3,
}

/// How an image spells its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// Bytes of binary columns.
    pub binary: BinaryText,
    /// ENUM and SET as labels instead of numbers.
    pub labels: bool,
    /// Cells without names, in the table's order, without virtual generated columns.
    pub positional: bool,
}

impl Spelling {
    /// Named cells, numbers for ENUM and SET.
    #[must_use]
    pub fn named(binary: BinaryText) -> Spelling {
        Spelling { binary, labels: false, positional: false }
    }

    fn flags(self) -> u8 {
        self.binary as u8 | u8::from(self.labels) << 2 | u8::from(self.positional) << 3
    }

    fn of(flags: u8) -> Spelling {
        let binary = match flags & 3 {
            1 => BinaryText::Latin1,
            2 => BinaryText::Base64,
            3 => BinaryText::Hex,
            _ => BinaryText::Raw,
        };
        Spelling { binary, labels: flags & 4 != 0, positional: flags & 8 != 0 }
    }
}

/// One cell of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// SQL NULL.
    Null,
    /// As the format spells it.
    Text(&'a [u8]),
    /// The bytes of a binary value, whatever the spelling.
    Bytes(&'a [u8]),
    /// A TIMESTAMP and the zone it is told in.
    Zoned(&'a [u8], &'a str),
}

/// Writes an image. Cells must come in an order that does not depend on the message.
pub struct ImageWriter {
    out: Vec<u8>,
    count_at: usize,
    count: u32,
}

impl ImageWriter {
    /// Begins an image. `identity` names the row where the table has no key (TiDB's row id); empty if not sent.
    #[must_use]
    pub fn new(op: ImageOp, spelling: Spelling, table: &TableName, identity: &[u8]) -> ImageWriter {
        let mut out = vec![op as u8, spelling.flags()];
        put(&mut out, table.database.as_bytes());
        put(&mut out, table.table.as_bytes());
        put(&mut out, identity);
        let count_at = out.len();
        out.extend_from_slice(&[0; 4]);
        ImageWriter { out, count_at, count: 0 }
    }

    /// Adds a cell.
    pub fn cell(&mut self, name: &str, cell: Cell<'_>) {
        put(&mut self.out, name.as_bytes());
        match cell {
            Cell::Null => self.out.push(0),
            Cell::Text(text) => self.tagged(1, text),
            Cell::Bytes(bytes) => self.tagged(2, bytes),
            Cell::Zoned(text, zone) => {
                self.tagged(3, text);
                put(&mut self.out, zone.as_bytes());
            }
        }
        self.count += 1;
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.out.push(tag);
        put(&mut self.out, bytes);
    }

    /// The image's bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.out[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        self.out
    }
}

/// A length in up to five bytes of seven bits, then the bytes.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut n = bytes.len();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out.extend_from_slice(bytes);
}

fn take<'a>(r: &mut Reader<'a>) -> Parsed<&'a [u8]> {
    let mut n = 0usize;
    for shift in 0..5 {
        let byte = r.u8()?;
        n |= usize::from(byte & 0x7f) << (7 * shift);
        if byte & 0x80 == 0 {
            return r.bytes(n);
        }
    }
    Err(Malformed::because("a length of more than five bytes"))
}

fn take_text<'a>(r: &mut Reader<'a>) -> Parsed<&'a str> {
    std::str::from_utf8(take(r)?).map_err(|_| Malformed::because("a name that is not UTF-8"))
}

/// An image being read.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    /// What it is of.
    pub op: ImageOp,
    /// How its cells are spelled.
    pub spelling: Spelling,
    /// Database and table.
    pub names: (&'a str, &'a str),
    /// What names the row where the table has no key; may be empty.
    pub identity: &'a [u8],
    /// Number of cells.
    pub count: usize,
    rest: Reader<'a>,
}

impl<'a> Image<'a> {
    /// Reads the head of an image.
    ///
    /// # Errors
    /// For bytes that are no image.
    pub fn parse(bytes: &'a [u8]) -> Parsed<Image<'a>> {
        let mut r = Reader::new(bytes);
        let op = match r.u8()? {
            0 => ImageOp::Delete,
            1 => ImageOp::Insert,
            2 => ImageOp::Replace,
            other => return Err(Malformed::new(format!("image of unknown kind {other}"))),
        };
        let spelling = Spelling::of(r.u8()?);
        let names = (take_text(&mut r)?, take_text(&mut r)?);
        let identity = take(&mut r)?;
        let count = r.u32()? as usize;
        Ok(Image { op, spelling, names, identity, count, rest: r })
    }

    /// Calls `each` with name and value of every cell.
    ///
    /// # Errors
    /// For bytes that are no cells, and what `each` returns.
    pub fn cells(&self, mut each: impl FnMut(&'a str, Cell<'a>) -> Parsed<()>) -> Parsed<()> {
        let mut r = self.rest;
        for _ in 0..self.count {
            let name = take_text(&mut r)?;
            let cell = match r.u8()? {
                0 => Cell::Null,
                1 => Cell::Text(take(&mut r)?),
                2 => Cell::Bytes(take(&mut r)?),
                3 => Cell::Zoned(take(&mut r)?, take_text(&mut r)?),
                other => return Err(Malformed::new(format!("cell of unknown kind {other}"))),
            };
            each(name, cell)?;
        }
        if r.is_empty() { Ok(()) } else { Err(Malformed::because("bytes behind the last cell")) }
    }
}

/// A DDL of the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ddl {
    /// The database it ran in; may be empty.
    pub database: String,
    /// The table it is about, as the format names it; may be empty.
    pub table: String,
    /// Its text.
    pub query: String,
    /// The table's columns after it, where the format says them: our reading of the text is held against them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// The default collation of the database, where the feed has told that it is none of TiDB's own ([`super::databases`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
}

/// One event of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An image of a row ([`ImageWriter`]).
    Image {
        /// When it was committed.
        commit_ts: u64,
        /// Its bytes.
        image: Vec<u8>,
    },
    /// A DDL.
    Ddl {
        /// When it was committed.
        commit_ts: u64,
        /// What it says.
        ddl: Ddl,
    },
    /// Everything at or before was sent (on this partition).
    Watermark(u64),
}

/// The first item of a buffered transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Format of the items behind it.
    pub version: u32,
    /// The zone in which TIMESTAMPs are told: `UTC`, `+08:00`, `Asia/Shanghai`.
    pub zone: String,
    /// True if the source sends every change exactly once.
    #[serde(default)]
    pub exact: bool,
}

/// The version of the items that this build writes.
pub const HEAD_VERSION: u32 = 1;

/// An item of a buffered transaction, behind its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An image, and how many times it was sent.
    Image {
        /// Number of equal images.
        copies: u32,
        /// The image.
        image: Bytes,
    },
    /// A DDL; the only item of its transaction.
    Ddl(Ddl),
}

impl Item {
    /// The bytes of an image's item.
    #[must_use]
    pub fn of_image(copies: u32, image: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(image.len() + 5);
        out.push(b'R');
        out.extend_from_slice(&copies.to_le_bytes());
        out.extend_from_slice(image);
        out
    }

    /// The bytes of a DDL's item, of its JSON form.
    #[must_use]
    pub fn of_ddl(json: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(json.len() + 1);
        out.push(b'D');
        out.extend_from_slice(json);
        out
    }

    /// Reads an item.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the place.
    pub fn parse(bytes: &Bytes, place: &str) -> Result<Item> {
        let corrupt = |reason: String| Error::corrupt(place, reason);
        match bytes.first() {
            Some(b'R') if bytes.len() >= 5 => {
                let copies = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
                Ok(Item::Image { copies, image: bytes.slice(5..) })
            }
            Some(b'D') => serde_json::from_slice(&bytes[1..]).map(Item::Ddl).map_err(|e| corrupt(e.to_string())),
            _ => Err(corrupt("an item that is neither rows nor DDL".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_round_trip_and_damage_is_an_error() {
        let table = TableName::new("d", "t");
        let spelling = Spelling { binary: BinaryText::Hex, labels: true, positional: false };
        let mut writer = ImageWriter::new(ImageOp::Replace, spelling, &table, b"id");
        let long = "x".repeat(300);
        let cells = [
            ("a", Cell::Null),
            ("b", Cell::Text(long.as_bytes())),
            ("c", Cell::Bytes(b"\0")),
            ("d", Cell::Zoned(b"1", "UTC")),
        ];
        cells.iter().for_each(|(name, cell)| writer.cell(name, *cell));
        let bytes = writer.finish();
        let image = Image::parse(&bytes).expect("an image");
        assert_eq!((image.op, image.spelling, image.names), (ImageOp::Replace, spelling, ("d", "t")));
        let mut read = Vec::new();
        let collected = image.cells(|name, cell| {
            read.push((name, cell));
            Ok(())
        });
        collected.expect("cells");
        assert_eq!(read, cells);
        for cut in 0..bytes.len() {
            let torn = Image::parse(&bytes[..cut]).and_then(|i| i.cells(|_, _| Ok(())));
            assert!(torn.is_err(), "cut at {cut}");
        }
    }
}
