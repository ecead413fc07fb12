//! Databases, tables and facts about the server, for clients that browse.

use std::sync::LazyLock;

use arrow::array::cast::AsArray;
use arrow::array::{Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use arrow_flight::sql::metadata::{GetDbSchemasBuilder, GetTablesBuilder, SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{SqlInfo, SqlSupportedTransaction};
use futures::TryStreamExt;
use tonic::Status;

use crate::session::SqlSession;

use super::query::{describe, rows, status};

/// The one catalog, named as MySQL names it.
pub(super) const CATALOG: &str = "def";

/// Kinds of tables there are.
pub(super) const TABLE_TYPES: [&str; 3] = ["BASE TABLE", "SYSTEM VIEW", "VIEW"];

/// Adds all databases.
pub(super) async fn append_databases(
    session: &mut dyn SqlSession,
    builder: &mut GetDbSchemasBuilder,
) -> Result<(), Status> {
    let sql = "SELECT schema_name FROM information_schema.schemata";
    for row in text_rows::<1>(session, sql).await? {
        builder.append(CATALOG, &row[0]);
    }
    Ok(())
}

/// Adds all tables, with their columns if the client asked for them.
pub(super) async fn append_tables(session: &mut dyn SqlSession, builder: &mut GetTablesBuilder) -> Result<(), Status> {
    let sql = "SELECT table_schema, table_name, table_type FROM information_schema.tables";
    for [database, table, kind] in text_rows::<3>(session, sql).await? {
        let mut schema = Schema::empty();
        if builder.include_schema() {
            let select = format!("SELECT * FROM {}.{}", quoted(&database), quoted(&table));
            schema = describe(session, &select).await?.0.as_ref().clone();
        }
        builder
            .append(CATALOG, &database, &table, &kind, &schema)
            .map_err(|e| Status::internal(format!("schema of {database}.{table}: {e}")))?;
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as SQL.
pub(super) fn text_literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// All rows of a statement whose first `N` columns are text.
pub(super) async fn text_rows<const N: usize>(
    session: &mut dyn SqlSession,
    sql: &str,
) -> Result<Vec<[String; N]>, Status> {
    let batches: Vec<RecordBatch> = rows(session, sql).await?.rows.try_collect().await.map_err(|e| status(&e))?;
    let mut found = Vec::new();
    for batch in batches {
        if batch.num_columns() < N {
            return Err(Status::internal(format!("{sql} gave {} columns", batch.num_columns())));
        }
        let columns = batch.columns()[..N].iter().map(|c| cast(c, &DataType::Utf8)).collect::<Result<Vec<_>, _>>();
        let columns = columns.map_err(|e| Status::internal(format!("{sql}: {e}")))?;
        let text = |column: usize, row: usize| {
            let column = columns[column].as_string::<i32>();
            if column.is_null(row) { String::new() } else { column.value(row).to_owned() }
        };
        found.extend((0..batch.num_rows()).map(|row| std::array::from_fn(|column| text(column, row))));
    }
    Ok(found)
}

/// What GetSqlInfo tells.
pub(super) fn sql_info() -> &'static SqlInfoData {
    static INFO: LazyLock<SqlInfoData> = LazyLock::new(|| {
        let mut info = SqlInfoDataBuilder::new();
        info.append(SqlInfo::FlightSqlServerName, "Tidelake");
        info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
        info.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
        info.append(SqlInfo::FlightSqlServerReadOnly, true);
        info.append(SqlInfo::FlightSqlServerSql, true);
        info.append(SqlInfo::FlightSqlServerSubstrait, false);
        info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
        info.append(SqlInfo::FlightSqlServerCancel, false);
        info.append(SqlInfo::SqlIdentifierQuoteChar, "`");
        info.build().expect("the values above have the types their names ask for")
    });
    &INFO
}
