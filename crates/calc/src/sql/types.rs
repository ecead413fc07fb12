//! What MySQL thinks of an expression's type, read from its Arrow field and the upstream type in its metadata.

use arrow::datatypes::{DataType, Field, TimeUnit};
use tidelake_core::types::arrow::{TYPE_METADATA_KEY, type_to_json, upstream_type};
use tidelake_core::{TypeKind, UpstreamType};

/// Metadata: the column's name as the upstream spells it (fields inside plans are lower case).
pub(crate) const NAME_KEY: &str = "tidelake.name";
/// Metadata: the labels of an ENUM or SET column that is exposed as text (`form::Labels` as JSON).
pub(crate) const LABELS_KEY: &str = "tidelake.labels";
/// Metadata: digits after the point that a DECIMAL prints when its values carry more. A quotient keeps whole groups of
/// nine digits while an expression goes on, and is rounded to its declared digits where it ends.
pub(crate) const DIGITS_KEY: &str = "tidelake.digits";
/// Metadata: the collation of a computed text.
pub(crate) const COLLATION_KEY: &str = "tidelake.collation";

/// MySQL's classes of types, as far as they decide how values compare, combine and print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ty {
    /// The NULL literal.
    Null,
    /// A truth value; exists inside conditions only.
    Bool,
    /// Signed integers.
    Int,
    /// Unsigned integers, YEAR and BIT in numbers.
    UInt,
    /// DECIMAL(precision, scale).
    Decimal(u8, u8),
    /// FLOAT and DOUBLE.
    Double,
    /// DOUBLE that prints this many digits after the point. Only what functions declare; a field's class is `Double`.
    Fixed(u8),
    /// Text.
    Text,
    /// Bytes.
    Bytes,
    /// DATE.
    Date,
    /// DATETIME with digits of fractional seconds, in local time.
    DateTime(u8),
    /// TIMESTAMP with digits of fractional seconds, in UTC.
    Timestamp(u8),
    /// TIME with digits of fractional seconds.
    Time(u8),
    /// UUID, INET4 or INET6: compares and combines as its text.
    Address,
}

impl Ty {
    pub(crate) fn is_temporal(self) -> bool {
        matches!(self, Ty::Date | Ty::DateTime(_) | Ty::Timestamp(_) | Ty::Time(_))
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Ty::Bool | Ty::Int | Ty::UInt | Ty::Decimal(..) | Ty::Double | Ty::Fixed(_))
    }

    /// Digits of fractional seconds that the value prints with.
    pub(crate) fn fsp(self) -> u8 {
        match self {
            Ty::DateTime(f) | Ty::Timestamp(f) | Ty::Time(f) => f,
            _ => 0,
        }
    }

    /// The Arrow type that computed values of this type have.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Ty::Null => DataType::Null,
            Ty::Bool => DataType::Boolean,
            Ty::Int | Ty::Time(_) => DataType::Int64,
            Ty::UInt => DataType::UInt64,
            Ty::Decimal(p, s) if p <= 38 => DataType::Decimal128(p, s as i8),
            Ty::Decimal(p, s) => DataType::Decimal256(p.min(76), s as i8),
            Ty::Double | Ty::Fixed(_) => DataType::Float64,
            Ty::Text | Ty::Address => DataType::Utf8,
            Ty::Bytes => DataType::Binary,
            Ty::Date => DataType::Date32,
            Ty::DateTime(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
            Ty::Timestamp(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }

    /// The field of a computed value: temporal ones carry a type, so that they print as the upstream prints.
    pub(crate) fn field(self, name: &str) -> Field {
        let field = Field::new(name, self.data_type(), true);
        let kind = match self {
            Ty::DateTime(f) => UpstreamType::new(TypeKind::DateTime).with_fsp(f),
            Ty::Timestamp(f) => UpstreamType::new(TypeKind::Timestamp).with_fsp(f),
            Ty::Time(f) => UpstreamType::new(TypeKind::Time).with_fsp(f),
            Ty::Fixed(digits) => UpstreamType { scale: Some(digits), ..UpstreamType::new(TypeKind::Double) },
            _ => return field,
        };
        field.with_metadata([(TYPE_METADATA_KEY.to_owned(), type_to_json(&kind))].into())
    }
}

/// The declared digits of a DECIMAL whose values carry more.
pub(crate) fn declared_digits(field: &Field) -> Option<u8> {
    field.metadata().get(DIGITS_KEY)?.parse().ok()
}

/// Digits after the point with which a DOUBLE prints; `None`: as many as it needs.
pub(crate) fn fixed_digits(field: &Field) -> Option<u8> {
    let ty = upstream_type(field).filter(|ty| matches!(ty.kind, TypeKind::Double | TypeKind::Float))?;
    ty.scale.filter(|_| ty_of(field) == Ty::Double)
}

/// The class of a field's values.
pub(crate) fn ty_of(field: &Field) -> Ty {
    let upstream = upstream_type(field);
    let kind = upstream.as_ref().map(|t| t.kind);
    let fsp = upstream.as_ref().map_or(6, |t| t.fsp);
    match field.data_type() {
        DataType::Null => Ty::Null,
        DataType::Boolean => Ty::Bool,
        DataType::Int64 if kind == Some(TypeKind::Time) => Ty::Time(fsp),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Ty::Int,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => Ty::UInt,
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => Ty::Decimal(*p, (*s).max(0) as u8),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => Ty::Decimal(*p, (*s).max(0) as u8),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Ty::Double,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Ty::Bytes,
        DataType::FixedSizeBinary(_) => Ty::Address,
        DataType::Date32 | DataType::Date64 => Ty::Date,
        DataType::Timestamp(_, None) => Ty::DateTime(fsp),
        DataType::Timestamp(_, Some(_)) => Ty::Timestamp(fsp),
        _ => Ty::Text,
    }
}

/// Digits before the point that a number of this field may have; integers by their width.
pub(crate) fn as_decimal(field: &Field) -> (u8, u8) {
    match field.data_type() {
        DataType::Int8 | DataType::UInt8 | DataType::Boolean => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => (*p, (*s).max(0) as u8),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => (*p, (*s).max(0) as u8),
        _ => (20, 0),
    }
}

/// The type that holds the values of all of them: of CASE, IF, COALESCE, UNION.
pub(crate) fn common(fields: &[&Field]) -> Ty {
    fields.iter().fold(Ty::Null, |all, f| join(all, exact(f)))
}

/// The class with the digits that are declared.
pub(crate) fn exact(field: &Field) -> Ty {
    match ty_of(field) {
        Ty::Bool => Ty::Int,
        Ty::Address => Ty::Text,
        Ty::Decimal(p, s) => match declared_digits(field) {
            Some(d) => Ty::Decimal(p.saturating_sub(s.saturating_sub(d)).max(1), d),
            None => Ty::Decimal(p, s),
        },
        Ty::Double => fixed_digits(field).map_or(Ty::Double, Ty::Fixed),
        other => other,
    }
}

fn join(a: Ty, b: Ty) -> Ty {
    use Ty::{Bytes, Date, DateTime, Decimal, Double, Fixed, Int, Null, Text, Time, Timestamp, UInt};
    match (a, b) {
        (Null, x) | (x, Null) => x,
        (Decimal(p, s), Decimal(q, t)) => decimal(p - p.min(s), q - q.min(t), s.max(t)),
        (x, y) if x == y => x,
        (Int, UInt) | (UInt, Int) => Decimal(20, 0),
        (Decimal(p, s), Int | UInt) | (Int | UInt, Decimal(p, s)) => decimal(p - p.min(s), 20, s),
        (Fixed(a), Fixed(b)) => Fixed(a.max(b)),
        (Fixed(n), Decimal(_, s)) | (Decimal(_, s), Fixed(n)) => Fixed(n.max(s)),
        (Fixed(n), Int | UInt) | (Int | UInt, Fixed(n)) => Fixed(n),
        (Double, x) | (x, Double) if x.is_number() => Double,
        (Bytes, _) | (_, Bytes) => Bytes,
        (DateTime(f), DateTime(g)) => DateTime(f.max(g)),
        (Timestamp(f), Timestamp(g)) => Timestamp(f.max(g)),
        (Time(f), Time(g)) => Time(f.max(g)),
        (Date | DateTime(_) | Timestamp(_), Date | DateTime(_) | Timestamp(_)) => DateTime(a.fsp().max(b.fsp())),
        (Time(_), Date | DateTime(_) | Timestamp(_)) | (Date | DateTime(_) | Timestamp(_), Time(_)) => {
            DateTime(a.fsp().max(b.fsp()))
        }
        _ => Text,
    }
}

/// DECIMAL with the larger of two integer parts and a scale, within what Arrow holds.
pub(crate) fn decimal(left: u8, right: u8, scale: u8) -> Ty {
    let scale = scale.min(38);
    Ty::Decimal((left.max(right) + scale).clamp(1, 76), scale)
}

/// The collation of a text field; `None` for what is not text or compares by bytes.
pub(crate) fn collation_of(field: &Field) -> Option<String> {
    if let Some(name) = field.metadata().get(COLLATION_KEY) {
        return Some(name.clone());
    }
    let ty = upstream_type(field)?;
    match ty.kind {
        TypeKind::Json => Some("utf8mb4_bin".to_owned()),
        _ => ty.collation,
    }
}
