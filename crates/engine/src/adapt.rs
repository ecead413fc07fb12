//! Rows of one table version, read with the columns of another: matched by column id, widened, or filled with
//! the initial value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidelake_core::types::arrow::data_type;
use tidelake_core::types::widen::widen;
use tidelake_core::value::{CellValue, array_of};
use tidelake_core::{ColumnId, Error, Result, TableDef};

/// Some columns of one table version.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) def: Arc<TableDef>,
    pub(crate) columns: Vec<ColumnId>,
    pub(crate) schema: SchemaRef,
    /// NULLs are taken in columns that are NOT NULL: of rows that may be dead.
    any_nulls: bool,
    /// Texts are views.
    pub(crate) views: bool,
}

impl Target {
    pub(crate) fn new(def: Arc<TableDef>, columns: Vec<ColumnId>) -> Result<Target> {
        let all = def.arrow_schema();
        let pick = |id: &ColumnId| {
            let i = def.index_of(*id).ok_or_else(|| Error::NotFound(format!("column id {id} of {}", def.name)))?;
            Ok(all.field(i).clone())
        };
        let schema = Arc::new(Schema::new(columns.iter().map(pick).collect::<Result<Vec<_>>>()?));
        Ok(Target { def, columns, schema, any_nulls: false, views: false })
    }

    /// The same with texts as views, if they are wanted so.
    pub(crate) fn with_views(self, wanted: bool) -> Target {
        if !wanted {
            return self;
        }
        Target { schema: viewed_schema(&self.schema), views: true, ..self }
    }

    pub(crate) fn all(def: Arc<TableDef>) -> Result<Target> {
        let columns = def.columns.iter().map(|c| c.id).collect();
        Target::new(def, columns)
    }

    /// All columns, for rows that may be dead: they may have NULLs that no living row has any more.
    pub(crate) fn of_any_row(def: Arc<TableDef>) -> Result<Target> {
        let target = Target::all(def)?;
        let fields = target.schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Target { schema, any_nulls: true, ..target })
    }

    /// The rows of a batch whose columns have the ids `have`.
    pub(crate) fn adapt(&self, rows: &RecordBatch, have: &[ColumnId]) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (field, id) in self.schema.fields().iter().zip(&self.columns) {
            let array = match have.iter().position(|h| h == id) {
                Some(i) => widened(rows.column(i), field.data_type())?,
                None => widened(&self.initial(*id, count)?, field.data_type())?,
            };
            if !self.any_nulls && !field.is_nullable() && array.null_count() > 0 {
                let reason = format!(
                    "column {} is NOT NULL now, but {} stored rows have NULL",
                    field.name(),
                    array.null_count()
                );
                return Err(Error::Diverged { table: self.def.name.to_string(), reason });
            }
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?)
    }

    /// What rows hold that were written before the column was added.
    fn initial(&self, id: ColumnId, count: usize) -> Result<ArrayRef> {
        let i = self.def.index_of(id).ok_or_else(|| Error::NotFound(format!("column id {id}")))?;
        let column = &self.def.columns[i];
        let ty = data_type(&column.ty);
        match &column.initial {
            None | Some(CellValue::Null) => Ok(new_null_array(&ty, count)),
            Some(cell) => {
                let one = array_of(&ty, std::slice::from_ref(cell))?;
                Ok(take(one.as_ref(), &UInt32Array::from(vec![0; count]), None)?)
            }
        }
    }
}

/// Widened to the type; a text becomes a view, which costs 16 bytes a row.
fn widened(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    match (array.data_type(), to) {
        (DataType::Utf8, DataType::Utf8View) => Ok(cast(array, to)?),
        _ => widen(array, to),
    }
}

/// A schema with texts as views.
pub(crate) fn viewed_schema(schema: &Schema) -> SchemaRef {
    let viewed = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => field.clone(),
    };
    let fields: Vec<_> = schema.fields().iter().map(viewed).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The column ids of a version, in order.
pub(crate) fn column_ids(def: &TableDef) -> Vec<ColumnId> {
    def.columns.iter().map(|c| c.id).collect()
}
