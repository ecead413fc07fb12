//! Carrying deaths over: rows of the inputs that died after the merge's seq are dead in its outputs too, from the same
//! seqs on. With a key they are found there by it; without one, by counting the living rows before them.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use tidelake_core::{Error, Result};

use super::output::{Merged, split_rank, starts};
use super::{Input, Merge};
use crate::deaths::Deaths;
use crate::hash::key_hash;
use crate::pki::{BlockCursor, PkiStream};

/// Where rows of an input of a merge without key went.
pub(super) struct Ranks<'a> {
    dead: &'a RoaringBitmap,
    /// First row among those of all outputs.
    begin: u64,
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
            begin += input.file.meta.rows - input.dead.len();
            ranks
        });
        ranks.collect()
    }

    /// Which row of all outputs this living row of the input became.
    pub(super) fn in_output(&self, row: u32) -> u64 {
        let block = row / BLOCK;
        let dead = self.before[block as usize] + self.dead.range_cardinality(block * BLOCK..row) as u32;
        self.begin + u64::from(row - dead)
    }
}

/// Carries deaths over in rounds, each with those that came since the one before.
pub(super) struct Carry<'a> {
    merge: &'a Merge,
    outputs: &'a [Merged],
    starts: Vec<u64>,
    keyless: bool,
    ranks: Vec<Ranks<'a>>,
    /// Rows of each input that need no more.
    known: Vec<RoaringBitmap>,
    /// For each output, in its rows.
    pub(super) carried: Vec<Vec<Deaths>>,
}

impl<'a> Carry<'a> {
    pub(super) fn new(merge: &'a Merge, outputs: &'a [Merged]) -> Carry<'a> {
        Carry {
            merge,
            outputs,
            starts: starts(outputs.iter().map(|o| o.meta.rows)),
            keyless: merge.def.key.is_empty(),
            ranks: Ranks::of_inputs(&merge.inputs),
            known: merge.inputs.iter().map(|i| (*i.dead).clone()).collect(),
            carried: outputs.iter().map(|_| Vec::new()).collect(),
        }
    }

    /// Takes all deaths of the inputs that are new.
    ///
    /// # Errors
    /// [`Error::Internal`] if one has no row in the outputs: the audit of the merge.
    pub(super) fn round(&mut self) -> Result<()> {
        for at in 0..self.merge.inputs.len() {
            let new = self.merge.inputs[at].file.deaths.read().except(&self.known[at]);
            if new.is_empty() {
                continue;
            }
            let carried = self.carry(at, &new)?;
            self.known[at].extend(new.pairs.iter().map(|d| d.1));
            new.runs.iter().for_each(|r| self.known[at] |= &r.1);
            for (all, deaths) in self.carried.iter_mut().zip(carried) {
                all.push(deaths);
            }
        }
        Ok(())
    }

    fn carry(&self, input: usize, new: &Deaths) -> Result<Vec<Deaths>> {
        let mut find = Finder::new(self.outputs.len());
        if self.merge.resort {
            find.keys = self.keys_of(input, new)?;
        }
        let mut carried = vec![Deaths::default(); self.outputs.len()];
        let mut pairs = new.pairs.clone();
        // Neighbours share blocks of the indexes.
        pairs.sort_unstable_by_key(|d| d.1);
        for (seq, row) in pairs {
            let (output, row) = self.find(input, row, &mut find)?;
            carried[output].pairs.push((seq, row));
        }
        carried.iter_mut().for_each(|c| c.pairs.sort_unstable());
        for (seq, rows) in &new.runs {
            let mut by_output = vec![RoaringBitmap::new(); self.outputs.len()];
            for row in rows {
                let (output, row) = self.find(input, row, &mut find)?;
                by_output[output].insert(row);
            }
            for (carried, rows) in carried.iter_mut().zip(by_output).filter(|c| !c.1.is_empty()) {
                carried.runs.push((*seq, rows));
            }
        }
        Ok(carried)
    }

    fn find(&self, input: usize, row: u32, find: &mut Finder) -> Result<(usize, u32)> {
        if self.keyless {
            return Ok(split_rank(&self.starts, self.ranks[input].in_output(row)));
        }
        let key = match find.keys.get(&row) {
            Some(key) => key,
            None => self.merge.inputs[input].pki.key_of_row(row, &mut find.input)?,
        };
        let hash = key_hash(key);
        for (at, output) in self.outputs.iter().enumerate() {
            let mut found = None;
            output.pki.find(key, hash, &mut find.outputs[at], |r| {
                found = Some(r);
                false
            })?;
            if let Some(row) = found {
                return Ok((at, row));
            }
        }
        metrics::counter!("tidelake_engine_audit_alarms_total").increment(1);
        let name = &self.merge.def.name;
        Err(Error::Internal(format!("compaction audit: a death in {name} has no row in the output")))
    }

    /// Keys of dead rows of an input that is not in the order of its keys.
    fn keys_of(&self, input: usize, deaths: &Deaths) -> Result<HashMap<u32, Vec<u8>>> {
        let mut rows: RoaringBitmap = deaths.pairs.iter().map(|d| d.1).collect();
        deaths.runs.iter().for_each(|r| rows |= &r.1);
        let mut keys = HashMap::new();
        let mut stream = PkiStream::new(Arc::clone(&self.merge.inputs[input].pki))?;
        while let Some((key, row)) = stream.entry() {
            if rows.contains(row) {
                keys.insert(row, key.to_vec());
            }
            stream.advance()?;
        }
        Ok(keys)
    }
}

struct Finder {
    input: BlockCursor,
    outputs: Vec<BlockCursor>,
    /// Of rows whose keys their input's index cannot give.
    keys: HashMap<u32, Vec<u8>>,
}

impl Finder {
    fn new(outputs: usize) -> Finder {
        let outputs = (0..outputs).map(|_| BlockCursor::default()).collect();
        Finder { input: BlockCursor::default(), outputs, keys: HashMap::new() }
    }
}
