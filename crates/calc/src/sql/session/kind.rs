//! Which statement a text is, by its first words.

use datafusion::sql::sqlparser::tokenizer::Token;

use crate::session::SqlError;
use crate::sql::error::{syntax, unsupported};
use crate::sql::lexing::Lexed;

/// Kinds of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    Show,
    /// DESCRIBE too.
    Explain,
    Use,
    SetStatement,
    Set,
    Begin,
    End,
    /// What changes nothing where nothing is written.
    Savepoint,
    Do,
    Kill,
    /// Refused.
    Write,
}

impl Kind {
    /// The kind of a statement.
    ///
    /// # Errors
    /// 1235 for what Tidelake does not do, 1064 for what is no statement.
    pub(super) fn of(lexed: &Lexed) -> Result<Kind, SqlError> {
        let first = lexed.word(0).unwrap_or_default();
        match first.as_str() {
            "SELECT" | "WITH" | "VALUES" | "TABLE" => Ok(Kind::Query),
            "" if lexed.token(0, &Token::LParen) => Ok(Kind::Query),
            "SHOW" => Ok(Kind::Show),
            "DESCRIBE" | "DESC" | "EXPLAIN" => Ok(Kind::Explain),
            "USE" => Ok(Kind::Use),
            "SET" if lexed.is(1, &["STATEMENT"]) => Ok(Kind::SetStatement),
            "SET" => Ok(Kind::Set),
            "BEGIN" | "START" => Ok(Kind::Begin),
            "COMMIT" | "ROLLBACK" | "END" => Ok(Kind::End),
            "SAVEPOINT" | "RELEASE" | "UNLOCK" => Ok(Kind::Savepoint),
            "DO" => Ok(Kind::Do),
            "KILL" => Ok(Kind::Kill),
            word if WRITES.contains(&word) => Ok(Kind::Write),
            word if KNOWN.contains(&word) => Err(unsupported(format!("{word} statements"))),
            _ => Err(syntax(format!("near '{}'", excerpt(&lexed.text)))),
        }
    }
}

/// First words of statements that write.
pub(super) const WRITES: &[&str] = &[
    "INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME", "LOAD", "GRANT",
    "REVOKE", "LOCK", "OPTIMIZE", "ANALYZE", "REPAIR", "CALL", "MERGE", "IMPORT", "XA", "COPY",
];

const KNOWN: &[&str] = &[
    "PREPARE",
    "EXECUTE",
    "DEALLOCATE",
    "HANDLER",
    "HELP",
    "FLUSH",
    "RESET",
    "CHANGE",
    "STOP",
    "CHECK",
    "CHECKSUM",
    "INSTALL",
    "UNINSTALL",
    "CACHE",
    "PURGE",
    "SHUTDOWN",
    "SIGNAL",
    "GET",
    "DECLARE",
    "BINLOG",
];

/// The beginning of a statement, for messages.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}
