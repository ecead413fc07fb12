//! Whole gRPC messages with mutated contents: calls, tickets, descriptors and rows, which frames of HTTP/2 would hide from mutated bytes.

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{CommandGetTables, CommandStatementQuery, ProstMessageExt};
use arrow_flight::{Action, Criteria, FlightData, FlightDescriptor, HandshakeRequest, Ticket};
use futures::{TryStreamExt, stream};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::mutate::mutate;
use super::{Rig, cases, runtime};

/// Bodies of calls to engine and latch.
const BODIES: &[&str] = &[
    r#"{"v":1,"freshness":"any","ttl_ms":60000,"wait_ms":1}"#,
    r#"{"v":1,"freshness":{"at_least":{"major":1,"minor":2,"token":"","commit_time_us":0}},"ttl_ms":60,"wait_ms":1}"#,
    r#"{"v":1,"lease":"a1","ttl_ms":5}"#,
    r#"{"v":1,"seq":9}"#,
    r#"{"v":1,"epoch":1,"copies":false,"upstream":null,"ready":5}"#,
    r#"{"v":1,"epoch":1,"lineage":"x","anew":false,"ancestors":[{"lineage":"y","upto":4}]}"#,
    r#"{"v":1,"epoch":1,"lineage":"x","known":null,"before":"y","at":4}"#,
    r#"{"v":1,"engine":"e","instance":"i","address":"a","lineage":null,"published":{"seq":1,"position":{"major":1,"minor":2,"token":"","commit_time_us":0}},"durable":1,"horizon":0,"awaiting":null}"#,
    r#"{"v":1,"epoch":1,"id":7,"seq":3,"error":null}"#,
    "{\"v\":1}",
];

/// Calls that change nothing for others, whatever is in them: who may write may do more.
const CALLS: &[&str] =
    &["acquire", "renew", "check", "release", "progress", "catalog", "about", "lineage", "tell", "answer", "nothing"];

/// What a client may do with an error: it has words, and is no handler's end.
fn judge(status: &Status, what: &str) {
    let text = format!("{status:?}");
    assert!(!status.message().is_empty(), "an error without a word for {what}: {text}");
    let ended = status.code() == Code::Unknown || text.contains("panicked") || text.contains("stream error");
    assert!(!ended, "{text} for {what}");
}

async fn client(port: u16) -> FlightServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an address");
    FlightServiceClient::new(endpoint.connect().await.expect("connected"))
}

/// One of each kind of request, mutated.
async fn one(client: &mut FlightServiceClient<Channel>, rng: &mut StdRng, seeds: &[Vec<u8>]) -> Result<(), Status> {
    let (bytes, other) = (&seeds[rng.random_range(0..seeds.len())], &seeds[rng.random_range(0..seeds.len())]);
    let bytes = mutate(rng, bytes, other);
    match rng.random_range(0..8) {
        0 | 1 => client.get_flight_info(FlightDescriptor::new_cmd(bytes)).await.map(drop),
        2 => client.do_get(Ticket { ticket: bytes.into() }).await?.into_inner().try_collect::<Vec<_>>().await.map(drop),
        3 => {
            let name = format!("tidelake.{}", CALLS[rng.random_range(0..CALLS.len())]);
            let action = Action { r#type: name, body: bytes.into() };
            client.do_action(action).await?.into_inner().try_collect::<Vec<_>>().await.map(drop)
        }
        4 => {
            let data = FlightData {
                flight_descriptor: Some(FlightDescriptor::new_cmd(bytes.clone())),
                data_header: mutate(rng, other, &bytes).into(),
                app_metadata: bytes.clone().into(),
                data_body: bytes.into(),
            };
            let answers = client.do_put(stream::iter([data.clone(), data])).await?.into_inner();
            answers.try_collect::<Vec<_>>().await.map(drop)
        }
        5 => {
            client.get_schema(FlightDescriptor::new_path(vec![String::from_utf8_lossy(&bytes).into()])).await.map(drop)
        }
        6 => client.list_flights(Criteria { expression: bytes.into() }).await.map(drop),
        _ => {
            let hello = HandshakeRequest { protocol_version: rng.random(), payload: bytes.into() };
            let answers = client.handshake(stream::iter([hello])).await?.into_inner();
            answers.try_collect::<Vec<_>>().await.map(drop)
        }
    }
}

/// Commands of Flight SQL as a proper client encodes them.
fn commands() -> Vec<Vec<u8>> {
    let query = CommandStatementQuery { query: "SELECT 1, 'two', 3.5 FROM dual".into(), transaction_id: None };
    let tables =
        CommandGetTables { include_schema: true, table_name_filter_pattern: Some("%".into()), ..Default::default() };
    vec![query.as_any().encode_to_vec(), tables.as_any().encode_to_vec()]
}

#[test]
fn every_call_takes_any_message() {
    let mut rig = Rig::start();
    let calls: Vec<Vec<u8>> = BODIES.iter().map(|body| body.as_bytes().to_vec()).collect();
    let ports = [
        ("the latch", rig.latch.ports().latch, calls.clone()),
        ("an engine", rig.engine.ports().magic, [calls, commands()].concat()),
        ("a query process", rig.query.ports().flight, commands()),
    ];
    for (seed, (name, port, seeds)) in (100..).zip(ports) {
        runtime().block_on(async {
            let mut client = client(port).await;
            let mut refused = 0;
            for case in 0..cases() {
                let mut rng = StdRng::seed_from_u64(seed << 32 | case as u64);
                let limit = std::time::Duration::from_secs(20);
                let done = tokio::time::timeout(limit, one(&mut client, &mut rng, &seeds)).await;
                let done = done.unwrap_or_else(|_| panic!("{name} does not answer case {case}"));
                if let Err(status) = done {
                    refused += 1;
                    judge(&status, &format!("{name}, case {case}"));
                }
            }
            assert!(refused > cases() / 3, "{name} refused {refused}");
        });
        rig.is_well();
    }
}
