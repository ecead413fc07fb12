//! Values as TiDB's `codec.EncodeValue` writes them: a flag, then the value.

use std::borrow::Cow;

use crate::mysql::reader::{Malformed, Parsed, Reader};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum<'a> {
    /// NULL.
    Null,
    /// Strings and bytes; dates, times, DECIMAL and JSON as text.
    Bytes(Cow<'a, [u8]>),
    /// Signed integers.
    Int(i64),
    /// Unsigned integers, ENUM, SET, BIT.
    Uint(u64),
    /// FLOAT and DOUBLE.
    Float(f64),
}

/// Reads the one value in `bytes`.
///
/// # Errors
/// For a flag that Drainer does not write, and damage.
pub fn decode(bytes: &[u8]) -> Parsed<Datum<'_>> {
    let mut r = Reader::new(bytes);
    let datum = match r.u8()? {
        0 => Datum::Null,
        1 => Datum::Bytes(Cow::Owned(comparable(&mut r)?)),
        2 => {
            let length = varint(&mut r)?;
            let length = usize::try_from(length).map_err(|_| Malformed::because("a negative length"))?;
            Datum::Bytes(Cow::Borrowed(r.bytes(length)?))
        }
        3 => Datum::Int((r.be(8)? ^ 1 << 63) as i64),
        4 => Datum::Uint(r.be(8)?),
        5 => {
            let bits = r.be(8)?;
            Datum::Float(f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits }))
        }
        8 => Datum::Int(varint(&mut r)?),
        9 => Datum::Uint(uvarint(&mut r)?),
        other => return Err(Malformed::new(format!("a value with flag {other}"))),
    };
    if r.is_empty() { Ok(datum) } else { Err(Malformed::because("bytes behind a value")) }
}

/// Groups of eight bytes, each with 255 minus the number of its padding bytes behind it.
fn comparable(r: &mut Reader<'_>) -> Parsed<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let group = r.bytes(8)?;
        let padding = usize::from(255 - r.u8()?);
        let used =
            8usize.checked_sub(padding).ok_or(Malformed::because("a group with more than eight bytes of padding"))?;
        out.extend_from_slice(&group[..used]);
        if padding > 0 {
            return Ok(out);
        }
    }
}

fn uvarint(r: &mut Reader<'_>) -> Parsed<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = r.u8()?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed::because("an integer of more than 64 bits"))
}

/// Zigzag: the lowest bit is the sign.
fn varint(r: &mut Reader<'_>) -> Parsed<i64> {
    let value = uvarint(r)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(decode(&[0]), Ok(Datum::Null));
        assert_eq!(decode(&[2, 4, b'a', b'b']), Ok(Datum::Bytes(b"ab"[..].into())));
        assert_eq!(decode(&[8, 3]), Ok(Datum::Int(-2)));
        assert_eq!(decode(&[9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Ok(Datum::Uint(u64::MAX)));
        let float = |v: f64| {
            let bits = v.to_bits();
            let bits = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
            [&[5][..], &bits.to_be_bytes()].concat()
        };
        for v in [0.0, 1.5, -2.25e300] {
            assert_eq!(decode(&float(v)), Ok(Datum::Float(v)));
        }
        assert_eq!(decode(&[1, b'a', b'b', 0, 0, 0, 0, 0, 0, 249]), Ok(Datum::Bytes(b"ab".to_vec().into())));
        assert_eq!(decode(&[3, 0x80, 0, 0, 0, 0, 0, 0, 5]), Ok(Datum::Int(5)));
        for wrong in [&[][..], &[2, 4, b'a'], &[7], &[9, 0xff], &[0, 0], &[2, 3]] {
            assert!(decode(wrong).is_err(), "{wrong:?}");
        }
    }
}
