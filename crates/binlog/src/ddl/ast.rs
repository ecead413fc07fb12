//! What a statement says, before it is known what it means for a catalog.

use tidelake_core::types::UpstreamType;

/// A table's name as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawName {
    pub(super) database: Option<String>,
    pub(super) table: String,
}

/// A statement that changes tables or databases.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    /// Nothing that the replica follows.
    Ignore,
    CreateDatabase {
        name: String,
        or_replace: bool,
    },
    DropDatabase(String),
    CreateTable(Box<CreateTable>),
    AlterTable {
        name: RawName,
        actions: Vec<AlterAction>,
    },
    DropTables(Vec<RawName>),
    RenameTables(Vec<(RawName, RawName)>),
    Truncate(RawName),
}

impl Statement {
    /// True if it says what columns are, or what is in them.
    pub(super) fn defines_columns(&self) -> bool {
        matches!(self, Statement::CreateTable(_) | Statement::AlterTable { .. })
    }

    /// True if it names types of columns.
    pub(super) fn says_types(&self) -> bool {
        match self {
            Statement::CreateTable(create) => !create.columns.is_empty(),
            Statement::AlterTable { actions, .. } => {
                actions.iter().any(|a| matches!(a, AlterAction::AddColumn { .. } | AlterAction::ChangeColumn { .. }))
            }
            _ => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct CreateTable {
    pub(super) name: RawName,
    pub(super) or_replace: bool,
    pub(super) if_not_exists: bool,
    pub(super) like: Option<RawName>,
    /// AS SELECT: the columns are not all in the text.
    pub(super) select: bool,
    pub(super) columns: Vec<ColumnSpec>,
    pub(super) keys: Vec<KeySpec>,
    pub(super) constraints: Vec<ConstraintSpec>,
    pub(super) options: TableOptions,
}

/// Options of a table; `None`: not said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TableOptions {
    pub(super) charset: Option<String>,
    pub(super) collation: Option<String>,
    pub(super) engine: Option<String>,
    pub(super) comment: Option<String>,
    /// MySQL's own text of a CREATE TABLE ... SELECT; it logs none that did nothing.
    pub(super) starts_transaction: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct ColumnSpec {
    pub(super) name: String,
    /// Charset and collation are as written; the table's defaults are not filled in.
    pub(super) ty: UpstreamType,
    /// The BINARY attribute: the `_bin` collation of the charset.
    pub(super) binary: bool,
    /// REAL: a DOUBLE, or a FLOAT by `sql_mode`.
    pub(super) real: bool,
    /// TEXT(n), BLOB(n): n.
    pub(super) text_length: Option<u32>,
    pub(super) nullable: Option<bool>,
    pub(super) default: Option<DefaultSpec>,
    pub(super) on_update: Option<String>,
    pub(super) auto_increment: bool,
    pub(super) key: ColumnKey,
    pub(super) comment: String,
    pub(super) generated: Option<Generated>,
    pub(super) invisible: bool,
    pub(super) check: Option<String>,
    pub(super) compressed: bool,
    pub(super) references: Option<String>,
    /// MySQL: ` /*!80003 SRID 4326 */`.
    pub(super) srid: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ColumnKey {
    #[default]
    None,
    Primary,
    Unique,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generated {
    /// With its parentheses; `ROW START`, `ROW END` for the columns of system versioning.
    pub(super) expression: String,
    pub(super) stored: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Literal {
    Str(String),
    Number(String),
    Bytes(Vec<u8>),
    Bits(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DefaultSpec {
    Null,
    Literal(Literal),
    /// Anything computed, as SQL; `constant` if it is a literal in parentheses.
    Expression {
        sql: String,
        constant: Option<Literal>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    Primary,
    Unique,
    Plain,
    Fulltext,
    Spatial,
    Vector,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeySpec {
    pub(super) kind: KeyKind,
    pub(super) name: Option<String>,
    pub(super) parts: Vec<KeyPart>,
    /// ` USING HASH`, ` COMMENT 'x'`, as printed behind the columns.
    pub(super) options: String,
    pub(super) if_not_exists: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPart {
    /// The column; for a functional part the expression with its parentheses.
    pub(super) column: String,
    pub(super) functional: bool,
    pub(super) prefix: Option<u32>,
    pub(super) descending: bool,
    /// WITHOUT OVERLAPS: not a column but a period.
    pub(super) period: bool,
}

impl KeyPart {
    /// The whole of a column.
    pub(super) fn of(column: &str) -> KeyPart {
        KeyPart { column: column.to_owned(), functional: false, prefix: None, descending: false, period: false }
    }
}

/// A constraint that is no key: CHECK, FOREIGN KEY, PERIOD FOR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConstraintSpec {
    pub(super) name: Option<String>,
    pub(super) kind: ConstraintKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConstraintKind {
    /// With its parentheses.
    Check(String),
    Foreign {
        columns: Vec<String>,
        references: String,
    },
    /// As printed, and the two columns.
    Period {
        text: String,
        columns: Vec<String>,
    },
}

/// Where a column goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// A new column: the end; a changed one: where it is.
    #[default]
    Unsaid,
    First,
    After(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum AlterAction {
    AddColumn {
        spec: Box<ColumnSpec>,
        place: Place,
        if_not_exists: bool,
    },
    ChangeColumn {
        old: String,
        spec: Box<ColumnSpec>,
        place: Place,
        if_exists: bool,
    },
    DropColumn {
        name: String,
        if_exists: bool,
    },
    RenameColumn {
        old: String,
        new: String,
        if_exists: bool,
    },
    SetDefault {
        name: String,
        default: Option<DefaultSpec>,
    },
    SetVisibility {
        name: String,
        invisible: bool,
    },
    AddKey(KeySpec),
    AddConstraint(ConstraintSpec),
    DropPrimaryKey,
    DropKey(String),
    DropConstraint(String),
    RenameKey {
        old: String,
        new: String,
    },
    RenameTable(RawName),
    ConvertCharset {
        charset: Option<String>,
        collation: Option<String>,
    },
    Options(Box<TableOptions>),
    /// ALTER IGNORE: values that do not fit are cut, rows with a key that is there already go.
    Ignore,
    /// Changes rows in a way that only upstream knows; other tables it touches.
    Rows {
        what: String,
        also: Vec<RawName>,
    },
    /// Nothing that the replica keeps.
    Nothing,
}
