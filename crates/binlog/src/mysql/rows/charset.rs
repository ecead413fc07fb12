//! Text of any upstream charset -> UTF-8.
//!
//! The single-byte charsets convert by the server's own tables; Unicode's forms by own code; gbk, gb2312, gb18030, big5,
//! cp932, sjis, ujis, eucjpms and euckr by `encoding_rs` (WHATWG's tables) and, where the server's differ, by the tables of
//! `east_asian`. A byte that is no character in its charset becomes `?`, as the server prints it; but bytes that are not UTF-8 in
//! a utf8 column are refused, because the server prints them raw, and so are surrogates in a ucs2 column. `filename` is refused.

use std::sync::Arc;

use encoding_rs::Encoding;

use tidelake_core::types::text::ServerFlavor;

use super::charset_tables::upper_half;
use super::east_asian::{self, Run};
pub use crate::mysql::collation::charset as of_collation;
use crate::mysql::reader::{Malformed, Parsed};

/// How to convert a charset.
#[derive(Clone, Debug)]
pub enum Charset {
    /// utf8mb3, utf8mb4.
    Utf8,
    /// ascii, and swe7 with its own letters among the first 128.
    SevenBit {
        /// True for swe7.
        swedish: bool,
    },
    /// Single bytes; the table has the upper half.
    Table(Arc<[char; 128]>),
    /// ucs2.
    Ucs2,
    /// utf16, utf16le.
    Utf16 {
        /// Most significant byte first.
        big_endian: bool,
    },
    /// utf32.
    Utf32,
    /// Multi-byte charsets of East Asia.
    EastAsian {
        /// WHATWG's.
        encoding: &'static Encoding,
        /// Characters of the server that the encoding does not have so.
        own: &'static [Run],
        /// How many bytes the first one says that a character has.
        length: fn(u8) -> usize,
        /// A code without a character that counts as single bytes, each of them none.
        split: Option<[u8; 2]>,
    },
}

impl Charset {
    /// The charset of this name on the server; `None` if it is not known.
    #[must_use]
    pub fn named(name: &str) -> Option<Charset> {
        let name = name.to_ascii_lowercase();
        Some(match name.as_str() {
            "utf8" | "utf8mb3" | "utf8mb4" => Charset::Utf8,
            "ascii" => Charset::SevenBit { swedish: false },
            "swe7" => Charset::SevenBit { swedish: true },
            "ucs2" => Charset::Ucs2,
            "utf16" => Charset::Utf16 { big_endian: true },
            "utf16le" => Charset::Utf16 { big_endian: false },
            "utf32" => Charset::Utf32,
            "gbk" | "gb2312" => east_asian(&name, encoding_rs::GBK, pairs),
            "gb18030" => east_asian(&name, encoding_rs::GB18030, |_| usize::MAX),
            "big5" => east_asian(&name, encoding_rs::BIG5, pairs),
            "sjis" | "cp932" => {
                east_asian(&name, encoding_rs::SHIFT_JIS, |b| if matches!(b, 0xa1..=0xdf) { 1 } else { pairs(b) })
            }
            "ujis" | "eucjpms" => east_asian(&name, encoding_rs::EUC_JP, |b| if b == 0x8f { 3 } else { pairs(b) }),
            "euckr" => east_asian(&name, encoding_rs::EUC_KR, pairs),
            name => {
                let mut table = ['\u{fffd}'; 128];
                let shown = |c| if name == "tis620" { c } else { printable(c) };
                upper_half(name)?.chars().zip(&mut table).for_each(|(c, slot)| *slot = shown(c));
                Charset::Table(Arc::new(table))
            }
        })
    }

    /// The same where a server's kind makes a difference: 8EA0 of ujis and eucjpms is two `?` in MySQL, one elsewhere.
    #[must_use]
    pub fn of_server(name: &str, flavor: ServerFlavor) -> Option<Charset> {
        let mut charset = Charset::named(name)?;
        let japanese = ["ujis", "eucjpms"].iter().any(|n| name.eq_ignore_ascii_case(n));
        if let Charset::EastAsian { split, .. } = &mut charset {
            *split = (japanese && flavor == ServerFlavor::MySql).then_some([0x8e, 0xa0]);
        }
        Some(charset)
    }

    /// Converts `bytes`. Borrows them if they are UTF-8 already; otherwise the text is in `scratch`.
    ///
    /// # Errors
    /// For bytes that are not UTF-8 where the charset is, and for surrogates in ucs2.
    pub fn decode<'a>(&self, bytes: &'a [u8], scratch: &'a mut String) -> Parsed<&'a str> {
        if let Charset::Utf8 = self {
            return std::str::from_utf8(bytes)
                .map_err(|_| Malformed::because("text that is not UTF-8 in a utf8 column"));
        }
        scratch.clear();
        match self {
            Charset::Utf8 => {}
            Charset::SevenBit { swedish } => scratch.extend(bytes.iter().map(|b| seven_bit(*b, *swedish))),
            Charset::Table(table) => scratch.extend(bytes.iter().map(|b| match *b {
                b @ 0..=127 => b as char,
                b => table[usize::from(b - 128)],
            })),
            Charset::Ucs2 => {
                for pair in bytes.chunks(2) {
                    let unit =
                        if let [a, b] = pair { u32::from(u16::from_be_bytes([*a, *b])) } else { u32::from(b'?') };
                    scratch
                        .push(char::from_u32(unit).ok_or_else(|| Malformed::because("a surrogate in a ucs2 column"))?);
                }
            }
            Charset::Utf16 { big_endian } => {
                let units = bytes.chunks(2).map(|pair| match (pair, big_endian) {
                    ([a, b], true) => u16::from_be_bytes([*a, *b]),
                    ([a, b], false) => u16::from_le_bytes([*a, *b]),
                    _ => u16::from(b'?'),
                });
                scratch.extend(char::decode_utf16(units).map(|c| c.unwrap_or('?')));
            }
            Charset::Utf32 => scratch.extend(bytes.chunks(4).map(|four| match four {
                [a, b, c, d] => char::from_u32(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or('?'),
                _ => '?',
            })),
            Charset::EastAsian { encoding, own, length, split } => {
                let (encoding, own, length) = (*encoding, *own, *length);
                decode_east_asian(encoding, own, length, *split, bytes, scratch);
            }
        }
        Ok(scratch)
    }
}

fn east_asian(name: &str, encoding: &'static Encoding, length: fn(u8) -> usize) -> Charset {
    Charset::EastAsian { encoding, own: east_asian::runs(name), length, split: None }
}

/// Bytes of a character of a charset whose characters have one or two.
fn pairs(first: u8) -> usize {
    if first < 0x80 { 1 } else { 2 }
}

fn decode_east_asian(
    encoding: &'static Encoding,
    own: &[Run],
    length: fn(u8) -> usize,
    split: Option<[u8; 2]>,
    bytes: &[u8],
    out: &mut String,
) {
    let (mut at, mut plain) = (0, 0);
    while at < bytes.len() {
        let end = at.saturating_add(length(bytes[at])).min(bytes.len());
        if split.is_some_and(|code| bytes[at..end] == code) {
            decode_library(encoding, &bytes[plain..at], out);
            out.push_str("??");
            plain = end;
        } else if let Some(c) = (bytes[at] >= 0x80).then(|| own_character(own, &bytes[at..end])).flatten() {
            decode_library(encoding, &bytes[plain..at], out);
            out.push(c);
            plain = end;
        }
        at = end;
    }
    decode_library(encoding, &bytes[plain..], out);
}

fn decode_library(encoding: &'static Encoding, bytes: &[u8], out: &mut String) {
    let (text, damaged) = encoding.decode_without_bom_handling(bytes);
    out.extend(text.chars().map(|c| if damaged { printable(c) } else { c }));
}

/// The server's character of a code, where it is not the encoding's.
fn own_character(own: &[Run], code: &[u8]) -> Option<char> {
    let code = code.iter().fold(0, |code, byte| (code << 8) | u32::from(*byte));
    let (first, character, count) = own[..own.partition_point(|run| run.0 <= code)].last()?;
    let offset = code - first;
    match character {
        _ if offset >= *count => None,
        '?' => Some('?'),
        c => char::from_u32(u32::from(*c) + offset),
    }
}

/// What the server prints for a byte without a character.
fn printable(c: char) -> char {
    if c == '\u{fffd}' { '?' } else { c }
}

fn seven_bit(byte: u8, swedish: bool) -> char {
    const SWEDISH: [(u8, char); 10] = [
        (b'@', 'É'),
        (b'[', 'Ä'),
        (b'\\', 'Ö'),
        (b']', 'Å'),
        (b'^', 'Ü'),
        (b'`', 'é'),
        (b'{', 'ä'),
        (b'|', 'ö'),
        (b'}', 'å'),
        (b'~', 'ü'),
    ];
    let own = SWEDISH.iter().find(|(b, _)| swedish && *b == byte);
    match own {
        Some((_, c)) => *c,
        None if byte < 127 || (byte == 127 && !swedish) => byte as char,
        None => '?',
    }
}
