//! A hub as an Arrow Flight service: calls only. While another latch leads, or none yet, there is no hub, and whoever asks is told so.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::{StreamExt, stream};
use tidelake_access::{Caller, Door, Guard, Right};
use tidelake_core::{Error, Result};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::{HUB_ADMIN_CALLS, HUB_READ_CALLS, HUB_WRITE_CALLS, Hub};
use crate::client::{PING, PONG};
use crate::door::{LetIn, caller, incoming};
use crate::errors::to_status;
use crate::server::{ACTIONS, Answers, QUESTIONS, WATCH};
use crate::wire::{Asked, Nothing, OfEpoch, decode, encode};

/// Where the hub of a process is while it leads.
#[derive(Clone, Default)]
pub struct HubSeat(Arc<parking_lot::RwLock<Option<Arc<Hub>>>>);

impl HubSeat {
    /// From now on it is this one.
    pub fn take(&self, hub: Option<Arc<Hub>>) {
        *self.0.write() = hub;
    }

    /// The one that leads.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if another latch does.
    pub fn hub(&self) -> Result<Arc<Hub>> {
        self.0
            .read()
            .clone()
            .ok_or_else(|| Error::Unavailable("this latch does not lead: another one does, or will".into()))
    }

    /// Runs a call at the one that leads.
    ///
    /// # Errors
    /// As for [`Hub::call`].
    pub async fn call(&self, caller: &Caller, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.hub()?.call(caller, name, body).await
    }
}

/// The Flight service.
pub struct HubFlight {
    seat: HubSeat,
    cancel: CancellationToken,
}

impl HubFlight {
    fn questions(&self, epoch: u64) -> Result<Answers<arrow_flight::Result>> {
        let hub = self.seat.hub()?;
        let asked = hub.listen(epoch)?;
        let lost = hub.book.lost();
        let next = |mut asked: UnboundedReceiver<Asked>| async move {
            let body = encode(asked.recv().await?).map_err(|e| to_status(&e));
            Some((body.map(|body| arrow_flight::Result { body: body.into() }), asked))
        };
        let ended = self.cancel.clone().cancelled_owned();
        Ok(stream::unfold(asked, next).take_until(lost.cancelled_owned()).take_until(ended).boxed())
    }

    /// What is shown, now and each time that changes.
    fn watch(&self) -> Result<Answers<arrow_flight::Result>> {
        let hub = self.seat.hub()?;
        let (mut shown, lost) = (hub.shown.subscribe(), hub.book.lost());
        shown.mark_changed();
        let watched = stream::unfold((hub, shown), |(hub, mut shown)| async move {
            shown.changed().await.ok()?;
            let body = encode(hub.progress()).map_err(|e| to_status(&e));
            Some((body.map(|body| arrow_flight::Result { body: body.into() }), (hub, shown)))
        });
        let ended = self.cancel.clone().cancelled_owned();
        Ok(watched.take_until(lost.cancelled_owned()).take_until(ended).boxed())
    }
}

fn none_of_a_latch<T>(what: &str) -> Result<T, Status> {
    Err(Status::unimplemented(format!("{what} is an engine's, not a latch's")))
}

#[tonic::async_trait]
impl FlightService for HubFlight {
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
        none_of_a_latch("Handshake")
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        none_of_a_latch("ListFlights")
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        none_of_a_latch("GetFlightInfo")
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        none_of_a_latch("PollFlightInfo")
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        none_of_a_latch("GetSchema")
    }

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        none_of_a_latch("DoGet")
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        none_of_a_latch("DoPut")
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        none_of_a_latch("DoExchange")
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let caller = caller(&request)?;
        let Action { r#type: name, body } = request.into_inner();
        if name == WATCH {
            caller.rights.check(Right::Read).map_err(|e| to_status(&e))?;
            let Nothing {} = decode(&body).map_err(|e| to_status(&e))?;
            return Ok(Response::new(self.watch().map_err(|e| to_status(&e))?));
        }
        if name == QUESTIONS {
            caller.rights.check(Right::Write).map_err(|e| to_status(&e))?;
            let OfEpoch { epoch } = decode(&body).map_err(|e| to_status(&e))?;
            return Ok(Response::new(self.questions(epoch).map_err(|e| to_status(&e))?));
        }
        let foreign = || Status::invalid_argument("not a call of the Magic API");
        let name = name.strip_prefix(ACTIONS).ok_or_else(foreign)?;
        let body = self.seat.call(&caller, name, &body).await.map_err(|e| to_status(&e))?;
        Ok(Response::new(stream::iter([Ok(arrow_flight::Result { body: body.into() })]).boxed()))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        let names = HUB_READ_CALLS.iter().chain(HUB_WRITE_CALLS).chain(HUB_ADMIN_CALLS);
        let names = names.map(|name| format!("{ACTIONS}{name}"));
        let all = names
            .chain([WATCH.to_owned(), QUESTIONS.to_owned()])
            .map(|name| Ok(ActionType { r#type: name, description: String::new() }));
        Ok(Response::new(stream::iter(all.collect::<Vec<_>>()).boxed()))
    }
}

/// The service, behind its guard.
pub(crate) fn hub_service(
    guard: Arc<Guard>,
    seat: HubSeat,
    cancel: CancellationToken,
) -> InterceptedService<FlightServiceServer<HubFlight>, LetIn> {
    InterceptedService::new(FlightServiceServer::new(HubFlight { seat, cancel }), LetIn::new(guard))
}

/// A listening server of a latch.
pub struct HubServer {
    address: SocketAddr,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl HubServer {
    /// Serves whom the guard lets in through a door for gRPC, until `cancel`.
    ///
    /// # Errors
    /// [`Error::Io`] if the door's address cannot be read.
    pub fn start(door: Door, guard: Arc<Guard>, seat: HubSeat, cancel: CancellationToken) -> Result<HubServer> {
        let address = door.local_addr().map_err(|e| Error::io("read the latch's address", e))?;
        let incoming = incoming(door, cancel.clone());
        let flight = hub_service(guard, seat, cancel.clone());
        let serving = Server::builder()
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PONG))
            .add_service(flight);
        let task = tokio::spawn(serving.serve_with_incoming_shutdown(incoming, cancel.cancelled_owned()));
        Ok(HubServer { address, task })
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
        let ended = self.task.await.map_err(|e| Error::Internal(format!("the latch's server ended: {e}")))?;
        ended.map_err(|e| Error::Internal(format!("the latch's server ended: {e}")))
    }
}
