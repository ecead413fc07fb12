//! Canal-JSON with the TiDB extension: one message an event.
//!
//! Format: TiCDC's `docs/ticdc-canal-json` and its encoder. Values are strings or null; bytes of binary columns are characters
//! U+0000 to U+00FF; ENUM, SET and BIT are numbers. Without the extension no message has a commit-ts, so it is refused.

use serde::Deserialize;
use tidelake_core::TableName;

use super::json::JsonRow;
use super::record::{BinaryText, Ddl, Event, ImageOp, ImageWriter, Spelling};
use crate::filter::TableFilter;
use crate::mysql::reader::{Malformed, Parsed};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(default)]
    database: String,
    #[serde(default)]
    table: String,
    #[serde(default)]
    is_ddl: bool,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    sql: Option<String>,
    #[serde(default)]
    data: Option<Vec<JsonRow>>,
    #[serde(default)]
    old: Option<Vec<Option<JsonRow>>>,
    #[serde(default, rename = "_tidb")]
    tidb: Option<Extension>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extension {
    commit_ts: Option<u64>,
    watermark_ts: Option<u64>,
    #[serde(default)]
    only_handle_key: bool,
    #[serde(default)]
    claim_check_location: String,
    #[serde(default)]
    rowkey: String,
}

/// What a large message was cut down to, and the setting that avoids it.
pub(super) fn cut_down(handle_key_only: bool, claim_check: &str) -> Parsed<()> {
    if !claim_check.is_empty() {
        return Err(Malformed::because(
            "a claim-check message, whose row lies elsewhere: set large-message-handle-option = \"none\" and a larger max-message-bytes in the changefeed",
        ));
    }
    if handle_key_only {
        return Err(Malformed::because(
            "a message with the handle key only: set large-message-handle-option = \"none\" and a larger max-message-bytes in the changefeed",
        ));
    }
    Ok(())
}

/// Reads one message into events; those of tables that are not wanted are left out.
///
/// # Errors
/// For what is no such message, and for messages that lack what exact replication needs, with the setting to change.
pub fn parse(message: &[u8], filter: &TableFilter, out: &mut Vec<Event>) -> Parsed<()> {
    let message: Message =
        serde_json::from_slice(message).map_err(|e| Malformed::new(format!("no Canal-JSON message: {e}")))?;
    let Some(extension) = &message.tidb else {
        return Err(Malformed::because(
            "a Canal-JSON message without the TiDB extension has no commit-ts: set enable-tidb-extension=true in the changefeed's sink URI",
        ));
    };
    if message.kind == "TIDB_WATERMARK" {
        let ts = extension.watermark_ts.ok_or(Malformed::because("a watermark message without watermarkTs"))?;
        out.push(Event::Watermark(ts));
        return Ok(());
    }
    let commit_ts =
        extension.commit_ts.filter(|ts| *ts > 0).ok_or(Malformed::because("a Canal-JSON message without commitTs"))?;
    if message.is_ddl {
        let query = message.sql.ok_or(Malformed::because("a DDL message without its sql"))?;
        let ddl = Ddl { database: message.database, table: message.table, query, columns: None, collation: None };
        out.push(Event::Ddl { commit_ts, ddl });
        return Ok(());
    }
    let table = TableName::new(message.database.as_str(), message.table.as_str());
    if !filter.wants(&table) {
        return Ok(());
    }
    cut_down(extension.only_handle_key, &extension.claim_check_location)?;
    rows(&message, extension, commit_ts, &table, out)
}

fn rows(
    message: &Message,
    extension: &Extension,
    commit_ts: u64,
    table: &TableName,
    out: &mut Vec<Event>,
) -> Parsed<()> {
    let data = message.data.as_deref().unwrap_or_default();
    let old = message.old.as_deref().unwrap_or_default();
    if data.is_empty() {
        return Err(Malformed::new(format!("a message of type {} without data", message.kind)));
    }
    let mut push = |op: ImageOp, row: &JsonRow| {
        let spelling = Spelling::named(BinaryText::Latin1);
        let mut image = ImageWriter::new(op, spelling, table, extension.rowkey.as_bytes());
        row.write(&mut image);
        out.push(Event::Image { commit_ts, image: image.finish() });
    };
    for (i, row) in data.iter().enumerate() {
        match message.kind.as_str() {
            "INSERT" => push(ImageOp::Insert, row),
            "DELETE" => push(ImageOp::Delete, row),
            "UPDATE" => match old.get(i).and_then(Option::as_ref) {
                Some(old) => {
                    push(ImageOp::Delete, &row.overlaid(old));
                    push(ImageOp::Insert, row);
                }
                None => push(ImageOp::Replace, row),
            },
            other => return Err(Malformed::new(format!("a row message of unknown type {other}"))),
        }
    }
    Ok(())
}
