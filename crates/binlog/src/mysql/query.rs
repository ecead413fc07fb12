//! QUERY events: a statement's text, and the session that it ran in.

use std::borrow::Cow;

use tidelake_core::types::text::ServerFlavor;

use super::compressed;
use super::reader::{Malformed, Parsed, Reader};

/// A parsed QUERY (2), QUERY_COMPRESSED (165) or EXECUTE_LOAD_QUERY (18) event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryEvent<'a> {
    /// The upstream's id of the session.
    pub session: u32,
    /// The session's default database; empty without.
    pub database: Cow<'a, str>,
    /// Bytes of the statement, in the charset of `client`.
    pub sql: Cow<'a, [u8]>,
    /// The session's `sql_mode` bits, as the server numbers them.
    pub sql_mode: u64,
    /// Collation id of `character_set_client`.
    pub client: Option<u16>,
    /// Collation id of `collation_connection`.
    pub connection: Option<u16>,
    /// Collation id of `collation_server`.
    pub server: Option<u16>,
    /// Collation id of `collation_database`, where it is not the database's own.
    pub database_collation: Option<u16>,
    /// The session's `time_zone`, if the statement depends on it.
    pub time_zone: Option<Cow<'a, str>>,
    /// The session's option bits (`OPTION_*`) that are logged.
    pub flags2: u32,
    /// MySQL 8 and later: `explicit_defaults_for_timestamp`, with statements that depend on it.
    pub explicit_timestamps: Option<bool>,
    /// MySQL 8 and later: the transaction of a DDL statement that changed something in an engine with transactions.
    pub ddl_xid: Option<u64>,
    /// The server is one that logs `ddl_xid` where there is one.
    pub tells_ddl_xid: bool,
    /// Collation id of the default for utf8mb4 (MySQL 8 and later).
    pub default_utf8mb4: Option<u16>,
    /// MariaDB `character_set_collations`: for a charset (by its default collation's id) another default collation.
    pub charset_collations: Vec<(u16, u16)>,
    /// The error code that the statement ended with.
    pub error_code: u16,
}

/// How the text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryForm {
    /// QUERY.
    Plain,
    /// QUERY_COMPRESSED.
    Compressed,
    /// EXECUTE_LOAD_QUERY: 13 more bytes of post-header.
    Load,
}

/// MariaDB's option bit of `explicit_defaults_for_timestamp` (seen on 10.11; servers that do not log it have it off).
const EXPLICIT_TIMESTAMPS: u32 = 1 << 24;

impl<'a> QueryEvent<'a> {
    /// True if a TIMESTAMP column without NULL is NOT NULL in this session.
    #[must_use]
    pub fn implicit_timestamps(&self, flavor: ServerFlavor) -> bool {
        match flavor {
            ServerFlavor::MariaDb => self.flags2 & EXPLICIT_TIMESTAMPS == 0,
            // servers before 8.0 do not log it, and have it off unless configured
            _ => !self.explicit_timestamps.unwrap_or(false),
        }
    }

    /// Parses the body of an event.
    ///
    /// # Errors
    /// If it is too short for its lengths, or damaged where compressed.
    pub fn parse(body: &'a [u8], form: QueryForm) -> Parsed<QueryEvent<'a>> {
        Self::parse_capped(body, form, compressed::MAX_EVENT, false)
    }

    /// Parses the body, but uncompresses only the statement's first `bytes`: enough to see what it is.
    ///
    /// # Errors
    /// As for [`QueryEvent::parse`].
    pub fn parse_start(body: &'a [u8], form: QueryForm, bytes: u64) -> Parsed<QueryEvent<'a>> {
        Self::parse_capped(body, form, bytes, true)
    }

    fn parse_capped(body: &'a [u8], form: QueryForm, cap: u64, prefix: bool) -> Parsed<QueryEvent<'a>> {
        let mut r = Reader::new(body);
        let session = r.u32()?;
        r.bytes(4)?; // execution time
        let database_len = usize::from(r.u8()?);
        let mut event = QueryEvent { session, error_code: r.u16()?, ..QueryEvent::default() };
        let vars_len = usize::from(r.u16()?);
        if form == QueryForm::Load {
            r.bytes(13)?;
        }
        let vars = r.bytes(vars_len)?;
        event.read_variables(vars);
        event.database = String::from_utf8_lossy(r.bytes(database_len)?);
        if r.u8()? != 0 {
            return Err(Malformed::because("database name without its NUL"));
        }
        event.sql = match form {
            QueryForm::Compressed => Cow::Owned(compressed::event_data(r.rest(), cap, prefix)?),
            _ => Cow::Borrowed(r.rest()),
        };
        Ok(event)
    }

    /// Reads the variables that matter, up to the first unknown one (their order is fixed; unknown ones come last).
    fn read_variables(&mut self, vars: &'a [u8]) {
        let mut r = Reader::new(vars);
        while let Ok(code) = r.u8() {
            if self.read_variable(code, &mut r).is_err() {
                return;
            }
        }
    }

    fn read_variable(&mut self, code: u8, r: &mut Reader<'a>) -> Parsed<()> {
        match code {
            0 => self.flags2 = r.u32()?,
            3 | 10 => drop(r.u32()?),
            1 => self.sql_mode = r.u64()?,
            2 => {
                let len = usize::from(r.u8()?);
                r.bytes(len + 1)?;
            }
            4 => (self.client, self.connection, self.server) = (Some(r.u16()?), Some(r.u16()?), Some(r.u16()?)),
            5 => self.time_zone = Some(String::from_utf8_lossy(short_string(r)?)),
            6 => drop(short_string(r)?),
            7 => drop(r.u16()?),
            8 => self.database_collation = Some(r.u16()?),
            9 | 129 => drop(r.u64()?),
            11 => {
                short_string(r)?;
                short_string(r)?;
            }
            12 => {
                let count = r.u8()?;
                for _ in 0..if count == 254 { 0 } else { count } {
                    r.until_nul()?;
                }
            }
            13 | 128 => drop(r.u24()?),
            16 => self.explicit_timestamps = Some(r.u8()? != 0),
            17 => (self.ddl_xid, self.tells_ddl_xid) = (Some(r.u64()?), true),
            // each is younger than the one before it
            18 => (self.default_utf8mb4, self.tells_ddl_xid) = (Some(r.u16()?), true),
            19 | 20 => drop(r.u8()?),
            130 => {
                // flags, and the sequence number of the START ALTER if it is a COMMIT or ROLLBACK ALTER
                if r.u8()? & 0x0c != 0 {
                    r.u64()?;
                }
            }
            131 => {
                for _ in 0..r.u8()? {
                    self.charset_collations.push((r.u16()?, r.u16()?));
                }
            }
            _ => return Err(Malformed::because("unknown variable")),
        }
        Ok(())
    }
}

fn short_string<'a>(r: &mut Reader<'a>) -> Parsed<&'a [u8]> {
    let len = usize::from(r.u8()?);
    r.bytes(len)
}
