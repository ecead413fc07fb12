//! A real broker: the topic of a random history, over kills of the broker and restarts of the source.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_binlog::kafka::{KafkaOptions, KafkaSource};
use tidelake_binlog::tidb_binlog::segment::crc32c;
use tidelake_core::ports::{Buffer, Source};
use tidelake_core::testing::mem_buffer::MemBuffer;
use tidelake_testkit::Kafka;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::history::History;
use super::messages::{Message, Protocol, partitions, watermark};
use super::replica::Replica;
use super::storage::Check;

const LIMIT: Duration = Duration::from_secs(120);

/// One request, one connection; the answer without its head.
fn call(broker: &Kafka, api: i16, version: i16, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(broker.address())?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut request = [&api.to_be_bytes()[..], &version.to_be_bytes(), &7i32.to_be_bytes(), &text("test")].concat();
    request.extend_from_slice(body);
    stream.write_all(&(request.len() as u32).to_be_bytes())?;
    stream.write_all(&request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer.split_off(4))
}

/// Asks until the two bytes at `error_at` of the answer are no error: a broker that has just started knows no leaders yet.
fn must(broker: &Kafka, (api, version): (i16, i16), body: &[u8], error_at: usize) {
    let begun = Instant::now();
    loop {
        let answer = call(broker, api, version, body);
        if answer.as_ref().is_ok_and(|a| a.get(error_at..error_at + 2) == Some(&[0, 0])) {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "request {api}: {answer:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn int(v: i32) -> [u8; 4] {
    v.to_be_bytes()
}

fn create(broker: &Kafka, topic: &str, count: i32) {
    let body =
        [&int(1)[..], &text(topic), &int(count), &1i16.to_be_bytes(), &int(0), &int(0), &int(30_000), &[0]].concat();
    must(broker, (19, 2), &body, 8 + 2 + topic.len());
}

fn varint(v: i64, out: &mut Vec<u8>) {
    let mut v = ((v << 1) ^ (v >> 63)) as u64;
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn batch(messages: &[Message]) -> Vec<u8> {
    let mut records = Vec::new();
    for (i, (key, value)) in messages.iter().enumerate() {
        let mut body = vec![0];
        varint(0, &mut body);
        varint(i as i64, &mut body);
        for part in [key, value] {
            varint(part.len() as i64, &mut body);
            body.extend_from_slice(part);
        }
        varint(0, &mut body);
        varint(body.len() as i64, &mut records);
        records.extend(body);
    }
    let count = messages.len() as i32;
    let mut content = [&[0, 0][..], &int(count - 1), &[0; 16], &[0xff; 14], &int(count)].concat();
    content.extend(records);
    let head = [&[0; 8][..], &int(content.len() as i32 + 9), &int(-1), &[2], &crc32c(&content).to_be_bytes()].concat();
    [head, content].concat()
}

fn produce(broker: &Kafka, topic: &str, messages: &[Vec<Message>]) {
    for (partition, messages) in messages.iter().enumerate() {
        for messages in messages.chunks(20) {
            let records = batch(messages);
            let head =
                [&(-1i16).to_be_bytes()[..], &(-1i16).to_be_bytes(), &int(30_000), &int(1), &text(topic), &int(1)];
            let body =
                [head.concat(), int(partition as i32).to_vec(), int(records.len() as i32).to_vec(), records].concat();
            must(broker, (0, 3), &body, 4 + 2 + topic.len() + 4 + 4);
        }
    }
}

struct Running {
    source: Arc<KafkaSource>,
    cancel: CancellationToken,
    stream: JoinHandle<tidelake_core::Result<()>>,
}

impl Running {
    fn start(url: &str, scratch: &std::path::Path, buffer: &Arc<MemBuffer>) -> Running {
        let source = Arc::new(KafkaSource::new(KafkaOptions::parse(url, scratch.to_owned()).expect("a URL")));
        let cancel = CancellationToken::new();
        let after = buffer.read_position().borrow().clone();
        let (running, into, token) = (source.clone(), buffer.clone(), cancel.clone());
        let stream = tokio::spawn(async move { running.stream(after, into, token).await });
        Running { source, cancel, stream }
    }

    async fn stop(self) -> tidelake_core::Result<()> {
        self.cancel.cancel();
        self.stream.await.expect("no panic")
    }
}

async fn wait(check: &mut Check, upto: usize, buffer: &MemBuffer, running: &Running, context: &str) {
    let begun = Instant::now();
    while check.applied < upto {
        check.catch_up(buffer, context);
        assert!(!running.stream.is_finished(), "{context}: ended, {:?}", running.source.status());
        assert!(begun.elapsed() < LIMIT, "{context}: {} of {upto}, {:?}", check.applied, running.source.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_give_the_same_tables_at_every_commit_over_kills_of_the_broker() {
    let mut broker = Kafka::start();
    for (seed, protocol, name) in [
        (500, Protocol::Simple, "simple"),
        (501, Protocol::Canal, "canal-json"),
        (502, Protocol::Open, "open"),
        (503, Protocol::Drainer, "drainer"),
    ] {
        let context = format!("seed {seed}, {name}");
        let history = History::random(seed, 50);
        let mut rng = StdRng::seed_from_u64(seed);
        let topic = format!("feed-{name}");
        create(&broker, &topic, 3);
        let url = format!("//{}/{topic}?protocol={name}&zone=+08:00", broker.address());
        let (scratch, buffer) = (tempfile::tempdir().unwrap(), MemBuffer::new(u64::MAX));
        let mut check = Check { history, replica: Replica::new(), applied: 0 };
        let mut running = Running::start(&url, scratch.path(), &buffer);
        let (mut upto, mut stage) = (0, 0);
        while upto < check.history.commits.len() {
            let from = upto;
            upto = (upto + rng.random_range(5..25)).min(check.history.commits.len());
            produce(&broker, &topic, &partitions(&check.history, protocol, (from, upto), 3, &mut rng));
            wait(&mut check, upto, &buffer, &running, &context).await;
            stage += 1;
            if stage == 1 {
                broker.kill9();
                broker.restart();
            } else {
                running.stop().await.expect("ends");
                running = Running::start(&url, scratch.path(), &buffer);
            }
        }
        let head = tokio::time::timeout(LIMIT, running.source.head()).await.expect("in time").expect("a head");
        assert_eq!(head.major, check.history.commits.last().expect("some").0, "{context}");
        assert!(head.token.contains("offsets"), "{}", head.token);
        running.stop().await.expect("ends");
    }
    passwords_and_tls(&broker).await;
    removed_messages_are_an_error(&broker).await;
    rows_in_a_new_partition_are_not_passed_over(&broker).await;
}

/// A topic gets a partition, and rows in it, between two watermarks.
async fn rows_in_a_new_partition_are_not_passed_over(broker: &Kafka) {
    create(broker, "grows", 1);
    let message = |message: serde_json::Value| (Vec::new(), message.to_string().into_bytes());
    let table = message(
        serde_json::json!({"version": 1, "type": "CREATE", "sql": "CREATE TABLE `t` (`id` INT PRIMARY KEY)", "commitTs": 10,
        "tableSchema": {"schema": "d", "table": "t", "version": 10, "columns": [{"name": "id"}], "indexes": []}}),
    );
    let row =
        message(serde_json::json!({"version": 1, "database": "d", "table": "t", "type": "INSERT", "commitTs": 20,
        "schemaVersion": 10, "data": {"id": "1"}}));
    produce(broker, "grows", &[vec![table, watermark(Protocol::Simple, 15)]]);
    let (scratch, buffer) = (tempfile::tempdir().unwrap(), MemBuffer::new(u64::MAX));
    let url = format!("//{}/grows?protocol=simple", broker.address());
    let running = Running::start(&url, scratch.path(), &buffer);
    let mut replica = Replica::new();
    for (ts, more) in [(10, Some(row)), (20, None)] {
        let begun = Instant::now();
        let mut next = replica.next(&buffer);
        while next.is_none() {
            assert!(begun.elapsed() < LIMIT, "{ts} does not come: {:?}", running.source.status());
            tokio::time::sleep(Duration::from_millis(20)).await;
            next = replica.next(&buffer);
        }
        assert_eq!(next, Some(ts));
        if let Some(row) = more {
            let body = [&int(1)[..], &text("grows"), &int(2), &int(-1), &int(30_000), &[0]].concat();
            must(broker, (37, 0), &body, 8 + 2 + "grows".len());
            produce(broker, "grows", &[Vec::new(), vec![row]]);
            let mark = vec![watermark(Protocol::Simple, 30)];
            produce(broker, "grows", &[mark.clone(), mark]);
        }
    }
    running.stop().await.expect("ends");
}

/// Every way to log in, and what is said to the wrong password and of a certificate that nobody trusts.
async fn passwords_and_tls(broker: &Kafka) {
    let topic = "feed-simple";
    let login = format!("{}:{}", Kafka::USER, Kafka::PASSWORD);
    let url = |login: &str, options: &str| {
        format!("//{login}@{}/{topic}?protocol=simple&zone=+08:00{options}", broker.secured_address())
    };
    let ca = format!("&tls=true&ca={}", broker.certificate().display());
    for sasl in ["plain", "scram-sha-256", "scram-sha-512"] {
        let (scratch, buffer) = (tempfile::tempdir().unwrap(), MemBuffer::new(u64::MAX));
        let mut check = Check { history: History::random(500, 50), replica: Replica::new(), applied: 0 };
        let running = Running::start(&url(&login, &format!("&sasl={sasl}{ca}")), scratch.path(), &buffer);
        let all = check.history.commits.len();
        wait(&mut check, all, &buffer, &running, sasl).await;
        running.stop().await.expect("ends");
    }
    for (login, options) in
        [("feed:wrong", format!("&sasl=plain{ca}")), (login.as_str(), "&sasl=plain&tls=true".into())]
    {
        let (scratch, buffer) = (tempfile::tempdir().unwrap(), MemBuffer::new(u64::MAX));
        let running = Running::start(&url(login, &options), scratch.path(), &buffer);
        let begun = Instant::now();
        let reason = loop {
            let status = running.source.status();
            if !status.reason.is_empty() {
                break status.reason;
            }
            assert!(begun.elapsed() < LIMIT, "{options}: {status:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(!reason.contains("cret") && !reason.contains("wrong"), "{reason}");
        assert_eq!(buffer.head().borrow().0, 0, "{options}");
        running.cancel.cancel();
    }
}

/// The beginning of a topic is gone before it was read: nothing is made up.
async fn removed_messages_are_an_error(broker: &Kafka) {
    create(broker, "cut", 1);
    let messages = (1..=9).map(|ts| watermark(Protocol::Simple, ts)).collect();
    produce(broker, "cut", &[messages]);
    let body = [&int(1)[..], &text("cut"), &int(1), &int(0), &5i64.to_be_bytes(), &int(30_000)].concat();
    must(broker, (21, 0), &body, 4 + 4 + 2 + "cut".len() + 4 + 4 + 8);
    let (scratch, buffer) = (tempfile::tempdir().unwrap(), MemBuffer::new(u64::MAX));
    let url = format!("//{}/cut?protocol=simple", broker.address());
    let running = Running::start(&url, scratch.path(), &buffer);
    let result = tokio::time::timeout(LIMIT, running.stream).await.expect("in time").expect("no panic");
    let error = result.expect_err("messages are missing").to_string();
    assert!(error.contains("begins at offset 5"), "{error}");
}
