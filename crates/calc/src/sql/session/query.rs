//! Queries: parse, rewrite, plan, lower, run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::sql::planner::{NullOrdering, ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use futures::StreamExt;
use tidelake_core::CellValue;
use tidelake_core::ports::Freshness;

use super::Session;
use crate::session::{SqlError, SqlOutcome};
use crate::sql::dialect::TideDialect;
use crate::sql::error::{of_datafusion, read_only, syntax, unsupported};
use crate::sql::lexing::{Lexed, lex};
use crate::sql::lower::lower;
use crate::sql::planner::Scope;
use crate::sql::result::{client_schema, of_batch, rows, texts};
use crate::sql::rewrite::{Names, Scene, rewrite};
use crate::sql::simple::{is_simple, look_up};
use crate::sql::snapshot::Snapshot;
use crate::sql::udf::EvalContext;
use crate::sql::workers;

/// Tables of a statement that are in no catalog, by name.
pub(super) type Extra = HashMap<String, Arc<dyn TableProvider>>;

struct Planned {
    plan: LogicalPlan,
    names: Names,
}

/// What EXPLAIN of a query gives.
pub(super) fn explanation(lines: &[&str]) -> RecordBatch {
    let rows: Vec<Vec<Option<String>>> = lines.iter().map(|line| vec![Some((*line).to_owned())]).collect();
    texts(&["EXPLAIN"], &rows)
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(0)
}

impl Session {
    /// Runs a query at the statement's snapshot.
    pub(super) async fn query(
        &mut self,
        lexed: &Lexed,
        parameters: Option<&[CellValue]>,
    ) -> Result<SqlOutcome, SqlError> {
        let (rest, snapshot) = self.travelled(lexed).await?;
        self.query_with(rest.as_ref().unwrap_or(lexed), parameters, snapshot, &HashMap::new()).await
    }

    pub(super) async fn query_with(
        &mut self,
        lexed: &Lexed,
        parameters: Option<&[CellValue]>,
        snapshot: Arc<Snapshot>,
        extra: &Extra,
    ) -> Result<SqlOutcome, SqlError> {
        let Planned { plan, names } = self.plan(lexed, parameters.or(Some(&[])), &snapshot, extra)?;
        let stop = self.running.begin(self.variables.statement_time())?;
        let plan = if extra.is_empty() { self.limited(plan)? } else { plan };
        let schema = client_schema(plan.schema().as_arrow(), &names, self.variables.zone());
        let task = Arc::clone(&self.room.task);
        let batches = match self.look_up(&plan).await? {
            Some(physical) => workers::here(physical, task),
            None => self.room.workers.run(self.physical(&plan).await?, task),
        };
        let batches = batches.map_err(of_datafusion)?;
        Ok(SqlOutcome::Rows(rows(batches, schema, snapshot, self.text(), self.variables.zone(), stop)))
    }

    /// A query without a LIMIT of its own gives at most `sql_select_limit` rows.
    fn limited(&self, plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
        match self.variables.select_limit() {
            Some(most) if !matches!(plan, LogicalPlan::Limit(_)) => {
                let limited = LogicalPlanBuilder::from(plan).limit(0, Some(most)).and_then(LogicalPlanBuilder::build);
                limited.map_err(of_datafusion)
            }
            _ => Ok(plan),
        }
    }

    /// The plan of a look-up of a key; `None` for others.
    async fn look_up(&self, plan: &LogicalPlan) -> Result<Option<Arc<dyn ExecutionPlan>>, SqlError> {
        look_up(plan, &self.room.simple).await.map_err(of_datafusion)
    }

    async fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
        let state = if is_simple(plan) { &self.room.simple } else { &self.room.state };
        state.create_physical_plan(plan).await.map_err(of_datafusion)
    }

    fn plan(
        &self,
        lexed: &Lexed,
        parameters: Option<&[CellValue]>,
        snapshot: &Arc<Snapshot>,
        extra: &Extra,
    ) -> Result<Planned, SqlError> {
        let mut parser =
            Parser::new(&TideDialect).with_recursion_limit(200).with_tokens_with_locations(lexed.tokens.clone());
        let statement = parser.parse_statement().map_err(syntax)?;
        if parser.peek_token().token != Token::EOF {
            return Err(syntax(format!("near '{}'", parser.peek_token())));
        }
        let mut statement = match statement {
            Statement::Query(query) => query,
            Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => return Err(read_only()),
            other => return Err(unsupported(format!("`{other}`"))),
        };
        let now = now_us();
        let user = self.user();
        let concat_limit = self.variables.concat_limit();
        let (zone, system_zone) = (self.variables.zone(), self.variables.system_zone());
        let scene = Scene {
            variables: &self.variables,
            catalog: &snapshot.catalog,
            database: self.database.as_deref(),
            user: &user,
            connection_id: self.info.connection_id,
            version: &self.room.options.server_version,
            now_local_us: zone.to_local(now),
            now_us: now,
            parameters,
        };
        let names = rewrite(&mut statement, lexed, &scene)?;
        let collation = self.variables.collation().to_owned();
        let context = Arc::new(EvalContext { zone, system_zone, collation, now_us: now, concat_limit });
        let scope = Scope {
            state: &self.room.state,
            engine: &self.room.options.engine,
            snapshot,
            database: self.database.as_deref(),
            grants: &self.grants,
            context: &context,
            info: &|| self.source(),
            extra,
        };
        let options = ParserOptions::new()
            .with_parse_float_as_decimal(true)
            .with_enable_ident_normalization(false)
            .with_map_string_types_to_utf8view(false)
            .with_default_null_ordering(NullOrdering::NullsMin);
        let planner = SqlToRel::new_with_options(&scope, options);
        let plan = planner.sql_statement_to_plan(Statement::Query(statement)).map_err(of_datafusion)?;
        let plan = lower(plan, &context).map_err(of_datafusion)?;
        Ok(Planned { plan, names })
    }

    /// The columns of a query, planned only. Without `parameters` NULL stands for every `?`.
    pub(super) fn columns_of(
        &self,
        lexed: &Lexed,
        parameters: Option<&[CellValue]>,
        snapshot: &Arc<Snapshot>,
        extra: &Extra,
    ) -> Result<SchemaRef, SqlError> {
        let Planned { plan, names } = self.plan(lexed, parameters, snapshot, extra)?;
        Ok(client_schema(plan.schema().as_arrow(), &names, self.variables.zone()))
    }

    /// EXPLAIN of a query: the engine's plan, line by line.
    pub(super) async fn explain_query(
        &mut self,
        lexed: &Lexed,
        parameters: Option<&[CellValue]>,
    ) -> Result<SqlOutcome, SqlError> {
        let (rest, snapshot) = self.travelled(lexed).await?;
        let lexed = rest.as_ref().unwrap_or(lexed);
        let planned = self.plan(lexed, parameters.or(Some(&[])), &snapshot, &HashMap::new())?;
        let physical = match self.look_up(&planned.plan).await? {
            Some(physical) => physical,
            None => self.physical(&planned.plan).await?,
        };
        let text = displayable(physical.as_ref()).indent(false).to_string();
        let lines: Vec<&str> = text.lines().collect();
        Ok(SqlOutcome::Rows(of_batch(explanation(&lines), self.text())))
    }

    /// DO: runs and throws the rows away.
    pub(super) async fn evaluate_only(
        &mut self,
        lexed: &Lexed,
        parameters: Option<&[CellValue]>,
    ) -> Result<SqlOutcome, SqlError> {
        let select = lex(&format!("SELECT {}", lexed.text_from(1)))?;
        if let SqlOutcome::Rows(mut result) = self.query(&select, parameters).await? {
            while let Some(batch) = result.rows.next().await {
                batch?;
            }
        }
        Ok(SqlOutcome::Done)
    }

    /// The value of one expression.
    pub(super) async fn value_of(
        &mut self,
        expression: &str,
        parameters: Option<&[CellValue]>,
    ) -> Result<CellValue, SqlError> {
        let select = lex(&format!("SELECT {expression}"))?;
        // A value without tables asks the upstream nothing, whatever the freshness.
        let snapshot = match &self.transaction {
            None if !expression.to_ascii_uppercase().contains("SELECT") => self.acquire(Freshness::Any).await?,
            _ => self.snapshot().await?,
        };
        let outcome = self.query_with(&select, parameters, snapshot, &HashMap::new()).await?;
        let SqlOutcome::Rows(mut result) = outcome else { return Ok(CellValue::Null) };
        while let Some(batch) = result.rows.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let array = batch.column(0);
            if array.is_null(0) || array.data_type().is_null() {
                return Ok(CellValue::Null);
            }
            if array.data_type().is_integer() && result.schema.field(0).metadata().is_empty() {
                return tidelake_core::value::cell_at(array, 0).map_err(|e| crate::sql::error::of_port(&e));
            }
            let text = crate::sql::convert::to_text(array, result.schema.field(0), self.variables.zone());
            return Ok(CellValue::Str(text.map_err(of_datafusion)?.value(0).to_owned()));
        }
        Ok(CellValue::Null)
    }
}
