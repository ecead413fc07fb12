//! Holds events until a watermark covers them, then gives them out in commit order, each once.
//!
//! Order: commit-ts; within one, the images that die, then those that are born, then DDL in the order it came (rows of a DDL's
//! own commit-ts have the schema before it), RENAMEs as their names demand (`renames`). Equal images are one, with the number of copies; a DDL of equal text at one
//! commit-ts is one. What was given out before is dropped when it is sent again.

use std::path::Path;

use tidelake_core::{Error, Result};

use super::place::{FeedPlace, ddl_hash};
use super::record::Event;
use super::renames;
use super::runs::Runs;

const ROW: u8 = 0;
const DDL: u8 = 1;
/// Commit-ts and kind before a record's content.
const PREFIX: usize = 9;

/// Where events go, in commit order.
pub trait Outlet {
    /// An image of a row, sent `copies` times.
    ///
    /// # Errors
    /// Ends the release.
    fn image(&mut self, commit_ts: u64, copies: u32, image: &[u8]) -> Result<()>;

    /// A DDL, as JSON of [`Ddl`](super::record::Ddl). `taken` are the hashes of all DDLs at this commit-ts up to this one.
    ///
    /// # Errors
    /// Ends the release.
    fn ddl(&mut self, commit_ts: u64, taken: &[u64], ddl: &[u8]) -> Result<()>;
}

/// What is held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Events.
    pub events: u64,
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// See the module.
pub struct Assembler {
    /// Records: commit-ts (big endian), kind, for DDL a counter, content.
    memory: Vec<Vec<u8>>,
    memory_bytes: usize,
    memory_limit: usize,
    runs: Runs,
    events: u64,
    counter: u64,
    floor: u64,
    /// Hashes of the DDLs given out at exactly `floor`.
    taken: Vec<u64>,
    /// Nothing at `floor` is new: the tables were copied as of it.
    copied: bool,
}

impl Assembler {
    /// Goes on after `after`. At most `memory_limit` bytes of events stay in memory; the rest goes to files in `dir`.
    ///
    /// # Errors
    /// If `dir` cannot be used, or `after` is of another kind of source.
    pub fn new(dir: &Path, memory_limit: usize, after: Option<&FeedPlace>) -> Result<Assembler> {
        let hashes = after.map(|place| place.ddl.iter().map(|h| u64::from_str_radix(h, 16)).collect());
        let taken: Result<Vec<u64>, _> = hashes.unwrap_or_else(|| Ok(Vec::new()));
        Ok(Assembler {
            memory: Vec::new(),
            memory_bytes: 0,
            memory_limit,
            runs: Runs::open(dir)?,
            events: 0,
            counter: 0,
            floor: after.map_or(0, |place| place.tso),
            taken: taken.map_err(|e| Error::Invalid(format!("position in a feed of TiDB: {e}")))?,
            copied: after.is_some_and(|place| place.copied),
        })
    }

    /// Everything at or before this commit-ts was given out.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The place to resume from.
    #[must_use]
    pub fn place(&self) -> FeedPlace {
        FeedPlace { ddl: hex(&self.taken), copied: self.copied, ..FeedPlace::at(self.floor) }
    }

    /// What is held back.
    #[must_use]
    pub fn held(&self) -> Held {
        Held { events: self.events, memory_bytes: self.memory_bytes as u64, disk_bytes: self.runs.bytes() }
    }

    /// Takes an event; watermarks are for [`Assembler::release`].
    ///
    /// # Errors
    /// If it must go to disk and cannot.
    pub fn push(&mut self, event: &Event) -> Result<()> {
        let record = match event {
            Event::Watermark(_) => return Ok(()),
            Event::Image { commit_ts, .. } if *commit_ts <= self.floor => return Ok(()),
            Event::Image { commit_ts, image } => record(*commit_ts, ROW, &[], image),
            Event::Ddl { commit_ts, .. } if *commit_ts < self.floor => return Ok(()),
            Event::Ddl { commit_ts, ddl } => {
                if *commit_ts == self.floor && (self.copied || self.taken.contains(&ddl_hash(&ddl.query))) {
                    return Ok(());
                }
                let json = serde_json::to_vec(ddl).map_err(|e| Error::Internal(format!("encode DDL: {e}")))?;
                self.counter += 1;
                let mut content = ddl_hash(&ddl.query).to_be_bytes().to_vec();
                content.extend_from_slice(&json);
                record(*commit_ts, DDL, &self.counter.to_be_bytes(), &content)
            }
        };
        self.events += 1;
        self.memory_bytes += record.len() + size_of::<Vec<u8>>();
        self.memory.push(record);
        if self.memory_bytes > self.memory_limit {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        self.memory.sort();
        self.memory_bytes = 0;
        self.runs.add(std::mem::take(&mut self.memory).into_iter().map(Ok))
    }

    /// Gives out everything at or before `watermark`. A watermark below an earlier one changes nothing.
    ///
    /// # Errors
    /// What `out` returns, and what the file system says. The feed must then be read again from the last position.
    pub fn release(&mut self, watermark: u64, out: &mut dyn Outlet) -> Result<()> {
        if watermark < self.floor {
            return Ok(());
        }
        self.memory.sort();
        let covered = self.memory.partition_point(|r| commit_ts(r) <= watermark);
        let rest = self.memory.split_off(covered);
        let mut memory = std::mem::replace(&mut self.memory, rest).into_iter().peekable();
        let mut ordered = Ordered {
            out,
            open: None,
            copies: 0,
            ddl: Vec::new(),
            ddl_ts: self.floor,
            taken: std::mem::take(&mut self.taken),
        };
        loop {
            let run =
                self.runs.smallest().filter(|run| self.runs.peek(*run).is_some_and(|r| commit_ts(r) <= watermark));
            let of_run = run.and_then(|run| self.runs.peek(run));
            let record = match (memory.peek(), of_run) {
                (Some(a), Some(b)) if a.as_slice() <= b => memory.next(),
                (Some(_), None) => memory.next(),
                (_, Some(_)) => run.map(|run| self.runs.take(run)).transpose()?.flatten(),
                (None, None) => break,
            };
            let Some(record) = record else { break };
            self.events = self.events.saturating_sub(1);
            ordered.record(record)?;
        }
        ordered.close()?;
        self.taken = if ordered.ddl_ts == watermark { ordered.taken } else { Vec::new() };
        self.copied &= self.floor == watermark;
        self.floor = watermark;
        self.memory_bytes = self.memory.iter().map(|r| r.len() + size_of::<Vec<u8>>()).sum();
        Ok(())
    }
}

/// Sorted records without their repetitions.
struct Ordered<'o> {
    out: &'o mut dyn Outlet,
    open: Option<Vec<u8>>,
    copies: u32,
    /// DDLs of `ddl_ts` that were not given out yet: hash and JSON.
    ddl: Vec<(u64, Vec<u8>)>,
    ddl_ts: u64,
    taken: Vec<u64>,
}

impl Ordered<'_> {
    fn record(&mut self, record: Vec<u8>) -> Result<()> {
        if record.get(8) == Some(&DDL) {
            return self.ddl(&record);
        }
        if self.open.as_ref() == Some(&record) {
            self.copies = self.copies.saturating_add(1);
            return Ok(());
        }
        self.close()?;
        (self.open, self.copies) = (Some(record), 1);
        Ok(())
    }

    /// Gives out what is held: an image, or the DDLs of one commit-ts.
    fn close(&mut self) -> Result<()> {
        if let Some(record) = self.open.take() {
            self.out.image(commit_ts(&record), self.copies, record.get(PREFIX..).unwrap_or_default())?;
        }
        let mut ddl = std::mem::take(&mut self.ddl);
        renames::order(&mut ddl, |(_, json)| serde_json::from_slice(json).ok());
        for (hash, json) in ddl {
            self.taken.push(hash);
            self.out.ddl(self.ddl_ts, &self.taken, &json)?;
        }
        Ok(())
    }

    fn ddl(&mut self, record: &[u8]) -> Result<()> {
        let ts = commit_ts(record);
        let content = record.get(PREFIX + 8..).and_then(|content| content.split_first_chunk::<8>());
        let (hash, json) = content.ok_or_else(|| Error::corrupt("a run of a feed", "a record that is too short"))?;
        if self.ddl_ts != ts || self.open.is_some() {
            self.close()?;
        }
        if self.ddl_ts != ts {
            self.ddl_ts = ts;
            self.taken.clear();
        }
        let hash = u64::from_be_bytes(*hash);
        if !self.taken.contains(&hash) && self.ddl.iter().all(|(other, _)| *other != hash) {
            self.ddl.push((hash, json.to_vec()));
        }
        Ok(())
    }
}

/// Hashes as a place's token has them.
#[must_use]
pub fn hex(hashes: &[u64]) -> Vec<String> {
    hashes.iter().map(|h| format!("{h:016x}")).collect()
}

fn record(commit_ts: u64, kind: u8, counter: &[u8], content: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(PREFIX + counter.len() + content.len());
    record.extend_from_slice(&commit_ts.to_be_bytes());
    record.push(kind);
    record.extend_from_slice(counter);
    record.extend_from_slice(content);
    record
}

fn commit_ts(record: &[u8]) -> u64 {
    record.first_chunk::<8>().map_or(0, |ts| u64::from_be_bytes(*ts))
}
