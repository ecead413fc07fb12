//! Control records: the initial copy, in its place between the upstream's transactions (`docs/adr/0002`).

use bytes::Bytes;
use tidelake_core::control::{self, ControlRecord};
use tidelake_core::ports::Buffer;
use tidelake_core::{
    Catalog, ChangeBatch, CommitSeq, DecodedStep, Result, RowOp, SchemaChange, SourcePosition, TableDef, TableEntry,
    TableName, TableState,
};

use arrow::array::RecordBatch;

use crate::DecoderFactory;
use crate::flush::Flusher;
use crate::rescan::Rescan;

/// Applies control records to the working catalog and to the steps of a window.
pub(crate) struct Copies<'a> {
    pub buffer: &'a dyn Buffer,
    pub decoders: &'a DecoderFactory,
    pub catalog: &'a mut Catalog,
    pub flusher: &'a Flusher,
}

impl Copies<'_> {
    pub(crate) fn apply(&mut self, seq: CommitSeq, record: &Bytes, steps: &mut Vec<DecodedStep>) -> Result<()> {
        let (record, rows) = control::decode(record)?;
        match record {
            ControlRecord::CopyBegin { copy_id, def, from } => self.begin(seq, copy_id, *def, from, steps),
            ControlRecord::CopyRows { copy_id, read_at, cursor } => {
                self.rows(seq, copy_id, &read_at, cursor, rows, steps)
            }
            ControlRecord::CopyDone { copy_id, read_at } => self.done(seq, copy_id, read_at, steps),
            ControlRecord::StopTable { name, reason } => self.stop(seq, &name, reason, steps),
            ControlRecord::DropTable { name } => self.drop_table(seq, &name, steps),
        }
    }

    fn change(&mut self, seq: CommitSeq, change: SchemaChange, steps: &mut Vec<DecodedStep>) -> Result<()> {
        self.catalog.apply(seq, &change)?;
        steps.push(DecodedStep::Schema(seq, Box::new(change)));
        Ok(())
    }

    fn begin(
        &mut self,
        seq: CommitSeq,
        copy_id: u64,
        mut def: TableDef,
        from: SourcePosition,
        steps: &mut Vec<DecodedStep>,
    ) -> Result<()> {
        if let Some(unfinished) = self.catalog.copying(&def.name) {
            let id = unfinished.def.id;
            self.change(seq, SchemaChange::DropTable(id), steps)?;
        }
        def.id = self.catalog.next_table;
        let state = TableState::Copying { copy_id, from, cursor: String::new() };
        self.change(seq, SchemaChange::CreateTable { def: Box::new(def), state }, steps)
    }

    /// A chunk of a copy that was given up meanwhile is left out.
    fn rows(
        &mut self,
        seq: CommitSeq,
        copy_id: u64,
        read_at: &SourcePosition,
        cursor: String,
        rows: Option<RecordBatch>,
        steps: &mut Vec<DecodedStep>,
    ) -> Result<()> {
        let Some((entry, from)) = self.copy(copy_id) else { return Ok(()) };
        if let Some(rows) = rows.filter(|r| r.num_rows() > 0) {
            let rows = control::with_schema(rows, entry.def.arrow_schema())?;
            let keyed = !entry.def.key.is_empty();
            let rows = if keyed { self.rescan(seq, read_at).without_touched(&entry, rows)? } else { rows };
            let op = if keyed { RowOp::Upsert } else { RowOp::Insert };
            let count = rows.num_rows();
            let batch = ChangeBatch::new(entry.def.id, entry.def.version, vec![seq; count], vec![op; count], rows)?;
            steps.push(DecodedStep::Rows(batch));
        }
        let state = TableState::Copying { copy_id, from, cursor };
        self.change(seq, SchemaChange::SetState { table: entry.def.id, state }, steps)
    }

    fn done(
        &mut self,
        seq: CommitSeq,
        copy_id: u64,
        read_at: Option<SourcePosition>,
        steps: &mut Vec<DecodedStep>,
    ) -> Result<()> {
        let Some((entry, _)) = self.copy(copy_id) else { return Ok(()) };
        if let Some(read_at) = read_at {
            steps.extend(self.rescan(seq, &read_at).changes(&entry)?);
        }
        self.change(seq, SchemaChange::SetState { table: entry.def.id, state: TableState::Live }, steps)
    }

    fn stop(&mut self, seq: CommitSeq, name: &TableName, reason: String, steps: &mut Vec<DecodedStep>) -> Result<()> {
        let Some(entry) = self.catalog.visible(name) else { return Ok(()) };
        let state = TableState::Stopped { reason, at: SourcePosition::default() };
        let table = entry.def.id;
        self.change(seq, SchemaChange::SetState { table, state }, steps)
    }

    fn drop_table(&mut self, seq: CommitSeq, name: &TableName, steps: &mut Vec<DecodedStep>) -> Result<()> {
        let both = [self.catalog.copying(name), self.catalog.visible(name)];
        let ids: Vec<_> = both.into_iter().flatten().map(|e| e.def.id).collect();
        ids.into_iter().try_for_each(|id| self.change(seq, SchemaChange::DropTable(id), steps))
    }

    fn copy(&self, wanted: u64) -> Option<(TableEntry, SourcePosition)> {
        self.catalog.tables.values().find_map(|entry| match &entry.state {
            TableState::Copying { copy_id, from, .. } if *copy_id == wanted => Some((entry.clone(), from.clone())),
            _ => None,
        })
    }

    fn rescan<'b>(&'b self, at: CommitSeq, read_at: &'b SourcePosition) -> Rescan<'b> {
        Rescan { buffer: self.buffer, decoders: self.decoders, flusher: self.flusher, read_at, at }
    }
}
