//! The types that columns have upstream, as GetXdbcTypeInfo tells them to drivers: by the upstream's name, with the type that rows arrive in
//! (an ENUM is a SMALLINT then, a TIME a BIGINT of microseconds).

use std::sync::LazyLock;

use arrow::datatypes::DataType;
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};
use tidelake_core::types::arrow::data_type;
use tidelake_core::types::{TypeKind, UpstreamType};

/// What a type is declared with.
#[derive(Clone, Copy)]
enum Declared {
    /// Nothing.
    Plain,
    /// A length.
    Length,
    /// Digits, and digits after the point.
    Digits,
    /// Digits of fractional seconds.
    Fraction,
    /// The values it may have.
    Labels,
}

/// Every type: its name; its size, in digits, characters or bytes; what it is declared with.
const TYPES: [(TypeKind, &str, i32, Declared); 34] = {
    use Declared::{Digits, Fraction, Labels, Length, Plain};
    use TypeKind as K;
    [
        (K::TinyInt, "TINYINT", 3, Plain),
        (K::SmallInt, "SMALLINT", 5, Plain),
        (K::MediumInt, "MEDIUMINT", 7, Plain),
        (K::Int, "INT", 10, Plain),
        (K::BigInt, "BIGINT", 19, Plain),
        (K::Decimal, "DECIMAL", 65, Digits),
        (K::Float, "FLOAT", 7, Plain),
        (K::Double, "DOUBLE", 15, Plain),
        (K::Bit, "BIT", 20, Length),
        (K::Year, "YEAR", 4, Plain),
        (K::Date, "DATE", 10, Plain),
        (K::DateTime, "DATETIME", 26, Fraction),
        (K::Timestamp, "TIMESTAMP", 26, Fraction),
        (K::Time, "TIME", 19, Fraction),
        (K::Char, "CHAR", 255, Length),
        (K::VarChar, "VARCHAR", 65_535, Length),
        (K::TinyText, "TINYTEXT", 255, Plain),
        (K::Text, "TEXT", 65_535, Plain),
        (K::MediumText, "MEDIUMTEXT", 16_777_215, Plain),
        (K::LongText, "LONGTEXT", i32::MAX, Plain),
        (K::Binary, "BINARY", 255, Length),
        (K::VarBinary, "VARBINARY", 65_535, Length),
        (K::TinyBlob, "TINYBLOB", 255, Plain),
        (K::Blob, "BLOB", 65_535, Plain),
        (K::MediumBlob, "MEDIUMBLOB", 16_777_215, Plain),
        (K::LongBlob, "LONGBLOB", i32::MAX, Plain),
        (K::Enum, "ENUM", 5, Labels),
        (K::Set, "SET", 20, Labels),
        (K::Json, "JSON", i32::MAX, Plain),
        (K::Geometry, "GEOMETRY", i32::MAX, Plain),
        (K::Vector, "VECTOR", 65_535, Length),
        (K::Uuid, "UUID", 16, Plain),
        (K::Inet4, "INET4", 4, Plain),
        (K::Inet6, "INET6", 16, Plain),
    ]
};

/// What GetXdbcTypeInfo tells.
pub(super) fn type_info() -> &'static XdbcTypeInfoData {
    static INFO: LazyLock<XdbcTypeInfoData> = LazyLock::new(|| {
        let mut infos = XdbcTypeInfoDataBuilder::new();
        for (kind, name, size, declared) in TYPES {
            infos.append(row(&sample(kind), name.to_owned(), size, declared));
            if is_number(kind) {
                // Of a BIGINT the sign is a digit more.
                let size = if kind == TypeKind::BigInt { size + 1 } else { size };
                infos.append(row(&sample(kind).unsigned(), format!("{name} UNSIGNED"), size, declared));
            }
        }
        infos.build().expect("the columns have the types of their schema")
    });
    &INFO
}

/// DECIMAL as it is without digits.
fn sample(kind: TypeKind) -> UpstreamType {
    match kind {
        TypeKind::Decimal => UpstreamType::decimal(10, 0),
        other => UpstreamType::new(other),
    }
}

fn is_number(kind: TypeKind) -> bool {
    use TypeKind as K;
    matches!(kind, K::TinyInt | K::SmallInt | K::MediumInt | K::Int | K::BigInt | K::Decimal | K::Float | K::Double)
}

fn row(ty: &UpstreamType, name: String, size: i32, declared: Declared) -> XdbcTypeInfo {
    let stored = data_type(ty);
    let sent = sent_as(&stored);
    let is_text = stored == DataType::Utf8;
    let is_binary = matches!(stored, DataType::Binary | DataType::FixedSizeBinary(_));
    let is_moment = matches!(stored, DataType::Date32 | DataType::Timestamp(..));
    let quoted =
        is_text || is_binary || is_moment || matches!(ty.kind, TypeKind::Time | TypeKind::Enum | TypeKind::Set);
    let quote = |text: &str| quoted.then(|| text.to_owned());
    let params: &[&str] = match declared {
        Declared::Plain => &[],
        Declared::Length => &["length"],
        Declared::Digits => &["precision", "scale"],
        Declared::Fraction => &["fractional seconds precision"],
        Declared::Labels => &["values"],
    };
    let (least, most) = match declared {
        Declared::Digits => (Some(0), Some(38)),
        Declared::Fraction => (Some(0), Some(6)),
        _ if stored.is_integer() => (Some(0), Some(0)),
        _ => (None, None),
    };
    XdbcTypeInfo {
        type_name: name.clone(),
        data_type: sent,
        column_size: Some(size),
        literal_prefix: quote("'"),
        literal_suffix: quote("'"),
        create_params: Some(params.iter().map(|param| (*param).to_owned()).collect()),
        nullable: Nullable::NullabilityNullable,
        // Whether texts are compared with regard to case is a matter of their collation.
        case_sensitive: is_binary,
        searchable: Searchable::Full,
        unsigned_attribute: stored.is_numeric().then(|| ty.unsigned || stored.is_unsigned_integer()),
        fixed_prec_scale: false,
        auto_increment: is_number(ty.kind).then_some(false),
        local_type_name: Some(name),
        minimum_scale: least,
        maximum_scale: most,
        sql_data_type: if is_moment { XdbcDataType::XdbcDatetime } else { sent },
        datetime_subcode: match sent {
            XdbcDataType::XdbcDate => Some(XdbcDatetimeSubcode::XdbcSubcodeYear),
            XdbcDataType::XdbcTimestamp => Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
            _ => None,
        },
        num_prec_radix: stored.is_numeric().then_some(10),
        interval_precision: None,
    }
}

/// The driver's type of an Arrow type. There are no unsigned ones: those have their own attribute.
fn sent_as(stored: &DataType) -> XdbcDataType {
    use XdbcDataType as X;
    match stored {
        DataType::Int8 | DataType::UInt8 => X::XdbcTinyint,
        DataType::Int16 | DataType::UInt16 => X::XdbcSmallint,
        DataType::Int32 | DataType::UInt32 => X::XdbcInteger,
        DataType::Int64 | DataType::UInt64 => X::XdbcBigint,
        DataType::Decimal128(..) | DataType::Decimal256(..) => X::XdbcDecimal,
        DataType::Float32 => X::XdbcReal,
        DataType::Float64 => X::XdbcDouble,
        DataType::Date32 => X::XdbcDate,
        DataType::Timestamp(..) => X::XdbcTimestamp,
        DataType::Utf8 => X::XdbcVarchar,
        DataType::Binary => X::XdbcVarbinary,
        DataType::FixedSizeBinary(_) => X::XdbcBinary,
        _ => X::XdbcUnknownType,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn every_type_is_told_once_as_what_its_rows_arrive_in() {
        let told = type_info().record_batch(None).expect("a batch");
        let (names, sent) = (told.column(0).as_string::<i32>(), told.column(1).as_primitive::<Int32Type>());
        let mut all: Vec<(&str, i32)> = names.iter().flatten().zip(sent.values().iter().copied()).collect();
        assert_eq!(all.len(), 34 + 8);
        for (name, wanted) in
            [("ENUM", 5), ("TIME", -5), ("SET", -5), ("YEAR", 5), ("DECIMAL UNSIGNED", 3), ("UUID", -2)]
        {
            assert!(all.contains(&(name, wanted)), "{name} in {all:?}");
        }
        assert!(!sent.values().contains(&(XdbcDataType::XdbcUnknownType as i32)), "{all:?}");
        all.sort_unstable();
        all.dedup_by_key(|(name, _)| *name);
        assert_eq!(all.len(), told.num_rows());
    }
}
