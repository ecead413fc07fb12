//! A ClickHouse server as the peer: ReplacingMergeTree tables read with FINAL, over HTTP.

use anyhow::{Context, Result, bail};
use arrow::array::{ArrayRef, RecordBatch, UInt8Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use std::sync::Arc;
use tidelake_core::TableDef;

/// A server's HTTP interface and a database of it.
pub struct ClickHouse {
    agent: ureq::Agent,
    url: String,
    database: String,
}

impl ClickHouse {
    /// A new, empty database.
    pub fn connect(url: &str, database: &str) -> Result<ClickHouse> {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let clickhouse = ClickHouse { agent: config.into(), url: url.to_owned(), database: "default".to_owned() };
        clickhouse.run(&format!("DROP DATABASE IF EXISTS {database}"))?;
        clickhouse.run(&format!("CREATE DATABASE {database}"))?;
        Ok(ClickHouse { database: database.to_owned(), ..clickhouse })
    }

    fn post(&self, statement: &str, body: &[u8]) -> Result<Vec<u8>> {
        let request = self.agent.post(&self.url).query("database", &self.database).query("query", statement);
        let mut response = request.query("async_insert", "0").send(body).context("ask ClickHouse")?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
        if !status.is_success() {
            bail!("ClickHouse answers {status} to {statement}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    fn run(&self, statement: &str) -> Result<()> {
        self.post(statement, b"").map(|_| ())
    }

    /// A table whose newest row version of each key counts.
    pub fn create(&self, def: &TableDef, key: &[&str]) -> Result<()> {
        let columns: Vec<String> = def
            .arrow_schema()
            .fields()
            .iter()
            .map(|f| Ok(format!("{} {}", f.name(), type_of(f.data_type())?)))
            .collect::<Result<_>>()?;
        self.run(&format!(
            "CREATE TABLE {} ({}, _ver UInt64, _del UInt8) ENGINE = ReplacingMergeTree(_ver, _del) ORDER BY ({})",
            def.name.table,
            columns.join(", "),
            key.join(", ")
        ))
    }

    /// Row versions.
    pub fn insert(&self, def: &TableDef, rows: &RecordBatch, version: u64, dead: bool) -> Result<()> {
        let mut fields: Vec<Field> =
            rows.schema().fields().iter().map(|f| Field::new(f.name(), f.data_type().clone(), false)).collect();
        fields.push(Field::new("_ver", DataType::UInt64, false));
        fields.push(Field::new("_del", DataType::UInt8, false));
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        columns.push(Arc::new(UInt64Array::from(vec![version; rows.num_rows()])));
        columns.push(Arc::new(UInt8Array::from(vec![u8::from(dead); rows.num_rows()])));
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, &rows.schema())?;
        writer.write(&rows)?;
        writer.finish()?;
        drop(writer);
        self.post(&format!("INSERT INTO {} FORMAT ArrowStream", def.name.table), &bytes).map(|_| ())
    }

    /// Merges all parts into one.
    pub fn merge(&self, def: &TableDef) -> Result<()> {
        self.run(&format!("OPTIMIZE TABLE {} FINAL", def.name.table))
    }

    /// The batches of a query's result, every table read FINAL.
    pub fn query(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let settings =
            "final = 1, output_format_arrow_string_as_string = 1, output_format_arrow_compression_method = 'none'";
        let bytes = self.post(&format!("{sql} SETTINGS {settings} FORMAT ArrowStream"), b"")?;
        Ok(StreamReader::try_new(bytes.as_slice(), None)?.collect::<Result<Vec<_>, _>>()?)
    }
}

fn type_of(ty: &DataType) -> Result<String> {
    Ok(match ty {
        DataType::Int64 => "Int64".to_owned(),
        DataType::Int32 => "Int32".to_owned(),
        DataType::Date32 => "Date32".to_owned(),
        DataType::Utf8 => "String".to_owned(),
        DataType::Decimal128(p, s) => format!("Decimal({p}, {s})"),
        other => bail!("no ClickHouse type for {other}"),
    })
}
