//! Buffered transactions -> steps for an engine.
//!
//! Row images collect in one open batch per table, across transactions; a schema change closes all of them first, so
//! that steps stay in stream order. What cannot be decoded for one table stops that table (`stop`); statements are in
//! `statements`, foreign keys that change unlogged rows in `cascade`, ROLLBACKs inside logged transactions in
//! `undo`, names against the catalog in `tables`.
//!
//! Limits, each of which stops the table with a reason, never silently:
//! - row images must be FULL (not MINIMAL, NOBLOB, FULL_NODUP), changes in row events (no statement format; what triggers do in statement format is not seen, so keep `binlog_format=ROW`);
//! - some MariaDB versions leave generated columns, virtual and stored, out of images: the new row cannot be known;
//! - charset `filename`, and bytes that are no UTF-8 in a utf8 column;
//! - system-versioned tables are read as their current rows, if the upstream logs column names
//!   (`binlog_row_metadata=FULL`).
//!
//! One call of `decode` takes a whole transaction: its decoded rows are held until the next `take`.

mod cascade;
pub mod port;
pub(crate) mod sessions;
mod statements;
mod stop;
mod tables;
mod undo;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tidelake_core::ports::{BufferedPayload, BufferedTransaction, TransactionDecoder};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{
    Catalog, CommitSeq, DecodedStep, Error, RESYNC, Result, SourcePosition, TableId, TableName, TableState,
};

pub use self::port::DdlInterpreter;
use self::sessions::Sessions;
use self::tables::MappedTables;
use self::undo::UndoLog;
use super::compressed::MAX_EVENT;
use super::context::{Item, TransactionContext, widen};
use super::event::{EventType, HEADER_LEN};
use super::group::PayloadEvents;
use super::query::QueryForm;
use super::reader::Malformed;
use super::rows::partial::plain_update;
use super::rows::{RowsEvent, TableWriter};
use super::table_map::TableMap;
use crate::filter::LiveFilter;

/// What to do with rows of a wanted table that the catalog does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownTables {
    /// Leave them out: the initial copy will bring the table (sources with a copy).
    Ignore,
    /// Put a stopped table into the catalog, with the reason: its CREATE TABLE is missing (sources of files).
    Stop,
}

/// Decodes what a [`TransactionGrouper`](super::group::TransactionGrouper) made of a MySQL or MariaDB binlog.
pub struct BinlogDecoder {
    filter: LiveFilter,
    unknown: UnknownTables,
    interpret: DdlInterpreter,
    maps: MappedTables,
    writers: BTreeMap<TableId, TableWriter>,
    steps: Vec<DecodedStep>,
    /// Bytes of the row images in `steps`.
    step_bytes: usize,
    /// Bytes of the row images in `writers`.
    open_bytes: usize,
    sessions: Sessions,
}

/// The transaction being decoded.
struct Current<'t> {
    seq: CommitSeq,
    position: &'t SourcePosition,
    context: TransactionContext,
    /// Where the current event ends in its file.
    offset: u64,
    catalog: &'t mut Catalog,
    undo: UndoLog,
}

impl Current<'_> {
    fn place(&self) -> String {
        format!("{} before offset {}", self.context.file, self.offset)
    }

    fn corrupt(&self, reason: Malformed) -> Error {
        reason.at(self.place())
    }

    fn flavor(&self) -> ServerFlavor {
        self.context.flavor
    }
}

impl BinlogDecoder {
    /// A decoder of the wanted tables' changes.
    #[must_use]
    pub fn new(filter: impl Into<LiveFilter>, unknown: UnknownTables) -> BinlogDecoder {
        BinlogDecoder::with_interpreter(filter, unknown, crate::ddl::changes)
    }

    /// The same with another reading of DDL.
    #[must_use]
    pub fn with_interpreter(
        filter: impl Into<LiveFilter>,
        unknown: UnknownTables,
        interpret: DdlInterpreter,
    ) -> BinlogDecoder {
        BinlogDecoder {
            filter: filter.into(),
            unknown,
            interpret,
            maps: MappedTables::default(),
            writers: BTreeMap::new(),
            steps: Vec::new(),
            step_bytes: 0,
            open_bytes: 0,
            sessions: Sessions::default(),
        }
    }

    /// True for tables that are wanted, and for those that are there: a table that is no longer wanted follows the stream
    /// until it is dropped, so that nobody reads it half.
    fn follows(&self, name: &TableName, catalog: &Catalog) -> bool {
        self.filter.wants(name) || catalog.tables.values().any(|entry| entry.def.name == *name)
    }

    fn event(&mut self, kind: EventType, body: &Bytes, current: &mut Current<'_>) -> Result<()> {
        match kind {
            EventType::TABLE_MAP => self.on_table_map(body, current),
            EventType::PARTIAL_UPDATE_ROWS => self.on_partial_rows(body, current),
            kind if kind.is_rows() => self.on_rows(kind, body, current),
            EventType::QUERY => self.on_query(body, QueryForm::Plain, current),
            EventType::MARIADB_QUERY_COMPRESSED => self.on_query(body, QueryForm::Compressed, current),
            EventType::EXECUTE_LOAD_QUERY => self.on_query(body, QueryForm::Load, current),
            EventType::TRANSACTION_PAYLOAD => self.on_payload(body, current),
            _ => Ok(()),
        }
    }

    fn on_payload(&mut self, body: &Bytes, current: &mut Current<'_>) -> Result<()> {
        let mut events = PayloadEvents::open(body).map_err(|e| current.corrupt(e))?;
        while let Some((header, body)) = events.next(MAX_EVENT).map_err(|e| current.corrupt(e))? {
            if header.kind == EventType::TRANSACTION_PAYLOAD {
                return Err(current.corrupt(Malformed::because("a transaction payload inside another one")));
            }
            if body.len() + HEADER_LEN != header.size as usize {
                let reason = format!("event of {} bytes in a payload, at most {MAX_EVENT} are accepted", header.size);
                return Err(current.corrupt(Malformed::new(reason)));
            }
            self.event(header.kind, &Bytes::from(body), current)?;
        }
        Ok(())
    }

    fn on_rows(&mut self, kind: EventType, body: &Bytes, current: &mut Current<'_>) -> Result<()> {
        let event = RowsEvent::parse(kind, body, current.context.table_id_len).map_err(|e| current.corrupt(e))?;
        if event.columns == 0 && event.rows.is_empty() {
            return Ok(()); // only ends its statement
        }
        let mapped = self.maps.of_event(event.table_id, current.seq).ok_or_else(|| {
            current.corrupt(Malformed::new(format!("rows of table number {} without its table map", event.table_id)))
        })?;
        current.undo.remember(kind, body, &mapped);
        self.stop_children(&event, &mapped, current)?;
        for behind in mapped.behind.iter() {
            let reason = format!("{RESYNC} rows were changed through a MERGE table ({})", current.place());
            self.stop(*behind, reason, current)?;
        }
        for target in mapped.targets.iter() {
            // an earlier target's stop, or a foreign key on itself, may have stopped this one
            let entry = current.catalog.tables.get(&target.table());
            if entry.is_none_or(|e| matches!(e.state, TableState::Stopped { .. })) {
                continue;
            }
            let other_version = |w: &TableWriter| !Arc::ptr_eq(w.def(), &target.plan.def);
            if self.writers.get(&target.table()).is_some_and(other_version) {
                self.close_batches()?; // the writer of the catalog has altered the table since
                self.writers.remove(&target.table());
            }
            let (steps, step_bytes) = (&mut self.steps, &mut self.step_bytes);
            let writer = match self.writers.entry(target.table()) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => entry.insert(TableWriter::new(&target.plan.def)?),
            };
            let before = writer.bytes();
            let appended = writer.append_rows(&event, &target.plan, current.seq, target.ops, |batch| {
                *step_bytes += batch.rows.get_array_memory_size();
                steps.push(DecodedStep::Rows(batch));
            });
            self.open_bytes = self.open_bytes - before + writer.bytes();
            if let Err(reason) = appended {
                let reason = format!("{reason} ({})", current.place());
                self.stop(target.table(), reason, current)?;
            }
        }
        Ok(())
    }

    /// Updates with partial JSON values are updates once the values are whole.
    fn on_partial_rows(&mut self, body: &Bytes, current: &mut Current<'_>) -> Result<()> {
        let id_len = current.context.table_id_len;
        let id = TableMap::id_of(body, id_len).map_err(|e| current.corrupt(e))?;
        let (Some(mapped), Some(map)) = (self.maps.of_event(id, current.seq), self.maps.body_of(id, current.seq))
        else {
            return Err(current.corrupt(Malformed::new(format!("rows of table number {id} without its table map"))));
        };
        if mapped.targets.is_empty() {
            return Ok(());
        }
        let map = TableMap::parse(&map, id_len).map_err(|e| current.corrupt(e))?;
        match plain_update(body, &map, id_len) {
            Ok(plain) => self.on_rows(EventType::UPDATE_ROWS_V2, &plain.into(), current),
            Err(reason) => {
                let reason = format!("{RESYNC} a row event with partial JSON: {} ({})", reason.0, current.place());
                mapped.targets.iter().try_for_each(|target| self.stop(target.table(), reason.clone(), current))
            }
        }
    }

    /// Hands over all open batches.
    fn close_batches(&mut self) -> Result<()> {
        self.open_bytes = 0;
        for writer in self.writers.values_mut() {
            if let Some(batch) = writer.finish()? {
                self.step_bytes += batch.rows.get_array_memory_size();
                self.steps.push(DecodedStep::Rows(batch));
            }
        }
        Ok(())
    }
}

impl TransactionDecoder for BinlogDecoder {
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
            return Err(Error::Internal("a control record is not for the binlog decoder".into()));
        };
        let corrupt = |reason: Malformed| reason.at(position.to_string());
        let first =
            events.next().ok_or_else(|| corrupt(Malformed::because("buffered transaction without events")))??;
        let context = TransactionContext::decode(&first).map_err(corrupt)?;
        let mut current =
            Current { seq, position: &position, offset: context.start, context, catalog, undo: UndoLog::default() };
        for item in events {
            let item = Item::parse(&item?).map_err(corrupt)?;
            current.offset = widen(item.header.end_log_pos, current.offset);
            self.event(item.header.kind, &item.body, &mut current)?;
            if self.pending_bytes() >= limit {
                out(self.take()?)?;
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<DecodedStep>> {
        // those of tables at rest go, and with them those of tables that are altered or dropped meanwhile
        self.writers.retain(|_, writer| writer.bytes() > 0);
        self.close_batches()?;
        self.step_bytes = 0;
        Ok(std::mem::take(&mut self.steps))
    }

    fn pending_bytes(&self) -> usize {
        self.step_bytes + self.open_bytes
    }
}
