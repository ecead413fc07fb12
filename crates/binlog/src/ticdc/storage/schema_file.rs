//! Schema files: a DDL and the table's columns after it, or the columns of a table that is older than the feed.

use serde::Deserialize;
use tidelake_core::{Error, Result};

use super::layout::SchemaPath;
use super::store::Store;
use crate::ticdc::record::{Ddl, Event};

/// A schema file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFile {
    /// Names of all columns, also of those that rows do not have.
    pub columns: Vec<String>,
    /// The DDL that wrote it; `None` for a table that is older than the feed.
    pub ddl: Option<Event>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Content {
    #[serde(default)]
    table: String,
    #[serde(default)]
    schema: String,
    version: u64,
    table_version: u64,
    #[serde(default)]
    query: String,
    #[serde(default)]
    table_columns: Option<Vec<Column>>,
    #[serde(default)]
    table_columns_total: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Column {
    column_name: String,
}

/// Reads a schema file. `None`: it is not whole yet.
///
/// # Errors
/// [`Error::Corrupt`] for other content, [`Error::Invalid`] for a newer format.
pub fn read(store: &Store, file: &SchemaPath) -> Result<Option<SchemaFile>> {
    let place = || store.name_of(&file.path);
    let Some(bytes) = store.get(&file.path)? else { return Ok(None) };
    let content: Content = match serde_json::from_slice(&bytes) {
        Ok(content) => content,
        Err(e) if e.is_eof() => return Ok(None),
        Err(e) => return Err(Error::corrupt(place(), e.to_string())),
    };
    if content.version != 1 {
        return Err(Error::Invalid(format!("{} has format version {}, this build reads 1", place(), content.version)));
    }
    let columns: Vec<String> = content.table_columns.unwrap_or_default().into_iter().map(|c| c.column_name).collect();
    if columns.len() != content.table_columns_total {
        let reason = format!("{} columns, but TableColumnsTotal is {}", columns.len(), content.table_columns_total);
        return Err(Error::corrupt(place(), reason));
    }
    if content.table_version != file.version {
        let reason = format!("TableVersion is {}, its name says {}", content.table_version, file.version);
        return Err(Error::corrupt(place(), reason));
    }
    let ddl = (!content.query.trim().is_empty()).then(|| Event::Ddl {
        commit_ts: content.table_version,
        ddl: Ddl {
            database: content.schema,
            columns: (!content.table.is_empty() && !columns.is_empty()).then(|| columns.clone()),
            table: content.table,
            query: content.query,
            collation: None,
        },
    });
    Ok(Some(SchemaFile { columns, ddl }))
}
