//! What kind of statement a QUERY event holds, seen from its first words: enough to find transactions' borders.

/// Kinds of statements that borders, savepoints and statement-format changes are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `BEGIN`, `START TRANSACTION`.
    Begin,
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK` of everything.
    Rollback,
    /// `SAVEPOINT name`.
    Savepoint(String),
    /// `ROLLBACK TO [SAVEPOINT] name`.
    RollbackTo(String),
    /// `RELEASE SAVEPOINT`: nothing to do.
    ReleaseSavepoint,
    /// `XA START xid`.
    XaStart,
    /// `XA END xid`.
    XaEnd,
    /// `XA COMMIT xid`; with the xid.
    XaCommit(String),
    /// `XA ROLLBACK xid`; with the xid.
    XaRollback(String),
    /// INSERT, UPDATE, DELETE, REPLACE, LOAD, CALL ...: changes rows without row events.
    Dml,
    /// Everything else: DDL and administration.
    Other,
}

/// Bytes of a statement that are enough to classify it (comments before it included).
pub const ENOUGH: usize = 2048;

/// Tells what a statement is.
#[must_use]
pub fn classify(sql: &[u8]) -> Statement {
    let text = String::from_utf8_lossy(&sql[..sql.len().min(ENOUGH)]);
    let words: Vec<&str> = Words { rest: without_set_statement(&text) }.take(5).collect();
    let word = |i: usize| words.get(i).map(|w| w.to_ascii_uppercase()).unwrap_or_default();
    let name = |i: usize| words.get(i).map(|w| savepoint_name(w)).unwrap_or_default();
    match (word(0).as_str(), word(1).as_str(), word(2).as_str()) {
        ("BEGIN", ..) | ("START", "TRANSACTION", _) => Statement::Begin,
        ("COMMIT", ..) => Statement::Commit,
        ("ROLLBACK", "TO", "SAVEPOINT") => Statement::RollbackTo(name(3)),
        ("ROLLBACK", "TO", _) => Statement::RollbackTo(name(2)),
        ("ROLLBACK", ..) => Statement::Rollback,
        ("SAVEPOINT", ..) => Statement::Savepoint(name(1)),
        ("RELEASE", "SAVEPOINT", _) => Statement::ReleaseSavepoint,
        ("XA", "START" | "BEGIN", _) => Statement::XaStart,
        ("XA", "END", _) => Statement::XaEnd,
        ("XA", "COMMIT", _) => Statement::XaCommit(xid_of_text(&text)),
        ("XA", "ROLLBACK", _) => Statement::XaRollback(xid_of_text(&text)),
        ("INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "CALL" | "SELECT" | "WITH" | "DO" | "VALUES", ..) => {
            Statement::Dml
        }
        _ => Statement::Other,
    }
}

/// MariaDB logs `SET STATEMENT a=1, b=2 FOR statement` as it was written: the statement behind FOR is what counts.
fn without_set_statement(text: &str) -> &str {
    let mut words = Words { rest: text };
    let is = |word: Option<&str>, wanted: &str| word.is_some_and(|w| w.eq_ignore_ascii_case(wanted));
    if !is(words.next(), "SET") || !is(words.next(), "STATEMENT") {
        return text;
    }
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case("FOR") {
            return words.rest;
        }
    }
    text
}

fn savepoint_name(word: &str) -> String {
    word.trim_matches('`').to_lowercase()
}

/// An xid as one text: global part, branch part (both as hex digits), format.
#[must_use]
pub fn xid_key(global: &[u8], branch: &[u8], format: i64) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    format!("{},{},{format}", hex(global), hex(branch))
}

/// The xid in `XA COMMIT X'7831',X'',1` as [`xid_key`] writes it; servers write this form only.
fn xid_of_text(text: &str) -> String {
    let mut parts = text.split('\'');
    let (global, branch) = (parts.nth(1).unwrap_or_default(), parts.nth(1).unwrap_or_default());
    let format = parts.next().unwrap_or_default().trim_start_matches(',').trim();
    let digits: String = format.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
    let format = if digits.is_empty() { "1" } else { digits.as_str() };
    format!("{},{},{format}", global.to_ascii_lowercase(), branch.to_ascii_lowercase())
}

/// Words of SQL text, without comments and white space; a quoted identifier is one word.
pub(crate) struct Words<'a> {
    pub(crate) rest: &'a str,
}

impl<'a> Words<'a> {
    fn skip_blank(&mut self) {
        loop {
            let text = self.rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(' || c == ';');
            self.rest = text;
            let end = if text.starts_with("/*") && !text.starts_with("/*!") && !text.starts_with("/*M!") {
                text.find("*/").map(|at| at + 2)
            } else if text.starts_with('#') || text.starts_with("-- ") {
                text.find('\n').map(|at| at + 1)
            } else if text.starts_with("/*!") || text.starts_with("/*M!") {
                // a conditional comment is code: skip its mark and version number
                Some(text.find(|c: char| !"/*M!".contains(c) && !c.is_ascii_digit()).unwrap_or(text.len()))
            } else if text.starts_with("*/") {
                Some(2)
            } else {
                return;
            };
            self.rest = end.map_or("", |at| &text[at..]);
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.skip_blank();
        let first = self.rest.chars().next()?;
        let end = match first {
            '`' | '\'' | '"' => self.rest[1..].find(first).map_or(self.rest.len(), |at| at + 2),
            c if is_word(c) => self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len()),
            c => c.len_utf8(),
        };
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(word)
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (ran) on MariaDB 10.11: the whole text stands in the event, also in statement format.
    #[test]
    fn set_statement_is_what_stands_behind_for() {
        for (sql, class) in [
            ("set statement max_statement_time=10 for insert into st values (1)", Statement::Dml),
            ("SET STATEMENT sql_mode='FOR', a=1 FOR delete from st", Statement::Dml),
            ("SET STATEMENT a=1 FOR ALTER TABLE t ADD b int", Statement::Other),
            ("SET STATEMENT a=1", Statement::Other),
            ("SET @a = 1", Statement::Other),
            ("UPDATE t SET statement = 1", Statement::Dml),
        ] {
            assert_eq!(classify(sql.as_bytes()), class, "{sql}");
        }
    }

    #[test]
    fn borders_and_savepoints_are_told_apart() {
        for (sql, class) in [
            ("BEGIN", Statement::Begin),
            ("START TRANSACTION READ ONLY", Statement::Begin),
            ("START SLAVE", Statement::Other),
            ("commit /* added */", Statement::Commit),
            ("ROLLBACK", Statement::Rollback),
            ("SAVEPOINT `Sp`", Statement::Savepoint("sp".into())),
            ("ROLLBACK TO `sp`", Statement::RollbackTo("sp".into())),
            ("rollback to savepoint sp", Statement::RollbackTo("sp".into())),
            ("XA COMMIT X'7831',X'',1", Statement::XaCommit(xid_key(b"x1", b"", 1))),
            ("# note\n-- another\n/* x */ UPDATE t SET a=1", Statement::Dml),
            ("/*!40000 INSERT INTO t VALUES (1) */", Statement::Dml),
            ("", Statement::Other),
        ] {
            assert_eq!(classify(sql.as_bytes()), class, "{sql}");
        }
    }
}
