//! Every type over both protocols. Expected texts: MariaDB 10.11, as in `core::types::text`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use mysql_async::prelude::Queryable;
use mysql_async::{Row, Value};
use tidelake_core::types::temporal::{day_number, join_micros, zero_micros};
use tidelake_core::types::{TypeKind as K, UpstreamType, arrow as stored};
use tidelake_core::value::array_of;
use tidelake_core::{CellValue, ColumnDef};

use super::super::WireOptions;
use super::start;

struct Case {
    ty: UpstreamType,
    cell: CellValue,
    text: &'static [u8],
    binary: Value,
}

fn case(ty: UpstreamType, cell: CellValue, text: &'static [u8], binary: Value) -> Case {
    Case { ty, cell, text, binary }
}

fn ty(kind: K) -> UpstreamType {
    UpstreamType::new(kind)
}

fn as_text(ty: UpstreamType, cell: CellValue, text: &'static [u8]) -> Case {
    case(ty, cell, text, Value::Bytes(text.to_vec()))
}

fn cases() -> Vec<Case> {
    use CellValue::{Decimal, Float, Int, UInt};
    let text = |s: &str| CellValue::Str(s.to_owned());
    let bytes = |b: &[u8]| CellValue::Bytes(b.to_vec());
    let moment = |y, m, d, us| Int(join_micros(day_number(y, m, d), us));
    let mut zerofill = ty(K::Int).unsigned().with_length(5);
    zerofill.zerofill = true;
    let clock = ((10 * 60 + 11) * 60 + 12) * 1_000_000;
    vec![
        case(ty(K::TinyInt), Int(-128), b"-128", Value::Int(-128)),
        case(ty(K::TinyInt).unsigned(), UInt(255), b"255", Value::Int(255)),
        case(ty(K::SmallInt), Int(-32768), b"-32768", Value::Int(-32768)),
        case(ty(K::MediumInt), Int(-8_388_608), b"-8388608", Value::Int(-8_388_608)),
        case(zerofill, UInt(42), b"00042", Value::Int(42)),
        case(ty(K::BigInt), Int(i64::MIN), b"-9223372036854775808", Value::Int(i64::MIN)),
        case(ty(K::BigInt).unsigned(), UInt(u64::MAX), b"18446744073709551615", Value::UInt(u64::MAX)),
        as_text(UpstreamType::decimal(10, 2), Decimal("-5".to_owned()), b"-0.05"),
        as_text(
            UpstreamType::decimal(65, 30),
            Decimal("-12345678901234567890123456789012345123456789012345678901234567891".to_owned()),
            b"-12345678901234567890123456789012345.123456789012345678901234567891",
        ),
        case(ty(K::Float), Float(f32::MAX.into()), b"3.40282e38", Value::Float(f32::MAX)),
        case(ty(K::Double), Float(1e20), b"1e20", Value::Double(1e20)),
        as_text(ty(K::Bit).with_length(9), UInt(300), &[1, 0x2c]),
        case(ty(K::Year), UInt(0), b"0000", Value::Int(0)),
        case(ty(K::Year), UInt(2155), b"2155", Value::Int(2155)),
        case(ty(K::Date), Int(day_number(0, 0, 0).into()), b"0000-00-00", Value::Date(0, 0, 0, 0, 0, 0, 0)),
        case(ty(K::Date), Int(day_number(2024, 2, 31).into()), b"2024-02-31", Value::Date(2024, 2, 31, 0, 0, 0, 0)),
        case(
            ty(K::DateTime).with_fsp(3),
            moment(9999, 12, 31, clock + 123_000),
            b"9999-12-31 10:11:12.123",
            Value::Date(9999, 12, 31, 10, 11, 12, 123_000),
        ),
        case(ty(K::Timestamp), Int(0), b"1970-01-01 01:00:00", Value::Date(1970, 1, 1, 1, 0, 0, 0)),
        case(ty(K::Timestamp), Int(zero_micros()), b"0000-00-00 00:00:00", Value::Date(0, 0, 0, 0, 0, 0, 0)),
        case(ty(K::Time), Int(-3_020_399_000_000), b"-838:59:59", Value::Time(true, 34, 22, 59, 59, 0)),
        case(ty(K::Time).with_fsp(6), Int(-1), b"-00:00:00.000001", Value::Time(true, 0, 0, 0, 0, 1)),
        as_text(ty(K::Char).with_length(4), text("é"), "é".as_bytes()),
        as_text(ty(K::VarChar).with_length(4), text(""), b""),
        as_text(ty(K::LongText), text("long"), b"long"),
        as_text(ty(K::Binary).with_length(3), bytes(b"a"), b"a\0\0"),
        as_text(ty(K::Blob), bytes(&[0, 0xff]), &[0, 0xff]),
        as_text(ty(K::Enum).with_labels(["a", "b,x"]), UInt(2), b"b,x"),
        as_text(ty(K::Enum).with_labels(["a", "b,x"]), UInt(0), b""),
        as_text(ty(K::Set).with_labels(["x", "yy", "z"]), UInt(5), b"x,z"),
        as_text(ty(K::Json), text("{\"a\" : 1}"), b"{\"a\" : 1}"),
        as_text(ty(K::Geometry), bytes(b"\0\0\0\0\x01"), b"\0\0\0\0\x01"),
        as_text(ty(K::Uuid), bytes(&[0x11; 16]), b"11111111-1111-1111-1111-111111111111"),
        as_text(ty(K::Inet4), bytes(&[10, 0, 0, 1]), b"10.0.0.1"),
        as_text(ty(K::Inet6), bytes(&[0; 16]), b"::"),
    ]
}

/// Two rows: every case's value, then all NULL.
pub(crate) fn all_types_batch() -> RecordBatch {
    let cases = cases();
    let nullable = |(i, case): (usize, &Case)| {
        let mut column = ColumnDef::new(i as i32 + 1, format!("c{i}"), case.ty.clone());
        column.nullable = true;
        stored::field(&column)
    };
    let fields: Vec<_> = cases.iter().enumerate().map(nullable).collect();
    let array = |case: &Case| array_of(&stored::data_type(&case.ty), &[case.cell.clone(), CellValue::Null]).unwrap();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), cases.iter().map(array).collect()).unwrap()
}

#[tokio::test]
async fn text_rows_are_what_mariadb_prints() {
    let running = start(WireOptions::default()).await;
    let mut conn = running.connect().await;
    let rows: Vec<Row> = conn.query("SELECT types").await.unwrap();
    assert_eq!(rows.len(), 2);
    for (i, case) in cases().iter().enumerate() {
        assert_eq!(rows[0].as_ref(i), Some(&Value::Bytes(case.text.to_vec())), "{:?}", case.ty);
        assert_eq!(rows[1].as_ref(i), Some(&Value::NULL), "{:?}", case.ty);
    }
}

#[tokio::test]
async fn binary_rows_have_the_same_values() {
    let running = start(WireOptions::default()).await;
    let mut conn = running.connect().await;
    let rows: Vec<Row> = conn.exec("SELECT types", ()).await.unwrap();
    assert_eq!(rows.len(), 2);
    for (i, case) in cases().iter().enumerate() {
        assert_eq!(rows[0].as_ref(i), Some(&case.binary), "{:?}", case.ty);
        assert_eq!(rows[1].as_ref(i), Some(&Value::NULL), "{:?}", case.ty);
    }
}

#[tokio::test]
async fn parameters_arrive_as_cells() {
    let running = start(WireOptions::default()).await;
    let mut conn = running.connect().await;
    let sent = [
        (Value::NULL, "Null"),
        (Value::Int(-5), "Int(-5)"),
        (Value::UInt(u64::MAX), "UInt(18446744073709551615)"),
        (Value::Double(0.1), "Float(0.1)"),
        (Value::Bytes("é".into()), "Str(\"é\")"),
        (Value::Bytes(vec![0xff]), "Bytes([255])"),
        (Value::Date(2024, 2, 9, 1, 2, 3, 4), "Str(\"2024-02-09 01:02:03.000004\")"),
        (Value::Time(true, 34, 22, 59, 59, 0), "Str(\"-838:59:59\")"),
    ];
    let sql = format!("ECHO {}", vec!["?"; sent.len()].join(","));
    let parameters: Vec<Value> = sent.iter().map(|(v, _)| v.clone()).collect();
    let expected: Vec<&str> = sent.iter().map(|(_, e)| *e).collect();
    for _again in 0..2 {
        let cells: Vec<String> = conn.exec(&sql, parameters.clone()).await.unwrap();
        assert_eq!(cells, expected);
    }
}

#[tokio::test]
async fn long_parameters_go_ahead_of_the_statement() {
    let running = start(WireOptions::default()).await;
    let mut conn = running.connect().await;
    // mysql_async sends parameters ahead as soon as they do not fit one packet of its own limit.
    let long = "y".repeat(17 << 20);
    let cells: Vec<String> = conn.exec("ECHO ?,?", (long.clone(), 1)).await.unwrap();
    assert_eq!(cells[0].len(), long.len() + 7);
    assert_eq!(cells[1], "Int(1)");
}
