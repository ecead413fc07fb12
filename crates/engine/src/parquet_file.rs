//! Writing a data file: Parquet that old readers accept, rows in the order of their keys, the hidden birth
//! column, if there is one, last. Files of L0 are compressed with LZ4_RAW, base files as the engine's options say; what LZ4 does
//! not make shorter is stored as it is.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use tidelake_core::types::arrow::FIELD_ID_METADATA_KEY;
use tidelake_core::{Error, Result, TableDef};

use crate::extent::{Extents, extents};
use crate::file::Level;
use crate::options::{Compression, FileShape};
use crate::worth::is_worth;

/// Most rows of a page.
pub(crate) const PAGE_ROWS: usize = 2048;
/// Dictionaries beyond this are given up: they save little, and every look-up would decode them.
const DICTIONARY_BYTES: usize = 32 << 10;

/// Name of the hidden column of births.
pub(crate) const SEQ_COLUMN: &str = "_seq";
/// Its field id, above every column's.
const SEQ_FIELD_ID: &str = "2147483000";

/// The schema of files of a table version: its columns, then births.
fn file_schema(def: &TableDef, with_births: bool) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = def.arrow_schema().fields().iter().cloned().collect();
    if with_births {
        let id = [(FIELD_ID_METADATA_KEY.to_owned(), SEQ_FIELD_ID.to_owned())];
        fields.push(Arc::new(Field::new(SEQ_COLUMN, DataType::UInt64, false).with_metadata(id.into())));
    }
    Arc::new(Schema::new(fields))
}

/// Writes one data file.
pub(crate) struct DataFileWriter {
    name: String,
    schema: SchemaRef,
    writer: Writing,
    births: (u64, u64),
    rows: u64,
    group_bytes: usize,
    with_births: bool,
}

/// The first rows tell how columns are compressed.
enum Writing {
    Empty {
        file: HashingFile,
        codec: Codec,
        group_rows: usize,
    },
    Begun(Box<ArrowWriter<HashingFile>>),
    /// While it begins, and after it could not.
    Failed,
}

/// What a finished file is like.
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// CRC-32 of the whole file.
    pub(crate) crc: u32,
    /// Smallest and largest birth, of a file that has them.
    pub(crate) births: (u64, u64),
    /// Of the table's columns.
    pub(crate) extents: Extents,
}

/// A file that knows the CRC-32 of what was written to it.
struct HashingFile {
    file: File,
    hasher: crc32fast::Hasher,
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl DataFileWriter {
    pub(crate) fn create(
        path: &Path,
        def: &TableDef,
        shape: FileShape,
        level: Level,
        with_births: bool,
    ) -> Result<DataFileWriter> {
        let name = path.display().to_string();
        let file = File::create(path).map_err(|e| Error::io(format!("create {name}"), e))?;
        let schema = file_schema(def, with_births);
        let file = HashingFile { file, hasher: crc32fast::Hasher::new() };
        let writer = Writing::Empty { file, codec: codec(level, shape.base), group_rows: shape.group_rows };
        Ok(DataFileWriter {
            name,
            schema,
            writer,
            births: (u64::MAX, 0),
            rows: 0,
            group_bytes: shape.group_bytes,
            with_births,
        })
    }

    /// Adds rows of the version's schema, with their births if the file has them.
    pub(crate) fn write(&mut self, rows: &RecordBatch, births: Option<Vec<u64>>) -> Result<()> {
        self.rows += rows.num_rows() as u64;
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        if let Some(births) = births {
            for birth in &births {
                self.births = (self.births.0.min(*birth), self.births.1.max(*birth));
            }
            columns.push(Arc::new(UInt64Array::from(births)));
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        let group_bytes = self.group_bytes;
        let name = self.name.clone();
        let writer = self.begun(&batch)?;
        writer.write(&batch).map_err(|e| failed(&name, e))?;
        // Whole groups in memory at once are bounded by bytes too.
        if writer.in_progress_size() > group_bytes {
            writer.flush().map_err(|e| failed(&name, e))?;
        }
        Ok(())
    }

    /// The writer; these are its first rows if it has not begun.
    fn begun(&mut self, rows: &RecordBatch) -> Result<&mut ArrowWriter<HashingFile>> {
        if let Writing::Empty { .. } = self.writer {
            let Writing::Empty { file, codec, group_rows } = mem::replace(&mut self.writer, Writing::Failed) else {
                unreachable!("it was looked at")
            };
            let properties = properties(codec, group_rows, rows);
            let writer = ArrowWriter::try_new(file, self.schema.clone(), Some(properties));
            self.writer = Writing::Begun(Box::new(writer.map_err(|e| failed(&self.name, e))?));
        }
        match &mut self.writer {
            Writing::Begun(writer) => Ok(writer),
            _ => Err(Error::Internal(format!("write {}: it could not be begun", self.name))),
        }
    }

    /// Bytes of the file so far, those in memory estimated.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.writer {
            Writing::Begun(writer) => (writer.bytes_written() + writer.in_progress_size()) as u64,
            _ => 0,
        }
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the file and makes it durable.
    pub(crate) fn finish(mut self) -> Result<Written> {
        self.begun(&RecordBatch::new_empty(self.schema.clone()))?;
        let Writing::Begun(mut writer) = self.writer else { unreachable!("it has begun") };
        let io = |e| Error::io(format!("sync {}", self.name), e);
        let footer = writer.finish().map_err(|e| failed(&self.name, e))?;
        let HashingFile { file, hasher } = writer.inner();
        file.sync_all().map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let columns = self.schema.fields().len() - usize::from(self.with_births);
        let extents = extents(&self.schema, &footer, columns);
        Ok(Written { rows: self.rows, bytes, crc: hasher.clone().finalize(), births: self.births, extents })
    }
}

fn codec(level: Level, base: Compression) -> Codec {
    match (level, base) {
        (Level::L0, _) | (Level::Base, Compression::Lz4) => Codec::LZ4_RAW,
        (Level::Base, Compression::Zstd) => Codec::ZSTD(ZstdLevel::default()),
    }
}

fn properties(codec: Codec, group_rows: usize, rows: &RecordBatch) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(codec)
        .set_statistics_enabled(EnabledStatistics::Page)
        // A look-up of one key decodes a page and the dictionary of each column.
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_max_row_group_row_count(Some(group_rows))
        .set_created_by("tidelake".to_owned());
    if codec == Codec::LZ4_RAW {
        for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            if !is_worth(column) {
                let path = ColumnPath::new(vec![field.name().clone()]);
                properties = properties.set_column_compression(path, Codec::UNCOMPRESSED);
            }
        }
    }
    properties.build()
}

/// CRC-32 of a whole file.
pub(crate) fn crc_of(mut file: File) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hasher.finalize()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Errors of the Parquet writer are mostly a full disk.
fn failed(name: &str, e: parquet::errors::ParquetError) -> Error {
    Error::io(format!("write {name}"), std::io::Error::other(e.to_string()))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    let io = |e| Error::io(format!("sync directory {}", dir.display()), e);
    File::open(dir).map_err(io)?.sync_all().map_err(io)
}
