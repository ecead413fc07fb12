//! SET: names, variables, user variables, transaction settings.

use datafusion::sql::sqlparser::tokenizer::Token;
use tidelake_core::CellValue;

use super::Session;
use crate::session::{SqlError, SqlOutcome};
use crate::sql::as_of::begins_at;
use crate::sql::error::{read_only, syntax, unsupported};
use crate::sql::lexing::Lexed;

impl Session {
    pub(super) async fn set(
        &mut self,
        lexed: &Lexed,
        mut at: usize,
        stop: usize,
        parameters: Option<&[CellValue]>,
    ) -> Result<SqlOutcome, SqlError> {
        while at < stop {
            let end = comma_after(lexed, at).min(stop);
            self.assign(lexed, at, end, parameters).await?;
            at = end + 1;
        }
        Ok(SqlOutcome::Remembered)
    }

    /// `SET STATEMENT name = value, ... FOR statement`: the values hold for this statement only.
    pub(super) async fn set_statement(
        &mut self,
        lexed: &Lexed,
        parameters: Option<&[CellValue]>,
    ) -> Result<SqlOutcome, SqlError> {
        let end = statement_under(lexed)?;
        let before = self.variables.clone();
        let done = match self.set(lexed, 2, end, parameters).await {
            Ok(_) => self.run(lexed.text_from(end + 1), parameters).await,
            Err(e) => Err(e),
        };
        self.variables = before;
        done
    }

    async fn assign(
        &mut self,
        lexed: &Lexed,
        mut at: usize,
        end: usize,
        parameters: Option<&[CellValue]>,
    ) -> Result<(), SqlError> {
        match lexed.word(at).as_deref() {
            Some("NAMES") => return self.names(lexed, at + 1),
            Some("CHARSET") => return self.names(lexed, at + 1),
            Some("CHARACTER") if lexed.is(at + 1, &["SET"]) => return self.names(lexed, at + 2),
            Some("PASSWORD" | "ROLE" | "DEFAULT") => return Err(read_only()),
            Some("GLOBAL" | "PERSIST") => return Err(unsupported("SET GLOBAL; set the variable in the session")),
            Some("SESSION" | "LOCAL") => at += 1,
            _ => {}
        }
        if lexed.is(at, &["TRANSACTION"]) {
            if (at..end).any(|i| begins_at(lexed, i)) {
                return Err(unsupported("SET TRANSACTION ... AS OF TIMESTAMP; START TRANSACTION READ ONLY takes it"));
            }
            // Every snapshot is repeatable and read only, whatever is asked.
            return Ok(());
        }
        let (mut name, mut value_at) = (lexed.name(at).ok_or_else(|| syntax("SET needs a name"))?, at + 1);
        while lexed.token(value_at, &Token::Period) {
            let part = lexed.name(value_at + 1).ok_or_else(|| syntax("SET needs a name"))?;
            if name.eq_ignore_ascii_case("@@global") {
                return Err(unsupported("SET GLOBAL; set the variable in the session"));
            }
            name = part;
            value_at += 2;
        }
        if !lexed.token(value_at, &Token::Eq) && !lexed.token(value_at, &Token::Assignment) {
            return Err(syntax(format!("near '{}'", lexed.text_from(value_at))));
        }
        let value = self.assigned(lexed, value_at + 1, end, parameters).await?;
        if let Some(user) = name.strip_prefix('@').filter(|n| !n.starts_with('@')) {
            self.variables.set_user(user, value.unwrap_or(CellValue::Null));
            return Ok(());
        }
        let text = value.and_then(|v| match v {
            CellValue::Null => None,
            CellValue::Int(n) => Some(n.to_string()),
            CellValue::UInt(n) => Some(n.to_string()),
            CellValue::Float(f) => Some(f.to_string()),
            CellValue::Decimal(s) | CellValue::Str(s) => Some(s),
            CellValue::Bytes(b) => Some(String::from_utf8_lossy(&b).into_owned()),
        });
        let name = name.trim_start_matches('@');
        if let Some(value) =
            text.as_deref().filter(|_| name.trim_matches('`').eq_ignore_ascii_case("tidelake_freshness"))
        {
            self.freshness_of(value)?;
        }
        self.variables.set(name, text)
    }

    /// The value of an assignment; `None` is DEFAULT.
    async fn assigned(
        &mut self,
        lexed: &Lexed,
        at: usize,
        end: usize,
        parameters: Option<&[CellValue]>,
    ) -> Result<Option<CellValue>, SqlError> {
        if at >= end {
            return Err(syntax("SET needs a value"));
        }
        if end == at + 1 {
            match &lexed.tokens[at].token {
                Token::SingleQuotedString(s) | Token::DoubleQuotedString(s) => {
                    return Ok(Some(CellValue::Str(s.clone())));
                }
                Token::Number(n, _) if n.parse::<i64>().is_ok() => {
                    return Ok(Some(CellValue::Int(n.parse().unwrap_or_default())));
                }
                Token::Word(w) if w.value.eq_ignore_ascii_case("DEFAULT") => return Ok(None),
                Token::Word(w) if w.value.eq_ignore_ascii_case("NULL") => return Ok(Some(CellValue::Null)),
                Token::Word(w) if !w.value.starts_with('@') => return Ok(Some(CellValue::Str(w.value.clone()))),
                _ => {}
            }
        }
        let expression = lexed.text_of(at, end);
        self.value_of(&expression, parameters).await.map(Some)
    }

    fn names(&mut self, lexed: &Lexed, at: usize) -> Result<(), SqlError> {
        let word = |i| lexed.string(i).or_else(|| lexed.name(i));
        let charset = word(at).ok_or_else(|| syntax("a character set is missing"))?;
        let collation = if lexed.is(at + 1, &["COLLATE"]) { word(at + 2) } else { None };
        self.variables.set_names(&charset, collation.as_deref())
    }
}

/// Where `SET STATEMENT ... FOR statement` has its FOR.
pub(super) fn statement_under(lexed: &Lexed) -> Result<usize, SqlError> {
    let found = (2..lexed.tokens.len()).find(|i| lexed.is(*i, &["FOR"]));
    found.ok_or_else(|| syntax("SET STATEMENT needs FOR and a statement"))
}

/// The index of the next comma outside parentheses, or the end.
fn comma_after(lexed: &Lexed, from: usize) -> usize {
    let mut depth = 0;
    for (i, t) in lexed.tokens.iter().enumerate().skip(from) {
        match t.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::Comma if depth == 0 => return i,
            _ => {}
        }
    }
    lexed.tokens.len()
}
