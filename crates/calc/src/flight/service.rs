//! The calls of Flight SQL, each routed to its work.

use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::sql::metadata::GetCatalogsBuilder;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery,
    CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, SchemaAsIpc, Ticket,
};
use bytes::Bytes;
use futures::{Stream, stream};
use prost::Message;
use tidelake_access::Guard;
use tidelake_api::caller;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::session::SqlService;

use super::bound::{Bound, bind, text_of};
use super::catalog::{CATALOG, TABLE_TYPES, append_databases, append_tables, sql_info};
use super::keys;
use super::query::{FlightStream, client, describe, one_batch, open, run_update, shutting_down, stream_rows};
use super::type_info::type_info;

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

    async fn run<T>(&self, request: &Request<T>, handle: &[u8]) -> StreamResult {
        let bound = Bound::parse(handle)?;
        stream_rows(&self.service, client(request)?, &bound, self.cancel.clone()).await.map(Response::new)
    }

    async fn describe<T>(&self, request: &Request<T>, handle: &[u8]) -> Result<(Arc<Schema>, Vec<DataType>), Status> {
        let sql = text_of(handle)?;
        let mut session = open(self.service.as_ref(), client(request)?).await?;
        describe(session.as_mut(), sql).await
    }

    /// No rows are ever changed.
    async fn update<T>(&self, request: &Request<T>, handle: &[u8]) -> Result<i64, Status> {
        let bound = Bound::parse(handle)?;
        let mut session = open(self.service.as_ref(), client(request)?).await?;
        tokio::select! {
            () = self.cancel.cancelled() => Err(shutting_down()),
            ran = run_update(session.as_mut(), &bound) => ran.map(|()| 0),
        }
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
        if !parameters.is_empty() {
            return Err(Status::invalid_argument(
                "a statement with parameters must be prepared, and values bound to it",
            ));
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
        let field = |(at, ty): (usize, DataType)| Field::new(format!("parameter_{}", at + 1), ty, true);
        let parameters: Vec<Field> = parameters.into_iter().enumerate().map(field).collect();
        let parameter_schema = match parameters.is_empty() {
            true => Default::default(),
            false => encoded(&Schema::new(parameters))?,
        };
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: query.query.into(),
            dataset_schema: encoded(&schema)?,
            parameter_schema,
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

    /// Binds values: the handle that comes back has them, and this one stays as it is.
    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        caller(&request)?;
        let handle = bind(&query.prepared_statement_handle, request.into_inner()).await?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle.into()) })
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

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        info(request, &query, &keys::primary_schema())
    }

    async fn do_get_primary_keys(&self, query: CommandGetPrimaryKeys, request: Request<Ticket>) -> StreamResult {
        let mut session = open(self.service.as_ref(), client(&request)?).await?;
        Ok(Response::new(one_batch(keys::primary(session.as_mut(), &query).await?)))
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        info(request, &query, &keys::foreign_schema())
    }

    async fn do_get_imported_keys(&self, _: CommandGetImportedKeys, _: Request<Ticket>) -> StreamResult {
        Ok(Response::new(one_batch(keys::no_foreign())))
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        info(request, &query, &keys::foreign_schema())
    }

    async fn do_get_exported_keys(&self, _: CommandGetExportedKeys, _: Request<Ticket>) -> StreamResult {
        Ok(Response::new(one_batch(keys::no_foreign())))
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        info(request, &query, &keys::foreign_schema())
    }

    async fn do_get_cross_reference(&self, _: CommandGetCrossReference, _: Request<Ticket>) -> StreamResult {
        Ok(Response::new(one_batch(keys::no_foreign())))
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

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        info(request, &query, &query.into_builder(type_info()).schema())
    }

    async fn do_get_xdbc_type_info(&self, query: CommandGetXdbcTypeInfo, _: Request<Ticket>) -> StreamResult {
        built(query.into_builder(type_info()).build())
    }

    async fn do_put_statement_update(
        &self,
        update: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.update(&request, update.query.as_bytes()).await
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
        update: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.update(&request, &update.prepared_statement_handle).await
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

fn encoded(schema: &Schema) -> Result<Bytes, Status> {
    let encoded: Result<arrow_flight::IpcMessage, _> = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into();
    encoded.map(|message| message.0).map_err(|e| Status::internal(format!("encode a schema: {e}")))
}
