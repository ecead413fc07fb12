//! Applies decoded steps to plain maps, strictly: a death must find its row, a birth must not.

use std::collections::{BTreeMap, BTreeSet};

use tidelake_core::ports::{Buffer, TransactionDecoder};
use tidelake_core::testing::mem_buffer::MemBuffer;
use tidelake_core::value::cell_at;
use tidelake_core::{
    Catalog, CellValue, ChangeBatch, CommitSeq, DecodedStep, RowOp, SchemaChange, TableDef, TableId, TableName,
    TableState,
};

use super::history::{Contents, Row};
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::mysql::decoder::UnknownTables;
use tidelake_binlog::ticdc::FeedDecoder;

/// A replica in maps.
pub struct Replica {
    decoder: FeedDecoder,
    pub catalog: Catalog,
    rows: BTreeMap<TableId, BTreeMap<String, Row>>,
    /// Definitions that the rows have.
    defs: BTreeMap<TableId, TableDef>,
    seen: CommitSeq,
    /// Rows born and died, by table.
    counts: BTreeMap<TableId, (usize, usize)>,
}

impl Replica {
    pub fn new() -> Replica {
        Replica {
            decoder: FeedDecoder::new(TableFilter::default(), UnknownTables::Stop),
            catalog: Catalog::default(),
            rows: BTreeMap::new(),
            defs: BTreeMap::new(),
            counts: BTreeMap::new(),
            seen: CommitSeq::ZERO,
        }
    }

    /// Applies the next transaction of the buffer; its commit-ts.
    pub fn next(&mut self, buffer: &MemBuffer) -> Option<u64> {
        let transaction = buffer.read_after(self.seen).expect("read").next().expect("next")?;
        self.seen = transaction.seq;
        let ts = transaction.position.major;
        let mut steps = Vec::new();
        let mut collect = |more: Vec<DecodedStep>| {
            steps.extend(more);
            Ok(())
        };
        self.decoder.decode_in_pieces(transaction, &mut self.catalog, 2000, &mut collect).expect("decodes");
        steps.extend(self.decoder.take().expect("take"));
        for step in steps {
            self.apply(step);
        }
        Some(ts)
    }

    /// What the live tables hold.
    pub fn contents(&self) -> Contents {
        let live = self.catalog.tables.values().filter(|e| e.state == TableState::Live);
        live.map(|e| (e.def.name.clone(), self.rows.get(&e.def.id).cloned().unwrap_or_default())).collect()
    }

    /// Why tables stopped.
    pub fn stopped(&self) -> Vec<String> {
        let reason = |state: &TableState| match state {
            TableState::Stopped { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        self.catalog.tables.values().filter_map(|e| Some(format!("{}: {}", e.def.name, reason(&e.state)?))).collect()
    }

    /// How many rows were born in the table of this name, and how many died.
    pub fn births(&self, table: &str) -> (usize, usize) {
        let found = self.catalog.tables.values().find(|e| e.def.name.table == table).expect("a table");
        self.counts.get(&found.def.id).copied().unwrap_or_default()
    }

    /// Which tables stopped.
    pub fn stopped_names(&self) -> BTreeSet<TableName> {
        let stopped = self.catalog.tables.values().filter(|e| matches!(e.state, TableState::Stopped { .. }));
        stopped.map(|e| e.def.name.clone()).collect()
    }

    /// Columns keep their numbers, whatever they are called.
    fn alter(&mut self, def: &TableDef) {
        let before = self.defs.insert(def.id, def.clone());
        let old_name = |id| {
            let columns = before.as_ref().map(|d| &d.columns)?;
            columns.iter().find(|c| c.id == id).map(|c| c.name.clone())
        };
        for row in self.rows.entry(def.id).or_default().values_mut() {
            let mut old = std::mem::take(row);
            for column in &def.columns {
                let kept = old_name(column.id).and_then(|name| old.remove(&name));
                let initial = || column.initial.clone().unwrap_or(CellValue::Null);
                row.insert(column.name.clone(), kept.unwrap_or_else(initial));
            }
        }
    }

    fn apply(&mut self, step: DecodedStep) {
        match step {
            DecodedStep::Rows(batch) => self.batch(&batch),
            DecodedStep::Schema(_, change) => match *change {
                SchemaChange::Truncate(id) => self.rows.entry(id).or_default().clear(),
                SchemaChange::DropTable(id) => drop(self.rows.remove(&id)),
                SchemaChange::CreateTable { def, .. } => drop(self.defs.insert(def.id, *def)),
                SchemaChange::AlterTable(def) => self.alter(&def),
                _ => {}
            },
        }
    }

    fn batch(&mut self, batch: &ChangeBatch) {
        let deaths = batch.ops.iter().filter(|op| matches!(op, RowOp::Delete | RowOp::DeleteIfExists)).count();
        let counts = self.counts.entry(batch.table).or_default();
        *counts = (counts.0 + batch.len() - deaths, counts.1 + deaths);
        if self.defs.get(&batch.table).is_some_and(|def| def.key.is_empty()) {
            return; // only counted: nothing tells equal rows apart
        }
        let key_columns: Vec<String> = {
            // rows come before the schema step that follows them, so the names are those of the batch
            let schema = batch.rows.schema();
            let def = self.catalog.tables.get(&batch.table).map(|e| e.def.key.len()).unwrap_or(1);
            schema.fields().iter().take(def).map(|f| f.name().clone()).collect()
        };
        let rows = self.rows.entry(batch.table).or_default();
        for i in 0..batch.len() {
            let row: Row = batch
                .rows
                .schema()
                .fields()
                .iter()
                .zip(batch.rows.columns())
                .map(|(field, column)| (field.name().clone(), cell_at(column, i).expect("a cell")))
                .collect();
            let key: String = key_columns.iter().map(|name| format!("{:?}/", row[name])).collect();
            match batch.ops[i] {
                RowOp::Delete => assert!(rows.remove(&key).is_some(), "no row {key}"),
                RowOp::Insert => assert!(rows.insert(key.clone(), row).is_none(), "row {key} twice"),
                RowOp::Upsert => drop(rows.insert(key, row)),
                RowOp::DeleteIfExists => drop(rows.remove(&key)),
            }
        }
    }
}
