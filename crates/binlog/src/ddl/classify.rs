//! What kind of statement a QUERY event holds, by its first words.

use tidelake_core::types::text::ServerFlavor;

use super::cursor::Cursor;
use super::parse::skip_set_statement;
use super::token::lex;

/// What a statement of the stream does with transactions and rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementClass {
    /// Opens a transaction.
    Begin,
    /// Ends a transaction.
    Commit,
    /// Ends a transaction without its changes.
    Rollback,
    /// SAVEPOINT with its name.
    Savepoint(String),
    /// ROLLBACK TO with the savepoint's name.
    RollbackTo(String),
    /// RELEASE SAVEPOINT with its name.
    ReleaseSavepoint(String),
    /// XA with the rest of the text, which names the branch (`X'7831',X'',1`).
    Xa(XaVerb, String),
    /// Changes rows: INSERT, UPDATE, DELETE, REPLACE, LOAD. In a QUERY event: statement format.
    Dml,
    /// May change tables or databases: ask [`changes`](super::changes).
    Ddl,
    /// Anything else.
    Other,
}

/// The verbs of XA.
#[allow(missing_docs, reason = "the names are the statement's own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XaVerb {
    Start,
    End,
    Prepare,
    Commit,
    /// COMMIT ... ONE PHASE.
    CommitOnePhase,
    Rollback,
}

/// True if the statement changes rows.
#[must_use]
pub fn is_dml(sql: &str) -> bool {
    classify(sql) == StatementClass::Dml
}

/// Classifies a statement. Executable comments count; only the beginning of a long statement is read.
#[must_use]
pub fn classify(sql: &str) -> StatementClass {
    let head = head(sql);
    let lexed = lex(head, ServerFlavor::MariaDb, 0);
    let mut c = Cursor::new(head, &lexed.tokens);
    skip_set_statement(&mut c);
    let Some(word) = c.word() else { return StatementClass::Other };
    match word.to_ascii_lowercase().as_str() {
        "begin" if c.is_at(1, "not") => StatementClass::Other,
        "begin" => StatementClass::Begin,
        "start" if c.is_at(1, "transaction") => StatementClass::Begin,
        "commit" => StatementClass::Commit,
        "rollback" => rollback(c),
        "savepoint" => StatementClass::Savepoint(name_at(c, 1)),
        "release" if c.is_at(1, "savepoint") => StatementClass::ReleaseSavepoint(name_at(c, 2)),
        "xa" => xa(c, head),
        "insert" | "update" | "delete" | "replace" | "load" => StatementClass::Dml,
        "with" => with_query(c),
        "create" | "alter" | "drop" | "rename" | "truncate" => StatementClass::Ddl,
        _ => StatementClass::Other,
    }
}

/// At most 4 KiB: what a statement is shows at its beginning, and a statement may have megabytes.
fn head(sql: &str) -> &str {
    let mut end = sql.len().min(4096);
    while !sql.is_char_boundary(end) {
        end -= 1;
    }
    &sql[..end]
}

fn name_at(mut c: Cursor<'_>, ahead: usize) -> String {
    (0..ahead).for_each(|_| c.advance());
    c.ident().unwrap_or_default()
}

fn rollback(mut c: Cursor<'_>) -> StatementClass {
    c.advance();
    c.eat("work");
    if !c.eat("to") {
        return StatementClass::Rollback;
    }
    c.eat("savepoint");
    StatementClass::RollbackTo(c.ident().unwrap_or_default())
}

fn xa(mut c: Cursor<'_>, head: &str) -> StatementClass {
    c.advance();
    let verb = match () {
        () if c.eat_any(&["start", "begin"]) => XaVerb::Start,
        () if c.eat("end") => XaVerb::End,
        () if c.eat("prepare") => XaVerb::Prepare,
        () if c.eat("commit") => XaVerb::Commit,
        () if c.eat("rollback") => XaVerb::Rollback,
        () => return StatementClass::Other,
    };
    let start = c.offset();
    while !c.at_end() && !c.is("one") && !c.is_punct(b';') {
        c.advance();
    }
    let branch = head[start..c.offset()].trim().to_owned();
    let one_phase = verb == XaVerb::Commit && c.is("one");
    StatementClass::Xa(if one_phase { XaVerb::CommitOnePhase } else { verb }, branch)
}

/// `WITH a AS (...) DELETE ...`
fn with_query(mut c: Cursor<'_>) -> StatementClass {
    while !c.at_end() {
        if c.is_any(&["update", "delete", "insert", "replace"]) {
            return StatementClass::Dml;
        }
        if c.is("select") {
            return StatementClass::Other;
        }
        if !c.is_punct(b'(') {
            c.advance();
        } else if c.parenthesised().is_err() {
            return StatementClass::Other;
        }
    }
    StatementClass::Other
}
