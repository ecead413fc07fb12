//! Following the bin log: whole, in order, over lost connections, and never over a gap.

use std::sync::Arc;
use std::time::Duration;

use tidelake_core::ports::{Buffer, Source, SourceState};
use tidelake_core::testing::MemBuffer;
use tidelake_core::{Error, Result, SourcePosition};
use tidelake_testkit::{MariaDb, MariaDbOptions, TcpProxy};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{BUFFER_LIMIT, transactions};
use crate::mysql::position::BinlogPosition;
use crate::service::{ServiceOptions, ServiceSource};

const PATIENCE: Duration = Duration::from_secs(30);

fn new_buffer() -> Arc<MemBuffer> {
    MemBuffer::new(BUFFER_LIMIT)
}

/// A running stream.
struct Stream {
    source: Arc<ServiceSource>,
    buffer: Arc<MemBuffer>,
    cancel: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Stream {
    fn start(url: &str, after: Option<SourcePosition>, buffer: &Arc<MemBuffer>) -> Stream {
        let mut options = ServiceOptions::new(url);
        options.heartbeat = Duration::from_millis(200);
        let source = Arc::new(ServiceSource::with_ddl(options, super::no_ddl()).unwrap());
        let cancel = CancellationToken::new();
        let (running, into, stop) = (source.clone(), buffer.clone(), cancel.clone());
        let task = tokio::spawn(async move { running.stream(after, into, stop).await });
        Stream { source, buffer: buffer.clone(), cancel, task }
    }

    async fn read_up_to(&self, position: &SourcePosition) {
        let mut read = self.buffer.read_position();
        let there = read.wait_for(|read| read.as_ref().is_some_and(|r| r.covers(position)));
        tokio::time::timeout(PATIENCE, there)
            .await
            .unwrap_or_else(|_| panic!("{:?} {:?}", *self.buffer.read_position().borrow(), self.source.status()))
            .expect("the buffer lives");
    }

    async fn started(&self) {
        let mut read = self.buffer.read_position();
        let begun = read.wait_for(Option::is_some);
        tokio::time::timeout(PATIENCE, begun).await.expect("started in time").expect("the buffer lives");
    }

    async fn state_is(&self, state: SourceState) {
        let reached = async {
            while self.source.status().state != state {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let status = || self.source.status();
        tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("still {:?}", status()));
    }

    async fn stop(self) -> SourcePosition {
        self.started().await;
        self.cancel.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("ends in time").unwrap().unwrap();
        self.buffer.read_position().borrow().clone().unwrap()
    }

    async fn fails(self) -> Error {
        tokio::time::timeout(PATIENCE, self.task).await.expect("ends in time").unwrap().expect_err("must fail")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_commits_are_covered_by_head_and_read_in_order() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute("CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY, v VARCHAR(20))");
    let stream = Stream::start(&server.source_url(), None, &new_buffer());
    stream.started().await;
    for i in 0..50 {
        server.execute(&format!("INSERT INTO a.t VALUES ({i}, 'x'), ({}, 'y')", i + 1000));
        let head = stream.source.head().await.unwrap();
        stream.read_up_to(&head).await;
        assert_eq!(transactions(&*stream.buffer).len(), i + 1, "a commit before head() is at or before it");
    }
    let transactions = transactions(&*stream.buffer);
    assert!(transactions.windows(2).all(|w| w[0].position.order() < w[1].position.order()));
    let last = BinlogPosition::parse(&transactions[49].position).unwrap();
    assert!(transactions[49].id.ends_with(last.gtid.as_str()), "{} {last:?}", transactions[49].id);
    // context, TABLE_MAP, rows
    assert!(transactions[49].items.len() >= 3);
    let status = stream.source.status();
    assert!(status.state == SourceState::Streaming && status.bytes_read > 1000 && status.reason.is_empty());
    stream.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_move_while_the_upstream_is_idle_and_over_rotation() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute("CREATE DATABASE a");
    let stream = Stream::start(&server.source_url(), None, &new_buffer());
    stream.started().await;
    for _ in 0..3 {
        server.execute("FLUSH BINARY LOGS");
        let head = stream.source.head().await.unwrap();
        stream.read_up_to(&head).await;
    }
    assert!(transactions(&*stream.buffer).is_empty());
    server.execute("CREATE TABLE a.t (id INT)");
    let head = stream.source.head().await.unwrap();
    stream.read_up_to(&head).await;
    assert_eq!(transactions(&*stream.buffer).len(), 1);
    stream.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_and_restarts_lose_and_repeat_nothing() {
    let mut server = MariaDb::start(MariaDbOptions::default());
    server.execute("CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY)");
    let proxy = TcpProxy::start(server.port());
    let url = format!("mysql://tidelake:tide@127.0.0.1:{}", proxy.port());
    let buffer = new_buffer();
    let stream = Stream::start(&url, None, &buffer);
    stream.started().await;
    server.execute("INSERT INTO a.t VALUES (1)");
    let head = stream.source.head().await.unwrap();
    stream.read_up_to(&head).await;
    proxy.cut();
    stream.state_is(SourceState::Reconnecting).await;
    assert!(!stream.source.status().reason.is_empty());
    assert!(!stream.source.status().reason.contains("tide@"), "{}", stream.source.status().reason);
    server.execute("INSERT INTO a.t VALUES (2); INSERT INTO a.t VALUES (3)");
    proxy.heal();
    stream.state_is(SourceState::Streaming).await;
    let head = stream.source.head().await.unwrap();
    stream.read_up_to(&head).await;
    assert_eq!(transactions(&*buffer).len(), 3);
    server.kill9();
    stream.state_is(SourceState::Reconnecting).await;
    server.restart();
    server.execute("INSERT INTO a.t VALUES (4)");
    stream.state_is(SourceState::Streaming).await;
    let head = stream.source.head().await.unwrap();
    stream.read_up_to(&head).await;
    let at = stream.stop().await;
    // a new process goes on behind what is durable
    server.execute("INSERT INTO a.t VALUES (5)");
    let stream = Stream::start(&server.source_url(), Some(at), &buffer);
    let head = stream.source.head().await.unwrap();
    stream.read_up_to(&head).await;
    let ids: Vec<String> = transactions(&*buffer).into_iter().map(|t| t.id).collect();
    assert_eq!(ids.len(), 5, "{ids:?}");
    stream.stop().await;
}

/// The server keeps files that a replica's connection reads until it notices that the replica is gone.
async fn purge(server: &MariaDb, to: &str) {
    let sql = format!("PURGE BINARY LOGS TO '{to}'; SHOW BINARY LOGS");
    for _ in 0..200 {
        if server.batch_text(&sql).starts_with(to.as_bytes()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{}", String::from_utf8_lossy(&server.batch_text("SHOW BINARY LOGS; SHOW PROCESSLIST")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_an_error_that_names_it() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute("CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY); INSERT INTO a.t VALUES (1)");
    let buffer = new_buffer();
    let stream = Stream::start(&server.source_url(), None, &buffer);
    stream.started().await;
    let at = stream.stop().await;
    server.execute("FLUSH BINARY LOGS; INSERT INTO a.t VALUES (2); FLUSH BINARY LOGS");
    purge(&server, "binlog.000003").await;
    let error = Stream::start(&server.source_url(), Some(at.clone()), &buffer).fails().await.to_string();
    assert!(error.contains("purged") && error.contains("binlog.000001") && error.contains("binlog.000003"), "{error}");
    // the same file names, another history
    server.execute("RESET MASTER; SET GLOBAL gtid_domain_id = 0; DROP DATABASE a");
    let error = Stream::start(&server.source_url(), Some(at.clone()), &buffer).fails().await.to_string();
    assert!(error.contains("reset, restored or replaced") && error.contains("binlog.000001"), "{error}");
    // ... even if it has become longer than the old one
    let filler: String = (0..40).map(|i| format!("CREATE DATABASE filler_{i};")).collect();
    server.execute(&filler);
    let error = Stream::start(&server.source_url(), Some(at), &buffer).fails().await.to_string();
    assert!(error.contains("another history"), "{error}");
    assert!(transactions(&*buffer).is_empty());
}

/// Without any GTID and at the same offset of a file of the same name, only the file's birth tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_before_the_first_transaction_is_noticed() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute("RESET MASTER");
    let source = ServiceSource::with_ddl(ServiceOptions::new(server.source_url()), super::no_ddl()).unwrap();
    let first = source.first_position().await.unwrap().unwrap();
    let buffer = new_buffer();
    Stream::start(&server.source_url(), Some(first.clone()), &buffer).stop().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    server.execute("RESET MASTER");
    let same = source.first_position().await.unwrap().unwrap();
    assert_eq!(same.order(), first.order());
    let error = Stream::start(&server.source_url(), Some(first), &buffer).fails().await.to_string();
    assert!(error.contains("another history") && error.contains("begun at"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_under_an_open_stream_ends_it_and_is_no_head() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute("CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY); INSERT INTO a.t VALUES (1)");
    let stream = Stream::start(&server.source_url(), None, &new_buffer());
    stream.started().await;
    stream.source.head().await.unwrap();
    server.execute("RESET MASTER; INSERT INTO a.t VALUES (2)");
    let error = stream.source.head().await.unwrap_err().to_string();
    assert!(error.contains("reset, restored or replaced"), "{error}");
    // over the kept connection, and over a new one
    let error = stream.source.head().await.unwrap_err().to_string();
    assert!(error.contains("reset, restored or replaced"), "{error}");
    let error = stream.fails().await.to_string();
    assert!(error.contains("reset, restored or replaced") && error.contains("binlog.000001"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_logins_fail_at_once_and_without_the_password() {
    let server = MariaDb::start(MariaDbOptions::default());
    let url = format!("mysql://tidelake:wr0ng@127.0.0.1:{}", server.port());
    let stream = Stream::start(&url, None, &new_buffer());
    let (source, error) = (stream.source.clone(), stream.fails().await.to_string());
    assert!(error.contains("Access denied") && !error.contains("wr0ng"), "{error}");
    assert_eq!(source.status().state, SourceState::Failed);
    assert!(source.head().await.unwrap_err().to_string().contains("Access denied"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_byte_for_byte() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute(
        "CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY, v LONGTEXT, g GEOMETRY, u UUID, t TIME(3), b BIT(3));
         SET GLOBAL log_bin_compress = 1;
         INSERT INTO a.t VALUES (1, REPEAT('x', 3000000), POINT(1, 2), UUID(), '-1:2:3.4', b'101');
         UPDATE a.t SET v = 'y'; DELETE FROM a.t; XA START 'x'; INSERT INTO a.t (id) VALUES (7); XA END 'x';
         XA PREPARE 'x'; XA COMMIT 'x'",
    );
    let start = BinlogPosition { file: "binlog.000001".into(), pos: 4, ..BinlogPosition::default() };
    let stream = Stream::start(&server.source_url(), Some(start.to_source(0)), &new_buffer());
    let head = stream.source.head().await.unwrap();
    // checksums are verified on the way, so a byte out of place would end the stream
    stream.read_up_to(&head).await;
    assert_eq!(transactions(&*stream.buffer).len(), 6);
    let whole: usize = transactions(&*stream.buffer).iter().flat_map(|t| &t.items).map(|i| i.len()).sum();
    assert!(whole > 500, "{whole}");
    stream.stop().await;
}
