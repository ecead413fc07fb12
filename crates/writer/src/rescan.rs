//! Rescans: what the stream did to a table between the snapshot a chunk was read in and the chunk's own place in
//! the buffer. A function of the buffer's content only, so a replay finds the same.

use std::collections::HashMap;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tidelake_core::key::KeyEncoder;
use tidelake_core::ports::{Buffer, BufferedPayload};
use tidelake_core::{
    Catalog, ChangeBatch, CommitSeq, DecodedStep, Error, Result, RowOp, SchemaChange, SourcePosition, TableEntry,
    TableId, TableState,
};

use crate::DecoderFactory;
use crate::flush::Flusher;
use crate::steps::{PIECE_BYTES, Steps};

/// Re-reads the buffer for one chunk, or for the end of a copy.
pub(crate) struct Rescan<'a> {
    pub buffer: &'a dyn Buffer,
    pub decoders: &'a DecoderFactory,
    pub flusher: &'a Flusher,
    /// The snapshot.
    pub read_at: &'a SourcePosition,
    /// The chunk's own place.
    pub at: CommitSeq,
    /// How far the source had read there.
    pub position: &'a SourcePosition,
}

/// Why a copy must begin again.
pub(crate) type GivenUp = String;

impl Rescan<'_> {
    /// The chunk's rows less those whose keys the stream touched after the snapshot: what the stream did is newer, and
    /// applied already.
    pub(crate) fn without_touched(
        &self,
        entry: &TableEntry,
        rows: RecordBatch,
    ) -> Result<Result<RecordBatch, GivenUp>> {
        let encoder = KeyEncoder::new(&entry.def)?;
        let keys = encoder.encode(&rows)?;
        // The chunk's keys are held, not the stream's: of those there may be any number.
        let mut untouched: HashMap<Box<[u8]>, usize> =
            keys.iter().enumerate().map(|(row, key)| (key.data().into(), row)).collect();
        let mut keep = vec![true; rows.num_rows()];
        let scanned = self.scan(entry, |batch| {
            for key in &encoder.encode(&batch.rows)? {
                if let Some(row) = untouched.remove(key.data()) {
                    keep[row] = false;
                }
            }
            Ok(())
        })?;
        if let Err(reason) = scanned {
            return Ok(Err(reason));
        }
        if untouched.len() == rows.num_rows() {
            return Ok(Ok(rows));
        }
        Ok(Ok(filter_record_batch(&rows, &BooleanArray::from(keep))?))
    }

    /// All changes after the snapshot, as changes at the chunk's place. With a key they fit rows that are there or not.
    pub(crate) fn changes(&self, entry: &TableEntry, steps: &mut Steps<'_>) -> Result<Result<(), GivenUp>> {
        let keyed = !entry.def.key.is_empty();
        self.scan(entry, |batch| {
            let seqs = vec![self.at; batch.len()].into();
            let ops = if keyed { batch.ops.iter().map(|op| tolerant(*op)).collect() } else { batch.ops.clone() };
            steps.push(DecodedStep::Rows(ChangeBatch { seqs, ops, ..batch }))
        })
    }

    /// Decodes the table's rows of all transactions after the snapshot and before the chunk. The table's own
    /// definition holds throughout: a DDL in between makes the copy begin again.
    fn scan(&self, entry: &TableEntry, mut each: impl FnMut(ChangeBatch) -> Result<()>) -> Result<Result<(), GivenUp>> {
        if !self.position.covers(self.read_at) {
            // Nothing before the chunk is later than the snapshot.
            return Ok(Ok(()));
        }
        // The source had read up to the snapshot when the chunk came, and the chunk is durable: so is that.
        let unknown = || {
            let (read_at, at) = (self.read_at, self.at);
            Error::Internal(format!("the data buffer does not know its own place {read_at} before seq {at}"))
        };
        let after = self.buffer.seq_covering(self.read_at).ok_or_else(unknown)?;
        if after >= self.at {
            return Ok(Ok(()));
        }
        if !self.read_at.covers(&self.buffer.position_of(after).ok_or_else(unknown)?) {
            return Ok(Err(format!("what the stream did since {} was released from the buffer", self.read_at)));
        }
        self.flusher.needs(self.at, after);
        let mut catalog = alone(entry);
        let mut decoder = (self.decoders)();
        let mut reader = self.buffer.read_after(after)?;
        let mut hit = None;
        let mut take = |steps: Vec<DecodedStep>| {
            for step in steps {
                match step {
                    DecodedStep::Rows(batch) if batch.table == entry.def.id => each(batch)?,
                    DecodedStep::Rows(_) => {}
                    DecodedStep::Schema(seq, change) if changes_table(&change, entry) => {
                        hit.get_or_insert(format!("its schema changed at seq {seq}, after the snapshot"));
                    }
                    DecodedStep::Schema(..) => {}
                }
            }
            Ok(())
        };
        while let Some(transaction) = reader.next()? {
            if transaction.seq >= self.at {
                break;
            }
            if matches!(transaction.payload, BufferedPayload::Control(_)) {
                continue;
            }
            decoder.decode_in_pieces(transaction, &mut catalog, PIECE_BYTES, &mut take)?;
            if decoder.pending_bytes() >= PIECE_BYTES {
                take(decoder.take()?)?;
            }
        }
        take(decoder.take()?)?;
        Ok(hit.map_or(Ok(()), Err))
    }
}

/// The same change for a table that may or may not have the row yet.
fn tolerant(op: RowOp) -> RowOp {
    if op.births() { RowOp::Upsert } else { RowOp::DeleteIfExists }
}

fn changes_table(change: &SchemaChange, entry: &TableEntry) -> bool {
    let id = entry.def.id;
    match change {
        SchemaChange::AlterTable(def) => def.id == id,
        SchemaChange::DropTable(other) | SchemaChange::Truncate(other) => *other == id,
        SchemaChange::SetState { table, .. } => *table == id,
        SchemaChange::Rename(names) => names.iter().any(|(other, _)| *other == id),
        SchemaChange::DropDatabase(name) => *name == entry.def.name.database,
        SchemaChange::CreateDatabase(_) | SchemaChange::CreateTable { .. } => false,
    }
}

/// A catalog of this table only, live, so that its rows decode and nobody else's do.
fn alone(entry: &TableEntry) -> Catalog {
    let mut catalog = Catalog::default();
    catalog.databases.insert(entry.def.name.database.clone());
    catalog.next_table = TableId(entry.def.id.0 + 1);
    catalog.tables.insert(entry.def.id, TableEntry { state: TableState::Live, ..entry.clone() });
    catalog
}
