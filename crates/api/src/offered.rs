//! What servers of the Magic API do with Arrow Flight, said once: actions are calls, and methods that a server does not offer are refused.

use std::pin::Pin;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::{Stream, StreamExt, stream};
use tidelake_access::{Caller, Right};
use tidelake_core::Result;
use tokio::sync::mpsc::UnboundedReceiver;
use tonic::{Request, Response, Status, Streaming};

use crate::door::caller;
use crate::errors::to_status;
use crate::wire::{Asked, Nothing, OfEpoch, decode, encode};

/// Actions of the Magic API have names that begin so.
pub const ACTIONS: &str = "tidelake.";
/// The action whose answers go on: how far the engine is, each time that changes.
pub const WATCH: &str = "tidelake.watch";
/// The action whose answers are the latch's questions to the writer, as they come.
pub const QUESTIONS: &str = "tidelake.questions";

/// Streams of the service.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

type Answered<T> = Result<Response<Answers<T>>, Status>;

/// A server of the Magic API. Calls are every server's; plans and rows are an engine's, and refused by others.
#[tonic::async_trait]
pub trait Offers: Send + Sync + 'static {
    /// The names of its calls.
    fn calls() -> Vec<&'static str>;

    /// Runs a call for who may do it.
    async fn call(&self, caller: &Caller, name: &str, body: &[u8]) -> Result<Vec<u8>>;

    /// How far it is, now and each time that changes.
    ///
    /// # Errors
    /// If it cannot know.
    fn watch(&self) -> Result<Answers<arrow_flight::Result>>;

    /// The latch's questions to the writer of an epoch.
    ///
    /// # Errors
    /// If another writer is asked.
    fn questions(&self, epoch: u64) -> Result<Answers<arrow_flight::Result>>;

    /// `GetFlightInfo`.
    async fn plan(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        Err(elsewhere("GetFlightInfo"))
    }

    /// `DoGet`.
    async fn get(&self, _: Request<Ticket>) -> Answered<FlightData> {
        Err(elsewhere("DoGet"))
    }

    /// `DoPut`.
    async fn put(&self, _: Request<Streaming<FlightData>>) -> Answered<PutResult> {
        Err(elsewhere("DoPut"))
    }
}

/// The Flight service of a server.
pub struct Offered<S>(pub S);

/// What only engines offer.
fn elsewhere(method: &str) -> Status {
    Status::unimplemented(format!("{method} is an engine's, not a latch's: ask one of the engines"))
}

/// What no server offers.
fn nowhere<T>(method: &str) -> Result<T, Status> {
    Err(Status::unimplemented(format!("{method} is not part of the Magic API")))
}

/// Of a ticket, command or action that is none of the Magic API.
pub(crate) fn foreign() -> Status {
    Status::invalid_argument("not a ticket, command or action of the Magic API")
}

/// Questions as answers of [`QUESTIONS`].
pub(crate) fn questions_of(
    asked: UnboundedReceiver<Asked>,
) -> impl Stream<Item = Result<arrow_flight::Result, Status>> {
    stream::unfold(asked, |mut asked| async move {
        let body = encode(asked.recv().await?).map_err(|e| to_status(&e));
        Some((body.map(|body| arrow_flight::Result { body: body.into() }), asked))
    })
}

impl<S: Offers> Offered<S> {
    async fn act(&self, caller: &Caller, name: &str, body: &[u8]) -> Result<Answers<arrow_flight::Result>> {
        match name {
            WATCH => {
                caller.rights.check(Right::Read)?;
                let Nothing {} = decode(body)?;
                self.0.watch()
            }
            QUESTIONS => {
                caller.rights.check(Right::Write)?;
                let OfEpoch { epoch } = decode(body)?;
                self.0.questions(epoch)
            }
            _ => {
                let name = name.strip_prefix(ACTIONS).unwrap_or(name);
                let body = self.0.call(caller, name, body).await?;
                Ok(stream::iter([Ok(arrow_flight::Result { body: body.into() })]).boxed())
            }
        }
    }
}

#[tonic::async_trait]
impl<S: Offers> FlightService for Offered<S> {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Answered<HandshakeResponse> {
        nowhere("Handshake")
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answered<FlightInfo> {
        nowhere("ListFlights (call `catalog` of an engine)")
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        self.0.plan(request).await
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        nowhere("PollFlightInfo")
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        nowhere("GetSchema (GetFlightInfo of an engine has it)")
    }

    async fn do_get(&self, request: Request<Ticket>) -> Answered<FlightData> {
        self.0.get(request).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answered<PutResult> {
        self.0.put(request).await
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answered<FlightData> {
        nowhere("DoExchange")
    }

    async fn do_action(&self, request: Request<Action>) -> Answered<arrow_flight::Result> {
        let caller = caller(&request)?;
        let Action { r#type: name, body } = request.into_inner();
        if !name.starts_with(ACTIONS) {
            return Err(foreign());
        }
        self.act(&caller, &name, &body).await.map(Response::new).map_err(|e| to_status(&e))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answered<ActionType> {
        let names = S::calls().into_iter().map(|name| format!("{ACTIONS}{name}"));
        let all = names
            .chain([WATCH.to_owned(), QUESTIONS.to_owned()])
            .map(|name| Ok(ActionType { r#type: name, description: String::new() }));
        Ok(Response::new(stream::iter(all.collect::<Vec<_>>()).boxed()))
    }
}
