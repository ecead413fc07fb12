//! Publishing. A step is *staged* (invisible); a window is *published* (visible, over all tables at once).
//!
//! A step whose rows do not fit what is stored means that the replica differs from upstream for one table. That
//! table is stopped loudly, at that place, and the rest of its rows is left out; all other tables go on
//! (invariant 3). Whatever else fails stops the writer before anything of the window becomes visible.

use std::collections::BTreeSet;

use tidelake_core::ports::StoreWriter;
use tidelake_core::{
    Catalog, ChangeBatch, CommitSeq, DecodedStep, Error, Result, SchemaChange, SourcePosition, TableId, TableState,
};

use crate::window::Window;

pub(crate) struct Publisher<'a> {
    store: &'a mut dyn StoreWriter,
    catalog: &'a mut Catalog,
    stopped: BTreeSet<TableId>,
}

impl<'a> Publisher<'a> {
    /// `catalog` is the working catalog, already as of the end of the window.
    pub(crate) fn new(store: &'a mut dyn StoreWriter, catalog: &'a mut Catalog) -> Self {
        Publisher { store, catalog, stopped: BTreeSet::new() }
    }

    pub(crate) async fn publish(mut self, window: Window) -> Result<()> {
        for step in window.steps {
            match step {
                DecodedStep::Rows(batch) => self.stage_rows(batch, &window.position).await?,
                DecodedStep::Schema(seq, change) => self.stage_schema(seq, change).await?,
            }
        }
        self.store.publish(window.upto, window.position).await
    }

    async fn stage_rows(&mut self, batch: ChangeBatch, position: &SourcePosition) -> Result<()> {
        let table = batch.table;
        let Some(last) = batch.seqs.last().copied() else { return Ok(()) };
        if self.stopped.contains(&table) {
            return Ok(());
        }
        match self.store.stage(DecodedStep::Rows(batch)).await {
            Err(Error::Diverged { table: name, reason }) => self.stop(table, last, &name, reason, position).await,
            other => other,
        }
    }

    /// A stopped table keeps its structure in step, but no later step of the window may revive it.
    async fn stage_schema(&mut self, seq: CommitSeq, change: Box<SchemaChange>) -> Result<()> {
        if matches!(&*change, SchemaChange::SetState { table, .. } if self.stopped.contains(table)) {
            return Ok(());
        }
        self.store.stage(DecodedStep::Schema(seq, change)).await
    }

    async fn stop(
        &mut self,
        table: TableId,
        seq: CommitSeq,
        name: &str,
        reason: String,
        position: &SourcePosition,
    ) -> Result<()> {
        tracing::error!(table = name, %reason, %position, %seq, "table stopped: its rows differ from upstream");
        metrics::counter!("tidelake_writer_stopped_tables_total").increment(1);
        self.stopped.insert(table);
        let state = TableState::Stopped { reason: format!("diverged: {reason}"), at: position.clone() };
        let change = SchemaChange::SetState { table, state };
        if self.catalog.tables.contains_key(&table) {
            self.catalog.apply(seq, &change)?;
        }
        self.store.stage(DecodedStep::Schema(seq, Box::new(change))).await
    }
}
