//! SQL text in, Flight data out: one session for each statement, alive as long as its rows.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tidelake_access::Caller;
use tidelake_api::caller;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::bound::Bound;
use crate::session::{SessionInfo, SqlError, SqlOutcome, SqlRows, SqlService, SqlSession};

/// What `do_get` streams.
pub(super) type FlightStream = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

/// Longest statement in bytes.
pub(super) const MAX_STATEMENT: usize = 1 << 20;

/// Who sends a request.
pub(super) struct Client {
    caller: Caller,
    remote: Option<SocketAddr>,
}

/// Who sends this one.
pub(super) fn client<T>(request: &Request<T>) -> Result<Client, Status> {
    Ok(Client { caller: caller(request)?, remote: request.remote_addr() })
}

/// A session for one statement.
pub(super) async fn open(service: &dyn SqlService, client: Client) -> Result<Box<dyn SqlSession>, Status> {
    let Client { caller, remote } = client;
    let info = SessionInfo { caller, remote, database: None, connection_id: 0 };
    service.open(info).await.map_err(|e| status(&e))
}

/// Checks a statement that came as bytes of a ticket or handle.
pub(super) fn statement(bytes: &[u8]) -> Result<&str, Status> {
    if bytes.len() > MAX_STATEMENT {
        return Err(Status::invalid_argument(format!(
            "a statement may have {MAX_STATEMENT} bytes, not {}",
            bytes.len()
        )));
    }
    std::str::from_utf8(bytes).map_err(|e| Status::invalid_argument(format!("the statement is not UTF-8: {e}")))
}

/// The columns a statement will have (none: it has no rows), and what each of its parameters is best sent as.
pub(super) async fn describe(session: &mut dyn SqlSession, sql: &str) -> Result<(SchemaRef, Vec<DataType>), Status> {
    let prepared = session.prepare(sql).await.map_err(|e| status(&e))?;
    session.close_prepared(prepared.id);
    Ok((prepared.schema, prepared.parameter_types))
}

/// Runs a statement that has rows.
pub(super) async fn rows(session: &mut dyn SqlSession, sql: &str) -> Result<SqlRows, Status> {
    with_rows(session.execute(sql).await.map_err(|e| status(&e))?)
}

/// Runs a statement, with values for its parameters if some were bound.
async fn run(session: &mut dyn SqlSession, bound: &Bound<'_>) -> Result<SqlOutcome, Status> {
    let Some(values) = &bound.values else { return session.execute(bound.sql).await.map_err(|e| status(&e)) };
    let prepared = session.prepare(bound.sql).await.map_err(|e| status(&e))?;
    if prepared.parameters != values.len() {
        let (wanted, sent) = (prepared.parameters, values.len());
        return Err(Status::invalid_argument(format!("the statement takes {wanted} values, {sent} were sent")));
    }
    session.execute_prepared(prepared.id, values).await.map_err(|e| status(&e))
}

fn with_rows(outcome: SqlOutcome) -> Result<SqlRows, Status> {
    match outcome {
        SqlOutcome::Rows(rows) => Ok(rows),
        SqlOutcome::Done => Err(Status::invalid_argument("this statement has no rows: execute it as an update")),
        SqlOutcome::Remembered => Err(forgotten()),
    }
}

/// Runs a statement that has no rows. What writes is refused by the session, with the words of the MySQL protocol.
///
/// # Errors
/// Its own; what only a session remembers, and what has rows.
pub(super) async fn run_update(session: &mut dyn SqlSession, bound: &Bound<'_>) -> Result<(), Status> {
    match run(session, bound).await? {
        SqlOutcome::Done => Ok(()),
        SqlOutcome::Remembered => Err(forgotten()),
        SqlOutcome::Rows(_) => Err(Status::invalid_argument("this statement has rows: execute it as a query")),
    }
}

/// To accept what has no effect would let its user believe that it has.
fn forgotten() -> Status {
    Status::invalid_argument(
        "every statement of Flight SQL has a session of its own, so this would have no effect on the next one: \
         write SET STATEMENT name = value FOR statement, and databases before the names of tables (database.table)",
    )
}

/// Runs a statement and streams its batches; the stream owns the session. Dropping it cancels the statement.
pub(super) async fn stream_rows(
    service: &Arc<dyn SqlService>,
    client: Client,
    bound: &Bound<'_>,
    cancel: CancellationToken,
) -> Result<FlightStream, Status> {
    let mut session = open(service.as_ref(), client).await?;
    let SqlRows { schema, rows, .. } = tokio::select! {
        () = cancel.cancelled() => return Err(shutting_down()),
        outcome = run(session.as_mut(), bound) => with_rows(outcome?)?,
    };
    let batches = stream::unfold((session, rows, cancel), |(session, mut rows, cancel)| async move {
        let next = tokio::select! {
            () = cancel.cancelled() => Some(Err(shutting_down())),
            next = rows.next() => next.map(|batch| batch.map_err(|e| status(&e))),
        };
        next.map(|batch| (batch, (session, rows, cancel)))
    });
    Ok(encode(schema, batches))
}

/// Streams one batch.
pub(super) fn one_batch(batch: RecordBatch) -> FlightStream {
    encode(batch.schema(), stream::iter([Ok(batch)]))
}

/// Ends after the first error.
fn encode(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
) -> FlightStream {
    let until_error = batches.scan(false, |failed, batch| {
        let item = (!*failed).then_some(batch);
        *failed = matches!(item, Some(Err(_)));
        futures::future::ready(item)
    });
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .build(until_error.map_err(|e| FlightError::Tonic(Box::new(e))))
        .map_err(Status::from)
        .boxed()
}

pub(super) fn shutting_down() -> Status {
    Status::unavailable("the server shuts down")
}

/// A session's error as Flight clients see it; the MySQL number stays in the text.
pub(super) fn status(e: &SqlError) -> Status {
    let text = e.to_string();
    match e.code {
        1044 | 1045 | 1142 | 1290 | 1792 => Status::permission_denied(text),
        1049 | 1054 | 1146 => Status::not_found(text),
        1064 | 1235 => Status::invalid_argument(text),
        1053 => Status::unavailable(text),
        1317 => Status::cancelled(text),
        3024 | 1969 => Status::deadline_exceeded(text),
        _ => Status::internal(text),
    }
}
