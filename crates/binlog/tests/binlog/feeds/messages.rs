//! Messages of a Kafka topic with several partitions, without a broker: repeated, interleaved, with watermarks that come late,
//! repeat and fall.

use prost::Message as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::ticdc::append::FeedAppender;
use tidelake_binlog::ticdc::partitions::Watermarks;
use tidelake_binlog::ticdc::place::FeedPlace;
use tidelake_binlog::ticdc::{Assembler, canal, open, simple};
use tidelake_binlog::tidb_binlog::secondary::{self, Binlog, ColumnInfo, DdlData, DmlData, Mutation, Value};
use tidelake_core::CellValue;
use tidelake_core::ports::Buffer;
use tidelake_core::testing::mem_buffer::MemBuffer;

use super::files;
use super::history::{Change, Commit, History, Kind, Row, Table};
use super::replica::Replica;
use super::storage::Check;

/// Key and value.
pub type Message = (Vec<u8>, Vec<u8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Canal,
    Simple,
    Open,
    Drainer,
}

/// Messages of a commit, each with the partition it goes to (`None`: to all).
fn messages(protocol: Protocol, ts: u64, commit: &Commit) -> Vec<(Option<String>, Message)> {
    if protocol == Protocol::Drainer {
        return vec![(None, (Vec::new(), drained(ts, commit)))];
    }
    match commit {
        Commit::Ddl { sql, database, table, after } => {
            vec![(None, ddl(protocol, ts, sql, database, table, after.as_ref()))]
        }
        Commit::Rows(changes) => {
            changes.iter().map(|change| (Some(change.table.name.table.clone()), row(protocol, ts, change))).collect()
        }
    }
}

fn plain(value: serde_json::Value) -> Message {
    (Vec::new(), value.to_string().into_bytes())
}

fn part(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_be_bytes()[..], bytes].concat()
}

fn framed(key: serde_json::Value, value: &[u8]) -> Message {
    ([&1u64.to_be_bytes()[..], &part(key.to_string().as_bytes())].concat(), part(value))
}

pub fn watermark(protocol: Protocol, ts: u64) -> Message {
    match protocol {
        Protocol::Canal => {
            plain(serde_json::json!({"id": 0, "database": "", "table": "", "pkNames": null, "isDdl": false,
            "type": "TIDB_WATERMARK", "es": 0, "ts": 0, "sql": "", "data": null, "old": null, "_tidb": {"watermarkTs": ts}}))
        }
        Protocol::Simple => plain(serde_json::json!({"version": 1, "type": "WATERMARK", "commitTs": ts, "buildTs": 1})),
        Protocol::Open => framed(serde_json::json!({"ts": ts, "t": 3}), b""),
        Protocol::Drainer => unreachable!("each message is its own"),
    }
}

fn ddl(protocol: Protocol, ts: u64, sql: &str, database: &str, table: &str, after: Option<&Table>) -> Message {
    match protocol {
        Protocol::Canal => {
            plain(serde_json::json!({"id": 0, "database": database, "table": table, "pkNames": null, "isDdl": true,
            "type": "QUERY", "es": 0, "ts": 0, "sql": sql, "data": null, "old": null, "_tidb": {"commitTs": ts}}))
        }
        Protocol::Simple => {
            let columns = |t: &Table| t.columns.iter().map(|(n, _)| serde_json::json!({"name": n})).collect::<Vec<_>>();
            let schema = after.map(|t| {
                serde_json::json!({"schema": t.name.database, "table": t.name.table, "version": ts, "columns": columns(t), "indexes": []})
            });
            let gone = serde_json::json!({"schema": database, "table": table, "version": 1, "columns": []});
            plain(serde_json::json!({"version": 1, "type": "ALTER", "sql": sql, "commitTs": ts, "buildTs": 1,
                "tableSchema": schema, "preTableSchema": gone}))
        }
        Protocol::Open => {
            let value = serde_json::json!({"q": sql, "t": 3}).to_string();
            framed(serde_json::json!({"ts": ts, "scm": database, "tbl": table, "t": 2}), value.as_bytes())
        }
        Protocol::Drainer => unreachable!("is made whole"),
    }
}

fn row(protocol: Protocol, ts: u64, change: &Change) -> Message {
    let table = &change.table;
    let names = (&table.name.database, &table.name.table);
    let kind = match (&change.old, &change.new) {
        (Some(_), Some(_)) => "UPDATE",
        (None, _) => "INSERT",
        _ => "DELETE",
    };
    let of = |row: &Option<Row>, cells: fn(&Table, &Row) -> serde_json::Value| row.as_ref().map(|r| cells(table, r));
    match protocol {
        Protocol::Canal => {
            let (old, new) = (of(&change.old, files::json_row), of(&change.new, files::json_row));
            let old_field = old.clone().filter(|_| new.is_some()).map(|o| vec![o]);
            plain(
                serde_json::json!({"id": 0, "database": names.0, "table": names.1, "pkNames": ["id"], "isDdl": false, "type": kind,
                "es": 0, "ts": 0, "sql": "", "data": [new.or(old)], "old": old_field, "_tidb": {"commitTs": ts}}),
            )
        }
        Protocol::Simple => {
            let (old, new) = (of(&change.old, simple_row), of(&change.new, simple_row));
            plain(serde_json::json!({"version": 1, "database": names.0, "table": names.1, "tableID": 1, "type": kind,
                "commitTs": ts, "buildTs": 1, "schemaVersion": table.version, "data": new, "old": old}))
        }
        Protocol::Open => {
            let (old, new) = (of(&change.old, open_row), of(&change.new, open_row));
            let value = match (old, new) {
                (Some(old), Some(new)) => serde_json::json!({"u": new, "p": old}),
                (Some(old), None) => serde_json::json!({"d": old}),
                (_, new) => serde_json::json!({"u": new}),
            };
            framed(serde_json::json!({"ts": ts, "scm": names.0, "tbl": names.1, "t": 1}), value.to_string().as_bytes())
        }
        Protocol::Drainer => unreachable!("is made whole"),
    }
}

fn simple_row(table: &Table, row: &Row) -> serde_json::Value {
    let cell = |kind: Kind, value: &CellValue| match (kind, value) {
        (_, CellValue::Null) => serde_json::Value::Null,
        (Kind::Timestamp, CellValue::Int(us)) => {
            serde_json::json!({"location": "Asia/Tokyo", "value": files::moment(us + 9 * 3_600_000_000, 0)})
        }
        (Kind::Vector, value) => files::text(kind, value).into(),
        (_, CellValue::Bytes(bytes)) => files::base64(bytes).into(),
        (kind, value) => files::text(kind, value).into(),
    };
    table.columns.iter().map(|(n, kind)| (n.clone(), cell(*kind, &row[n]))).collect::<serde_json::Map<_, _>>().into()
}

/// Go's `strconv.Quote` without the quotes.
fn quoted(bytes: &[u8]) -> String {
    let one = |b: &u8| match b {
        b'\n' => "\\n".to_owned(),
        b'"' => "\\\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        0x20..=0x7e => char::from(*b).to_string(),
        b => format!("\\x{b:02x}"),
    };
    bytes.iter().map(one).collect()
}

fn open_row(table: &Table, row: &Row) -> serde_json::Value {
    let cell = |kind: Kind, value: &CellValue| {
        let (code, flag) = match kind {
            Kind::Int => (3, 0),
            Kind::BigUnsigned => (8, 128),
            Kind::VarBinary => (15, 1),
            Kind::VarChar => (15, 0),
            Kind::Decimal => (246, 0),
            Kind::Enum => (247, 0),
            Kind::Set => (248, 0),
            Kind::DateTime => (12, 0),
            Kind::Timestamp => (7, 0),
            Kind::Time => (11, 0),
            Kind::Double => (5, 0),
            Kind::Float => (4, 0),
            Kind::Bit => (16, 128),
            Kind::Json => (245, 0),
            Kind::BigInt => (8, 0),
            Kind::Text => (250, 0),
            Kind::Blob => (252, 1),
            Kind::Binary => (254, 1),
            Kind::Date => (10, 0),
            Kind::Year => (13, 32),
            Kind::Vector => (225, 0),
        };
        let v = match (kind, value) {
            (_, CellValue::Null) => serde_json::Value::Null,
            (Kind::Int | Kind::BigInt, CellValue::Int(v)) => (*v).into(),
            (_, CellValue::UInt(v)) => (*v).into(),
            (Kind::Float, CellValue::Float(v)) => (*v as f32).to_string().parse::<f64>().expect("a number").into(),
            (_, CellValue::Float(v)) => (*v).into(),
            (Kind::Text, CellValue::Str(text)) => files::base64(text.as_bytes()).into(),
            (Kind::Blob, CellValue::Bytes(bytes)) => files::base64(bytes).into(),
            (Kind::VarBinary | Kind::Binary, CellValue::Bytes(bytes)) => quoted(bytes).into(),
            (kind, value) => files::text(kind, value).into(),
        };
        serde_json::json!({"t": code, "f": flag, "v": v})
    };
    table.columns.iter().map(|(n, kind)| (n.clone(), cell(*kind, &row[n]))).collect::<serde_json::Map<_, _>>().into()
}

/// A commit as Drainer sends it, with a zone of its own.
fn drained(ts: u64, commit: &Commit) -> Vec<u8> {
    let mut binlog = Binlog { commit_ts: Some(ts as i64), time_zone: Some("Asia/Tokyo".into()), ..Binlog::default() };
    match commit {
        Commit::Ddl { sql, database, table, .. } => {
            let (schema_name, table_name) = (Some(database.clone()), Some(table.clone()));
            binlog.tp = Some(1);
            binlog.ddl_data = Some(DdlData { schema_name, table_name, ddl_query: Some(sql.clone().into_bytes()) });
        }
        Commit::Rows(changes) => {
            binlog.tp = Some(0);
            binlog.dml_data = Some(DmlData { tables: changes.iter().map(drained_change).collect() });
        }
    }
    binlog.encode_to_vec()
}

fn drained_change(change: &Change) -> secondary::Table {
    let table = &change.table;
    let row = |row: &Row| secondary::Row {
        columns: table.columns.iter().map(|(name, kind)| drained_value(*kind, &row[name])).collect(),
    };
    let mutation = match (&change.old, &change.new) {
        (Some(old), Some(new)) => Mutation { tp: Some(1), row: Some(row(new)), change_row: Some(row(old)) },
        (Some(old), None) => Mutation { tp: Some(2), row: Some(row(old)), change_row: None },
        (_, new) => Mutation { tp: Some(0), row: new.as_ref().map(row), change_row: None },
    };
    let info = |(name, kind): &(String, Kind)| ColumnInfo {
        name: Some(name.clone()),
        mysql_type: Some(if *kind == Kind::Timestamp { "timestamp" } else { "int" }.into()),
    };
    secondary::Table {
        schema_name: Some(table.name.database.clone()),
        table_name: Some(table.name.table.clone()),
        column_info: table.columns.iter().map(info).collect(),
        mutations: vec![mutation],
    }
}

fn drained_value(kind: Kind, value: &CellValue) -> Value {
    let empty = Value::default();
    match (kind, value) {
        (_, CellValue::Null) => Value { is_null: Some(true), ..empty },
        (Kind::Timestamp, CellValue::Int(us)) => {
            Value { string_value: Some(files::moment(us + 9 * 3_600_000_000, 0)), ..empty }
        }
        (Kind::Vector, value) => Value { string_value: Some(files::text(kind, value)), ..empty },
        (Kind::Int | Kind::BigInt, CellValue::Int(v)) => Value { int64_value: Some(*v), ..empty },
        (_, CellValue::UInt(v)) => Value { uint64_value: Some(*v), ..empty },
        (_, CellValue::Float(v)) => Value { double_value: Some(*v), ..empty },
        (_, CellValue::Bytes(bytes)) => Value { bytes_value: Some(bytes.clone()), ..empty },
        (Kind::Json, value) => Value { bytes_value: Some(files::text(kind, value).into_bytes()), ..empty },
        (kind, value) => Value { string_value: Some(files::text(kind, value)), ..empty },
    }
}

/// A topic's partitions up to (not including) commit `upto`, from `from`, then a watermark in each.
pub fn partitions(
    history: &History,
    protocol: Protocol,
    (from, upto): (usize, usize),
    count: usize,
    rng: &mut StdRng,
) -> Vec<Vec<Message>> {
    let mut out = vec![Vec::new(); count];
    for (ts, commit) in &history.commits[from..upto] {
        for (table, message) in messages(protocol, *ts, commit) {
            match table {
                // rows of one commit and table may go anywhere
                Some(_) => out[rng.random_range(0..count)].push(message.clone()),
                None if matches!(protocol, Protocol::Canal | Protocol::Drainer) => out[0].push(message.clone()),
                None => out.iter_mut().for_each(|p| p.push(message.clone())),
            }
        }
    }
    // rows of several tables come in any order between two watermarks; DDL of one partition keeps its order
    for partition in &mut out {
        if rng.random_ratio(1, 3) {
            let again: Vec<Message> = partition.iter().filter(|_| rng.random_ratio(1, 2)).cloned().collect();
            partition.extend(again);
        }
        if protocol == Protocol::Drainer {
            continue;
        }
        let watermark_ts = history.commits[upto - 1].0;
        partition.push(watermark(protocol, watermark_ts));
        partition.push(watermark(protocol, watermark_ts - rng.random_range(0..1000)));
    }
    out
}

fn parse(protocol: Protocol, (key, value): &Message, out: &mut Vec<tidelake_binlog::ticdc::record::Event>) {
    let all = TableFilter::default();
    let parsed = match protocol {
        Protocol::Canal => canal::parse(value, &all, out),
        Protocol::Simple => simple::parse(value, &all, out),
        Protocol::Open => open::parse(key, value, &all, out),
        Protocol::Drainer => secondary::parse(value, &all, out),
    };
    parsed.unwrap_or_else(|e| panic!("{}: {}", String::from_utf8_lossy(value), e.0));
}

fn play(seed: u64, protocol: Protocol, memory: usize) {
    use tidelake_binlog::ticdc::record::Event;
    let context = format!("seed {seed}, {protocol:?}");
    let history = History::random(seed, 60);
    let mut rng = StdRng::seed_from_u64(seed);
    let buffer = MemBuffer::new(u64::MAX);
    let scratch = tempfile::tempdir().unwrap();
    let mut check = Check { history, replica: Replica::new(), applied: 0 };
    let count = rng.random_range(1..5);
    let (mut upto, mut assembler, mut watermarks) = (0, None, Watermarks::new(count));
    while upto < check.history.commits.len() {
        let from = upto;
        upto = (upto + rng.random_range(1..15)).min(check.history.commits.len());
        if assembler.is_none() || rng.random_ratio(1, 3) {
            // a restart reads from the durable position on
            let after = buffer.read_position().borrow().as_ref().map(|p| FeedPlace::parse(p).expect("a place"));
            drop(assembler.take());
            assembler = Some(Assembler::new(scratch.path(), memory, after.as_ref()).expect("an assembler"));
            watermarks = Watermarks::new(count);
        }
        let Some(assembler) = &mut assembler else { unreachable!("made above") };
        let topic = partitions(&check.history, protocol, (from, upto), count, &mut rng);
        let mut queues: Vec<_> = topic.into_iter().map(std::collections::VecDeque::from).collect();
        let mut order: Vec<usize> = queues.iter().enumerate().flat_map(|(p, q)| vec![p; q.len()]).collect();
        order.shuffle(&mut rng);
        for p in order {
            let mut events = Vec::new();
            parse(protocol, &queues[p].pop_front().expect("as many as there are"), &mut events);
            if protocol == Protocol::Drainer {
                secondary::leave_out_repeated(&mut events, watermarks.of(p));
            }
            for event in events {
                match event {
                    Event::Watermark(ts) if protocol == Protocol::Drainer => {
                        (0..count).for_each(|p| watermarks.advance(p, ts));
                    }
                    Event::Watermark(ts) => watermarks.advance(p, ts),
                    event => assembler.push(&event).expect("push"),
                }
            }
            let mut appender =
                FeedAppender::new(&*buffer, "+08:00", protocol == Protocol::Drainer).expect("an appender");
            assembler.release(watermarks.least(), &mut appender).expect("release");
            appender.close().expect("close");
            buffer.note_read(assembler.place().to_source());
            buffer.sync().expect("sync");
            check.catch_up(&buffer, &context);
        }
        assert!(check.applied >= upto, "{context}: {} of {upto}", check.applied);
    }
}

#[test]
fn partitions_give_the_same_tables_at_every_commit() {
    for seed in 400..410 {
        for protocol in [Protocol::Canal, Protocol::Simple, Protocol::Open, Protocol::Drainer] {
            play(seed, protocol, 64 << 20);
        }
    }
}

#[test]
fn events_that_outgrow_memory_come_back_in_order() {
    for seed in 420..424 {
        play(seed, Protocol::Simple, 500);
    }
}

/// Drainer sends a transaction again after a restart: equal rows of a table without a key stay as many as they were.
#[test]
fn drainer_s_equal_rows_stay_apart() {
    use tidelake_binlog::ticdc::record::Event;
    let rows = |ts: u64, op: i32, count: usize| {
        let row = secondary::Row { columns: vec![Value { int64_value: Some(7), ..Value::default() }] };
        let info = ColumnInfo { name: Some("a".into()), mysql_type: Some("int".into()) };
        let mutation = Mutation { tp: Some(op), row: Some(row), change_row: None };
        let table = secondary::Table {
            schema_name: Some("d".into()),
            table_name: Some("t".into()),
            column_info: vec![info],
            mutations: vec![mutation; count],
        };
        let dml_data = Some(DmlData { tables: vec![table] });
        Binlog { tp: Some(0), commit_ts: Some(ts as i64), dml_data, ..Binlog::default() }.encode_to_vec()
    };
    let query = Some(b"CREATE TABLE t (a INT)".to_vec());
    let ddl_data = Some(DdlData { schema_name: Some("d".into()), table_name: Some("t".into()), ddl_query: query });
    let create = Binlog { tp: Some(1), commit_ts: Some(3), ddl_data, ..Binlog::default() }.encode_to_vec();
    let scratch = tempfile::tempdir().unwrap();
    let (buffer, mut newest) = (MemBuffer::new(u64::MAX), 0);
    let mut assembler = Assembler::new(scratch.path(), 1 << 20, None).expect("an assembler");
    for message in [&create, &rows(5, 0, 3), &rows(5, 0, 3), &rows(6, 2, 1), &rows(5, 0, 3), &rows(6, 2, 1)] {
        let mut events = Vec::new();
        secondary::parse(message, &TableFilter::default(), &mut events).expect("parses");
        secondary::leave_out_repeated(&mut events, newest);
        for event in &events {
            newest = newest.max(if let Event::Watermark(ts) = event { *ts } else { 0 });
            assembler.push(event).expect("push");
        }
    }
    let mut appender = FeedAppender::new(&*buffer, "UTC", true).expect("an appender");
    assembler.release(newest, &mut appender).expect("release");
    appender.close().expect("close");
    buffer.sync().expect("sync");
    let mut replica = Replica::new();
    while replica.next(&buffer).is_some() {}
    assert_eq!((replica.stopped(), replica.births("t")), (Vec::new(), (3, 1)));
}
