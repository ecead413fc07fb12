//! Kafka's protocol in its older, plain encodings, which every broker since 0.11 speaks (4.x too): big-endian numbers, lengths
//! before strings and arrays.

use crate::mysql::reader::{Malformed, Parsed, Reader};

/// A request being written.
#[derive(Default)]
pub(super) struct Out(pub(super) Vec<u8>);

impl Out {
    pub(super) fn i8(mut self, v: i8) -> Out {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }

    pub(super) fn i16(mut self, v: i16) -> Out {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }

    pub(super) fn i32(mut self, v: i32) -> Out {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }

    pub(super) fn i64(mut self, v: i64) -> Out {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }

    /// Longer text than a protocol string holds is cut off; brokers refuse such names anyway.
    pub(super) fn text(self, text: &str) -> Out {
        let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
        let mut out = self.i16(length);
        out.0.extend_from_slice(&text.as_bytes()[..length as usize]);
        out
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Out {
        let mut out = self.i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        out.0.extend_from_slice(bytes);
        out
    }

    pub(super) fn array<T>(self, items: &[T], each: impl Fn(Out, &T) -> Out) -> Out {
        let out = self.i32(i32::try_from(items.len()).unwrap_or(i32::MAX));
        items.iter().fold(out, each)
    }
}

/// An answer being read.
pub(super) struct In<'a>(pub(super) Reader<'a>);

impl<'a> In<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> In<'a> {
        In(Reader::new(bytes))
    }

    pub(super) fn u8(&mut self) -> Parsed<u8> {
        self.0.u8()
    }

    pub(super) fn i16(&mut self) -> Parsed<i16> {
        Ok(self.0.be(2)? as u16 as i16)
    }

    pub(super) fn i32(&mut self) -> Parsed<i32> {
        Ok(self.0.be(4)? as u32 as i32)
    }

    pub(super) fn i64(&mut self) -> Parsed<i64> {
        Ok(self.0.be(8)? as i64)
    }

    /// `None` for null.
    pub(super) fn text(&mut self) -> Parsed<Option<&'a str>> {
        let Ok(length) = usize::try_from(self.i16()?) else { return Ok(None) };
        let text = std::str::from_utf8(self.0.bytes(length)?);
        text.map(Some).map_err(|_| Malformed::because("a string that is not UTF-8"))
    }

    /// Empty for null.
    pub(super) fn bytes(&mut self) -> Parsed<&'a [u8]> {
        let Ok(length) = usize::try_from(self.i32()?) else { return Ok(&[]) };
        self.0.bytes(length)
    }

    /// Empty for null. Grows with what is there, not with what is claimed.
    pub(super) fn array<T>(&mut self, mut each: impl FnMut(&mut In<'a>) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut out = Vec::new();
        for _ in 0..self.i32()?.max(0) {
            out.push(each(self)?);
        }
        Ok(out)
    }

    /// A zigzag number of at most ten bytes.
    pub(super) fn varint(&mut self) -> Parsed<i64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.0.u8()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Malformed::because("a number of more than ten bytes"))
    }

    /// Bytes behind a zigzag length; empty for null.
    pub(super) fn var_bytes(&mut self) -> Parsed<&'a [u8]> {
        let Ok(length) = usize::try_from(self.varint()?) else { return Ok(&[]) };
        self.0.bytes(length)
    }
}
