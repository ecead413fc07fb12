//! GTIDs: MariaDB's `domain-server-sequence` and MySQL's `uuid:number` and `uuid:tag:number`, and the state that a
//! stream of them adds up to.

mod announcement;

use std::collections::BTreeMap;
use std::fmt;

pub use self::announcement::{Announcement, parse_mariadb, parse_mysql, parse_mysql_tagged};
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
    /// MariaDB: the newest number that each server (second) has in each domain (first).
    servers: BTreeMap<(u32, u32), u64>,
    /// MySQL: intervals of numbers, first and last, ascending, never touching.
    sets: BTreeMap<Origin, Vec<(u64, u64)>>,
}

impl GtidState {
    /// Adds a committed transaction.
    pub fn add(&mut self, gtid: &Gtid) {
        match gtid {
            Gtid::MariaDb { domain, server, sequence } => {
                self.domains.insert(*domain, (*server, *sequence));
                self.note_server(*domain, *server, *sequence);
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
            self.note_server(domain, server, sequence);
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

    fn note_server(&mut self, domain: u32, server: u32, sequence: u64) {
        let newest = self.servers.entry((domain, server)).or_insert(sequence);
        *newest = sequence.max(*newest);
    }

    /// True without any GTID.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty() && self.sets.is_empty()
    }

    /// What is here and not in `other`, in the text form; of a MariaDB server in a domain only its newest GTID.
    #[must_use]
    pub fn without(&self, other: &GtidState) -> GtidState {
        let mut left = GtidState::default();
        for (&(domain, server), &sequence) in &self.servers {
            if other.servers.get(&(domain, server)).is_none_or(|theirs| *theirs < sequence) {
                left.add(&Gtid::MariaDb { domain, server, sequence });
            }
        }
        for (origin, intervals) in &self.sets {
            let theirs = other.sets.get(origin).map_or(&[][..], Vec::as_slice);
            let rest = subtract(intervals, theirs);
            if !rest.is_empty() {
                left.sets.insert(origin.clone(), rest);
            }
        }
        left
    }

    /// True if `other` has everything that is here.
    #[must_use]
    pub fn is_within(&self, other: &GtidState) -> bool {
        self.without(other).is_empty()
    }

    /// True if everything that `asked` names was committed here. MariaDB's numbers ascend in a domain, whoever commits, so the
    /// newest one tells, as for its `MASTER_GTID_WAIT`.
    #[must_use]
    pub fn has(&self, asked: &GtidState) -> bool {
        let newest = |domain: &u32| self.domains.get(domain).map_or(0, |(_, sequence)| *sequence);
        let domains = asked.servers.iter().all(|(origin, sequence)| {
            let of_server = self.servers.get(origin).copied().unwrap_or(0);
            of_server.max(newest(&origin.0)) >= *sequence
        });
        let sets = asked.sets.iter().all(|(origin, intervals)| {
            let ours = self.sets.get(origin).map_or(&[][..], Vec::as_slice);
            subtract(intervals, ours).is_empty()
        });
        domains && sets
    }

    fn parse_domain(&mut self, part: &str) -> Option<()> {
        let mut numbers = part.split('-');
        let (domain, server) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        let sequence = numbers.next()?.parse().ok()?;
        self.domains.insert(domain, (server, sequence));
        self.note_server(domain, server, sequence);
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

/// MariaDB `0-1-55,7-2-1,7-1-3`: the newest GTID of each server in each domain, that of the whole domain behind the others,
/// as `@@gtid_binlog_state` has it; MySQL `uuid:1-5:8:tag:1-2,uuid:1`. Empty without GTIDs.
impl fmt::Display for GtidState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (&domain, &(newest, sequence)) in &self.domains {
            let others =
                self.servers.range((domain, 0)..=(domain, u32::MAX)).filter(|((_, server), _)| *server != newest);
            for ((_, server), sequence) in others {
                write!(f, "{comma}{domain}-{server}-{sequence}")?;
                comma = ",";
            }
            write!(f, "{comma}{domain}-{newest}-{sequence}")?;
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

/// The numbers of ascending intervals that others do not have.
fn subtract(intervals: &[(u64, u64)], others: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut rest = Vec::new();
    for &(mut first, last) in intervals {
        for &(from, to) in others {
            if to < first || from > last {
                continue;
            }
            if from > first {
                rest.push((first, from - 1));
            }
            first = to.saturating_add(1);
        }
        if first <= last {
            rest.push((first, last));
        }
    }
    rest
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

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> GtidState {
        GtidState::parse(text).expect("GTIDs")
    }

    const A: &str = "65c061af-e6a6-11f1-8952-02fc00000001";
    const B: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";

    #[test]
    fn text_of_mariadb_is_the_servers_binlog_state() {
        for text in ["0-1-55", "0-2-7,0-1-55,7-1-3", ""] {
            assert_eq!(state(text).to_string(), text);
        }
        let mut grown = state("0-2-7,0-1-55");
        grown.add(&Gtid::MariaDb { domain: 0, server: 2, sequence: 56 });
        assert_eq!(grown.to_string(), "0-1-55,0-2-56");
        assert_ne!(state("0-1-55"), state("0-2-54,0-1-55"), "server 2 has written something of its own");
    }

    #[test]
    fn what_one_state_lacks_of_another() {
        let lacks = |ours: &str, theirs: &str| state(theirs).without(&state(ours)).to_string();
        assert_eq!(lacks("0-1-55,7-1-3", "0-1-55,7-1-3"), "");
        assert_eq!(lacks("0-1-55", "0-1-54,7-1-3"), "7-1-3");
        assert_eq!(lacks("0-1-55", "0-2-54,0-1-55"), "0-2-54");
        assert_eq!(lacks("0-1-55", "0-1-56"), "0-1-56");
        assert_eq!(lacks(&format!("{A}:1-5:8"), &format!("{A}:2-9:t:1,{B}:1-3")), format!("{A}:6-7:9:t:1,{B}:1-3"));
        assert_eq!(lacks(&format!("{A}:2-4:6"), &format!("{A}:1-7")), format!("{A}:1:5:7"));
        assert!(state(&format!("{A}:5")).is_within(&state(&format!("{A}:1-5:8"))));
        assert!(!state(&format!("{A}:5-6")).is_within(&state(&format!("{A}:1-5:8"))));
        assert!(!state(&format!("{A}:t:5")).is_within(&state(&format!("{A}:1-5"))), "a tag is another origin");
        assert!(state("").is_within(&state("")) && state("").is_empty());
    }
}
