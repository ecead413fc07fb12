//! A service that answers from fixed batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tidelake_core::CellValue;
use tidelake_core::types::text::TextContext;

use super::values::all_types_batch;
use crate::session::{
    Prepared, RowStream, SessionInfo, SessionStatus, SqlError, SqlOutcome, SqlRows, SqlService, SqlSession,
};

/// What all sessions of a service share.
#[derive(Default)]
pub(crate) struct Seen {
    /// Statements that hang now.
    pub(crate) hanging: AtomicUsize,
    /// Batches pulled of endless results.
    pub(crate) pulled: AtomicUsize,
    /// Users whose sessions were opened.
    pub(crate) users: Mutex<Vec<String>>,
    /// Sessions open now.
    pub(crate) sessions: AtomicUsize,
}

#[derive(Default)]
pub(crate) struct FixedService {
    pub(crate) seen: Arc<Seen>,
}

#[async_trait]
impl SqlService for FixedService {
    async fn open(&self, info: SessionInfo) -> Result<Box<dyn SqlSession>, SqlError> {
        check_database(info.database.as_deref().unwrap_or("shop"))?;
        self.seen.users.lock().push(info.caller.user);
        self.seen.sessions.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(FixedSession {
            seen: self.seen.clone(),
            prepared: HashMap::new(),
            next_id: 1,
            database: info.database,
            in_transaction: false,
        }))
    }

    fn server_version(&self) -> String {
        "10.11.6-MariaDB-tidelake-test".to_owned()
    }
}

fn check_database(name: &str) -> Result<(), SqlError> {
    if name == "shop" {
        return Ok(());
    }
    Err(SqlError::new(1049, "42000", format!("Unknown database '{name}'")))
}

struct FixedSession {
    seen: Arc<Seen>,
    prepared: HashMap<u32, String>,
    next_id: u32,
    database: Option<String>,
    in_transaction: bool,
}

impl Drop for FixedSession {
    fn drop(&mut self) {
        self.seen.sessions.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts a hanging statement until it is dropped.
struct Hanging(Arc<Seen>);

impl Hanging {
    fn new(seen: &Arc<Seen>) -> Hanging {
        seen.hanging.fetch_add(1, Ordering::SeqCst);
        Hanging(seen.clone())
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.hanging.fetch_sub(1, Ordering::SeqCst);
    }
}

fn rows(schema: SchemaRef, rows: RowStream) -> SqlOutcome {
    SqlOutcome::Rows(SqlRows { schema, rows, text: TextContext { utc_offset_seconds: 3600, ..TextContext::default() } })
}

fn one_batch(batch: RecordBatch) -> SqlOutcome {
    rows(batch.schema(), stream::iter([Ok(batch)]).boxed())
}

fn text_batch(name: &str, values: Vec<String>) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new(name, DataType::Utf8, false)]));
    RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(values)) as ArrayRef]).unwrap()
}

fn tables_batch() -> RecordBatch {
    let columns = [("table_schema", "shop"), ("table_name", "t`1"), ("table_type", "BASE TABLE")];
    let fields: Vec<Field> = columns.iter().map(|(name, _)| Field::new(*name, DataType::Utf8, false)).collect();
    let arrays = columns.iter().map(|(_, value)| Arc::new(StringArray::from(vec![*value])) as ArrayRef);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays.collect()).unwrap()
}

fn numbers_batch(from: i64) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(from..from + 1000)) as ArrayRef]).unwrap()
}

#[async_trait]
impl SqlSession for FixedSession {
    async fn execute(&mut self, sql: &str) -> Result<SqlOutcome, SqlError> {
        let seen = self.seen.clone();
        if let Some(size) = sql.strip_prefix("SELECT big ") {
            return Ok(one_batch(text_batch("big", vec!["x".repeat(size.parse().unwrap())])));
        }
        if let Some(literal) = sql.strip_prefix("SELECT length ") {
            return Ok(one_batch(text_batch("length", vec![literal.len().to_string()])));
        }
        Ok(match sql {
            "SELECT types" => one_batch(all_types_batch()),
            "SELECT user" => one_batch(text_batch("user", vec![seen.users.lock().last().cloned().unwrap_or_default()])),
            "SELECT empty" => rows(numbers_batch(0).schema(), stream::empty().boxed()),
            "SELECT 3000 numbers" => {
                let batches = (0..3).map(|i| Ok(numbers_batch(i * 1000)));
                rows(numbers_batch(0).schema(), stream::iter(batches).boxed())
            }
            "SELECT fail" => {
                let failure = SqlError::new(1969, "70100", "the store stopped");
                rows(numbers_batch(0).schema(), stream::iter([Ok(numbers_batch(0)), Err(failure)]).boxed())
            }
            "SELECT hang" => {
                let _hanging = Hanging::new(&seen);
                std::future::pending().await
            }
            "SELECT slow rows" => {
                let hanging = Hanging::new(&seen);
                let endless = stream::once(async move {
                    let _hanging = hanging;
                    std::future::pending().await
                });
                rows(numbers_batch(0).schema(), stream::iter([Ok(numbers_batch(0))]).chain(endless).boxed())
            }
            "SELECT endless" => {
                let hanging = Hanging::new(&seen);
                let endless = stream::iter(0i64..).map(move |i| {
                    hanging.0.pulled.fetch_add(1, Ordering::SeqCst);
                    Ok(numbers_batch(i))
                });
                rows(numbers_batch(0).schema(), endless.boxed())
            }
            "SELECT interval" => {
                let ty = DataType::Interval(arrow::datatypes::IntervalUnit::YearMonth);
                rows(Arc::new(Schema::new(vec![Field::new("i", ty, false)])), stream::empty().boxed())
            }
            "BEGIN" => {
                self.in_transaction = true;
                SqlOutcome::Remembered
            }
            "DO" => SqlOutcome::Done,
            "DELETE FROM t" => return Err(SqlError::new(1290, "HY000", "a read-only replica")),
            "SELECT * FROM `t``1` LIMIT 0" => one_batch(all_types_batch().slice(0, 0)),
            "SELECT schema_name FROM information_schema.schemata" => {
                one_batch(text_batch("schema_name", vec!["shop".to_owned(), "information_schema".to_owned()]))
            }
            "SELECT table_schema, table_name, table_type FROM information_schema.tables" => one_batch(tables_batch()),
            other if other.contains("@@version_comment") => one_batch(text_batch("c", vec!["double".to_owned()])),
            other => return Err(SqlError::new(1064, "42000", format!("not known: {other}"))),
        })
    }

    async fn prepare(&mut self, sql: &str) -> Result<Prepared, SqlError> {
        let id = self.next_id;
        self.next_id += 1;
        self.prepared.insert(id, sql.to_owned());
        let schema = match sql {
            "SELECT types" | "SELECT * FROM `shop`.`t``1`" => all_types_batch().schema(),
            _ => Arc::new(Schema::empty()),
        };
        let parameters = sql.matches('?').count();
        Ok(Prepared { id, parameters, parameter_types: vec![DataType::Int64; parameters], schema })
    }

    async fn execute_prepared(&mut self, id: u32, parameters: &[CellValue]) -> Result<SqlOutcome, SqlError> {
        let sql = self.prepared.get(&id).cloned().ok_or_else(|| SqlError::new(1243, "HY000", "unknown"))?;
        if sql.starts_with("ECHO") {
            return Ok(one_batch(text_batch("cell", parameters.iter().map(|p| format!("{p:?}")).collect())));
        }
        self.execute(&sql).await
    }

    fn close_prepared(&mut self, id: u32) {
        self.prepared.remove(&id);
    }

    async fn use_database(&mut self, database: &str) -> Result<(), SqlError> {
        check_database(database)?;
        self.database = Some(database.to_owned());
        Ok(())
    }

    async fn reset(&mut self) {
        self.prepared.clear();
        self.in_transaction = false;
    }

    fn status(&self) -> SessionStatus {
        SessionStatus { in_transaction: self.in_transaction, autocommit: true, more_results: false }
    }

    fn database(&self) -> Option<String> {
        self.database.clone()
    }
}
