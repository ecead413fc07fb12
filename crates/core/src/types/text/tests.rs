//! Expected texts were read from MariaDB 10.11.19 unless said otherwise.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float32Array, Float64Array, Int32Array, Int64Array,
    IntervalYearMonthArray, NullArray, StringArray, StringViewArray, Time64NanosecondArray, TimestampMicrosecondArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::Int8Type;
use proptest::prelude::*;

use super::super::temporal::{day_number, join_micros, zero_micros};
use super::*;
use crate::types::arrow::data_type;
use crate::value::{CellValue, array_of};

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

fn printed_in(ty: &UpstreamType, cell: CellValue, context: &TextContext) -> Vec<u8> {
    let array = array_of(&data_type(ty), &[CellValue::Null, cell]).unwrap();
    let mut out = Vec::new();
    assert!(!write_value(ty, &array, 0, context, &mut out).unwrap(), "{ty:?}: NULL is not text");
    assert!(out.is_empty());
    assert!(write_value(ty, &array, 1, context, &mut out).unwrap());
    out
}

fn printed(ty: &UpstreamType, cell: CellValue) -> String {
    String::from_utf8(printed_in(ty, cell, &TextContext::default())).unwrap()
}

fn computed(array: impl Array + 'static) -> String {
    let array: ArrayRef = Arc::new(array);
    let mut out = Vec::new();
    assert!(write_arrow(&array, 0, &TextContext::default(), &mut out).unwrap());
    String::from_utf8(out).unwrap()
}

fn int(v: i64) -> CellValue {
    CellValue::Int(v)
}

fn uint(v: u64) -> CellValue {
    CellValue::UInt(v)
}

fn moment(y: u16, m: u8, d: u8, us: i64) -> CellValue {
    int(join_micros(day_number(y, m, d), us))
}

const CLOCK: i64 = ((10 * 60 + 11) * 60 + 12) * 1_000_000;

#[test]
fn numbers() {
    use TypeKind as K;
    let dec = |s: &str| CellValue::Decimal(s.to_owned());
    let f = CellValue::Float;
    let table = [
        (ty(K::TinyInt), int(-128), "-128"),
        (ty(K::TinyInt).unsigned(), uint(255), "255"),
        (zerofill(ty(K::TinyInt)), uint(7), "007"),
        (zerofill(ty(K::TinyInt)), uint(0), "000"),
        (ty(K::MediumInt), int(-8_388_608), "-8388608"),
        (zerofill(ty(K::Int).with_length(5)), uint(42), "00042"),
        (zerofill(ty(K::Int).with_length(5)), uint(4_294_967_295), "4294967295"),
        (ty(K::BigInt), int(i64::MIN), "-9223372036854775808"),
        (ty(K::BigInt).unsigned(), uint(u64::MAX), "18446744073709551615"),
        (zerofill(ty(K::BigInt)), uint(0), "00000000000000000000"),
        (UpstreamType::decimal(10, 2), dec("-1234567890"), "-12345678.90"),
        (UpstreamType::decimal(5, 5), dec("50000"), "0.50000"),
        (UpstreamType::decimal(5, 5), dec("-1"), "-0.00001"),
        (zerofill(UpstreamType::decimal(6, 2)), dec("150"), "0001.50"),
        (zerofill(UpstreamType::decimal(6, 2)), dec("0"), "0000.00"),
        (
            UpstreamType::decimal(38, 0),
            dec("99999999999999999999999999999999999999"),
            "99999999999999999999999999999999999999",
        ),
        (
            UpstreamType::decimal(65, 30),
            dec("-12345678901234567890123456789012345123456789012345678901234567891"),
            "-12345678901234567890123456789012345.123456789012345678901234567891",
        ),
        (UpstreamType::decimal(65, 30), dec("0"), "0.000000000000000000000000000000"),
        (zerofill(ty(K::Float)), f(1.5), "0000000001.5"),
        (zerofill(ty(K::Double)), f(1.5), "00000000000000000001.5"),
        (zerofill(ty(K::Double)), f(1e300), "000000000000000001e300"),
        (zerofill(scaled(K::Double, 12, 4)), f(1.5), "0000001.5000"),
        (zerofill(scaled(K::Float, 7, 2)), f(1.5), "0001.50"),
        (zerofill(scaled(K::Float, 7, 2)), f(0.0), "0000.00"),
        (scaled(K::Float, 7, 2), f(f64::from(12345.68f32)), "12345.68"),
        (scaled(K::Float, 7, 2), f(-0.0), "0.00"),
        (scaled(K::Double, 12, 4), f(1234.5679), "1234.5679"),
        (scaled(K::Double, 8, 3), f(-1234.5), "-1234.500"),
        (scaled(K::Double, 20, 3), f(1e12), "1000000000000.000"),
        (ty(K::Year), uint(0), "0000"),
        (ty(K::Year), uint(2024), "2024"),
        (ty(K::Year).with_length(2), uint(2024), "24"),
        (ty(K::Year).with_length(2), uint(0), "00"),
    ];
    for (ty, cell, expected) in table {
        assert_eq!(printed(&ty, cell.clone()), expected, "{ty:?} {cell:?}");
    }
}

#[test]
fn floats_have_six_digits() {
    let table: [(f32, &str); 22] = [
        (0.0, "0"),
        (1.0, "1"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (123_456.0, "123456"),
        (1_234_565.0, "1234560"),
        (1_234_575.0, "1234580"),
        (1_234_567.0, "1234570"),
        (999_999.5, "1000000"),
        (1e14, "100000000000000"),
        (1e15, "1e15"),
        (1_234_560_000_000_000.0, "1.23456e15"),
        (1.23e-5, "0.0000123"),
        (1e-14, "0.00000000000001"),
        (1e-15, "0.000000000000001"),
        (1e-16, "1e-16"),
        (1.17549e-38, "1.17549e-38"),
        (1e-45, "1.4013e-45"),
        (16_777_216.0, "16777200"),
        (-3.4e38, "-3.4e38"),
        (f32::MAX, "3.40282e38"),
        (0.000_123_456_79, "0.000123457"),
    ];
    for (value, expected) in table {
        assert_eq!(printed(&ty(TypeKind::Float), CellValue::Float(value.into())), expected);
    }
}

#[test]
fn doubles_have_the_digits_that_read_back() {
    let table = [
        (0.0, "0"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e14, "100000000000000"),
        (1e15, "1e15"),
        (999_999_999_999_999.0, "999999999999999"),
        (123_456_789_012_345_680.0, "1.2345678901234568e17"),
        (1_234_567_890_123_456.0, "1.234567890123456e15"),
        (1_234_567_890_123_456.7, "1234567890123456.8"),
        (9e15, "9e15"),
        (1.5e15, "1.5e15"),
        (1e22, "1e22"),
        (1e-7, "0.0000001"),
        (1e-15, "0.000000000000001"),
        (1e-16, "1e-16"),
        (1.5e-15, "0.0000000000000015"),
        (1.5e-16, "1.5e-16"),
        (5e-324, "5e-324"),
        (2.225_073_858_507_201_4e-308, "2.2250738585072014e-308"),
        (-f64::MAX, "-1.7976931348623157e308"),
        (0.1 + 0.2, "0.30000000000000004"),
        (123_456_789.125, "123456789.125"),
        (2.0 / 3.0, "0.6666666666666666"),
        (9_007_199_254_740_992.0, "9.007199254740992e15"),
        (1.234_567_890_123_456_7e-14, "0.000000000000012345678901234567"),
    ];
    for (value, expected) in table {
        assert_eq!(printed(&ty(TypeKind::Double), CellValue::Float(value)), expected);
    }
}

#[test]
fn flavors_of_floats() {
    let mysql = TextContext { flavor: ServerFlavor::MySql, ..TextContext::default() };
    let tidb = TextContext { flavor: ServerFlavor::TiDb, ..TextContext::default() };
    let double = |v, context| printed_in(&ty(TypeKind::Double), CellValue::Float(v), context);
    assert_eq!(double(-0.0, &mysql), b"-0");
    // TiDB's rule as its source (server/internal/util, AppendFormatFloat) has it, not from a running server.
    assert_eq!(double(1.5e15, &tidb), b"1.5e15");
    assert_eq!(double(1e14, &tidb), b"100000000000000");
    let float = |v: f32| printed_in(&ty(TypeKind::Float), CellValue::Float(v.into()), &tidb);
    assert_eq!(float(16_777_216.0), b"16777216");
    assert_eq!(float(f32::MAX), b"3.40282e38");
}

#[test]
fn dates_and_times() {
    use TypeKind as K;
    let hours = |h: i64| h * 3_600_000_000;
    let table = [
        (ty(K::Date), int(day_number(9999, 12, 31).into()), "9999-12-31"),
        (ty(K::Date), int(day_number(0, 0, 0).into()), "0000-00-00"),
        (ty(K::Date), int(day_number(2024, 2, 31).into()), "2024-02-31"),
        (ty(K::DateTime), moment(2024, 0, 31, CLOCK), "2024-00-31 10:11:12"),
        (ty(K::DateTime).with_fsp(3), moment(1000, 1, 1, 123_000), "1000-01-01 00:00:00.123"),
        (ty(K::DateTime).with_fsp(6), moment(1, 2, 3, 7), "0001-02-03 00:00:00.000007"),
        (ty(K::DateTime).with_fsp(6), int(zero_micros()), "0000-00-00 00:00:00.000000"),
        (ty(K::DateTime), moment(9999, 12, 31, 86_399_000_000), "9999-12-31 23:59:59"),
        (ty(K::Time), int(-(hours(838) + 3_599_000_000)), "-838:59:59"),
        (ty(K::Time).with_fsp(1), int(hours(838) + 3_599_900_000), "838:59:59.9"),
        (ty(K::Time).with_fsp(6), int(-1), "-00:00:00.000001"),
        (ty(K::Time), int(0), "00:00:00"),
    ];
    for (ty, cell, expected) in table {
        assert_eq!(printed(&ty, cell.clone()), expected, "{ty:?} {cell:?}");
    }
}

#[test]
fn timestamps_move_to_the_sessions_zone_but_zero_stays() {
    let ty = ty(TypeKind::Timestamp).with_fsp(2);
    let east = TextContext { utc_offset_seconds: 19_800, ..TextContext::default() };
    let west = TextContext { utc_offset_seconds: -3600, ..TextContext::default() };
    assert_eq!(printed_in(&ty, int(990_000), &east), b"1970-01-01 05:30:00.99");
    assert_eq!(printed_in(&ty, int(990_000), &west), b"1969-12-31 23:00:00.99");
    assert_eq!(printed_in(&ty, int(zero_micros()), &east), b"0000-00-00 00:00:00.00");
    let datetime = UpstreamType { kind: TypeKind::DateTime, ..ty };
    assert_eq!(printed_in(&datetime, int(0), &east), b"1970-01-01 00:00:00.00");
}

#[test]
fn bits_and_bytes_are_raw() {
    let raw = |ty: &UpstreamType, cell| printed_in(ty, cell, &TextContext::default());
    assert_eq!(raw(&ty(TypeKind::Bit).with_length(1), uint(1)), [1]);
    assert_eq!(raw(&ty(TypeKind::Bit).with_length(9), uint(300)), [1, 0x2c]);
    assert_eq!(raw(&ty(TypeKind::Bit).with_length(64), uint(u64::MAX)), [0xff; 8]);
    let bytes = |b: &[u8]| CellValue::Bytes(b.to_vec());
    assert_eq!(raw(&ty(TypeKind::Binary).with_length(4), bytes(b"ab\0\0")), b"ab\0\0");
    assert_eq!(raw(&ty(TypeKind::Binary).with_length(4), bytes(b"ab")), b"ab\0\0");
    assert_eq!(raw(&ty(TypeKind::VarBinary).with_length(4), bytes(b"ab\0")), b"ab\0");
    assert_eq!(raw(&ty(TypeKind::Blob), bytes(&[0, 0xff, 0x80])), [0, 0xff, 0x80]);
}

#[test]
fn labels() {
    let e = ty(TypeKind::Enum).with_labels(["a", "b,x", "ü"]);
    assert_eq!(printed(&e, uint(0)), "");
    assert_eq!(printed(&e, uint(2)), "b,x");
    assert_eq!(printed(&e, uint(3)), "ü");
    let s = ty(TypeKind::Set).with_labels(["x", "yy", "z"]);
    assert_eq!(printed(&s, uint(0)), "");
    assert_eq!(printed(&s, uint(5)), "x,z");
    let wide = ty(TypeKind::Set).with_labels((0..64).map(|i| format!("l{i}")));
    assert_eq!(printed(&wide, uint(1 << 63)), "l63");
}

#[test]
fn values_without_label_are_corrupt() {
    for (ty, value) in [(ty(TypeKind::Enum).with_labels(["a"]), 2), (ty(TypeKind::Set).with_labels(["a"]), 2)] {
        let array = array_of(&data_type(&ty), &[uint(value)]).unwrap();
        let error = write_value(&ty, &array, 0, &TextContext::default(), &mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}

#[test]
fn addresses() {
    let uuid: Vec<u8> = (0..16).map(|i| i * 0x11).collect();
    assert_eq!(printed(&ty(TypeKind::Uuid), CellValue::Bytes(uuid)), "00112233-4455-6677-8899-aabbccddeeff");
    assert_eq!(printed(&ty(TypeKind::Inet4), CellValue::Bytes(vec![255, 0, 10, 1])), "255.0.10.1");
    let table: [([u16; 8], &str); 15] = [
        ([0, 0, 0, 0, 0, 0, 0, 0], "::"),
        ([0, 0, 0, 0, 0, 0, 0, 1], "::1"),
        ([1, 0, 0, 0, 0, 0, 0, 0], "1::"),
        ([0, 0, 0, 0, 0, 0, 0x102, 0x304], "::1.2.3.4"),
        ([0, 0, 0, 0, 0, 0xffff, 0x102, 0x304], "::ffff:1.2.3.4"),
        ([0, 0, 0, 0, 0, 0xffff, 0, 1], "::ffff:0.0.0.1"),
        ([1, 2, 3, 0, 5, 6, 7, 8], "1:2:3::5:6:7:8"),
        ([0xfe80, 0, 0, 0, 1, 0, 0, 1], "fe80::1:0:0:1"),
        ([0, 0, 1, 0, 0, 0, 0, 0], "0:0:1::"),
        ([0xffff; 8], "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ([1, 0, 0, 2, 0, 0, 0, 3], "1:0:0:2::3"),
        ([0, 0, 0, 0, 0xffff, 0, 0, 1], "::ffff:0:0:1"),
        ([0, 1, 0, 0, 0, 0xffff, 1, 1], "0:1::ffff:1:1"),
        ([0, 0, 0, 0, 0, 5, 1, 2], "::5:1:2"),
        ([1, 0, 0, 2, 3, 0, 0, 4], "1::2:3:0:0:4"),
    ];
    for (words, expected) in table {
        let bytes = words.iter().flat_map(|w| w.to_be_bytes()).collect();
        assert_eq!(printed(&ty(TypeKind::Inet6), CellValue::Bytes(bytes)), expected);
    }
}

#[test]
fn computed_columns() {
    assert_eq!(computed(BooleanArray::from(vec![true])), "1");
    assert_eq!(computed(Int32Array::from(vec![-7])), "-7");
    assert_eq!(computed(Float64Array::from(vec![1e15])), "1e15");
    assert_eq!(computed(Float32Array::from(vec![0.1])), "0.1");
    assert_eq!(computed(StringViewArray::from(vec!["é"])), "é");
    assert_eq!(computed(BinaryArray::from(vec![b"ab".as_slice()])), "ab");
    assert_eq!(computed(TimestampMicrosecondArray::from(vec![1_000_000])), "1970-01-01 00:00:01");
    assert_eq!(computed(TimestampNanosecondArray::from(vec![-1])), "1969-12-31 23:59:59.999999");
    assert_eq!(computed(Time64NanosecondArray::from(vec![3_600_000_001_000])), "01:00:00.000001");
    let words: DictionaryArray<Int8Type> = vec!["one", "two"].into_iter().collect();
    assert_eq!(computed(words.slice(1, 1)), "two");
    let negative_scale = arrow::array::Decimal128Array::from(vec![12]).with_precision_and_scale(5, -2).unwrap();
    assert_eq!(computed(negative_scale), "1200");
}

#[test]
fn nulls_of_every_kind() {
    let words: DictionaryArray<Int8Type> = vec![None, Some("x")].into_iter().collect();
    let nulls: [ArrayRef; 3] =
        [Arc::new(NullArray::new(1)), Arc::new(words), Arc::new(StringArray::from(vec![None::<&str>]))];
    for array in nulls {
        assert!(!write_arrow(&array, 0, &TextContext::default(), &mut Vec::new()).unwrap());
    }
}

#[test]
fn a_cast_that_kept_its_metadata_prints_as_computed() {
    let e = ty(TypeKind::Enum).with_labels(["a"]);
    let cast: ArrayRef = Arc::new(Int64Array::from(vec![77]));
    let mut out = Vec::new();
    write_value(&e, &cast, 0, &TextContext::default(), &mut out).unwrap();
    assert_eq!(out, b"77");
    let view: ArrayRef = Arc::new(StringViewArray::from(vec!["v"]));
    write_value(&ty(TypeKind::VarChar), &view, 0, &TextContext::default(), &mut out).unwrap();
    assert_eq!(out, b"77v");
}

#[test]
fn intervals_are_refused_by_name() {
    let interval: ArrayRef = Arc::new(IntervalYearMonthArray::from(vec![1]));
    let error = TextColumn::new(None, &interval, &TextContext::default()).err().unwrap();
    assert!(error.to_string().contains("Interval"), "{error}");
}

proptest! {
    #[test]
    fn printed_doubles_read_back(bits: u64) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite() && value != 0.0);
        let text = printed(&ty(TypeKind::Double), CellValue::Float(value));
        prop_assert_eq!(text.parse::<f64>().unwrap(), value);
    }

    #[test]
    fn decimals_read_back(value: i128, scale in 0u8..=30) {
        let mut out = Vec::new();
        number::push_decimal(value, scale as i8, 0, &mut out);
        let text = String::from_utf8(out).unwrap();
        prop_assert_eq!(text.replace('.', "").parse::<i128>().unwrap(), value);
        prop_assert_eq!(text.split('.').nth(1).map_or(0, str::len), usize::from(scale));
    }

    #[test]
    fn any_moment_prints(micros: i64, offset in -86_400_000_000i64..86_400_000_000) {
        let mut out = Vec::new();
        moment::push_datetime(micros, offset, Fraction::Digits(6), &mut out);
        moment::push_time(micros, Fraction::IfNonzero, &mut out);
        prop_assert!(out.len() >= 26);
    }
}
