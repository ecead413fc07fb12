//! Text functions. Positions and lengths count characters, from 1.

use datafusion::common::Result;
use sha1::Digest;

use super::Want::{B, I, S};
use super::{Body, FnDef, Gives, MANY, Out, Row, Want, by_row};
use crate::session::SqlError;
use crate::sql::error::through;
use crate::sql::types::Ty;

const fn nulls(
    name: &'static str,
    arity: (usize, usize),
    gives: Ty,
    wants: &'static [Want],
    body: fn(&Row) -> Result<Out>,
) -> FnDef {
    FnDef { name, arity, gives: Gives::Always(gives), body: Body::RowsWithNulls(wants, body) }
}

pub(super) const FUNCTIONS: &[FnDef] = &[
    by_row("concat", (1, MANY), Ty::Text, &[S], |r| Ok(Out::S((0..r.len()).map(|i| r.s(i)).collect()))),
    nulls("concat_ws", (2, MANY), Ty::Text, &[S], concat_ws),
    by_row("length", (1, 1), Ty::Int, &[B], |r| Ok(Out::I(r.b(0).len() as i64))),
    by_row("bit_length", (1, 1), Ty::Int, &[B], |r| Ok(Out::I(r.b(0).len() as i64 * 8))),
    by_row("char_length", (1, 1), Ty::Int, &[S], |r| Ok(Out::I(r.s(0).chars().count() as i64))),
    by_row("upper", (1, 1), Ty::Text, &[S], |r| Ok(Out::S(r.s(0).to_uppercase()))),
    by_row("lower", (1, 1), Ty::Text, &[S], |r| Ok(Out::S(r.s(0).to_lowercase()))),
    by_row("left", (2, 2), Ty::Text, &[S, I], |r| Ok(Out::S(r.s(0).chars().take(count(r.i(1))).collect()))),
    by_row("right", (2, 2), Ty::Text, &[S, I], right),
    by_row("substring", (2, 3), Ty::Text, &[S, I, I], substring),
    by_row("substring_index", (3, 3), Ty::Text, &[S, S, I], substring_index),
    by_row("locate", (2, 3), Ty::Int, &[S, S, I], |r| locate(r, 1, 0)),
    by_row("instr", (2, 2), Ty::Int, &[S], |r| locate(r, 0, 1)),
    by_row("__trim", (3, 3), Ty::Text, &[S], trim),
    by_row("ltrim", (1, 1), Ty::Text, &[S], |r| Ok(Out::S(r.s(0).trim_start_matches(' ').to_owned()))),
    by_row("rtrim", (1, 1), Ty::Text, &[S], |r| Ok(Out::S(r.s(0).trim_end_matches(' ').to_owned()))),
    by_row("replace", (3, 3), Ty::Text, &[S], |r| {
        Ok(Out::S(if r.s(1).is_empty() { r.s(0).to_owned() } else { r.s(0).replace(r.s(1), r.s(2)) }))
    }),
    by_row("repeat", (2, 2), Ty::Text, &[S, I], |r| repeat(r.s(0), r.i(1))),
    by_row("space", (1, 1), Ty::Text, &[I], |r| repeat(" ", r.i(0))),
    by_row("reverse", (1, 1), Ty::Text, &[S], |r| Ok(Out::S(r.s(0).chars().rev().collect()))),
    by_row("lpad", (3, 3), Ty::Text, &[S, I, S], |r| pad(r, true)),
    by_row("rpad", (3, 3), Ty::Text, &[S, I, S], |r| pad(r, false)),
    by_row("ascii", (1, 1), Ty::Int, &[B], |r| Ok(Out::I(r.b(0).first().map_or(0, |b| i64::from(*b))))),
    by_row("ord", (1, 1), Ty::Int, &[S], |r| {
        let first = r.s(0).chars().next().map(String::from).unwrap_or_default();
        Ok(Out::I(first.bytes().fold(0, |n, b| n * 256 + i64::from(b))))
    }),
    by_row("hex", (1, 1), Ty::Text, &[B], hex),
    by_row("unhex", (1, 1), Ty::Bytes, &[S], |r| Ok(unhex(r.s(0)).map_or(Out::Null, Out::B))),
    by_row("md5", (1, 1), Ty::Text, &[B], |r| Ok(Out::S(md5_hex(r.b(0))))),
    by_row("sha1", (1, 1), Ty::Text, &[B], |r| Ok(Out::S(hex_lower(&sha1::Sha1::digest(r.b(0)))))),
    by_row("sha2", (2, 2), Ty::Text, &[B, I], sha2_hex),
    by_row("crc32", (1, 1), Ty::UInt, &[B], |r| Ok(Out::U(u64::from(crc32(r.b(0)))))),
    by_row("strcmp", (2, 2), Ty::Int, &[S], |r| {
        let rules = r.rules;
        Ok(Out::I(rules.key(r.s(0)).cmp(&rules.key(r.s(1))) as i64))
    }),
    nulls("field", (2, MANY), Ty::Int, &[S], |r| {
        if r.is_null(0) {
            return Ok(Out::I(0));
        }
        let found = (1..r.len()).find(|i| !r.is_null(*i) && same(r, r.s(0), r.s(*i)));
        Ok(Out::I(found.map_or(0, |i| i as i64)))
    }),
    nulls("elt", (2, MANY), Ty::Text, &[I, S], |r| {
        let at = if r.is_null(0) { 0 } else { usize::try_from(r.i(0)).unwrap_or(0) };
        let inside = at >= 1 && at < r.len() && !r.is_null(at);
        Ok(if inside { Out::S(r.s(at).to_owned()) } else { Out::Null })
    }),
    by_row("find_in_set", (2, 2), Ty::Int, &[S], |r| {
        let at = r.s(1).split(',').position(|part| r.rules.fold(part) == r.rules.fold(r.s(0)));
        Ok(Out::I(if r.s(1).is_empty() { 0 } else { at.map_or(0, |i| i as i64 + 1) }))
    }),
    nulls("quote", (1, 1), Ty::Text, &[S], |r| {
        if r.is_null(0) {
            return Ok(Out::S("NULL".to_owned()));
        }
        Ok(Out::S(format!("'{}'", r.s(0).replace('\\', "\\\\").replace('\'', "\\'").replace('\0', "\\0"))))
    }),
];

fn same(r: &Row, a: &str, b: &str) -> bool {
    r.rules.key(a) == r.rules.key(b)
}

fn count(n: i64) -> usize {
    usize::try_from(n).unwrap_or(0)
}

fn concat_ws(r: &Row) -> Result<Out> {
    if r.is_null(0) {
        return Ok(Out::Null);
    }
    let parts: Vec<&str> = (1..r.len()).filter(|i| !r.is_null(*i)).map(|i| r.s(i)).collect();
    Ok(Out::S(parts.join(r.s(0))))
}

fn right(r: &Row) -> Result<Out> {
    let skip = r.s(0).chars().count().saturating_sub(count(r.i(1)));
    Ok(Out::S(r.s(0).chars().skip(skip).collect()))
}

fn substring(r: &Row) -> Result<Out> {
    let n = r.s(0).chars().count() as i64;
    let from = r.i(1);
    let start = if from < 0 { n + from } else { from - 1 };
    let take = if r.len() == 3 { count(r.i(2)) } else { usize::MAX };
    if from == 0 || start < 0 || start >= n {
        return Ok(Out::S(String::new()));
    }
    Ok(Out::S(r.s(0).chars().skip(start as usize).take(take).collect()))
}

fn substring_index(r: &Row) -> Result<Out> {
    let (text, delimiter, n) = (r.s(0), r.s(1), r.i(2));
    if delimiter.is_empty() || n == 0 {
        return Ok(Out::S(String::new()));
    }
    let found: Vec<usize> = text.match_indices(delimiter).map(|(at, _)| at).collect();
    let nth = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
    if nth > found.len() {
        return Ok(Out::S(text.to_owned()));
    }
    Ok(Out::S(if n > 0 {
        text[..found[nth - 1]].to_owned()
    } else {
        text[found[found.len() - nth] + delimiter.len()..].to_owned()
    }))
}

fn locate(r: &Row, text: usize, part: usize) -> Result<Out> {
    let from = if r.len() == 3 { r.i(2) } else { 1 };
    if from < 1 {
        return Ok(Out::I(0));
    }
    // Folding keeps one character one character only where no marks fall away, so fold char by char.
    let rules = r.rules;
    let fold = |t: &str| t.chars().map(|c| rules.fold(&c.to_string()).into_owned()).collect::<Vec<String>>();
    let (text, part) = (fold(r.s(text)), fold(r.s(part)));
    let start = (from - 1) as usize;
    if part.is_empty() {
        return Ok(Out::I(if start <= text.len() { from } else { 0 }));
    }
    let at = text.get(start..).and_then(|rest| rest.windows(part.len()).position(|w| w == part));
    Ok(Out::I(at.map_or(0, |i| (i + start) as i64 + 1)))
}

fn trim(r: &Row) -> Result<Out> {
    let (mut text, what) = (r.s(0), r.s(1));
    if what.is_empty() {
        return Ok(Out::S(text.to_owned()));
    }
    if r.s(2) != "trailing" {
        text = text.trim_start_matches(what);
    }
    if r.s(2) != "leading" {
        text = text.trim_end_matches(what);
    }
    Ok(Out::S(text.to_owned()))
}

/// Longest text a function makes, as `max_allowed_packet` bounds it: more is NULL.
const MAX_TEXT: usize = 16 << 20;

fn repeat(text: &str, n: i64) -> Result<Out> {
    let n = count(n);
    if text.len().saturating_mul(n) > MAX_TEXT {
        return Ok(Out::Null);
    }
    Ok(Out::S(text.repeat(n)))
}

fn pad(r: &Row, left: bool) -> Result<Out> {
    let (text, filler) = (r.s(0), r.s(2));
    let Some(length) = usize::try_from(r.i(1)).ok().filter(|n| *n <= MAX_TEXT) else { return Ok(Out::Null) };
    let have = text.chars().count();
    if have >= length {
        return Ok(Out::S(text.chars().take(length).collect()));
    }
    if filler.is_empty() {
        return Ok(Out::Null);
    }
    let fill: String = filler.chars().cycle().take(length - have).collect();
    Ok(Out::S(if left { fill + text } else { text.to_owned() + &fill }))
}

fn hex(r: &Row) -> Result<Out> {
    if r.ty(0).is_number() {
        let text = String::from_utf8_lossy(r.b(0)).into_owned();
        let n = crate::sql::convert::leading_double(&text);
        let whole = text.parse::<u64>().unwrap_or_else(|_| text.parse::<i64>().unwrap_or(n.round() as i64) as u64);
        return Ok(Out::S(format!("{whole:X}")));
    }
    Ok(Out::S(r.b(0).iter().map(|b| format!("{b:02X}")).collect()))
}

pub(super) fn hex_lower(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() {
        return None;
    }
    let padded = if text.len() % 2 == 1 { format!("0{text}") } else { text.to_owned() };
    (0..padded.len()).step_by(2).map(|i| u8::from_str_radix(padded.get(i..i + 2)?, 16).ok()).collect()
}

fn sha2_hex(r: &Row) -> Result<Out> {
    Ok(match r.i(1) {
        0 | 256 => Out::S(hex_lower(&sha2::Sha256::digest(r.b(0)))),
        224 => Out::S(hex_lower(&sha2::Sha224::digest(r.b(0)))),
        384 => Out::S(hex_lower(&sha2::Sha384::digest(r.b(0)))),
        512 => Out::S(hex_lower(&sha2::Sha512::digest(r.b(0)))),
        _ => Out::Null,
    })
}

/// MD5 (RFC 1321): a checksum here, nothing is protected by it.
fn md5_hex(data: &[u8]) -> String {
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let shifts = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut message = data.to_vec();
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    message.extend_from_slice(&(data.len() as u64).wrapping_mul(8).to_le_bytes());
    for block in message.chunks_exact(64) {
        let word = |i: usize| u32::from_le_bytes([block[4 * i], block[4 * i + 1], block[4 * i + 2], block[4 * i + 3]]);
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64 {
            let (mix, g) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), 7 * i % 16),
            };
            let k = (((i + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mix).wrapping_add(k).wrapping_add(word(g));
            (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(shifts[i / 16][i % 4])));
        }
        for (s, v) in state.iter_mut().zip([a, b, c, d]) {
            *s = s.wrapping_add(v);
        }
    }
    state.iter().map(|s| hex_lower(&s.to_le_bytes())).collect()
}

/// CRC-32 (IEEE 802.3).
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 })
    })
}

pub(super) fn compiled(pattern: &str, case_insensitive: bool) -> Result<regex::Regex> {
    thread_local! {
        static LAST: std::cell::RefCell<Option<(String, bool, regex::Regex)>> = const { std::cell::RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| {
        if let Some((text, ci, regex)) = last
            && text == pattern
            && *ci == case_insensitive
        {
            return Ok(regex.clone());
        }
        let regex = regex::RegexBuilder::new(pattern)
            .case_insensitive(case_insensitive)
            .build()
            .map_err(|e| through(SqlError::new(1139, "42000", format!("Regex error '{e}' in pattern '{pattern}'"))))?;
        *last = Some((pattern.to_owned(), case_insensitive, regex.clone()));
        Ok(regex)
    })
}

/// `text REGEXP pattern`, the third argument says whether case counts (0) or not.
pub(super) fn regexp(r: &Row) -> Result<Out> {
    Ok(Out::Bool(compiled(r.s(1), r.i(2) != 0)?.is_match(r.s(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_known_texts() {
        assert_eq!(md5_hex(b""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(md5_hex(b"message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(unhex("4D7"), Some(vec![4, 0xd7]));
        assert_eq!(unhex("zz"), None);
    }
}
