//! Keys of tables, for clients that browse. Foreign keys are the upstream's business: the replica has none.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::CommandGetPrimaryKeys;
use tonic::Status;

use crate::session::SqlSession;

use super::catalog::{CATALOG, text_literal, text_rows};

/// What GetPrimaryKeys gives, by the specification of Flight SQL.
pub(super) fn primary_schema() -> SchemaRef {
    let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("key_name", true),
    ]))
}

/// The columns of a table's primary key.
pub(super) async fn primary(
    session: &mut dyn SqlSession,
    query: &CommandGetPrimaryKeys,
) -> Result<RecordBatch, Status> {
    let mut sql = format!(
        "SELECT table_schema, table_name, column_name, CAST(seq_in_index AS CHAR) FROM information_schema.statistics \
         WHERE index_name = 'PRIMARY' AND table_name = {}",
        text_literal(&query.table)
    );
    if let Some(database) = &query.db_schema {
        sql += &format!(" AND table_schema = {}", text_literal(database));
    }
    sql += " ORDER BY table_schema, column_name";
    let elsewhere = query.catalog.as_deref().is_some_and(|catalog| catalog != CATALOG && !catalog.is_empty());
    let rows = if elsewhere { Vec::new() } else { text_rows::<4>(session, &sql).await? };
    let column = |at: usize| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row[at]))) };
    let places = rows.iter().map(|row| row[3].parse::<i32>().unwrap_or_default());
    let same = |text: &'static str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(|_| text))) };
    let places: ArrayRef = Arc::new(Int32Array::from_iter_values(places));
    let columns = vec![same(CATALOG), column(0), column(1), column(2), places, same("PRIMARY")];
    RecordBatch::try_new(primary_schema(), columns).map_err(|e| Status::internal(format!("primary keys: {e}")))
}

/// What GetImportedKeys, GetExportedKeys and GetCrossReference give.
pub(super) fn foreign_schema() -> SchemaRef {
    let text = |name: String, nullable| Field::new(name, DataType::Utf8, nullable);
    let side = |side: &str| {
        vec![
            text(format!("{side}_catalog_name"), true),
            text(format!("{side}_db_schema_name"), true),
            text(format!("{side}_table_name"), false),
            text(format!("{side}_column_name"), false),
        ]
    };
    let mut fields = [side("pk"), side("fk")].concat();
    fields.push(Field::new("key_sequence", DataType::Int32, false));
    fields.extend([text("fk_key_name".into(), true), text("pk_key_name".into(), true)]);
    fields.extend(["update_rule", "delete_rule"].map(|name| Field::new(name, DataType::UInt8, false)));
    Arc::new(Schema::new(fields))
}

/// There is none.
pub(super) fn no_foreign() -> RecordBatch {
    RecordBatch::new_empty(foreign_schema())
}
