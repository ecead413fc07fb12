//! Leases and the horizon, as a pure state: no clock, no I/O.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use tidelake_core::{CommitSeq, Error, Result};

struct Pin {
    seq: CommitSeq,
    until: Instant,
}

/// Live leases, and what was published when.
pub struct Leases {
    pins: BTreeMap<u64, Pin>,
    next_id: u64,
    /// Oldest first; the first is the newest seq that is older than the retention.
    published: VecDeque<(Instant, CommitSeq)>,
    retention: Duration,
    horizon: CommitSeq,
}

impl Leases {
    /// None yet.
    pub fn new(retention: Duration, published: CommitSeq, now: Instant) -> Leases {
        let published = VecDeque::from([(now, published)]);
        Leases { pins: BTreeMap::new(), next_id: 1, published, retention, horizon: CommitSeq::ZERO }
    }

    /// Number of leases that have not been released or swept.
    pub fn len(&self) -> usize {
        self.pins.len()
    }

    /// Pins a seq; the lease's number.
    ///
    /// # Errors
    /// `SnapshotExpired` below the horizon.
    pub fn pin(&mut self, seq: CommitSeq, until: Instant) -> Result<u64> {
        if seq < self.horizon {
            let oldest = self.horizon;
            return Err(Error::SnapshotExpired(format!("seq {seq} is below the oldest readable seq {oldest}")));
        }
        let id = self.next_id;
        self.next_id += 1;
        self.pins.insert(id, Pin { seq, until });
        Ok(id)
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
            Some(pin) if pin.until > now => Ok(()),
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
    pub fn observe(&mut self, published: CommitSeq, now: Instant) {
        self.pins.retain(|_, pin| pin.until > now);
        if self.published.back().is_none_or(|(_, seq)| *seq < published) {
            self.published.push_back((now, published));
        }
        while self.published.get(1).is_some_and(|(since, _)| now.duration_since(*since) >= self.retention) {
            self.published.pop_front();
        }
        let retained = self.published.front().map_or(published, |(_, seq)| *seq);
        let pinned = self.pins.values().map(|pin| pin.seq).min().unwrap_or(CommitSeq::MAX);
        self.horizon = self.horizon.max(retained.min(pinned));
    }

    /// The oldest seq a reader may still ask for. Never goes back.
    pub fn horizon(&self) -> CommitSeq {
        self.horizon
    }
}
