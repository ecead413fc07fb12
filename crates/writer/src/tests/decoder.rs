//! A decoder of JSON events that keeps the port's promises in the simplest way.

use serde::{Deserialize, Serialize};
use tidelake_core::ports::{BufferedPayload, BufferedTransaction, TransactionDecoder};
use tidelake_core::testing::tables::{Row, changes};
use tidelake_core::{
    Catalog, CommitSeq, DecodedStep, Error, Result, RowOp, SchemaChange, SourcePosition, TableDef, TableName,
    TableState,
};

/// One event of a test's upstream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum TestEvent {
    /// One row: inserted, deleted or updated.
    Row { name: TableName, before: Option<Row>, after: Option<Row> },
    /// A resolved schema change.
    Ddl(SchemaChange),
}

/// Row changes of one table that were not handed over yet.
struct Open {
    def: TableDef,
    rows: Vec<(u64, RowOp, Row)>,
}

#[derive(Default)]
pub struct TestDecoder {
    open: Vec<Open>,
    steps: Vec<DecodedStep>,
}

impl TestDecoder {
    fn close(&mut self) {
        self.steps.extend(self.open.drain(..).map(|open| changes(&open.def, &open.rows)));
    }

    fn put(&mut self, def: &TableDef, seq: CommitSeq, op: RowOp, row: Row) {
        let at = self.open.iter().position(|o| o.def.id == def.id).unwrap_or(self.open.len());
        if at == self.open.len() {
            self.open.push(Open { def: def.clone(), rows: Vec::new() });
        }
        self.open[at].rows.push((seq.0, op, row));
    }

    fn event(&mut self, seq: CommitSeq, at: &SourcePosition, event: TestEvent, catalog: &mut Catalog) -> Result<()> {
        let (name, before, after) = match event {
            TestEvent::Row { name, before, after } => (name, before, after),
            TestEvent::Ddl(change) => {
                self.close();
                catalog.apply(seq, &change)?;
                self.steps.push(DecodedStep::Schema(seq, Box::new(change)));
                return Ok(());
            }
        };
        for entry in catalog.tables.values().filter(|e| e.def.name == name) {
            let (death, birth) = match &entry.state {
                TableState::Live => (RowOp::Delete, RowOp::Insert),
                TableState::Copying { from, .. } if !entry.def.key.is_empty() && !from.covers(at) => {
                    (RowOp::DeleteIfExists, RowOp::Upsert)
                }
                TableState::Copying { .. } | TableState::Stopped { .. } => continue,
            };
            before.iter().for_each(|row| self.put(&entry.def, seq, death, row.clone()));
            after.iter().for_each(|row| self.put(&entry.def, seq, birth, row.clone()));
        }
        Ok(())
    }
}

impl TransactionDecoder for TestDecoder {
    fn decode(&mut self, transaction: BufferedTransaction, catalog: &mut Catalog) -> Result<()> {
        self.decode_in_pieces(transaction, catalog, usize::MAX, &mut |_| Ok(()))
    }

    fn decode_in_pieces(
        &mut self,
        transaction: BufferedTransaction,
        catalog: &mut Catalog,
        limit: usize,
        out: &mut dyn FnMut(Vec<DecodedStep>) -> Result<()>,
    ) -> Result<()> {
        let BufferedTransaction { seq, position, payload, .. } = transaction;
        let BufferedPayload::Events(events) = payload else { panic!("control records are the writer's") };
        for event in events {
            let event =
                serde_json::from_slice(&event?).map_err(|e| Error::corrupt(position.to_string(), e.to_string()))?;
            self.event(seq, &position, event, catalog)?;
            if self.pending_bytes() >= limit {
                out(self.take()?)?;
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<DecodedStep>> {
        self.close();
        Ok(std::mem::take(&mut self.steps))
    }

    fn pending_bytes(&self) -> usize {
        1000 * self.open.iter().map(|o| o.rows.len()).sum::<usize>()
    }
}
