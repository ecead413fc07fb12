//! The peer: DataFusion over one plain Parquet file per table, compressed and sorted as the engine's base files.

use std::fs::File;
use std::path::Path;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::context::SessionContext;
use datafusion::prelude::{ParquetReadOptions, SessionConfig};
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use crate::Codec;

/// Tables as files, and a DataFusion that reads them.
pub struct Plain {
    dir: TempDir,
    compression: Compression,
    group_rows: usize,
    context: SessionContext,
}

/// A file that is being written.
pub struct PlainTable {
    name: String,
    writer: ArrowWriter<File>,
}

impl PlainTable {
    /// Adds rows.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        Ok(self.writer.write(rows)?)
    }
}

impl Plain {
    /// Without tables. DataFusion has its defaults, and so has the size of row groups.
    pub fn open(compression: Codec) -> Result<Plain> {
        Plain::with_groups(compression, 1 << 20)
    }

    /// With row groups of at most so many rows.
    pub fn with_groups(compression: Codec, group_rows: usize) -> Result<Plain> {
        let compression = match compression {
            Codec::Lz4 => Compression::LZ4_RAW,
            Codec::Zstd => Compression::ZSTD(ZstdLevel::default()),
        };
        let config = SessionConfig::new();
        let dir = tempfile::Builder::new().prefix("tidelake-bench-").tempdir()?;
        Ok(Plain { dir, compression, group_rows, context: SessionContext::new_with_config(config) })
    }

    /// Begins a table, instead of one of the same name.
    pub fn table(&self, name: &str, schema: SchemaRef) -> Result<PlainTable> {
        let properties = WriterProperties::builder()
            .set_compression(self.compression)
            .set_max_row_group_row_count(Some(self.group_rows))
            .build();
        let file = File::create(self.path(name))?;
        Ok(PlainTable { name: name.to_owned(), writer: ArrowWriter::try_new(file, schema, Some(properties))? })
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.dir.path()).join(format!("{name}.parquet"))
    }

    /// Ends it and makes it known under its name.
    pub async fn finish(&self, table: PlainTable) -> Result<()> {
        table.writer.close()?;
        let path = self.path(&table.name).display().to_string();
        self.context.deregister_table(table.name.as_str())?;
        Ok(self.context.register_parquet(&table.name, path, ParquetReadOptions::default()).await?)
    }

    /// Bytes of the table's file.
    pub fn bytes(&self, name: &str) -> Result<u64> {
        Ok(std::fs::metadata(self.path(name))?.len())
    }

    /// The batches of a query's result.
    pub async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        Ok(self.context.sql(sql).await?.collect().await?)
    }

    /// Number of rows of a query's result, which are not kept.
    pub async fn drain(&self, sql: &str) -> Result<u64> {
        let rows = self.context.sql(sql).await?.execute_stream().await?;
        Ok(rows.try_fold(0, async |n, batch| Ok(n + batch.num_rows() as u64)).await?)
    }
}
