//! Behind a guard every call needs somebody who may make it.

use std::sync::Arc;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, FlightData, FlightDescriptor, Ticket};
use futures::stream;
use tempfile::TempDir;
use tidelake_access::{Guard, Right, Rights, User};
use tidelake_api::wire::{OfEpoch, OfSeq, Stage, encode, ticket};
use tidelake_api::{ACTIONS, Connection, FlightStore, Login, QUESTIONS, READ_CALLS, WATCH, WRITE_CALLS, WriterLine};
use tidelake_core::filter::TableFilter;
use tidelake_core::ports::{ScanRequest, StoreEngine};
use tidelake_core::testing::tables::{accounts, create, inserts, int, null, position};
use tidelake_core::{CommitSeq, Error, TableId};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use crate::served::{Kind, Served, tempdir};

const READER: &str = "the token of a reader";
const WRITER: &str = "the token of a writer";

/// Its directories go after it.
struct Rig {
    served: Served,
    _kind: Kind,
    _desk: TempDir,
}

/// An engine with the tables `a` and `b`, of which a reader may read `a`.
async fn rig() -> Rig {
    let some = TableFilter::parse("*.a").expect("parses");
    let users = vec![
        User::new("reader", Rights::new(vec![Right::Read], Some(some))).with_token(READER),
        User::new("writer", Rights::new(vec![Right::Write], None)).with_token(WRITER),
    ];
    let guard = Arc::new(Guard::new(users, false));
    let (kind, desk) = (Kind::Engine(Arc::new(tempdir())), tempdir());
    let started = move || (Served::start_guarded(&kind, Some(desk.path()), guard, None), kind, desk);
    let (served, kind, desk) = tokio::task::spawn_blocking(started).await.expect("started");
    let connection = connection(&served, WRITER);
    let (line, _) = WriterLine::begin(connection.clone(), "a buffer", true).await.expect("a writer may begin");
    let store = FlightStore::over(connection).await.expect("connect");
    let mut writer = store.open_writer(line.epoch()).await.expect("writer");
    for (seq, (id, name)) in [(1, "a"), (2, "b")].into_iter().enumerate() {
        let (def, seq) = (accounts(id, name), seq as u64 * 2 + 1);
        writer.stage(create(&def, seq)).await.expect("stage");
        writer.stage(inserts(&def, seq + 1, &[vec![int(1), int(10), null()]])).await.expect("stage");
    }
    writer.publish(CommitSeq(4), position(4)).await.expect("publish");
    Rig { served, _kind: kind, _desk: desk }
}

fn connection(served: &Served, token: &str) -> Connection {
    let login = Login { token: Some(token.to_owned()), ..Login::default() };
    Connection::open_as(&served.url(), &login).expect("an address")
}

/// The code that every kind of call ends with.
async fn codes(client: &mut FlightServiceClient<Channel>, token: Option<&str>) -> Vec<(String, Code)> {
    let request = |action: &str, body: Vec<u8>| Action { r#type: action.to_owned(), body: body.into() };
    let mut found = Vec::new();
    let names = READ_CALLS.iter().chain(WRITE_CALLS).map(|name| format!("{ACTIONS}{name}"));
    for name in names.chain([WATCH.to_owned(), QUESTIONS.to_owned()]) {
        let answer = client.do_action(with(request(&name, b"{\"v\":1}".to_vec()), token)).await;
        found.push((name, answer.err().map_or(Code::Ok, |s| s.code())));
    }
    let stage = ticket(Stage { epoch: 1, table: TableId(1), version: 1 }).expect("encodes");
    let rows = FlightData::new().with_descriptor(FlightDescriptor::new_cmd(stage));
    let put = client.do_put(with(stream::iter([rows]), token)).await;
    found.push(("DoPut".to_owned(), put.err().map_or(Code::Ok, |s| s.code())));
    found
}

fn with<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_any_call_and_readers_make_none_of_a_writers() {
    let Rig { served, .. } = &rig().await;
    let channel = Endpoint::from_shared(served.url()).expect("an address").connect().await.expect("connect");
    let mut client = FlightServiceClient::new(channel);
    for token in [None, Some("another token")] {
        let codes = codes(&mut client, token).await;
        assert!(codes.iter().all(|(_, code)| *code == Code::Unauthenticated), "{codes:?}");
    }
    let info = client.get_flight_info(FlightDescriptor::new_cmd(b"tidelake:{}".to_vec())).await;
    assert_eq!(info.expect_err("refused").code(), Code::Unauthenticated);
    let rows = client.do_get(Ticket::new(b"tidelake:{}".to_vec())).await;
    assert_eq!(rows.expect_err("refused").code(), Code::Unauthenticated);
    for (name, code) in codes(&mut client, Some(READER)).await {
        let writes = WRITE_CALLS.iter().any(|call| name == format!("{ACTIONS}{call}"));
        let denied = writes || name == QUESTIONS || name == "DoPut";
        assert_eq!(code == Code::PermissionDenied, denied, "{name}: {code:?}");
        assert_ne!(code, Code::Unauthenticated, "{name}");
    }
    for (name, body) in
        [("set_horizon", encode(OfSeq { seq: CommitSeq(4) })), ("open_writer", encode(OfEpoch { epoch: 9 }))]
    {
        let action = Action { r#type: format!("{ACTIONS}{name}"), body: body.expect("encodes").into() };
        let refused = client.do_action(with(action, Some(READER))).await.expect_err("refused");
        assert_eq!(refused.code(), Code::PermissionDenied, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_its_tables_with_nobodys_tickets() {
    let Rig { served, .. } = &rig().await;
    let (reader, writer) = (connection(served, READER), connection(served, WRITER));
    let mine = FlightStore::over(reader.clone()).await.expect("connect");
    let all = FlightStore::over(writer.clone()).await.expect("connect");
    let at = CommitSeq(4);
    let names = |store: &FlightStore| -> Vec<String> {
        let catalog = store.catalog(at).expect("a catalog");
        catalog.tables.values().map(|entry| entry.def.name.table.clone()).collect()
    };
    assert_eq!(names(&mine), ["a"]);
    assert_eq!(names(&all), ["a", "b"]);
    let request = |table| ScanRequest {
        seq: at,
        lease: None,
        table: TableId(table),
        projection: None,
        predicates: Vec::new(),
        limit: None,
        target_splits: 1,
        text_views: false,
    };
    assert_eq!(mine.plan_scan(&request(1)).await.expect("its own").exact_rows, Some(1));
    let denied = mine.plan_scan(&request(2)).await.expect_err("another's");
    assert!(matches!(&denied, Error::Denied(text) if text.contains(".b may not be read")), "{denied}");
    assert!(matches!(mine.table_stats(TableId(2)), Err(Error::Denied(_))));
    let plan = all.plan_scan(&request(2)).await.expect("it may");
    let stolen = mine.read_split(&plan.splits[0]).await.err();
    assert!(matches!(stolen, Some(Error::Denied(_))), "{stolen:?}");
}
