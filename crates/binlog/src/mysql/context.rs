//! Normalised events: what a buffered transaction consists of.
//!
//! Fetching verifies an event's checksum and strips it. A pushed item is `[19-byte header][body]`, where the header's
//! `size` is the item's own length and `end_log_pos` the low 32 bits of the offset where the event *really* ended (also
//! where the server wrote 0). The first item of every transaction is Tidelake's own: type 254, and a body of
//! `version u8 = 1, flavor u8 (0 MariaDB, 1 MySQL), table id length u8, start offset u64 LE, file name (UTF-8)`.

use bytes::Bytes;
use tidelake_core::types::text::ServerFlavor;

use super::event::{EventHeader, EventType, HEADER_LEN};
use super::reader::{Malformed, Parsed, Reader};

/// What decoding a transaction needs to know besides its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionContext {
    /// Which kind of server wrote it.
    pub flavor: ServerFlavor,
    /// Bytes of a table id in its events.
    pub table_id_len: u8,
    /// Offset in `file` where the transaction's first event began.
    pub start: u64,
    /// The binlog file it began in.
    pub file: String,
}

const VERSION: u8 = 1;

impl TransactionContext {
    /// The first item of the transaction.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = vec![VERSION, u8::from(self.flavor != ServerFlavor::MariaDb), self.table_id_len];
        body.extend_from_slice(&self.start.to_le_bytes());
        body.extend_from_slice(self.file.as_bytes());
        let header = EventHeader {
            timestamp: 0,
            kind: EventType::TIDELAKE_CONTEXT,
            server_id: 0,
            size: 0,
            end_log_pos: self.start as u32,
            flags: 0,
        };
        let mut out = Vec::new();
        write_item(header, &body, self.start, &mut out);
        out
    }

    /// Reads the first item of a transaction.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(item: &[u8]) -> Parsed<TransactionContext> {
        let header = EventHeader::parse(item)?;
        let mut r = Reader::new(&item[HEADER_LEN..]);
        let version = r.u8()?;
        if header.kind != EventType::TIDELAKE_CONTEXT || version != VERSION {
            return Err(Malformed::because("the transaction does not begin with its context"));
        }
        let flavor = if r.u8()? == 0 { ServerFlavor::MariaDb } else { ServerFlavor::MySql };
        let (table_id_len, start) = (r.u8()?, r.u64()?);
        let file = String::from_utf8_lossy(r.rest()).into_owned();
        Ok(TransactionContext { flavor, table_id_len, start, file })
    }
}

/// Writes an item: `header` with size and end offset set right, and the body without checksum.
pub fn write_item(header: EventHeader, body: &[u8], end: u64, out: &mut Vec<u8>) {
    out.clear();
    out.reserve(HEADER_LEN + body.len());
    let size = u32::try_from(HEADER_LEN + body.len()).unwrap_or(u32::MAX);
    EventHeader { size, end_log_pos: end as u32, ..header }.write(out);
    out.extend_from_slice(body);
}

/// One normalised event read back.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its header.
    pub header: EventHeader,
    /// Its body, without checksum.
    pub body: Bytes,
}

impl Item {
    /// Splits an item.
    ///
    /// # Errors
    /// If it is shorter than a header, or of another length than its header says.
    pub fn parse(item: &Bytes) -> Parsed<Item> {
        let header = EventHeader::parse(item)?;
        if header.size as usize != item.len() {
            let (size, len) = (header.size, item.len());
            return Err(Malformed::new(format!("buffered event of {len} bytes that names {size}")));
        }
        Ok(Item { header, body: item.slice(HEADER_LEN..) })
    }
}

/// The offset whose low 32 bits are `low`, at or after `least`.
#[must_use]
pub fn widen(low: u32, least: u64) -> u64 {
    let candidate = (least & !0xffff_ffff) | u64::from(low);
    if candidate < least { candidate + (1 << 32) } else { candidate }
}
