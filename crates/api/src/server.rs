//! The Magic API as an Arrow Flight service.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, PutResult, Ticket};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tidelake_access::{Caller, Door, Guard, Right};
use tidelake_core::{Error, Result};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::client::{PING, PONG};
use crate::door::{LetIn, caller, incoming};
use crate::errors::to_status;
use crate::flow::RowsOut;
use crate::magic::{Magic, READ_CALLS, WRITE_CALLS};
use crate::offered::{Answers, Offered, Offers, foreign, questions_of};
use crate::wire::{Nothing, Stage, encode, from_ticket, ticket};

/// Longest message with rows, in either direction: a row of one large value must fit.
pub(crate) const MAX_ROWS: usize = 256 << 20;

/// An engine, with its latch or without, as a server of the Magic API.
pub struct MagicFlight {
    magic: Arc<Magic>,
    cancel: CancellationToken,
}

impl MagicFlight {
    /// Serves until `cancel`.
    #[must_use]
    pub fn new(magic: Arc<Magic>, cancel: CancellationToken) -> MagicFlight {
        MagicFlight { magic, cancel }
    }
}

#[tonic::async_trait]
impl Offers for MagicFlight {
    fn calls() -> Vec<&'static str> {
        READ_CALLS.iter().chain(WRITE_CALLS).copied().collect()
    }

    async fn call(&self, caller: &Caller, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.magic.call(caller, name, body).await
    }

    fn watch(&self) -> Result<Answers<arrow_flight::Result>> {
        let (mut published, durable) = (self.magic.engine.published(), self.magic.engine.durable());
        published.mark_changed();
        let state = (self.magic.clone(), self.cancel.clone(), published, durable);
        let answers = stream::unfold(state, |(magic, cancel, mut published, mut durable)| async move {
            tokio::select! {
                () = cancel.cancelled() => return None,
                changed = published.changed() => changed.ok()?,
                changed = durable.changed() => changed.ok()?,
            }
            let body = encode(magic.progress()).map_err(|e| to_status(&e));
            let answer = body.map(|body| arrow_flight::Result { body: body.into() });
            Some((answer, (magic, cancel, published, durable)))
        });
        Ok(answers.boxed())
    }

    fn questions(&self, epoch: u64) -> Result<Answers<arrow_flight::Result>> {
        let asked = self.magic.desk()?.listen(epoch)?;
        Ok(questions_of(asked).take_until(self.cancel.clone().cancelled_owned()).boxed())
    }

    async fn plan(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let caller = caller(&request)?;
        let descriptor = request.into_inner();
        let plan = from_ticket(&descriptor.cmd).ok_or_else(foreign)?.map_err(|e| to_status(&e))?;
        let (schema, planned) = self.magic.plan(&caller, plan).await.map_err(|e| to_status(&e))?;
        let internal = |e| Status::internal(format!("encode the schema: {e}"));
        let mut info = FlightInfo::new().try_with_schema(&schema).map_err(internal)?.with_descriptor(descriptor);
        for split in &planned.splits {
            let ticket = Ticket::new(ticket(split).map_err(|e| to_status(&e))?);
            info = info.with_endpoint(FlightEndpoint::new().with_ticket(ticket));
        }
        let rows = planned.exact_rows.and_then(|rows| i64::try_from(rows).ok());
        let bytes = planned.splits.iter().map(|s| s.bytes).fold(0, u64::saturating_add);
        let info = info
            .with_total_records(rows.unwrap_or(-1))
            .with_total_bytes(i64::try_from(bytes).unwrap_or(-1))
            .with_app_metadata(encode(&planned).map_err(|e| to_status(&e))?);
        Ok(Response::new(info))
    }

    /// Tickets of the Magic API do not come here: [`RowsOut`] answers them.
    async fn get(&self, request: Request<Ticket>) -> Result<Response<Answers<FlightData>>, Status> {
        caller(&request)?;
        Err(foreign())
    }

    async fn put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Answers<PutResult>>, Status> {
        let caller = caller(&request)?;
        caller.rights.check(Right::Write).map_err(|e| to_status(&e))?;
        let mut incoming = request.into_inner().peekable();
        let first = Pin::new(&mut incoming).peek().await;
        let stage: Stage = match first {
            Some(Ok(data)) => {
                let command = data.flight_descriptor.as_ref().map(|d| d.cmd.clone()).unwrap_or_default();
                from_ticket(&command).ok_or_else(foreign)?.map_err(|e| to_status(&e))?
            }
            Some(Err(status)) => return Err(status.clone()),
            None => return Err(foreign()),
        };
        let batches =
            FlightRecordBatchStream::new_from_flight_data(incoming.map_err(|s| FlightError::Tonic(Box::new(s))));
        // Arrow panics on some bytes that are no rows.
        let batches = AssertUnwindSafe(batches).catch_unwind().map(|batch| match batch {
            Ok(batch) => batch.map_err(|e| refused_rows(&e)),
            Err(_) => Err(Status::invalid_argument("not rows in Arrow's IPC format")),
        });
        let magic = self.magic.clone();
        let answers = batches.and_then(move |batch| {
            let (magic, caller) = (magic.clone(), caller.clone());
            async move {
                magic.stage(&caller, stage, &batch).await.map_err(|e| to_status(&e))?;
                Ok(PutResult { app_metadata: encode(Nothing {}).map_err(|e| to_status(&e))?.into() })
            }
        });
        Ok(Response::new(until_error(answers).boxed()))
    }
}

/// What cannot be read is the client's fault; what its connection ended with is that.
fn refused_rows(error: &FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => (**status).clone(),
        other => to_status(&Error::Invalid(format!("rows of a writer: {other}"))),
    }
}

/// Ends after the first error.
fn until_error<T: Send>(
    answers: impl Stream<Item = Result<T, Status>> + Send,
) -> impl Stream<Item = Result<T, Status>> + Send {
    answers.scan(false, |failed, item| {
        let next = (!*failed).then_some(item);
        *failed = matches!(next, Some(Err(_)));
        futures::future::ready(next)
    })
}

/// The service, behind its guard.
pub(crate) fn magic_service(
    guard: Arc<Guard>,
    magic: Arc<Magic>,
    cancel: CancellationToken,
) -> InterceptedService<RowsOut<FlightServiceServer<Offered<MagicFlight>>>, LetIn> {
    let calls = FlightServiceServer::new(Offered(MagicFlight::new(magic.clone(), cancel.clone())));
    let flight = RowsOut::before(calls.max_decoding_message_size(MAX_ROWS), Some(magic), cancel);
    InterceptedService::new(flight, LetIn::new(guard))
}

/// A listening server of the Magic API alone.
pub struct MagicServer {
    address: SocketAddr,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl MagicServer {
    /// Serves whom the guard lets in through a door for gRPC, until `cancel`.
    ///
    /// # Errors
    /// [`Error::Io`] if the door's address cannot be read.
    pub fn start(door: Door, guard: Arc<Guard>, magic: Arc<Magic>, cancel: CancellationToken) -> Result<MagicServer> {
        let address = door.local_addr().map_err(|e| Error::io("read the Magic API's address", e))?;
        let incoming = incoming(door, cancel.clone());
        let flight = magic_service(guard, magic, cancel.clone());
        let serving = Server::builder()
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PONG))
            .add_service(flight);
        let task = tokio::spawn(serving.serve_with_incoming_shutdown(incoming, cancel.cancelled_owned()));
        Ok(MagicServer { address, task })
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server has ended after its cancellation.
    ///
    /// # Errors
    /// [`Error::Internal`] if it ended for another reason.
    pub async fn finished(self) -> Result<()> {
        let ended = self.task.await.map_err(|e| Error::Internal(format!("the Magic API's server ended: {e}")))?;
        ended.map_err(|e| Error::Internal(format!("the Magic API's server ended: {e}")))
    }
}
