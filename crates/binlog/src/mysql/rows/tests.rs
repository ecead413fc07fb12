//! Values at the edges of their types, in the bytes that servers write.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use tidelake_core::schema::IndexDef;
use tidelake_core::types::temporal::{TIME_MAX_US, day_number, join_micros, zero_micros};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{ColumnDef, CommitSeq, RowOp, TableDef, TableName, TypeKind, UpstreamType};

use super::charset::Charset;
use super::*;
use crate::mysql::table_map::{TableMap, WireType};

fn reader(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
}

#[test]
fn decimals() {
    let narrow =
        |hex: &str, p, s| decimal::narrow(&mut Reader::new(&reader(hex)), decimal::Form::new(p, s)).expect(hex);
    // -1234567890.1234 as decimal(14,4), the example in the server's source
    assert_eq!(narrow("7ef204c72dfb2d", 14, 4), -12_345_678_901_234);
    assert_eq!(narrow("810dfb38d204d2", 14, 4), 12_345_678_901_234);
    assert_eq!(narrow("80", 1, 0), 0);
    assert_eq!(decimal::json_text(&reader("02018000")), Ok("0.0".to_owned()));
    assert_eq!(decimal::json_text(&reader("02017efe")), Ok("-1.1".to_owned()));
    assert!(decimal::narrow(&mut Reader::new(&reader("ff")), decimal::Form::new(1, 0)).is_err(), "127 is no digit");
}

#[test]
fn times_reach_their_limits() {
    let time = |hex: &str, fsp| temporal::time2(&mut Reader::new(&reader(hex)), fsp).expect(hex);
    assert_eq!(time("800000", 0), 0);
    assert_eq!(time("7fffff", 0), -1_000_000);
    assert_eq!(time("7ffffff1", 1), -150_000);
    assert_eq!(time("7fffffffffff", 6), -1);
    assert_eq!(time("b46efb0f423f", 6), TIME_MAX_US);
    assert_eq!(
        temporal::time_old(&mut Reader::new(&(-8_385_959i32).to_le_bytes()[..3]), 0),
        Ok(-(TIME_MAX_US / 1_000_000 * 1_000_000))
    );
    assert!(temporal::time2(&mut Reader::new(&reader("ffffff")), 0).is_err());
}

#[test]
fn dates_without_a_calendar_are_kept() {
    let datetime = |hex: &str| temporal::datetime2(&mut Reader::new(&reader(hex)), 0);
    assert_eq!(datetime("8000000000"), Ok(zero_micros()));
    assert_eq!(datetime("99b2000000"), Ok(join_micros(day_number(2024, 0, 0), 0)));
    assert!(datetime("0000000000").is_err());
    let old = 20_240_231_235_959u64.to_le_bytes();
    let day_us = ((23 * 60 + 59) * 60 + 59) * 1_000_000;
    assert_eq!(temporal::datetime_old(&mut Reader::new(&old), 0), Ok(join_micros(day_number(2024, 2, 31), day_us)));
    assert_eq!(temporal::timestamp2(&mut Reader::new(&[0; 4]), 0), Ok(zero_micros()));
}

#[test]
fn json_numbers_print_as_the_server_prints_them() {
    let text = |value: f64| {
        let mut out = String::new();
        let bytes = [&[11u8][..], &value.to_le_bytes()].concat();
        json::write_text(&bytes, &mut out).expect("a double");
        out
    };
    assert_eq!(text(1.0), "1.0");
    assert_eq!(text(-0.0), "-0.0");
    assert_eq!(text(1e300), "1e300");
    assert_eq!(text(123_456_789_012_345.0), "123456789012345.0");
    assert_eq!(text(1e15), "1e15");
    assert_eq!(text(1e-5), "0.00001");
    assert_eq!(text(1.25e-20), "1.25e-20");
}

#[test]
fn json_that_overlaps_itself_ends() {
    // an array whose two elements are the array itself, as deep as one likes
    let mut out = String::new();
    let array = [2u8, 2, 0, 10, 0, 2, 0, 0, 2, 0, 0];
    assert!(json::write_text(&array, &mut out).is_err());
    assert!(out.len() < 4096);
}

#[test]
fn charsets() {
    let text = |name: &str, bytes: &[u8]| {
        let charset = Charset::named(name).expect(name);
        let mut scratch = String::new();
        charset.decode(bytes, &mut scratch).map(str::to_owned)
    };
    assert_eq!(text("latin1", b"\xe4\x80"), Ok("ä€".to_owned()));
    assert_eq!(text("cp850", b"\x84"), Ok("ä".to_owned()));
    assert_eq!(text("utf16", b"\xd8\x34\xdd\x1e"), Ok("𝄞".to_owned()));
    assert_eq!(text("utf16le", b"\x34\xd8\x1e\xdd"), Ok("𝄞".to_owned()));
    assert_eq!(text("utf32", b"\0\x01\xf9\x80"), Ok("🦀".to_owned()));
    assert_eq!(text("gbk", b"\xd6\xd0"), Ok("中".to_owned()));
    assert_eq!(text("swe7", b"[a"), Ok("Äa".to_owned()));
    assert!(text("utf8mb4", b"\xff").is_err());
    assert_eq!(text("ucs2", b"\0a\x04\x10"), Ok("aА".to_owned()));
    assert!(text("ucs2", b"\xdf\x84").is_err() && text("ucs2", b"\xd8\x34\xdd\x1e").is_err());
    assert!(Charset::named("filename").is_none());
    let mut scratch = String::new();
    for (flavor, expected) in [(ServerFlavor::MySql, "a??b"), (ServerFlavor::MariaDb, "a?b")] {
        let charset = Charset::of_server("ujis", flavor).expect("known");
        assert_eq!(charset.decode(b"a\x8e\xa0b", &mut scratch), Ok(expected));
    }
    // where the server's tables are its own
    assert_eq!(text("sjis", b"a\x81\x60\x81\x61\x5c\xb1"), Ok("a〜‖\\ｱ".to_owned()));
    assert_eq!(text("ujis", b"\xa1\xc1\xf5\xa1\xf5\xa2\xb0\xa1\x8f\xa2\xb7"), Ok("〜\u{e000}\u{e001}亜~".to_owned()));
    assert_eq!(text("eucjpms", b"\xa1\xc1\xfe\xfe"), Ok("～\u{e3ab}".to_owned()));
    assert_eq!(text("big5", b"\xa1\x45x\xa4\xa4"), Ok("\u{2022}x中".to_owned()));
    assert_eq!(text("gbk", b"\xa2\xa0\xd6\xd0\xff"), Ok("?中?".to_owned()));
    assert_eq!(text("euckr", b"\x81"), Ok("?".to_owned()));
    assert_eq!(text("tis620", b"\xa0\xa1"), Ok("\u{fffd}ก".to_owned()));
    assert_eq!(text("armscii8", b"\xa4\xff"), Ok(")'".to_owned()));
    assert_eq!(text("swe7", b"\x7f["), Ok("?Ä".to_owned()));
}

/// The images of a table (a INT, b BLOB, UNIQUE (b)) of MariaDB, with the hash of `b` behind: the values of `a`.
fn hashed(versioned: bool, present: u8, images: &str) -> Result<Vec<Option<i32>>, String> {
    let column = |id, name, kind| ColumnDef::new(id, name, UpstreamType::new(kind)).nullable();
    let columns = vec![column(1, "a", TypeKind::Int), column(2, "b", TypeKind::Blob)];
    let mut def = TableDef::new(TableName::new("d", "t"), columns, &[]);
    let columns = vec!["b".to_owned()];
    def.indexes = vec![IndexDef { name: "b".into(), unique: true, sql: "UNIQUE KEY `b` (`b`)".into(), columns }];
    let def = Arc::new(def);
    let (mut wire, mut names) = (vec![WireType::Long, WireType::Blob { len: 2, compressed: false }], vec!["a", "b"]);
    if versioned {
        wire.extend([WireType::Timestamp2 { fsp: 6 }; 2]);
        names.extend(["row_start", "row_end"]);
    }
    wire.push(WireType::LongLong);
    names.push("DB_ROW_HASH_1");
    let map = TableMap {
        id: 1,
        database: "d".into(),
        table: "t".into(),
        unsigned: vec![None; wire.len()],
        collations: vec![None; wire.len()],
        columns: wire,
        tells_collations: false,
        names: versioned.then(|| names.into_iter().map(str::to_owned).collect()),
    };
    let plan = TablePlan::new(&map, &def, ServerFlavor::MariaDb)?;
    let event = RowsEvent {
        table_id: 1,
        kind: RowsKind::Write,
        flags: 0,
        columns: map.columns.len(),
        present: &[present],
        present_after: &[present],
        rows: Cow::Owned(reader(images)),
    };
    let mut writer = TableWriter::new(&def).expect("stored types");
    let ops = (RowOp::Delete, RowOp::Insert);
    writer.append_rows(&event, &plan, CommitSeq(1), ops, |_| {})?;
    let batch = writer.finish().expect("a batch").expect("rows");
    Ok(batch.rows.column(0).as_primitive::<Int32Type>().iter().collect())
}

#[test]
fn hashes_of_unique_keys_are_stepped_over() {
    const HASH: &str = "1122334455667788";
    // both with a hash, then a NULL in b and so none, then a NULL in a alone
    let images =
        format!("f8 01000000 010078 {HASH} fe 02000000 f9 010079 {HASH} f8 04000000 0000 {HASH}").replace(' ', "");
    assert_eq!(hashed(false, 0xff, &images), Ok(vec![Some(1), Some(2), None, Some(4)]));
    assert_eq!(hashed(false, 0b011, "fc01000000010078fd010079"), Ok(vec![Some(1), None]), "not in the images");
    assert!(hashed(false, 0xff, "f80100000001007811223344").is_err(), "cut off");
    let end = "ffffffff0f423f";
    let past = "650000000f423f";
    let images = format!(
        "e0 01000000 010078 {past} {end} {HASH} f2 02000000 {past} {end} e0 03000000 0000 {past} {past} {HASH}"
    );
    assert_eq!(hashed(true, 0xff, &images.replace(' ', "")), Ok(vec![Some(1), Some(2)]), "the third is history");
}

#[test]
fn a_bigint_too_many_is_a_hash_only_where_a_key_can_have_one() {
    let varchar =
        |length| UpstreamType::new(TypeKind::VarChar).with_length(length).with_charset("utf8mb4", "utf8mb4_bin");
    let text = UpstreamType::new(TypeKind::Text).with_charset("utf8mb4", "utf8mb4_bin");
    let hashed = |ty: &UpstreamType, sql: &str, unique, flavor| {
        let mut def = TableDef::new(TableName::new("d", "t"), vec![ColumnDef::new(1, "k", ty.clone())], &[]);
        def.indexes = vec![IndexDef { name: "k".into(), unique, sql: sql.to_owned(), columns: vec!["k".into()] }];
        let wire = match ty.kind {
            TypeKind::Text => WireType::Blob { len: 2, compressed: false },
            TypeKind::VarChar => WireType::VarChar { max: 4000, compressed: false },
            _ => WireType::Long,
        };
        let map = TableMap {
            id: 1,
            database: "d".into(),
            table: "t".into(),
            unsigned: vec![None; 2],
            collations: vec![None; 2],
            columns: vec![wire, WireType::LongLong],
            tells_collations: false,
            names: None,
        };
        TablePlan::new(&map, &Arc::new(def), flavor).map(drop)
    };
    let maria = ServerFlavor::MariaDb;
    let int = UpstreamType::new(TypeKind::Int);
    assert_eq!(hashed(&text, "UNIQUE KEY `k` (`k`)", true, maria), Ok(()));
    assert_eq!(hashed(&text, "UNIQUE KEY `k` (`k`(192))", true, maria), Ok(()));
    assert_eq!(hashed(&varchar(1000), "UNIQUE KEY `k` (`k`)", true, maria), Ok(()));
    assert_eq!(hashed(&int, "UNIQUE KEY `k` (`k`) USING HASH", true, maria), Ok(()));
    for (ty, sql, unique, flavor) in [
        (&text, "UNIQUE KEY `k` (`k`)", true, ServerFlavor::MySql),
        (&text, "KEY `k` (`k`)", false, maria),
        (&text, "UNIQUE KEY `k` (`k`(191))", true, maria),
        (&varchar(191), "UNIQUE KEY `k` (`k`)", true, maria),
        (&int, "UNIQUE KEY `k` (`k`)", true, maria),
    ] {
        let refused = hashed(ty, sql, unique, flavor).expect_err(sql);
        assert!(refused.contains("2 columns"), "{refused}");
    }
}
