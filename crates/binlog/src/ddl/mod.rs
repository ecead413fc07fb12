//! DDL: from the text of a statement to resolved changes of the catalog.
//!
//! The one parser of MySQL's, MariaDB's and TiDB's table definitions, for statements in the stream and for the text of
//! SHOW CREATE TABLE. A statement goes through three rooms: `token` splits it (executable comments dissolve),
//! `parse*` read it into `ast` (what it *says*), `effect` and `alter` work out what it *means* for the catalog at
//! that place of the stream. What changes rows in a way that only upstream knows ends in a re-sync, loudly.
//!
//! Limits: a database's default charset is only known as far as the event's session tells it.

mod alter;
mod ast;
mod charset;
mod cursor;
mod effect;
pub(crate) mod engines;
mod foreign;
mod keys;
mod literal;
mod literal_number;
mod literal_time;
mod parse;
mod parse_alter;
mod parse_column;
mod parse_keys;
mod parse_table;
mod parse_type;
mod resolve;
mod token;
mod type_change;

#[cfg(test)]
mod tests;

use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Catalog, Error, Result, SchemaChange, SourcePosition, TableDef, TableName};

pub use token::{
    MODE_ANSI_QUOTES, MODE_NO_BACKSLASH_ESCAPES, MODE_NO_ENGINE_SUBSTITUTION, MODE_REAL_AS_FLOAT,
    MODE_STRICT_ALL_TABLES, MODE_STRICT_TRANS_TABLES,
};

pub(crate) use charset::{default_collation, max_bytes};
pub(crate) use foreign::foreign_key;

use ast::Statement;
use cursor::Cursor;

/// What holds in a session where a statement does not say it. `Default` knows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionDefaults {
    /// The default collation of the database that the statement is about, else of the server; `None` if unknown.
    pub collation: Option<String>,
    /// True if `collation` is not known to be the database's.
    pub collation_assumed: bool,
    /// Default collations of charsets where they differ from the server's usual ones: MariaDB's
    /// `character_set_collations`, MySQL's `default_collation_for_utf8mb4`.
    pub charset_collations: Vec<(String, String)>,
    /// `explicit_defaults_for_timestamp` is off: a TIMESTAMP without NULL is NOT NULL.
    pub implicit_timestamps: bool,
    /// The session's time zone, seconds east of UTC, if it is known and fixed: for constant TIMESTAMP defaults.
    pub utc_offset_seconds: Option<i32>,
    /// The charset of text in statements (`character_set_connection`): what a label without a charset has as its bytes.
    pub literals: Option<String>,
}

/// What the log tells about whether a DDL statement did anything: MySQL logs `CREATE TABLE IF NOT EXISTS` also where a table
/// or a view of that name is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It did.
    Yes,
    /// It did not, or what it made is of an engine without transactions.
    NotInInnoDb,
    /// Nothing: MySQL before 8. MariaDB and TiDB log only what was done.
    Untold,
}

/// Where and how a statement was run.
pub struct DdlContext<'a> {
    /// The session's default database; may be empty.
    pub database: &'a str,
    /// Whose dialect.
    pub flavor: ServerFlavor,
    /// The session's `sql_mode` bits (ANSI_QUOTES, NO_BACKSLASH_ESCAPES and STRICT matter).
    pub sql_mode: u64,
    /// What holds where the statement does not say it.
    pub session: &'a SessionDefaults,
    /// It has bytes that nobody knows the characters of: the client said no charset, or they are none in it.
    pub illegible: bool,
    /// It ended with an error and is logged all the same, because of what it did before.
    pub failed: bool,
    /// Whether it did anything.
    pub done: Done,
    /// A table of which that is not known can be copied.
    pub copies: bool,
    /// Right after the statement.
    pub position: &'a SourcePosition,
    /// True for tables that the replica follows. Asked with an empty table name for a whole database.
    pub wanted: &'a dyn Fn(&TableName) -> bool,
}

/// What a statement means for the catalog.
#[derive(Clone, Debug, PartialEq)]
pub enum DdlOutcome {
    /// Nothing.
    Ignore,
    /// These steps, in order; each fits the catalog after the one before (`Catalog::apply`).
    Changes(Vec<SchemaChange>),
    /// Some tables must be copied anew: their rows after the statement are only known upstream.
    Resync {
        /// Steps to apply first (copies of these tables that are under way are dropped, other tables change).
        changes: Vec<SchemaChange>,
        /// By their names after the statement. Empty: nobody can tell which, the pipeline must stop here.
        tables: Vec<TableName>,
        /// What could not be followed, and why.
        reason: String,
    },
}

/// What one statement of the stream means for `catalog`, which is not changed.
///
/// For MariaDB's two-phase ALTER call this at COMMIT ALTER only: START ALTER changes nothing yet.
#[must_use]
pub fn changes(sql: &str, context: &DdlContext<'_>, catalog: &Catalog) -> DdlOutcome {
    let lexed = token::lex(sql, context.flavor, context.sql_mode);
    let parsed = parse::statement(Cursor::new(sql, &lexed.tokens), context.flavor);
    match (parsed, lexed.error) {
        (Ok(Statement::Ignore), _) => DdlOutcome::Ignore,
        (Ok(statement), _) if context.illegible && statement.defines_columns() => {
            let table = effect::names_of(&statement).into_iter().next();
            effect::Effect::new(context, catalog)
                .unreadable(table, "it has bytes that are no text in its client's charset")
        }
        (Ok(statement), _) if statement.says_types() && other_names(context) => {
            let table = effect::names_of(&statement).into_iter().next();
            effect::Effect::new(context, catalog)
                .unreadable(table, "types have other names in sql_mode ORACLE and MAXDB")
        }
        (Ok(statement), None) => effect::Effect::new(context, catalog).of(&statement),
        (Ok(statement), Some(error)) => {
            let table = effect::names_of(&statement).into_iter().next();
            effect::Effect::new(context, catalog).unreadable(table, &error.describe(sql))
        }
        (Err(unreadable), error) => {
            let error = error.unwrap_or(unreadable.error);
            effect::Effect::new(context, catalog).unreadable(unreadable.table, &error.describe(sql))
        }
    }
}

/// True in modes in which DATE and BLOB, or TIMESTAMP, are other types. MySQL 8 and later have none of them.
fn other_names(context: &DdlContext<'_>) -> bool {
    let modes = match context.flavor {
        ServerFlavor::MariaDb => token::MODE_ORACLE | token::MODE_MAXDB,
        ServerFlavor::MySql => token::MODE_MAXDB,
        ServerFlavor::TiDb => 0,
    };
    context.sql_mode & modes != 0
}

/// Reads a CREATE TABLE, e.g. the text of SHOW CREATE TABLE, into a first version (`TableId(0)`).
///
/// `database` is used if the name in the text has none.
///
/// # Errors
/// [`Error::Invalid`] if the text cannot be read or the table cannot be followed (system versioning); names the place.
pub fn parse_create_table(
    sql: &str,
    database: &str,
    flavor: ServerFlavor,
    session: &SessionDefaults,
) -> Result<TableDef> {
    let lexed = token::lex(sql, flavor, 0);
    let invalid = |reason: String| Error::Invalid(format!("cannot read table definition: {reason}"));
    if let Some(error) = lexed.error {
        return Err(invalid(error.describe(sql)));
    }
    let statement = parse::statement(Cursor::new(sql, &lexed.tokens), flavor);
    let create = match statement {
        Ok(Statement::CreateTable(create)) if !create.select && create.like.is_none() => create,
        Ok(_) => return Err(invalid(format!("not a CREATE TABLE with columns: {}", near(sql, 0)))),
        Err(unreadable) => return Err(invalid(unreadable.error.describe(sql))),
    };
    let name = create.name.resolve(database).ok_or_else(|| invalid("no database".into()))?;
    if create.has_period_columns() {
        return Err(Error::Invalid(format!("table {name}: {VERSIONED}")));
    }
    resolve::Resolver { flavor, session, real_is_float: false, shown: true }
        .table(&create, name)
        .map_err(|reason| invalid(format!("{reason} in {}", near(sql, 0))))
}

/// [`parse_create_table`] for the text of SHOW CREATE TABLE, which leaves nothing to the session.
///
/// # Errors
/// As there.
pub fn create_table(sql: &str, database: &str, flavor: ServerFlavor) -> Result<TableDef> {
    parse_create_table(sql, database, flavor, &SessionDefaults::default())
}

const VERSIONED: &str = "system versioning with columns of its own (ROW START, ROW END) is not replicated; leave the table out with --tables";

/// Where a statement stops making sense.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SyntaxError {
    at: usize,
    what: String,
}

impl SyntaxError {
    fn new(at: usize, what: impl Into<String>) -> SyntaxError {
        SyntaxError { at, what: what.into() }
    }

    fn describe(&self, sql: &str) -> String {
        format!("{} near \"{}\" (byte {})", self.what, near(sql, self.at), self.at)
    }
}

fn near(sql: &str, at: usize) -> String {
    let mut start = at.min(sql.len());
    while !sql.is_char_boundary(start) {
        start -= 1;
    }
    sql[start..].chars().take(60).collect()
}
