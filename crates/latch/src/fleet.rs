//! Several engines as one: which of them readers wait for, and the newest seq that all of those have. A pure state: it is told the time, and does
//! no I/O.
//!
//! An engine is *in step* if it has the rows of the current buffer, everything that was ever shown, and everything that any engine had a
//! *patience* ago. The newest seq that can be shown is the least of those in step. So one that is slow holds readers back, one that is lost does so for a
//! patience only; and what is shown never goes back, as whoever is behind it does not count until it has caught up.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use tidelake_core::ports::store::Progress;
use tidelake_core::{CommitSeq, Error, Result, TableName, env};

/// Names of one engine's processes that are remembered.
const INSTANCES: usize = 64;
/// An engine that has not said anything for so long is called away. Only for people: what counts is what it has.
const SILENT: Duration = Duration::from_secs(3);

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Its name, the same over all its starts.
    pub engine: String,
    /// A name of its process.
    pub instance: String,
    /// Where it listens, for people.
    pub address: String,
    /// The buffer whose seqs it has; `None`: it has none yet.
    pub lineage: Option<String>,
    /// Newest published.
    pub published: Progress,
    /// Newest durable.
    pub durable: CommitSeq,
    /// Oldest readable.
    pub horizon: CommitSeq,
    /// At what is published, a table whose copy is still to come.
    pub awaiting: Option<TableName>,
}

struct Member {
    report: Report,
    heard: Instant,
    /// Processes that it had before.
    past: HashSet<String>,
}

/// A seq that can be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Showable {
    /// The seq and its position.
    pub published: Progress,
    /// There, a table whose copy is still to come.
    pub awaiting: Option<TableName>,
}

/// How an engine stands, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Readers wait for it.
    InStep,
    /// It lacks what others have, and is not waited for.
    Behind,
    /// It has the seqs of another buffer.
    Foreign,
    /// It says nothing.
    Away,
}

impl Standing {
    /// For status.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Standing::InStep => "in step",
            Standing::Behind => "behind",
            Standing::Foreign => "of another buffer",
            Standing::Away => "away",
        }
    }
}

/// All engines of a latch.
pub struct Fleet {
    patience: Duration,
    members: BTreeMap<String, Member>,
    /// Known from before, and not heard of yet.
    expected: BTreeSet<String>,
    begun: Instant,
    lineage: Option<String>,
    /// Everything shown is at or below; `None`: nobody knows what was.
    floor: Option<CommitSeq>,
    /// The newest seq that any engine had, since when.
    foremost: VecDeque<(Instant, CommitSeq)>,
}

impl Fleet {
    /// None yet. `expected` are those that were there before: they have a patience to come back before others go on without them.
    #[must_use]
    pub fn new(patience: Duration, expected: impl IntoIterator<Item = String>, now: Instant) -> Fleet {
        Fleet {
            patience,
            members: BTreeMap::new(),
            expected: expected.into_iter().collect(),
            begun: now,
            lineage: None,
            floor: None,
            foremost: VecDeque::new(),
        }
    }

    /// From now on this buffer's seqs count, from `floor` on; `None`: until that is known nothing is shown.
    pub fn begin(&mut self, lineage: Option<String>, floor: Option<CommitSeq>, now: Instant) {
        (self.lineage, self.floor) = (lineage, floor);
        self.foremost.clear();
        self.note_foremost(now);
    }

    /// Nothing below this is shown from now on.
    pub fn shown(&mut self, seq: CommitSeq) {
        self.floor = self.floor.max(Some(seq));
    }

    /// An engine's word. True if it is a new one.
    ///
    /// # Errors
    /// [`Error::Invalid`] if two engines have one name.
    pub fn report(&mut self, report: Report, now: Instant) -> Result<bool> {
        self.expected.remove(&report.engine);
        let new = !self.members.contains_key(&report.engine);
        let name = report.engine.clone();
        let first = || Member { report: report.clone(), heard: now, past: HashSet::new() };
        let member = self.members.entry(name).or_insert_with(first);
        if member.past.contains(&report.instance) {
            let (name, here, there) = (&report.engine, &report.address, &member.report.address);
            return Err(Error::Invalid(format!(
                "two engines have the name {name}, at {here} and at {there}: of a copied data directory, delete the file \
                 engine-name before it is started"
            )));
        }
        if member.report.instance != report.instance {
            if member.past.len() >= INSTANCES {
                member.past.clear();
            }
            member.past.insert(member.report.instance.clone());
        } else if report.published.seq < member.report.published.seq {
            // Overtaken on its way.
            return Ok(false);
        }
        (member.report, member.heard) = (report, now);
        self.note_foremost(now);
        Ok(new)
    }

    /// Forgets an engine that is gone for good: nobody waits for it. What was shown stays the least that counts, so if it says something
    /// again it is a new one, as any other. True if it was known.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it still says something.
    pub fn forget(&mut self, engine: &str, now: Instant) -> Result<bool> {
        if let Some(member) = self.members.get(engine) {
            let (silent, address) = (now.saturating_duration_since(member.heard), &member.report.address);
            if silent <= SILENT {
                return Err(Error::Invalid(format!(
                    "the engine {engine} at {address} reported {} ms ago: end it first, and wait {} s",
                    silent.as_millis(),
                    SILENT.as_secs()
                )));
            }
        }
        let was_expected = self.expected.remove(engine);
        Ok(self.members.remove(engine).is_some() || was_expected)
    }

    fn note_foremost(&mut self, now: Instant) {
        let own = self.members.values().filter(|m| self.is_own(m)).map(|m| m.report.published.seq).max();
        let Some(newest) = own else { return };
        if self.foremost.back().is_none_or(|(_, seq)| *seq < newest) {
            self.foremost.push_back((now, newest));
        }
        let patience = self.patience;
        while self.foremost.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= patience) {
            self.foremost.pop_front();
        }
    }

    /// What any engine had a patience ago.
    fn due(&self, now: Instant) -> CommitSeq {
        let old = self.foremost.iter().rev().find(|(at, _)| now.duration_since(*at) >= self.patience);
        old.map_or(CommitSeq::ZERO, |(_, seq)| *seq)
    }

    fn is_own(&self, member: &Member) -> bool {
        self.lineage.is_some() && member.report.lineage == self.lineage
    }

    fn in_step(&self, now: Instant) -> impl Iterator<Item = &Member> {
        let least = self.floor.map(|floor| floor.max(self.due(now)));
        let has = move |m: &&Member| least.is_some_and(|least| m.report.published.seq >= least);
        self.members.values().filter(|m| self.is_own(m)).filter(has)
    }

    /// The newest seq that every engine in step has; `None` while there is none, or some may still come back.
    #[must_use]
    pub fn showable(&self, now: Instant) -> Option<Showable> {
        if !self.expected.is_empty() && now.duration_since(self.begun) < self.patience {
            return None;
        }
        let last = match env::is_flawed("the most counts") {
            false => self.in_step(now).min_by_key(|m| m.report.published.seq)?,
            true => self.in_step(now).max_by_key(|m| m.report.published.seq)?,
        };
        Some(Showable { published: last.report.published.clone(), awaiting: last.report.awaiting.clone() })
    }

    /// The oldest seq that every engine in step has.
    #[must_use]
    pub fn horizon(&self, now: Instant) -> CommitSeq {
        self.in_step(now).map(|m| m.report.horizon).max().unwrap_or_default()
    }

    /// The least durable seq of those in step.
    #[must_use]
    pub fn durable(&self, now: Instant) -> CommitSeq {
        self.in_step(now).map(|m| m.report.durable).min().unwrap_or_default()
    }

    /// All of them, and how each stands.
    #[must_use]
    pub fn standings(&self, now: Instant) -> Vec<(Report, Standing)> {
        let in_step: BTreeSet<&str> = self.in_step(now).map(|m| m.report.engine.as_str()).collect();
        let standing = |m: &Member| match m {
            _ if now.duration_since(m.heard) > SILENT => Standing::Away,
            _ if !self.is_own(m) => Standing::Foreign,
            _ if in_step.contains(m.report.engine.as_str()) => Standing::InStep,
            _ => Standing::Behind,
        };
        self.members.values().map(|m| (m.report.clone(), standing(m))).collect()
    }

    /// Known from before, and not heard of since this latch leads.
    #[must_use]
    pub fn expected(&self) -> Vec<String> {
        self.expected.iter().cloned().collect()
    }
}
