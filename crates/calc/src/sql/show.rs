//! SHOW and DESCRIBE: rows made from the snapshot's catalog, then filtered by LIKE or WHERE as a small table.

use std::sync::Arc;

use datafusion::sql::sqlparser::tokenizer::Token;
use tidelake_core::ports::StoreEngine;
use tidelake_core::show_create::{column_type_sql, quote_name, show_create_table};
use tidelake_core::{Catalog, ColumnDef, TableEntry, TableName, TableState};

use super::error::{no_database, syntax, unknown_table, unsupported};
use super::info_schema::{self, Cell, Rows, Source};
use super::lexing::Lexed;
use crate::session::SqlError;

/// What stands behind a SHOW.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Nothing.
    All,
    /// LIKE on the first column.
    Like(String),
    /// WHERE, as SQL.
    Where(String),
}

/// What SHOW needs.
pub(crate) struct Show<'a> {
    pub(crate) lexed: &'a Lexed,
    pub(crate) source: &'a Source,
    pub(crate) engine: &'a Arc<dyn StoreEngine>,
    pub(crate) catalog: &'a Catalog,
}

fn rows_of(columns: &[&str], rows: Vec<Vec<Cell>>) -> Rows {
    Rows { columns: columns.iter().map(|c| (*c).to_owned()).collect(), rows }
}

fn s(text: impl Into<String>) -> Cell {
    Cell::S(text.into())
}

fn nothing(columns: &[&str]) -> Rows {
    rows_of(columns, vec![])
}

/// `SHOW DATABASES LIKE 'x'` heads its column `Database (x)`, `SHOW TABLES` likewise.
fn with_pattern_in_header(mut rows: Rows, word: &str, filter: &Filter) -> Rows {
    if let (Filter::Like(pattern), "DATABASES" | "SCHEMAS" | "TABLES") = (filter, word)
        && let Some(first) = rows.columns.first_mut()
    {
        *first = format!("{first} ({pattern})");
    }
    rows
}

impl Show<'_> {
    /// Runs the SHOW whose keyword is token 0.
    ///
    /// # Errors
    /// 1046, 1049, 1146 for names; 1235 for what is not shown here.
    pub(crate) fn run(&self) -> Result<(Rows, Filter), SqlError> {
        let mut at = 1;
        let mut full = false;
        while let Some(w) = self.lexed.word(at) {
            match w.as_str() {
                "FULL" | "EXTENDED" => full |= w == "FULL",
                "GLOBAL" | "SESSION" | "LOCAL" => {}
                _ => break,
            }
            at += 1;
        }
        let word = self.lexed.word(at).unwrap_or_default();
        let rows = match word.as_str() {
            "DATABASES" | "SCHEMAS" => self.databases(),
            "TABLES" => self.tables(full, self.database_at(at + 1)?)?,
            "TABLE" if self.lexed.is(at + 1, &["STATUS"]) => self.table_status(self.database_at(at + 2)?)?,
            "COLUMNS" | "FIELDS" => self.columns(&self.table_at(at + 1)?, full)?,
            "INDEX" | "INDEXES" | "KEYS" => self.indexes(&self.table_at(at + 1)?)?,
            "CREATE" => return Ok((self.create(at + 1)?, Filter::All)),
            "VARIABLES" => rows_of(
                &["Variable_name", "Value"],
                self.source.variables.iter().map(|(n, v)| vec![s(n.clone()), s(v.clone())]).collect(),
            ),
            "COUNT" => rows_of(&["@@session.warning_count"], vec![vec![Cell::N(0)]]),
            "CHARACTER" | "CHARSET" => {
                self.renamed("CHARACTER_SETS", &["Charset", "Default collation", "Description", "#Maxlen"])?
            }
            "COLLATION" => {
                self.renamed("COLLATIONS", &["Collation", "Charset", "#Id", "Default", "Compiled", "#Sortlen"])?
            }
            "PROCESSLIST" => {
                self.renamed("PROCESSLIST", &["#Id", "User", "Host", "db", "Command", "#Time", "State", "Info"])?
            }
            "STATUS" => self.renamed("SESSION_STATUS", &["Variable_name", "Value"])?,
            "ENGINES" | "STORAGE" => {
                self.renamed("ENGINES", &["Engine", "Support", "Comment", "Transactions", "XA", "Savepoints"])?
            }
            "WARNINGS" | "ERRORS" => nothing(&["Level", "#Code", "Message"]),
            "PLUGINS" => nothing(&["Name", "Status", "Type", "Library", "License"]),
            "TRIGGERS" => nothing(&["Trigger", "Event", "Table", "Statement", "Timing", "Created"]),
            "EVENTS" => nothing(&["Db", "Name", "Definer", "Time zone", "Type", "Status"]),
            "PROCEDURE" | "FUNCTION" | "PACKAGE" => nothing(&["Db", "Name", "Type", "Definer", "Modified", "Created"]),
            "OPEN" => nothing(&["Database", "Table", "In_use", "Name_locked"]),
            "PRIVILEGES" => nothing(&["Privilege", "Context", "Comment"]),
            "GRANTS" => self.grants(),
            "MASTER" | "BINLOG" | "BINARY" => self.position(),
            "SLAVE" | "REPLICA" => nothing(&["Slave_IO_State"]),
            _ => return Err(unsupported(format!("SHOW {word}"))),
        };
        let filter = self.filter(at + 1);
        Ok((with_pattern_in_header(rows, &word, &filter), filter))
    }

    /// DESCRIBE of the table at token `at`, with an optional column or pattern behind it.
    ///
    /// # Errors
    /// As for [`Show::run`].
    pub(crate) fn describe(&self, at: usize) -> Result<(Rows, Filter), SqlError> {
        let (name, next) = self.name_at(at)?;
        let pattern = self.lexed.string(next).or_else(|| self.lexed.name(next));
        Ok((self.columns(&name, false)?, pattern.map_or(Filter::All, Filter::Like)))
    }

    fn filter(&self, from: usize) -> Filter {
        for i in from..self.lexed.tokens.len() {
            if self.lexed.is(i, &["LIKE"])
                && let Some(pattern) = self.lexed.string(i + 1)
            {
                return Filter::Like(pattern);
            }
            if self.lexed.is(i, &["WHERE"]) {
                return Filter::Where(self.lexed.text_from(i + 1).to_owned());
            }
        }
        Filter::All
    }

    fn names_source_at(&self, at: usize) -> bool {
        matches!(self.lexed.word(at).as_deref(), Some("FROM" | "IN"))
    }

    fn database_at(&self, at: usize) -> Result<String, SqlError> {
        let name = if self.names_source_at(at) {
            self.lexed.name(at + 1).ok_or_else(|| syntax("SHOW ... FROM needs a database"))?
        } else {
            self.source.database.clone().ok_or_else(no_database)?
        };
        self.known_database(name)
    }

    fn known_database(&self, name: String) -> Result<String, SqlError> {
        if name.eq_ignore_ascii_case("information_schema") || self.catalog.databases.contains(&name) {
            return Ok(name);
        }
        Err(self.source.grants.no_database(&name))
    }

    /// `FROM table [FROM database]` or `FROM database.table`.
    fn table_at(&self, at: usize) -> Result<TableName, SqlError> {
        if !self.names_source_at(at) {
            return Err(syntax("FROM and a table's name are missing"));
        }
        let (name, next) = self.name_at(at + 1).or_else(|e| match self.lexed.name(at + 1) {
            Some(table) if self.names_source_at(at + 2) => Ok((TableName::new("", table), at + 2)),
            _ => Err(e),
        })?;
        if self.names_source_at(next) {
            let database = self.lexed.name(next + 1).ok_or_else(|| syntax("FROM needs a database"))?;
            return Ok(TableName::new(database, name.table));
        }
        Ok(name)
    }

    fn name_at(&self, at: usize) -> Result<(TableName, usize), SqlError> {
        let first = self.lexed.name(at).ok_or_else(|| syntax("a table's name is missing"))?;
        if self.lexed.token(at + 1, &Token::Period) {
            let table = self.lexed.name(at + 2).ok_or_else(|| syntax("a table's name is missing"))?;
            return Ok((TableName::new(first, table), at + 3));
        }
        let database = self.source.database.clone().ok_or_else(no_database)?;
        Ok((TableName::new(database, first), at + 1))
    }

    fn entry(&self, name: &TableName) -> Result<&TableEntry, SqlError> {
        self.catalog
            .visible(name)
            .or_else(|| self.catalog.copying(name))
            .ok_or_else(|| self.source.grants.no_table(name))
    }

    fn renamed(&self, table: &str, columns: &[&str]) -> Result<Rows, SqlError> {
        let rows = info_schema::rows(table, self.source, self.engine, self.catalog);
        let rows = rows.ok_or_else(|| unknown_table(table))?;
        Ok(rows_of(columns, rows.rows))
    }

    fn databases(&self) -> Rows {
        let mut names: Vec<&str> = self.catalog.databases.iter().map(String::as_str).collect();
        names.push("information_schema");
        names.sort_unstable();
        rows_of(&["Database"], names.into_iter().map(|n| vec![s(n)]).collect())
    }

    fn tables(&self, full: bool, database: String) -> Result<Rows, SqlError> {
        let system = database.eq_ignore_ascii_case("information_schema");
        let kind = if system { "SYSTEM VIEW" } else { "BASE TABLE" };
        let mut names: Vec<&str> = if system {
            info_schema::names().to_vec()
        } else {
            let own = self.catalog.tables.values().filter(|e| e.def.name.database == database);
            own.filter(|e| !matches!(e.state, TableState::Copying { .. })).map(|e| e.def.name.table.as_str()).collect()
        };
        names.sort_unstable();
        let first = format!("Tables_in_{database}");
        let columns: &[&str] = if full { &[&first, "Table_type"] } else { &[&first] };
        let row = |n: &str| if full { vec![s(n), s(kind)] } else { vec![s(n)] };
        Ok(rows_of(columns, names.into_iter().map(row).collect()))
    }

    fn table_status(&self, database: String) -> Result<Rows, SqlError> {
        let rows = info_schema::rows("TABLES", self.source, self.engine, self.catalog);
        let mut rows = rows.ok_or_else(|| unknown_table("TABLES"))?.rows;
        rows.retain(|r| matches!(&r[1], Cell::S(d) if *d == database));
        for row in &mut rows {
            row.drain(..2);
            row.remove(1);
        }
        let columns = [
            "Name",
            "Engine",
            "#Version",
            "Row_format",
            "#Rows",
            "#Avg_row_length",
            "#Data_length",
            "#Max_data_length",
            "#Index_length",
            "#Data_free",
            "#Auto_increment",
            "Create_time",
            "Update_time",
            "Check_time",
            "Collation",
            "#Checksum",
            "Create_options",
            "Comment",
        ];
        Ok(rows_of(&columns, rows))
    }

    fn columns(&self, name: &TableName, full: bool) -> Result<Rows, SqlError> {
        if name.database.eq_ignore_ascii_case("information_schema") {
            return self.system_columns(name, full);
        }
        let def = &self.entry(name)?.def;
        let all = info_schema::rows("COLUMNS", self.source, self.engine, self.catalog);
        let all = all.ok_or_else(|| unknown_table("COLUMNS"))?.rows;
        let of = |c: &ColumnDef| {
            all.iter().find(|r| {
                matches!((&r[1], &r[2], &r[3]), (Cell::S(d), Cell::S(t), Cell::S(n))
                if *d == def.name.database && *t == def.name.table && *n == c.name)
            })
        };
        let mut rows = Vec::new();
        for c in &def.columns {
            let cell = |i: usize| of(c).map_or(Cell::Null, |r| r[i].clone());
            let ty = s(column_type_sql(&c.ty, self.source.flavor));
            let default = default_text(c);
            let collation = c.ty.collation.clone().map_or(Cell::Null, Cell::S);
            let key = if of(c).is_some() { cell(16) } else { s("") };
            let null = s(if c.nullable { "YES" } else { "NO" });
            rows.push(if full {
                vec![s(&c.name), ty, collation, null, key, default, cell(17), s("select"), s(&c.comment)]
            } else {
                vec![s(&c.name), ty, null, key, default, cell(17)]
            });
        }
        Ok(rows_of(column_headers(full), rows))
    }

    fn system_columns(&self, name: &TableName, full: bool) -> Result<Rows, SqlError> {
        let upper = name.table.to_ascii_uppercase();
        let rows = info_schema::rows(&upper, self.source, self.engine, self.catalog);
        let columns = rows.ok_or_else(|| unknown_table(name))?.columns;
        let one = |c: &String| {
            let ty = s(if c.starts_with('#') { "bigint(21)" } else { "longtext" });
            let plain = s(c.trim_start_matches('#'));
            if full {
                vec![plain, ty, Cell::Null, s("YES"), s(""), Cell::Null, s(""), s("select"), s("")]
            } else {
                vec![plain, ty, s("YES"), s(""), Cell::Null, s("")]
            }
        };
        Ok(rows_of(column_headers(full), columns.iter().map(one).collect()))
    }

    fn indexes(&self, name: &TableName) -> Result<Rows, SqlError> {
        self.entry(name)?;
        let rows = info_schema::rows("STATISTICS", self.source, self.engine, self.catalog);
        let mut rows = rows.ok_or_else(|| unknown_table("STATISTICS"))?.rows;
        rows.retain(|r| matches!((&r[1], &r[2]), (Cell::S(d), Cell::S(t)) if *d == name.database && *t == name.table));
        for row in &mut rows {
            row.drain(..2);
            row.remove(2);
        }
        let columns = [
            "Table",
            "#Non_unique",
            "Key_name",
            "#Seq_in_index",
            "Column_name",
            "Collation",
            "#Cardinality",
            "#Sub_part",
            "Packed",
            "Null",
            "Index_type",
            "Comment",
            "Index_comment",
            "Ignored",
        ];
        Ok(rows_of(&columns, rows))
    }

    fn create(&self, at: usize) -> Result<Rows, SqlError> {
        match self.lexed.word(at).as_deref() {
            Some("TABLE") => {
                let (name, _) = self.name_at(at + 1)?;
                let def = &self.entry(&name)?.def;
                let row = vec![s(&name.table), s(show_create_table(def, self.source.flavor))];
                Ok(rows_of(&["Table", "Create Table"], vec![row]))
            }
            Some("DATABASE" | "SCHEMA") => {
                let mut at = at + 1;
                while matches!(self.lexed.word(at).as_deref(), Some("IF" | "NOT" | "EXISTS")) {
                    at += 1;
                }
                let name = self.lexed.name(at).ok_or_else(|| syntax("a database's name is missing"))?;
                let name = self.known_database(name)?;
                let sql = format!("CREATE DATABASE {} /*!40100 DEFAULT CHARACTER SET utf8mb4 */", quote_name(&name));
                Ok(rows_of(&["Database", "Create Database"], vec![vec![s(name), s(sql)]]))
            }
            other => Err(unsupported(format!("SHOW CREATE {}", other.unwrap_or_default()))),
        }
    }

    fn grants(&self) -> Rows {
        let (user, host) = self.source.user.split_once('@').unwrap_or((&self.source.user, "%"));
        let header = format!("Grants for {user}@{host}");
        let statements = self.source.grants.statements(self.catalog).into_iter();
        rows_of(&[&header], statements.map(|statement| vec![s(statement)]).collect())
    }

    fn position(&self) -> Rows {
        let position = self.engine.published().borrow().position.clone();
        let row = vec![s(position.to_string()), Cell::N(position.minor as i64), s(""), s("")];
        rows_of(&["File", "#Position", "Binlog_Do_DB", "Binlog_Ignore_DB"], vec![row])
    }
}

fn column_headers(full: bool) -> &'static [&'static str] {
    if full {
        &["Field", "Type", "Collation", "Null", "Key", "Default", "Extra", "Privileges", "Comment"]
    } else {
        &["Field", "Type", "Null", "Key", "Default", "Extra"]
    }
}

/// A literal default without its quotes, as SHOW COLUMNS prints it.
fn default_text(c: &ColumnDef) -> Cell {
    match &c.default_sql {
        None => Cell::Null,
        Some(d) if d.eq_ignore_ascii_case("NULL") => Cell::Null,
        Some(d) => match d.strip_prefix('\'').and_then(|d| d.strip_suffix('\'')) {
            Some(inner) => s(inner.replace("''", "'")),
            None => s(d),
        },
    }
}
