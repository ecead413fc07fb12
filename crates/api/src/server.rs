//! The Magic API as an Arrow Flight service.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tidelake_access::{Door, Guard, Right};
use tidelake_core::{Error, Result};
use tokio::sync::mpsc::UnboundedReceiver;
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
use crate::wire::{Asked, Nothing, OfEpoch, Stage, decode, encode, from_ticket, ticket};

/// Actions of the Magic API have names that begin so.
pub const ACTIONS: &str = "tidelake.";
/// The action whose answers go on: how far the engine is, each time that changes.
pub const WATCH: &str = "tidelake.watch";
/// The action whose answers are the latch's questions to the writer, as they come.
pub const QUESTIONS: &str = "tidelake.questions";
/// Longest message with rows, in either direction: a row of one large value must fit.
pub(crate) const MAX_ROWS: usize = 256 << 20;

/// Streams of the service.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

/// The Flight service.
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

    /// Now, and each time something is published or durable.
    fn watch(&self) -> Answers<arrow_flight::Result> {
        let (mut published, durable) = (self.magic.engine.published(), self.magic.engine.durable());
        published.mark_changed();
        let state = (self.magic.clone(), self.cancel.clone(), published, durable);
        stream::unfold(state, |(magic, cancel, mut published, mut durable)| async move {
            tokio::select! {
                () = cancel.cancelled() => return None,
                changed = published.changed() => changed.ok()?,
                changed = durable.changed() => changed.ok()?,
            }
            let body = encode(magic.progress()).map_err(|e| to_status(&e));
            let answer = body.map(|body| arrow_flight::Result { body: body.into() });
            Some((answer, (magic, cancel, published, durable)))
        })
        .boxed()
    }
}

impl MagicFlight {
    fn questions(&self, epoch: u64) -> Result<Answers<arrow_flight::Result>> {
        let asked = self.magic.desk()?.listen(epoch)?;
        let next = |mut asked: UnboundedReceiver<Asked>| async move {
            let body = encode(asked.recv().await?).map_err(|e| to_status(&e));
            Some((body.map(|body| arrow_flight::Result { body: body.into() }), asked))
        };
        Ok(stream::unfold(asked, next).take_until(self.cancel.clone().cancelled_owned()).boxed())
    }
}

fn unimplemented<T>(what: &str) -> Result<T, Status> {
    Err(Status::unimplemented(format!("{what} is not part of the Magic API")))
}

fn foreign() -> Status {
    Status::invalid_argument("not a ticket or command of the Magic API")
}

#[tonic::async_trait]
impl FlightService for MagicFlight {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        unimplemented("Handshake")
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        unimplemented("ListFlights (call `catalog`)")
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
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

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        unimplemented("PollFlightInfo")
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        unimplemented("GetSchema (GetFlightInfo has it)")
    }

    /// Tickets of the Magic API do not come here: [`RowsOut`] answers them.
    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        caller(&request)?;
        Err(foreign())
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
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

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        unimplemented("DoExchange")
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let caller = caller(&request)?;
        let Action { r#type: name, body } = request.into_inner();
        if name == WATCH {
            caller.rights.check(Right::Read).map_err(|e| to_status(&e))?;
            let Nothing {} = decode(&body).map_err(|e| to_status(&e))?;
            return Ok(Response::new(self.watch()));
        }
        if name == QUESTIONS {
            caller.rights.check(Right::Write).map_err(|e| to_status(&e))?;
            let OfEpoch { epoch } = decode(&body).map_err(|e| to_status(&e))?;
            return Ok(Response::new(self.questions(epoch).map_err(|e| to_status(&e))?));
        }
        let name = name.strip_prefix(ACTIONS).ok_or_else(foreign)?;
        let body = self.magic.call(&caller, name, &body).await.map_err(|e| to_status(&e))?;
        Ok(Response::new(stream::iter([Ok(arrow_flight::Result { body: body.into() })]).boxed()))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        let names = READ_CALLS.iter().chain(WRITE_CALLS).map(|name| format!("{ACTIONS}{name}"));
        let all = names
            .chain([WATCH.to_owned(), QUESTIONS.to_owned()])
            .map(|name| Ok(ActionType { r#type: name, description: String::new() }));
        Ok(Response::new(stream::iter(all.collect::<Vec<_>>()).boxed()))
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
) -> InterceptedService<RowsOut<FlightServiceServer<MagicFlight>>, LetIn> {
    let calls = FlightServiceServer::new(MagicFlight::new(magic.clone(), cancel.clone()));
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
