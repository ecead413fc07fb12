//! The file source: order, resuming, following, compressed and damaged files.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tidelake_binlog::ddl::DdlOutcome;
use tidelake_binlog::file::{FileSource, FileSourceOptions};
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::mysql::decoder::{BinlogDecoder, DdlInterpreter, UnknownTables};
use tidelake_core::ports::{Buffer, Source, SourceState, TransactionDecoder};
use tidelake_core::{Catalog, Error, Result, SourcePosition, TableName, TableState};
use tokio_util::sync::CancellationToken;

use crate::support::{Committed, MemoryBuffer, data};

fn source(dir: &Path, follow: bool) -> FileSource {
    let options = FileSourceOptions { dir: dir.to_owned(), filter: TableFilter::default(), follow };
    FileSource::new(options)
}

pub async fn read(dir: &Path, after: Option<SourcePosition>) -> Result<Vec<Committed>> {
    let buffer = MemoryBuffer::new();
    let source = source(dir, false);
    source.stream(after, buffer.clone(), CancellationToken::new()).await?;
    assert_eq!(source.status().state, SourceState::Finished);
    assert_eq!(source.status().bytes_total, Some(source.status().bytes_read));
    let head = source.head().await?;
    assert_eq!(buffer.read_position().borrow().as_ref(), Some(&head), "the head is covered");
    Ok(buffer.committed())
}

/// What comes before the first error, and how it ended.
pub async fn read_what_is_whole(dir: &Path) -> (Vec<Committed>, Result<()>) {
    let buffer = MemoryBuffer::new();
    let ended = source(dir, false).stream(None, buffer.clone(), CancellationToken::new()).await;
    (buffer.committed(), ended)
}

fn copy(from: &str, to: &Path, edit: impl Fn(&str, Vec<u8>) -> (String, Vec<u8>)) {
    for entry in std::fs::read_dir(data(from)).expect("recorded files") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        if name.starts_with("binlog") {
            let (name, bytes) = edit(&name, std::fs::read(&path).expect("read"));
            std::fs::write(to.join(name), bytes).expect("write");
        }
    }
}

#[tokio::test]
async fn resumes_after_every_transaction() {
    let dir = data("mysql-9.7.4");
    let whole = read(&dir, None).await.expect("files are whole");
    assert_eq!(whole.len(), 91);
    for (i, transaction) in whole.iter().enumerate().step_by(3) {
        let rest = read(&dir, Some(transaction.position.clone())).await.expect("resumes");
        assert!(rest == whole[i + 1..], "after {}", transaction.position);
    }
}

#[tokio::test]
async fn compressed_files_give_the_same_transactions() {
    let dir = tempfile::tempdir().expect("directory");
    copy("mariadb-11.8.9", dir.path(), |name, bytes| {
        // one file of several zstd frames, as `cat a.zst b.zst` makes it
        let (a, b) = bytes.split_at(bytes.len() / 3);
        let frames = [zstd::encode_all(a, 3).expect("zstd"), zstd::encode_all(b, 3).expect("zstd")].concat();
        (format!("{name}.zst"), frames)
    });
    std::fs::write(dir.path().join("binlog.index"), "x").expect("write");
    std::fs::write(dir.path().join("binlog.000001.idx"), "x").expect("write");
    let plain = read(&data("mariadb-11.8.9"), None).await.expect("plain");
    let compressed = read(dir.path(), None).await.expect("compressed");
    assert!(plain == compressed);
    let position = plain[40].position.clone();
    assert!(read(dir.path(), Some(position)).await.expect("resumes") == plain[41..]);
}

#[tokio::test]
async fn follows_a_growing_file_and_the_next_one() {
    let whole = read(&data("mariadb-11.8.9"), None).await.expect("files are whole");
    let dir = tempfile::tempdir().expect("directory");
    let (buffer, source, cancel) = (MemoryBuffer::new(), source(dir.path(), true), CancellationToken::new());
    let first = std::fs::read(data("mariadb-11.8.9/binlog.000001")).expect("read");
    let mut file = std::fs::File::create(dir.path().join("binlog.000001")).expect("create");
    file.write_all(&first[..300]).expect("write");
    let writer = async {
        // torn in the middle of events, again and again
        for piece in first[300..].chunks(9973) {
            file.write_all(piece).expect("write");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for n in 2..=5 {
            let name = format!("binlog.00000{n}");
            let bytes = std::fs::read(data("mariadb-11.8.9").join(&name)).expect("read");
            let mut file = std::fs::File::create(dir.path().join(&name)).expect("create");
            // found before it has even its first four bytes
            for piece in [&bytes[..2], &bytes[2..]] {
                file.write_all(piece).expect("write");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
        let head = source.head().await.expect("head");
        let mut read = buffer.read_position();
        read.wait_for(|p| p.as_ref().is_some_and(|p| p.covers(&head))).await.expect("reaches the head");
        cancel.cancel();
    };
    let streamed = async { source.stream(None, buffer.clone(), cancel.clone()).await.expect("cancelled, not failed") };
    tokio::join!(streamed, writer);
    assert!(buffer.committed() == whole);
}

#[tokio::test]
async fn damage_and_gaps_are_named() {
    let error = |dir: &Path, after: Option<SourcePosition>| {
        let dir = dir.to_owned();
        async move { read(&dir, after).await.expect_err("must be refused").to_string() }
    };
    let dir = tempfile::tempdir().expect("directory");
    assert!(error(dir.path(), None).await.contains("no binlog files"));

    copy("mysql-9.7.4", dir.path(), |name, bytes| (name.to_owned(), bytes));
    let third = dir.path().join("binlog.000003");
    let bytes = std::fs::read(&third).expect("read");
    std::fs::write(&third, &bytes[..bytes.len() - 7]).expect("write");
    let text = error(dir.path(), None).await;
    assert!(text.contains("binlog.000003 at offset") && text.contains("ends inside an event"), "{text}");

    let mut damaged = bytes.clone();
    damaged[9000] ^= 1;
    std::fs::write(&third, &damaged).expect("write");
    let text = error(dir.path(), None).await;
    assert!(text.contains("binlog.000003 at offset") && text.contains("checksum"), "{text}");

    std::fs::write(&third, b"not a binlog").expect("write");
    assert!(error(dir.path(), None).await.contains("binlog.000003 at offset 0"));
    std::fs::remove_file(&third).expect("remove");
    assert!(error(dir.path(), None).await.contains("misses the binlog files between binlog.000002 and binlog.000004"));
    for n in 1..=2 {
        std::fs::remove_file(dir.path().join(format!("binlog.00000{n}"))).expect("remove");
    }
    let gone = read(&data("mysql-9.7.4"), None).await.expect("whole")[3].position.clone();
    let text = error(dir.path(), Some(gone)).await;
    assert!(text.contains("has no binlog.000001"), "{text}");
}

/// A file that ends between two events, but inside a transaction: what is whole counts.
#[tokio::test]
async fn an_unfinished_transaction_at_the_end_is_left_out() {
    let dir = tempfile::tempdir().expect("directory");
    let bytes = std::fs::read(data("mysql-5.6.14/binlog.000001")).expect("read");
    let (mut at, mut last_xid) = (4, 0);
    while at < bytes.len() {
        if bytes[at + 4] == 16 {
            last_xid = at;
        }
        at += u32::from_le_bytes(bytes[at + 9..at + 13].try_into().expect("4 bytes")) as usize;
    }
    std::fs::write(dir.path().join("binlog.000001"), &bytes[..last_xid]).expect("write");
    let (buffer, source) = (MemoryBuffer::new(), source(dir.path(), false));
    source.stream(None, buffer.clone(), CancellationToken::new()).await.expect("finishes");
    assert_eq!(buffer.committed().len(), 9);
    assert_eq!(source.status().state, SourceState::Finished);
    assert!(source.status().reason.contains("inside a transaction"));
    let head = source.head().await.expect("head");
    assert_eq!(buffer.read_position().borrow().as_ref(), Some(&head));
}

#[tokio::test]
async fn a_position_of_another_source_is_refused() {
    let position = SourcePosition { token: "42".into(), ..SourcePosition::default() };
    assert!(matches!(read(&data("mysql-5.6.14"), Some(position)).await, Err(Error::Invalid(_))));
}

/// Without any DDL the catalog knows no table: rows must not vanish silently.
#[tokio::test]
async fn rows_of_unknown_tables_stop_them_with_a_reason() {
    let transactions = read(&data("mysql-5.6.14"), None).await.expect("files are whole");
    let ignore: DdlInterpreter = |_, _, _| DdlOutcome::Ignore;
    let mut decoder = BinlogDecoder::with_interpreter(TableFilter::default(), UnknownTables::Stop, ignore);
    let mut catalog = Catalog::default();
    for (i, transaction) in transactions.iter().enumerate() {
        decoder.decode(transaction.buffered(i as u64 + 1), &mut catalog).expect("decodes");
    }
    let ints = catalog.visible(&TableName::new("d1", "ints")).expect("is listed");
    assert!(matches!(&ints.state, TableState::Stopped { reason, .. } if reason.contains("binlog.000001")), "{ints:?}");
    assert_eq!(decoder.take().expect("steps").len(), 3, "one step for each of the tables");
}
