//! The Magic API of a running Tidelake: a lease reads all tables at one moment, over Flight and over HTTP.

use std::io::Cursor;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use arrow::ipc::reader::StreamReader;
use futures::TryStreamExt;
use serde_json::{Value, json};
use tidelake_api::{FlightStore, RemoteLatch};
use tidelake_core::TableName;
use tidelake_core::ports::{Freshness, Latch, ScanRequest, StoreEngine};
use tidelake_testkit::{MariaDb, MariaDbOptions};

use crate::crashes::wait_copied;
use crate::tidelake::Tidelake;

const SHORT: Duration = Duration::from_secs(10);

fn sum(batches: &[RecordBatch]) -> i64 {
    let values = |batch: &RecordBatch| -> i64 {
        batch.column(0).as_primitive::<Int32Type>().values().iter().map(|v| i64::from(*v)).sum()
    };
    batches.iter().map(values).sum()
}

fn post(replica: &Tidelake, call: &str, body: &Value) -> Result<Vec<u8>, u16> {
    let url = format!("http://127.0.0.1:{}/api/v1/magic/{call}", replica.ports().http);
    match ureq::post(&url).send_json(body) {
        Ok(mut answer) => Ok(answer.body_mut().read_to_vec().expect("a body")),
        Err(ureq::Error::StatusCode(code)) => Err(code),
        Err(other) => panic!("{call}: {other}"),
    }
}

fn answer(replica: &Tidelake, call: &str, body: &Value) -> Value {
    let bytes = post(replica, call, body).unwrap_or_else(|code| panic!("{call} {body}: HTTP {code}"));
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Both tables under one lease, without gRPC.
fn total_over_http(replica: &Tidelake, tables: &[u64; 2]) -> i64 {
    let leased = answer(replica, "acquire", &json!({"v": 1, "freshness": "any", "ttl_ms": 60_000, "wait_ms": 10_000}));
    let mut total = 0;
    for table in tables {
        let plan = json!({"v": 1, "lease": leased["lease"], "seq": leased["seq"], "table": table, "columns": [2], "splits": 3});
        let planned = answer(replica, "plan", &plan);
        for split in planned["splits"].as_array().expect("splits") {
            let mut split = split.clone();
            split["v"] = json!(1);
            let bytes = post(replica, "split", &split).expect("rows");
            let reader = StreamReader::try_new(Cursor::new(bytes), None).expect("an IPC stream");
            total += sum(&reader.collect::<Result<Vec<_>, _>>().expect("batches"));
        }
    }
    answer(replica, "release", &json!({"v": 1, "lease": leased["lease"]}));
    let plan = json!({"v": 1, "lease": leased["lease"], "seq": leased["seq"], "table": tables[0], "splits": 1});
    assert_eq!(post(replica, "plan", &plan), Err(410), "the lease was released");
    total
}

async fn total_over_flight(store: &FlightStore, latch: &RemoteLatch, names: [&str; 2]) -> i64 {
    let lease = latch.acquire(Freshness::Any, SHORT, SHORT).await.expect("lease");
    let catalog = store.catalog(lease.seq()).expect("catalog");
    let mut total = 0;
    for name in names {
        let def = &catalog.visible(&TableName::new("d", name)).expect("the table").def;
        let request = ScanRequest {
            projection: Some(vec![def.columns[1].id]),
            target_splits: 3,
            ..ScanRequest::new(&lease, def.id)
        };
        for split in store.plan_scan(&request).await.expect("plan").splits {
            let batches: Vec<_> = store.read_split(&split).await.expect("split").try_collect().await.expect("rows");
            total += sum(&batches);
        }
    }
    total
}

#[test]
fn inv1_a_lease_reads_all_tables_at_one_moment() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(
        "CREATE DATABASE d; CREATE TABLE d.a (k INT PRIMARY KEY, v INT NOT NULL); CREATE TABLE d.b LIKE d.a; \
         INSERT INTO d.a WITH RECURSIVE s AS (SELECT 1 k UNION ALL SELECT k + 1 FROM s WHERE k < 50) SELECT k, 100 FROM s; \
         INSERT INTO d.b SELECT * FROM d.a",
    );
    let replica = Tidelake::run(&upstream.source_url(), &["--interval", "5ms"]);
    wait_copied(&replica);
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let url = format!("http://127.0.0.1:{}", replica.ports().flight);
    let store = runtime.block_on(FlightStore::connect(&url)).expect("connect");
    let latch = RemoteLatch::open(&url).expect("open");
    let seq = store.published_seq();
    let catalog = store.catalog(seq).expect("catalog");
    let ids = ["a", "b"].map(|name| catalog.visible(&TableName::new("d", name)).expect("the table").def.id.0);

    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (from, to) = if n % 3 == 0 { ("b", "a") } else { ("a", "b") };
                let (k, v) = (n % 50 + 1, n % 17);
                upstream.execute(&format!(
                    "BEGIN; UPDATE d.{from} SET v = v - {v} WHERE k = {k}; UPDATE d.{to} SET v = v + {v} WHERE k = {k}; COMMIT"
                ));
            }
        });
        let begun = std::time::Instant::now();
        let (mut seqs, mut rounds) = (std::collections::BTreeSet::new(), 0);
        while begun.elapsed() < Duration::from_secs(4) || rounds < 5 {
            assert_eq!(total_over_http(&replica, &ids), 10_000);
            assert_eq!(runtime.block_on(total_over_flight(&store, &latch, ["a", "b"])), 10_000);
            seqs.insert(store.published_seq());
            rounds += 1;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(seqs.len() > 2, "the upstream wrote meanwhile: {seqs:?}");
    });
    // The writer is in this process: nobody else publishes.
    assert_eq!(post(&replica, "open_writer", &json!({"v": 1, "epoch": 99})), Err(400));
    assert_eq!(post(&replica, "acquire", &json!({"v": 2})), Err(400));
    assert_eq!(post(&replica, "something", &json!({"v": 1})), Err(404));
    let plain =
        ureq::post(format!("http://127.0.0.1:{}/api/v1/magic/progress", replica.ports().http)).send(r#"{"v":1}"#);
    assert!(matches!(plain, Err(ureq::Error::StatusCode(415))), "a page elsewhere cannot call it");
}
