//! Text of any upstream charset -> UTF-8.
//!
//! The single-byte charsets convert by the server's own tables; Unicode's forms by own code; gbk, gb2312, gb18030, big5,
//! cp932, sjis, ujis, eucjpms and euckr by `encoding_rs` (WHATWG's tables: a few rare characters differ from the
//! server's). A byte that is no character in its charset becomes `?`, as the server prints it; but bytes that are not
//! UTF-8 in a utf8 column are refused, because the server prints them raw. `filename` is refused.

use std::sync::Arc;

use encoding_rs::Encoding;

use super::charset_tables::upper_half;
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
    /// ucs2, utf16, utf16le.
    Utf16 {
        /// Most significant byte first.
        big_endian: bool,
    },
    /// utf32.
    Utf32,
    /// Multi-byte charsets of East Asia.
    Library(&'static Encoding),
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
            "ucs2" | "utf16" => Charset::Utf16 { big_endian: true },
            "utf16le" => Charset::Utf16 { big_endian: false },
            "utf32" => Charset::Utf32,
            "gbk" | "gb2312" => Charset::Library(encoding_rs::GBK),
            "gb18030" => Charset::Library(encoding_rs::GB18030),
            "big5" => Charset::Library(encoding_rs::BIG5),
            "sjis" | "cp932" => Charset::Library(encoding_rs::SHIFT_JIS),
            "ujis" | "eucjpms" => Charset::Library(encoding_rs::EUC_JP),
            "euckr" => Charset::Library(encoding_rs::EUC_KR),
            name => {
                let mut table = ['\u{fffd}'; 128];
                upper_half(name)?.chars().zip(&mut table).for_each(|(c, slot)| *slot = c);
                Charset::Table(Arc::new(table))
            }
        })
    }

    /// Converts `bytes`. Borrows them if they are UTF-8 already; otherwise the text is in `scratch`.
    ///
    /// # Errors
    /// For bytes that are not UTF-8 where the charset is.
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
                b => printable(table[usize::from(b - 128)]),
            })),
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
            Charset::Library(encoding) => {
                let (text, damaged) = encoding.decode_without_bom_handling(bytes);
                scratch.extend(text.chars().map(|c| if damaged { printable(c) } else { c }));
            }
        }
        Ok(scratch)
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
        None if byte < 128 => byte as char,
        None => '?',
    }
}
