//! ROLLBACK and ROLLBACK TO inside a logged transaction.
//!
//! The upstream logs a rolled back transaction only if it also changed a table that cannot roll back (MyISAM, Aria,
//! MEMORY ...). The rows of the other tables must then be undone: by their inverse, in reverse order, at the same seq.

use std::collections::BTreeSet;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use bytes::Bytes;
use tidelake_core::{ChangeBatch, DecodedStep, RESYNC, Result, RowOp, TableId};

use super::tables::{Mapped, Target};
use super::{BinlogDecoder, Current};
use crate::mysql::event::EventType;
use crate::mysql::rows::{RowsEvent, TableWriter};

/// Bytes of row events remembered at most.
const MAX_REMEMBERED: usize = 16 << 20;

/// Row events of the open transaction, with its savepoints.
#[derive(Default)]
pub(super) struct UndoLog {
    events: Vec<(EventType, Bytes, Mapped)>,
    bytes: usize,
    savepoints: Vec<(String, usize)>,
    /// Tables of events that were too many to remember.
    forgotten: BTreeSet<TableId>,
}

impl UndoLog {
    pub(super) fn remember(&mut self, kind: EventType, body: &Bytes, mapped: &Mapped) {
        self.bytes += body.len();
        if self.bytes > MAX_REMEMBERED {
            let events = self.events.drain(..).map(|(_, _, m)| m).chain([mapped.clone()]);
            self.forgotten.extend(events.flat_map(|m| m.active()).map(|t| t.table()));
            return;
        }
        self.events.push((kind, body.clone(), mapped.clone()));
    }

    pub(super) fn savepoint(&mut self, name: String) {
        self.savepoints.retain(|(n, _)| *n != name);
        self.savepoints.push((name, self.events.len()));
    }

    /// Number of events before the savepoint; it stays, later ones go.
    fn find(&mut self, name: &str) -> Option<usize> {
        let at = self.savepoints.iter().position(|(n, _)| n == name)?;
        self.savepoints.truncate(at + 1);
        Some(self.savepoints[at].1)
    }
}

/// Whether an engine rolls back; `None`: not known.
fn rolls_back(engine: &str) -> Option<bool> {
    match engine.to_ascii_lowercase().as_str() {
        "innodb" | "rocksdb" | "tokudb" | "ndb" | "ndbcluster" => Some(true),
        "myisam" | "aria" | "memory" | "heap" | "csv" | "archive" | "mrg_myisam" | "merge" | "blackhole" => Some(false),
        _ => None,
    }
}

impl BinlogDecoder {
    /// Undoes what a ROLLBACK TO this savepoint undoes; `None`: ROLLBACK of everything.
    pub(super) fn roll_back(&mut self, savepoint: Option<&str>, current: &mut Current<'_>) -> Result<()> {
        let found = savepoint.map_or(Some(0), |name| current.undo.find(name));
        let Some(keep) = found.filter(|_| current.undo.forgotten.is_empty()) else {
            let events = current.undo.events.drain(..).flat_map(|(_, _, m)| m.active()).map(|t| t.table());
            let tables: BTreeSet<TableId> = events.chain(std::mem::take(&mut current.undo.forgotten)).collect();
            return self.stop_undecided(tables, "a ROLLBACK to a place that is not known any more", current);
        };
        let undone: Vec<_> = current.undo.events.drain(keep.min(current.undo.events.len())..).rev().collect();
        let mut undecided = BTreeSet::new();
        for (kind, body, mapped) in undone {
            for target in mapped.active() {
                match rolls_back(&target.plan.def.engine) {
                    Some(true) => self.undo_event(kind, &body, &target, current)?,
                    Some(false) => {}
                    None => drop(undecided.insert(target.table())),
                }
            }
        }
        self.stop_undecided(
            undecided,
            "a ROLLBACK of rows in an engine of which it is not known whether it rolls back",
            current,
        )
    }

    fn stop_undecided(&mut self, tables: BTreeSet<TableId>, what: &str, current: &mut Current<'_>) -> Result<()> {
        for table in tables {
            let reason = format!("{RESYNC} {what} ({})", current.place());
            self.stop(table, reason, current)?;
        }
        Ok(())
    }

    fn undo_event(&mut self, kind: EventType, body: &Bytes, target: &Target, current: &mut Current<'_>) -> Result<()> {
        self.close_batches()?;
        let event = RowsEvent::parse(kind, body, current.context.table_id_len).map_err(|e| current.corrupt(e))?;
        let mut writer = TableWriter::new(&target.plan.def)?;
        let mut batches = Vec::new();
        let appended = writer.append_rows(&event, &target.plan, current.seq, target.ops, |batch| batches.push(batch));
        if appended.is_err() {
            return Ok(()); // the table was stopped when the event itself came
        }
        batches.extend(writer.finish()?);
        for batch in batches.into_iter().rev() {
            let inverse = inverse(&batch)?;
            self.step_bytes += inverse.rows.get_array_memory_size();
            self.steps.push(DecodedStep::Rows(inverse));
        }
        Ok(())
    }
}

fn inverse(batch: &ChangeBatch) -> Result<ChangeBatch> {
    let order: UInt64Array = (0..batch.len() as u64).rev().collect();
    let rows: RecordBatch = take_record_batch(&batch.rows, &order)?;
    let ops = batch.ops.iter().rev().map(|op| match op {
        RowOp::Delete => RowOp::Insert,
        RowOp::Insert => RowOp::Delete,
        RowOp::DeleteIfExists => RowOp::Upsert,
        RowOp::Upsert => RowOp::DeleteIfExists,
    });
    ChangeBatch::new(batch.table, batch.version, batch.seqs.to_vec(), ops.collect(), rows)
}
