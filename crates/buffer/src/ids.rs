//! Idempotence: which transaction ids are in the log.
//!
//! Ids are kept as 128 bits of hash, about 50 bytes of memory per retained transaction. Entries of released
//! transactions are swept out when they outnumber the rest.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use tidelake_core::CommitSeq;

type IdHash = (u64, u64);

/// Ids of retained transactions, and of the last released one.
pub(crate) struct RetainedIds {
    first: RandomState,
    second: RandomState,
    seqs: HashMap<IdHash, CommitSeq, BuildHasherDefault<AlreadyHashed>>,
}

impl RetainedIds {
    pub(crate) fn new() -> RetainedIds {
        RetainedIds { first: RandomState::new(), second: RandomState::new(), seqs: HashMap::default() }
    }

    /// The seq of the transaction of this id. An empty id is never known.
    pub(crate) fn get(&self, id: &str) -> Option<CommitSeq> {
        if id.is_empty() { None } else { self.seqs.get(&self.hash(id)).copied() }
    }

    pub(crate) fn insert(&mut self, id: &str, seq: CommitSeq) {
        if !id.is_empty() {
            let hash = self.hash(id);
            self.seqs.insert(hash, seq);
        }
    }

    /// Forgets ids below `last_released` when that halves the map.
    pub(crate) fn sweep(&mut self, last_released: CommitSeq, head: CommitSeq) {
        let live = head.0.saturating_sub(last_released.0);
        if self.seqs.len() as u64 > 2 * live + 1024 {
            self.seqs.retain(|_, seq| *seq >= last_released);
        }
    }

    fn hash(&self, id: &str) -> IdHash {
        (self.first.hash_one(id), self.second.hash_one(id))
    }
}

/// Takes the first half of an [`IdHash`] as its hash.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("an IdHash hashes as two u64");
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = self.0.rotate_left(1) ^ half;
    }
}
