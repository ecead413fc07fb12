//! Everything decoded, applied to the oracle store, against the text that the recorded servers printed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use futures::TryStreamExt;
use serde_json::Value;
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::mysql::decoder::{BinlogDecoder, UnknownTables};
use tidelake_core::ports::{ScanRequest, SnapshotLease, StoreEngine, StoreWriter, TransactionDecoder};
use tidelake_core::testing::MemStore;
use tidelake_core::types::text::{ServerFlavor, TextContext, write_value};
use tidelake_core::{Catalog, CommitSeq, SourcePosition, TableEntry, TableName, TableState, TypeKind, WriterEpoch};

use crate::files::read;
use crate::support::data;

/// The store after the transactions of the files up to number `last_file`, and its catalog.
async fn replay(folder: &str, last_file: u64) -> (MemStore, CommitSeq, Catalog) {
    let transactions = read(&data(folder), None).await.expect("files are whole");
    let mut decoder = BinlogDecoder::new(TableFilter::default(), UnknownTables::Stop);
    let (store, mut catalog, mut seq) = (MemStore::new(), Catalog::default(), CommitSeq::ZERO);
    let mut writer = store.open_writer(WriterEpoch(1)).await.expect("writer");
    for (i, transaction) in transactions.iter().filter(|t| t.position.major <= last_file).enumerate() {
        seq = CommitSeq(i as u64 + 1);
        decoder.decode(transaction.buffered(seq.0), &mut catalog).expect("decodes");
        // batches over one, three and more transactions
        if i % 3 == 0 {
            publish(&mut decoder, &mut *writer, seq, &transaction.position).await;
        }
    }
    publish(&mut decoder, &mut *writer, seq, &SourcePosition::default()).await;
    assert_eq!(*store.catalog(seq).expect("catalog"), catalog, "engine and decoder agree");
    (store, seq, catalog)
}

async fn publish(decoder: &mut BinlogDecoder, writer: &mut dyn StoreWriter, seq: CommitSeq, position: &SourcePosition) {
    for step in decoder.take().expect("batches close") {
        writer.stage(step).await.expect("fits what is stored");
    }
    assert_eq!(decoder.pending_bytes(), 0);
    writer.publish(seq, position.clone()).await.expect("publish");
}

/// Rows of a table as the recording script asked for them: column -> text, bytes as hex digits.
pub async fn rows(
    store: &MemStore,
    seq: CommitSeq,
    entry: &TableEntry,
    flavor: ServerFlavor,
) -> Vec<BTreeMap<String, Value>> {
    let lease = SnapshotLease::new(1, seq, Arc::new(()));
    let plan = store.plan_scan(&ScanRequest::new(&lease, entry.def.id)).await.expect("plan");
    let mut out = Vec::new();
    for split in &plan.splits {
        let batches: Vec<RecordBatch> =
            store.read_split(split).await.expect("read").try_collect().await.expect("batch");
        for batch in batches {
            for row in 0..batch.num_rows() {
                let cells = entry.def.columns.iter().zip(batch.columns());
                out.push(cells.map(|(c, array)| (c.name.clone(), cell(&c.ty, array, row, flavor))).collect());
            }
        }
    }
    out
}

fn cell(ty: &tidelake_core::UpstreamType, array: &dyn Array, row: usize, flavor: ServerFlavor) -> Value {
    let context = TextContext { flavor, ..TextContext::default() };
    let mut text = Vec::new();
    if !write_value(ty, array, row, &context, &mut text).expect("every value has a text") {
        return Value::Null;
    }
    if ty.kind == TypeKind::Bit {
        return Value::String(format!("{:x}", array.as_primitive::<UInt64Type>().value(row)));
    }
    if ty.is_binary() {
        return Value::String(text.iter().map(|b| format!("{b:02x}")).collect());
    }
    let text = String::from_utf8(text).expect("text is UTF-8");
    if ty.kind == TypeKind::Float { Value::from(text.parse::<f64>().expect("a number")) } else { Value::String(text) }
}

/// Tables of a truth file, with their rows.
fn truth(path: &str) -> BTreeMap<String, Vec<BTreeMap<String, Value>>> {
    let file = std::fs::File::open(data(path)).expect(path);
    let text = String::from_utf8(zstd::decode_all(file).expect(path)).expect("text");
    let (mut tables, mut name) = (BTreeMap::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("## ") {
            name = rest.split(' ').next().expect("a name").to_owned();
            tables.insert(name.clone(), Vec::new());
        } else if line.starts_with('{') {
            let row = serde_json::from_str(line).expect("a JSON object");
            tables.get_mut(&name).expect("rows after their table").push(row);
        }
    }
    tables
}

fn sorted(mut rows: Vec<BTreeMap<String, Value>>) -> Vec<String> {
    let mut lines: Vec<String> = rows.iter_mut().map(|r| serde_json::to_string(r).expect("JSON")).collect();
    lines.sort();
    lines
}

/// Checks every table of the truth: equal to the last byte, or stopped with the expected reason.
async fn check(folder: &str, step: &str, last_file: u64, flavor: ServerFlavor, stopped: &[(&str, &str)]) {
    let (store, seq, catalog) = replay(folder, last_file).await;
    let mut live = 0;
    for (table, expected) in truth(&format!("{folder}/truth-after-{step}.txt.zst")) {
        let name = TableName::new("d1", table.as_str());
        let entry = catalog.visible(&name).unwrap_or_else(|| panic!("{name} is missing"));
        let wanted = stopped.iter().find(|(t, _)| *t == table).map(|(_, reason)| *reason);
        match (&entry.state, wanted) {
            (TableState::Stopped { reason, .. }, Some(wanted)) => assert!(reason.contains(wanted), "{name}: {reason}"),
            (TableState::Live, None) => {
                let (found, expected) = (sorted(rows(&store, seq, entry, flavor).await), sorted(expected));
                for (found, expected) in found.iter().zip(&expected) {
                    assert_eq!(found, expected, "{name} after step {step}");
                }
                assert_eq!(found.len(), expected.len(), "rows of {name} after step {step}");
                live += 1;
            }
            (state, wanted) => panic!("{name}: {state:?}, but expected: {wanted:?}"),
        }
    }
    assert!(live > 0);
}

const FULL: &str = "binlog_row_image=FULL";
const ROW: &str = "binlog_format=ROW";
const GENERATED: &str = "generated column";
const FOREIGN_KEY: &str = "foreign key";
const KEY: &str = "another primary key";
const SEQUENCE: &str = "before the table's CREATE TABLE";

#[tokio::test]
async fn mysql_56_is_reproduced() {
    check("mysql-5.6.14", "01", 1, ServerFlavor::MySql, &[]).await;
    check("mysql-5.6.14", "02", 9, ServerFlavor::MySql, &[("strs", FULL), ("ints", FULL)]).await;
}

#[tokio::test]
async fn mysql_97_is_reproduced() {
    check("mysql-9.7.4", "01", 1, ServerFlavor::MySql, &[("ctas2", KEY)]).await;
    check("mysql-9.7.4", "02", 2, ServerFlavor::MySql, &[("ctas2", KEY)]).await;
    check("mysql-9.7.4", "04", 9, ServerFlavor::MySql, &[("ctas2", KEY), ("pj", FULL), ("xa1", ROW)]).await;
}

/// Partial JSON, up to the place where the session changes its row images: what comes later is one number in row 1.
#[tokio::test]
async fn partial_json_is_applied() {
    let transactions = read(&data("mysql-9.7.4"), None).await.expect("files are whole");
    let mut decoder = BinlogDecoder::new(TableFilter::default(), UnknownTables::Stop);
    let (store, mut catalog, mut seq) = (MemStore::new(), Catalog::default(), CommitSeq::ZERO);
    let mut writer = store.open_writer(WriterEpoch(1)).await.expect("writer");
    let pj = TableName::new("d1", "pj");
    let (mut partial, mut last) = (0, Vec::new());
    for transaction in &transactions {
        seq = seq.next();
        decoder.decode(transaction.buffered(seq.0), &mut catalog).expect("decodes");
        publish(&mut decoder, &mut *writer, seq, &transaction.position).await;
        let Some(entry) = catalog.visible(&pj) else { continue };
        if entry.state != TableState::Live {
            break;
        }
        partial += transaction.items.iter().filter(|item| item[4] == 39).count();
        last = rows(&store, seq, entry, ServerFlavor::MySql).await;
    }
    assert!(partial >= 5, "{partial} rows events with partial values");
    let wanted = truth("mysql-9.7.4/truth-after-04.txt.zst").remove("pj").expect("the table");
    let of = |rows: &[BTreeMap<String, Value>], id: &str, column: &str| {
        let row = rows.iter().find(|row| row["id"] == id).expect("the row");
        row[column].as_str().map(str::to_owned)
    };
    for (id, column) in [("1", "k"), ("2", "j"), ("2", "k"), ("2", "other")] {
        assert_eq!(of(&last, id, column), of(&wanted, id, column), "{column} of {id}");
    }
    let later = of(&last, "1", "j").map(|j| j.replace("\"a\": 42,", "\"a\": 43,"));
    assert_eq!(later, of(&wanted, "1", "j"));
    let third = format!("{{\"a\": \"short\", \"pad\": \"{}\"}}", "r".repeat(500));
    assert_eq!((of(&last, "3", "j"), of(&last, "3", "k")), (Some(third), Some("[2, 3, 4]".to_owned())));
}

#[tokio::test]
async fn mariadb_118_is_reproduced() {
    let stopped = [("own", GENERATED), ("chi", FOREIGN_KEY), ("sq", SEQUENCE)];
    check("mariadb-11.8.9", "01", 1, ServerFlavor::MariaDb, &stopped).await;
    let stopped = [&stopped[..], &[("ctas", ROW)]].concat();
    check("mariadb-11.8.9", "02", 2, ServerFlavor::MariaDb, &stopped).await;
    let stopped = [&stopped[..], &[("mi", FULL)]].concat();
    check("mariadb-11.8.9", "04", 4, ServerFlavor::MariaDb, &stopped).await;
}
