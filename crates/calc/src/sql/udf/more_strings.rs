//! Text functions that few ask for: regular expressions, base 64, sets of bits as texts, character sets.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use datafusion::common::Result;

use super::Want::{B, I, S, U};
use super::strings::compiled;
use super::{Body, Call, FnDef, Gives, MANY, Out, Row, by_row};
use crate::sql::types::Ty;

pub(super) const FUNCTIONS: &[FnDef] = &[
    by_row("regexp_replace", (3, 3), Ty::Text, &[S], |r| {
        let regex = compiled(r.s(1), r.rules.case_insensitive)?;
        Ok(Out::S(regex.replace_all(r.s(0), r.s(2).replace('\\', "$")).into_owned()))
    }),
    by_row("regexp_substr", (2, 2), Ty::Text, &[S], |r| {
        let regex = compiled(r.s(1), r.rules.case_insensitive)?;
        Ok(Out::S(regex.find(r.s(0)).map_or(String::new(), |m| m.as_str().to_owned())))
    }),
    by_row("regexp_instr", (2, 2), Ty::Int, &[S], |r| {
        let regex = compiled(r.s(1), r.rules.case_insensitive)?;
        let found = regex.find(r.s(0));
        Ok(Out::I(found.map_or(0, |m| r.s(0)[..m.start()].chars().count() as i64 + 1)))
    }),
    by_row("to_base64", (1, 1), Ty::Text, &[B], |r| Ok(Out::S(to_base64(r.b(0))))),
    by_row("from_base64", (1, 1), Ty::Bytes, &[S], |r| Ok(from_base64(r.s(0)).map_or(Out::Null, Out::B))),
    by_row("insert", (4, 4), Ty::Text, &[S, I, I, S], insert),
    FnDef {
        name: "make_set",
        arity: (2, MANY),
        gives: Gives::Always(Ty::Text),
        body: Body::RowsWithNulls(&[U, S], |r| {
            if r.is_null(0) {
                return Ok(Out::Null);
            }
            let chosen = (1..r.len().min(65)).filter(|i| r.u(0) >> (i - 1) & 1 == 1 && !r.is_null(*i));
            Ok(Out::S(chosen.map(|i| r.s(i)).collect::<Vec<_>>().join(",")))
        }),
    },
    by_row("export_set", (3, 5), Ty::Text, &[U, S, S, S, I], |r| {
        let separator = if r.len() > 3 { r.s(3) } else { "," };
        let bits = if r.len() > 4 { usize::try_from(r.i(4)).unwrap_or(64).min(64) } else { 64 };
        let names: Vec<&str> = (0..bits).map(|bit| if r.u(0) >> bit & 1 == 1 { r.s(1) } else { r.s(2) }).collect();
        Ok(Out::S(names.join(separator)))
    }),
    FnDef {
        name: "charset",
        arity: (1, 1),
        gives: Gives::Always(Ty::Text),
        body: Body::Columns(|c| collation_part(c, |name| name.split('_').next().unwrap_or(name).to_owned())),
    },
    FnDef {
        name: "collation",
        arity: (1, 1),
        gives: Gives::Always(Ty::Text),
        body: Body::Columns(|c| collation_part(c, str::to_owned)),
    },
    by_row("soundex", (1, 1), Ty::Text, &[S], |r| Ok(Out::S(soundex(r.s(0))))),
    FnDef {
        name: "char",
        arity: (1, MANY),
        gives: Gives::Always(Ty::Bytes),
        body: Body::RowsWithNulls(&[U], |r| {
            let mut out = Vec::new();
            for i in (0..r.len()).filter(|i| !r.is_null(*i)) {
                let bytes = (r.u(i) as u32).to_be_bytes();
                let skip = bytes.iter().take(3).take_while(|b| **b == 0).count();
                out.extend_from_slice(&bytes[skip..]);
            }
            Ok(Out::B(out))
        }),
    },
];

fn collation_part(call: &Call, part: fn(&str) -> String) -> Result<ArrayRef> {
    let name = match crate::sql::types::ty_of(&call.fields[0]) {
        Ty::Text => super::text_collation(&call.fields[0], call.context),
        _ => "binary".to_owned(),
    };
    Ok(Arc::new(StringArray::from(vec![part(&name); call.rows])))
}

fn insert(r: &Row) -> Result<Out> {
    let (text, at, length) = (r.s(0), r.i(1), r.i(2));
    let n = text.chars().count() as i64;
    if at < 1 || at > n {
        return Ok(Out::S(text.to_owned()));
    }
    let length = if length < 0 || at - 1 + length > n { n } else { length };
    let before = text.chars().take((at - 1) as usize);
    let after = text.chars().skip((at - 1).saturating_add(length) as usize);
    Ok(Out::S(before.chain(r.s(3).chars()).chain(after).collect()))
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Lines of 76 characters, as the upstream writes.
fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for (i, chunk) in bytes.chunks(3).enumerate() {
        if i > 0 && i % 19 == 0 {
            out.push('\n');
        }
        let word = chunk.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let all: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    if !all.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(all.len() / 4 * 3);
    for (i, chunk) in all.chunks(4).enumerate() {
        let pad = chunk.iter().rev().take_while(|b| **b == b'=').count();
        if pad > 2 || (pad > 0 && (i + 1) * 4 != all.len()) {
            return None;
        }
        let mut word = 0_u32;
        for b in &chunk[..4 - pad] {
            word = word << 6 | DIGITS.iter().position(|d| d == b)? as u32;
        }
        let bytes = (word << (6 * pad)).to_be_bytes();
        out.extend_from_slice(&bytes[1..4 - pad]);
    }
    Some(out)
}

/// The first letter and the classes of the consonants after it, at least four characters.
fn soundex(text: &str) -> String {
    let class = |c: char| match c.to_ascii_uppercase() {
        'B' | 'F' | 'P' | 'V' => '1',
        'C' | 'G' | 'J' | 'K' | 'Q' | 'S' | 'X' | 'Z' => '2',
        'D' | 'T' => '3',
        'L' => '4',
        'M' | 'N' => '5',
        'R' => '6',
        _ => '0',
    };
    let mut letters = text.chars().filter(|c| c.is_alphabetic());
    let Some(first) = letters.next() else { return String::new() };
    let mut out: String = first.to_uppercase().collect();
    let mut last = class(first);
    for c in letters {
        let one = class(c);
        // Vowels do not part equal neighbours.
        if one != '0' && one != last {
            out.push(one);
            last = one;
        }
    }
    while out.chars().count() < 4 {
        out.push('0');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_both_ways() {
        for (text, coded) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abcé", "YWJjw6k=")] {
            assert_eq!(to_base64(text.as_bytes()), coded);
            assert_eq!(from_base64(coded).unwrap(), text.as_bytes());
        }
        assert_eq!((from_base64("YQ="), from_base64("Y!=="), from_base64("YQ==YQ==")), (None, None, None));
        assert_eq!(to_base64(&[0; 60]).lines().map(str::len).collect::<Vec<_>>(), [76, 4]);
    }

    #[test]
    fn sounds_as_the_upstream_hears() {
        for (text, sound) in [("Hammer", "H560"), ("Äpfel", "Ä140"), ("", ""), ("12", ""), ("Zange 12", "Z520")] {
            assert_eq!(soundex(text), sound);
        }
    }
}
