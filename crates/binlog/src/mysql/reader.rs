//! Checked reading of little-endian bytes: every read says what was missing, none can panic or allocate.

use std::borrow::Cow;

use tidelake_core::Error;

/// Bytes that are not what their format says. The caller knows the place and turns it into an [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub Cow<'static, str>);

/// Result of reading inside one event.
pub type Parsed<T> = Result<T, Malformed>;

impl Malformed {
    /// A reason known at compile time.
    #[must_use]
    pub const fn because(reason: &'static str) -> Malformed {
        Malformed(Cow::Borrowed(reason))
    }

    /// A reason with figures.
    #[must_use]
    pub fn new(reason: String) -> Malformed {
        Malformed(Cow::Owned(reason))
    }

    /// The error of the whole stream, with the place of the event.
    #[must_use]
    pub fn at(self, place: impl Into<String>) -> Error {
        Error::corrupt(place, self.0)
    }
}

/// A cursor over the bytes of one event.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Over all of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// The bytes not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// True at the end.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// If fewer are left.
    #[inline]
    pub fn bytes(&mut self, n: usize) -> Parsed<&'a [u8]> {
        match self.rest.split_at_checked(n) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(Malformed::new(format!("{n} bytes wanted, {} left in the event", self.rest.len()))),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(Malformed::new(format!("{N} bytes wanted, {} left in the event", self.rest.len()))),
        }
    }

    /// One byte.
    ///
    /// # Errors
    /// At the end, as all that follow.
    #[inline]
    pub fn u8(&mut self) -> Parsed<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    ///
    /// # Errors
    /// See [`Reader::u8`].
    #[inline]
    pub fn u16(&mut self) -> Parsed<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Three bytes.
    ///
    /// # Errors
    /// See [`Reader::u8`].
    #[inline]
    pub fn u24(&mut self) -> Parsed<u32> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes.
    ///
    /// # Errors
    /// See [`Reader::u8`].
    #[inline]
    pub fn u32(&mut self) -> Parsed<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Six bytes.
    ///
    /// # Errors
    /// See [`Reader::u8`].
    pub fn u48(&mut self) -> Parsed<u64> {
        self.le(6)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// See [`Reader::u8`].
    #[inline]
    pub fn u64(&mut self) -> Parsed<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// `n <= 8` bytes, little-endian.
    ///
    /// # Errors
    /// See [`Reader::u8`].
    #[inline]
    pub fn le(&mut self, n: usize) -> Parsed<u64> {
        // one load where eight bytes are left; the bits behind the value are shifted out
        if let (1..=8, Some(eight)) = (n, self.rest.first_chunk::<8>()) {
            self.rest = &self.rest[n..];
            return Ok(u64::from_le_bytes(*eight) << (64 - 8 * n) >> (64 - 8 * n));
        }
        let bytes = self.bytes(n)?;
        Ok(bytes.iter().rev().fold(0, |v, b| (v << 8) | u64::from(*b)))
    }

    /// `n <= 8` bytes, big-endian.
    ///
    /// # Errors
    /// See [`Reader::u8`].
    #[inline]
    pub fn be(&mut self, n: usize) -> Parsed<u64> {
        if let (1..=8, Some(eight)) = (n, self.rest.first_chunk::<8>()) {
            self.rest = &self.rest[n..];
            return Ok(u64::from_be_bytes(*eight) >> (64 - 8 * n));
        }
        let bytes = self.bytes(n)?;
        Ok(bytes.iter().fold(0, |v, b| (v << 8) | u64::from(*b)))
    }

    /// A length-encoded integer of the client protocol.
    ///
    /// # Errors
    /// At the end, and for the two marks that are no integers.
    #[inline]
    pub fn lenenc(&mut self) -> Parsed<u64> {
        match self.u8()? {
            v @ 0..=250 => Ok(u64::from(v)),
            252 => Ok(u64::from(self.u16()?)),
            253 => Ok(u64::from(self.u24()?)),
            254 => self.u64(),
            _ => Err(Malformed::because("no length-encoded integer")),
        }
    }

    /// As many bytes as a length-encoded integer says.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn lenenc_bytes(&mut self) -> Parsed<&'a [u8]> {
        let n = self.lenenc()?;
        self.bytes(usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// The bytes before the next NUL, which is read too.
    ///
    /// # Errors
    /// Without a NUL.
    pub fn until_nul(&mut self) -> Parsed<&'a [u8]> {
        let end = self.rest.iter().position(|b| *b == 0).ok_or(Malformed::because("string without its NUL"))?;
        let text = self.bytes(end)?;
        self.u8()?;
        Ok(text)
    }

    /// An unsigned integer of MySQL's `mysql::serialization` format: as many more bytes as the first has trailing ones.
    ///
    /// # Errors
    /// If fewer bytes are left.
    pub fn varint(&mut self) -> Parsed<u64> {
        let first = *self.rest.first().ok_or(Malformed::because("no byte left for an integer"))?;
        let more = first.trailing_ones() as usize;
        if more == 8 {
            self.u8()?;
            return self.u64();
        }
        Ok(self.le(more + 1)? >> (more + 1))
    }
}
