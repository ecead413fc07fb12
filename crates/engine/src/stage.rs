//! Staging rows: check a whole step against what is stored, then apply it.
//!
//! The rows of a step are grouped by key; each group knows the stored rows of its key that live (one, or with no
//! key any number). Then the step is played through in order on the groups alone. Only when every row fits are
//! deaths and births written, so a step that does not fit changes nothing.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use hashbrown::HashTable;
use tidelake_core::{ChangeBatch, CommitSeq, Error, Result, RowOp, TableState};

use crate::engine::Inner;
use crate::keys::{Keys, describe};
use crate::memory::Chunk;
use crate::table::{Place, Table, Units};
use crate::writer::Gate;

/// The rows of one key in a step.
struct Group {
    first_row: u32,
    hash: u64,
    /// How many stored rows may have to die.
    wanted: u32,
    /// Living rows: stored ones, then born ones.
    living: Option<Place>,
    more: Vec<Place>,
}

impl Group {
    fn pop(&mut self) -> Option<Place> {
        self.more.pop().or_else(|| self.living.take())
    }

    fn push(&mut self, place: Place) {
        if self.living.is_none() {
            self.living = Some(place);
        } else {
            self.more.push(place);
        }
    }

    fn count(&self) -> u32 {
        u32::from(self.living.is_some()) + self.more.len() as u32
    }
}

/// What a checked step does.
struct Plan {
    /// Stored rows that die: where and when.
    deaths: Vec<(Place, CommitSeq)>,
    /// Rows of the step that are born.
    births: Vec<u32>,
    /// Rows of the step that are born and die in it.
    short_lives: Vec<(u32, CommitSeq)>,
}

impl Inner {
    /// Takes rows, invisibly. The caller holds the gate.
    pub(crate) fn stage_rows(&self, gate: &mut Gate, batch: &ChangeBatch) -> Result<()> {
        let (Some(first), Some(last)) = (batch.seqs.first(), batch.seqs.last()) else { return Ok(()) };
        self.check_stage_seq(*first)?;
        let catalog = self.newest_catalog();
        let entry = catalog.table(batch.table)?;
        let table = self.table(batch.table)?;
        let plan_and_keys = {
            let units = table.units.read();
            if let TableState::Stopped { reason, .. } = &entry.state {
                return Err(Error::Internal(format!("rows staged for stopped table {}: {reason}", units.def.name)));
            }
            check_shape(&units, batch, *first)?;
            let keys = units.keys.keys(&batch.rows)?;
            (check(&units, batch, &keys)?, keys)
        };
        let (plan, keys) = plan_and_keys;
        let births: Vec<u64> = plan.births.iter().map(|r| batch.seqs[*r as usize].0).collect();
        let (rows, keys) = pick(&batch.rows, keys, &plan.births)?;
        let chunk = Chunk::new(rows, births, keys.memory());
        for (row, seq) in &plan.short_lives {
            let at = plan.births.binary_search(row).expect("short lives are births of this step");
            chunk.set_death(at, seq.0);
        }
        if chunk.len() > 0 {
            self.add_memory(chunk.bytes, gate);
        }
        let published = self.published.borrow().seq;
        let freed = apply(&table, chunk, keys, &plan, *last, (published, self.options.join_chunks))?;
        self.sub_memory(freed);
        gate.staged = gate.staged.max(*last);
        metrics::counter!("tidelake_engine_rows_staged_total").increment(batch.len() as u64);
        Ok(())
    }
}

fn check_shape(units: &Units, batch: &ChangeBatch, first: CommitSeq) -> Result<()> {
    let def = &units.def;
    if batch.version != def.version {
        let (have, want) = (batch.version, def.version);
        return Err(Error::Internal(format!("rows of version {have} of {} staged at version {want}", def.name)));
    }
    let (have, want) = (batch.rows.schema(), def.arrow_schema());
    let same = have.fields().len() == want.fields().len()
        && have.fields().iter().zip(want.fields()).all(|(a, b)| a.data_type() == b.data_type());
    if !same {
        return Err(Error::Internal(format!(
            "rows of {} have other columns than its version {}",
            def.name, def.version
        )));
    }
    if first < units.last_seq {
        return Err(Error::Internal(format!("{}: seq {first} staged after {}", def.name, units.last_seq)));
    }
    Ok(())
}

/// Plays the step through; an error if a row does not fit.
fn check(units: &Units, batch: &ChangeBatch, keys: &Keys) -> Result<Plan> {
    let keyless = units.keys.keyless();
    let (mut groups, group_of) = group(batch, keys, keyless);
    find_stored(units, keys, &mut groups, keyless)?;
    let mut plan = Plan { deaths: Vec::new(), births: Vec::new(), short_lives: Vec::new() };
    for row in 0..batch.len() {
        let group = &mut groups[group_of[row] as usize];
        let (seq, op) = (batch.seqs[row], batch.ops[row]);
        let dies = match op {
            RowOp::Delete if group.count() == 0 => return Err(diverged(units, batch, row, "delete of a missing row")),
            RowOp::Insert if !keyless && group.count() > 0 => {
                return Err(diverged(units, batch, row, "insert of a key that exists"));
            }
            RowOp::Upsert => !keyless,
            RowOp::Insert => false,
            RowOp::Delete | RowOp::DeleteIfExists => true,
        };
        if dies && let Some(place) = group.pop() {
            match place {
                Place::Born(born) => plan.short_lives.push((born, seq)),
                stored => plan.deaths.push((stored, seq)),
            }
        }
        if op.births() {
            plan.births.push(row as u32);
            group.push(Place::Born(row as u32));
        }
    }
    Ok(plan)
}

fn diverged(units: &Units, batch: &ChangeBatch, row: usize, what: &str) -> Error {
    let key = describe(&units.def, &batch.rows, row);
    let reason = format!("seq {}: {what} ({key})", batch.seqs[row]);
    Error::Diverged { table: units.def.name.to_string(), reason }
}

/// Groups the rows of a step by key; returns each row's group.
fn group(batch: &ChangeBatch, keys: &Keys, keyless: bool) -> (Vec<Group>, Vec<u32>) {
    let mut groups: Vec<Group> = Vec::with_capacity(keys.len());
    let mut table: HashTable<u32> = HashTable::with_capacity(keys.len());
    let mut group_of = Vec::with_capacity(keys.len());
    for row in 0..keys.len() {
        let hash = keys.hash(row);
        let key = keys.get(row);
        let same = |g: &u32| {
            let group = &groups[*g as usize];
            group.hash == hash && keys.get(group.first_row as usize) == key
        };
        let at = match table.find(hash, same) {
            Some(at) => *at,
            None => {
                let at = groups.len() as u32;
                groups.push(Group { first_row: row as u32, hash, wanted: 0, living: None, more: Vec::new() });
                table.insert_unique(hash, at, |g| groups[*g as usize].hash);
                at
            }
        };
        let group = &mut groups[at as usize];
        match batch.ops[row] {
            RowOp::Delete | RowOp::DeleteIfExists if keyless => group.wanted += 1,
            _ if !keyless => group.wanted = 1,
            _ => {}
        }
        group_of.push(at);
    }
    (groups, group_of)
}

/// Gives each group the stored rows of its key that live.
fn find_stored(units: &Units, keys: &Keys, groups: &mut [Group], keyless: bool) -> Result<()> {
    for group in groups.iter_mut().filter(|g| g.wanted > 0) {
        let key = keys.get(group.first_row as usize);
        if keyless {
            let found = units.find_many_in_memory(group.hash, key, group.wanted as usize);
            found.into_iter().for_each(|p| group.push(p));
        } else {
            group.living = units.find_in_memory(group.hash, key);
        }
    }
    if units.files.is_empty() {
        return Ok(());
    }
    let missing = groups.iter().enumerate().filter(|(_, g)| g.count() < g.wanted);
    let mut wanted: Vec<(usize, u64, &[u8])> =
        missing.map(|(i, g)| (i, g.hash, keys.get(g.first_row as usize))).collect();
    wanted.sort_unstable_by(|a, b| a.2.cmp(b.2));
    units.find_in_files(&mut wanted, |i, place| {
        groups[i].push(place);
        groups[i].count() < groups[i].wanted
    })
}

/// The born rows alone.
fn pick(rows: &RecordBatch, keys: Keys, births: &[u32]) -> Result<(RecordBatch, Keys)> {
    if births.len() == rows.num_rows() {
        return Ok((rows.clone(), keys));
    }
    let picked = take_record_batch(rows, &UInt32Array::from(births.to_vec()))?;
    Ok((picked, keys.pick(births)?))
}

/// Does what was checked. Returns the bytes that joined chunks need less.
fn apply(
    table: &Table,
    chunk: Chunk,
    keys: Keys,
    plan: &Plan,
    last: CommitSeq,
    (published, join_chunks): (CommitSeq, usize),
) -> Result<u64> {
    let mut units = table.units.write();
    let units = &mut *units;
    // Before anything changes: it may fail.
    let freed = units.active().join_small(published, join_chunks)?;
    units.last_seq = last;
    for (place, seq) in &plan.deaths {
        match place {
            Place::Memory(generation, slot) => units.generations[*generation as usize].kill(*slot, *seq),
            Place::File(file, at) => {
                let file = &units.files[*file as usize];
                file.deaths.write().push(*seq, *at);
            }
            Place::Born(_) => return Err(Error::Internal("a born row among stored ones".into())),
        }
    }
    if chunk.len() > 0 {
        units.active().push(chunk, keys);
    }
    Ok(freed)
}
