//! The rows of each table of information_schema.

use std::sync::Arc;

use tidelake_core::ports::StoreEngine;
use tidelake_core::show_create::column_type_sql;
use tidelake_core::{Catalog, ColumnDef, TableDef, TableEntry, TableState, TypeKind};

use super::{Cell, Rows, Source};

pub(super) const NAMES: &[&str] = &[
    "CHARACTER_SETS",
    "COLLATIONS",
    "COLLATION_CHARACTER_SET_APPLICABILITY",
    "COLUMNS",
    "COLUMN_PRIVILEGES",
    "ENGINES",
    "EVENTS",
    "GLOBAL_STATUS",
    "GLOBAL_VARIABLES",
    "KEYWORDS",
    "KEY_COLUMN_USAGE",
    "PARAMETERS",
    "PARTITIONS",
    "PLUGINS",
    "PROCESSLIST",
    "REFERENTIAL_CONSTRAINTS",
    "ROUTINES",
    "SCHEMATA",
    "SCHEMA_PRIVILEGES",
    "SESSION_STATUS",
    "SESSION_VARIABLES",
    "STATISTICS",
    "TABLES",
    "TABLE_CONSTRAINTS",
    "TABLE_PRIVILEGES",
    "TIDELAKE_TABLES",
    "TRIGGERS",
    "USER_PRIVILEGES",
    "VIEWS",
];

/// Charset, description, default collation, bytes of a character.
const CHARSETS: &[(&str, &str, &str, i64)] = &[
    ("utf8mb4", "UTF-8 Unicode", "utf8mb4_general_ci", 4),
    ("utf8mb3", "UTF-8 Unicode", "utf8mb3_general_ci", 3),
    ("latin1", "cp1252 West European", "latin1_swedish_ci", 1),
    ("ascii", "US ASCII", "ascii_general_ci", 1),
    ("binary", "Binary pseudo charset", "binary", 1),
];

/// Collation, charset, id, "is default".
const COLLATIONS: &[(&str, &str, i64, &str)] = &[
    ("utf8mb4_general_ci", "utf8mb4", 45, "Yes"),
    ("utf8mb4_bin", "utf8mb4", 46, ""),
    ("utf8mb4_unicode_ci", "utf8mb4", 224, ""),
    ("utf8mb4_0900_ai_ci", "utf8mb4", 255, ""),
    ("utf8mb3_general_ci", "utf8mb3", 33, "Yes"),
    ("utf8mb3_bin", "utf8mb3", 83, ""),
    ("latin1_swedish_ci", "latin1", 8, "Yes"),
    ("latin1_bin", "latin1", 47, ""),
    ("ascii_general_ci", "ascii", 11, "Yes"),
    ("ascii_bin", "ascii", 65, ""),
    ("binary", "binary", 63, "Yes"),
];

fn s(text: impl Into<String>) -> Cell {
    Cell::S(text.into())
}

fn visible(catalog: &Catalog) -> impl Iterator<Item = &TableEntry> {
    let mut all: Vec<&TableEntry> =
        catalog.tables.values().filter(|e| !matches!(e.state, TableState::Copying { .. })).collect();
    all.sort_by(|a, b| a.def.name.cmp(&b.def.name));
    all.into_iter()
}

/// The rows of a table by its upper case name.
pub(super) fn rows(name: &str, source: &Source, engine: &Arc<dyn StoreEngine>, catalog: &Catalog) -> Option<Rows> {
    let made = |columns: &[&str], rows| Rows { columns: columns.iter().map(|c| (*c).to_owned()).collect(), rows };
    Some(match name {
        "SCHEMATA" => made(SCHEMATA, schemata(catalog)),
        "TABLES" => made(TABLES, tables(engine, catalog)),
        "COLUMNS" => made(COLUMNS, visible(catalog).flat_map(|e| columns(&e.def, source)).collect()),
        "STATISTICS" => made(STATISTICS, visible(catalog).flat_map(|e| statistics(&e.def)).collect()),
        "KEY_COLUMN_USAGE" => made(KEY_COLUMN_USAGE, visible(catalog).flat_map(|e| key_columns(&e.def)).collect()),
        "TABLE_CONSTRAINTS" => made(TABLE_CONSTRAINTS, visible(catalog).flat_map(|e| constraints(&e.def)).collect()),
        "TIDELAKE_TABLES" => made(TIDELAKE_TABLES, replica_tables(engine, catalog)),
        "CHARACTER_SETS" => made(CHARACTER_SETS, charsets()),
        "COLLATIONS" => made(COLLATION_COLUMNS, collations()),
        "COLLATION_CHARACTER_SET_APPLICABILITY" => made(
            &["COLLATION_NAME", "CHARACTER_SET_NAME"],
            COLLATIONS.iter().map(|(n, c, ..)| vec![s(*n), s(*c)]).collect(),
        ),
        "ENGINES" => made(ENGINES, engines()),
        "PROCESSLIST" => made(PROCESSLIST, processlist(source)),
        "SESSION_VARIABLES" | "GLOBAL_VARIABLES" => made(
            &["VARIABLE_NAME", "VARIABLE_VALUE"],
            source.variables.iter().map(|(n, v)| vec![s(n.clone()), s(v.clone())]).collect(),
        ),
        "SESSION_STATUS" | "GLOBAL_STATUS" => made(&["VARIABLE_NAME", "VARIABLE_VALUE"], status()),
        "PLUGINS" => made(PLUGINS, vec![]),
        "REFERENTIAL_CONSTRAINTS" => made(REFERENTIAL_CONSTRAINTS, vec![]),
        "VIEWS" => made(VIEWS, vec![]),
        "ROUTINES" => made(ROUTINES, vec![]),
        "PARAMETERS" => made(PARAMETERS, vec![]),
        "TRIGGERS" => made(TRIGGERS, vec![]),
        "EVENTS" => made(EVENTS, vec![]),
        "PARTITIONS" => made(PARTITIONS, partitions(catalog)),
        "USER_PRIVILEGES" | "SCHEMA_PRIVILEGES" | "TABLE_PRIVILEGES" => {
            made(&["GRANTEE", "TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "PRIVILEGE_TYPE", "IS_GRANTABLE"], vec![])
        }
        "COLUMN_PRIVILEGES" => made(
            &[
                "GRANTEE",
                "TABLE_CATALOG",
                "TABLE_SCHEMA",
                "TABLE_NAME",
                "COLUMN_NAME",
                "PRIVILEGE_TYPE",
                "IS_GRANTABLE",
            ],
            vec![],
        ),
        "KEYWORDS" => made(&["WORD", "#RESERVED"], vec![]),
        _ => return None,
    })
}

const SCHEMATA: &[&str] = &[
    "CATALOG_NAME",
    "SCHEMA_NAME",
    "DEFAULT_CHARACTER_SET_NAME",
    "DEFAULT_COLLATION_NAME",
    "SQL_PATH",
    "SCHEMA_COMMENT",
];

fn schemata(catalog: &Catalog) -> Vec<Vec<Cell>> {
    let names = std::iter::once("information_schema").chain(catalog.databases.iter().map(String::as_str));
    names.map(|n| vec![s("def"), s(n), s("utf8mb4"), s("utf8mb4_general_ci"), Cell::Null, s("")]).collect()
}

const TABLES: &[&str] = &[
    "TABLE_CATALOG",
    "TABLE_SCHEMA",
    "TABLE_NAME",
    "TABLE_TYPE",
    "ENGINE",
    "#VERSION",
    "ROW_FORMAT",
    "#TABLE_ROWS",
    "#AVG_ROW_LENGTH",
    "#DATA_LENGTH",
    "#MAX_DATA_LENGTH",
    "#INDEX_LENGTH",
    "#DATA_FREE",
    "#AUTO_INCREMENT",
    "CREATE_TIME",
    "UPDATE_TIME",
    "CHECK_TIME",
    "TABLE_COLLATION",
    "#CHECKSUM",
    "CREATE_OPTIONS",
    "TABLE_COMMENT",
];

fn tables(engine: &Arc<dyn StoreEngine>, catalog: &Catalog) -> Vec<Vec<Cell>> {
    let system = NAMES.iter().map(|n| {
        let mut row = vec![s("def"), s("information_schema"), s(*n), s("SYSTEM VIEW"), s("MEMORY")];
        row.resize(TABLES.len() - 1, Cell::Null);
        row.push(s(""));
        row
    });
    let stored = visible(catalog).map(|e| {
        let (d, stats) = (&e.def, engine.table_stats(e.def.id).unwrap_or_default());
        let bytes = (stats.file_bytes + stats.memory_bytes) as i64;
        let rows = stats.live_rows as i64;
        let average = if rows > 0 { bytes / rows } else { 0 };
        vec![
            s("def"),
            s(&d.name.database),
            s(&d.name.table),
            s("BASE TABLE"),
            s(&d.engine),
            Cell::N(10),
            s("Dynamic"),
            Cell::N(rows),
            Cell::N(average),
            Cell::N(bytes),
            Cell::N(0),
            Cell::N(0),
            Cell::N(0),
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Null,
            s(&d.collation),
            Cell::Null,
            s(""),
            s(&d.comment),
        ]
    });
    stored.chain(system).collect()
}

const COLUMNS: &[&str] = &[
    "TABLE_CATALOG",
    "TABLE_SCHEMA",
    "TABLE_NAME",
    "COLUMN_NAME",
    "#ORDINAL_POSITION",
    "COLUMN_DEFAULT",
    "IS_NULLABLE",
    "DATA_TYPE",
    "#CHARACTER_MAXIMUM_LENGTH",
    "#CHARACTER_OCTET_LENGTH",
    "#NUMERIC_PRECISION",
    "#NUMERIC_SCALE",
    "#DATETIME_PRECISION",
    "CHARACTER_SET_NAME",
    "COLLATION_NAME",
    "COLUMN_TYPE",
    "COLUMN_KEY",
    "EXTRA",
    "PRIVILEGES",
    "COLUMN_COMMENT",
    "IS_GENERATED",
    "GENERATION_EXPRESSION",
];

fn columns(def: &TableDef, source: &Source) -> Vec<Vec<Cell>> {
    let one = |(i, c): (usize, &ColumnDef)| {
        let column_type = column_type_sql(&c.ty, source.flavor);
        let name_only = column_type.split(['(', ' ']).next().unwrap_or("").to_owned();
        let (characters, octets) = lengths(c);
        let (precision, scale) = numeric(c);
        let temporal = matches!(c.ty.kind, TypeKind::DateTime | TypeKind::Timestamp | TypeKind::Time);
        let optional = |v: &Option<String>| v.clone().map_or(Cell::Null, Cell::S);
        let default = match (&c.default_sql, c.nullable) {
            (Some(d), _) => s(d),
            (None, true) => s("NULL"),
            (None, false) => Cell::Null,
        };
        let generated = c.extra_sql.to_ascii_uppercase().contains("GENERATED") || c.extra_sql.contains(" AS (");
        vec![
            s("def"),
            s(&def.name.database),
            s(&def.name.table),
            s(&c.name),
            Cell::N(i as i64 + 1),
            default,
            s(if c.nullable { "YES" } else { "NO" }),
            s(name_only),
            characters,
            octets,
            precision,
            scale,
            if temporal { Cell::N(i64::from(c.ty.fsp)) } else { Cell::Null },
            optional(&c.ty.charset),
            optional(&c.ty.collation),
            s(column_type),
            s(column_key(def, c)),
            s(extra(c)),
            s("select"),
            s(&c.comment),
            s(if generated { "ALWAYS" } else { "NEVER" }),
            Cell::Null,
        ]
    };
    def.columns.iter().enumerate().map(one).collect()
}

fn lengths(c: &ColumnDef) -> (Cell, Cell) {
    let unbounded = |n: i64| (Cell::N(n), Cell::N(n));
    match c.ty.kind {
        TypeKind::Char | TypeKind::VarChar => {
            let bytes = match c.ty.charset.as_deref() {
                Some("utf8mb4") => 4,
                Some("utf8" | "utf8mb3") => 3,
                _ => 1,
            };
            (Cell::N(i64::from(c.ty.length)), Cell::N(i64::from(c.ty.length) * bytes))
        }
        TypeKind::Binary | TypeKind::VarBinary => unbounded(i64::from(c.ty.length)),
        TypeKind::TinyText | TypeKind::TinyBlob => unbounded(255),
        TypeKind::Text | TypeKind::Blob => unbounded(65_535),
        TypeKind::MediumText | TypeKind::MediumBlob => unbounded(16_777_215),
        TypeKind::LongText | TypeKind::LongBlob | TypeKind::Json => unbounded(4_294_967_295),
        TypeKind::Set => {
            let all: usize = c.ty.labels.iter().map(|l| l.chars().count() + 1).sum();
            let longest = all.saturating_sub(1) as i64;
            (Cell::N(longest), Cell::N(longest * 4))
        }
        TypeKind::Enum => {
            let longest = c.ty.labels.iter().map(|l| l.chars().count()).max().unwrap_or(0) as i64;
            (Cell::N(longest), Cell::N(longest * 4))
        }
        _ => (Cell::Null, Cell::Null),
    }
}

fn numeric(c: &ColumnDef) -> (Cell, Cell) {
    let digits = match c.ty.kind {
        TypeKind::TinyInt => 3,
        TypeKind::SmallInt => 5,
        TypeKind::MediumInt if c.ty.unsigned => 8,
        TypeKind::MediumInt => 7,
        TypeKind::Int => 10,
        TypeKind::BigInt if c.ty.unsigned => 20,
        TypeKind::BigInt => 19,
        TypeKind::Bit => return (Cell::N(i64::from(c.ty.length)), Cell::Null),
        TypeKind::Decimal => {
            return (Cell::N(i64::from(c.ty.precision)), Cell::N(i64::from(c.ty.scale.unwrap_or(0))));
        }
        TypeKind::Float => return (Cell::N(12), c.ty.scale.map_or(Cell::Null, |s| Cell::N(i64::from(s)))),
        TypeKind::Double => return (Cell::N(22), c.ty.scale.map_or(Cell::Null, |s| Cell::N(i64::from(s)))),
        _ => return (Cell::Null, Cell::Null),
    };
    (Cell::N(digits), Cell::N(0))
}

/// PRI, UNI, MUL or nothing, as SHOW COLUMNS marks it.
pub(super) fn column_key(def: &TableDef, c: &ColumnDef) -> &'static str {
    if def.key_is_primary && def.key.contains(&c.id) {
        return "PRI";
    }
    let first =
        |i: &&tidelake_core::schema::IndexDef| i.columns.first().is_some_and(|n| n.eq_ignore_ascii_case(&c.name));
    match def.indexes.iter().find(first) {
        Some(i) if i.unique && i.columns.len() == 1 => "UNI",
        Some(_) => "MUL",
        None => "",
    }
}

fn extra(c: &ColumnDef) -> String {
    let upper = c.extra_sql.to_ascii_uppercase();
    let mut parts = Vec::new();
    if upper.contains("AUTO_INCREMENT") {
        parts.push("auto_increment".to_owned());
    }
    if let Some(at) = upper.find("ON UPDATE") {
        parts.push(c.extra_sql[at..].to_lowercase());
    }
    if upper.contains("GENERATED") || upper.contains(" AS (") {
        parts.push(if c.virtual_generated { "VIRTUAL GENERATED" } else { "STORED GENERATED" }.to_owned());
    }
    if c.invisible {
        parts.push("INVISIBLE".to_owned());
    }
    parts.join(", ")
}

const STATISTICS: &[&str] = &[
    "TABLE_CATALOG",
    "TABLE_SCHEMA",
    "TABLE_NAME",
    "#NON_UNIQUE",
    "INDEX_SCHEMA",
    "INDEX_NAME",
    "#SEQ_IN_INDEX",
    "COLUMN_NAME",
    "COLLATION",
    "#CARDINALITY",
    "#SUB_PART",
    "PACKED",
    "NULLABLE",
    "INDEX_TYPE",
    "COMMENT",
    "INDEX_COMMENT",
    "IGNORED",
];

fn statistics(def: &TableDef) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (name, unique, names) in indexes(def) {
        for (i, column) in names.iter().enumerate() {
            let nullable = def.index_of_name(column).is_some_and(|i| def.columns[i].nullable);
            rows.push(vec![
                s("def"),
                s(&def.name.database),
                s(&def.name.table),
                Cell::N(i64::from(!unique)),
                s(&def.name.database),
                s(&name),
                Cell::N(i as i64 + 1),
                s(column),
                s("A"),
                Cell::Null,
                Cell::Null,
                Cell::Null,
                s(if nullable { "YES" } else { "" }),
                s("BTREE"),
                s(""),
                s(""),
                s("NO"),
            ]);
        }
    }
    rows
}

/// Name, uniqueness and columns of each index, the primary key first.
fn indexes(def: &TableDef) -> Vec<(String, bool, Vec<String>)> {
    let mut all = Vec::new();
    if def.key_is_primary {
        let names = def.key_indexes().into_iter().map(|i| def.columns[i].name.clone()).collect();
        all.push(("PRIMARY".to_owned(), true, names));
    }
    all.extend(def.indexes.iter().map(|i| (i.name.clone(), i.unique, i.columns.clone())));
    all
}

const KEY_COLUMN_USAGE: &[&str] = &[
    "CONSTRAINT_CATALOG",
    "CONSTRAINT_SCHEMA",
    "CONSTRAINT_NAME",
    "TABLE_CATALOG",
    "TABLE_SCHEMA",
    "TABLE_NAME",
    "COLUMN_NAME",
    "#ORDINAL_POSITION",
    "#POSITION_IN_UNIQUE_CONSTRAINT",
    "REFERENCED_TABLE_SCHEMA",
    "REFERENCED_TABLE_NAME",
    "REFERENCED_COLUMN_NAME",
];

fn key_columns(def: &TableDef) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (name, _, names) in indexes(def).into_iter().filter(|i| i.1) {
        for (i, column) in names.iter().enumerate() {
            rows.push(vec![
                s("def"),
                s(&def.name.database),
                s(&name),
                s("def"),
                s(&def.name.database),
                s(&def.name.table),
                s(column),
                Cell::N(i as i64 + 1),
                Cell::Null,
                Cell::Null,
                Cell::Null,
                Cell::Null,
            ]);
        }
    }
    rows
}

const TABLE_CONSTRAINTS: &[&str] =
    &["CONSTRAINT_CATALOG", "CONSTRAINT_SCHEMA", "CONSTRAINT_NAME", "TABLE_SCHEMA", "TABLE_NAME", "CONSTRAINT_TYPE"];

fn constraints(def: &TableDef) -> Vec<Vec<Cell>> {
    let unique = indexes(def).into_iter().filter(|i| i.1);
    unique
        .map(|(name, ..)| {
            let kind = if name == "PRIMARY" { "PRIMARY KEY" } else { "UNIQUE" };
            vec![s("def"), s(&def.name.database), s(name), s(&def.name.database), s(&def.name.table), s(kind)]
        })
        .collect()
}

const TIDELAKE_TABLES: &[&str] = &["TABLE_SCHEMA", "TABLE_NAME", "STATE", "#TABLE_ROWS", "REASON", "#SCHEMA_VERSION"];

fn replica_tables(engine: &Arc<dyn StoreEngine>, catalog: &Catalog) -> Vec<Vec<Cell>> {
    let one = |e: &TableEntry| {
        let rows = engine.table_stats(e.def.id).map_or(Cell::Null, |s| Cell::N(s.live_rows as i64));
        let (state, reason) = match &e.state {
            TableState::Live => ("live", Cell::Null),
            TableState::Copying { .. } => ("copying", Cell::Null),
            TableState::Stopped { reason, .. } => ("stopped", s(reason)),
        };
        let (name, version) = (&e.def.name, i64::from(e.def.version));
        vec![s(&name.database), s(&name.table), s(state), rows, reason, Cell::N(version)]
    };
    catalog.tables.values().map(one).collect()
}

const CHARACTER_SETS: &[&str] = &["CHARACTER_SET_NAME", "DEFAULT_COLLATE_NAME", "DESCRIPTION", "#MAXLEN"];

fn charsets() -> Vec<Vec<Cell>> {
    CHARSETS.iter().map(|(n, d, c, len)| vec![s(*n), s(*c), s(*d), Cell::N(*len)]).collect()
}

const COLLATION_COLUMNS: &[&str] =
    &["COLLATION_NAME", "CHARACTER_SET_NAME", "#ID", "IS_DEFAULT", "IS_COMPILED", "#SORTLEN"];

fn collations() -> Vec<Vec<Cell>> {
    COLLATIONS.iter().map(|(n, c, id, d)| vec![s(*n), s(*c), Cell::N(*id), s(*d), s("Yes"), Cell::N(1)]).collect()
}

const ENGINES: &[&str] = &["ENGINE", "SUPPORT", "COMMENT", "TRANSACTIONS", "XA", "SAVEPOINTS"];

fn engines() -> Vec<Vec<Cell>> {
    let comment = "Columnar replica of the upstream's tables";
    vec![vec![s("InnoDB"), s("DEFAULT"), s(comment), s("YES"), s("NO"), s("NO")]]
}

const PROCESSLIST: &[&str] = &["#ID", "USER", "HOST", "DB", "COMMAND", "#TIME", "STATE", "INFO"];

fn processlist(source: &Source) -> Vec<Vec<Cell>> {
    let (user, host) = source.user.split_once('@').unwrap_or((&source.user, ""));
    let database = source.database.clone().map_or(Cell::Null, Cell::S);
    let id = Cell::N(i64::from(source.connection_id));
    vec![vec![id, s(user), s(host), database, s("Query"), Cell::N(0), s(""), Cell::Null]]
}

fn status() -> Vec<Vec<Cell>> {
    let all = [("Threads_connected", "1"), ("Threads_running", "1"), ("Ssl_cipher", ""), ("Uptime", "1")];
    all.iter().map(|(n, v)| vec![s(*n), s(*v)]).collect()
}

const PLUGINS: &[&str] = &["PLUGIN_NAME", "PLUGIN_VERSION", "PLUGIN_STATUS", "PLUGIN_TYPE"];

const REFERENTIAL_CONSTRAINTS: &[&str] = &[
    "CONSTRAINT_CATALOG",
    "CONSTRAINT_SCHEMA",
    "CONSTRAINT_NAME",
    "UNIQUE_CONSTRAINT_CATALOG",
    "UNIQUE_CONSTRAINT_SCHEMA",
    "UNIQUE_CONSTRAINT_NAME",
    "MATCH_OPTION",
    "UPDATE_RULE",
    "DELETE_RULE",
    "TABLE_NAME",
    "REFERENCED_TABLE_NAME",
];

const VIEWS: &[&str] = &[
    "TABLE_CATALOG",
    "TABLE_SCHEMA",
    "TABLE_NAME",
    "VIEW_DEFINITION",
    "CHECK_OPTION",
    "IS_UPDATABLE",
    "DEFINER",
    "SECURITY_TYPE",
    "CHARACTER_SET_CLIENT",
    "COLLATION_CONNECTION",
    "ALGORITHM",
];

const ROUTINES: &[&str] = &[
    "SPECIFIC_NAME",
    "ROUTINE_CATALOG",
    "ROUTINE_SCHEMA",
    "ROUTINE_NAME",
    "ROUTINE_TYPE",
    "DATA_TYPE",
    "DTD_IDENTIFIER",
    "ROUTINE_BODY",
    "ROUTINE_DEFINITION",
    "IS_DETERMINISTIC",
    "SQL_DATA_ACCESS",
    "SECURITY_TYPE",
    "CREATED",
    "LAST_ALTERED",
    "SQL_MODE",
    "ROUTINE_COMMENT",
    "DEFINER",
];

const PARAMETERS: &[&str] = &[
    "SPECIFIC_CATALOG",
    "SPECIFIC_SCHEMA",
    "SPECIFIC_NAME",
    "#ORDINAL_POSITION",
    "PARAMETER_MODE",
    "PARAMETER_NAME",
    "DATA_TYPE",
    "#CHARACTER_MAXIMUM_LENGTH",
    "#CHARACTER_OCTET_LENGTH",
    "#NUMERIC_PRECISION",
    "#NUMERIC_SCALE",
    "#DATETIME_PRECISION",
    "CHARACTER_SET_NAME",
    "COLLATION_NAME",
    "DTD_IDENTIFIER",
    "ROUTINE_TYPE",
];

const TRIGGERS: &[&str] = &[
    "TRIGGER_CATALOG",
    "TRIGGER_SCHEMA",
    "TRIGGER_NAME",
    "EVENT_MANIPULATION",
    "EVENT_OBJECT_SCHEMA",
    "EVENT_OBJECT_TABLE",
    "ACTION_ORDER",
    "ACTION_STATEMENT",
    "ACTION_TIMING",
    "CREATED",
    "SQL_MODE",
    "DEFINER",
];

const EVENTS: &[&str] = &[
    "EVENT_CATALOG",
    "EVENT_SCHEMA",
    "EVENT_NAME",
    "DEFINER",
    "TIME_ZONE",
    "EVENT_BODY",
    "EVENT_DEFINITION",
    "EVENT_TYPE",
    "EXECUTE_AT",
    "INTERVAL_VALUE",
    "INTERVAL_FIELD",
    "STARTS",
    "ENDS",
    "STATUS",
    "EVENT_COMMENT",
];

const PARTITIONS: &[&str] = &[
    "TABLE_CATALOG",
    "TABLE_SCHEMA",
    "TABLE_NAME",
    "PARTITION_NAME",
    "#PARTITION_ORDINAL_POSITION",
    "PARTITION_METHOD",
    "PARTITION_EXPRESSION",
    "PARTITION_DESCRIPTION",
    "#TABLE_ROWS",
];

fn partitions(catalog: &Catalog) -> Vec<Vec<Cell>> {
    let one = |e: &TableEntry| {
        // A partitioned table of the upstream is one table here.
        let mut row = vec![s("def"), s(&e.def.name.database), s(&e.def.name.table)];
        row.resize(PARTITIONS.len(), Cell::Null);
        row
    };
    visible(catalog).map(one).collect()
}
