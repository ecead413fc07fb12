//! `information_schema`: the catalog of the statement's snapshot as tables. Names of its tables have no case.

mod tables;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use tidelake_core::Catalog;
use tidelake_core::ports::StoreEngine;
use tidelake_core::types::text::ServerFlavor;

use super::error::of_datafusion;
use super::grants::Grants;
use super::types::NAME_KEY;
use crate::session::SqlError;

/// What the tables show besides the catalog.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Whose spelling of types and DDL.
    pub(crate) flavor: ServerFlavor,
    /// `user@host`.
    pub(crate) user: String,
    /// What this user may see.
    pub(crate) grants: Arc<Grants>,
    /// This connection.
    pub(crate) connection_id: u32,
    /// The current database.
    pub(crate) database: Option<String>,
    /// Session variables, by name.
    pub(crate) variables: Vec<(String, String)>,
}

/// One cell.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    /// NULL.
    Null,
    /// Text.
    S(String),
    /// A number.
    N(i64),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::S(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::S(text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Cell {
        Cell::N(number)
    }
}

/// A small table. Columns whose name begins with `#` hold numbers.
pub(crate) struct Rows {
    /// Column names as clients see them.
    pub(crate) columns: Vec<String>,
    /// The rows.
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Rows {
    /// As a table for the planner.
    ///
    /// # Errors
    /// If a row has another width (a mistake in the code).
    pub(crate) fn provider(&self) -> Result<Arc<dyn TableProvider>, SqlError> {
        let batch = self.batch(true)?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).map_err(of_datafusion)?;
        Ok(Arc::new(table))
    }

    /// As a batch; `inner` with lower case names for plans.
    pub(crate) fn batch(&self, inner: bool) -> Result<RecordBatch, SqlError> {
        let mut fields = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for (i, column) in self.columns.iter().enumerate() {
            let name = column.trim_start_matches('#');
            let is_number = name.len() < column.len();
            let data_type = if is_number { DataType::Int64 } else { DataType::Utf8 };
            let mut field = Field::new(if inner { name.to_lowercase() } else { name.to_owned() }, data_type, true);
            if inner {
                field = field.with_metadata([(NAME_KEY.to_owned(), name.to_owned())].into());
            }
            fields.push(field);
            let cells = self.rows.iter().map(|r| r.get(i).unwrap_or(&Cell::Null));
            arrays.push(if is_number {
                Arc::new(cells.map(|c| if let Cell::N(n) = c { Some(*n) } else { None }).collect::<Int64Array>())
            } else {
                let text = |c: &Cell| match c {
                    Cell::Null => None,
                    Cell::S(s) => Some(s.clone()),
                    Cell::N(n) => Some(n.to_string()),
                };
                Arc::new(cells.map(text).collect::<StringArray>())
            });
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|e| SqlError::new(1105, "HY000", format!("information_schema: {e}")))
    }
}

/// A table of information_schema; `None` if there is none of this name.
///
/// # Errors
/// As for [`Rows::provider`].
pub(crate) fn table(
    name: &str,
    source: &Source,
    engine: &Arc<dyn StoreEngine>,
    catalog: &Catalog,
) -> Result<Option<Arc<dyn TableProvider>>, SqlError> {
    tables::rows(&name.to_ascii_uppercase(), source, engine, catalog).map(|r| r.provider()).transpose()
}

/// A table's rows, for SHOW.
pub(crate) fn rows(name: &str, source: &Source, engine: &Arc<dyn StoreEngine>, catalog: &Catalog) -> Option<Rows> {
    tables::rows(name, source, engine, catalog)
}

/// Names of all tables here.
pub(crate) fn names() -> &'static [&'static str] {
    tables::NAMES
}
