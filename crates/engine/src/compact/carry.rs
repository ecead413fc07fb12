//! Carrying deaths over: rows of the inputs that died after the merge's seq are dead in its output too, from the same
//! seqs on. With a key they are found there by it; without one, by counting the living rows before them.

use roaring::RoaringBitmap;
use tidelake_core::{Error, Result};

use super::{Input, Merge};
use crate::deaths::Deaths;
use crate::hash::key_hash;
use crate::pki::{BlockCursor, Pki};

/// Where rows of an input of a merge without key went.
pub(super) struct Ranks<'a> {
    dead: &'a RoaringBitmap,
    /// First row in the output.
    begin: u32,
    /// Dead rows before each 64K rows.
    before: Vec<u32>,
}

const BLOCK: u32 = 1 << 16;

impl<'a> Ranks<'a> {
    pub(super) fn of_inputs(inputs: &'a [Input]) -> Vec<Ranks<'a>> {
        let mut begin = 0;
        let ranks = inputs.iter().map(|input| {
            let mut before = vec![0];
            for block in 0..(input.file.meta.rows / u64::from(BLOCK)) as u32 {
                let inside = input.dead.range_cardinality(block * BLOCK..=block * BLOCK + (BLOCK - 1));
                before.push(before[block as usize] + inside as u32);
            }
            let ranks = Ranks { dead: &input.dead, begin, before };
            begin += (input.file.meta.rows - input.dead.len()) as u32;
            ranks
        });
        ranks.collect()
    }

    /// The row of the output that this living row of the input became.
    pub(super) fn in_output(&self, row: u32) -> u32 {
        let block = row / BLOCK;
        let dead = self.before[block as usize] + self.dead.range_cardinality(block * BLOCK..row) as u32;
        self.begin + row - dead
    }
}

/// Carries deaths over in rounds, each with those that came since the one before.
pub(super) struct Carry<'a> {
    merge: &'a Merge,
    output: &'a Pki,
    keyless: bool,
    ranks: Vec<Ranks<'a>>,
    /// Rows of each input that need no more.
    known: Vec<RoaringBitmap>,
    /// In rows of the output.
    pub(super) carried: Vec<Deaths>,
}

impl<'a> Carry<'a> {
    pub(super) fn new(merge: &'a Merge, output: &'a Pki) -> Carry<'a> {
        Carry {
            merge,
            output,
            keyless: merge.def.key.is_empty(),
            ranks: Ranks::of_inputs(&merge.inputs),
            known: merge.inputs.iter().map(|i| (*i.dead).clone()).collect(),
            carried: Vec::new(),
        }
    }

    /// Takes all deaths of the inputs that are new.
    ///
    /// # Errors
    /// [`Error::Internal`] if one has no row in the output: the audit of the merge.
    pub(super) fn round(&mut self) -> Result<()> {
        for at in 0..self.merge.inputs.len() {
            let new = self.merge.inputs[at].file.deaths.read().except(&self.known[at]);
            if new.is_empty() {
                continue;
            }
            let carried = self.carry(at, &new)?;
            self.known[at].extend(new.pairs.iter().map(|d| d.1));
            new.runs.iter().for_each(|r| self.known[at] |= &r.1);
            self.carried.push(carried);
        }
        Ok(())
    }

    fn carry(&self, input: usize, new: &Deaths) -> Result<Deaths> {
        let mut find = Finder::default();
        let mut pairs = new.pairs.clone();
        // Neighbours share blocks of the indexes.
        pairs.sort_unstable_by_key(|d| d.1);
        for pair in &mut pairs {
            pair.1 = self.find(input, pair.1, &mut find)?;
        }
        pairs.sort_unstable();
        let mut runs = Vec::with_capacity(new.runs.len());
        for (seq, rows) in &new.runs {
            let mut carried = RoaringBitmap::new();
            for row in rows {
                carried.insert(self.find(input, row, &mut find)?);
            }
            runs.push((*seq, carried));
        }
        Ok(Deaths { pairs, runs })
    }

    fn find(&self, input: usize, row: u32, find: &mut Finder) -> Result<u32> {
        if self.keyless {
            return Ok(self.ranks[input].in_output(row));
        }
        let key = self.merge.inputs[input].pki.key_of_row(row, &mut find.input)?;
        let mut found = None;
        self.output.find(key, key_hash(key), &mut find.output, |r| {
            found = Some(r);
            false
        })?;
        found.ok_or_else(|| {
            metrics::counter!("tidelake_engine_audit_alarms_total").increment(1);
            let name = &self.merge.def.name;
            Error::Internal(format!("compaction audit: a death in {name} has no row in the output"))
        })
    }
}

#[derive(Default)]
struct Finder {
    input: BlockCursor,
    output: BlockCursor,
}
