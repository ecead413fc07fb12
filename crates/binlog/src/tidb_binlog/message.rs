//! The protobuf of a record, by hand after pingcap/tidb-binlog's `proto/pb_binlog.proto`, and what it means.

use prost::Message;
use tidelake_core::TableName;

use super::datum::{self, Datum};
use crate::mysql::reader::{Malformed, Parsed};
use crate::ticdc::record::{BinaryText, Cell, Ddl, ImageOp, ImageWriter, Spelling};

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
    /// DDL: ``use `db`; statement;``.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub ddl_query: Option<Vec<u8>>,
}

/// The rows of a transaction, in their order.
#[derive(Clone, PartialEq, Message)]
pub struct DmlData {
    /// Changes.
    #[prost(message, repeated, tag = "1")]
    pub events: Vec<Event>,
}

/// A change of one row.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Database.
    #[prost(string, optional, tag = "1")]
    pub schema_name: Option<String>,
    /// Table.
    #[prost(string, optional, tag = "2")]
    pub table_name: Option<String>,
    /// 0: insert, 1: update, 2: delete.
    #[prost(int32, optional, tag = "3")]
    pub tp: Option<i32>,
    /// A [`Column`] each.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub row: Vec<Vec<u8>>,
}

/// A column of a row.
#[derive(Clone, PartialEq, Message)]
pub struct Column {
    /// Its name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Its type's code.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub tp: Option<Vec<u8>>,
    /// Its type's name.
    #[prost(string, optional, tag = "3")]
    pub mysql_type: Option<String>,
    /// Its value; before the change in an update.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub value: Option<Vec<u8>>,
    /// Its value after an update.
    #[prost(bytes = "vec", optional, tag = "5")]
    pub changed_value: Option<Vec<u8>>,
}

/// What a record says.
pub enum Record {
    /// Images of rows, in their order.
    Rows(Vec<Vec<u8>>),
    /// A DDL.
    Ddl(Ddl),
}

impl Binlog {
    /// Commit-ts, and what it says of the tables that are wanted.
    ///
    /// # Errors
    /// For a record that makes no sense.
    pub fn read(&self, wants: &dyn Fn(&TableName) -> bool) -> Parsed<(u64, Record)> {
        let ts = self.commit_ts.and_then(|ts| u64::try_from(ts).ok()).filter(|ts| *ts > 0);
        let ts = ts.ok_or(Malformed::because("a record without a commit-ts"))?;
        match self.tp {
            Some(1) => {
                let query = self.ddl_query.as_deref().ok_or(Malformed::because("a DDL record without its text"))?;
                let text = std::str::from_utf8(query).map_err(|_| Malformed::because("DDL that is not UTF-8"))?;
                let (database, query) = split_use(text);
                Ok((
                    ts,
                    Record::Ddl(Ddl {
                        database,
                        table: String::new(),
                        query: query.to_owned(),
                        columns: None,
                        collation: None,
                    }),
                ))
            }
            Some(0) | None => {
                let mut images = Vec::new();
                for event in self.dml_data.iter().flat_map(|d| &d.events) {
                    event.images(wants, &mut images)?;
                }
                Ok((ts, Record::Rows(images)))
            }
            Some(other) => Err(Malformed::new(format!("a record of unknown type {other}"))),
        }
    }
}

/// ``use `db`; statement`` -> the database, the statement.
fn split_use(text: &str) -> (String, &str) {
    let whole = (String::new(), text);
    let trimmed = text.trim_start();
    let Some(rest) = trimmed.get(..4).filter(|w| w.eq_ignore_ascii_case("use ")).map(|_| trimmed[4..].trim_start())
    else {
        return whole;
    };
    let Some(quoted) = rest.strip_prefix('`') else {
        return rest.split_once(';').map_or(whole, |(name, rest)| (name.trim().to_owned(), rest.trim_start()));
    };
    let mut name = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '`' {
            name.push(c);
        } else if chars.next_if(|(_, next)| *next == '`').is_some() {
            name.push('`');
        } else {
            return quoted[at + 1..].trim_start().strip_prefix(';').map_or(whole, |rest| (name, rest.trim_start()));
        }
    }
    whole
}

impl Event {
    fn images(&self, wants: &dyn Fn(&TableName) -> bool, out: &mut Vec<Vec<u8>>) -> Parsed<()> {
        let names = (self.schema_name.as_deref(), self.table_name.as_deref());
        let (Some(database), Some(table)) = names else {
            return Err(Malformed::because("a row without its table's name"));
        };
        let table = TableName::new(database, table);
        if !wants(&table) {
            return Ok(());
        }
        let decode =
            |bytes: &Vec<u8>| Column::decode(bytes.as_slice()).map_err(|e| Malformed::new(format!("a column: {e}")));
        let columns: Vec<Column> = self.row.iter().map(decode).collect::<Parsed<_>>()?;
        match self.tp {
            Some(0) | None => out.push(image(&table, ImageOp::Insert, &columns, |c| c.value.as_deref())?),
            Some(1) => {
                out.push(image(&table, ImageOp::Delete, &columns, |c| c.value.as_deref())?);
                out.push(image(&table, ImageOp::Insert, &columns, |c| c.changed_value.as_deref())?);
            }
            Some(2) => out.push(image(&table, ImageOp::Delete, &columns, |c| c.value.as_deref())?),
            Some(other) => return Err(Malformed::new(format!("a row event of unknown type {other}"))),
        }
        Ok(())
    }
}

fn image<'c>(
    table: &TableName,
    op: ImageOp,
    columns: &'c [Column],
    value: impl Fn(&'c Column) -> Option<&'c [u8]>,
) -> Parsed<Vec<u8>> {
    let mut image = ImageWriter::new(op, Spelling::named(BinaryText::Raw), table, b"");
    for column in columns {
        let name = column.name.as_deref().ok_or(Malformed::because("a column without its name"))?;
        let value = value(column).ok_or_else(|| Malformed::new(format!("column {name} without its value")))?;
        match datum::decode(value)? {
            Datum::Null => image.cell(name, Cell::Null),
            Datum::Bytes(bytes) => image.cell(name, Cell::Bytes(&bytes)),
            Datum::Int(v) => image.cell(name, Cell::Text(v.to_string().as_bytes())),
            Datum::Uint(v) => image.cell(name, Cell::Text(v.to_string().as_bytes())),
            Datum::Float(v) => image.cell(name, Cell::Text(v.to_string().as_bytes())),
        }
    }
    Ok(image.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_in_the_text() {
        assert_eq!(split_use("use `a``;b`; CREATE TABLE t(x int);"), ("a`;b".into(), "CREATE TABLE t(x int);"));
        assert_eq!(split_use("USE db ; DROP TABLE t"), ("db".into(), "DROP TABLE t"));
        assert_eq!(split_use("CREATE DATABASE x;"), (String::new(), "CREATE DATABASE x;"));
    }
}
