//! What a restart reads of a storage sink, and what is cleaned up.

use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tidelake_core::ports::{Buffer, Source};
use tidelake_core::testing::mem_buffer::MemBuffer;
use tokio_util::sync::CancellationToken;

use super::files::{Sink, Style};
use super::history::History;
use super::replica::Replica;
use super::storage::Check;
use tidelake_binlog::ticdc::storage::{StorageOptions, StorageSource};

/// Files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(dir).expect("below").to_owned());
            }
        }
    }
    found
}

fn options(text: &str, scratch: &Path, follow: bool) -> StorageOptions {
    StorageOptions { follow, ..StorageOptions::parse(text, scratch.to_owned()).expect("options") }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_not_read_again_and_goes_if_asked() {
    let history = History::random(14, 60);
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut sink = Sink::new(dir.path(), Style::Canal, StdRng::seed_from_u64(14));
    let buffer = MemBuffer::new(u64::MAX);
    let mut check = Check { history, replica: Replica::new(), applied: 0 };
    let all = check.history.commits.len();
    let data = |dir: &Path| {
        let of_rows = |path: &PathBuf| {
            path.extension().is_some_and(|e| e == "json")
                && path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("CDC"))
        };
        files(dir).into_iter().filter(of_rows).count()
    };
    let run = async |query: &str, check: &mut Check| {
        let source =
            StorageSource::new(options(&format!("{}?zone=+08:00{query}", dir.path().display()), scratch.path(), false));
        let after = buffer.read_position().borrow().clone();
        source.stream(after, buffer.clone(), CancellationToken::new()).await.expect("streams");
        check.catch_up(&buffer, query);
        source.status().bytes_read
    };
    sink.write(&check.history, all / 2);
    let first = run("", &mut check).await;
    let again = run("", &mut check).await;
    assert!(again * 4 < first, "{again} of {first} bytes are read again");
    sink.write(&check.history, all);
    let before = data(dir.path());
    run("&cleanup=true", &mut check).await;
    assert_eq!(check.applied, all);
    let left = data(dir.path());
    assert!(left < before, "{left} of {before} files are left");
    // goes on over what is gone
    assert!(run("&cleanup=true", &mut check).await < first);
    // without the memory of it everything is read again, and known again
    std::fs::remove_file(scratch.path().join("read.jsonl")).expect("a ledger");
    run("", &mut check).await;
    assert_eq!(check.applied, all);
}
