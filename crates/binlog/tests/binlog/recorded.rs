//! Other people's binlogs: each file alone, decoded as far as it goes, against a written account of what came out.
//!
//! Most are MySQL's own test files, some of them damaged on purpose, or of versions that nobody runs any more. The account
//! (`recorded.txt`) has what every one of them gives: transactions, tables with their rows, or the reason why not (tables of
//! the `mysql` database are nobody's to replicate). `UPDATE_RECORDED=1 cargo test ...` writes it anew; the difference is
//! then to be looked at.

use std::fmt::Write;
use std::path::Path;

use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::mysql::context::TransactionContext;
use tidelake_binlog::mysql::decoder::{BinlogDecoder, UnknownTables};
use tidelake_binlog::mysql::event::EventHeader;
use tidelake_core::ports::{StoreEngine, TransactionDecoder};
use tidelake_core::testing::MemStore;
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Catalog, CommitSeq, SourcePosition, TableState, WriterEpoch};

use crate::files::read_what_is_whole;
use crate::golden::rows;
use crate::support::{data, recorded};

/// Rows of a table that are written out.
const MAX_ROWS: usize = 12;

/// What a file comes to.
async fn account(name: &str) -> String {
    let dir = tempfile::tempdir().expect("directory");
    std::fs::write(dir.path().join("binlog.000001"), recorded(name)).expect("write");
    let (transactions, ended) = read_what_is_whole(dir.path()).await;
    let mut out = format!("## {name}\n");
    let mut decoder = BinlogDecoder::new(TableFilter::default(), UnknownTables::Stop);
    let (store, mut catalog, mut seq) = (MemStore::new(), Catalog::default(), CommitSeq::ZERO);
    let mut writer = store.open_writer(WriterEpoch(1)).await.expect("writer");
    let context = transactions.first().map(|t| TransactionContext::decode(&t.items[0]).expect("a context"));
    let flavor = context.map_or(ServerFlavor::MySql, |context| context.flavor);
    for transaction in &transactions {
        seq = seq.next();
        let kinds = transaction.items[1..].iter().map(|item| EventHeader::parse(item).expect("a header").kind.0);
        let kinds: Vec<String> = kinds.map(|kind| kind.to_string()).collect();
        let _ = writeln!(out, "{} at {}: {}", transaction.id, transaction.position.minor, kinds.join(" "));
        if let Err(e) = decoder.decode(transaction.buffered(seq.0), &mut catalog) {
            let _ = writeln!(out, "cannot be decoded: {e}");
            break;
        }
        for step in decoder.take().expect("batches close") {
            writer.stage(step).await.expect("fits what is stored");
        }
        writer.publish(seq, SourcePosition::default()).await.expect("publish");
    }
    for entry in store.catalog(seq).expect("catalog").tables.values() {
        let (table, columns) = (&entry.def.name, entry.def.columns.len());
        if let TableState::Stopped { reason, .. } = &entry.state {
            let _ = writeln!(out, "{table} stopped: {reason}");
            continue;
        }
        let found = rows(&store, seq, entry, flavor).await;
        let _ = writeln!(out, "{table}: {} rows of {columns} columns", found.len());
        for row in found.iter().take(MAX_ROWS) {
            let line: String = serde_json::to_string(row).expect("JSON").chars().take(600).collect();
            let _ = writeln!(out, "  {line}");
        }
    }
    if let Err(e) = ended {
        let _ = writeln!(out, "stopped: {e}");
    }
    out.push('\n');
    out
}

#[tokio::test]
async fn every_recorded_file_gives_what_is_written_down() {
    let mut names: Vec<String> = std::fs::read_dir(data("recorded"))
        .expect("recorded files")
        .filter_map(|entry| {
            entry.expect("entry").file_name().into_string().expect("UTF-8").strip_suffix(".zst").map(str::to_owned)
        })
        .collect();
    names.sort();
    assert!(names.len() >= 48, "{names:?}");
    let mut found = String::new();
    for name in names {
        found += &account(&name).await;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recorded.txt");
    if std::env::var_os("UPDATE_RECORDED").is_some() {
        std::fs::write(&path, &found).expect("write");
    }
    let wanted = std::fs::read_to_string(&path).expect("the account");
    for (found, wanted) in found.split("## ").zip(wanted.split("## ")) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.len(), wanted.len());
}
