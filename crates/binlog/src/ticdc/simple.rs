//! TiCDC's simple protocol, as JSON.
//!
//! Format: TiCDC's `docs/ticdc-simple-protocol` and its encoder. Values are strings; bytes of binary columns are base 64, a
//! TIMESTAMP names its zone, ENUM, SET and BIT are numbers. BOOTSTRAP messages tell schemas of tables; they make no table here.

use serde::Deserialize;
use tidelake_core::TableName;

use super::canal::cut_down;
use super::json::JsonRow;
use super::record::{BinaryText, Ddl, Event, ImageOp, ImageWriter, Spelling};
use crate::filter::TableFilter;
use crate::mysql::reader::{Malformed, Parsed};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    version: u32,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    database: String,
    #[serde(default)]
    table: String,
    #[serde(default)]
    commit_ts: u64,
    #[serde(default)]
    sql: Option<String>,
    #[serde(default)]
    data: Option<JsonRow>,
    #[serde(default)]
    old: Option<JsonRow>,
    #[serde(default)]
    handle_key_only: bool,
    #[serde(default)]
    claim_check_location: String,
    #[serde(default)]
    table_schema: Option<TableSchema>,
    #[serde(default)]
    pre_table_schema: Option<TableSchema>,
}

#[derive(Deserialize)]
struct TableSchema {
    #[serde(default)]
    schema: String,
    #[serde(default)]
    table: String,
    #[serde(default)]
    columns: Option<Vec<Column>>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

/// Reads one message into events; those of tables that are not wanted are left out.
///
/// # Errors
/// For what is no such message, and for messages that lack what exact replication needs, with the setting to change.
pub fn parse(message: &[u8], filter: &TableFilter, out: &mut Vec<Event>) -> Parsed<()> {
    if message.first() != Some(&b'{') {
        return Err(Malformed::because(
            "no JSON: set encoding-format = \"json\" and large-message-handle-compression = \"none\" in the changefeed",
        ));
    }
    let message: Message = serde_json::from_slice(message)
        .map_err(|e| Malformed::new(format!("no message of the simple protocol: {e}")))?;
    if message.version != 1 {
        return Err(Malformed::new(format!("version {} of the simple protocol; this build reads 1", message.version)));
    }
    if message.commit_ts == 0 && message.kind != "BOOTSTRAP" {
        return Err(Malformed::new(format!("a message of type {} without commitTs", message.kind)));
    }
    match message.kind.as_str() {
        "WATERMARK" => out.push(Event::Watermark(message.commit_ts)),
        "BOOTSTRAP" => {}
        "INSERT" | "UPDATE" | "DELETE" => return row(&message, filter, out),
        _ => out.push(ddl(message)?),
    }
    Ok(())
}

fn ddl(message: Message) -> Parsed<Event> {
    let query = message.sql.ok_or_else(|| Malformed::new(format!("a message of unknown type {}", message.kind)))?;
    let has_after = message.table_schema.is_some();
    let schema = message.table_schema.or(message.pre_table_schema);
    let schema = schema.unwrap_or(TableSchema { schema: message.database, table: message.table, columns: None });
    let columns = schema.columns.filter(|c| has_after && !c.is_empty());
    let ddl = Ddl {
        database: schema.schema,
        table: schema.table,
        query,
        columns: columns.map(|c| c.into_iter().map(|c| c.name).collect()),
        collation: None,
    };
    Ok(Event::Ddl { commit_ts: message.commit_ts, ddl })
}

fn row(message: &Message, filter: &TableFilter, out: &mut Vec<Event>) -> Parsed<()> {
    let table = TableName::new(message.database.as_str(), message.table.as_str());
    if !filter.wants(&table) {
        return Ok(());
    }
    cut_down(message.handle_key_only, &message.claim_check_location)?;
    let lacks = |what: &str| Malformed::new(format!("a message of type {} without {what}", message.kind));
    let data = || message.data.as_ref().ok_or_else(|| lacks("data"));
    let mut push = |op: ImageOp, row: &JsonRow| {
        let mut image = ImageWriter::new(op, Spelling::named(BinaryText::Base64), &table, b"");
        row.write(&mut image);
        out.push(Event::Image { commit_ts: message.commit_ts, image: image.finish() });
    };
    match (message.kind.as_str(), &message.old) {
        ("INSERT", _) => push(ImageOp::Insert, data()?),
        ("DELETE", old) => push(ImageOp::Delete, old.as_ref().ok_or_else(|| lacks("old"))?),
        (_, Some(old)) => {
            push(ImageOp::Delete, &data()?.overlaid(old));
            push(ImageOp::Insert, data()?);
        }
        (_, None) => push(ImageOp::Replace, data()?),
    }
    Ok(())
}
