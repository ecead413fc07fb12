//! What the events before a group say of it: MySQL's three GTID events, MariaDB's one.

use super::{Gtid, tag_of, uuid_of};
use crate::mysql::reader::{Malformed, Parsed, Reader};

/// What a GTID event announces about the group that it opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// `None` for MySQL's anonymous event.
    pub gtid: Option<Gtid>,
    /// Microseconds since 1970 UTC of the commit, if the event has it.
    pub commit_us: Option<i64>,
    /// The same of the commit on the server that committed it first: the same on all its replicas.
    pub original_us: Option<i64>,
    /// MariaDB: the group is one statement without COMMIT.
    pub standalone: bool,
    /// MariaDB: the group is an `XA START .. XA PREPARE`.
    pub prepares_xa: bool,
    /// MariaDB: an ALTER that only begins or is given up here: it changes nothing.
    pub alter_without_effect: bool,
}

/// A commit time that the commit time on another server follows.
const ELSEWHERE: u64 = 1 << 55;

/// Parses MySQL's GTID and ANONYMOUS_GTID events (33, 34).
///
/// # Errors
/// If the event is too short.
pub fn parse_mysql(body: &[u8], anonymous: bool) -> Parsed<Announcement> {
    let mut r = Reader::new(body);
    r.u8()?; // flags: whether the group may hold statements
    let uuid = uuid_of(r.bytes(16)?)?;
    let number = r.u64()?;
    let gtid = (!anonymous).then_some(Gtid::MySql { uuid, tag: String::new(), number });
    // since 5.7: a type code 2 and two logical times; since 8.0: when it was committed here, 7 bytes, and if it came from
    // another server (the highest bit) when it was committed there
    let (mut commit_us, mut original_us) = (None, None);
    if r.rest().len() >= 24 && r.u8()? == 2 {
        r.bytes(16)?;
        let time = r.le(7)?;
        let original = if time & ELSEWHERE != 0 { r.le(7)? } else { time };
        let known = |time: u64| i64::try_from(time & !ELSEWHERE).ok().filter(|t| *t > 0);
        (commit_us, original_us) = (known(time), known(original));
    }
    Ok(Announcement { gtid, commit_us, original_us, ..Announcement::default() })
}

/// Parses MySQL's GTID_TAGGED event (42): numbered fields in `mysql::serialization` form.
///
/// # Errors
/// For another version of the form, and short events.
pub fn parse_mysql_tagged(body: &[u8]) -> Parsed<Announcement> {
    let mut r = Reader::new(body);
    let version = r.varint()?;
    if version != 1 {
        return Err(Malformed::new(format!("tagged GTID in serialization version {version}")));
    }
    let (_size, _last_needed) = (r.varint()?, r.varint()?);
    let (mut uuid, mut tag, mut number, mut commit_us, mut original_us) = ([0u8; 16], String::new(), 0, None, None);
    while !r.is_empty() {
        match r.varint()? {
            0 => {
                r.varint()?;
            }
            1 => {
                for byte in &mut uuid {
                    *byte = r.varint()? as u8;
                }
            }
            2 => number = r.varint()? >> 1,
            3 => tag = tag_of(&mut r)?,
            4 | 5 => {
                r.varint()?;
            }
            6 => commit_us = i64::try_from(r.varint()?).ok(),
            7 => original_us = i64::try_from(r.varint()?).ok(),
            _ => break,
        }
    }
    if number == 0 {
        return Err(Malformed::because("tagged GTID without a number"));
    }
    let gtid = Some(Gtid::MySql { uuid, tag, number });
    Ok(Announcement { gtid, commit_us, original_us: original_us.or(commit_us), ..Announcement::default() })
}

const FL_STANDALONE: u8 = 1;
const FL_GROUP_COMMIT_ID: u8 = 2;
const FL_PREPARED_XA: u8 = 64;
const FL_COMPLETED_XA: u8 = 128;
const EXTRA_MULTI_ENGINE: u8 = 1;
const EXTRA_START_ALTER: u8 = 2;
const EXTRA_ROLLBACK_ALTER: u8 = 8;

/// Parses MariaDB's GTID event (162); `server` is the header's server id.
///
/// # Errors
/// If the event is too short.
pub fn parse_mariadb(body: &[u8], server: u32) -> Parsed<Announcement> {
    let mut r = Reader::new(body);
    let (sequence, domain, flags) = (r.u64()?, r.u32()?, r.u8()?);
    let mut out = Announcement {
        gtid: Some(Gtid::MariaDb { domain, server, sequence }),
        standalone: flags & FL_STANDALONE != 0,
        prepares_xa: flags & FL_PREPARED_XA != 0,
        ..Announcement::default()
    };
    if flags & FL_GROUP_COMMIT_ID != 0 {
        r.u64()?;
    }
    if flags & (FL_PREPARED_XA | FL_COMPLETED_XA) != 0 {
        r.u32()?;
        let (global, branch) = (r.u8()?, r.u8()?);
        r.bytes(usize::from(global) + usize::from(branch))?;
    }
    if r.is_empty() {
        return Ok(out);
    }
    let extra = r.u8()?; // older servers: zeros that fill the post-header up to 19 bytes
    if extra & EXTRA_MULTI_ENGINE != 0 && !r.is_empty() {
        r.u8()?;
    }
    out.alter_without_effect = extra & (EXTRA_START_ALTER | EXTRA_ROLLBACK_ALTER) != 0;
    Ok(out)
}
