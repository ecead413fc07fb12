//! Cells of the text protocol into Arrow columns, one kind of type after the other.
//!
//! Builders and charsets are those of the row-event decoder, and the result must be what the row-event decoder makes of the same row; a test holds both against each other for every
//! type. The expressions that the cells come from are in [`super::select`].

use std::net::{Ipv4Addr, Ipv6Addr};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{SchemaRef, i256};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::types::{arrow as arrow_types, temporal};
use tidelake_core::{ColumnDef, Error, Result, TableDef, TypeKind, UpstreamType};

use crate::mysql::rows::builder::{ColumnBuilder, FixedBytes};
use crate::mysql::rows::charset::Charset;

/// Collects rows of one table version.
pub(in crate::service) struct RowBuilder {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
    scratch: String,
}

/// Bytes that a cell counts besides its text.
const CELL_OVERHEAD: usize = 8;

impl RowBuilder {
    /// For rows of this version of a table.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a charset that is not known.
    pub fn new(def: &TableDef, flavor: ServerFlavor) -> Result<RowBuilder> {
        let table = def.name.to_string();
        let columns = def.columns.iter().map(|c| Column::new(&table, c, flavor)).collect::<Result<_>>()?;
        Ok(RowBuilder { schema: def.arrow_schema(), columns, rows: 0, bytes: 0, scratch: String::new() })
    }

    /// Rows collected since the last [`RowBuilder::finish`].
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a row: one cell a column, in order; `None` is NULL.
    ///
    /// # Errors
    /// [`Error::Corrupt`] that names the column whose cell is not of its type.
    pub fn push<'a>(&mut self, cells: impl ExactSizeIterator<Item = Option<&'a [u8]>>) -> Result<()> {
        if cells.len() != self.columns.len() {
            let reason = format!("{} cells for {} columns", cells.len(), self.columns.len());
            return Err(Error::corrupt("row of the initial copy", reason));
        }
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            self.bytes += cell.map_or(0, <[u8]>::len) + CELL_OVERHEAD;
            column.push(cell, &mut self.scratch)?;
        }
        self.rows += 1;
        Ok(())
    }

    /// The collected rows; begins anew.
    ///
    /// # Errors
    /// If a column that is NOT NULL has a NULL.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        (self.rows, self.bytes) = (0, 0);
        let arrays = self.columns.iter_mut().map(|c| c.builder.finish()).collect::<Result<Vec<ArrayRef>>>()?;
        RecordBatch::try_new(self.schema.clone(), arrays)
            .map_err(|e| Error::corrupt("rows of the initial copy", e.to_string()))
    }
}

struct Column {
    name: String,
    ty: UpstreamType,
    /// Text only: what its bytes mean.
    charset: Option<Charset>,
    builder: ColumnBuilder,
}

impl Column {
    fn new(table: &str, def: &ColumnDef, flavor: ServerFlavor) -> Result<Column> {
        let name = format!("{table}.{}", def.name);
        let charset =
            if def.ty.is_text() || def.ty.kind == TypeKind::Json {
                let charset = def.ty.charset.as_deref().unwrap_or("utf8mb4");
                let known = Charset::of_server(charset, flavor);
                Some(known.ok_or_else(|| {
                    Error::Invalid(format!("column {name} is in charset {charset}, which is not known"))
                })?)
            } else {
                None
            };
        let builder = ColumnBuilder::new(&arrow_types::data_type(&def.ty))?;
        Ok(Column { name, ty: def.ty.clone(), charset, builder })
    }

    fn push(&mut self, cell: Option<&[u8]>, scratch: &mut String) -> Result<()> {
        let Some(cell) = cell else {
            self.builder.append_null();
            return Ok(());
        };
        if let Some(charset) = &self.charset {
            let appended = charset.decode(cell, scratch).and_then(|text| self.builder.append_text(text));
            return appended.map_err(|e| e.at(format!("initial copy of {}", self.name)));
        }
        append(&mut self.builder, &self.ty, cell).ok_or_else(|| {
            let shown = String::from_utf8_lossy(&cell[..cell.len().min(40)]).into_owned();
            let reason = format!("{shown:?} is no value of type {:?}", self.ty.kind);
            Error::corrupt(format!("initial copy of {}", self.name), reason)
        })
    }
}

/// `None`: the cell is no value of the type.
fn append(builder: &mut ColumnBuilder, ty: &UpstreamType, cell: &[u8]) -> Option<()> {
    use ColumnBuilder as B;
    match builder {
        B::I8(b) => b.append_value(number(cell)?),
        B::I16(b) => b.append_value(number(cell)?),
        B::I32(b) => b.append_value(number(cell)?),
        B::I64(b) if ty.kind == TypeKind::Time => b.append_value(time_us(cell)?),
        B::I64(b) => b.append_value(number(cell)?),
        B::U8(b) => b.append_value(number(cell)?),
        B::U16(b) if ty.kind == TypeKind::Year && ty.length == 2 => b.append_value(full_year(number(cell)?)),
        B::U16(b) => b.append_value(number(cell)?),
        B::U32(b) => b.append_value(number(cell)?),
        B::U64(b) if ty.kind == TypeKind::Bit => b.append_value(bits(cell)?),
        B::U64(b) => b.append_value(number(cell)?),
        // the cell is the exact double of the stored float
        B::F32(b) => b.append_value(number::<f64>(cell)? as f32),
        B::F64(b) => b.append_value(number(cell)?),
        B::Date(b) => b.append_value(day(cell)?),
        B::Micros(b) => b.append_value(date_time_us(cell)?),
        B::Decimal128(b) => b.append_value(unscaled(ty, cell)?.parse().ok()?),
        B::Decimal256(b) => b.append_value(i256::from_string(&unscaled(ty, cell)?)?),
        B::Fixed(b) => return fixed(b, ty.kind, cell),
        B::Text(_) => return None, // has a charset
        B::Bytes(_) => return builder.append_bytes(cell, 0).ok(),
    }
    Some(())
}

fn number<N: std::str::FromStr>(cell: &[u8]) -> Option<N> {
    std::str::from_utf8(cell).ok()?.parse().ok()
}

/// YEAR(2) holds 1970 to 2069 and never shows the century.
fn full_year(short: u16) -> u16 {
    if short < 70 { 2000 + short } else { 1900 + short }
}

fn bits(cell: &[u8]) -> Option<u64> {
    (cell.len() <= 8).then(|| cell.iter().fold(0, |bits, byte| (bits << 8) | u64::from(*byte)))
}

/// `2024-02-31` as a day number.
fn day(cell: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(cell).ok()?;
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let valid = parts.next().is_none() && year <= 9999 && month <= 12 && day <= 31;
    valid.then(|| temporal::day_number(year, month, day))
}

/// `2024-02-31 23:59:59.000001` in microseconds.
fn date_time_us(cell: &[u8]) -> Option<i64> {
    let space = cell.iter().position(|b| *b == b' ')?;
    Some(temporal::join_micros(day(&cell[..space])?, time_us(&cell[space + 1..])?))
}

/// `-838:59:59.000001` in microseconds.
fn time_us(cell: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(cell).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':').map(|p| p.parse::<i64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || fraction.len() > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    let us = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction;
    Some(if negative { -us } else { us })
}

/// The digits of a decimal without its point.
fn unscaled(ty: &UpstreamType, cell: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(cell).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    (fraction.len() == usize::from(ty.scale.unwrap_or(0))).then(|| format!("{whole}{fraction}"))
}

fn fixed(b: &mut FixedBytes, kind: TypeKind, cell: &[u8]) -> Option<()> {
    let text = std::str::from_utf8(cell).ok()?;
    match kind {
        TypeKind::Inet4 => b.append_value(&text.parse::<Ipv4Addr>().ok()?.octets()).ok(),
        TypeKind::Inet6 => b.append_value(&text.parse::<Ipv6Addr>().ok()?.octets()).ok(),
        _ => b.append_value(&uuid(text)?).ok(),
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let mut out = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?);
        *byte = (high * 16 + low) as u8;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_dates() {
        assert_eq!(time_us(b"-838:59:59.000001"), Some(-temporal::TIME_MAX_US + 999_998));
        assert_eq!(time_us(b"-00:00:00.5"), Some(-500_000));
        assert_eq!(time_us(b"00:00:01"), Some(1_000_000));
        assert_eq!(time_us(b"00:00"), None);
        assert_eq!(date_time_us(b"0000-00-00 00:00:00"), Some(temporal::zero_micros()));
        assert_eq!(date_time_us(b"1970-01-02 00:00:00.25"), Some(temporal::DAY_US + 250_000));
        assert_eq!(day(b"2024-13-01"), None);
    }

    #[test]
    fn decimals_keep_their_digits() {
        let ty = UpstreamType::decimal(10, 2);
        assert_eq!(unscaled(&ty, b"-0.05").as_deref(), Some("-005"));
        assert_eq!(unscaled(&ty, b"-0.5"), None);
        assert_eq!("-005".parse::<i128>(), Ok(-5));
        assert_eq!(i256::from_string("-005"), Some(i256::from(-5)));
    }

    #[test]
    fn a_cell_of_another_type_is_an_error_that_names_the_column() {
        let columns = vec![ColumnDef::new(1, "id", UpstreamType::new(TypeKind::Int))];
        let def = TableDef::new(tidelake_core::TableName::new("d", "t"), columns, &["id"]);
        let mut rows = RowBuilder::new(&def, ServerFlavor::MySql).unwrap();
        let error = rows.push([Some(&b"x"[..])].into_iter()).unwrap_err().to_string();
        assert!(error.contains("d.t.id"), "{error}");
    }
}
