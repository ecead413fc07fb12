//! What Drainer sends to Kafka: each message one whole transaction or DDL, in commit order, in one partition. The protobuf is by hand after
//! pingcap/tidb-tools' `secondary_binlog.proto`.

use prost::Message;
use tidelake_core::TableName;

use crate::filter::TableFilter;
use crate::mysql::reader::{Malformed, Parsed};
use crate::ticdc::record::{BinaryText, Cell, Ddl, Event, ImageOp, ImageWriter, Spelling};

/// One transaction, or one DDL.
#[derive(Clone, PartialEq, Message)]
pub struct Binlog {
    /// 0: rows, 1: DDL.
    #[prost(int32, optional, tag = "1")]
    pub tp: Option<i32>,
    /// When it was committed.
    #[prost(int64, optional, tag = "2")]
    pub commit_ts: Option<i64>,
    /// Rows.
    #[prost(message, optional, tag = "3")]
    pub dml_data: Option<DmlData>,
    /// DDL.
    #[prost(message, optional, tag = "4")]
    pub ddl_data: Option<DdlData>,
    /// The zone of TIMESTAMPs; older ones do not say it.
    #[prost(string, optional, tag = "5")]
    pub time_zone: Option<String>,
}

/// The rows of a transaction.
#[derive(Clone, PartialEq, Message)]
pub struct DmlData {
    /// By table.
    #[prost(message, repeated, tag = "1")]
    pub tables: Vec<Table>,
}

/// A DDL.
#[derive(Clone, PartialEq, Message)]
pub struct DdlData {
    /// Database.
    #[prost(string, optional, tag = "1")]
    pub schema_name: Option<String>,
    /// Table.
    #[prost(string, optional, tag = "2")]
    pub table_name: Option<String>,
    /// The statement.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub ddl_query: Option<Vec<u8>>,
}

/// Changes of one table.
#[derive(Clone, PartialEq, Message)]
pub struct Table {
    /// Database.
    #[prost(string, optional, tag = "1")]
    pub schema_name: Option<String>,
    /// Table.
    #[prost(string, optional, tag = "2")]
    pub table_name: Option<String>,
    /// Its columns.
    #[prost(message, repeated, tag = "3")]
    pub column_info: Vec<ColumnInfo>,
    /// Its rows.
    #[prost(message, repeated, tag = "4")]
    pub mutations: Vec<Mutation>,
}

/// A column.
#[derive(Clone, PartialEq, Message)]
pub struct ColumnInfo {
    /// Its name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Its type, in lower case.
    #[prost(string, optional, tag = "2")]
    pub mysql_type: Option<String>,
}

/// A change of one row.
#[derive(Clone, PartialEq, Message)]
pub struct Mutation {
    /// 0: insert, 1: update, 2: delete.
    #[prost(int32, optional, tag = "1")]
    pub tp: Option<i32>,
    /// The row; of an update the new one.
    #[prost(message, optional, tag = "2")]
    pub row: Option<Row>,
    /// Of an update the old row.
    #[prost(message, optional, tag = "3")]
    pub change_row: Option<Row>,
}

/// Values in the order of the columns.
#[derive(Clone, PartialEq, Message)]
pub struct Row {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub columns: Vec<Value>,
}

/// A value: one of these.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// NULL.
    #[prost(bool, optional, tag = "1")]
    pub is_null: Option<bool>,
    /// Signed numbers.
    #[prost(int64, optional, tag = "2")]
    pub int64_value: Option<i64>,
    /// Unsigned numbers, BIT, ENUM and SET.
    #[prost(uint64, optional, tag = "3")]
    pub uint64_value: Option<u64>,
    /// FLOAT and DOUBLE.
    #[prost(double, optional, tag = "4")]
    pub double_value: Option<f64>,
    /// Binary strings, JSON.
    #[prost(bytes = "vec", optional, tag = "5")]
    pub bytes_value: Option<Vec<u8>>,
    /// Text, dates and times, DECIMAL.
    #[prost(string, optional, tag = "6")]
    pub string_value: Option<String>,
}

/// Reads a message; its watermark is its own commit-ts.
///
/// # Errors
/// For a message that makes no sense.
pub fn parse(message: &[u8], filter: &TableFilter, out: &mut Vec<Event>) -> Parsed<()> {
    let binlog = Binlog::decode(message)
        .map_err(|e| Malformed::new(format!("{e}: no message of Drainer (protocol=drainer)")))?;
    let ts = binlog.commit_ts.and_then(|ts| u64::try_from(ts).ok()).filter(|ts| *ts > 0);
    let commit_ts = ts.ok_or(Malformed::because("a message without a commit-ts"))?;
    match binlog.tp {
        Some(1) => {
            let data = binlog.ddl_data.ok_or(Malformed::because("a DDL message without its text"))?;
            let query = String::from_utf8(data.ddl_query.unwrap_or_default());
            let query = query.map_err(|_| Malformed::because("DDL that is not UTF-8"))?;
            let (database, table) = (data.schema_name.unwrap_or_default(), data.table_name.unwrap_or_default());
            out.push(Event::Ddl { commit_ts, ddl: Ddl { database, table, query, columns: None, collation: None } });
        }
        Some(0) | None => {
            let zone = binlog.time_zone.filter(|zone| !zone.is_empty());
            for table in binlog.dml_data.iter().flat_map(|data| &data.tables) {
                table.images(filter, zone.as_deref(), commit_ts, out)?;
            }
        }
        Some(other) => return Err(Malformed::new(format!("a message of unknown type {other}"))),
    }
    out.push(Event::Watermark(commit_ts));
    Ok(())
}

/// Messages come in commit order, so rows at or before the newest commit-ts that was read were read with it: Drainer was restarted, and
/// sends them again. What is left is each change once, equal rows of a table without a key as often as they are.
pub fn leave_out_repeated(events: &mut Vec<Event>, newest: u64) {
    events.retain(|event| !matches!(event, Event::Image { commit_ts, .. } if *commit_ts <= newest));
}

impl Table {
    fn images(&self, filter: &TableFilter, zone: Option<&str>, commit_ts: u64, out: &mut Vec<Event>) -> Parsed<()> {
        let (Some(database), Some(table)) = (&self.schema_name, &self.table_name) else {
            return Err(Malformed::because("rows without their table's name"));
        };
        let name = TableName::new(database.as_str(), table.as_str());
        if !filter.wants(&name) {
            return Ok(());
        }
        let mut push = |op, row: &Option<Row>| -> Parsed<()> {
            let row = row.as_ref().ok_or(Malformed::because("a change without its row"))?;
            out.push(Event::Image { commit_ts, image: self.image(op, &name, row, zone)? });
            Ok(())
        };
        for mutation in &self.mutations {
            match mutation.tp {
                Some(0) | None => push(ImageOp::Insert, &mutation.row)?,
                Some(1) => {
                    push(ImageOp::Delete, &mutation.change_row)?;
                    push(ImageOp::Insert, &mutation.row)?;
                }
                Some(2) => push(ImageOp::Delete, &mutation.row)?,
                Some(other) => return Err(Malformed::new(format!("a change of unknown type {other}"))),
            }
        }
        Ok(())
    }

    fn image(&self, op: ImageOp, name: &TableName, row: &Row, zone: Option<&str>) -> Parsed<Vec<u8>> {
        if row.columns.len() != self.column_info.len() {
            let (have, want) = (row.columns.len(), self.column_info.len());
            return Err(Malformed::new(format!("a row of {have} values, and {want} columns")));
        }
        let mut image = ImageWriter::new(op, Spelling::named(BinaryText::Raw), name, b"");
        for (info, value) in self.column_info.iter().zip(&row.columns) {
            let column = info.name.as_deref().ok_or(Malformed::because("a column without its name"))?;
            let number = match value {
                Value { int64_value: Some(v), .. } => Some(v.to_string()),
                Value { uint64_value: Some(v), .. } => Some(v.to_string()),
                Value { double_value: Some(v), .. } => Some(v.to_string()),
                _ => None,
            };
            let cell = match (value, &number, zone) {
                (Value { is_null: Some(true), .. }, ..) => Cell::Null,
                (_, Some(number), _) => Cell::Text(number.as_bytes()),
                (Value { bytes_value: Some(bytes), .. }, ..) => Cell::Bytes(bytes),
                (Value { string_value: Some(text), .. }, _, Some(zone))
                    if info.mysql_type.as_deref() == Some("timestamp") =>
                {
                    Cell::Zoned(text.as_bytes(), zone)
                }
                (Value { string_value: Some(text), .. }, ..) => Cell::Text(text.as_bytes()),
                _ => return Err(Malformed::new(format!("column {column} without its value"))),
            };
            image.cell(column, cell);
        }
        Ok(image.finish())
    }
}
