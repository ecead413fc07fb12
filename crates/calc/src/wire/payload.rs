//! Reading and writing the protocol's numbers and strings inside one packet.

use crate::session::SqlError;

use super::constants::error;

/// Reads a packet's payload from front to back; every reader checks the length.
pub(super) struct Payload<'a>(&'a [u8]);

impl<'a> Payload<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Payload<'a> {
        Payload(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], SqlError> {
        let Some((taken, rest)) = self.0.split_at_checked(count) else {
            return Err(malformed(format!("{count} bytes expected, {} left", self.0.len())));
        };
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SqlError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, SqlError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, SqlError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, SqlError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, SqlError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length-encoded integer.
    pub(super) fn length(&mut self) -> Result<u64, SqlError> {
        match self.u8()? {
            short @ 0..=250 => Ok(u64::from(short)),
            0xfc => Ok(u64::from(self.u16()?)),
            0xfd => {
                let [a, b, c] = self.array::<3>()?;
                Ok(u64::from(u32::from_le_bytes([a, b, c, 0])))
            }
            0xfe => self.u64(),
            other => Err(malformed(format!("{other:#x} is no length"))),
        }
    }

    /// A length-encoded string.
    pub(super) fn string(&mut self) -> Result<&'a [u8], SqlError> {
        let length = self.length()?;
        self.bytes(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// A string up to a zero byte, or to the end if there is none.
    pub(super) fn zero_terminated(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        let text = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        text
    }
}

/// Text of a packet as UTF-8.
pub(super) fn utf8<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, SqlError> {
    std::str::from_utf8(bytes).map_err(|e| {
        let (code, state) = error::INVALID_STRING;
        let message =
            format!("{what} is not valid UTF-8 at byte {}; set the client's charset to utf8mb4", e.valid_up_to());
        SqlError::new(code, state, message)
    })
}

pub(super) fn malformed(reason: impl std::fmt::Display) -> SqlError {
    let (code, state) = error::MALFORMED_PACKET;
    SqlError::new(code, state, format!("Malformed communication packet: {reason}"))
}

/// Appends a length-encoded integer.
pub(super) fn put_length(value: u64, out: &mut Vec<u8>) {
    match value {
        0..=250 => out.push(value as u8),
        251..=0xffff => {
            out.push(0xfc);
            out.extend_from_slice(&(value as u16).to_le_bytes());
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend_from_slice(&value.to_le_bytes()[..3]);
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// Appends a length-encoded string.
pub(super) fn put_string(text: &[u8], out: &mut Vec<u8>) {
    put_length(text.len() as u64, out);
    out.extend_from_slice(text);
}

/// Appends what `write` appends as a length-encoded string; if it says `false`, appends `null` instead.
pub(super) fn put_written<E>(
    out: &mut Vec<u8>,
    null: &[u8],
    write: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
) -> Result<(), E> {
    let start = out.len();
    out.push(0);
    if !write(out)? {
        out.truncate(start);
        out.extend_from_slice(null);
        return Ok(());
    }
    let length = out.len() - start - 1;
    if length <= 250 {
        out[start] = length as u8;
        return Ok(());
    }
    let mut header = Vec::with_capacity(9);
    put_length(length as u64, &mut header);
    out.splice(start..=start, header);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_round_trip_at_their_borders() {
        for value in [0, 250, 251, 0xffff, 0x1_0000, 0xff_ffff, 0x100_0000, u64::MAX] {
            let mut out = Vec::new();
            put_length(value, &mut out);
            let mut payload = Payload::new(&out);
            assert_eq!(payload.length().unwrap(), value);
            assert!(payload.is_empty());
        }
    }

    #[test]
    fn written_strings_equal_put_strings() {
        for size in [0, 250, 251, 70_000] {
            let text = vec![7u8; size];
            let (mut put, mut written) = (vec![9], vec![9]);
            put_string(&text, &mut put);
            put_written::<()>(&mut written, b"", |out| {
                out.extend_from_slice(&text);
                Ok(true)
            })
            .unwrap();
            assert_eq!(put, written);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut payload = Payload::new(&bytes);
            let _ = payload.string();
            let _ = payload.zero_terminated();
            let _ = payload.length();
            let _ = payload.u64();
        }
    }
}
