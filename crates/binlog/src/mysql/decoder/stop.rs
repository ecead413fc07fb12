//! Stopping a table loudly, and applying schema changes in stream order.

use tidelake_core::{DecodedStep, Result, SchemaChange, TableId, TableState};

use super::{BinlogDecoder, Current};

impl BinlogDecoder {
    /// Applies a change to the catalog and hands it over, behind all rows before it.
    pub(super) fn apply(&mut self, change: SchemaChange, current: &mut Current<'_>) -> Result<()> {
        self.close_batches()?;
        self.writers.clear();
        self.maps_changed(&change);
        current.catalog.apply(current.seq, &change)?;
        self.steps.push(DecodedStep::Schema(current.seq, Box::new(change)));
        Ok(())
    }

    /// Resolved table maps that a change makes wrong go. Those of other tables stay: rows of the same statement may follow.
    fn maps_changed(&mut self, change: &SchemaChange) {
        match change {
            SchemaChange::SetState { table, .. } | SchemaChange::DropTable(table) => self.maps.drop_target(*table),
            SchemaChange::CreateTable { .. } => {} // seen by the catalog's mark
            _ => self.maps.clear(),
        }
    }

    /// Stops a table. A copying one is dropped if a visible table of its name exists (that one stops): the copier
    /// begins again when it is resumed.
    pub(super) fn stop(&mut self, table: TableId, reason: String, current: &mut Current<'_>) -> Result<()> {
        let Some(entry) = current.catalog.tables.get(&table) else { return Ok(()) };
        let name = entry.def.name.clone();
        let copying = matches!(entry.state, TableState::Copying { .. });
        if matches!(entry.state, TableState::Stopped { .. }) {
            return Ok(());
        }
        if copying && let Some(visible) = current.catalog.visible(&name).map(|e| e.def.id) {
            self.apply(SchemaChange::DropTable(table), current)?;
            return self.stop(visible, reason, current);
        }
        tracing::error!(table = %name, position = %current.position, reason, "table stopped");
        let state = TableState::Stopped { reason, at: current.position.clone() };
        self.apply(SchemaChange::SetState { table, state }, current)
    }
}
