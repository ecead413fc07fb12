//! The calls of Flight SQL, each routed to its work.

use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::sql::metadata::GetCatalogsBuilder;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery,
    CommandStatementUpdate, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, SchemaAsIpc, Ticket,
};
use futures::{Stream, stream};
use prost::Message;
use tidelake_access::Guard;
use tidelake_api::caller;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::session::SqlService;

use super::catalog::{CATALOG, TABLE_TYPES, append_databases, append_tables, sql_info};
use super::query::{FlightStream, client, describe, one_batch, open, statement, stream_rows};

/// Flight SQL over a [`SqlService`].
pub(super) struct FlightSql {
    service: Arc<dyn SqlService>,
    guard: Arc<Guard>,
    cancel: CancellationToken,
}

type InfoResult = Result<Response<FlightInfo>, Status>;
type HandshakeStream = Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>;
type HandshakeResult = Result<Response<HandshakeStream>, Status>;
type StreamResult = Result<Response<FlightStream>, Status>;

impl FlightSql {
    pub(super) fn new(service: Arc<dyn SqlService>, guard: Arc<Guard>, cancel: CancellationToken) -> FlightSql {
        FlightSql { service, guard, cancel }
    }

    async fn run<T>(&self, request: &Request<T>, sql: &[u8]) -> StreamResult {
        let sql = statement(sql)?;
        stream_rows(&self.service, client(request)?, sql, self.cancel.clone()).await.map(Response::new)
    }

    async fn describe<T>(&self, request: &Request<T>, sql: &[u8]) -> Result<(Arc<Schema>, usize), Status> {
        let sql = statement(sql)?;
        let mut session = open(self.service.as_ref(), client(request)?).await?;
        describe(session.as_mut(), sql).await
    }
}

/// One endpoint, without place: the same server answers the ticket.
fn info(request: Request<FlightDescriptor>, ticket: &impl ProstMessageExt, schema: &Schema) -> InfoResult {
    let ticket = Ticket::new(ticket.as_any().encode_to_vec());
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|e| Status::internal(format!("encode the result's schema: {e}")))?
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
        .with_descriptor(request.into_inner());
    Ok(Response::new(info))
}

fn built(batch: Result<arrow::array::RecordBatch, arrow_flight::error::FlightError>) -> StreamResult {
    Ok(Response::new(one_batch(batch.map_err(Status::from)?)))
}

fn read_only() -> Status {
    Status::failed_precondition("this is a read-only replica; write to the upstream database")
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = FlightSql;

    /// Whoever gets here was let in by what the header says: a token is answered, in header and payload, as drivers expect it.
    async fn do_handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> HandshakeResult {
        let token = self.guard.give_token(&caller(&request)?);
        let answer = HandshakeResponse { protocol_version: 0, payload: token.clone().into() };
        let mut response: Response<HandshakeStream> = Response::new(Box::pin(stream::iter([Ok(answer)])));
        let value = format!("Bearer {token}").parse().map_err(|_| Status::internal("a token that is no header"))?;
        response.metadata_mut().insert("authorization", value);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        let (schema, parameters) = self.describe(&request, query.query.as_bytes()).await?;
        if parameters > 0 {
            return Err(no_parameters());
        }
        info(request, &TicketStatementQuery { statement_handle: query.query.into() }, &schema)
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> StreamResult {
        self.run(&request, &ticket.statement_handle).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let (schema, parameters) = self.describe(&request, query.query.as_bytes()).await?;
        if parameters > 0 {
            return Err(no_parameters());
        }
        let encoded: Result<arrow_flight::IpcMessage, _> =
            SchemaAsIpc::new(&schema, &IpcWriteOptions::default()).try_into();
        let schema = encoded.map_err(|e| Status::internal(format!("encode the result's schema: {e}")))?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: query.query.into(),
            dataset_schema: schema.0,
            parameter_schema: Default::default(),
        })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        let (schema, _) = self.describe(&request, &query.prepared_statement_handle).await?;
        info(request, &query, &schema)
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> StreamResult {
        self.run(&request, &query.prepared_statement_handle).await
    }

    async fn do_action_close_prepared_statement(
        &self,
        _: ActionClosePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        // The handle is the statement's text: nothing is kept, so nothing is to be forgotten.
        Ok(())
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        info(request, &query, &query.into_builder().schema())
    }

    async fn do_get_catalogs(&self, _: CommandGetCatalogs, _: Request<Ticket>) -> StreamResult {
        let mut builder = GetCatalogsBuilder::new();
        builder.append(CATALOG);
        built(builder.build())
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        let schema = query.clone().into_builder().schema();
        info(request, &query, &schema)
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, request: Request<Ticket>) -> StreamResult {
        let mut session = open(self.service.as_ref(), client(&request)?).await?;
        let mut builder = query.into_builder();
        append_databases(session.as_mut(), &mut builder).await?;
        built(builder.build())
    }

    async fn get_flight_info_tables(&self, query: CommandGetTables, request: Request<FlightDescriptor>) -> InfoResult {
        let schema = query.clone().into_builder().schema();
        info(request, &query, &schema)
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> StreamResult {
        let mut session = open(self.service.as_ref(), client(&request)?).await?;
        let mut builder = query.into_builder();
        append_tables(session.as_mut(), &mut builder).await?;
        built(builder.build())
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        info(request, &query, &query.into_builder().schema())
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, _: Request<Ticket>) -> StreamResult {
        let mut builder = query.into_builder();
        TABLE_TYPES.iter().for_each(|name| builder.append(name));
        built(builder.build())
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        let schema = query.clone().into_builder(sql_info()).schema();
        info(request, &query, &schema)
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, _: Request<Ticket>) -> StreamResult {
        built(query.into_builder(sql_info()).build())
    }

    async fn do_put_statement_update(
        &self,
        _: CommandStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(read_only())
    }

    async fn do_put_statement_ingest(
        &self,
        _: CommandStatementIngest,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(read_only())
    }

    async fn do_put_prepared_statement_update(
        &self,
        _: CommandPreparedStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(read_only())
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

fn no_parameters() -> Status {
    Status::unimplemented("parameters are not supported over Flight SQL; use the MySQL protocol")
}
