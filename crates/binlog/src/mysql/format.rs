//! The format description: who wrote the file, how long post-headers are, and whether events end with a checksum.

use tidelake_core::types::text::ServerFlavor;

use super::event::{EventHeader, EventType, FLAG_IN_USE, HEADER_LEN};
use super::reader::{Malformed, Parsed, Reader};

/// Bytes of a checksum at the end of an event.
pub const CHECKSUM_LEN: usize = 4;
/// Offset of the flags in a header.
const FLAGS_AT: usize = 17;

/// What a FORMAT_DESCRIPTION event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatDescription {
    /// Version text of the server, e.g. `11.8.9-MariaDB-log`.
    pub server_version: String,
    /// Which kind of server.
    pub flavor: ServerFlavor,
    /// Events end with a CRC32.
    pub checksums: bool,
    /// Seconds since 1970 of the server's start if this is the first file after it, else 0.
    pub created: u32,
    /// Bytes of a table id in TABLE_MAP and rows events: 6, or 4 in files of early 5.1 servers.
    pub table_id_len: u8,
}

impl FormatDescription {
    /// Parses a whole FORMAT_DESCRIPTION event (header, body, checksum) and verifies its checksum if it has one.
    ///
    /// # Errors
    /// For other binlog versions than 4, unknown checksum algorithms, a wrong checksum, and short events.
    pub fn parse(event: &[u8]) -> Parsed<FormatDescription> {
        let header = EventHeader::parse(event)?;
        let mut r = Reader::new(&event[HEADER_LEN..]);
        let version = r.u16()?;
        if version != 4 {
            return Err(Malformed::new(format!(
                "binlog version {version}: only version 4 (MySQL 5.0 and later) is read"
            )));
        }
        let text = r.bytes(50)?;
        let text = text.split(|b| *b == 0).next().unwrap_or_default();
        let server_version = String::from_utf8_lossy(text).into_owned();
        let created = r.u32()?;
        let header_len = r.u8()?;
        if usize::from(header_len) != HEADER_LEN {
            return Err(Malformed::new(format!("event headers of {header_len} bytes, {HEADER_LEN} expected")));
        }
        let checksums = checksum_algorithm(&server_version, &mut r, event, header)?;
        let lengths = r.rest();
        let table_map = lengths.get(usize::from(EventType::TABLE_MAP.0) - 1).copied().unwrap_or(8);
        let flavor = if server_version.contains("MariaDB") { ServerFlavor::MariaDb } else { ServerFlavor::MySql };
        let table_id_len = if table_map == 6 { 4 } else { 6 };
        Ok(FormatDescription { server_version, flavor, checksums, created, table_id_len })
    }

    /// The body of an event, without header and (verified) checksum.
    ///
    /// # Errors
    /// If the checksum is missing or wrong.
    pub fn body<'a>(&self, event: &'a [u8]) -> Parsed<&'a [u8]> {
        if !self.checksums {
            return Ok(&event[HEADER_LEN.min(event.len())..]);
        }
        verified(event, event)
    }
}

/// Reads the checksum algorithm from the end of the event and leaves the post-header lengths in `r`.
fn checksum_algorithm(version: &str, r: &mut Reader<'_>, event: &[u8], header: EventHeader) -> Parsed<bool> {
    let knows = knows_checksums(version);
    if !knows {
        return Ok(false);
    }
    let tail = r.rest().len();
    if tail < CHECKSUM_LEN + 1 {
        return Err(Malformed::because("format description too short for its checksum"));
    }
    let algorithm = r.rest()[tail - CHECKSUM_LEN - 1];
    *r = Reader::new(&r.rest()[..tail - CHECKSUM_LEN - 1]);
    match algorithm {
        0 | 255 => Ok(false),
        1 => {
            // the checksum was taken before the server marked the file as in use
            let mut copy = event.to_vec();
            let flags = (header.flags & !FLAG_IN_USE).to_le_bytes();
            copy[FLAGS_AT..FLAGS_AT + 2].copy_from_slice(&flags);
            verified(&copy, event)?;
            Ok(true)
        }
        other => Err(Malformed::new(format!("unknown checksum algorithm {other}"))),
    }
}

/// MySQL since 5.6.1 and MariaDB since 5.3 write the algorithm; older servers do not know of checksums.
fn knows_checksums(version: &str) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    let v = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version.contains("MariaDB") { v >= (5, 3, 0) } else { v >= (5, 6, 1) }
}

/// Checks that `checked` ends with the CRC32 of what is before; returns the body of `event`.
fn verified<'a>(checked: &[u8], event: &'a [u8]) -> Parsed<&'a [u8]> {
    if event.len() < HEADER_LEN + CHECKSUM_LEN {
        return Err(Malformed::because("event too short for its checksum"));
    }
    let (content, sum) = checked.split_at(checked.len() - CHECKSUM_LEN);
    let wanted = u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]);
    let found = crc32fast::hash(content);
    if wanted != found {
        return Err(Malformed::new(format!("checksum {found:08x} of the event's bytes, {wanted:08x} written")));
    }
    Ok(&event[HEADER_LEN..event.len() - CHECKSUM_LEN])
}

/// The body of an event that comes before a format description is known (an artificial ROTATE): with a checksum
/// if its last four bytes are one.
#[must_use]
pub fn body_of_unknown_format(event: &[u8]) -> &[u8] {
    verified(event, event).unwrap_or(&event[HEADER_LEN.min(event.len())..])
}
