//! Rescans: what the stream did to a table between the snapshot a chunk was read in and the chunk's own place in
//! the buffer. A function of the buffer's content only, so a replay finds the same.

use std::collections::HashSet;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tidelake_core::key::KeyEncoder;
use tidelake_core::ports::{Buffer, BufferedPayload};
use tidelake_core::{
    Catalog, ChangeBatch, CommitSeq, DecodedStep, Error, Result, SchemaChange, SourcePosition, TableEntry, TableState,
};

use crate::DecoderFactory;
use crate::flush::Flusher;

pub(crate) struct Rescan<'a> {
    pub buffer: &'a dyn Buffer,
    pub decoders: &'a DecoderFactory,
    pub flusher: &'a Flusher,
    /// The snapshot.
    pub read_at: &'a SourcePosition,
    /// The chunk's own place.
    pub at: CommitSeq,
}

impl Rescan<'_> {
    /// The chunk's rows less those whose keys the stream touched after the snapshot: what the stream did is newer.
    pub(crate) fn without_touched(&self, entry: &TableEntry, rows: RecordBatch) -> Result<RecordBatch> {
        let encoder = KeyEncoder::new(&entry.def)?;
        let mut touched: HashSet<Box<[u8]>> = HashSet::new();
        self.scan(entry, |batch| {
            let keys = encoder.encode(&batch.rows)?;
            touched.extend(keys.iter().map(|key| key.data().into()));
            Ok(())
        })?;
        if touched.is_empty() {
            return Ok(rows);
        }
        let keys = encoder.encode(&rows)?;
        let keep: BooleanArray = keys.iter().map(|key| Some(!touched.contains(key.data()))).collect();
        Ok(filter_record_batch(&rows, &keep)?)
    }

    /// All changes after the snapshot, as changes at the chunk's place (for a table without a key).
    pub(crate) fn changes(&self, entry: &TableEntry) -> Result<Vec<DecodedStep>> {
        let mut steps = Vec::new();
        self.scan(entry, |batch| {
            let seqs = vec![self.at; batch.len()];
            steps.push(DecodedStep::Rows(ChangeBatch { seqs: seqs.into(), ..batch }));
            Ok(())
        })?;
        Ok(steps)
    }

    /// Decodes the table's rows of all transactions after the snapshot and before the chunk. The table's own
    /// definition holds throughout: a DDL in between would have dropped the copy.
    fn scan(&self, entry: &TableEntry, mut each: impl FnMut(ChangeBatch) -> Result<()>) -> Result<()> {
        let Some(after) = self.buffer.seq_covering(self.read_at) else {
            // Nothing in the buffer is later than the snapshot.
            return Ok(());
        };
        self.flusher.needs(self.at, after);
        let mut catalog = alone(entry);
        let mut decoder = (self.decoders)();
        let mut reader = self.buffer.read_after(after)?;
        while let Some(transaction) = reader.next()? {
            if transaction.seq >= self.at {
                break;
            }
            if matches!(transaction.payload, BufferedPayload::Control(_)) {
                continue;
            }
            decoder.decode(transaction, &mut catalog)?;
            for step in decoder.take()? {
                match step {
                    DecodedStep::Rows(batch) if batch.table == entry.def.id => each(batch)?,
                    DecodedStep::Rows(_) => {}
                    DecodedStep::Schema(_, change) => self.check_untouched(entry, &change)?,
                }
            }
        }
        Ok(())
    }

    fn check_untouched(&self, entry: &TableEntry, change: &SchemaChange) -> Result<()> {
        let hit = match change {
            SchemaChange::AlterTable(def) => def.id == entry.def.id,
            SchemaChange::DropTable(id) | SchemaChange::Truncate(id) => *id == entry.def.id,
            SchemaChange::SetState { table, .. } => *table == entry.def.id,
            SchemaChange::Rename(names) => names.iter().any(|(id, _)| *id == entry.def.id),
            SchemaChange::DropDatabase(name) => *name == entry.def.name.database,
            SchemaChange::CreateDatabase(_) | SchemaChange::CreateTable { .. } => false,
        };
        if hit {
            let name = &entry.def.name;
            return Err(Error::Internal(format!(
                "{name} changed its schema while seq {} was copied: {change:?}",
                self.at
            )));
        }
        Ok(())
    }
}

/// A catalog of this table only, live, so that its rows decode and nobody else's do.
fn alone(entry: &TableEntry) -> Catalog {
    let mut catalog = Catalog::default();
    catalog.databases.insert(entry.def.name.database.clone());
    catalog.next_table = tidelake_core::TableId(entry.def.id.0 + 1);
    catalog.tables.insert(entry.def.id, TableEntry { state: TableState::Live, ..entry.clone() });
    catalog
}
