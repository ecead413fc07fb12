//! Types of columns, and values of them.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tidelake_core::CellValue;
use tidelake_core::types::temporal::INVALID_BASE;

/// Types that rows are made of, with their SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    BigUnsigned,
    VarChar,
    VarBinary,
    Decimal,
    Enum,
    Set,
    DateTime,
    Timestamp,
    Time,
    Double,
    Float,
    Bit,
    Json,
    BigInt,
    Text,
    Blob,
    Binary,
    Date,
    Year,
    Vector,
}

pub const KINDS: [(Kind, &str); 21] = [
    (Kind::Int, "INT"),
    (Kind::BigUnsigned, "BIGINT UNSIGNED"),
    (Kind::VarChar, "VARCHAR(60)"),
    (Kind::VarBinary, "VARBINARY(30)"),
    (Kind::Decimal, "DECIMAL(12,3)"),
    (Kind::Enum, "ENUM('red','green','it''s')"),
    (Kind::Set, "SET('a','b','c')"),
    (Kind::DateTime, "DATETIME(3)"),
    (Kind::Timestamp, "TIMESTAMP"),
    (Kind::Time, "TIME(6)"),
    (Kind::Double, "DOUBLE"),
    (Kind::Float, "FLOAT"),
    (Kind::Bit, "BIT(10)"),
    (Kind::Json, "JSON"),
    (Kind::BigInt, "BIGINT"),
    (Kind::Text, "MEDIUMTEXT"),
    (Kind::Blob, "BLOB"),
    (Kind::Binary, "BINARY(6)"),
    (Kind::Date, "DATE"),
    (Kind::Year, "YEAR"),
    (Kind::Vector, "VECTOR(2)"),
];

/// A vector as it is stored.
fn vector(values: [f32; 2]) -> CellValue {
    CellValue::Bytes(values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

impl Kind {
    pub fn sql(self) -> &'static str {
        KINDS.iter().find(|(k, _)| *k == self).map_or("INT", |(_, sql)| sql)
    }

    pub fn value(self, rng: &mut StdRng) -> CellValue {
        if rng.random_ratio(1, 8) {
            return CellValue::Null;
        }
        if rng.random_ratio(1, 5) {
            return self.extreme(rng.random());
        }
        match self {
            Kind::Int => CellValue::Int(rng.random_range(-5..5) * 400_000_000),
            Kind::BigUnsigned => CellValue::UInt(rng.random()),
            Kind::VarChar | Kind::Text => {
                let words = ["", "a,b", "\"quoted\"", "line\r\nbreak", "\\N", "back\\slash", "Größe 𝄞", "true", "x"];
                CellValue::Str((*words.choose(rng).unwrap()).to_owned())
            }
            Kind::VarBinary | Kind::Blob => {
                CellValue::Bytes((0..rng.random_range(0..9)).map(|_| rng.random()).collect())
            }
            Kind::Binary => CellValue::Bytes((0..6).map(|_| rng.random()).collect()),
            Kind::BigInt => CellValue::Int(rng.random()),
            Kind::Date => CellValue::Int(rng.random_range(-100_000..100_000)),
            Kind::Year => CellValue::UInt(rng.random_range(1901..2156)),
            Kind::Vector => vector([rng.random_range(-9f32..9.0), rng.random()]),
            Kind::Decimal => CellValue::Decimal(rng.random_range(-999_999_999i64..999_999_999).to_string()),
            Kind::Enum => CellValue::UInt(rng.random_range(1..=3)),
            Kind::Set => CellValue::UInt(rng.random_range(0..8)),
            Kind::DateTime => CellValue::Int(rng.random_range(-1_000_000_000_000i64..4_000_000_000_000) * 1000),
            Kind::Timestamp => CellValue::Int(rng.random_range(1..2_000_000_000i64) * 1_000_000),
            Kind::Time => CellValue::Int(rng.random_range(-3_020_399_000_000i64..3_020_399_000_000)),
            Kind::Double => CellValue::Float(rng.random_range(-1e12..1e12)),
            Kind::Float => CellValue::Float(f64::from(rng.random_range(-1e6f32..1e6))),
            Kind::Bit => CellValue::UInt(rng.random_range(0..1024)),
            Kind::Json => CellValue::Str(r#"{"a": [1, "x"], "b": null}"#.to_owned()),
        }
    }
}

impl Kind {
    /// The least or the greatest value.
    fn extreme(self, high: bool) -> CellValue {
        let pick = |low: i64, most: i64| CellValue::Int(if high { most } else { low });
        let float = |low: f64, most: f64| CellValue::Float(if high { most } else { low });
        match self {
            Kind::Int => pick(i64::from(i32::MIN), i64::from(i32::MAX)),
            Kind::BigUnsigned => CellValue::UInt(if high { u64::MAX } else { 0 }),
            Kind::VarChar | Kind::Text => CellValue::Str(if high { "𝄞".repeat(60) } else { "\u{1}\u{7f}".into() }),
            Kind::VarBinary | Kind::Blob => CellValue::Bytes(vec![if high { 0xff } else { 0 }; 30]),
            Kind::Binary => CellValue::Bytes(vec![if high { 0xff } else { 0 }; 6]),
            Kind::BigInt => pick(i64::MIN, i64::MAX),
            // 0000-00-00 and 9999-12-31
            Kind::Date => pick(i64::from(INVALID_BASE), 2_932_896),
            Kind::Year => CellValue::UInt(if high { 2155 } else { 0 }),
            Kind::Vector => vector(if high { [f32::MAX, f32::MIN_POSITIVE] } else { [0.0, -1.5e-10] }),
            Kind::Decimal => CellValue::Decimal(if high { "999999999999".into() } else { "-999999999999".into() }),
            Kind::Enum => CellValue::UInt(if high { 3 } else { 1 }),
            Kind::Set => CellValue::UInt(if high { 7 } else { 0 }),
            // 9999-12-31 23:59:59.999 and 1000-01-01
            Kind::DateTime => pick(-30_610_224_000_000_000, 253_402_300_799_999_000),
            Kind::Timestamp => pick(1_000_000, i64::from(i32::MAX) * 1_000_000),
            Kind::Time => pick(-3_020_399_000_000, 3_020_399_000_000),
            Kind::Double => float(f64::MIN, f64::MIN_POSITIVE),
            Kind::Float => float(f64::from(f32::MIN), f64::from(f32::MIN_POSITIVE)),
            Kind::Bit => CellValue::UInt(if high { 1023 } else { 0 }),
            Kind::Json => CellValue::Str(if high { r#""ü\n\u0001""#.into() } else { "null".into() }),
        }
    }
}
