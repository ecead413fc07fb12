//! Events: the 19-byte header that every event of binlog version 4 has, and the numbers of the event types.
//!
//! Formats: MySQL's `libbinlogevents`/`libs/mysql/binlog/event`, MariaDB's `sql/log_event.h`.

use super::reader::{Parsed, Reader};

/// Bytes of a header.
pub const HEADER_LEN: usize = 19;
/// Event flag: the binlog was not closed properly (set in the format description only, outside the checksum).
pub const FLAG_IN_USE: u16 = 0x1;
/// Event flag: made by the server for this connection; it has no place in the file.
pub const FLAG_ARTIFICIAL: u16 = 0x20;
/// Event flag: who does not know the event's type may leave it out.
pub const FLAG_IGNORABLE: u16 = 0x80;

/// The number of an event's type. Unknown numbers are values too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventType(pub u8);

#[allow(missing_docs, reason = "the names are the upstream's own")]
impl EventType {
    pub const START_V3: EventType = EventType(1);
    pub const QUERY: EventType = EventType(2);
    pub const STOP: EventType = EventType(3);
    pub const ROTATE: EventType = EventType(4);
    pub const INTVAR: EventType = EventType(5);
    pub const SLAVE: EventType = EventType(7);
    pub const APPEND_BLOCK: EventType = EventType(9);
    pub const DELETE_FILE: EventType = EventType(11);
    pub const RAND: EventType = EventType(13);
    pub const USER_VAR: EventType = EventType(14);
    pub const FORMAT_DESCRIPTION: EventType = EventType(15);
    pub const XID: EventType = EventType(16);
    pub const BEGIN_LOAD_QUERY: EventType = EventType(17);
    pub const EXECUTE_LOAD_QUERY: EventType = EventType(18);
    pub const TABLE_MAP: EventType = EventType(19);
    pub const WRITE_ROWS_V1: EventType = EventType(23);
    pub const UPDATE_ROWS_V1: EventType = EventType(24);
    pub const DELETE_ROWS_V1: EventType = EventType(25);
    pub const INCIDENT: EventType = EventType(26);
    pub const HEARTBEAT: EventType = EventType(27);
    pub const IGNORABLE: EventType = EventType(28);
    pub const ROWS_QUERY: EventType = EventType(29);
    pub const WRITE_ROWS_V2: EventType = EventType(30);
    pub const UPDATE_ROWS_V2: EventType = EventType(31);
    pub const DELETE_ROWS_V2: EventType = EventType(32);
    pub const GTID: EventType = EventType(33);
    pub const ANONYMOUS_GTID: EventType = EventType(34);
    pub const PREVIOUS_GTIDS: EventType = EventType(35);
    pub const TRANSACTION_CONTEXT: EventType = EventType(36);
    pub const VIEW_CHANGE: EventType = EventType(37);
    pub const XA_PREPARE: EventType = EventType(38);
    pub const PARTIAL_UPDATE_ROWS: EventType = EventType(39);
    pub const TRANSACTION_PAYLOAD: EventType = EventType(40);
    pub const HEARTBEAT_V2: EventType = EventType(41);
    pub const GTID_TAGGED: EventType = EventType(42);
    pub const MARIADB_ANNOTATE_ROWS: EventType = EventType(160);
    pub const MARIADB_BINLOG_CHECKPOINT: EventType = EventType(161);
    pub const MARIADB_GTID: EventType = EventType(162);
    pub const MARIADB_GTID_LIST: EventType = EventType(163);
    pub const MARIADB_START_ENCRYPTION: EventType = EventType(164);
    pub const MARIADB_QUERY_COMPRESSED: EventType = EventType(165);
    pub const MARIADB_WRITE_ROWS_COMPRESSED_V1: EventType = EventType(166);
    pub const MARIADB_UPDATE_ROWS_COMPRESSED_V1: EventType = EventType(167);
    pub const MARIADB_DELETE_ROWS_COMPRESSED_V1: EventType = EventType(168);
    pub const MARIADB_WRITE_ROWS_COMPRESSED: EventType = EventType(169);
    pub const MARIADB_UPDATE_ROWS_COMPRESSED: EventType = EventType(170);
    pub const MARIADB_DELETE_ROWS_COMPRESSED: EventType = EventType(171);
    /// Tidelake's own first item of every buffered transaction: see [`super::context`].
    pub const TIDELAKE_CONTEXT: EventType = EventType(254);

    /// Rows of any kind: written, updated, deleted, compressed or partial.
    #[must_use]
    pub fn is_rows(self) -> bool {
        matches!(self.0, 23..=25 | 30..=32 | 39 | 166..=171)
    }
}

/// The header of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHeader {
    /// Seconds since 1970 UTC at which the statement began.
    pub timestamp: u32,
    /// What it is.
    pub kind: EventType,
    /// The server that wrote it first.
    pub server_id: u32,
    /// Bytes of the whole event: header, body and checksum.
    pub size: u32,
    /// Where the event ends in its file, low 32 bits; 0: not told.
    pub end_log_pos: u32,
    /// `FLAG_*`.
    pub flags: u16,
}

impl EventHeader {
    /// Reads the first 19 bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn parse(bytes: &[u8]) -> Parsed<EventHeader> {
        let mut r = Reader::new(bytes);
        Ok(EventHeader {
            timestamp: r.u32()?,
            kind: EventType(r.u8()?),
            server_id: r.u32()?,
            size: r.u32()?,
            end_log_pos: r.u32()?,
            flags: r.u16()?,
        })
    }

    /// Appends the header's 19 bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_le_bytes());
        out.push(self.kind.0);
        out.extend_from_slice(&self.server_id.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.end_log_pos.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
    }

    /// True for events that the server made for this connection only.
    #[must_use]
    pub fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0
    }
}
