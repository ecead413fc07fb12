//! One column of a rows event: its wire form and its declared type together tell how values become Arrow values. A block
//! ([`super::block`]) of them is decoded at once.

use std::borrow::Cow;

use arrow::datatypes::DataType;
use tidelake_core::types::arrow::data_type;
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{ColumnDef, TypeKind};

use super::block::{Span, Values};
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
    DateTime2(u8),
    Timestamp2(u8),
    Time2(u8),
    DateTimeOld(u8),
    TimestampOld(u8),
    TimeOld(u8),
    Text {
        len: u8,
        charset: Charset,
        compressed: bool,
    },
    Bytes {
        len: u8,
        pad: usize,
        compressed: bool,
    },
    JsonBinary {
        len: u8,
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
        flavor: ServerFlavor,
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
            None => string(wire, collation, column, flavor)?.ok_or_else(misfit)?,
        };
        Ok(ColumnPlan { code, nullable: column.nullable })
    }

    /// True if the column may hold NULL.
    #[must_use]
    pub fn nullable(&self) -> bool {
        self.nullable
    }

    /// How many bytes a value takes.
    pub(super) fn span(&self) -> Span {
        Span::Fixed(match self.code {
            Code::I8 | Code::U8 | Code::Year => 1,
            Code::I16 | Code::U16 => 2,
            Code::I24 | Code::U24 | Code::Date => 3,
            Code::I32 | Code::U32 | Code::F32 => 4,
            Code::I64 | Code::U64 | Code::F64 => 8,
            Code::Decimal { precision, scale, .. } => decimal::size(precision, scale) as u32,
            Code::BigEndian { bytes } | Code::EnumIndex { bytes } | Code::SetMask { bytes } => bytes as u32,
            Code::DateTime2(fsp) => 5 + temporal::fraction_bytes(fsp),
            Code::Timestamp2(fsp) => 4 + temporal::fraction_bytes(fsp),
            Code::Time2(fsp) => 3 + temporal::fraction_bytes(fsp),
            Code::DateTimeOld(fsp) => temporal::datetime_old_bytes(fsp),
            Code::TimestampOld(fsp) => temporal::timestamp_old_bytes(fsp),
            Code::TimeOld(fsp) => temporal::time_old_bytes(fsp),
            Code::Text { len, .. } | Code::Bytes { len, .. } | Code::JsonBinary { len } => return Span::Sized(len),
        })
    }

    /// Reads a block's values and appends them.
    ///
    /// # Errors
    /// If the bytes are no values of the type; some of the block's values are appended then.
    pub(super) fn append(&self, values: Values<'_>, out: &mut ColumnBuilder, scratch: &mut String) -> Parsed<()> {
        use ColumnBuilder as B;
        match (&self.code, out) {
            (Code::I8, B::I8(b)) => b.extend(values, i8::from_le_bytes),
            (Code::U8, B::U8(b)) => b.extend(values, u8::from_le_bytes),
            (Code::I16, B::I16(b)) => b.extend(values, i16::from_le_bytes),
            (Code::U16, B::U16(b)) => b.extend(values, u16::from_le_bytes),
            (Code::I24, B::I32(b)) => b.extend(values, |[x, y, z]| i32::from_le_bytes([0, x, y, z]) >> 8),
            (Code::U24, B::U32(b)) => b.extend(values, |[x, y, z]| u32::from_le_bytes([x, y, z, 0])),
            (Code::I32, B::I32(b)) => b.extend(values, i32::from_le_bytes),
            (Code::U32, B::U32(b)) => b.extend(values, u32::from_le_bytes),
            (Code::I64, B::I64(b)) => b.extend(values, i64::from_le_bytes),
            (Code::U64, B::U64(b)) => b.extend(values, u64::from_le_bytes),
            (Code::F32, B::F32(b)) => b.extend(values, f32::from_le_bytes),
            (Code::F64, B::F64(b)) => b.extend(values, f64::from_le_bytes),
            (Code::Year, B::U16(b)) => b.extend(values, |[years]| if years == 0 { 0 } else { 1900 + u16::from(years) }),
            (Code::Decimal { precision, scale, wide: false }, B::Decimal128(b)) => {
                let form = decimal::Form::new(*precision, *scale);
                b.try_extend(values, |r| decimal::narrow(r, form))
            }
            (Code::Decimal { precision, scale, wide: true }, B::Decimal256(b)) => {
                let form = decimal::Form::new(*precision, *scale);
                b.try_extend(values, |r| decimal::wide(r, form))
            }
            (Code::BigEndian { bytes }, B::U64(b)) => b.try_extend(values, |r| r.be(*bytes)),
            (Code::SetMask { bytes }, B::U64(b)) => b.try_extend(values, |r| r.le(*bytes)),
            (Code::EnumIndex { bytes: 1 }, B::U16(b)) => b.extend(values, |[index]| u16::from(index)),
            (Code::EnumIndex { .. }, B::U16(b)) => b.extend(values, u16::from_le_bytes),
            (Code::Date, B::Date(b)) => b.try_extend(values, temporal::date),
            (Code::DateTime2(0), B::Micros(b)) => b.try_extend(values, |r| temporal::datetime2(r, 0)),
            (Code::DateTime2(fsp), B::Micros(b)) => b.try_extend(values, |r| temporal::datetime2(r, *fsp)),
            (Code::Timestamp2(0), B::Micros(b)) => b.try_extend(values, |r| temporal::timestamp2(r, 0)),
            (Code::Timestamp2(fsp), B::Micros(b)) => b.try_extend(values, |r| temporal::timestamp2(r, *fsp)),
            (Code::Time2(fsp), B::I64(b)) => b.try_extend(values, |r| temporal::time2(r, *fsp)),
            (Code::DateTimeOld(fsp), B::Micros(b)) => b.try_extend(values, |r| temporal::datetime_old(r, *fsp)),
            (Code::TimestampOld(fsp), B::Micros(b)) => b.try_extend(values, |r| temporal::timestamp_old(r, *fsp)),
            (Code::TimeOld(fsp), B::I64(b)) => b.try_extend(values, |r| temporal::time_old(r, *fsp)),
            (Code::Text { len: 1, charset: Charset::Utf8, compressed: false }, B::Text(b)) => {
                b.extend_utf8(values, |r| sized(r, 1))
            }
            (Code::Text { len, charset: Charset::Utf8, compressed: false }, B::Text(b)) => {
                b.extend_utf8(values, |r| sized(r, *len))
            }
            (Code::Bytes { len, pad, compressed: false }, B::Bytes(b)) => b.extend(values, *pad, |r| sized(r, *len)),
            (_, out) => self.append_one_by_one(values, out, scratch),
        }
    }

    /// Values that must be converted.
    fn append_one_by_one(&self, values: Values<'_>, out: &mut ColumnBuilder, scratch: &mut String) -> Parsed<()> {
        for at in values.places() {
            let Some(at) = at else {
                out.append_null();
                continue;
            };
            let mut r = values.reader(at);
            match &self.code {
                Code::Text { len, charset, compressed } => {
                    let bytes = plain(sized(&mut r, *len)?, *compressed)?;
                    out.append_text(charset.decode(&bytes, scratch)?)?;
                }
                Code::Bytes { len, pad, compressed } => {
                    out.append_bytes(&plain(sized(&mut r, *len)?, *compressed)?, *pad)?;
                }
                Code::JsonBinary { len } => {
                    scratch.clear();
                    json::write_text(sized(&mut r, *len)?, scratch)?;
                    out.append_text(scratch)?;
                }
                _ => return Err(OTHER_BUILDER),
            }
        }
        Ok(())
    }
}

/// The value of a COMPRESSED column.
fn plain(bytes: &[u8], is_compressed: bool) -> Parsed<Cow<'_, [u8]>> {
    if is_compressed { compressed::column_value(bytes) } else { Ok(Cow::Borrowed(bytes)) }
}

#[inline]
fn sized<'a>(r: &mut Reader<'a>, len: u8) -> Parsed<&'a [u8]> {
    let n = r.le(usize::from(len))?;
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
        (W::DateTime2 { fsp }, K::DateTime) if fsp == declared => Code::DateTime2(fsp),
        (W::Timestamp2 { fsp }, K::Timestamp) if fsp == declared => Code::Timestamp2(fsp),
        (W::Time2 { fsp }, K::Time) if fsp == declared => Code::Time2(fsp),
        (W::DateTimeOld, K::DateTime) => Code::DateTimeOld(declared),
        (W::TimestampOld, K::Timestamp) => Code::TimestampOld(declared),
        (W::TimeOld, K::Time) => Code::TimeOld(declared),
        _ => return None,
    })
}

/// `Ok(None)`: the types do not belong together.
fn string(
    wire: WireType,
    collation: Option<u16>,
    column: &ColumnDef,
    flavor: ServerFlavor,
) -> Result<Option<Code>, String> {
    use TypeKind as K;
    use WireType as W;
    let ty = &column.ty;
    let (len, compressed) = match wire {
        W::Char { max } => (if max > 255 { 2 } else { 1 }, false),
        W::VarChar { max, compressed } => (if max > 255 { 2 } else { 1 }, compressed),
        W::Blob { len, compressed } => (len, compressed),
        W::Json { len } | W::Geometry { len } | W::Vector { len } => (len, false),
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
        let charset = Charset::of_server(name, flavor)
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
