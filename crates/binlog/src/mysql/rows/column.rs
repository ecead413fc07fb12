//! One column of a rows event: its wire form and its declared type together tell how a value becomes an Arrow value.

use arrow::datatypes::DataType;
use tidelake_core::types::arrow::data_type;
use tidelake_core::{ColumnDef, TypeKind};

use super::builder::{ColumnBuilder, OTHER_BUILDER};
use super::charset::Charset;
use super::{decimal, json, temporal};
use crate::mysql::reader::{Malformed, Parsed, Reader};
use crate::mysql::table_map::WireType;
use crate::mysql::{collation, compressed};

/// How to decode one column. Built once per table version and table map.
#[derive(Clone, Debug)]
pub struct ColumnPlan {
    code: Code,
    nullable: bool,
}

#[derive(Clone, Debug)]
enum Code {
    I8,
    U8,
    I16,
    U16,
    I24,
    U24,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
    Year,
    Decimal {
        precision: u8,
        scale: u8,
        wide: bool,
    },
    /// BIT: big-endian. ENUM and SET: little-endian.
    BigEndian {
        bytes: usize,
    },
    EnumIndex {
        bytes: usize,
    },
    SetMask {
        bytes: usize,
    },
    Date,
    Micros(fn(&mut Reader<'_>, u8) -> Parsed<i64>, u8),
    Time(fn(&mut Reader<'_>, u8) -> Parsed<i64>, u8),
    Text {
        len: usize,
        charset: Charset,
        compressed: bool,
    },
    Bytes {
        len: usize,
        pad: usize,
        compressed: bool,
    },
    JsonBinary {
        len: usize,
    },
}

impl ColumnPlan {
    /// Matches the wire form against the declared type.
    ///
    /// # Errors
    /// Why they do not belong together: the catalog does not have the table as the upstream had it.
    pub fn new(
        wire: WireType,
        unsigned: Option<bool>,
        collation: Option<u16>,
        column: &ColumnDef,
    ) -> Result<ColumnPlan, String> {
        let ty = &column.ty;
        let misfit = || format!("column {} is {:?} in the replica but {wire:?} in the bin log", column.name, ty.kind);
        if unsigned.is_some_and(|u| u != is_unsigned(column)) {
            let (name, is) = (&column.name, if ty.unsigned { "UNSIGNED" } else { "signed" });
            return Err(format!("column {name} is {is} in the replica but not so in the bin log"));
        }
        let code = number(wire, column).or_else(|| time(wire, column));
        let code = match code {
            Some(code) => code,
            None => string(wire, collation, column)?.ok_or_else(misfit)?,
        };
        Ok(ColumnPlan { code, nullable: column.nullable })
    }

    /// True if the column may hold NULL.
    #[must_use]
    pub fn nullable(&self) -> bool {
        self.nullable
    }

    /// Reads one value and appends it.
    ///
    /// # Errors
    /// If the bytes are no value of the type.
    #[inline]
    pub fn append(&self, r: &mut Reader<'_>, out: &mut ColumnBuilder, scratch: &mut String) -> Parsed<()> {
        use ColumnBuilder as B;
        match (&self.code, out) {
            (Code::I8, B::I8(b)) => b.append_value(r.u8()? as i8),
            (Code::U8, B::U8(b)) => b.append_value(r.u8()?),
            (Code::I16, B::I16(b)) => b.append_value(r.u16()? as i16),
            (Code::U16, B::U16(b)) => b.append_value(r.u16()?),
            (Code::I24, B::I32(b)) => b.append_value((r.u24()? << 8) as i32 >> 8),
            (Code::U24, B::U32(b)) => b.append_value(r.u24()?),
            (Code::I32, B::I32(b)) => b.append_value(r.u32()? as i32),
            (Code::U32, B::U32(b)) => b.append_value(r.u32()?),
            (Code::I64, B::I64(b)) => b.append_value(r.u64()? as i64),
            (Code::U64, B::U64(b)) => b.append_value(r.u64()?),
            (Code::F32, B::F32(b)) => b.append_value(f32::from_bits(r.u32()?)),
            (Code::F64, B::F64(b)) => b.append_value(f64::from_bits(r.u64()?)),
            (Code::Year, B::U16(b)) => b.append_value(match r.u8()? {
                0 => 0,
                years => 1900 + u16::from(years),
            }),
            (Code::Decimal { precision, scale, wide: false }, B::Decimal128(b)) => {
                b.append_value(decimal::narrow(r, *precision, *scale)?);
            }
            (Code::Decimal { precision, scale, wide: true }, B::Decimal256(b)) => {
                b.append_value(decimal::wide(r, *precision, *scale)?);
            }
            (Code::BigEndian { bytes }, B::U64(b)) => b.append_value(r.be(*bytes)?),
            (Code::SetMask { bytes }, B::U64(b)) => b.append_value(r.le(*bytes)?),
            (Code::EnumIndex { bytes }, B::U16(b)) => b.append_value(r.le(*bytes)? as u16),
            (Code::Date, B::Date(b)) => b.append_value(temporal::date(r)?),
            (Code::Micros(read, fsp), B::Micros(b)) => b.append_value(read(r, *fsp)?),
            (Code::Time(read, fsp), B::I64(b)) => b.append_value(read(r, *fsp)?),
            (Code::Text { len, charset, compressed: false }, out) => {
                let bytes = sized(r, *len)?;
                out.append_text(charset.decode(bytes, scratch)?)?;
            }
            (Code::Text { len, charset, compressed: true }, out) => {
                let bytes = compressed::column_value(sized(r, *len)?)?;
                out.append_text(charset.decode(&bytes, scratch)?)?;
            }
            (Code::Bytes { len, pad, compressed: false }, out) => out.append_bytes(sized(r, *len)?, *pad)?,
            (Code::Bytes { len, pad, compressed: true }, out) => {
                out.append_bytes(&compressed::column_value(sized(r, *len)?)?, *pad)?;
            }
            (Code::JsonBinary { len }, out) => {
                scratch.clear();
                json::write_text(sized(r, *len)?, scratch)?;
                out.append_text(scratch)?;
            }
            _ => return Err(OTHER_BUILDER),
        }
        Ok(())
    }
}

#[inline]
fn sized<'a>(r: &mut Reader<'a>, len: usize) -> Parsed<&'a [u8]> {
    let n = r.le(len)?;
    r.bytes(usize::try_from(n).unwrap_or(usize::MAX))
}

/// The servers call YEAR unsigned.
fn is_unsigned(column: &ColumnDef) -> bool {
    column.ty.unsigned || column.ty.zerofill || column.ty.kind == TypeKind::Year
}

fn number(wire: WireType, column: &ColumnDef) -> Option<Code> {
    use TypeKind as K;
    use WireType as W;
    let ty = &column.ty;
    // the stored type decides, so that the builder always fits
    let unsigned = matches!(data_type(ty), DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64);
    Some(match (wire, ty.kind, unsigned) {
        (W::Tiny, K::TinyInt, false) => Code::I8,
        (W::Tiny, K::TinyInt, true) => Code::U8,
        (W::Short, K::SmallInt, false) => Code::I16,
        (W::Short, K::SmallInt, true) => Code::U16,
        (W::Int24, K::MediumInt, false) => Code::I24,
        (W::Int24, K::MediumInt, true) => Code::U24,
        (W::Long, K::Int, false) => Code::I32,
        (W::Long, K::Int, true) => Code::U32,
        (W::LongLong, K::BigInt, false) => Code::I64,
        (W::LongLong, K::BigInt, true) => Code::U64,
        (W::Float, K::Float, _) => Code::F32,
        (W::Double, K::Double, _) => Code::F64,
        (W::Year, K::Year, _) => Code::Year,
        (W::NewDecimal { precision, scale }, K::Decimal, _)
            if precision == ty.precision && scale == ty.scale.unwrap_or(0) =>
        {
            Code::Decimal { precision, scale, wide: matches!(data_type(ty), DataType::Decimal256(..)) }
        }
        (W::Bit { bits }, K::Bit, _) if u32::from(bits) == ty.length.max(1) && bits <= 64 => {
            Code::BigEndian { bytes: usize::from(bits).div_ceil(8) }
        }
        (W::Enum { bytes }, K::Enum, _) => Code::EnumIndex { bytes: usize::from(bytes) },
        (W::Set { bytes }, K::Set, _) => Code::SetMask { bytes: usize::from(bytes) },
        _ => return None,
    })
}

fn time(wire: WireType, column: &ColumnDef) -> Option<Code> {
    use TypeKind as K;
    use WireType as W;
    let declared = column.ty.fsp;
    Some(match (wire, column.ty.kind) {
        (W::Date, K::Date) => Code::Date,
        (W::DateTime2 { fsp }, K::DateTime) if fsp == declared => Code::Micros(temporal::datetime2, fsp),
        (W::Timestamp2 { fsp }, K::Timestamp) if fsp == declared => Code::Micros(temporal::timestamp2, fsp),
        (W::Time2 { fsp }, K::Time) if fsp == declared => Code::Time(temporal::time2, fsp),
        (W::DateTimeOld, K::DateTime) => Code::Micros(temporal::datetime_old, declared),
        (W::TimestampOld, K::Timestamp) => Code::Micros(temporal::timestamp_old, declared),
        (W::TimeOld, K::Time) => Code::Time(temporal::time_old, declared),
        _ => return None,
    })
}

/// `Ok(None)`: the types do not belong together.
fn string(wire: WireType, collation: Option<u16>, column: &ColumnDef) -> Result<Option<Code>, String> {
    use TypeKind as K;
    use WireType as W;
    let ty = &column.ty;
    let (len, compressed) = match wire {
        W::Char { max } => (if max > 255 { 2 } else { 1 }, false),
        W::VarChar { max, compressed } => (if max > 255 { 2 } else { 1 }, compressed),
        W::Blob { len, compressed } => (usize::from(len), compressed),
        W::Json { len } | W::Geometry { len } | W::Vector { len } => (usize::from(len), false),
        _ => return Ok(None),
    };
    let fits = match (wire, ty.kind) {
        (W::Char { max }, K::Uuid | K::Inet6) => max == 16,
        (W::Char { max }, K::Inet4) => max == 4,
        (W::Char { max }, K::Binary) => u32::from(max) == ty.length,
        (W::Char { .. }, K::Char) | (W::VarChar { .. }, K::VarChar | K::VarBinary) => true,
        // before 5.0 there was no VARCHAR of its own; MariaDB's VECTOR is a VARBINARY on the wire
        (W::Char { .. }, K::VarChar | K::VarBinary) | (W::VarChar { .. }, K::Vector | K::Char | K::Binary) => true,
        (W::Blob { len, .. }, K::TinyText | K::TinyBlob) => len == 1,
        (W::Blob { len, .. }, K::Text | K::Blob) => len == 2,
        (W::Blob { len, .. }, K::MediumText | K::MediumBlob) => len == 3,
        (W::Blob { len, .. }, K::LongText | K::LongBlob | K::Json) => len == 4,
        (W::Blob { .. }, K::Geometry | K::Vector) | (W::Geometry { .. }, K::Geometry) => true,
        (W::Json { .. }, K::Json) => return Ok(Some(Code::JsonBinary { len })),
        (W::Vector { .. }, K::Vector) => true,
        _ => false,
    };
    if !fits {
        return Ok(None);
    }
    // a database's default charset is not in the stream: where the bin log names the column's charset, it decides
    let logged = collation.and_then(collation::charset);
    let text = ty.is_text() || ty.kind == K::Json;
    if logged.is_some_and(|charset| text == (charset == "binary")) {
        return Ok(None);
    }
    if text {
        let name = logged.or(ty.charset.as_deref()).unwrap_or("utf8mb4");
        let charset = Charset::named(name)
            .ok_or_else(|| format!("column {} is in charset {name}, which is not known", column.name))?;
        return Ok(Some(Code::Text { len, charset, compressed }));
    }
    let pad = match ty.kind {
        K::Binary => ty.length as usize,
        K::Uuid | K::Inet6 => 16,
        K::Inet4 => 4,
        _ => 0,
    };
    Ok(Some(Code::Bytes { len, pad, compressed }))
}

/// The reason for a NULL in a column that cannot hold one.
pub(super) fn null_refused(column: &ColumnDef) -> Malformed {
    Malformed::new(format!("NULL in column {}, which is NOT NULL in the replica", column.name))
}
