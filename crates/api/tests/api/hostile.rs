//! Whatever bytes come: an error or rows, never a panic, and the server goes on.

use std::sync::Arc;

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor, Ticket};
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_api::wire::{Plan, Stage, ticket};
use tidelake_api::{READ_CALLS, RemoteLatch, WRITE_CALLS, rows};
use tidelake_core::ports::{Latch, StoreEngine};
use tidelake_core::testing::tables::{accounts, create, inserts, int, null, position};
use tidelake_core::{CommitSeq, DecodedStep, TableId};

use crate::served::{Kind, Served, tempdir};

const ROUNDS: usize = 1500;

/// Some bytes changed, doubled, cut or swapped for digits, which keeps much of JSON whole.
fn mutate(rng: &mut StdRng, bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..rng.random_range(1..4) {
        if out.is_empty() {
            break;
        }
        let at = rng.random_range(0..out.len());
        match rng.random_range(0..6) {
            0 => out[at] = rng.random(),
            1 => out[at] ^= 1 << rng.random_range(0..8),
            2 => out.truncate(at),
            3 => {
                let piece = out[at..(at + rng.random_range(1..9)).min(out.len())].to_vec();
                out.splice(at..at, piece);
            }
            _ => match (at..out.len()).find(|i| out[*i].is_ascii_digit()) {
                Some(digit) if rng.random_bool(0.5) => out[digit] = rng.random_range(b'0'..=b'9'),
                Some(digit) => {
                    let number = b"99999999999"[..rng.random_range(1..12)].to_vec();
                    out.splice(digit..digit, number);
                }
                None => out[at] = b'}',
            },
        }
    }
    out
}

struct Rig {
    served: Served,
    client: FlightServiceClient<tonic::transport::Channel>,
    epoch: u64,
}

/// An engine with rows in files and in memory.
async fn rig() -> Rig {
    let kind = Kind::Engine(Arc::new(tempdir()));
    let served = tokio::task::spawn_blocking(move || Served::start(&kind)).await.expect("started");
    let store = served.store().await;
    let epoch = RemoteLatch::open(&served.url()).expect("open").grant_writer().expect("epoch");
    let mut writer = store.open_writer(epoch).await.expect("writer");
    let def = accounts(1, "a");
    writer.stage(create(&def, 1)).await.expect("stage");
    for seq in 1..=60u64 {
        writer.stage(inserts(&def, seq, &[vec![int(seq as i64), int(10), null()]])).await.expect("stage");
        writer.publish(CommitSeq(seq), position(seq)).await.expect("publish");
        if seq == 40 {
            store.flush().await.expect("flush");
        }
    }
    let client = FlightServiceClient::new(
        tonic::transport::Endpoint::from_shared(served.url()).expect("an address").connect().await.expect("connect"),
    );
    Rig { served, client, epoch: epoch.0 }
}

impl Rig {
    /// The server still plans and reads.
    async fn is_alive(&mut self) {
        let info = self.client.get_flight_info(FlightDescriptor::new_cmd(plan())).await.expect("plans").into_inner();
        assert_eq!(info.total_records, 60);
        for endpoint in info.endpoint {
            let rows = self.client.do_get(endpoint.ticket.expect("a ticket")).await.expect("reads").into_inner();
            let _: Vec<FlightData> = rows.try_collect().await.expect("rows");
        }
    }
}

fn plan() -> Vec<u8> {
    let predicates = vec![];
    let (seq, table) = (CommitSeq(60), TableId(1));
    ticket(Plan { lease: None, lineage: None, seq, table, columns: None, predicates, limit: None, splits: 4 })
        .expect("encodes")
}

/// A handler that panicked shows as one of these: the connection's stream is reset, or the call ends without status.
fn is_panic(status: &tonic::Status) -> bool {
    let text = format!("{status:?}");
    status.code() == tonic::Code::Unknown
        || text.contains("panicked")
        || text.contains("RST_STREAM")
        || text.contains("stream error")
        || text.contains("h2 protocol error")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_and_plans() {
    let mut rig = rig().await;
    let mut rng = StdRng::seed_from_u64(11);
    let info = rig.client.get_flight_info(FlightDescriptor::new_cmd(plan())).await.expect("plans").into_inner();
    let tickets: Vec<Vec<u8>> = info.endpoint.iter().map(|e| e.ticket.clone().expect("one").ticket.to_vec()).collect();
    let (mut refused, mut read) = (0, 0);
    for round in 0..ROUNDS {
        let bytes = mutate(&mut rng, &tickets[round % tickets.len()]);
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let done = match rig.client.do_get(Ticket { ticket: bytes.into() }).await {
            Ok(rows) => rows.into_inner().try_collect::<Vec<FlightData>>().await.map(|data| data.len()),
            Err(status) => Err(status),
        };
        match done {
            Ok(messages) => {
                read += 1;
                assert!(messages < 100, "{messages} messages for {shown}");
            }
            Err(status) => {
                refused += 1;
                assert!(!is_panic(&status), "{status:?} for {shown}");
            }
        }
        let bytes = mutate(&mut rng, &plan());
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        if let Err(status) = rig.client.get_flight_info(FlightDescriptor::new_cmd(bytes)).await {
            assert!(!is_panic(&status), "{status:?} for {shown}");
        }
    }
    assert!(refused > ROUNDS / 4 && read > 0, "{refused} refused, {read} read");
    rig.is_alive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls() {
    let mut rig = rig().await;
    let mut rng = StdRng::seed_from_u64(12);
    let bodies = [
        r#"{"v":1,"freshness":"any","ttl_ms":60000,"wait_ms":1}"#,
        r#"{"v":1,"freshness":{"at_time":5},"ttl_ms":60000,"wait_ms":1}"#,
        r#"{"v":1,"lease":"a1","ttl_ms":5}"#,
        r#"{"v":1,"seq":9}"#,
        r#"{"v":1,"table":1}"#,
        r#"{"v":1,"epoch":1,"seq":61,"change":{"DropTable":1}}"#,
    ];
    // What changes the engine for good is left out: the rest must still be answered after it.
    let names: Vec<&&str> =
        READ_CALLS.iter().chain(WRITE_CALLS).filter(|n| !["set_horizon", "publish"].contains(n)).collect();
    for round in 0..ROUNDS {
        let name = names[rng.random_range(0..names.len())];
        let body = mutate(&mut rng, bodies[round % bodies.len()].as_bytes());
        let shown = format!("{name} {}", String::from_utf8_lossy(&body));
        let action = arrow_flight::Action { r#type: format!("tidelake.{name}"), body: body.into() };
        if let Err(status) = rig.client.do_action(action).await {
            assert!(!is_panic(&status), "{status:?} for {shown}");
        }
    }
    rig.is_alive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_writer() {
    let mut rig = rig().await;
    let mut rng = StdRng::seed_from_u64(13);
    let def = accounts(1, "a");
    let DecodedStep::Rows(changes) =
        inserts(&def, 61, &[vec![int(61), int(10), null()], vec![int(62), int(10), null()]])
    else {
        panic!("inserts are rows")
    };
    let batch = rows::to_batch(&changes).expect("a batch");
    let command = ticket(Stage { epoch: rig.epoch, table: TableId(1), version: changes.version }).expect("encodes");
    let whole: Vec<FlightData> = FlightDataEncoderBuilder::new()
        .with_schema(batch.schema())
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)))
        .build(futures::stream::iter([Ok(batch)]))
        .try_collect()
        .await
        .expect("encodes");
    for _ in 0..ROUNDS {
        let mut sent = whole.clone();
        let at = rng.random_range(0..sent.len());
        match rng.random_range(0..3) {
            0 => sent[at].data_header = mutate(&mut rng, &sent[at].data_header.clone()).into(),
            1 => sent[at].data_body = mutate(&mut rng, &sent[at].data_body.clone()).into(),
            _ => {
                if let Some(descriptor) = &mut sent[0].flight_descriptor {
                    descriptor.cmd = mutate(&mut rng, &descriptor.cmd.clone()).into();
                }
            }
        }
        let shown = format!("{sent:?}");
        let done = match rig.client.do_put(futures::stream::iter(sent)).await {
            Ok(answers) => answers.into_inner().try_collect::<Vec<_>>().await.map(|_| ()),
            Err(status) => Err(status),
        };
        if let Err(status) = done {
            assert!(!is_panic(&status), "{status:?} for {shown}");
        }
    }
    rig.is_alive().await;
    drop(rig.served);
}
