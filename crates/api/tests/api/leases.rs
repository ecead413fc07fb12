//! Leases, plans under a lease, and epochs, through the remote latch.

use std::time::Duration;

use arrow_flight::FlightDescriptor;
use arrow_flight::flight_service_client::FlightServiceClient;
use futures::TryStreamExt;
use tidelake_api::RemoteLatch;
use tidelake_api::wire::{Plan, ticket};
use tidelake_core::ports::{Freshness, Latch, ScanRequest, StoreEngine};
use tidelake_core::testing::MemStore;
use tidelake_core::testing::tables::{accounts, create, inserts, int, null, position};
use tidelake_core::{CommitSeq, Error, Moment, TableId};

use crate::served::{Kind, Served};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// A table with a row at seq 1, and one more at seq 2.
async fn filled() -> (Served, MemStore) {
    let store = MemStore::new();
    let kind = Kind::Memory(store.clone());
    let served = tokio::task::spawn_blocking(move || Served::start(&kind)).await.expect("started");
    let remote = served.store().await;
    let epoch = RemoteLatch::open(&served.url()).expect("open").grant_writer().expect("epoch");
    let mut writer = remote.open_writer(epoch).await.expect("writer");
    let def = accounts(1, "a");
    writer.stage(create(&def, 1)).await.expect("stage");
    for seq in 1..=2 {
        let row = inserts(&def, seq, &[vec![int(seq as i64), int(10), null()]]);
        writer.stage(row).await.expect("stage");
        writer.publish(CommitSeq(seq), position(seq)).await.expect("publish");
    }
    (served, store)
}

async fn rows(store: &dyn StoreEngine, request: &ScanRequest) -> Result<usize, Error> {
    let plan = store.plan_scan(request).await?;
    let mut rows = 0;
    for split in &plan.splits {
        let batches: Vec<_> = store.read_split(split).await?.try_collect().await?;
        rows += batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>();
    }
    Ok(rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_pins_what_it_says() {
    let (served, _) = filled().await;
    let (store, latch) = (served.store().await, RemoteLatch::open(&served.url()).expect("open"));
    for (freshness, seq) in [
        (Freshness::Any, 2),
        (Freshness::AtSeq(CommitSeq(1)), 1),
        (Freshness::At(Moment::Time(1)), 1),
        (Freshness::At(Moment::Position(position(2))), 2),
        (Freshness::AtLeast(position(1)), 2),
    ] {
        let lease = latch.acquire(freshness.clone(), LONG, SHORT).await.expect("lease");
        assert_eq!(lease.seq(), CommitSeq(seq), "{freshness:?}");
        assert_eq!(rows(&store, &ScanRequest::new(&lease, TableId(1))).await.expect("rows"), seq as usize);
        latch.check(&lease).expect("lives");
    }
    let late = latch.acquire(Freshness::AtSeq(CommitSeq(9)), LONG, SHORT).await;
    assert!(matches!(late, Err(Error::Timeout(_))), "{late:?}");
    assert!(matches!(latch.acquire(Freshness::Latest, LONG, SHORT).await, Err(Error::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv8_a_lapsed_lease_is_refused_for_good() {
    let (served, _) = filled().await;
    let latch = RemoteLatch::open(&served.url()).expect("open");
    let lease = latch.acquire(Freshness::Any, SHORT, LONG).await.expect("lease");
    latch.renew(&lease, LONG).expect("renewed");
    tokio::time::sleep(SHORT * 2).await;
    latch.check(&lease).expect("a renewed lease lives");
    let lease = latch.acquire(Freshness::Any, SHORT, LONG).await.expect("lease");
    tokio::time::sleep(SHORT * 2).await;
    assert!(matches!(latch.check(&lease), Err(Error::SnapshotExpired(_))));
    assert!(matches!(latch.renew(&lease, LONG), Err(Error::SnapshotExpired(_))));
}

/// A plan and its tickets under a lease are refused once it was released, and when they name another seq.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_of_a_lease_end_with_it() {
    let (served, _) = filled().await;
    let mut client = FlightServiceClient::new(
        tonic::transport::Endpoint::from_shared(served.url()).expect("an address").connect().await.expect("connect"),
    );
    let act = |name: &str, body: &str| arrow_flight::Action {
        r#type: format!("tidelake.{name}"),
        body: body.to_owned().into(),
    };
    let ask = act("acquire", r#"{"v":1,"freshness":"any","ttl_ms":60000,"wait_ms":100}"#);
    let mut answers = client.do_action(ask).await.expect("acquired").into_inner();
    let body = answers.message().await.expect("an answer").expect("one").body;
    let leased: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let name = leased["lease"].as_str().expect("a name").to_owned();
    let plan = |seq| Plan {
        lineage: None,
        lease: Some(name.clone()),
        seq: CommitSeq(seq),
        table: TableId(1),
        columns: None,
        predicates: vec![],
        limit: None,
        splits: 2,
    };
    let command = |seq| FlightDescriptor::new_cmd(ticket(plan(seq)).expect("encodes"));
    let other = client.get_flight_info(command(1)).await.expect_err("another seq");
    assert_eq!(other.code(), tonic::Code::InvalidArgument, "{other}");
    let info = client.get_flight_info(command(2)).await.expect("planned").into_inner();
    assert_eq!(info.total_records, 2);
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let data: Vec<_> =
        client.do_get(ticket.clone()).await.expect("read").into_inner().try_collect().await.expect("rows");
    assert!(!data.is_empty());
    let release = act("release", &format!(r#"{{"v":1,"lease":"{name}"}}"#));
    client.do_action(release).await.expect("released");
    let ended = client.do_get(ticket).await.expect_err("released");
    assert_eq!(ended.code(), tonic::Code::FailedPrecondition, "{ended}");
    assert_eq!(client.get_flight_info(command(2)).await.expect_err("released").code(), tonic::Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv9_epochs_grow_and_fence() {
    let (served, _) = filled().await;
    let latch = RemoteLatch::open(&served.url()).expect("open");
    let (first, second) = (latch.grant_writer().expect("epoch"), latch.grant_writer().expect("epoch"));
    assert!(second > first);
    let store = served.store().await;
    let mut old = store.open_writer(first).await.expect("writer");
    let mut new = served.store().await.open_writer(second).await.expect("another process's writer");
    let fenced = old.publish(CommitSeq(3), position(3)).await;
    assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
    new.publish(CommitSeq(3), position(3)).await.expect("the new one writes");
}
