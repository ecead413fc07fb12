//! The samples of `tests/data/ticdc`.

use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::mysql::reader::Malformed;
use tidelake_binlog::ticdc::csv::{self, CsvOptions, Record};
use tidelake_binlog::ticdc::record::{Cell, Ddl, Event, Image, ImageOp};
use tidelake_binlog::ticdc::{canal, open, simple};

type Parse = fn(&[u8], &TableFilter, &mut Vec<Event>) -> Result<(), Malformed>;

fn lines(text: &str, parse: Parse) -> Vec<Event> {
    let mut events = Vec::new();
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        parse(line.trim().as_bytes(), &TableFilter::default(), &mut events)
            .unwrap_or_else(|e| panic!("{line}: {}", e.0));
    }
    events
}

fn image(event: &Event) -> (u64, ImageOp, String, Vec<String>) {
    let Event::Image { commit_ts, image } = event else { panic!("{event:?} is no row") };
    let image = Image::parse(image).expect("an image");
    let mut cells = Vec::new();
    image
        .cells(|name, cell| {
            cells.push(match cell {
                Cell::Null => format!("{name}=NULL"),
                Cell::Text(text) => format!("{name}={}", String::from_utf8_lossy(text)),
                Cell::Bytes(bytes) => format!("{name}=bytes {bytes:?}"),
                Cell::Zoned(text, zone) => format!("{name}={} {zone}", String::from_utf8_lossy(text)),
            });
            Ok(())
        })
        .expect("cells");
    (*commit_ts, image.op, format!("{}.{}", image.names.0, image.names.1), cells)
}

#[test]
fn rows_that_ticdc_wrote() {
    let events = lines(include_str!("../../data/ticdc/real_storage_CDC.json"), canal::parse);
    assert!(events.len() >= 3, "{}", events.len());
    let (ts, op, table, cells) = image(&events[0]);
    assert_eq!((ts, op, table.as_str()), (464_043_256_649_875_456, ImageOp::Insert, "test_active.message"));
    assert_eq!(cells, ["_tidb_origin_ts=NULL", "_tidb_softdelete_time=NULL", "first_name=t", "id=20", "last_name=TT"]);
}

#[test]
fn a_watermark_that_ticdc_sent() {
    let events = lines(include_str!("../../data/ticdc/real_watermark_v8.5.8.json"), canal::parse);
    assert_eq!(events, [Event::Watermark(469_374_055_665_369_095)]);
}

#[test]
fn canal_json_of_the_documentation() {
    let ddl = Ddl {
        database: "test".into(),
        table: String::new(),
        query: "drop database if exists test".into(),
        columns: None,
        collation: None,
    };
    let events = lines(include_str!("../../data/ticdc/docs_ddl.json"), canal::parse);
    assert_eq!(events, [Event::Ddl { commit_ts: 429_918_007_904_436_226, ddl }]);
    let events = lines(include_str!("../../data/ticdc/docs_insert_ints.json"), canal::parse);
    let (_, _, _, cells) = image(&events[0]);
    assert!(cells.contains(&"c_bigint=9223372036854775807".to_owned()), "{cells:?}");
}

#[test]
fn without_the_extension_it_is_refused() {
    let text = include_str!("../../data/ticdc/tiflow_employee_no_extension.json");
    let first = text.lines().next().expect("a line");
    let error = canal::parse(first.as_bytes(), &TableFilter::default(), &mut Vec::new()).unwrap_err();
    assert!(error.0.contains("enable-tidb-extension=true"), "{}", error.0);
}

#[test]
fn messages_cut_down_are_refused_with_the_setting() {
    let message = |field: &str| {
        format!(
            r#"{{"database":"d","table":"t","isDdl":false,"type":"INSERT","data":[{{"id":"1"}}],"_tidb":{{"commitTs":5,{field}}}}}"#
        )
    };
    for field in [r#""onlyHandleKey":true"#, r#""claimCheckLocation":"file:///x""#] {
        let error = canal::parse(message(field).as_bytes(), &TableFilter::default(), &mut Vec::new()).unwrap_err();
        assert!(error.0.contains("large-message-handle-option"), "{}", error.0);
    }
}

/// Everything at or before a watermark counts as given out: a message without a commit-ts would be dropped.
#[test]
fn messages_without_a_commit_ts_are_refused() {
    let (all, mut events) = (TableFilter::default(), Vec::new());
    for is_ddl in [false, true] {
        let text = format!(
            r#"{{"database":"d","table":"t","isDdl":{is_ddl},"type":"INSERT","sql":"x","data":[{{"id":"1"}}],"_tidb":{{"commitTs":0}}}}"#
        );
        assert!(canal::parse(text.as_bytes(), &all, &mut events).is_err(), "{text}");
    }
    for kind in ["INSERT", "ALTER", "WATERMARK"] {
        let text =
            format!(r#"{{"version":1,"type":"{kind}","database":"d","table":"t","sql":"x","data":{{"id":"1"}}}}"#);
        assert!(simple::parse(text.as_bytes(), &all, &mut events).is_err(), "{text}");
    }
    for (kind, value) in [(1, r#"{"u":{"id":{"t":3,"v":1}}}"#), (2, r#"{"q":"x","t":3}"#)] {
        let framed = |text: &str| [&(text.len() as u64).to_be_bytes()[..], text.as_bytes()].concat();
        let key = [&1u64.to_be_bytes()[..], &framed(&format!(r#"{{"ts":0,"scm":"d","tbl":"t","t":{kind}}}"#))].concat();
        assert!(open::parse(&key, &framed(value), &all, &mut events).is_err(), "{value}");
    }
    assert_eq!(events, []);
}

#[test]
fn simple_protocol_of_the_documentation() {
    let events = lines(include_str!("../../data/ticdc/simple.jsonl"), simple::parse);
    let (ts, op, table, cells) = image(&events[0]);
    assert_eq!((ts, op, table.as_str()), (447_984_084_414_103_554, ImageOp::Insert, "simple.user"));
    assert_eq!(cells, ["age=25", "id=1", "name=John Doe", "score=90.5"]);
    let (_, op, _, cells) = image(&events[1]);
    assert_eq!((op, cells[3].as_str()), (ImageOp::Delete, "score=90.5"));
    let (_, op, _, cells) = image(&events[2]);
    assert_eq!((op, cells[3].as_str()), (ImageOp::Insert, "score=95"));
    assert_eq!(image(&events[3]).1, ImageOp::Delete);
    assert_eq!(events[4], Event::Watermark(447_984_124_732_375_041));
    assert_eq!(events.len(), 5, "BOOTSTRAP is no event");
}

#[test]
fn open_protocol_of_the_documentation() {
    let mut events = Vec::new();
    let all = TableFilter::default();
    open::parse(
        include_bytes!("../../data/ticdc/rows_batch.key.bin"),
        include_bytes!("../../data/ticdc/rows_batch.value.bin"),
        &all,
        &mut events,
    )
    .expect("rows");
    let (ts, op, table, cells) = image(&events[0]);
    assert_eq!((ts, op, table.as_str()), (415_508_878_783_938_562, ImageOp::Insert, "test.t1"));
    assert_eq!(cells, ["id=1", "val=aa"]);
    assert_eq!(image(&events[1]).1, ImageOp::Delete);
    events.clear();
    let (key, value) =
        (include_bytes!("../../data/ticdc/ddl.key.bin"), include_bytes!("../../data/ticdc/ddl.value.bin"));
    open::parse(key, value, &all, &mut events).expect("a DDL");
    let query = "CREATE TABLE test.t1(id int primary key, val varchar(16))";
    let ddl = Ddl { database: "test".into(), table: "t1".into(), query: query.into(), columns: None, collation: None };
    assert_eq!(events, [Event::Ddl { commit_ts: 415_508_856_908_021_766, ddl }]);
    events.clear();
    let (key, value) =
        (include_bytes!("../../data/ticdc/resolved.key.bin"), include_bytes!("../../data/ticdc/resolved.value.bin"));
    open::parse(key, value, &all, &mut events).expect("a watermark");
    assert_eq!(events, [Event::Watermark(415_508_856_908_021_766)]);
}

#[test]
fn csv_of_the_documentation() {
    let columns: Vec<String> = ["Id", "LastName", "FirstName", "HireDate", "OfficeLocation"].map(String::from).to_vec();
    let (mut rest, mut events) = (&include_bytes!("../../data/ticdc/docs_employee.csv")[..], Vec::new());
    let options = CsvOptions::default();
    while !rest.is_empty() {
        let Record::Whole(fields, taken) = csv::record(rest, &options).expect("a record") else { panic!("torn") };
        csv::event(&fields, &columns, &options, &TableFilter::default(), &mut events).expect("an event");
        rest = &rest[taken..];
    }
    let ops: Vec<ImageOp> = events.iter().map(|e| image(e).1).collect();
    use ImageOp::{Delete, Insert, Replace};
    assert_eq!(ops, [Insert, Replace, Delete, Insert, Replace]);
    let (ts, _, table, cells) = image(&events[0]);
    assert_eq!((ts, table.as_str()), (433_305_438_660_591_626, "hr.employee"));
    assert_eq!(cells, ["Id=101", "LastName=Smith", "FirstName=Bob", "HireDate=2014-06-04", "OfficeLocation=New York"]);
}
