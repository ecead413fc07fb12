//! The border between the wire servers and the SQL room: a session takes SQL text and gives Arrow batches.
//!
//! Wire servers (MySQL protocol, Flight SQL, `tidelake sql`) know this trait only; the SQL room knows no wire.

use std::net::SocketAddr;
use std::pin::Pin;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use futures::Stream;
use tidelake_access::Caller;
use tidelake_core::CellValue;
use tidelake_core::types::text::TextContext;

/// Result rows, batch by batch; an error ends the stream.
pub type RowStream = Pin<Box<dyn Stream<Item = Result<RecordBatch, SqlError>> + Send>>;

/// An error as MySQL clients expect it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("ERROR {code} ({state}): {message}")]
pub struct SqlError {
    /// The server's error number, e.g. 1146.
    pub code: u16,
    /// Five characters, e.g. `42S02`.
    pub state: &'static str,
    /// What, where, and what to do.
    pub message: String,
}

impl SqlError {
    /// An error with number and state.
    pub fn new(code: u16, state: &'static str, message: impl Into<String>) -> SqlError {
        SqlError { code, state, message: message.into() }
    }
}

/// Who opens a session.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Who was let in, and what they may read; letting in is the wire server's business and already done.
    pub caller: Caller,
    /// The client's address; `None` inside the process.
    pub remote: Option<SocketAddr>,
    /// The database named at connect.
    pub database: Option<String>,
    /// The connection's number, as in `CONNECTION_ID()`.
    pub connection_id: u32,
}

/// What one statement gives.
pub enum SqlOutcome {
    /// No rows: DO, COMMIT, KILL, ...
    Done,
    /// No rows, and only this session knows of it, for its next statements: SET, USE, BEGIN.
    Remembered,
    /// Rows.
    Rows(SqlRows),
}

/// A result set. Fields of plain columns carry their upstream type in their metadata
/// (`tidelake_core::types::arrow`); computed ones do not.
pub struct SqlRows {
    /// One field per result column, names as MySQL would name them.
    pub schema: SchemaRef,
    /// The batches.
    pub rows: RowStream,
    /// How values print (session time zone, kind of upstream).
    pub text: TextContext,
}

/// A statement prepared in a session.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The session's number for it.
    pub id: u32,
    /// Number of `?`.
    pub parameters: usize,
    /// What each is best sent as, for drivers that bind nothing else; anything else may come.
    pub parameter_types: Vec<DataType>,
    /// Its result columns; empty for statements without rows, and for no others. Types may change with the values of `?`.
    pub schema: SchemaRef,
}

/// What wire servers need to know of a session for their status flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStatus {
    /// Inside START TRANSACTION ... COMMIT.
    pub in_transaction: bool,
    /// The session's autocommit variable.
    pub autocommit: bool,
    /// Another result follows in the same answer; wire servers set it, sessions do not.
    pub more_results: bool,
}

/// Opens sessions.
#[async_trait]
pub trait SqlService: Send + Sync {
    /// Opens a session; an unknown database is error 1049.
    async fn open(&self, info: SessionInfo) -> Result<Box<dyn SqlSession>, SqlError>;

    /// What `VERSION()` and the handshake say, e.g. `8.0.11-TiDB-...` or `10.11.6-MariaDB-tidelake-0.1.0`.
    fn server_version(&self) -> String;
}

/// One client's session. Statements run one at a time; dropping the future or the row stream cancels.
#[async_trait]
pub trait SqlSession: Send {
    /// Runs one statement.
    async fn execute(&mut self, sql: &str) -> Result<SqlOutcome, SqlError>;

    /// Prepares one statement with `?` parameters.
    async fn prepare(&mut self, sql: &str) -> Result<Prepared, SqlError>;

    /// Runs a prepared statement.
    async fn execute_prepared(&mut self, id: u32, parameters: &[CellValue]) -> Result<SqlOutcome, SqlError>;

    /// Forgets a prepared statement.
    fn close_prepared(&mut self, id: u32);

    /// COM_INIT_DB; unknown is error 1049.
    async fn use_database(&mut self, database: &str) -> Result<(), SqlError>;

    /// COM_RESET_CONNECTION: variables, transaction and prepared statements as at the start.
    async fn reset(&mut self);

    /// For status flags.
    fn status(&self) -> SessionStatus;

    /// The current database.
    fn database(&self) -> Option<String>;
}
