//! Compressed pieces: MariaDB's zlib form of QUERY and rows events and of columns, and MySQL's TRANSACTION_PAYLOAD.
//!
//! Every length in the input is a claim: output grows only as data really comes out, and stops at a cap.

use std::io::Read;

use flate2::read::{DeflateDecoder, ZlibDecoder};

use super::reader::{Malformed, Parsed, Reader};

/// Most bytes one event may have uncompressed (the servers' largest packet is 1 GiB).
pub const MAX_EVENT: u64 = (1 << 30) + (1 << 20);

/// Uncompresses what MariaDB's `log_bin_compress` wrote: a mark with the algorithm and the length's size, the
/// length (big-endian), a zlib stream. At most `cap` bytes are produced; more is an error unless `prefix` is set.
///
/// # Errors
/// For an unknown algorithm, a damaged stream, or another length than the one written.
pub fn event_data(bytes: &[u8], cap: u64, prefix: bool) -> Parsed<Vec<u8>> {
    let mut r = Reader::new(bytes);
    let mark = r.u8()?;
    let (algorithm, size) = ((mark & 0x70) >> 4, usize::from(mark & 0x07));
    if mark & 0x80 == 0 || algorithm != 0 || !(1..=4).contains(&size) {
        return Err(Malformed::new(format!("unknown compression mark {mark:#04x}")));
    }
    let length = r.be(size)?;
    if prefix {
        return read_up_to(ZlibDecoder::new(r.rest()), cap.min(length));
    }
    whole(ZlibDecoder::new(r.rest()), length, cap)
}

/// Uncompresses a value of MariaDB's COMPRESSED columns: a mark, the length (big-endian), a deflate stream.
///
/// # Errors
/// As for [`event_data`].
pub fn column_value(bytes: &[u8]) -> Parsed<std::borrow::Cow<'_, [u8]>> {
    let Some((mark, rest)) = bytes.split_first() else {
        return Ok(std::borrow::Cow::Borrowed(bytes));
    };
    if *mark == 0 {
        return Ok(std::borrow::Cow::Borrowed(rest));
    }
    let (algorithm, raw, size) = (mark >> 4, mark & 0x08 != 0, usize::from(mark & 0x07));
    if algorithm != 8 || !(1..=4).contains(&size) {
        return Err(Malformed::new(format!("unknown compression mark {mark:#04x} of a column")));
    }
    let mut r = Reader::new(rest);
    let length = r.be(size)?;
    let value = if raw {
        whole(DeflateDecoder::new(r.rest()), length, MAX_EVENT)?
    } else {
        whole(ZlibDecoder::new(r.rest()), length, MAX_EVENT)?
    };
    Ok(std::borrow::Cow::Owned(value))
}

fn whole(stream: impl Read, length: u64, cap: u64) -> Parsed<Vec<u8>> {
    if length > cap {
        return Err(Malformed::new(format!("{length} bytes uncompressed, at most {cap} are accepted")));
    }
    let out = read_up_to(stream, length + 1)?;
    if out.len() as u64 != length {
        return Err(Malformed::new(format!("uncompressed length differs from the {length} written")));
    }
    Ok(out)
}

/// Reads at most `cap` bytes; the vector grows with what comes out.
fn read_up_to(stream: impl Read, cap: u64) -> Parsed<Vec<u8>> {
    let mut out = Vec::new();
    match stream.take(cap).read_to_end(&mut out) {
        Ok(_) => Ok(out),
        Err(e) => Err(Malformed::new(format!("compressed data: {e}"))),
    }
}

/// A TRANSACTION_PAYLOAD event: a whole transaction's events, without checksums, in one zstd stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    zstd: bool,
    /// Bytes of its events.
    uncompressed: Option<u64>,
    data: &'a [u8],
}

impl<'a> Payload<'a> {
    /// Parses the event's body: numbered fields of type, length and value.
    ///
    /// # Errors
    /// For an unknown compression and short events.
    pub fn parse(body: &'a [u8]) -> Parsed<Payload<'a>> {
        let mut r = Reader::new(body);
        let (mut zstd, mut size, mut uncompressed) = (false, None, None);
        loop {
            let field = r.lenenc()?;
            if field == 0 {
                break;
            }
            let mut value = Reader::new(r.lenenc_bytes()?);
            match field {
                1 => size = Some(value.lenenc()?),
                2 => match value.lenenc()? {
                    0 => zstd = true,
                    255 => zstd = false,
                    other => return Err(Malformed::new(format!("unknown payload compression {other}"))),
                },
                3 => uncompressed = Some(value.lenenc()?),
                _ => {}
            }
        }
        let size = size.ok_or(Malformed::because("transaction payload without its size"))?;
        if size != r.rest().len() as u64 {
            return Err(Malformed::new(format!("payload of {size} bytes in {} bytes", r.rest().len())));
        }
        Ok(Payload { zstd, uncompressed, data: r.rest() })
    }

    /// Bytes of its events, if it says so: whoever reads the stream refuses to go on behind them.
    #[must_use]
    pub fn uncompressed(&self) -> Option<u64> {
        self.uncompressed
    }

    /// A stream of the events' bytes; reading it needs memory for one zstd window only.
    ///
    /// # Errors
    /// If the decoder cannot start.
    pub fn open(&self) -> Parsed<Box<dyn Read + 'a>> {
        if !self.zstd {
            return Ok(Box::new(self.data));
        }
        let mut decoder = zstd::stream::read::Decoder::new(self.data)
            .map_err(|e| Malformed::new(format!("open zstd payload: {e}")))?;
        // the server's largest window
        decoder.window_log_max(27).map_err(|e| Malformed::new(format!("open zstd payload: {e}")))?;
        Ok(Box::new(decoder))
    }
}
