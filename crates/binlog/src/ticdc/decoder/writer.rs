//! Rows of one table, collected in Arrow builders until they are handed over.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use tidelake_core::{ChangeBatch, CommitSeq, Result, RowOp, TableDef};

use super::value::{self, Zones};
use crate::mysql::reader::{Malformed, Parsed};
use crate::mysql::rows::builder::ColumnBuilder;
use crate::mysql::rows::writer::{MAX_BYTES, MAX_ROWS};
use crate::ticdc::record::{Cell, Image, ImageOp};

/// An open batch of one table version.
pub(super) struct FeedWriter {
    def: Arc<TableDef>,
    schema: SchemaRef,
    builders: Vec<ColumnBuilder>,
    /// Where the cells of the last image went: name and column.
    plan: Vec<(String, Option<usize>)>,
    /// Columns that the image being read has given.
    filled: Vec<bool>,
    is_key: Vec<bool>,
    seqs: Vec<CommitSeq>,
    ops: Vec<RowOp>,
    bytes: usize,
}

impl FeedWriter {
    pub(super) fn new(def: &Arc<TableDef>) -> Result<FeedWriter> {
        let schema = def.arrow_schema();
        let builders = schema.fields().iter().map(|f| ColumnBuilder::new(f.data_type())).collect::<Result<_>>()?;
        let is_key = def.columns.iter().map(|c| def.key.contains(&c.id)).collect();
        Ok(FeedWriter {
            def: Arc::clone(def),
            schema,
            builders,
            plan: Vec::new(),
            filled: vec![false; def.columns.len()],
            is_key,
            seqs: Vec::new(),
            ops: Vec::new(),
            bytes: 0,
        })
    }

    pub(super) fn def(&self) -> &Arc<TableDef> {
        &self.def
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_full(&self) -> bool {
        self.ops.len() >= MAX_ROWS || self.bytes >= MAX_BYTES
    }

    /// The column that cell `at` of this name belongs to.
    fn column(&mut self, at: usize, name: &str) -> Option<usize> {
        if let Some((known, column)) = self.plan.get(at)
            && known == name
        {
            return *column;
        }
        let column = match name {
            "" => (0..self.def.columns.len()).filter(|i| !self.def.columns[*i].virtual_generated).nth(at),
            name => self.def.index_of_name(name),
        };
        self.plan.truncate(at);
        if self.plan.len() == at {
            self.plan.push((name.to_owned(), column));
        }
        column
    }

    /// Appends an image. After an error the batch must be finished: a row that was not decoded to its end is dropped.
    ///
    /// For the row before, only the key is needed where the table has one: TiCDC reads old rows with its newest schema, so
    /// columns of later may be there and dropped ones may be missing.
    pub(super) fn append(&mut self, image: &Image<'_>, zones: &mut Zones, seq: CommitSeq, op: RowOp) -> Parsed<()> {
        let key_only = image.op == ImageOp::Delete && !self.def.key.is_empty();
        self.filled.fill(false);
        let (mut at, mut bytes) = (0, 0);
        image.cells(|name, cell| {
            let column = self.column(at, name);
            at += 1;
            bytes += 16
                + match cell {
                    Cell::Null => 0,
                    Cell::Text(b) | Cell::Bytes(b) | Cell::Zoned(b, _) => b.len(),
                };
            let Some(column) = column else {
                if key_only {
                    return Ok(());
                }
                return Err(Malformed::new(format!(
                    "a row has a column {name:?} (number {at}) that the table does not have here"
                )));
            };
            if std::mem::replace(&mut self.filled[column], true) {
                return Err(Malformed::new(format!("a row has column {name:?} twice")));
            }
            if key_only && !self.is_key[column] {
                // may be of a later type
                return self.placeholder(column);
            }
            let def = &self.def.columns[column];
            if cell == Cell::Null && !def.nullable {
                return Err(Malformed::new(format!("NULL in column {}, which is NOT NULL here", def.name)));
            }
            let appended = value::append(&mut self.builders[column], &def.ty, cell, image.spelling, zones);
            appended.map_err(|e| Malformed::new(format!("column {}: {}", def.name, e.0)))
        })?;
        for column in 0..self.filled.len() {
            if self.filled[column] {
                continue;
            }
            if !key_only || self.is_key[column] {
                let name = &self.def.columns[column].name;
                return Err(Malformed::new(format!(
                    "a row lacks column {name}: column-selectors and delete-only-output-handle-key-columns must not be set in the changefeed"
                )));
            }
            self.placeholder(column)?;
        }
        self.bytes += bytes;
        self.seqs.push(seq);
        self.ops.push(op);
        Ok(())
    }

    /// A value that nobody reads.
    fn placeholder(&mut self, column: usize) -> Parsed<()> {
        let def = &self.def.columns[column];
        if def.nullable {
            self.builders[column].append_null();
            return Ok(());
        }
        value::append_zero(&mut self.builders[column])
    }

    /// Takes the batch; `None` if it is empty.
    pub(super) fn finish(&mut self) -> Result<Option<ChangeBatch>> {
        let rows = self.ops.len();
        let columns: Vec<ArrayRef> =
            self.builders.iter_mut().map(|b| Ok(b.finish()?.slice(0, rows))).collect::<Result<_>>()?;
        self.bytes = 0;
        let (seqs, ops) = (std::mem::take(&mut self.seqs), std::mem::take(&mut self.ops));
        if rows == 0 {
            return Ok(None);
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(Some(ChangeBatch::new(self.def.id, self.def.version, seqs, ops, batch)?))
    }
}
