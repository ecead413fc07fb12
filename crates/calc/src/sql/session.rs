//! A session: which statement it is, and what it does with snapshot, variables and database.

mod kind;
mod outline;
mod parameters;
mod query;
mod set;
mod showing;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::sql::sqlparser::tokenizer::Token;
use tidelake_core::CellValue;
use tidelake_core::ports::Freshness;
use tidelake_core::types::text::TextContext;

use super::Room;
use super::as_of::{self, Travel};
use super::error::{of_port, read_only, syntax, unsupported};
use super::fresh;
use super::grants::Grants;
use super::info_schema::Source;
use super::lexing::{Lexed, lex};
use super::running::Running;
use super::snapshot::Snapshot;
use super::variables::Variables;
use super::zone::Zone;
use crate::session::{Prepared, SessionInfo, SessionStatus, SqlError, SqlOutcome, SqlSession};
use kind::{Kind, excerpt};

/// One client's session.
pub(crate) struct Session {
    room: Arc<Room>,
    info: SessionInfo,
    variables: Variables,
    database: Option<String>,
    transaction: Option<Arc<Snapshot>>,
    prepared: HashMap<u32, String>,
    next_prepared: u32,
    running: Arc<Running>,
    grants: Arc<Grants>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.room.sessions.closed(self.info.connection_id, &self.running);
    }
}

/// How many prepared statements a session may keep, as `max_prepared_stmt_count`.
const MAX_PREPARED: usize = 16_382;

impl Session {
    /// A new session.
    ///
    /// # Errors
    /// 1049 for an unknown database.
    pub(crate) async fn open(room: Arc<Room>, info: SessionInfo) -> Result<Session, SqlError> {
        let variables = room.variables();
        let grants = Arc::new(Grants::new(info.caller.clone(), info.remote));
        let running = room.sessions.opened(info.connection_id, grants.user());
        let mut session = Session {
            room,
            variables,
            database: None,
            transaction: None,
            prepared: HashMap::new(),
            next_prepared: 1,
            running,
            grants,
            info,
        };
        if let Some(database) = session.info.database.clone() {
            session.use_database(&database).await?;
        }
        Ok(session)
    }

    /// The statement's snapshot: the transaction's, or a new one.
    async fn snapshot(&self) -> Result<Arc<Snapshot>, SqlError> {
        if let Some(held) = &self.transaction {
            held.check().map_err(|e| of_port(&e))?;
            return Ok(Arc::clone(held));
        }
        self.acquire(self.freshness()?).await
    }

    fn freshness(&self) -> Result<Freshness, SqlError> {
        match self.variables.travel() {
            Some(travel) => travel.freshness(self.room.options.flavor),
            None => self.freshness_of(self.variables.freshness()),
        }
    }

    fn freshness_of(&self, value: &str) -> Result<Freshness, SqlError> {
        fresh::freshness(value, self.room.options.flavor).ok_or_else(|| {
            let message = format!(
                "Variable 'tidelake_freshness' can't be set to the value of '{value}': of TiDB a TSO is wanted, such as at_least:441349361156227074"
            );
            SqlError::new(1231, "42000", message)
        })
    }

    /// A query without its `AS OF TIMESTAMP`, and its snapshot: the one that the clause names, else the statement's.
    async fn travelled(&mut self, lexed: &Lexed) -> Result<(Option<Lexed>, Arc<Snapshot>), SqlError> {
        let Some((rest, expressions)) = as_of::take(lexed)? else { return Ok((None, self.snapshot().await?)) };
        if self.transaction.is_some() {
            return Err(as_of::invalid("as of timestamp can't be set in transaction"));
        }
        let mut times = BTreeSet::new();
        for expression in &expressions {
            times.insert(self.time_of(expression).await?);
        }
        let [time] = times.into_iter().collect::<Vec<_>>()[..] else {
            return Err(as_of::invalid("can not set different time in the as of"));
        };
        let freshness = Travel::Time(time).freshness(self.room.options.flavor)?;
        Ok((Some(rest), self.acquire(freshness).await?))
    }

    /// The instant that an expression names in the session's time zone.
    async fn time_of(&mut self, expression: &str) -> Result<i64, SqlError> {
        let text = match self.value_of(expression, None).await? {
            CellValue::Str(text) => text,
            other => return Err(as_of::invalid(&format!("{other:?} is no datetime"))),
        };
        as_of::time_of(&text, self.variables.zone()).ok_or_else(|| as_of::invalid(&format!("'{text}' is no datetime")))
    }

    async fn acquire(&self, freshness: Freshness) -> Result<Arc<Snapshot>, SqlError> {
        let (options, wait) = (&self.room.options, self.variables.freshness_timeout());
        let catalog_at = |lease: &tidelake_core::ports::SnapshotLease| {
            options.engine.catalog(lease.seq()).map(|catalog| self.grants.view(&catalog))
        };
        let snapshot = Snapshot::acquire(&options.latch, catalog_at, freshness, options.lease_ttl, wait).await;
        snapshot.map(Arc::new).map_err(|e| of_port(&e))
    }

    fn text(&self) -> TextContext {
        // Of a zone with rules, results are moved to local time before they are printed (`result`).
        let offset = match self.variables.zone() {
            Zone::Fixed(seconds) => seconds,
            Zone::Named(_) => 0,
        };
        TextContext { utc_offset_seconds: offset, flavor: self.room.options.flavor }
    }

    fn user(&self) -> String {
        self.grants.account()
    }

    fn source(&self) -> Source {
        Source {
            flavor: self.room.options.flavor,
            user: self.user(),
            grants: Arc::clone(&self.grants),
            connection_id: self.info.connection_id,
            database: self.database.clone(),
            variables: self.variables.all().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        }
    }

    async fn run(&mut self, sql: &str, parameters: Option<&[CellValue]>) -> Result<SqlOutcome, SqlError> {
        let lexed = lex(sql)?;
        match Kind::of(&lexed)? {
            Kind::Query => self.query(&lexed, parameters).await,
            Kind::Show => self.show(&lexed).await,
            Kind::Explain => self.explain(&lexed, parameters).await,
            Kind::Use => {
                let name = lexed.name(1).ok_or_else(|| syntax("USE needs a database"))?;
                self.use_database(&name).await?;
                Ok(SqlOutcome::Remembered)
            }
            Kind::SetStatement => Box::pin(self.set_statement(&lexed, parameters)).await,
            Kind::Set => self.set(&lexed, 1, lexed.tokens.len(), parameters).await,
            Kind::Begin => self.begin(&lexed).await,
            Kind::End => self.end(&lexed),
            Kind::Savepoint => Ok(SqlOutcome::Done),
            Kind::Do => self.evaluate_only(&lexed, parameters).await,
            Kind::Kill => self.kill(&lexed),
            Kind::Write => Err(read_only()),
        }
    }

    /// `KILL [HARD | SOFT] [CONNECTION | QUERY] id`
    fn kill(&self, lexed: &Lexed) -> Result<SqlOutcome, SqlError> {
        let words: Vec<String> = (1..lexed.tokens.len()).map_while(|i| lexed.word(i)).collect();
        let known = words.iter().all(|w| matches!(w.as_str(), "HARD" | "SOFT" | "CONNECTION" | "QUERY"));
        let id = match lexed.tokens.get(1 + words.len()).map(|t| &t.token) {
            Some(Token::Number(n, _)) if known && lexed.tokens.len() == words.len() + 2 => n.parse::<u32>().ok(),
            _ => None,
        };
        let Some(id) = id else { return Err(unsupported("this form of KILL; write KILL [QUERY] number")) };
        let whole = !words.iter().any(|w| w == "QUERY");
        self.room.sessions.kill(id, whole, self.grants.user())?;
        Ok(SqlOutcome::Done)
    }

    async fn begin(&mut self, lexed: &Lexed) -> Result<SqlOutcome, SqlError> {
        if lexed.is(0, &["START"]) && !lexed.is(1, &["TRANSACTION"]) {
            return Err(unsupported(format!("`{}`", excerpt(&lexed.text))));
        }
        // A transaction that is still open is committed first, as upstream does.
        self.transaction = None;
        let freshness = match (0..lexed.tokens.len()).find(|at| as_of::begins_at(lexed, *at)) {
            None => self.freshness()?,
            Some(at) => {
                let (expression, end) = as_of::expression(lexed, at)?;
                if end < lexed.tokens.len() || !lexed.is(2, &["READ", "ONLY"]) || at != 4 {
                    return Err(syntax("START TRANSACTION READ ONLY AS OF TIMESTAMP needs a time, and nothing else"));
                }
                Travel::Time(self.time_of(&expression).await?).freshness(self.room.options.flavor)?
            }
        };
        self.transaction = Some(self.acquire(freshness).await?);
        Ok(SqlOutcome::Remembered)
    }

    fn end(&mut self, lexed: &Lexed) -> Result<SqlOutcome, SqlError> {
        let to_savepoint = (1..lexed.tokens.len()).any(|i| lexed.is(i, &["TO"]));
        if !to_savepoint {
            self.transaction = None;
        }
        Ok(SqlOutcome::Done)
    }
}

#[async_trait]
impl SqlSession for Session {
    async fn execute(&mut self, sql: &str) -> Result<SqlOutcome, SqlError> {
        self.run(sql, None).await
    }

    async fn prepare(&mut self, sql: &str) -> Result<Prepared, SqlError> {
        if self.prepared.len() >= MAX_PREPARED {
            let message =
                format!("Can't create more than max_prepared_stmt_count statements (current value: {MAX_PREPARED})");
            return Err(SqlError::new(1461, "42000", message));
        }
        let (parameter_types, schema) = self.outline(sql).await?;
        let id = self.next_prepared;
        self.next_prepared = self.next_prepared.wrapping_add(1).max(1);
        self.prepared.insert(id, sql.to_owned());
        Ok(Prepared { id, parameters: parameter_types.len(), parameter_types, schema })
    }

    async fn execute_prepared(&mut self, id: u32, parameters: &[CellValue]) -> Result<SqlOutcome, SqlError> {
        let Some(sql) = self.prepared.get(&id).cloned() else {
            let message = format!("Unknown prepared statement handler ({id}) given to EXECUTE");
            return Err(SqlError::new(1243, "HY000", message));
        };
        self.run(&sql, Some(parameters)).await
    }

    fn close_prepared(&mut self, id: u32) {
        self.prepared.remove(&id);
    }

    async fn use_database(&mut self, database: &str) -> Result<(), SqlError> {
        let seq = self.room.options.engine.published_seq();
        let catalog = self.grants.view(&self.room.options.engine.catalog(seq).map_err(|e| of_port(&e))?);
        if database.eq_ignore_ascii_case("information_schema") {
            self.database = Some("information_schema".to_owned());
            return Ok(());
        }
        if !catalog.databases.contains(database) {
            return Err(self.grants.no_database(database));
        }
        self.database = Some(database.to_owned());
        Ok(())
    }

    async fn reset(&mut self) {
        self.variables = self.room.variables();
        self.transaction = None;
        self.prepared.clear();
    }

    fn status(&self) -> SessionStatus {
        SessionStatus {
            in_transaction: self.transaction.is_some(),
            autocommit: self.variables.autocommit(),
            more_results: false,
        }
    }

    fn database(&self) -> Option<String> {
        self.database.clone()
    }
}
