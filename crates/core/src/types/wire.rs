//! What the MySQL protocol's column definition says of a type: type code, flags, charset, length, decimals.
//!
//! Numbers as MariaDB 10.11 sends them to a client that speaks utf8mb4 (the tests hold its output); MySQL differs in
//! the collation's number and in JSON.

use arrow::datatypes::{DataType, Field};

use super::arrow::{holds_stored_form, upstream_type};
use super::text::ServerFlavor;
use super::{TypeKind, UpstreamType};
use crate::error::{Error, Result};

/// Type codes of the protocol.
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub mod code {
    pub const TINY: u8 = 1;
    pub const SHORT: u8 = 2;
    pub const LONG: u8 = 3;
    pub const FLOAT: u8 = 4;
    pub const DOUBLE: u8 = 5;
    pub const NULL: u8 = 6;
    pub const TIMESTAMP: u8 = 7;
    pub const LONGLONG: u8 = 8;
    pub const INT24: u8 = 9;
    pub const DATE: u8 = 10;
    pub const TIME: u8 = 11;
    pub const DATETIME: u8 = 12;
    pub const YEAR: u8 = 13;
    pub const VARCHAR: u8 = 15;
    pub const BIT: u8 = 16;
    pub const JSON: u8 = 245;
    pub const NEWDECIMAL: u8 = 246;
    pub const ENUM: u8 = 247;
    pub const SET: u8 = 248;
    pub const TINY_BLOB: u8 = 249;
    pub const MEDIUM_BLOB: u8 = 250;
    pub const LONG_BLOB: u8 = 251;
    pub const BLOB: u8 = 252;
    pub const VAR_STRING: u8 = 253;
    pub const STRING: u8 = 254;
    pub const GEOMETRY: u8 = 255;
}

/// Column flags of the protocol.
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub mod flag {
    pub const NOT_NULL: u16 = 1;
    pub const BLOB: u16 = 16;
    pub const UNSIGNED: u16 = 32;
    pub const ZEROFILL: u16 = 64;
    pub const BINARY: u16 = 128;
    pub const ENUM: u16 = 256;
    pub const SET: u16 = 2048;
}

/// Collation number of `binary`: numbers, dates and bytes.
pub const BINARY_COLLATION: u16 = 63;
/// Collation number of `utf8mb4_general_ci`, what MariaDB sends for text.
pub const UTF8MB4_GENERAL_CI: u16 = 45;
/// Collation number of `utf8mb4_0900_ai_ci`, what MySQL 8 sends for text.
pub const UTF8MB4_0900_AI_CI: u16 = 255;

/// `decimals` of floats without declared scale.
const NOT_FIXED: u8 = 31;
/// Bytes of a character in utf8mb4.
const CHAR_BYTES: u32 = 4;

/// The protocol's description of a result column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireType {
    /// One of [`code`].
    pub code: u8,
    /// Some of [`flag`].
    pub flags: u16,
    /// Collation number.
    pub collation: u16,
    /// Longest text in bytes.
    pub length: u32,
    /// Digits after the point, or of fractional seconds; 31: not fixed.
    pub decimals: u8,
}

impl WireType {
    /// Of a result column: by its upstream type if its field carries one that still holds, else by its Arrow type.
    ///
    /// # Errors
    /// As [`WireType::of_computed`].
    pub fn of_field(field: &Field, flavor: ServerFlavor) -> Result<WireType> {
        match upstream_type(field).filter(|ty| holds_stored_form(ty, field.data_type())) {
            Some(ty) => Ok(WireType::of_upstream(&ty, field.is_nullable(), flavor)),
            None => WireType::of_computed(field.data_type(), field.is_nullable(), flavor),
        }
    }

    /// Of a plain column.
    #[must_use]
    pub fn of_upstream(ty: &UpstreamType, nullable: bool, flavor: ServerFlavor) -> WireType {
        let mut wire = upstream(ty, flavor);
        if !nullable {
            wire.flags |= flag::NOT_NULL;
        }
        wire
    }

    /// Of a computed column.
    ///
    /// # Errors
    /// [`Error::Invalid`] for Arrow types MySQL has no type for.
    pub fn of_computed(data_type: &DataType, nullable: bool, flavor: ServerFlavor) -> Result<WireType> {
        let mut wire = computed(data_type, flavor)?;
        if !nullable {
            wire.flags |= flag::NOT_NULL;
        }
        Ok(wire)
    }

    /// True if the values are unsigned numbers.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        self.flags & flag::UNSIGNED != 0
    }

    fn number(code: u8, length: u32) -> WireType {
        WireType { code, flags: 0, collation: BINARY_COLLATION, length, decimals: 0 }
    }

    fn text(code: u8, length: u32, flavor: ServerFlavor) -> WireType {
        let collation = match flavor {
            ServerFlavor::MySql => UTF8MB4_0900_AI_CI,
            ServerFlavor::MariaDb | ServerFlavor::TiDb => UTF8MB4_GENERAL_CI,
        };
        WireType { code, flags: 0, collation, length, decimals: 0 }
    }

    fn bytes(code: u8, length: u32) -> WireType {
        WireType::number(code, length).with(flag::BINARY)
    }

    fn with(mut self, flags: u16) -> WireType {
        self.flags |= flags;
        self
    }

    fn decimals(mut self, decimals: u8) -> WireType {
        self.decimals = decimals;
        self
    }

    /// The length of a moment whose form without fraction is `self.length` long.
    fn fraction(mut self, fsp: u8) -> WireType {
        let fsp = fsp.min(6);
        self.length += if fsp > 0 { u32::from(fsp) + 1 } else { 0 };
        self.decimals(fsp)
    }
}

fn upstream(ty: &UpstreamType, flavor: ServerFlavor) -> WireType {
    use TypeKind as K;
    let mut wire = match ty.kind {
        K::TinyInt => integer(ty, code::TINY, 4, 3),
        K::SmallInt => integer(ty, code::SHORT, 6, 5),
        K::MediumInt => integer(ty, code::INT24, 9, 8),
        K::Int => integer(ty, code::LONG, 11, 10),
        K::BigInt => integer(ty, code::LONGLONG, 20, 20),
        K::Decimal => decimal(ty.precision, ty.scale.unwrap_or(0), !ty.unsigned),
        K::Float => float(ty, code::FLOAT, 12),
        K::Double => float(ty, code::DOUBLE, 22),
        K::Bit => WireType::number(code::BIT, ty.length.max(1)).with(flag::UNSIGNED),
        K::Year => {
            WireType::number(code::YEAR, if ty.length == 2 { 2 } else { 4 }).with(flag::UNSIGNED | flag::ZEROFILL)
        }
        K::Date => WireType::bytes(code::DATE, 10),
        K::DateTime => WireType::bytes(code::DATETIME, 19).fraction(ty.fsp),
        K::Timestamp => WireType::bytes(code::TIMESTAMP, 19).with(flag::UNSIGNED).fraction(ty.fsp),
        K::Time => WireType::bytes(code::TIME, 10).fraction(ty.fsp),
        K::Char => WireType::text(code::STRING, ty.length.saturating_mul(CHAR_BYTES), flavor),
        K::VarChar => WireType::text(code::VAR_STRING, ty.length.saturating_mul(CHAR_BYTES), flavor),
        K::TinyText => WireType::text(code::BLOB, 255 * CHAR_BYTES, flavor).with(flag::BLOB),
        K::Text => WireType::text(code::BLOB, 65_535 * CHAR_BYTES, flavor).with(flag::BLOB),
        K::MediumText => WireType::text(code::BLOB, 16_777_215 * CHAR_BYTES, flavor).with(flag::BLOB),
        K::LongText => WireType::text(code::BLOB, u32::MAX, flavor).with(flag::BLOB),
        K::Binary => WireType::bytes(code::STRING, ty.length),
        K::VarBinary => WireType::bytes(code::VAR_STRING, ty.length),
        K::TinyBlob => WireType::bytes(code::BLOB, 255).with(flag::BLOB),
        K::Blob => WireType::bytes(code::BLOB, 65_535).with(flag::BLOB),
        K::MediumBlob => WireType::bytes(code::BLOB, 16_777_215).with(flag::BLOB),
        K::LongBlob | K::Vector => WireType::bytes(code::BLOB, u32::MAX).with(flag::BLOB),
        K::Geometry => WireType::bytes(code::GEOMETRY, u32::MAX).with(flag::BLOB),
        K::Enum => WireType::text(code::STRING, longest_label(ty), flavor).with(flag::ENUM),
        K::Set => WireType::text(code::STRING, all_labels(ty), flavor).with(flag::SET),
        K::Json if flavor == ServerFlavor::MariaDb => {
            WireType::text(code::BLOB, u32::MAX, flavor).with(flag::BLOB | flag::BINARY)
        }
        K::Json => WireType::bytes(code::JSON, u32::MAX).with(flag::BLOB),
        K::Uuid => WireType::text(code::STRING, 36 * CHAR_BYTES, flavor).with(flag::UNSIGNED | flag::BINARY),
        K::Inet4 => WireType::text(code::STRING, 15 * CHAR_BYTES, flavor).with(flag::UNSIGNED | flag::BINARY),
        K::Inet6 => WireType::text(code::STRING, 39 * CHAR_BYTES, flavor).with(flag::UNSIGNED | flag::BINARY),
    };
    if ty.unsigned || ty.zerofill {
        wire.flags |= flag::UNSIGNED;
    }
    if ty.zerofill {
        wire.flags |= flag::ZEROFILL;
    }
    if ty.collation.as_deref().is_some_and(|c| c.ends_with("_bin")) {
        wire.flags |= flag::BINARY;
    }
    wire
}

fn integer(ty: &UpstreamType, code: u8, signed: u32, unsigned: u32) -> WireType {
    let own = if ty.unsigned { unsigned } else { signed };
    WireType::number(code, if ty.length > 0 { ty.length } else { own })
}

fn float(ty: &UpstreamType, code: u8, length: u32) -> WireType {
    match ty.scale {
        Some(scale) => WireType::number(code, u32::from(ty.precision)).decimals(scale),
        None => WireType::number(code, length).decimals(NOT_FIXED),
    }
}

fn decimal(precision: u8, scale: u8, signed: bool) -> WireType {
    let length = u32::from(precision) + u32::from(scale > 0) + u32::from(signed);
    WireType::number(code::NEWDECIMAL, length).decimals(scale)
}

fn chars(label: &str) -> u32 {
    u32::try_from(label.chars().count()).unwrap_or(u32::MAX)
}

fn longest_label(ty: &UpstreamType) -> u32 {
    ty.labels.iter().map(|l| chars(l)).max().unwrap_or(0).saturating_mul(CHAR_BYTES)
}

fn all_labels(ty: &UpstreamType) -> u32 {
    let text = ty.labels.iter().fold(0u32, |sum, l| sum.saturating_add(chars(l)));
    let commas = u32::try_from(ty.labels.len()).unwrap_or(u32::MAX).saturating_sub(1);
    text.saturating_add(commas).saturating_mul(CHAR_BYTES)
}

fn computed(data_type: &DataType, flavor: ServerFlavor) -> Result<WireType> {
    Ok(match data_type {
        DataType::Null => WireType::bytes(code::NULL, 0),
        DataType::Boolean => WireType::number(code::LONG, 1),
        DataType::Int8 => WireType::number(code::TINY, 4),
        DataType::UInt8 => WireType::number(code::TINY, 3).with(flag::UNSIGNED),
        DataType::Int16 => WireType::number(code::SHORT, 6),
        DataType::UInt16 => WireType::number(code::SHORT, 5).with(flag::UNSIGNED),
        DataType::Int32 => WireType::number(code::LONG, 11),
        DataType::UInt32 => WireType::number(code::LONG, 10).with(flag::UNSIGNED),
        DataType::Int64 => WireType::number(code::LONGLONG, 20),
        DataType::UInt64 => WireType::number(code::LONGLONG, 20).with(flag::UNSIGNED),
        DataType::Float32 => WireType::number(code::FLOAT, 12).decimals(NOT_FIXED),
        DataType::Float64 => WireType::number(code::DOUBLE, 22).decimals(NOT_FIXED),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => decimal(*p, u8::try_from(*s).unwrap_or(0), true),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            WireType::text(code::VAR_STRING, 65_535 * CHAR_BYTES, flavor)
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => WireType::bytes(code::VAR_STRING, 65_535),
        DataType::FixedSizeBinary(n) => WireType::bytes(code::STRING, n.unsigned_abs()),
        DataType::Date32 => WireType::bytes(code::DATE, 10),
        DataType::Date64 | DataType::Timestamp(_, None) => WireType::bytes(code::DATETIME, 19).fraction(6),
        DataType::Timestamp(_, Some(_)) => WireType::bytes(code::TIMESTAMP, 19).fraction(6),
        DataType::Time32(_) | DataType::Time64(_) => WireType::bytes(code::TIME, 10).fraction(6),
        DataType::Dictionary(_, values) => computed(values, flavor)?,
        other => {
            return Err(Error::Invalid(format!(
                "a result column of Arrow type {other} has no MySQL type; cast it to CHAR, a number or DATETIME"
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(wire: WireType) -> (u8, u16, u32, u8, u16) {
        (wire.code, wire.collation, wire.length, wire.decimals, wire.flags)
    }

    fn of(ty: &UpstreamType) -> (u8, u16, u32, u8, u16) {
        line(WireType::of_upstream(ty, true, ServerFlavor::MariaDb))
    }

    fn ty(kind: TypeKind) -> UpstreamType {
        UpstreamType::new(kind)
    }

    fn zerofill(mut ty: UpstreamType) -> UpstreamType {
        ty.zerofill = true;
        ty.unsigned()
    }

    fn scaled(kind: TypeKind, precision: u8, scale: u8) -> UpstreamType {
        UpstreamType { precision, scale: Some(scale), ..UpstreamType::new(kind) }
    }

    /// As `mariadb --column-type-info` prints them for a table of these columns on MariaDB 10.11.19.
    #[test]
    fn columns_are_described_as_mariadb_describes_them() {
        use TypeKind as K;
        let utf8 = |t: UpstreamType| t.with_charset("utf8mb4", "utf8mb4_general_ci");
        let seen = [
            (ty(K::TinyInt), (1, 63, 4, 0, 0)),
            (ty(K::TinyInt).unsigned(), (1, 63, 3, 0, 32)),
            (zerofill(ty(K::TinyInt)), (1, 63, 3, 0, 96)),
            (ty(K::SmallInt), (2, 63, 6, 0, 0)),
            (ty(K::MediumInt).unsigned(), (9, 63, 8, 0, 32)),
            (ty(K::Int), (3, 63, 11, 0, 0)),
            (zerofill(ty(K::Int).with_length(5)), (3, 63, 5, 0, 96)),
            (ty(K::BigInt), (8, 63, 20, 0, 0)),
            (ty(K::BigInt).unsigned(), (8, 63, 20, 0, 32)),
            (UpstreamType::decimal(10, 2), (246, 63, 12, 2, 0)),
            (UpstreamType::decimal(65, 30), (246, 63, 67, 30, 0)),
            (UpstreamType::decimal(38, 0), (246, 63, 39, 0, 0)),
            (UpstreamType::decimal(5, 5), (246, 63, 7, 5, 0)),
            (UpstreamType::decimal(6, 2).unsigned(), (246, 63, 7, 2, 32)),
            (zerofill(UpstreamType::decimal(6, 2)), (246, 63, 7, 2, 96)),
            (ty(K::Float), (4, 63, 12, 31, 0)),
            (scaled(K::Float, 7, 2), (4, 63, 7, 2, 0)),
            (zerofill(ty(K::Double)), (5, 63, 22, 31, 96)),
            (scaled(K::Double, 12, 4), (5, 63, 12, 4, 0)),
            (ty(K::Bit).with_length(9), (16, 63, 9, 0, 32)),
            (ty(K::Year).with_length(4), (13, 63, 4, 0, 96)),
            (ty(K::Year).with_length(2), (13, 63, 2, 0, 96)),
            (ty(K::Date), (10, 63, 10, 0, 128)),
            (ty(K::DateTime).with_fsp(3), (12, 63, 23, 3, 128)),
            (ty(K::Timestamp), (7, 63, 19, 0, 160)),
            (ty(K::Timestamp).with_fsp(2), (7, 63, 22, 2, 160)),
            (ty(K::Time).with_fsp(1), (11, 63, 12, 1, 128)),
            (utf8(ty(K::Char).with_length(10)), (254, 45, 40, 0, 0)),
            (ty(K::Char).with_length(5).with_charset("utf8mb4", "utf8mb4_bin"), (254, 45, 20, 0, 128)),
            (ty(K::VarChar).with_length(20).with_charset("latin1", "latin1_swedish_ci"), (253, 45, 80, 0, 0)),
            (utf8(ty(K::TinyText)), (252, 45, 1020, 0, 16)),
            (utf8(ty(K::Text)), (252, 45, 262_140, 0, 16)),
            (utf8(ty(K::MediumText)), (252, 45, 67_108_860, 0, 16)),
            (utf8(ty(K::LongText)), (252, 45, 4_294_967_295, 0, 16)),
            (ty(K::Binary).with_length(4), (254, 63, 4, 0, 128)),
            (ty(K::VarBinary).with_length(10), (253, 63, 10, 0, 128)),
            (ty(K::TinyBlob), (252, 63, 255, 0, 144)),
            (ty(K::MediumBlob), (252, 63, 16_777_215, 0, 144)),
            (utf8(ty(K::Enum).with_labels(["a", "b,x", "ü"])), (254, 45, 12, 0, 256)),
            (utf8(ty(K::Set).with_labels(["x", "yy", "z"])), (254, 45, 24, 0, 2048)),
            (ty(K::Json), (252, 45, 4_294_967_295, 0, 144)),
            (ty(K::Geometry), (255, 63, 4_294_967_295, 0, 144)),
            (ty(K::Uuid), (254, 45, 144, 0, 160)),
            (ty(K::Inet4), (254, 45, 60, 0, 160)),
            (ty(K::Inet6), (254, 45, 156, 0, 160)),
        ];
        for (ty, expected) in seen {
            assert_eq!(of(&ty), expected, "{ty:?}");
        }
        let required = WireType::of_upstream(&ty(K::Int), false, ServerFlavor::MariaDb);
        assert_eq!(required.flags, flag::NOT_NULL);
    }

    #[test]
    fn a_cast_that_kept_its_metadata_is_a_computed_column() {
        let column = crate::schema::ColumnDef::new(1, "e", ty(TypeKind::Enum).with_labels(["a"]));
        let kept = super::super::arrow::field(&column);
        let flavor = ServerFlavor::MariaDb;
        assert_eq!(WireType::of_field(&kept, flavor).unwrap().flags & flag::ENUM, flag::ENUM);
        let cast = kept.with_data_type(DataType::Int64);
        assert_eq!(WireType::of_field(&cast, flavor).unwrap().code, code::LONGLONG);
    }

    #[test]
    fn intervals_and_lists_are_refused() {
        let interval = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
        assert!(WireType::of_computed(&interval, true, ServerFlavor::MariaDb).is_err());
    }
}
