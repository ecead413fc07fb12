//! The upstream's tables, as its information_schema lists them.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tidelake_core::{Result, TableName};

use super::connect::Connector;
use super::history::{quoted, text};
use crate::filter::TableFilter;

/// Where `db`.`table` stands in the FROM clause, with its backticks.
pub(crate) fn quoted_name(name: &TableName) -> String {
    format!("{}.{}", quoted_identifier(&name.database), quoted_identifier(&name.table))
}

/// An identifier in backticks.
pub(crate) fn quoted_identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// What a name of the upstream stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableType {
    /// An ordinary table.
    Base,
    /// `WITH SYSTEM VERSIONING`.
    SystemVersioned,
}

/// One wanted table of the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedTable {
    pub name: TableName,
    pub kind: TableType,
    /// Storage engine.
    pub engine: String,
}

impl ListedTable {
    /// See [`TableFacts::has_snapshots`].
    pub fn has_snapshots(&self) -> bool {
        has_snapshots(&self.engine)
    }
}

fn has_snapshots(engine: &str) -> bool {
    ["innodb", "rocksdb", "tokudb"].iter().any(|e| engine.eq_ignore_ascii_case(e))
}

/// What is a table, and no view or sequence.
const OF_ROWS: &str = "TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')";

/// Lists the wanted tables; views, sequences and the servers' own tables are none.
///
/// # Errors
/// If the upstream cannot be asked.
pub(crate) async fn list_wanted(
    connector: &Connector,
    conn: &mut Conn,
    filter: &TableFilter,
) -> Result<Vec<ListedTable>> {
    let ask = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, COALESCE(ENGINE, '') FROM information_schema.TABLES \
         WHERE CAST(TABLE_SCHEMA AS BINARY) NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') \
         AND {OF_ROWS}"
    );
    let rows: Vec<Row> = conn.query(ask).await.map_err(|e| connector.error("list the tables", &e))?;
    let listed = rows.iter().filter_map(|row| {
        let name = TableName::new(text(row, 0)?, text(row, 1)?);
        let kind = if text(row, 2)? == "BASE TABLE" { TableType::Base } else { TableType::SystemVersioned };
        Some(ListedTable { name, kind, engine: text(row, 3)? })
    });
    Ok(listed.filter(|t| filter.wants(&t.name)).collect())
}

/// What the upstream knows of one table without reading it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableFacts {
    /// Storage engine.
    pub engine: String,
    /// Estimated rows.
    pub rows: u64,
}

impl TableFacts {
    /// True if a consistent snapshot shows the table's rows as of the snapshot's position.
    pub fn has_snapshots(&self) -> bool {
        has_snapshots(&self.engine)
    }
}

/// Asks for engine and size of a table; `None` if it is gone, or its name is a view's now.
///
/// # Errors
/// If the upstream cannot be asked.
pub(crate) async fn facts(connector: &Connector, conn: &mut Conn, name: &TableName) -> Result<Option<TableFacts>> {
    let sql = format!(
        "SELECT COALESCE(ENGINE, ''), COALESCE(TABLE_ROWS, 0) FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} AND {OF_ROWS}",
        quoted(&name.database),
        quoted(&name.table)
    );
    let row: Option<Row> = conn.query_first(sql).await.map_err(|e| connector.error("ask about a table", &e))?;
    let fact = |row: Row| Some(TableFacts { engine: text(&row, 0)?, rows: text(&row, 1)?.parse().ok()? });
    Ok(row.and_then(fact))
}
