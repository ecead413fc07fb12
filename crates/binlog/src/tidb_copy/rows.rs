//! Cells as text into Arrow columns, by the same room that reads the feed's: a row that was copied equals one that was sent.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use tidelake_core::{Result, TableDef, TypeKind};

use crate::mysql::reader::{Malformed, Parsed};
use crate::mysql::rows::builder::ColumnBuilder;
use crate::ticdc::decoder::value::{self, Zones};
use crate::ticdc::record::{BinaryText, Cell, Spelling};

/// Bytes that a cell counts besides its text.
const CELL_OVERHEAD: u64 = 8;

/// Collects rows of a table.
pub struct TextRows {
    def: Arc<TableDef>,
    builders: Vec<ColumnBuilder>,
    zones: Zones,
    spelling: Spelling,
    rows: usize,
    bytes: u64,
}

/// A cell, and whether it is the bytes of a value rather than its text.
#[derive(Clone, Copy, Debug)]
pub struct TextCell<'a> {
    /// Text or bytes.
    pub bytes: &'a [u8],
    /// Bytes: of BIT its bits, of a binary string itself.
    pub raw: bool,
}

impl TextRows {
    /// For rows of this table. `zone` is that of TIMESTAMPs; `labels`: ENUM and SET come as labels, not as numbers.
    ///
    /// # Errors
    /// An unknown zone.
    pub fn new(def: &Arc<TableDef>, zone: &str, labels: bool) -> Result<TextRows> {
        let schema = def.arrow_schema();
        let builders = schema.fields().iter().map(|f| ColumnBuilder::new(f.data_type())).collect::<Result<_>>()?;
        let mut zones = Zones::default();
        zones.enter(zone)?;
        let spelling = Spelling { labels, ..Spelling::named(BinaryText::Raw) };
        Ok(TextRows { def: Arc::clone(def), builders, zones, spelling, rows: 0, bytes: 0 })
    }

    /// Rows collected.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// About their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a row: a cell for each column, in the table's order; `None` is NULL. After an error nothing more can be added.
    ///
    /// # Errors
    /// Names the column whose cell is not of its type.
    pub fn push<'a>(&mut self, cells: impl ExactSizeIterator<Item = Option<TextCell<'a>>>) -> Parsed<()> {
        if cells.len() != self.builders.len() {
            return Err(Malformed::new(format!("{} cells for {} columns", cells.len(), self.builders.len())));
        }
        for ((column, builder), cell) in self.def.columns.iter().zip(&mut self.builders).zip(cells) {
            let kind = column.ty.kind;
            let cell = match cell {
                None if !column.nullable => {
                    return Err(Malformed::new(format!("NULL in column {}, which is NOT NULL", column.name)));
                }
                None => Cell::Null,
                // a vector comes as its text
                Some(cell) if kind == TypeKind::Vector => Cell::Text(cell.bytes),
                Some(cell) if cell.raw && (column.ty.is_binary() || kind == TypeKind::Bit) => Cell::Bytes(cell.bytes),
                Some(cell) => Cell::Text(cell.bytes),
            };
            if let Cell::Text(bytes) | Cell::Bytes(bytes) = cell {
                self.bytes += bytes.len() as u64;
            }
            self.bytes += CELL_OVERHEAD;
            value::append(builder, &column.ty, cell, self.spelling, &mut self.zones)
                .map_err(|e| Malformed::new(format!("column {}: {}", column.name, e.0)))?;
        }
        self.rows += 1;
        Ok(())
    }

    /// The collected rows; begins anew.
    ///
    /// # Errors
    /// Only if Arrow refuses what was built.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        (self.rows, self.bytes) = (0, 0);
        let columns: Vec<ArrayRef> = self.builders.iter_mut().map(ColumnBuilder::finish).collect::<Result<_>>()?;
        Ok(RecordBatch::try_new(self.def.arrow_schema(), columns)?)
    }
}

/// Why a table of a feed cannot be copied, if so.
pub fn refused(def: &TableDef) -> Option<String> {
    let column = def.columns.iter().find(|c| c.virtual_generated)?;
    Some(format!(
        "column {} is VIRTUAL, and the feed does not send its values: make it STORED, or leave the table out with --tables",
        column.name
    ))
}
