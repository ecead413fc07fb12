//! Where the live rows of each key of a generation are.
//!
//! With a primary key there is one of each. Rows of a table without a key may be equal, as many of them as one likes: they share
//! one entry with a list of their places. (An entry for each would be looked for among all that have the same hash.)

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::Chunk;
use crate::keys::Keys;

/// Where a live row of a generation is. It stays so when chunks are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    hash: u64,
    /// Which chunk it came with; [`SHARED`]: `row` is the number of a list.
    origin: u32,
    /// Its row there.
    row: u32,
}

/// In place of an origin: the entry is that of several equal rows.
const SHARED: u32 = u32::MAX;

/// Keys of a generation, and an index of the live ones.
#[derive(Default)]
pub(crate) struct KeyIndex {
    /// In step with the chunks.
    pub(crate) keys: Vec<Arc<Keys>>,
    /// For each chunk that came: where its first row is now, chunk and row.
    origins: Vec<(u32, u32)>,
    table: HashTable<Slot>,
    /// The places of equal rows.
    lists: Vec<Vec<Slot>>,
}

impl KeyIndex {
    /// Adds a chunk's keys; rows that are dead stay out of the index.
    pub(super) fn push(&mut self, keys: Arc<Keys>, chunk: &Chunk) {
        let origin = self.origins.len() as u32;
        self.origins.push((self.keys.len() as u32, 0));
        self.keys.push(keys.clone());
        self.table.reserve(keys.len(), |s| s.hash);
        for row in (0..keys.len()).filter(|row| chunk.death(*row) == u64::MAX) {
            self.add(Slot { hash: keys.hash(row), origin, row: row as u32 }, keys.get(row));
        }
    }

    fn add(&mut self, slot: Slot, key: &[u8]) {
        let KeyIndex { keys, origins, table, lists } = self;
        let same = |s: &Slot| s.hash == slot.hash && key_of(keys, origins, lists, *s) == key;
        match table.entry(slot.hash, same, |s| s.hash) {
            Entry::Vacant(entry) => drop(entry.insert(slot)),
            Entry::Occupied(mut entry) => match entry.get_mut() {
                Slot { origin: SHARED, row, .. } => lists[*row as usize].push(slot),
                first => {
                    lists.push(vec![*first, slot]);
                    *first = Slot { origin: SHARED, row: lists.len() as u32 - 1, ..slot };
                }
            },
        }
    }

    /// One live row of this key.
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<Slot> {
        match *self.entry(hash, key)? {
            Slot { origin: SHARED, row, .. } => self.lists[row as usize].last().copied(),
            slot => Some(slot),
        }
    }

    /// All live rows of this key, up to `most`. Fastest to remove in this order.
    pub(crate) fn find_many(&self, hash: u64, key: &[u8], most: usize) -> Vec<Slot> {
        match self.entry(hash, key) {
            Some(Slot { origin: SHARED, row, .. }) => {
                self.lists[*row as usize].iter().rev().take(most).copied().collect()
            }
            slot => slot.into_iter().take(most).copied().collect(),
        }
    }

    fn entry(&self, hash: u64, key: &[u8]) -> Option<&Slot> {
        self.table.find(hash, |s| s.hash == hash && key_of(&self.keys, &self.origins, &self.lists, *s) == key)
    }

    /// Chunk and row of a slot.
    pub(super) fn place(&self, slot: Slot) -> (usize, usize) {
        place(&self.origins, slot)
    }

    /// Joins the chunks from `from` on.
    pub(super) fn join(&mut self, from: usize, joined: Keys) {
        let mut firsts = Vec::with_capacity(self.keys.len() - from);
        let mut next = 0;
        for keys in self.keys.drain(from..) {
            firsts.push(next);
            next += keys.len() as u32;
        }
        self.keys.push(Arc::new(joined));
        for origin in self.origins.iter_mut().rev().take_while(|o| o.0 as usize >= from) {
            *origin = (from as u32, firsts[origin.0 as usize - from] + origin.1);
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        let KeyIndex { keys, origins, table, lists } = self;
        let key = key_of(keys, origins, lists, slot);
        let same = |s: &Slot| s.hash == slot.hash && key_of(keys, origins, lists, *s) == key;
        let Ok(entry) = table.find_entry(slot.hash, same) else { return };
        match *entry.get() {
            Slot { origin: SHARED, row, .. } => {
                let list = &mut lists[row as usize];
                if let Some(at) = list.iter().rposition(|s| *s == slot) {
                    list.swap_remove(at);
                }
                if list.is_empty() {
                    *list = Vec::new();
                    entry.remove();
                }
            }
            only if only == slot => drop(entry.remove()),
            _ => {}
        }
    }

    /// Forgets all that came with the chunks from `keep` on, whose keys were taken away.
    pub(super) fn forget_chunks_from(&mut self, keep: usize) {
        let kept = self.origins.partition_point(|o| (o.0 as usize) < keep);
        let stays = |s: &Slot| (s.origin as usize) < kept;
        let lists = &mut self.lists;
        lists.iter_mut().for_each(|list| list.retain(stays));
        self.table.retain(|s| if s.origin == SHARED { !lists[s.row as usize].is_empty() } else { stays(s) });
        self.origins.truncate(kept);
    }
}

/// Chunk and row of a slot that is not shared.
fn place(origins: &[(u32, u32)], slot: Slot) -> (usize, usize) {
    let (chunk, first) = origins[slot.origin as usize];
    (chunk as usize, (first + slot.row) as usize)
}

fn key_of<'a>(keys: &'a [Arc<Keys>], origins: &[(u32, u32)], lists: &[Vec<Slot>], slot: Slot) -> &'a [u8] {
    // a list without rows has no entry
    let slot = if slot.origin == SHARED { lists[slot.row as usize][0] } else { slot };
    let (chunk, row) = place(origins, slot);
    keys[chunk].get(row)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::hash::key_hash;

    fn chunk(keys: &[u8]) -> (Arc<Keys>, Chunk) {
        let mut all = Keys::default();
        keys.iter().for_each(|key| all.push(&[*key]).unwrap());
        let births = vec![1; keys.len()];
        (Arc::new(all), Chunk::new(RecordBatch::new_empty(Arc::new(Schema::empty())), births, 0))
    }

    /// Against a map of lists: chunks come, rows die, chunks are joined and taken away.
    #[test]
    fn equal_rows_are_found_as_often_as_they_live() {
        let mut rng = StdRng::seed_from_u64(7);
        for _ in 0..200 {
            let (mut index, mut lengths) = (KeyIndex::default(), Vec::new());
            let mut alive: BTreeMap<u8, Vec<(usize, usize)>> = BTreeMap::new();
            for _ in 0..30 {
                match rng.random_range(0..10) {
                    0..4 => {
                        let keys: Vec<u8> = (0..rng.random_range(0..6)).map(|_| rng.random_range(0..4)).collect();
                        let (all, chunk) = chunk(&keys);
                        index.push(all, &chunk);
                        keys.iter().enumerate().for_each(|(row, key)| {
                            alive.entry(*key).or_default().push((lengths.len(), row));
                        });
                        lengths.push(keys.len());
                    }
                    4..7 => {
                        let key = rng.random_range(0..4);
                        let most = rng.random_range(0..4);
                        for slot in index.find_many(key_hash(&[key]), &[key], most) {
                            let place = index.place(slot);
                            index.remove(slot);
                            alive.get_mut(&key).unwrap().retain(|at| *at != place);
                        }
                    }
                    7..9 if lengths.len() > 1 => {
                        let from = rng.random_range(0..lengths.len() - 1);
                        let joined = Keys::joined(&index.keys[from..]).unwrap();
                        index.join(from, joined);
                        let first = |chunk: usize| lengths[from..chunk].iter().sum::<usize>();
                        for at in alive.values_mut().flatten().filter(|at| at.0 > from) {
                            *at = (from, first(at.0) + at.1);
                        }
                        let rest = lengths.drain(from..).sum();
                        lengths.push(rest);
                    }
                    _ if !lengths.is_empty() => {
                        let keep = rng.random_range(0..lengths.len());
                        index.keys.truncate(keep);
                        index.forget_chunks_from(keep);
                        lengths.truncate(keep);
                        alive.values_mut().for_each(|places| places.retain(|at| at.0 < keep));
                    }
                    _ => {}
                }
                for key in 0..4u8 {
                    let mut wanted = alive.get(&key).cloned().unwrap_or_default();
                    let found = index.find_many(key_hash(&[key]), &[key], usize::MAX);
                    let mut found: Vec<(usize, usize)> = found.into_iter().map(|s| index.place(s)).collect();
                    wanted.sort_unstable();
                    found.sort_unstable();
                    assert_eq!(found, wanted);
                    assert_eq!(index.find(key_hash(&[key]), &[key]).is_some(), !wanted.is_empty());
                }
            }
        }
    }
}
