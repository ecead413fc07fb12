//! Buffered transactions of a feed -> steps for an engine.
//!
//! The images of one transaction come deaths first, so rows of equal keys never meet. An image that was sent twice in
//! another form (an UPDATE once whole, once split) is known again by table, key and kind. What cannot be decoded for one table
//! stops that table; DDL is in `ddl`, names against the catalog in `tables`, cells in `value`.
//!
//! Limits, each of which stops the table with a reason:
//! - VIRTUAL generated columns: TiCDC does not send them;
//! - a table without a key, of which two equal images come in one commit: a repeated message, or two equal rows;
//! - DDL that changes rows without sending them: partitions dropped, truncated or exchanged, tables recovered.
//!
//! Memory beside the batches: 40 bytes a row of the transaction being decoded.

pub(crate) mod ddl;
mod moment;
mod names;
mod tables;
pub mod value;
mod writer;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use tidelake_core::ports::{BufferedPayload, BufferedTransaction, TransactionDecoder};
use tidelake_core::{
    Catalog, ColumnDef, CommitSeq, DecodedStep, Error, Result, SchemaChange, SourcePosition, TableDef, TableId,
    TableName, TableState, TypeKind, UpstreamType,
};

use self::tables::{Known, Target};
use self::value::Zones;
use self::writer::FeedWriter;
use super::record::{Cell, HEAD_VERSION, Head, Image, Item};
use crate::filter::LiveFilter;
use crate::mysql::decoder::UnknownTables;
use crate::mysql::reader::Malformed;

/// Decodes what a [`FeedAppender`](super::append::FeedAppender) appended.
pub struct FeedDecoder {
    filter: LiveFilter,
    unknown: UnknownTables,
    known: Known,
    writers: BTreeMap<TableId, FeedWriter>,
    zones: Zones,
    /// Keys of the transaction's images so far.
    seen: HashSet<u128>,
    steps: Vec<DecodedStep>,
    /// Bytes of the row images in `steps`.
    step_bytes: usize,
}

/// The transaction being decoded.
struct Current<'t> {
    seq: CommitSeq,
    position: &'t SourcePosition,
    exact: bool,
    catalog: &'t mut Catalog,
}

impl Current<'_> {
    fn place(&self) -> String {
        format!("commit-ts {}", self.position.major)
    }
}

impl FeedDecoder {
    /// A decoder of the wanted tables' changes.
    #[must_use]
    pub fn new(filter: impl Into<LiveFilter>, unknown: UnknownTables) -> FeedDecoder {
        FeedDecoder {
            filter: filter.into(),
            unknown,
            known: Known::default(),
            writers: BTreeMap::new(),
            zones: Zones::default(),
            seen: HashSet::new(),
            steps: Vec::new(),
            step_bytes: 0,
        }
    }

    /// True for tables that are wanted, and for those that are there.
    fn follows(&self, name: &TableName, catalog: &Catalog) -> bool {
        self.filter.wants(name) || catalog.tables.values().any(|entry| entry.def.name == *name)
    }

    fn image(&mut self, copies: u32, image: &Image<'_>, current: &mut Current<'_>) -> Result<()> {
        for target in self.targets(image.names, current)?.iter() {
            let entry = current.catalog.tables.get(&target.def.id);
            if entry.is_none_or(|e| matches!(e.state, TableState::Stopped { .. })) {
                continue; // an earlier target's stop
            }
            // of a source that sends nothing twice, equal images are equal rows
            let times = if current.exact { Ok(copies) } else { self.is_fresh(copies, image, target).map(u32::from) };
            let done = times.and_then(|times| (0..times).try_for_each(|_| self.row(image, target, current)));
            if let Err(reason) = done {
                self.stop(target.def.id, format!("{} ({})", reason.0, current.place()), current)?;
            }
        }
        Ok(())
    }

    /// False if this image was there before in the transaction.
    fn is_fresh(&mut self, copies: u32, image: &Image<'_>, target: &Target) -> Result<bool, Malformed> {
        let def = &target.def;
        let mut hashers = [DefaultHasher::new(), DefaultHasher::new()];
        1u8.hash(&mut hashers[1]);
        let mut add = |bytes: &[u8]| hashers.iter_mut().for_each(|h| bytes.hash(h));
        add(&def.id.0.to_le_bytes());
        add(&[image.op as u8]);
        if def.key.is_empty() {
            if image.identity.is_empty() {
                if copies > 1 {
                    return Err(Malformed::because(
                        "two equal images of rows of a table without a key came in one commit: one message sent twice, or two equal rows; give the table a primary key, or let TiCDC send row keys (output-row-key)",
                    ));
                }
                return Ok(true);
            }
            add(image.identity);
        } else {
            let mut found = 0;
            let mut at = 0;
            image.cells(|name, cell| {
                let column = match name {
                    "" => def.columns.iter().filter(|c| !c.virtual_generated).nth(at),
                    name => def.columns.iter().find(|c| c.name == name),
                };
                at += 1;
                let Some(place) = column.and_then(|c| def.key.iter().position(|k| *k == c.id)) else { return Ok(()) };
                found += 1;
                add(&[place as u8]);
                match cell {
                    Cell::Null => add(&[]),
                    Cell::Text(bytes) | Cell::Bytes(bytes) | Cell::Zoned(bytes, _) => add(bytes),
                }
                Ok(())
            })?;
            if found < def.key.len() {
                return Ok(true); // the writer says which column is missing
            }
        }
        let [a, b] = hashers.map(|h| h.finish());
        Ok(self.seen.insert(u128::from(a) << 64 | u128::from(b)))
    }

    fn row(&mut self, image: &Image<'_>, target: &Target, current: &Current<'_>) -> Result<(), Malformed> {
        let internal = |e: Error| Malformed::new(e.to_string());
        let id = target.def.id;
        if self.writers.get(&id).is_some_and(|w| !std::sync::Arc::ptr_eq(w.def(), &target.def)) {
            self.close_batches().map_err(internal)?;
            self.writers.remove(&id);
        }
        let writer = match self.writers.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(FeedWriter::new(&target.def).map_err(internal)?),
        };
        writer.append(image, &mut self.zones, current.seq, target.op(image.op)?)?;
        if writer.is_full()
            && let Some(batch) = writer.finish().map_err(internal)?
        {
            self.step_bytes += batch.rows.get_array_memory_size();
            self.steps.push(DecodedStep::Rows(batch));
        }
        Ok(())
    }

    /// Applies a change to the catalog and hands it over, behind all rows before it.
    fn apply(&mut self, change: SchemaChange, current: &mut Current<'_>) -> Result<()> {
        self.close_batches()?;
        self.writers.clear();
        self.known.clear();
        current.catalog.apply(current.seq, &change)?;
        self.steps.push(DecodedStep::Schema(current.seq, Box::new(change)));
        Ok(())
    }

    /// Stops a table. A copying one is dropped if a visible table of its name exists (that one stops).
    fn stop(&mut self, table: TableId, reason: String, current: &mut Current<'_>) -> Result<()> {
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

    /// Puts a table that nobody can read into the catalog, so that its reason is seen.
    fn create_stopped(&mut self, name: &TableName, reason: String, current: &mut Current<'_>) -> Result<()> {
        let unknown = ColumnDef::new(1, "unknown", UpstreamType::new(TypeKind::LongBlob)).nullable();
        let mut def = TableDef::new(name.clone(), vec![unknown], &[]);
        def.id = current.catalog.next_table;
        tracing::error!(table = %name, position = %current.position, reason, "table stopped");
        let state = TableState::Stopped { reason, at: current.position.clone() };
        self.apply(SchemaChange::CreateTable { def: Box::new(def), state }, current)
    }

    /// Hands over all open batches.
    fn close_batches(&mut self) -> Result<()> {
        for writer in self.writers.values_mut() {
            if let Some(batch) = writer.finish()? {
                self.step_bytes += batch.rows.get_array_memory_size();
                self.steps.push(DecodedStep::Rows(batch));
            }
        }
        Ok(())
    }
}

impl TransactionDecoder for FeedDecoder {
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
        let BufferedPayload::Events(mut events) = payload else {
            return Err(Error::Internal("a control record is not for the decoder of a feed".into()));
        };
        let place = position.to_string();
        let first = events.next().ok_or_else(|| Error::corrupt(&place, "buffered transaction without events"))??;
        let head: Head = serde_json::from_slice(&first).map_err(|e| Error::corrupt(&place, e.to_string()))?;
        if head.version > HEAD_VERSION {
            let reason = format!("the data buffer's transaction at {place} has version {}", head.version);
            return Err(Error::Invalid(format!(
                "{reason}, this build reads up to {HEAD_VERSION}: use a newer Tidelake"
            )));
        }
        self.zones.enter(&head.zone)?;
        self.seen.clear();
        // another writer of the catalog may have altered a table since
        self.writers.retain(|id, w| {
            w.bytes() > 0 || catalog.tables.get(id).is_some_and(|e| std::sync::Arc::ptr_eq(&e.def, w.def()))
        });
        let mut current = Current { seq, position: &position, exact: head.exact, catalog };
        for item in events {
            match Item::parse(&item?, &place)? {
                Item::Image { copies, image } => {
                    let image = Image::parse(&image).map_err(|e| e.at(&place))?;
                    self.image(copies, &image, &mut current)?;
                }
                Item::Ddl(ddl) => self.on_ddl(&ddl, &mut current)?,
            }
            if self.pending_bytes() >= limit {
                out(self.take()?)?;
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<DecodedStep>> {
        self.close_batches()?;
        self.step_bytes = 0;
        Ok(std::mem::take(&mut self.steps))
    }

    fn pending_bytes(&self) -> usize {
        self.step_bytes + self.writers.values().map(FeedWriter::bytes).sum::<usize>()
    }
}
