//! Publishing. A step is *staged* (invisible); a window is *published* (visible, over all tables at once).
//!
//! A step that does not fit what is stored means that the replica differs from upstream for one table. That table is
//! stopped loudly, at that place, and the rest of its steps is left out; all other tables go on (invariant 3). A table
//! that is still copying is dropped instead: its copy begins again. Whatever else fails stops the writer before
//! anything of the window becomes visible.

use std::collections::BTreeSet;

use tidelake_core::ports::{Buffer, StoreWriter};
use tidelake_core::{
    Catalog, CommitSeq, DecodedStep, Error, Result, SchemaChange, SourcePosition, TableId, TableName, TableState,
};

use crate::window::WindowEnd;

/// Stages one window and publishes it.
pub(crate) struct Publisher<'a> {
    store: &'a mut dyn StoreWriter,
    buffer: &'a dyn Buffer,
    /// What the engine's catalog is after the steps staged so far, as far as is needed to stop a table.
    catalog: &'a mut Catalog,
    stopped: BTreeSet<TableId>,
    /// The newest staged seq.
    newest: CommitSeq,
}

impl<'a> Publisher<'a> {
    /// `catalog` is the engine's catalog before the window.
    pub(crate) fn new(store: &'a mut dyn StoreWriter, buffer: &'a dyn Buffer, catalog: &'a mut Catalog) -> Self {
        Publisher { store, buffer, catalog, stopped: BTreeSet::new(), newest: CommitSeq::ZERO }
    }

    /// Stages steps, in stream order.
    pub(crate) async fn stage(&mut self, steps: Vec<DecodedStep>) -> Result<()> {
        for step in steps {
            let Some(step) = self.without_stopped(step) else { continue };
            self.stage_one(step).await?;
        }
        Ok(())
    }

    /// Makes the window visible; true if a table was stopped or dropped on the way.
    pub(crate) async fn publish(self, end: &WindowEnd) -> Result<bool> {
        self.store.publish(end.upto, end.position.clone()).await?;
        Ok(!self.stopped.is_empty())
    }

    async fn stage_one(&mut self, step: DecodedStep) -> Result<()> {
        let (table, seq) = match &step {
            DecodedStep::Rows(batch) => (Some(batch.table), batch.seqs.last().copied().unwrap_or(self.newest)),
            DecodedStep::Schema(seq, change) => (table_of(change), *seq),
        };
        let change = match &step {
            DecodedStep::Schema(seq, change) => Some((*seq, change.clone())),
            DecodedStep::Rows(_) => None,
        };
        match (self.store.stage(step).await, table) {
            (Ok(()), _) => {
                self.newest = self.newest.max(seq);
                match change {
                    Some((seq, change)) => self.catalog.apply(seq, &change),
                    None => Ok(()),
                }
            }
            (Err(Error::Diverged { table: name, reason }), Some(table)) => self.stop(table, seq, &name, reason).await,
            (Err(other), _) => Err(other),
        }
    }

    /// A step without what it does to stopped tables. They may go, be renamed or truncated, but not come back or change.
    fn without_stopped(&self, step: DecodedStep) -> Option<DecodedStep> {
        if self.stopped.is_empty() {
            return Some(step);
        }
        let DecodedStep::Schema(seq, mut change) = step else {
            let DecodedStep::Rows(batch) = &step else { return Some(step) };
            return (!self.stopped.contains(&batch.table)).then_some(step);
        };
        let gone = |id: &TableId| self.stopped.contains(id) && !self.catalog.tables.contains_key(id);
        let left_out = match &mut *change {
            SchemaChange::SetState { table, .. } => self.stopped.contains(table),
            SchemaChange::AlterTable(def) => self.stopped.contains(&def.id),
            SchemaChange::DropTable(id) | SchemaChange::Truncate(id) => gone(id),
            SchemaChange::Rename(names) => {
                names.retain(|(id, _): &(TableId, TableName)| !gone(id));
                names.is_empty()
            }
            SchemaChange::CreateTable { .. } | SchemaChange::CreateDatabase(_) | SchemaChange::DropDatabase(_) => false,
        };
        (!left_out).then_some(DecodedStep::Schema(seq, change))
    }

    async fn stop(&mut self, table: TableId, at_seq: CommitSeq, name: &str, reason: String) -> Result<()> {
        let at = self.buffer.position_of(at_seq).unwrap_or_default();
        let copying = matches!(self.catalog.table(table)?.state, TableState::Copying { .. });
        if copying {
            tracing::error!(table = name, %reason, %at, seq = %at_seq, "copy given up: its rows do not fit the stream");
        } else {
            tracing::error!(table = name, %reason, %at, seq = %at_seq, "table stopped: it differs from upstream");
        }
        metrics::counter!("tidelake_writer_stopped_tables_total").increment(1);
        self.stopped.insert(table);
        let change = stop_change(table, copying, reason, at);
        // Catalog steps are in the order of their seqs.
        let seq = at_seq.max(self.newest);
        self.newest = seq;
        self.catalog.apply(seq, &change)?;
        self.store.stage(DecodedStep::Schema(seq, Box::new(change))).await
    }
}

fn stop_change(table: TableId, copying: bool, reason: String, at: SourcePosition) -> SchemaChange {
    if copying {
        return SchemaChange::DropTable(table);
    }
    let reason = format!("diverged: {reason}");
    SchemaChange::SetState { table, state: TableState::Stopped { reason, at } }
}

/// The one table that a change is about.
fn table_of(change: &SchemaChange) -> Option<TableId> {
    match change {
        SchemaChange::AlterTable(def) => Some(def.id),
        SchemaChange::DropTable(id) | SchemaChange::Truncate(id) => Some(*id),
        SchemaChange::SetState { table, .. } => Some(*table),
        _ => None,
    }
}
