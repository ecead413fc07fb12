//! A storage sink's files against the history that they were made of: equal after every transaction, over every restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_core::ports::{Buffer, Source, SourceState};
use tidelake_core::testing::mem_buffer::MemBuffer;
use tokio_util::sync::CancellationToken;

use super::files::{Sink, Style};
use super::history::History;
use super::replica::Replica;
use tidelake_binlog::ticdc::storage::{StorageOptions, StorageSource};

pub struct Check {
    pub history: History,
    pub replica: Replica,
    pub applied: usize,
}

impl Check {
    /// Applies what is new; each transaction must be the history's next, and leave the tables as they were after it.
    pub fn catch_up(&mut self, buffer: &MemBuffer, context: &str) {
        while let Some(ts) = self.replica.next(buffer) {
            let (wanted, _) = &self.history.commits[self.applied];
            assert_eq!(ts, *wanted, "{context}: transaction {}", self.applied);
            let (have, want) = (self.replica.contents(), &self.history.truth[self.applied]);
            let after = || {
                format!(
                    "{context}: after transaction {} at {ts}: {:?}",
                    self.applied, self.history.commits[self.applied].1
                )
            };
            let stopped = self.replica.stopped_names();
            assert_eq!(stopped, self.history.stopped[self.applied], "{}: {:?}", after(), self.replica.stopped());
            assert_eq!(have, *want, "{}", after());
            self.applied += 1;
        }
    }
}

fn options(dir: &std::path::Path, style: Style, scratch: &std::path::Path, follow: bool) -> StorageOptions {
    let query = match style {
        Style::Canal => "zone=+08:00",
        Style::Csv => "zone=Etc/GMT-8",
        Style::CsvEscaped => "zone=+08:00&csv-quote=&csv-old-value=true",
    };
    let text = format!("{}?{query}", dir.display());
    StorageOptions { follow, ..StorageOptions::parse(&text, scratch.to_owned()).expect("options") }
}

/// Restarts after every stage.
async fn stages(seed: u64, style: Style) {
    let context = format!("seed {seed}, {style:?}");
    let history = History::random(seed, 60);
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut rng = StdRng::seed_from_u64(seed ^ 99);
    let mut sink = Sink::new(dir.path(), style, StdRng::seed_from_u64(seed ^ 7));
    let buffer = MemBuffer::new(u64::MAX);
    let mut check = Check { history, replica: Replica::new(), applied: 0 };
    let mut upto = 0;
    while upto < check.history.commits.len() {
        upto = (upto + rng.random_range(1..15)).min(check.history.commits.len());
        sink.write(&check.history, upto);
        let mut options = options(dir.path(), style, scratch.path(), false);
        if rng.random_ratio(1, 3) {
            options.limits = (500, 2000);
        }
        let source = StorageSource::new(options);
        let after = buffer.read_position().borrow().clone();
        source
            .stream(after, buffer.clone(), CancellationToken::new())
            .await
            .unwrap_or_else(|e| panic!("{context}: {e}"));
        assert_eq!(source.status().state, SourceState::Finished);
        check.catch_up(&buffer, &context);
        // what shares its commit-ts with the checkpoint may be there already
        assert!(check.applied >= upto, "{context}: {} of {upto}", check.applied);
    }
    assert_eq!(check.applied, check.history.commits.len(), "{context}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_random_history_give_the_same_tables_at_every_commit() {
    for seed in 0..8 {
        stages(seed, Style::Canal).await;
        stages(seed + 100, Style::Csv).await;
        stages(seed + 200, Style::CsvEscaped).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_followed_while_it_is_written() {
    for style in [Style::Canal, Style::Csv] {
        let history = History::random(5, 50);
        let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut sink = Sink::new(dir.path(), style, StdRng::seed_from_u64(5));
        let buffer = MemBuffer::new(u64::MAX);
        let source = Arc::new(StorageSource::new(options(dir.path(), style, scratch.path(), true)));
        let cancel = CancellationToken::new();
        let (running, into, token) = (source.clone(), buffer.clone(), cancel.clone());
        let stream = tokio::spawn(async move { running.stream(None, into, token).await });
        let mut check = Check { history, replica: Replica::new(), applied: 0 };
        for upto in [1, 7, 20, 33, 50] {
            let upto = upto.min(check.history.commits.len());
            sink.write(&check.history, upto);
            let begun = Instant::now();
            while check.applied < upto {
                check.catch_up(&buffer, "follow");
                assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", source.status());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        cancel.cancel();
        stream.await.expect("no panic").expect("streams");
    }
}

async fn read(dir: &std::path::Path, query: &str) -> (Replica, Result<(), String>) {
    let scratch = tempfile::tempdir().unwrap();
    let buffer = MemBuffer::new(u64::MAX);
    let text = format!("{}?{query}", dir.display());
    let source = StorageSource::new(StorageOptions::parse(&text, scratch.path().to_owned()).expect("options"));
    let result = source.stream(None, buffer.clone(), CancellationToken::new()).await;
    let mut replica = Replica::new();
    while replica.next(&buffer).is_some() {}
    (replica, result.map_err(|e| e.to_string()))
}

fn write(root: &std::path::Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

const SCHEMA: &str = r#"{"Table":"t","Schema":"d","Version":1,"TableVersion":441349361156227000,"Query":"QUERY","Type":3,
    "TableColumns":[{"ColumnName":"id","ColumnType":"INT"},{"ColumnName":"v","ColumnType":"INT"}],"TableColumnsTotal":2}"#;
const CREATE: &str = "CREATE TABLE `t` (`id` INT PRIMARY KEY, `v` INT)";

fn sink_with(query: &str, rows: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "metadata", r#"{"checkpoint-ts":441349361156229000}"#);
    write(dir.path(), "d/t/meta/schema_441349361156227000_12.json", &SCHEMA.replace("QUERY", query));
    write(dir.path(), "d/t/441349361156227000/CDC000001.csv", rows);
    dir
}

#[tokio::test]
async fn rows_of_a_table_that_nobody_made_stop_it_with_the_reason() {
    let dir = sink_with("", "\"I\",\"t\",\"d\",441349361156228000,1,2\r\n");
    let (replica, result) = read(dir.path(), "").await;
    assert_eq!(result, Ok(()));
    let stopped = replica.stopped().join("\n");
    assert!(stopped.contains("neither a CREATE TABLE in the feed nor a copy"), "{stopped}");
}

#[tokio::test]
async fn updates_without_old_values_replace_rows_by_key() {
    let rows = "\"I\",\"t\",\"d\",441349361156228000,1,2\r\n\"U\",\"t\",\"d\",441349361156228001,1,3\r\n";
    let (replica, result) = read(sink_with(CREATE, rows).path(), "").await;
    assert_eq!((result, replica.stopped()), (Ok(()), Vec::new()));
    let rows = format!("{:?}", replica.contents());
    assert!(rows.contains("Int(3)") && !rows.contains("Int(2)"), "{rows}");
}

#[tokio::test]
async fn what_cannot_be_read_is_said_with_what_to_change() {
    let no_ts = sink_with(CREATE, "\"I\",\"t\",\"d\",1,2\r\n");
    let (_, result) = read(no_ts.path(), "").await;
    assert!(result.unwrap_err().contains("include-commit-ts = true"));
    let missing = sink_with(CREATE, "");
    write(missing.path(), "d/t/441349361156227000/CDC000003.csv", "");
    let (_, result) = read(missing.path(), "").await;
    assert!(result.unwrap_err().contains("misses the files between numbers 1 and 3"));
    for (text, part) in [
        ("gcs://bucket/x", "a local directory or s3://"),
        ("s3://bucket/x?access-key=a", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket/x?endpoint=h:1", "http://"),
        ("/x?endpoint=http://h", "no option endpoint"),
        ("/x?zones=1", "no option zones"),
        ("/x?zone=Nowhere", "time zone"),
    ] {
        let error = StorageOptions::parse(text, "/tmp".into()).expect_err(text).to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_header_and_low_timestamps_are_read() {
    let rows = "ticdc-meta$operation,ticdc-meta$table,ticdc-meta$schema,ticdc-meta$commit-ts,id,v\r\n\"I\",\"t\",\"d\",441349361156228000,1,2\r\n";
    let (replica, result) = read(sink_with(CREATE, rows).path(), "").await;
    assert_eq!((result, replica.stopped()), (Ok(()), Vec::new()));
    assert_eq!(replica.contents().values().map(|t| t.len()).sum::<usize>(), 1);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "metadata", r#"{"checkpoint-ts":9}"#);
    let schema = SCHEMA.replace("QUERY", CREATE).replace("441349361156227000", "3");
    write(dir.path(), "d/t/meta/schema_3_12.json", &schema);
    write(dir.path(), "d/t/3/CDC000001.csv", "\"I\",\"t\",\"d\",4,1,2\r\n\"D\",\"t\",\"d\",5,false,1,2\r\n");
    let (replica, result) = read(dir.path(), "").await;
    assert_eq!((result, replica.stopped()), (Ok(()), Vec::new()));
    assert_eq!(replica.contents().values().map(|t| t.len()).sum::<usize>(), 0);
}

#[tokio::test]
async fn a_database_s_collation_is_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let database = r#"{"Table":"","Schema":"d","Version":1,"TableVersion":441349361156226000,"Type":1,"TableColumns":null,
        "TableColumnsTotal":0,"Query":"CREATE DATABASE `d` CHARACTER SET = UTF8MB4 COLLATE = UTF8MB4_GENERAL_CI"}"#;
    write(dir.path(), "d/meta/schema_441349361156226000_1.json", database);
    let scratch = tempfile::tempdir().unwrap();
    let (buffer, mut replica) = (MemBuffer::new(u64::MAX), Replica::new());
    for checkpoint in [441_349_361_156_226_500u64, 441_349_361_156_229_000] {
        write(dir.path(), "metadata", &format!("{{\"checkpoint-ts\":{checkpoint}}}"));
        let text = dir.path().display().to_string();
        let source = StorageSource::new(StorageOptions::parse(&text, scratch.path().to_owned()).expect("options"));
        let after = buffer.read_position().borrow().clone();
        source.stream(after, buffer.clone(), CancellationToken::new()).await.expect("streams");
        while replica.next(&buffer).is_some() {}
        let schema = SCHEMA.replace("QUERY", "CREATE TABLE `t` (`id` INT PRIMARY KEY, `v` VARCHAR(9))");
        write(dir.path(), "d/t/meta/schema_441349361156227000_12.json", &schema);
    }
    let defs: Vec<_> = replica.catalog.tables.values().map(|e| e.def.columns[1].ty.collation.clone()).collect();
    assert_eq!(defs, [Some("utf8mb4_general_ci".to_owned())]);
}

/// A checkpoint that stands: what waits above it stays bounded, and nothing is missing when it moves.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_checkpoint_is_bounded() {
    let dir = sink_with(CREATE, "\"I\",\"t\",\"d\",441349361156228000,0,0\r\n");
    let first = 441_349_361_156_230_000u64;
    for file in 2..40u64 {
        let row = |i: u64| format!("\"I\",\"t\",\"d\",{},{},1\r\n", first + file, file * 1000 + i);
        let text: String = (0..500).map(row).collect();
        write(dir.path(), &format!("d/t/441349361156227000/CDC{file:06}.csv"), &text);
    }
    let (scratch, buffer) = (tempfile::tempdir().unwrap(), MemBuffer::new(u64::MAX));
    let text = dir.path().display().to_string();
    let options = StorageOptions::parse(&text, scratch.path().to_owned()).expect("options");
    let source = Arc::new(StorageSource::new(StorageOptions { follow: true, limits: (20_000, 50_000), ..options }));
    let cancel = CancellationToken::new();
    let (running, into, token) = (source.clone(), buffer.clone(), cancel.clone());
    let stream = tokio::spawn(async move { running.stream(None, into, token).await });
    let begun = Instant::now();
    while !source.status().reason.contains("are left until the checkpoint moves") {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", source.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let runs = std::fs::read_dir(scratch.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len());
    assert!(runs.sum::<u64>() < 200_000, "38 files hold a megabyte of events");
    let mut replica = Replica::new();
    for (checkpoint, rows) in [(first - 1, 1), (first + 10, 1 + 9 * 500), (first + 100, 1 + 38 * 500)] {
        write(dir.path(), "metadata", &format!("{{\"checkpoint-ts\":{checkpoint}}}"));
        let begun = Instant::now();
        let count = |replica: &Replica| replica.contents().values().map(|t| t.len()).sum::<usize>();
        while source.status().state != SourceState::Streaming || count(&replica) < rows {
            while replica.next(&buffer).is_some() {}
            assert!(begun.elapsed() < Duration::from_secs(60), "{rows}: {:?}", source.status());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!((count(&replica), replica.stopped()), (rows, Vec::new()));
    }
    cancel.cancel();
    stream.await.expect("no panic").expect("streams");
}

#[tokio::test]
async fn virtual_columns_are_refused() {
    let create = "CREATE TABLE `t` (`id` INT PRIMARY KEY, `v` INT GENERATED ALWAYS AS (`id` + 1) VIRTUAL)";
    let (replica, result) = read(sink_with(create, "\"I\",\"t\",\"d\",441349361156228000,1\r\n").path(), "").await;
    assert_eq!(result, Ok(()));
    assert!(replica.stopped().join("").contains("VIRTUAL"), "{:?}", replica.stopped());
}

#[tokio::test]
async fn a_ddl_at_the_checkpoint_may_come_after_it() {
    let dir = sink_with(CREATE, "\"I\",\"t\",\"d\",441349361156228000,1,2\r\n");
    let scratch = tempfile::tempdir().unwrap();
    let buffer = MemBuffer::new(u64::MAX);
    let mut replica = Replica::new();
    for round in 0..3 {
        if round == 1 {
            let schema = SCHEMA.replace("QUERY", "TRUNCATE TABLE `t`").replace("227000", "229000");
            write(dir.path(), "d/t/meta/schema_441349361156229000_12.json", &schema);
        }
        let text = dir.path().display().to_string();
        let source = StorageSource::new(StorageOptions::parse(&text, scratch.path().to_owned()).expect("options"));
        let after = buffer.read_position().borrow().clone();
        source.stream(after, buffer.clone(), CancellationToken::new()).await.expect("streams");
        while replica.next(&buffer).is_some() {}
        let rows: usize = replica.contents().values().map(|t| t.len()).sum();
        assert_eq!(rows, usize::from(round == 0), "round {round}");
    }
    assert_eq!(buffer.head().borrow().0, 3, "CREATE, row, TRUNCATE: each once");
}
