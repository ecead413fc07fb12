//! Leases and the horizon, as a pure state: it is told the time, and does no I/O.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use tidelake_core::moment::now_us;
use tidelake_core::{CommitSeq, Error, Result, env};

/// At most so many seqs are remembered for one retention.
const SAMPLES: u32 = 4096;

/// A bug that simulations put in.
const COMES_BACK: &str = "lapsed leases come back";

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Never goes back.
    pub steady: Instant,
    /// Microseconds since 1970 UTC.
    pub wall_us: i64,
}

impl Clock {
    /// This machine's.
    pub fn now() -> Clock {
        Clock { steady: env::now(), wall_us: now_us() }
    }
}

/// A published seq.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// The seq.
    pub seq: CommitSeq,
    /// When upstream committed it; 0 if that is unknown.
    pub commit_time_us: i64,
}

struct Pin {
    seq: CommitSeq,
    until: Instant,
}

struct Sample {
    seq: CommitSeq,
    /// The latest commit time up to it.
    commit_time_us: i64,
    seen: Instant,
}

/// Live leases, and what was published when.
pub struct Leases {
    pins: BTreeMap<u64, Pin>,
    next_id: u64,
    /// Oldest first; the first is the oldest seq that is kept for readers without a lease.
    published: VecDeque<Sample>,
    grace: Duration,
    retention: Duration,
    horizon: CommitSeq,
}

impl Leases {
    /// None yet; `oldest` is where the window begins now.
    pub fn new(grace: Duration, retention: Duration, oldest: CommitSeq, published: Published, now: Clock) -> Leases {
        let Published { seq, commit_time_us } = published;
        let first = Sample { seq: oldest.min(seq), commit_time_us: 0, seen: now.steady };
        let published = VecDeque::from([first, Sample { seq, commit_time_us, seen: now.steady }]);
        Leases { pins: BTreeMap::new(), next_id: 1, published, grace, retention, horizon: CommitSeq::ZERO }
    }

    /// Ends all leases, and begins as if new at what is published; numbers of leases go on.
    pub fn begin_again(&mut self, grace: Duration, retention: Duration, published: Published, now: Clock) {
        let next_id = self.next_id;
        *self = Leases { next_id, ..Leases::new(grace, retention, published.seq, published, now) };
    }

    /// Number of leases that have not been released or swept.
    pub fn len(&self) -> usize {
        self.pins.len()
    }

    /// Pins a seq; the lease's number. `None` below the horizon.
    pub fn pin(&mut self, seq: CommitSeq, until: Instant) -> Option<u64> {
        if seq < self.horizon {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.pins.insert(id, Pin { seq, until });
        Some(id)
    }

    /// Prolongs a live lease.
    ///
    /// # Errors
    /// `SnapshotExpired` if it lapsed.
    pub fn renew(&mut self, id: u64, now: Instant, until: Instant) -> Result<()> {
        self.check(id, now)?;
        if let Some(pin) = self.pins.get_mut(&id) {
            pin.until = pin.until.max(until);
        }
        Ok(())
    }

    /// `SnapshotExpired` if the lease lapsed. A lapsed lease is forgotten, so it cannot come back to life.
    pub fn check(&mut self, id: u64, now: Instant) -> Result<()> {
        match self.pins.get(&id) {
            Some(pin) if pin.until > now || env::is_flawed(COMES_BACK) => Ok(()),
            _ => {
                self.pins.remove(&id);
                Err(Error::SnapshotExpired(format!("lease {id} lapsed: its reader did not renew it in time")))
            }
        }
    }

    /// The reader is done.
    pub fn release(&mut self, id: u64) {
        self.pins.remove(&id);
    }

    /// Forgets lapsed leases, notes what is published, moves the horizon up as far as it may.
    pub fn observe(&mut self, published: Published, now: Clock) {
        self.pins.retain(|_, pin| pin.until > now.steady || env::is_flawed(COMES_BACK));
        self.note(published, now);
        let begin_us = now.wall_us.saturating_sub(i64::try_from(self.retention.as_micros()).unwrap_or(i64::MAX));
        // A sample may go once the next one is old enough by both clocks to stand for everything before it.
        while self
            .published
            .get(1)
            .is_some_and(|next| now.steady.duration_since(next.seen) >= self.grace && next.commit_time_us <= begin_us)
        {
            self.published.pop_front();
        }
        let retained = self.published.front().map_or(published.seq, |first| first.seq);
        let flawed = env::is_flawed("the horizon passes leases");
        let pinned = self.pins.values().map(|pin| pin.seq).min().filter(|_| !flawed).unwrap_or(CommitSeq::MAX);
        self.horizon = self.horizon.max(retained.min(pinned));
    }

    fn note(&mut self, published: Published, now: Clock) {
        let Some(last) = self.published.back() else { return };
        if last.seq >= published.seq {
            return;
        }
        // Commit times never go back along the seqs.
        let commit_time_us = last.commit_time_us.max(published.commit_time_us);
        let sample = Sample { seq: published.seq, commit_time_us, seen: now.steady };
        let before = self.published.len().checked_sub(2).and_then(|at| self.published.get(at));
        let step = self.retention.max(self.grace) / SAMPLES;
        // Between two samples too near to each other, the newer one stands for both: the horizon moves later, never earlier.
        if before.is_some_and(|b| now.steady.duration_since(b.seen) < step) {
            self.published.pop_back();
        }
        self.published.push_back(sample);
    }

    /// How many published seqs are remembered.
    #[cfg(test)]
    pub fn samples(&self) -> usize {
        self.published.len()
    }

    /// The oldest seq a reader may still ask for. Never goes back.
    pub fn horizon(&self) -> CommitSeq {
        self.horizon
    }
}
