//! Flight SQL and the Magic API on one port: what begins as a ticket, command or action of the Magic API goes there.

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::StreamExt;
use tidelake_api::wire::PREFIX;
use tidelake_api::{ACTIONS, Answers, MagicFlight, Offered};
use tonic::{Request, Response, Status, Streaming};

use super::service::FlightSql;

/// Both services.
pub(super) struct Both {
    pub(super) sql: FlightSql,
    pub(super) magic: Option<Offered<MagicFlight>>,
}

type Answered<T> = Result<Response<Answers<T>>, Status>;

impl Both {
    fn magic_for(&self, bytes: &[u8], prefix: &[u8]) -> Option<&Offered<MagicFlight>> {
        self.magic.as_ref().filter(|_| bytes.starts_with(prefix))
    }
}

#[tonic::async_trait]
impl FlightService for Both {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Answered<HandshakeResponse> {
        FlightService::handshake(&self.sql, request).await
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Answered<FlightInfo> {
        FlightService::list_flights(&self.sql, request).await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        match self.magic_for(&request.get_ref().cmd, PREFIX) {
            Some(magic) => magic.get_flight_info(request).await,
            None => FlightService::get_flight_info(&self.sql, request).await,
        }
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        FlightService::poll_flight_info(&self.sql, request).await
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        FlightService::get_schema(&self.sql, request).await
    }

    /// Tickets of the Magic API do not come here: `RowsOut` answers them.
    async fn do_get(&self, request: Request<Ticket>) -> Answered<FlightData> {
        FlightService::do_get(&self.sql, request).await
    }

    /// Writers are of this process.
    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answered<PutResult> {
        FlightService::do_put(&self.sql, request).await
    }

    async fn do_exchange(&self, request: Request<Streaming<FlightData>>) -> Answered<FlightData> {
        FlightService::do_exchange(&self.sql, request).await
    }

    async fn do_action(&self, request: Request<Action>) -> Answered<arrow_flight::Result> {
        match self.magic_for(request.get_ref().r#type.as_bytes(), ACTIONS.as_bytes()) {
            Some(magic) => magic.do_action(request).await,
            None => FlightService::do_action(&self.sql, request).await,
        }
    }

    async fn list_actions(&self, request: Request<Empty>) -> Answered<ActionType> {
        let Some(magic) = &self.magic else { return FlightService::list_actions(&self.sql, request).await };
        let ours = magic.list_actions(Request::new(Empty {})).await?.into_inner();
        let theirs = FlightService::list_actions(&self.sql, request).await?.into_inner();
        Ok(Response::new(theirs.chain(ours).boxed()))
    }
}
