//! The server against arrow-flight's own client.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use arrow_flight::FlightInfo;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables, CommandGetXdbcTypeInfo, SqlInfo, XdbcDataType};
use futures::TryStreamExt;
use tidelake_access::{Door, Guard, PasswordHash, Right, Rights, User};
use tidelake_core::types::arrow::upstream_type;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::FlightServer;
use crate::wire::tests::double::FixedService;
use crate::wire::tests::values::all_types_batch;

type Client = FlightSqlServiceClient<Channel>;

async fn start() -> (FlightServer, Arc<FixedService>, CancellationToken, Client) {
    let service = Arc::new(FixedService::default());
    let cancel = CancellationToken::new();
    let server = serve(Arc::default(), service.clone(), cancel.clone()).await;
    let endpoint = Endpoint::new(format!("http://{}", server.local_addr())).unwrap();
    let client = FlightSqlServiceClient::new(endpoint.connect().await.unwrap());
    (server, service, cancel, client)
}

async fn serve(guard: Arc<Guard>, service: Arc<FixedService>, cancel: CancellationToken) -> FlightServer {
    let door = Door::grpc("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    FlightServer::start(door, guard, service, None, cancel).unwrap()
}

async fn fetch(client: &mut Client, info: FlightInfo) -> Result<Vec<RecordBatch>, arrow_flight::error::FlightError> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    client.do_get(ticket).await?.try_collect().await
}

async fn query(client: &mut Client, sql: &str) -> Result<Vec<RecordBatch>, String> {
    let info = client.execute(sql.to_owned(), None).await.map_err(|e| e.to_string())?;
    fetch(client, info).await.map_err(|e| e.to_string())
}

fn texts(batches: &[RecordBatch], column: usize) -> Vec<String> {
    let values = batches.iter().flat_map(|b| b.column(column).as_string::<i32>().iter().flatten());
    values.map(str::to_owned).collect()
}

#[tokio::test]
async fn rows_arrive_in_stored_form_with_their_upstream_types() {
    let (_server, _, _, mut client) = start().await;
    let sent = all_types_batch();
    let got = query(&mut client, "SELECT types").await.unwrap();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0], sent);
    assert!(got[0].schema().fields().iter().all(|f| upstream_type(f).is_some()));
}

#[tokio::test]
async fn many_batches_and_none() {
    let (_server, _, _, mut client) = start().await;
    let got = query(&mut client, "SELECT 3000 numbers").await.unwrap();
    let numbers: Vec<i64> =
        got.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
    assert_eq!(query(&mut client, "SELECT empty").await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

#[tokio::test]
async fn prepared_statements_without_parameters() {
    let (_server, _, _, mut client) = start().await;
    let mut prepared = client.prepare("SELECT types".to_owned(), None).await.unwrap();
    assert_eq!(prepared.dataset_schema().unwrap().fields(), all_types_batch().schema().fields());
    let info = prepared.execute().await.unwrap();
    assert_eq!(fetch(&mut client, info).await.unwrap()[0].num_rows(), 2);
    prepared.close().await.unwrap();
    let refused = query(&mut client, "ECHO ?").await.unwrap_err();
    assert!(refused.contains("must be prepared"), "{refused}");
}

#[tokio::test]
async fn prepared_statements_take_values() {
    let (_server, _, _, mut client) = start().await;
    let mut prepared = client.prepare("ECHO ?, ?".to_owned(), None).await.unwrap();
    let wanted = prepared.parameter_schema().unwrap();
    assert_eq!(wanted.fields().iter().map(|f| f.data_type()).collect::<Vec<_>>(), [&DataType::Int64, &DataType::Int64]);
    for n in [7, 8] {
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![n])), Arc::new(StringArray::from(vec!["ä"]))];
        let row = RecordBatch::try_from_iter(["a", "b"].into_iter().zip(columns)).unwrap();
        prepared.set_parameters(row).unwrap();
        let info = prepared.execute().await.unwrap();
        assert_eq!(texts(&fetch(&mut client, info).await.unwrap(), 0), [format!("Int({n})"), "Str(\"ä\")".to_owned()]);
    }
    let mut prepared = client.prepare("ECHO ?, ?".to_owned(), None).await.unwrap();
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    prepared.set_parameters(RecordBatch::try_from_iter([("a", one)]).unwrap()).unwrap();
    let info = prepared.execute().await.unwrap();
    let few = fetch(&mut client, info).await.unwrap_err().to_string();
    assert!(few.contains("takes 2 values, 1 were sent"), "{few}");
    let two: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    prepared.set_parameters(RecordBatch::try_from_iter([("a", two)]).unwrap()).unwrap();
    let many = prepared.execute().await.unwrap_err().to_string();
    assert!(many.contains("one row of values"), "{many}");
}

#[tokio::test]
async fn errors_keep_their_number_and_end_the_stream() {
    let (_server, _, _, mut client) = start().await;
    let error = query(&mut client, "nonsense").await.unwrap_err();
    assert!(error.contains("ERROR 1064 (42000): not known: nonsense"), "{error}");
    let error = query(&mut client, "SELECT fail").await.unwrap_err();
    assert!(error.contains("the store stopped"), "{error}");
    let error = query(&mut client, "BEGIN").await.unwrap_err();
    assert!(error.contains("no effect on the next one"), "{error}");
    let error = query(&mut client, "DO").await.unwrap_err();
    assert!(error.contains("no rows"), "{error}");
    let error = query(&mut client, &format!("SELECT length {}", "z".repeat(1 << 20))).await.unwrap_err();
    assert!(error.contains("1048576"), "{error}");
}

#[tokio::test]
async fn what_has_no_rows_is_executed_as_an_update() {
    let (_server, service, _, mut client) = start().await;
    let mut update = async |sql: &str| client.execute_update(sql.to_owned(), None).await.map_err(|e| e.to_string());
    assert_eq!(update("DO").await.unwrap(), 0);
    for (sql, why) in [
        ("DELETE FROM t", "ERROR 1290 (HY000): a read-only replica"),
        ("nonsense", "ERROR 1064 (42000): not known: nonsense"),
        ("BEGIN", "no effect on the next one"),
        ("SELECT types", "execute it as a query"),
    ] {
        let error = update(sql).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let mut prepared = client.prepare("DELETE FROM t".to_owned(), None).await.unwrap();
    let error = prepared.execute_update().await.unwrap_err().to_string();
    assert!(error.contains("ERROR 1290"), "{error}");
    crate::wire::tests::eventually("sessions end", || service.seen.sessions.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn types_are_told() {
    let (_server, _, _, mut client) = start().await;
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None }).await.unwrap();
    let schema = info.clone().try_decode_schema().unwrap();
    let all = fetch(&mut client, info).await.unwrap();
    assert_eq!(*all[0].schema(), schema);
    assert!(texts(&all, 0).contains(&"VARCHAR".to_owned()));
    let bigints = CommandGetXdbcTypeInfo { data_type: Some(XdbcDataType::XdbcBigint as i32) };
    let info = client.get_xdbc_type_info(bigints).await.unwrap();
    assert_eq!(texts(&fetch(&mut client, info).await.unwrap(), 0), ["BIGINT", "BIGINT UNSIGNED", "BIT", "SET", "TIME"]);
}

#[tokio::test]
async fn databases_and_tables_can_be_browsed() {
    let (_server, _, _, mut client) = start().await;
    let info = client.get_catalogs().await.unwrap();
    assert_eq!(texts(&fetch(&mut client, info).await.unwrap(), 0), ["def"]);
    let info = client.get_db_schemas(CommandGetDbSchemas::default()).await.unwrap();
    assert_eq!(texts(&fetch(&mut client, info).await.unwrap(), 1), ["information_schema", "shop"]);
    let only_shop = CommandGetTables {
        db_schema_filter_pattern: Some("shop".to_owned()),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let info = client.get_tables(only_shop).await.unwrap();
    let tables = fetch(&mut client, info).await.unwrap();
    assert_eq!(texts(&tables, 2), ["t`1"]);
    let schema = tables[0].column_by_name("table_schema").unwrap().as_binary::<i32>().value(0).to_vec();
    let schema = arrow::datatypes::Schema::try_from(arrow_flight::IpcMessage(schema.into())).unwrap();
    assert_eq!(schema.fields(), all_types_batch().schema().fields());
    let info = client.get_table_types().await.unwrap();
    assert!(texts(&fetch(&mut client, info).await.unwrap(), 0).contains(&"BASE TABLE".to_owned()));
    let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerName]).await.unwrap();
    assert_eq!(fetch(&mut client, info).await.unwrap()[0].num_rows(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_statement() {
    let (_server, service, _, mut client) = start().await;
    let seen = service.seen.clone();
    let info = client.execute("SELECT slow rows".to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut rows = client.do_get(ticket).await.unwrap();
    assert!(rows.try_next().await.unwrap().is_some());
    assert_eq!(seen.hanging.load(Ordering::SeqCst), 1);
    drop((rows, client));
    crate::wire::tests::eventually("the statement is dropped", || seen.hanging.load(Ordering::SeqCst) == 0).await;
    crate::wire::tests::eventually("the session too", || seen.sessions.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn shutdown_ends_running_streams() {
    let (server, _, cancel, mut client) = start().await;
    let info = client.execute("SELECT slow rows".to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut rows = client.do_get(ticket).await.unwrap();
    assert!(rows.try_next().await.unwrap().is_some());
    cancel.cancel();
    let error = rows.try_next().await.unwrap_err().to_string();
    assert!(error.contains("shuts down"), "{error}");
    drop((rows, client));
    server.finished().await.unwrap();
}

#[tokio::test]
async fn a_password_is_sent_once_and_gives_a_token() {
    let ann = User::new("ann", Rights::new(vec![Right::Read], None)).with_password(PasswordHash::of_password("secret"));
    let guard = Arc::new(Guard::new(vec![ann], false));
    let service = Arc::new(FixedService::default());
    let server = serve(guard.clone(), service.clone(), CancellationToken::new()).await;
    let endpoint = Endpoint::new(format!("http://{}", server.local_addr())).unwrap();
    let mut client = FlightSqlServiceClient::new(endpoint.connect().await.unwrap());
    let refused = query(&mut client, "SELECT types").await.unwrap_err();
    assert!(refused.contains("Authorization"), "{refused}");
    assert!(client.handshake("ann", "wrong").await.is_err());
    assert!(client.handshake("bob", "secret").await.is_err());
    let token = client.handshake("ann", "secret").await.unwrap();
    // The client sends the token from here on.
    assert_eq!(query(&mut client, "SELECT types").await.unwrap().len(), 1);
    assert_eq!(service.seen.users.lock().last().map(String::as_str), Some("ann"));
    client.set_token("x".repeat(token.len()));
    assert!(query(&mut client, "SELECT types").await.is_err());
}
