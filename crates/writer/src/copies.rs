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
use crate::steps::Steps;

/// Applies control records to the working catalog and to the steps of a window.
pub(crate) struct Copies<'a> {
    pub buffer: &'a dyn Buffer,
    pub decoders: &'a DecoderFactory,
    pub catalog: &'a mut Catalog,
    pub flusher: &'a Flusher,
    /// The upstream's position here.
    pub position: &'a SourcePosition,
}

impl Copies<'_> {
    pub(crate) fn apply(&mut self, seq: CommitSeq, record: &Bytes, steps: &mut Steps<'_>) -> Result<()> {
        let (record, rows) = control::decode(record)?;
        match record {
            ControlRecord::CopyBegin { copy_id, def, from } => self.begin(seq, copy_id, *def, from, steps),
            ControlRecord::CopyRows { copy_id, read_at, cursor } => {
                self.rows(seq, copy_id, &read_at, cursor, rows, steps)
            }
            ControlRecord::CopyDone { copy_id, read_at } => self.done(seq, copy_id, read_at, steps),
            ControlRecord::StopTable { name, reason } => self.stop(seq, &name, reason, steps),
            ControlRecord::ReadUpTo => Ok(()),
            ControlRecord::DropTable { name, vanished } => self.drop_table(seq, &name, vanished, steps),
        }
    }

    fn change(&mut self, seq: CommitSeq, change: SchemaChange, steps: &mut Steps<'_>) -> Result<()> {
        self.catalog.apply(seq, &change)?;
        steps.push(DecodedStep::Schema(seq, Box::new(change)))
    }

    fn begin(
        &mut self,
        seq: CommitSeq,
        copy_id: u64,
        mut def: TableDef,
        from: SourcePosition,
        steps: &mut Steps<'_>,
    ) -> Result<()> {
        if let Some(unfinished) = self.catalog.copying(&def.name) {
            let id = unfinished.def.id;
            self.change(seq, SchemaChange::DropTable(id), steps)?;
        }
        def.id = self.catalog.next_table;
        let state = TableState::Copying { copy_id, from: from.clone(), cursor: String::new() };
        self.change(seq, SchemaChange::CreateTable { def: Box::new(def), state }, steps)?;
        match self.copy(copy_id) {
            Some((entry, _)) if !entry.def.key.is_empty() => self.catch_up(seq, &entry, &from, steps),
            _ => Ok(()),
        }
    }

    /// What the stream did to the table after `from` but before it met the copy's beginning is applied here, so that
    /// from now on everything after `from` is.
    fn catch_up(
        &mut self,
        seq: CommitSeq,
        entry: &TableEntry,
        from: &SourcePosition,
        steps: &mut Steps<'_>,
    ) -> Result<()> {
        match self.rescan(seq, from).changes(entry, steps)? {
            Ok(()) => Ok(()),
            Err(reason) => self.give_up(seq, entry, &reason, steps),
        }
    }

    /// A chunk of a copy that was given up meanwhile is left out.
    fn rows(
        &mut self,
        seq: CommitSeq,
        copy_id: u64,
        read_at: &SourcePosition,
        cursor: String,
        rows: Option<RecordBatch>,
        steps: &mut Steps<'_>,
    ) -> Result<()> {
        let Some((entry, from)) = self.copy(copy_id) else { return Ok(()) };
        if let Some(rows) = rows.filter(|r| r.num_rows() > 0) {
            let rows = control::with_schema(rows, entry.def.arrow_schema())?;
            let keyed = !entry.def.key.is_empty();
            let rows = match keyed {
                false => rows,
                true => match self.rescan(seq, read_at).without_touched(&entry, rows)? {
                    Ok(rows) => rows,
                    Err(reason) => return self.give_up(seq, &entry, &reason, steps),
                },
            };
            let op = if keyed { RowOp::Upsert } else { RowOp::Insert };
            let (seqs, ops) = (vec![seq; rows.num_rows()], vec![op; rows.num_rows()]);
            steps.push(DecodedStep::Rows(ChangeBatch::new(entry.def.id, entry.def.version, seqs, ops, rows)?))?;
        }
        let state = TableState::Copying { copy_id, from, cursor };
        self.change(seq, SchemaChange::SetState { table: entry.def.id, state }, steps)
    }

    fn done(
        &mut self,
        seq: CommitSeq,
        copy_id: u64,
        read_at: Option<SourcePosition>,
        steps: &mut Steps<'_>,
    ) -> Result<()> {
        let Some((entry, _)) = self.copy(copy_id) else { return Ok(()) };
        if let Some(read_at) = read_at
            && let Err(reason) = self.rescan(seq, &read_at).changes(&entry, steps)?
        {
            return self.give_up(seq, &entry, &reason, steps);
        }
        self.change(seq, SchemaChange::SetState { table: entry.def.id, state: TableState::Live }, steps)
    }

    /// The newest definition of the table is the one that stays: what the stream does to tables depends on it.
    fn stop(&mut self, seq: CommitSeq, name: &TableName, reason: String, steps: &mut Steps<'_>) -> Result<()> {
        let copying = self.catalog.copying(name).map(|e| e.def.id);
        let visible = self.catalog.visible(name).map(|e| (e.def.id, e.state == TableState::Live));
        if let Some((_, true)) = visible {
            // it came by a CREATE TABLE of the stream after its copy had failed: nothing is wrong with it
            tracing::warn!(table = %name, position = %self.position, reason, "not stopped, it was created anew");
            return copying.map_or(Ok(()), |copying| self.change(seq, SchemaChange::DropTable(copying), steps));
        }
        tracing::error!(table = %name, position = %self.position, reason, "table stopped");
        let state = TableState::Stopped { reason, at: self.position.clone() };
        if let (Some(_), Some((old, _))) = (copying, visible) {
            self.change(seq, SchemaChange::DropTable(old), steps)?;
        }
        if let Some(table) = copying.or(visible.map(|(table, _)| table)) {
            return self.change(seq, SchemaChange::SetState { table, state }, steps);
        }
        let mut def = TableDef::unknown(name.clone());
        def.id = self.catalog.next_table;
        self.change(seq, SchemaChange::CreateTable { def: Box::new(def), state }, steps)
    }

    fn drop_table(&mut self, seq: CommitSeq, name: &TableName, vanished: bool, steps: &mut Steps<'_>) -> Result<()> {
        let visible = self.catalog.visible(name).filter(|e| !vanished || e.state.wants_resync());
        let both = [self.catalog.copying(name), visible];
        let ids: Vec<_> = both.into_iter().flatten().map(|e| e.def.id).collect();
        ids.into_iter().try_for_each(|id| self.change(seq, SchemaChange::DropTable(id), steps))
    }

    /// Drops an unfinished copy; the copier notices and begins again.
    fn give_up(&mut self, seq: CommitSeq, entry: &TableEntry, reason: &str, steps: &mut Steps<'_>) -> Result<()> {
        tracing::warn!(table = %entry.def.name, %seq, reason, "copy given up, it begins again");
        metrics::counter!("tidelake_writer_given_up_copies_total").increment(1);
        self.change(seq, SchemaChange::DropTable(entry.def.id), steps)
    }

    fn copy(&self, wanted: u64) -> Option<(TableEntry, SourcePosition)> {
        self.catalog.tables.values().find_map(|entry| match &entry.state {
            TableState::Copying { copy_id, from, .. } if *copy_id == wanted => Some((entry.clone(), from.clone())),
            _ => None,
        })
    }

    fn rescan<'b>(&'b self, at: CommitSeq, read_at: &'b SourcePosition) -> Rescan<'b> {
        Rescan {
            buffer: self.buffer,
            decoders: self.decoders,
            flusher: self.flusher,
            read_at,
            at,
            position: self.position,
        }
    }
}
