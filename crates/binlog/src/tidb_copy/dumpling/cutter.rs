//! A data file, cut into rows. Memory is bounded by the largest row.

use std::io::Read;

use tidelake_core::{Error, Result};

use super::csv::CsvDialect;
use super::layout::{DataFile, unpacked};
use super::sql::Inserts;

/// Largest row.
const MAX_ROW: usize = 1 << 30;
/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// A value of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpedCell {
    /// `None`: NULL.
    pub bytes: Option<Vec<u8>>,
    /// It was spelled in hexadecimal digits: these are the bytes of the value.
    pub hex: bool,
}

/// The values of a row, as they stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cells(pub Vec<DumpedCell>);

impl Cells {
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// What was found at the front of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut {
    /// A row, and the bytes it took.
    Row(Cells, usize),
    /// So many bytes without a row.
    Skip(usize),
    /// Nothing whole.
    Torn,
}

enum Format {
    Sql(Inserts),
    Csv { dialect: CsvDialect, escape: bool, header: Option<Vec<String>>, begun: bool },
}

/// Rows of a file.
pub struct Rows {
    from: Box<dyn Read + Send>,
    place: String,
    bytes: Vec<u8>,
    start: usize,
    offset: u64,
    ended: bool,
    format: Format,
}

impl Rows {
    /// Opens a file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(file: &DataFile, csv: &CsvDialect, escape: bool) -> Result<Rows> {
        let format = if file.is_csv {
            Format::Csv { dialect: csv.clone(), escape, header: None, begun: false }
        } else {
            Format::Sql(Inserts::new(escape))
        };
        Ok(Rows {
            from: unpacked(&file.path, file.packing)?,
            place: file.path.display().to_string(),
            bytes: Vec::new(),
            start: 0,
            offset: 0,
            ended: false,
            format,
        })
    }

    /// The names of the columns that the last row's values are of; `None`: those of the table, in order.
    pub fn columns(&self) -> Option<&[String]> {
        match &self.format {
            Format::Sql(inserts) => inserts.columns(),
            Format::Csv { header, .. } => header.as_deref(),
        }
    }

    /// The zone that the file sets.
    pub fn zone(&self) -> Option<&str> {
        match &self.format {
            Format::Sql(inserts) => inserts.zone(),
            Format::Csv { .. } => None,
        }
    }

    /// The next row.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with file and offset.
    pub fn next_row(&mut self) -> Result<Option<Cells>> {
        loop {
            let rest = &self.bytes[self.start..];
            let cut = match &mut self.format {
                Format::Sql(inserts) => inserts.cut(rest, self.ended),
                Format::Csv { dialect, escape, header, begun } => {
                    let cut = dialect.cut(rest, *escape, self.ended);
                    match cut {
                        Ok(Cut::Row(cells, taken)) if dialect.header && !*begun => {
                            *begun = true;
                            let name = |cell: DumpedCell| String::from_utf8(cell.bytes.unwrap_or_default()).ok();
                            *header = cells.0.into_iter().map(name).collect();
                            match header {
                                Some(_) => Ok(Cut::Skip(taken)),
                                None => Err("a header that is not UTF-8".into()),
                            }
                        }
                        cut => cut,
                    }
                }
            };
            let at = self.offset + self.start as u64;
            let corrupt = |reason: String| Error::corrupt(format!("{} at offset {at}", self.place), reason);
            match cut.map_err(corrupt)? {
                Cut::Row(cells, taken) => {
                    self.start += taken;
                    return Ok(Some(cells));
                }
                Cut::Skip(taken) => self.start += taken,
                Cut::Torn if self.ended => {
                    let rest = &self.bytes[self.start..];
                    if rest.iter().all(u8::is_ascii_whitespace) {
                        return Ok(None);
                    }
                    return Err(corrupt("the file ends inside a row: it is not whole".into()));
                }
                Cut::Torn => self.fill()?,
            }
        }
    }

    fn fill(&mut self) -> Result<()> {
        self.offset += self.start as u64;
        self.bytes.drain(..self.start);
        self.start = 0;
        let have = self.bytes.len();
        if have > MAX_ROW {
            return Err(Error::Limit(format!("{} at offset {}: a row of over 1 GiB", self.place, self.offset)));
        }
        let wanted = CHUNK.max(have) as u64;
        let io = |e| Error::io(format!("read {}", self.place), e);
        let read = self.from.by_ref().take(wanted).read_to_end(&mut self.bytes).map_err(io)?;
        self.ended = (read as u64) < wanted;
        Ok(())
    }
}
