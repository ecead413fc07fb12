//! GTIDs: MariaDB's `domain-server-sequence` and MySQL's `uuid:number` and `uuid:tag:number`, and the state that a
//! stream of them adds up to.

use std::collections::BTreeMap;
use std::fmt;

use super::reader::{Malformed, Parsed, Reader};

/// The server's UUID, and the tag (empty without).
type Origin = ([u8; 16], String);

/// One GTID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gtid {
    /// MariaDB.
    MariaDb {
        /// Replication domain.
        domain: u32,
        /// Server that committed it first.
        server: u32,
        /// Number in the domain.
        sequence: u64,
    },
    /// MySQL.
    MySql {
        /// The server's UUID.
        uuid: [u8; 16],
        /// Tag since 8.3; empty without.
        tag: String,
        /// Number.
        number: u64,
    },
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gtid::MariaDb { domain, server, sequence } => write!(f, "{domain}-{server}-{sequence}"),
            Gtid::MySql { uuid, tag, number } => {
                write_uuid(f, uuid)?;
                if !tag.is_empty() {
                    write!(f, ":{tag}")?;
                }
                write!(f, ":{number}")
            }
        }
    }
}

fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: &[u8; 16]) -> fmt::Result {
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

/// Everything that was committed up to a place, as GTIDs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GtidState {
    /// MariaDB: the newest GTID of each domain.
    domains: BTreeMap<u32, (u32, u64)>,
    /// MySQL: intervals of numbers, first and last, ascending, never touching.
    sets: BTreeMap<Origin, Vec<(u64, u64)>>,
}

impl GtidState {
    /// Adds a committed transaction.
    pub fn add(&mut self, gtid: &Gtid) {
        match gtid {
            Gtid::MariaDb { domain, server, sequence } => {
                self.domains.insert(*domain, (*server, *sequence));
            }
            Gtid::MySql { uuid, tag, number } => {
                insert(self.sets.entry((*uuid, tag.clone())).or_default(), *number, *number);
            }
        }
    }

    /// Adds what a PREVIOUS_GTIDS event lists (plain or with tags).
    ///
    /// # Errors
    /// If the event is too short for its counts.
    pub fn add_previous_gtids(&mut self, body: &[u8]) -> Parsed<()> {
        let mut r = Reader::new(body);
        let head = r.u64()?;
        let tagged = head >> 56 == 1;
        let origins = if tagged { (head >> 8) & 0xffff_ffff_ffff } else { head };
        for _ in 0..origins {
            let uuid = uuid_of(r.bytes(16)?)?;
            let tag = if tagged { tag_of(&mut r)? } else { String::new() };
            let intervals = r.u64()?;
            for _ in 0..intervals {
                let (start, end) = (r.u64()?, r.u64()?);
                if start == 0 || end <= start {
                    return Err(Malformed::new(format!("GTID interval from {start} to {end}")));
                }
                insert(self.sets.entry((uuid, tag.clone())).or_default(), start, end - 1);
            }
        }
        Ok(())
    }

    /// Takes over what a MariaDB GTID_LIST event lists, but never goes back in a domain.
    ///
    /// # Errors
    /// If the event is too short for its count.
    pub fn add_gtid_list(&mut self, body: &[u8]) -> Parsed<()> {
        let mut r = Reader::new(body);
        let count = r.u32()? & 0x0fff_ffff;
        for _ in 0..count {
            let (domain, server, sequence) = (r.u32()?, r.u32()?, r.u64()?);
            let entry = self.domains.entry(domain).or_insert((server, sequence));
            if entry.1 <= sequence {
                *entry = (server, sequence);
            }
        }
        Ok(())
    }

    /// Reads the text form (see [`fmt::Display`]).
    ///
    /// # Errors
    /// If it is no list of MariaDB GTIDs and no MySQL GTID set.
    pub fn parse(text: &str) -> Parsed<GtidState> {
        let mut state = GtidState::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let read = if part.contains(':') { state.parse_set(part) } else { state.parse_domain(part) };
            read.ok_or_else(|| Malformed::new(format!("{part:?} is no GTID")))?;
        }
        Ok(state)
    }

    fn parse_domain(&mut self, part: &str) -> Option<()> {
        let mut numbers = part.split('-');
        let (domain, server) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        let sequence = numbers.next()?.parse().ok()?;
        self.domains.insert(domain, (server, sequence));
        numbers.next().is_none().then_some(())
    }

    fn parse_set(&mut self, part: &str) -> Option<()> {
        let mut items = part.split(':');
        let uuid = parse_uuid(items.next()?)?;
        let mut tag = String::new();
        for item in items.map(str::trim) {
            if item.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                tag = item.to_ascii_lowercase();
                continue;
            }
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
            if first == 0 || last < first {
                return None;
            }
            insert(self.sets.entry((uuid, tag.clone())).or_default(), first, last);
        }
        Some(())
    }
}

/// MariaDB `0-1-55,7-1-3`; MySQL `uuid:1-5:8:tag:1-2,uuid:1`. Empty without GTIDs.
impl fmt::Display for GtidState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (domain, (server, sequence)) in &self.domains {
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
            comma = ",";
        }
        let mut last = None;
        for ((uuid, tag), intervals) in &self.sets {
            if last != Some(uuid) {
                f.write_str(comma)?;
                write_uuid(f, uuid)?;
                last = Some(uuid);
                comma = ",";
            }
            if !tag.is_empty() {
                write!(f, ":{tag}")?;
            }
            for (first, last) in intervals {
                if first == last { write!(f, ":{first}")? } else { write!(f, ":{first}-{last}")? }
            }
        }
        Ok(())
    }
}

/// Adds first..=last to ascending intervals.
fn insert(intervals: &mut Vec<(u64, u64)>, first: u64, last: u64) {
    if let Some(end) = intervals.last_mut()
        && end.1.checked_add(1) == Some(first)
    {
        end.1 = last;
        return;
    }
    intervals.push((first, last));
    intervals.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(intervals.len());
    for (first, last) in intervals.drain(..) {
        match merged.last_mut() {
            Some(end) if first <= end.1.saturating_add(1) => end.1 = end.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    *intervals = merged;
}

fn uuid_of(bytes: &[u8]) -> Parsed<[u8; 16]> {
    bytes.try_into().map_err(|_| Malformed::because("UUID of another length"))
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.trim().bytes().filter(|b| *b != b'-').collect();
    let mut uuid = [0u8; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = ((pair[0] as char).to_digit(16)?, (pair[1] as char).to_digit(16)?);
        *byte = (high * 16 + low) as u8;
    }
    Some(uuid)
}

fn tag_of(r: &mut Reader<'_>) -> Parsed<String> {
    let len = usize::try_from(r.varint()?).unwrap_or(usize::MAX);
    Ok(String::from_utf8_lossy(r.bytes(len)?).into_owned())
}

/// What a GTID event announces about the group that it opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// `None` for MySQL's anonymous event.
    pub gtid: Option<Gtid>,
    /// Microseconds since 1970 UTC of the commit, if the event has it.
    pub commit_us: Option<i64>,
    /// MariaDB: the group is one statement without COMMIT.
    pub standalone: bool,
    /// MariaDB: the group is an `XA START .. XA PREPARE`.
    pub prepares_xa: bool,
    /// MariaDB: an ALTER that only begins or is given up here: it changes nothing.
    pub alter_without_effect: bool,
}

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
    // since 5.7: a type code 2 and two logical times; since 8.0: when it was committed here, 7 bytes
    let mut commit_us = None;
    if r.rest().len() >= 24 && r.u8()? == 2 {
        r.bytes(16)?;
        let time = r.le(7)? & !(1 << 55);
        commit_us = i64::try_from(time).ok().filter(|t| *t > 0);
    }
    Ok(Announcement { gtid, commit_us, ..Announcement::default() })
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
    let (mut uuid, mut tag, mut number, mut commit_us) = ([0u8; 16], String::new(), 0, None);
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
            _ => break,
        }
    }
    if number == 0 {
        return Err(Malformed::because("tagged GTID without a number"));
    }
    Ok(Announcement { gtid: Some(Gtid::MySql { uuid, tag, number }), commit_us, ..Announcement::default() })
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
