//! What engine and latch do with every method of Arrow Flight.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, Criteria, Empty, FlightData, FlightDescriptor, HandshakeRequest, Ticket};
use futures::{TryStreamExt, stream};
use tidelake_api::{HUB_ADMIN_CALLS, HUB_READ_CALLS, HUB_WRITE_CALLS, READ_CALLS, WRITE_CALLS};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use crate::hub::rig;

async fn client(address: SocketAddr) -> FlightServiceClient<Channel> {
    let endpoint = Endpoint::new(format!("http://{address}")).expect("an address");
    FlightServiceClient::new(endpoint.connect().await.expect("connects"))
}

/// How each method ends that is asked for what is not of the Magic API.
async fn refusals(client: &mut FlightServiceClient<Channel>) -> Vec<(&'static str, Status)> {
    fn of<T>(answer: Result<Response<T>, Status>) -> Status {
        answer.err().unwrap_or_else(|| Status::ok("answered"))
    }
    let cmd = || FlightDescriptor::new_cmd("strange");
    let row = || stream::iter([FlightData::new().with_descriptor(cmd())]);
    vec![
        ("Handshake", of(client.handshake(stream::iter([HandshakeRequest::default()])).await)),
        ("ListFlights", of(client.list_flights(Criteria::default()).await)),
        ("PollFlightInfo", of(client.poll_flight_info(cmd()).await)),
        ("GetSchema", of(client.get_schema(cmd()).await)),
        ("DoExchange", of(client.do_exchange(row()).await)),
        ("GetFlightInfo", of(client.get_flight_info(cmd()).await)),
        ("DoGet", of(client.do_get(Ticket::new("strange")).await)),
        ("DoPut", of(client.do_put(row()).await)),
        ("DoAction", of(client.do_action(Action::new("strange", "")).await)),
    ]
}

async fn actions(client: &mut FlightServiceClient<Channel>) -> BTreeSet<String> {
    let listed = client.list_actions(Empty {}).await.expect("listed").into_inner();
    listed.map_ok(|action| action.r#type).try_collect().await.expect("whole")
}

fn named(calls: &[&[&str]]) -> BTreeSet<String> {
    let all = calls.iter().flat_map(|names| names.iter().copied()).chain(["watch", "questions"]);
    all.map(|name| format!("tidelake.{name}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_offered_is_refused_with_words() {
    let (rig, _writers) = rig().await;
    let (mut latch, mut engine) = (client(rig.latch.address).await, client(rig.engines[0].address).await);
    let nowhere = ["Handshake", "ListFlights", "PollFlightInfo", "GetSchema", "DoExchange"];
    let an_engines = ["GetFlightInfo", "DoGet", "DoPut"];
    for (method, status) in refusals(&mut engine).await {
        let (code, words) = match nowhere.contains(&method) {
            true => (Code::Unimplemented, format!("{method} ")),
            false => (Code::InvalidArgument, "not a ticket, command or action of the Magic API".to_owned()),
        };
        assert!(status.code() == code && status.message().contains(&words), "{method} of an engine: {status}");
    }
    for (method, status) in refusals(&mut latch).await {
        let (code, words) = match method {
            _ if an_engines.contains(&method) => (Code::Unimplemented, format!("{method} is an engine's")),
            _ if nowhere.contains(&method) => (Code::Unimplemented, format!("{method} ")),
            _ => (Code::InvalidArgument, "not a ticket, command or action of the Magic API".to_owned()),
        };
        assert!(status.code() == code && status.message().contains(&words), "{method} of a latch: {status}");
    }
    assert_eq!(actions(&mut engine).await, named(&[READ_CALLS, WRITE_CALLS]));
    assert_eq!(actions(&mut latch).await, named(&[HUB_READ_CALLS, HUB_WRITE_CALLS, HUB_ADMIN_CALLS]));
}
