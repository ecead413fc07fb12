//! Tables and columns as they are at one place of the stream.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::seq::{ColumnId, TableId};
use crate::types::{TypeKind, UpstreamType, arrow as arrow_types};
use crate::value::CellValue;

/// Database and table, spelled as upstream spells them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// Database (schema) name.
    pub database: String,
    /// Table name.
    pub table: String,
}

impl TableName {
    /// A name from its two parts.
    pub fn new(database: impl Into<String>, table: impl Into<String>) -> TableName {
        TableName { database: database.into(), table: table.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// One column of one version of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnDef {
    /// Immutable id; also the Parquet field id.
    pub id: ColumnId,
    /// Name as upstream spells it; unique in the table without regard to case.
    pub name: String,
    /// Type as upstream declares it.
    pub ty: UpstreamType,
    /// NULL allowed.
    pub nullable: bool,
    /// What rows hold that were written before the column was added; `None` for a column of the first version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<CellValue>,
    /// The text of the DEFAULT clause as SQL (`'x'`, `current_timestamp()`), for SHOW CREATE TABLE; `None`: no default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_sql: Option<String>,
    /// What stands behind the column, for SHOW CREATE TABLE: `AUTO_INCREMENT`, `GENERATED ALWAYS AS (...) STORED`,
    /// `ON UPDATE current_timestamp()`; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub extra_sql: String,
    /// Not shown by `SELECT *`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invisible: bool,
    /// A VIRTUAL generated column: upstream's row images leave it out on MariaDB and may on MySQL.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub virtual_generated: bool,
    /// COMMENT text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

impl ColumnDef {
    /// A plain NOT NULL column.
    pub fn new(id: i32, name: impl Into<String>, ty: UpstreamType) -> ColumnDef {
        ColumnDef {
            id: ColumnId(id),
            name: name.into(),
            ty,
            nullable: false,
            initial: None,
            default_sql: None,
            extra_sql: String::new(),
            invisible: false,
            virtual_generated: false,
            comment: String::new(),
        }
    }

    /// The same, NULL allowed.
    #[must_use]
    pub fn nullable(mut self) -> ColumnDef {
        self.nullable = true;
        self
    }
}

/// A secondary key, kept for SHOW CREATE TABLE and information_schema only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexDef {
    /// Index name.
    pub name: String,
    /// UNIQUE.
    pub unique: bool,
    /// The definition as SQL, without the leading ADD: ``KEY `a` (`b`,`c`(10))``.
    pub sql: String,
    /// The indexed columns, by name.
    pub columns: Vec<String>,
}

/// One version of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableDef {
    /// The table's identity. `TableId(0)` until the catalog assigns one.
    pub id: TableId,
    /// Name at this place of the stream.
    pub name: TableName,
    /// Counts the versions of this table, from 1.
    pub version: u32,
    /// In upstream's order.
    pub columns: Vec<ColumnDef>,
    /// The columns that identify a row, in key order: the primary key, else the first NOT NULL unique key;
    /// empty: no key, rows are identified by their whole content.
    pub key: Vec<ColumnId>,
    /// True if `key` is the declared PRIMARY KEY.
    #[serde(default)]
    pub key_is_primary: bool,
    /// Other indexes, for SHOW only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<IndexDef>,
    /// The table's default charset.
    pub charset: String,
    /// The table's default collation.
    pub collation: String,
    /// True if `charset` is a guess: the statement did not say it, and the default of the database is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub charset_assumed: bool,
    /// Storage engine on the upstream, for SHOW only.
    #[serde(default)]
    pub engine: String,
    /// COMMENT text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The id for the next added column.
    pub next_column: ColumnId,
}

impl TableDef {
    /// A first version; the key columns are given by name.
    ///
    /// # Panics
    /// If `key` names a column that is not there (a programming error: sources check before).
    pub fn new(name: TableName, columns: Vec<ColumnDef>, key: &[&str]) -> TableDef {
        let id_of = |n: &&str| columns.iter().find(|c| c.name == **n).expect("key column exists").id;
        let key: Vec<ColumnId> = key.iter().map(id_of).collect();
        let next = columns.iter().map(|c| c.id.0).max().unwrap_or(0) + 1;
        TableDef {
            id: TableId(0),
            name,
            version: 1,
            key_is_primary: !key.is_empty(),
            key,
            columns,
            indexes: Vec::new(),
            charset: "utf8mb4".into(),
            collation: "utf8mb4_general_ci".into(),
            charset_assumed: false,
            engine: "InnoDB".into(),
            comment: String::new(),
            next_column: ColumnId(next),
        }
    }

    /// Stands for a table of which nothing but the name is known: it is stopped.
    #[must_use]
    pub fn unknown(name: TableName) -> TableDef {
        let column = ColumnDef::new(1, "unknown", UpstreamType::new(TypeKind::LongBlob)).nullable();
        TableDef::new(name, vec![column], &[])
    }

    /// The Arrow schema rows of this version have: one field per column, in order.
    #[must_use]
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(arrow_types::field).collect::<Vec<_>>()))
    }

    /// Index of a column by id.
    #[must_use]
    pub fn index_of(&self, id: ColumnId) -> Option<usize> {
        self.columns.iter().position(|c| c.id == id)
    }

    /// Index of a column by name, without regard to case.
    #[must_use]
    pub fn index_of_name(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|c| c.name.eq_ignore_ascii_case(name) || c.name.to_lowercase() == name.to_lowercase())
    }

    /// Indexes of the key's columns, in key order.
    #[must_use]
    pub fn key_indexes(&self) -> Vec<usize> {
        self.key.iter().filter_map(|id| self.index_of(*id)).collect()
    }
}
