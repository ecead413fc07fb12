//! Keys of rows as bytes that compare as the rows' stored values do.
//!
//! Identity is the stored bytes of the key columns, not their collation weight: upstream lets only one of two
//! rows exist whose keys are equal in its collation, and the before images of row events spell the key as
//! stored (`docs/adr/0003`). A table without a key is identified by its whole rows.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::row::{RowConverter, Rows, SortField};

use crate::error::Result;
use crate::schema::TableDef;

/// Encodes the key columns of batches of one table version. Encodings of versions with equal key types compare
/// with each other.
pub struct KeyEncoder {
    converter: RowConverter,
    columns: Vec<usize>,
}

impl KeyEncoder {
    /// For batches with the schema of `def`. Without a key, all columns are the key.
    ///
    /// # Errors
    /// If a key column's Arrow type has no row form (no stored type is of that kind).
    pub fn new(def: &TableDef) -> Result<KeyEncoder> {
        let columns = if def.key.is_empty() { (0..def.columns.len()).collect() } else { def.key_indexes() };
        let schema = def.arrow_schema();
        let fields = columns.iter().map(|i| SortField::new(schema.field(*i).data_type().clone())).collect();
        Ok(KeyEncoder { converter: RowConverter::new(fields)?, columns })
    }

    /// The keys of all rows, as comparable bytes.
    ///
    /// # Errors
    /// If the batch has another schema than the one this encoder was made for.
    pub fn encode(&self, rows: &RecordBatch) -> Result<Rows> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|i| rows.column(*i).clone()).collect();
        Ok(self.converter.convert_columns(&columns)?)
    }

    /// Indexes of the encoded columns in the table's column order.
    #[must_use]
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }
}
