//! Upstream type -> Arrow type and field.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::{TypeKind, UpstreamType};
use crate::schema::ColumnDef;

/// Metadata key of an Arrow field that holds the [`UpstreamType`] as JSON.
pub const TYPE_METADATA_KEY: &str = "tidelake.type";
/// Metadata key of an Arrow field that holds the immutable column id (also Parquet's field id).
pub const FIELD_ID_METADATA_KEY: &str = "PARQUET:field_id";

/// The Arrow type rows of this upstream type are stored and read as.
#[must_use]
pub fn data_type(ty: &UpstreamType) -> DataType {
    use TypeKind as K;
    match ty.kind {
        K::TinyInt if ty.unsigned => DataType::UInt8,
        K::TinyInt => DataType::Int8,
        K::SmallInt if ty.unsigned => DataType::UInt16,
        K::SmallInt => DataType::Int16,
        K::MediumInt | K::Int if ty.unsigned => DataType::UInt32,
        K::MediumInt | K::Int => DataType::Int32,
        K::BigInt if ty.unsigned => DataType::UInt64,
        K::BigInt => DataType::Int64,
        K::Decimal if ty.precision <= 38 => DataType::Decimal128(ty.precision, ty.scale.unwrap_or(0) as i8),
        K::Decimal => DataType::Decimal256(ty.precision, ty.scale.unwrap_or(0) as i8),
        K::Float => DataType::Float32,
        K::Double => DataType::Float64,
        K::Bit | K::Set => DataType::UInt64,
        K::Year | K::Enum => DataType::UInt16,
        K::Date => DataType::Date32,
        K::DateTime => DataType::Timestamp(TimeUnit::Microsecond, None),
        K::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        K::Time => DataType::Int64,
        K::Char | K::VarChar | K::TinyText | K::Text | K::MediumText | K::LongText | K::Json => DataType::Utf8,
        K::Binary | K::VarBinary | K::TinyBlob | K::Blob | K::MediumBlob | K::LongBlob | K::Geometry | K::Vector => {
            DataType::Binary
        }
        K::Uuid | K::Inet6 => DataType::FixedSizeBinary(16),
        K::Inet4 => DataType::FixedSizeBinary(4),
    }
}

/// True if arrays of `data_type` hold stored values of this upstream type: the stored Arrow type itself, another
/// layout of the same strings or bytes, or a dictionary of these. False tells that an expression changed the
/// values but kept the field's metadata.
#[must_use]
pub fn holds_stored_form(ty: &UpstreamType, data_type: &DataType) -> bool {
    match (self::data_type(ty), data_type) {
        (_, DataType::Dictionary(_, values)) => holds_stored_form(ty, values),
        (DataType::Utf8, DataType::LargeUtf8 | DataType::Utf8View)
        | (DataType::Binary, DataType::LargeBinary | DataType::BinaryView) => true,
        (stored, found) => stored == *found,
    }
}

/// The Arrow field of a column: its name, stored type, nullability, upstream type and field id.
#[must_use]
pub fn field(column: &ColumnDef) -> Field {
    let metadata = HashMap::from([
        (TYPE_METADATA_KEY.to_owned(), type_to_json(&column.ty)),
        (FIELD_ID_METADATA_KEY.to_owned(), column.id.to_string()),
    ]);
    Field::new(&column.name, data_type(&column.ty), column.nullable).with_metadata(metadata)
}

/// The upstream type that a field carries; `None` for a computed column.
#[must_use]
pub fn upstream_type(field: &Field) -> Option<UpstreamType> {
    serde_json::from_str(field.metadata().get(TYPE_METADATA_KEY)?).ok()
}

/// The type as the JSON text kept in field metadata.
#[must_use]
pub fn type_to_json(ty: &UpstreamType) -> String {
    serde_json::to_string(ty).expect("an UpstreamType has only strings, numbers and lists")
}
