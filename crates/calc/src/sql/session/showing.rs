//! SHOW, DESCRIBE and EXPLAIN: their rows, and their columns before they run.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::sql::sqlparser::tokenizer::Token;
use tidelake_core::CellValue;

use super::Session;
use super::kind::WRITES;
use super::query::Extra;
use crate::session::{SqlError, SqlOutcome};
use crate::sql::error::read_only;
use crate::sql::info_schema::Rows;
use crate::sql::lexing::{Lexed, lex};
use crate::sql::result::of_batch;
use crate::sql::show::{Filter, Show};
use crate::sql::snapshot::Snapshot;

/// The name of the table that SHOW ... WHERE filters.
const SHOWN: &str = "__show";

/// What a SHOW or DESCRIBE shows.
struct Shown {
    rows: Rows,
    filter: Filter,
    snapshot: Arc<Snapshot>,
}

/// What EXPLAIN is asked of.
pub(super) enum Explained {
    /// A query.
    Query(Lexed),
    /// The table whose name begins at this token.
    Table(usize),
}

impl Explained {
    /// Reads an EXPLAIN or DESCRIBE.
    ///
    /// # Errors
    /// 1290 for statements that write.
    pub(super) fn of(lexed: &Lexed) -> Result<Explained, SqlError> {
        let mut at = 1;
        while matches!(lexed.word(at).as_deref(), Some("EXTENDED" | "PARTITIONS" | "ANALYZE")) {
            at += 1;
        }
        if lexed.is(at, &["FORMAT"]) {
            at += 3;
        }
        let is_query = matches!(lexed.word(at).as_deref(), Some("SELECT" | "WITH" | "VALUES"));
        if is_query || lexed.token(at, &Token::LParen) {
            return Ok(Explained::Query(lex(lexed.text_from(at))?));
        }
        if lexed.word(at).is_some_and(|w| WRITES.contains(&w.as_str())) && lexed.tokens.len() > at + 1 {
            return Err(read_only());
        }
        Ok(Explained::Table(at))
    }
}

impl Session {
    pub(super) async fn show(&mut self, lexed: &Lexed) -> Result<SqlOutcome, SqlError> {
        let shown = self.shown(lexed, None).await?;
        self.give(shown).await
    }

    /// The columns of a SHOW.
    pub(super) async fn show_columns(&mut self, lexed: &Lexed) -> Result<SchemaRef, SqlError> {
        let shown = self.shown(lexed, None).await?;
        self.columns(&shown)
    }

    pub(super) async fn explain(
        &mut self,
        lexed: &Lexed,
        parameters: Option<&[CellValue]>,
    ) -> Result<SqlOutcome, SqlError> {
        match Explained::of(lexed)? {
            Explained::Query(query) => self.explain_query(&query, parameters).await,
            Explained::Table(at) => {
                let shown = self.shown(lexed, Some(at)).await?;
                self.give(shown).await
            }
        }
    }

    /// The columns of the DESCRIBE of the table at token `at`.
    pub(super) async fn describe_columns(&mut self, lexed: &Lexed, at: usize) -> Result<SchemaRef, SqlError> {
        let shown = self.shown(lexed, Some(at)).await?;
        self.columns(&shown)
    }

    /// What a SHOW shows, or the DESCRIBE of the table at a token.
    async fn shown(&self, lexed: &Lexed, described: Option<usize>) -> Result<Shown, SqlError> {
        let snapshot = self.snapshot().await?;
        let source = self.source();
        let show = Show { lexed, source: &source, engine: &self.room.options.engine, catalog: &snapshot.catalog };
        let (rows, filter) = match described {
            Some(at) => show.describe(at)?,
            None => show.run()?,
        };
        Ok(Shown { rows, filter, snapshot })
    }

    async fn give(&mut self, shown: Shown) -> Result<SqlOutcome, SqlError> {
        match filtering(&shown)? {
            None => Ok(SqlOutcome::Rows(of_batch(shown.rows.batch(false)?, self.text()))),
            Some((query, table)) => self.query_with(&query, None, shown.snapshot, &table).await,
        }
    }

    fn columns(&self, shown: &Shown) -> Result<SchemaRef, SqlError> {
        match filtering(shown)? {
            None => Ok(shown.rows.batch(false)?.schema()),
            Some((query, table)) => self.columns_of(&query, Some(&[]), &shown.snapshot, &table),
        }
    }
}

/// The query that filters the rows, and the table it reads; `None` if all are wanted.
fn filtering(shown: &Shown) -> Result<Option<(Lexed, Extra)>, SqlError> {
    let condition = match &shown.filter {
        Filter::All => return Ok(None),
        Filter::Like(pattern) => {
            let column = shown.rows.columns.first().map_or("", |c| c.trim_start_matches('#')).replace('`', "``");
            format!("`{column}` LIKE '{}'", pattern.replace('\\', "\\\\").replace('\'', "''"))
        }
        Filter::Where(condition) => condition.clone(),
    };
    let query = lex(&format!("SELECT * FROM {SHOWN} WHERE {condition}"))?;
    Ok(Some((query, HashMap::from([(SHOWN.to_owned(), shown.rows.provider()?)]))))
}
