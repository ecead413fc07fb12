//! The rows of Dumpling's files: `metadata` with the TSO, `db.table-schema.sql`, and data as `db.table.NNN.sql` or `.csv`.
//!
//! A table is read file after file, in the order of their names; a chunk's place is a file and the rows read of it, so any table can be
//! read on. Files may be compressed by gzip, zstd or snappy.
//!
//! What the files do not say must be said by options, with the names of Dumpling's own: `escape-backslash`, `csv-separator`,
//! `csv-delimiter`, `csv-null-value`, `csv-line-terminator`, `no-header`; `csv-binary` (`utf8`, `hex` or `base64`) and `zone`, that of
//! TIMESTAMPs (Dumpling's session), if the files do not set it.

mod csv;
mod cutter;
mod layout;
mod sql;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tidelake_core::{ColumnDef, Error, Result, TableDef, TableName, TypeKind};
use tokio::sync::mpsc;

use self::csv::CsvDialect;
use self::cutter::{Cells, Rows};
use self::layout::{DataFile, Layout, Table};
use super::rows::{TextCell, TextRows};
use super::server::{definition, parse_tso};
use super::{Chunk, ReadError, Snapshot, SnapshotTable};
use crate::filter::TableFilter;
use crate::service::url::percent_decode;
use crate::ticdc::decoder::value;
use crate::ticdc::zone::Zone;

/// Bytes of rows after which a chunk ends early.
const CHUNK_BYTES: u64 = 16 << 20;

/// How bytes of binary columns stand in CSV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum CsvBinary {
    /// As they are.
    #[default]
    Raw,
    Hex,
    Base64,
}

/// What stands behind `dumpling:`.
#[derive(Clone, Debug)]
pub struct DumplingOptions {
    dir: PathBuf,
    tso: Option<u64>,
    zone: String,
    /// Dumpling's own default, and `--escape-backslash`.
    escape: bool,
    csv: CsvDialect,
    csv_binary: CsvBinary,
}

impl DumplingOptions {
    /// Reads `DIR[?option=value&...]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown option or a wrong value.
    pub fn parse(text: &str) -> Result<DumplingOptions> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        if path.contains("://") {
            return Err(Error::Invalid("dumpling: only a local directory is read".into()));
        }
        let dir = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        let mut options = DumplingOptions {
            dir,
            tso: None,
            zone: "UTC".into(),
            escape: true,
            csv: CsvDialect::default(),
            csv_binary: CsvBinary::Raw,
        };
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            options.set(name, value)?;
        }
        options.csv.check()?;
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |what: &str| Error::Invalid(format!("dumpling: {name}={value:?}: {what}"));
        let flag = || match value {
            "true" | "" => Ok(true),
            "false" => Ok(false),
            _ => Err(wrong("is true or false")),
        };
        match name {
            "tso" => self.tso = Some(parse_tso(value)?),
            "zone" => {
                Zone::parse(value)?;
                value.clone_into(&mut self.zone);
            }
            "escape-backslash" => self.escape = flag()?,
            "no-header" => self.csv.header = !flag()?,
            "csv-separator" => self.csv.separator = unescaped(value),
            "csv-delimiter" => self.csv.delimiter = unescaped(value),
            "csv-null-value" => self.csv.null = value.as_bytes().to_vec(),
            "csv-line-terminator" => self.csv.terminator = Some(unescaped(value)),
            "csv-binary" => {
                self.csv_binary = match value {
                    "utf8" => CsvBinary::Raw,
                    "hex" => CsvBinary::Hex,
                    "base64" => CsvBinary::Base64,
                    _ => return Err(wrong("is utf8, hex or base64")),
                };
            }
            _ => {
                return Err(Error::Invalid(format!(
                    "dumpling: has no option {name}: tso, zone, escape-backslash, no-header, csv-separator, csv-delimiter, csv-null-value, csv-line-terminator, csv-binary"
                )));
            }
        }
        Ok(())
    }
}

/// `\t`, `\r` and `\n` as one writes them on a command line.
fn unescaped(text: &str) -> Vec<u8> {
    text.replace("\\t", "\t").replace("\\r", "\r").replace("\\n", "\n").into_bytes()
}

/// See the module.
pub struct DumplingSnapshot {
    options: DumplingOptions,
    filter: TableFilter,
    chunk_rows: usize,
}

/// Where to read on.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Place {
    /// Name of the file; empty: the first.
    file: String,
    /// Rows of it that were read.
    rows: u64,
}

impl DumplingSnapshot {
    /// The directory is looked at when it is first asked.
    #[must_use]
    pub fn new(options: DumplingOptions, filter: TableFilter, chunk_rows: usize) -> DumplingSnapshot {
        DumplingSnapshot { options, filter, chunk_rows }
    }

    fn layout(&self) -> Result<Layout> {
        Layout::of(&self.options.dir)
    }
}

#[async_trait]
impl Snapshot for DumplingSnapshot {
    async fn tso(&self) -> Result<u64> {
        // a dump that did not end is refused in any case
        let found = layout::tso(&self.options.dir);
        match (self.options.tso, found) {
            (_, Err(layout::NoTso::Unfinished(reason))) => Err(Error::Invalid(reason)),
            (Some(tso), _) => Ok(tso),
            (None, found) => found.map_err(|e| Error::Invalid(e.to_string())),
        }
    }

    async fn tables(&self, _: u64) -> Result<Vec<SnapshotTable>, ReadError> {
        let fatal = ReadError::Fatal;
        let layout = self.layout().map_err(fatal)?;
        let wanted = layout.tables.into_iter().filter(|(name, _)| self.filter.wants(name));
        let mut tables = Vec::new();
        for (name, table) in wanted {
            let def = match &table.schema {
                Some(path) => definition(&layout::create_table(path).map_err(fatal)?, &name),
                None => Err("the dump has rows of it, but no schema file: dump without --no-schemas".into()),
            };
            tables.push(SnapshotTable { name, estimated_rows: 0, def });
        }
        Ok(tables)
    }

    fn resumes(&self, _: &TableDef) -> bool {
        true
    }

    async fn read(&self, _: u64, def: &TableDef, at: &str, out: mpsc::Sender<Chunk>) -> Result<(), ReadError> {
        let place: Place = if at.is_empty() {
            Place::default()
        } else {
            let corrupt = |e: serde_json::Error| Error::corrupt("cursor of the copy", e.to_string());
            serde_json::from_str(at).map_err(|e| ReadError::Fatal(corrupt(e)))?
        };
        let table = self.layout().map_err(ReadError::Fatal)?.tables.remove(&def.name).unwrap_or_default();
        let (options, chunk_rows, def) = (self.options.clone(), self.chunk_rows, Arc::new(def.clone()));
        let reading = move || Reader { options, chunk_rows, def, out }.read(&table, &place);
        let ended = tokio::task::spawn_blocking(reading).await;
        ended.map_err(|e| ReadError::Fatal(Error::Internal(format!("reading a dump ended: {e}"))))?
    }
}

struct Reader {
    options: DumplingOptions,
    chunk_rows: usize,
    def: Arc<TableDef>,
    out: mpsc::Sender<Chunk>,
}

impl Reader {
    fn read(&self, table: &Table, from: &Place) -> Result<(), ReadError> {
        if !from.file.is_empty() && table.data.iter().all(|file| file.name != from.file) {
            let reason = format!("{} of the dump is gone, and was not read to its end", from.file);
            return Err(ReadError::Fatal(Error::Invalid(reason)));
        }
        for file in table.data.iter().filter(|file| file.name >= from.file) {
            let skip = if file.name == from.file { from.rows } else { 0 };
            if !self.file(file, skip)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// `false`: nobody wants more.
    fn file(&self, file: &DataFile, skip: u64) -> Result<bool, ReadError> {
        let place = |e: Error| ReadError::Table(e.to_string());
        let mut cut = Rows::open(file, &self.options.csv, self.options.escape).map_err(place)?;
        let (mut number, mut columns, mut zone) = (0u64, None, self.options.zone.clone());
        let mut rows: Option<TextRows> = None;
        let mut decoded: Vec<Option<Vec<u8>>> = Vec::new();
        while let Some(cells) = cut.next_row().map_err(place)? {
            number += 1;
            if number <= skip {
                continue;
            }
            let wrong = |reason: String| ReadError::Table(format!("{}, row {number}: {reason}", file.path.display()));
            if let Some(set) = cut.zone()
                && set != zone
            {
                set.clone_into(&mut zone);
            }
            if columns.as_ref().is_none_or(|(names, _): &(Option<Vec<String>>, _)| names.as_deref() != cut.columns()) {
                let places = self.places(cut.columns(), cells.len()).map_err(wrong)?;
                columns = Some((cut.columns().map(<[String]>::to_vec), places));
            }
            let Some((_, places)) = &columns else { continue };
            if places.len() != cells.len() {
                return Err(wrong(format!("{} values for {} columns", cells.len(), places.len())));
            }
            let rows = match &mut rows {
                Some(rows) => rows,
                None => rows.insert(TextRows::new(&self.def, &zone, true).map_err(ReadError::Fatal)?),
            };
            self.decode(&cells, places, file, &mut decoded).map_err(wrong)?;
            let texts = places.iter().zip(&decoded).zip(&self.def.columns).map(|((place, decoded), column)| {
                let cell = &cells.0[*place];
                let bytes = decoded.as_deref().or(cell.bytes.as_deref())?;
                Some(TextCell { bytes, raw: file.is_csv || cell.hex || column.ty.is_binary() })
            });
            rows.push(texts).map_err(|e| wrong(e.0.into()))?;
            if rows.rows() >= self.chunk_rows.max(1) || rows.bytes() >= CHUNK_BYTES {
                let at = Place { file: file.name.clone(), rows: number };
                if !self.send(rows, &at)? {
                    return Ok(false);
                }
            }
        }
        match rows.filter(|rows| rows.rows() > 0) {
            Some(mut rows) => self.send(&mut rows, &Place { file: file.name.clone(), rows: number }),
            None => Ok(true),
        }
    }

    /// For each column the place of its value in a row. Without names they stand in the table's order.
    fn places(&self, names: Option<&[String]>, values: usize) -> Result<Vec<usize>, String> {
        let columns = &self.def.columns;
        let Some(names) = names else {
            return if values == columns.len() {
                Ok((0..values).collect())
            } else {
                Err(format!("{values} values for {} columns, and no names of columns", columns.len()))
            };
        };
        if let Some(other) = names.iter().find(|name| columns.iter().all(|c| !c.name.eq_ignore_ascii_case(name))) {
            return Err(format!("the table has no column {other:?}"));
        }
        let place = |column: &ColumnDef| {
            let found = names.iter().position(|name| column.name.eq_ignore_ascii_case(name));
            found.ok_or_else(|| {
                format!(
                    "no values of column {}: Dumpling leaves generated columns out; leave the table out with --tables, or copy from TiDB itself",
                    column.name
                )
            })
        };
        columns.iter().map(place).collect()
    }

    /// Bytes that CSV spells, by column; `None`: they stand there as they are.
    fn decode(
        &self,
        cells: &Cells,
        places: &[usize],
        file: &DataFile,
        out: &mut Vec<Option<Vec<u8>>>,
    ) -> Result<(), String> {
        out.clear();
        out.resize(self.def.columns.len(), None);
        if !file.is_csv || self.options.csv_binary == CsvBinary::Raw {
            return Ok(());
        }
        for ((place, column), out) in places.iter().zip(&self.def.columns).zip(out) {
            let Some(bytes) = &cells.0[*place].bytes else { continue };
            if !column.ty.is_binary() && column.ty.kind != TypeKind::Bit {
                continue;
            }
            let decoded = match self.options.csv_binary {
                CsvBinary::Base64 => value::base64(bytes),
                _ => value::hex(bytes),
            };
            *out = Some(decoded.ok_or_else(|| format!("column {}: is not spelled as csv-binary says", column.name))?);
        }
        Ok(())
    }

    fn send(&self, rows: &mut TextRows, at: &Place) -> Result<bool, ReadError> {
        let bytes = rows.bytes();
        let at = serde_json::to_string(at).map_err(|e| ReadError::Fatal(Error::Internal(e.to_string())))?;
        let chunk = Chunk { rows: rows.finish().map_err(ReadError::Fatal)?, bytes, at };
        Ok(self.out.blocking_send(chunk).is_ok())
    }
}

/// `db.table`, each part as in files' names: some characters are `%XX`.
fn table_name(text: &str) -> Option<TableName> {
    let (database, table) = text.split_once('.')?;
    Some(TableName::new(percent_decode(database)?, percent_decode(table)?))
}
