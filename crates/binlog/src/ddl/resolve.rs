//! From what a column or table definition says to what it is: charsets, lengths, nullability, keys.

use tidelake_core::schema::TableDef;
use tidelake_core::show_create::{COMPRESSED, default_width, quote_text};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{ColumnDef, ColumnId, TableId, TableName, TypeKind, UpstreamType};

use super::ast::{
    ColumnKey, ColumnSpec, ConstraintKind, ConstraintSpec, CreateTable, DefaultSpec, KeyKind, KeyPart, KeySpec,
    Literal, RawName,
};
use super::charset::{binary_collation, max_bytes, resolve};
use super::{DdlContext, MODE_REAL_AS_FLOAT, SessionDefaults};
use super::{keys, literal};

impl RawName {
    /// The whole name; `None` without any database.
    pub(super) fn resolve(&self, database: &str) -> Option<TableName> {
        let database = self.database.as_deref().unwrap_or(database);
        (!database.is_empty()).then(|| TableName::new(database, &self.table))
    }
}

impl CreateTable {
    fn primary_columns(&self) -> Vec<String> {
        let primary = self.keys.iter().filter(|k| k.kind == KeyKind::Primary);
        primary.flat_map(|k| k.parts.iter().map(|p| p.column.clone())).collect()
    }

    /// Columns of an application-time period: NOT NULL, as those of a primary key.
    fn period_columns(&self) -> impl Iterator<Item = &String> {
        self.constraints.iter().flat_map(|c| match &c.kind {
            ConstraintKind::Period { columns, .. } => columns.as_slice(),
            _ => &[],
        })
    }

    /// The keys, with the two columns of a period in place of its name.
    fn keys_of_columns(&self) -> Vec<KeySpec> {
        let mut keys = self.keys.clone();
        for key in &mut keys {
            if key.parts.iter().any(|part| part.period) {
                key.parts.retain(|part| !part.period);
                key.parts.extend(self.period_columns().map(|column| KeyPart::of(column)));
            }
        }
        keys
    }

    /// System versioning with explicit period columns: the key and the row images are other ones then.
    pub(super) fn has_period_columns(&self) -> bool {
        self.columns.iter().filter_map(|c| c.generated.as_ref()).any(|g| g.expression.starts_with("ROW"))
    }
}

/// The key that a column's own PRIMARY KEY or UNIQUE stands for.
pub(super) fn key_of_column(spec: &ColumnSpec) -> Option<KeySpec> {
    let kind = match spec.key {
        ColumnKey::None => return None,
        ColumnKey::Primary => KeyKind::Primary,
        ColumnKey::Unique => KeyKind::Unique,
    };
    let part = KeyPart::of(&spec.name);
    Some(KeySpec { kind, name: None, parts: vec![part], options: String::new(), if_not_exists: false })
}

/// The foreign key that a column's own REFERENCES stands for; MySQL reads and forgets it.
pub(super) fn foreign_key_of_column(spec: &ColumnSpec, flavor: ServerFlavor) -> Option<ConstraintSpec> {
    let references = spec.references.clone().filter(|_| flavor == ServerFlavor::MariaDb)?;
    Some(ConstraintSpec { name: None, kind: ConstraintKind::Foreign { columns: vec![spec.name.clone()], references } })
}

/// What definitions are resolved with.
pub(super) struct Resolver<'a> {
    pub(super) flavor: ServerFlavor,
    pub(super) session: &'a SessionDefaults,
    /// `sql_mode` REAL_AS_FLOAT.
    pub(super) real_is_float: bool,
    /// The text is SHOW CREATE TABLE's: what it leaves out has its old default.
    pub(super) shown: bool,
}

impl<'a> Resolver<'a> {
    /// For a statement of the stream.
    pub(super) fn of(context: &DdlContext<'a>) -> Resolver<'a> {
        let real_is_float = context.sql_mode & MODE_REAL_AS_FLOAT != 0;
        Resolver { flavor: context.flavor, session: context.session, real_is_float, shown: false }
    }
}

impl Resolver<'_> {
    /// The first version of a table.
    pub(super) fn table(&self, create: &CreateTable, name: TableName) -> Result<TableDef, String> {
        let said = (create.options.charset.as_deref(), create.options.collation.as_deref());
        let (charset, collation) = self.table_charset(said);
        let mut columns = Vec::with_capacity(create.columns.len());
        for (index, spec) in create.columns.iter().enumerate() {
            let id = i32::try_from(index + 1).map_err(|_| "too many columns".to_owned())?;
            columns.push(self.column(spec, ColumnId(id), (&charset, &collation)));
        }
        check_columns(&columns)?;
        let primary = create.primary_columns();
        for name in primary.iter().chain(create.period_columns()) {
            columns.iter_mut().filter(|c| c.name.eq_ignore_ascii_case(name)).for_each(|c| c.nullable = false);
        }
        let (key, key_is_primary) = keys::identity(&columns, &create.keys_of_columns())?;
        let mut indexes = keys::indexes(&columns, &create.keys);
        keys::add_foreign_indexes(&mut indexes, &primary, &create.constraints);
        for constraint in &create.constraints {
            keys::add_constraint(&mut indexes, constraint, &name, self.flavor);
        }
        let next_column = ColumnId(columns.len() as i32 + 1);
        Ok(TableDef {
            id: TableId(0),
            name,
            version: 1,
            columns,
            key,
            key_is_primary,
            indexes,
            charset,
            collation,
            charset_assumed: !self.shown && said == (None, None) && self.session.collation_assumed,
            engine: create.options.engine.clone().unwrap_or_else(|| "InnoDB".into()),
            comment: create.options.comment.clone().unwrap_or_default(),
            next_column,
        })
    }

    fn table_charset(&self, said: (Option<&str>, Option<&str>)) -> (String, String) {
        let standard = match self.flavor {
            ServerFlavor::MariaDb => "utf8mb4_general_ci",
            ServerFlavor::MySql => "utf8mb4_0900_ai_ci",
            ServerFlavor::TiDb => "utf8mb4_bin",
        };
        let collation = super::charset::usual_name(self.session.collation.as_deref().unwrap_or(standard));
        // SHOW CREATE TABLE leaves out a charset's compiled-in default collation, and MySQL 8 never does so for utf8mb4.
        if self.shown && self.flavor == ServerFlavor::MySql && said == (Some("utf8mb4"), None) {
            return ("utf8mb4".into(), "utf8mb4_general_ci".into());
        }
        let charset = super::charset::charset_of(&collation).to_owned();
        resolve(said, (&charset, &collation), self.flavor, self.session)
    }

    /// One column; `table` is the table's charset and collation.
    pub(super) fn column(&self, spec: &ColumnSpec, id: ColumnId, table: (&str, &str)) -> ColumnDef {
        let ty = self.column_type(spec, table);
        let timestamp = ty.kind == TypeKind::Timestamp && self.session.implicit_timestamps;
        let key = spec.key == ColumnKey::Primary;
        let generated = spec.generated.as_ref();
        ColumnDef {
            id,
            name: spec.name.clone(),
            nullable: spec.nullable.unwrap_or(!timestamp) && !key && !spec.auto_increment,
            initial: None,
            default_sql: spec.default.as_ref().and_then(|d| self.default_sql(&ty, d)),
            extra_sql: extra_sql(spec),
            invisible: spec.invisible,
            virtual_generated: generated.is_some_and(|g| !g.stored),
            comment: spec.comment.clone(),
            ty,
        }
    }

    fn column_type(&self, spec: &ColumnSpec, table: (&str, &str)) -> UpstreamType {
        use TypeKind as K;
        let mut ty = spec.ty.clone();
        if spec.real && self.real_is_float {
            ty.kind = K::Float;
        }
        if ty.kind == K::VarBinary && u64::from(ty.length) > LONGEST_VARCHAR {
            ty = UpstreamType::new(sized_blob(u64::from(ty.length)));
        }
        if ty.is_integer() && ty.length == 0 && self.flavor != ServerFlavor::MySql {
            ty.length = default_width(&ty);
        }
        if !ty.is_text() && !matches!(ty.kind, K::Enum | K::Set) {
            ty.charset = None;
            ty.collation = None;
            if let Some(length) = spec.text_length {
                ty.kind = sized_blob(u64::from(length));
            }
            return ty;
        }
        let said = (ty.charset.as_deref(), ty.collation.as_deref());
        let (charset, mut collation) = resolve(said, table, self.flavor, self.session);
        if spec.binary && ty.collation.is_none() {
            collation = binary_collation(&charset);
        }
        if let Some(length) = spec.text_length {
            ty.kind = sized_text(u64::from(length) * u64::from(max_bytes(&charset)));
        }
        let bytes = u64::from(ty.length) * u64::from(max_bytes(&charset));
        if ty.kind == K::VarChar && bytes > LONGEST_VARCHAR {
            ty = UpstreamType::new(sized_text(bytes));
        }
        if charset == "binary" && ty.is_text() {
            ty.kind = binary_kind(ty.kind);
            ty.charset = None;
            ty.collation = None;
            return ty;
        }
        if charset == "binary" {
            let literals = self.session.literals.as_deref().unwrap_or_default();
            ty.labels.iter_mut().for_each(|label| *label = bytes_of_label(label, literals));
        } else {
            // Labels that are bytes keep their spaces.
            ty.labels.iter_mut().for_each(|label| label.truncate(label.trim_end_matches(' ').len()));
        }
        ty.charset = Some(charset);
        ty.collation = Some(collation);
        ty
    }

    /// A DEFAULT clause as SHOW CREATE TABLE prints it; `None` for DEFAULT NULL.
    pub(super) fn default_sql(&self, ty: &UpstreamType, default: &DefaultSpec) -> Option<String> {
        match default {
            DefaultSpec::Null => None,
            DefaultSpec::Literal(value) => Some(self.literal_sql(ty, value)),
            DefaultSpec::Expression { constant: Some(value), .. } if self.flavor == ServerFlavor::MariaDb => {
                Some(self.literal_sql(ty, value))
            }
            DefaultSpec::Expression { sql, .. } if self.flavor == ServerFlavor::MariaDb => {
                Some(bare_call(sql).to_owned())
            }
            DefaultSpec::Expression { sql, .. } => Some(sql.clone()),
        }
    }

    fn literal_sql(&self, ty: &UpstreamType, value: &Literal) -> String {
        let printed = literal::printed(ty, value).unwrap_or_else(|| raw_literal(value));
        let bare = !printed.starts_with('\'') && !printed.starts_with("b'") && !printed.starts_with("x'");
        if bare && self.flavor != ServerFlavor::MariaDb { quote_text(&printed) } else { printed }
    }
}

/// Bytes. Without strict mode a longer VARCHAR becomes a TEXT, VARBINARY a BLOB.
const LONGEST_VARCHAR: u64 = 65_535;

fn raw_literal(value: &Literal) -> String {
    match value {
        Literal::Str(text) => quote_text(text),
        Literal::Number(text) => text.clone(),
        Literal::Bytes(bytes) => {
            let digits: String = bytes.iter().map(|b| format!("{b:02X}")).collect();
            format!("x'{digits}'")
        }
        Literal::Bits(digits) => format!("b'{digits}'"),
    }
}

/// A label of ENUM or SET CHARACTER SET binary: the bytes that its text has in the session's charset. Only those of ASCII
/// are text themselves.
fn bytes_of_label(label: &str, literals: &str) -> String {
    let (before, after) = match literals {
        "ucs2" | "utf16" => (1, 0),
        "utf16le" => (0, 1),
        "utf32" => (3, 0),
        _ => return label.to_owned(),
    };
    label.chars().map(|c| format!("{}{c}{}", "\0".repeat(before), "\0".repeat(after))).collect()
}

/// `(uuid())` -> `uuid()`: MariaDB prints calls without parentheses around them.
fn bare_call(sql: &str) -> &str {
    let Some(inner) = sql.strip_prefix('(').and_then(|s| s.strip_suffix(')')) else { return sql };
    let Some((name, arguments)) = inner.split_once('(') else { return sql };
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let closed = arguments.strip_suffix(')').is_some_and(|a| !a.contains(['(', ')', '\'', '"', '`']));
    if is_name && closed { inner } else { sql }
}

fn check_columns(columns: &[ColumnDef]) -> Result<(), String> {
    if columns.is_empty() {
        return Err("a table without columns".into());
    }
    let mut seen = std::collections::HashSet::new();
    match columns.iter().find(|c| !seen.insert(c.name.to_lowercase())) {
        Some(twice) => Err(format!("column {} twice", twice.name)),
        None => Ok(()),
    }
}

/// What stands behind the column, in the order SHOW CREATE TABLE prints it.
fn extra_sql(spec: &ColumnSpec) -> String {
    let mut parts = Vec::new();
    if spec.compressed {
        parts.push(COMPRESSED.to_owned());
    }
    if let Some(generated) = &spec.generated {
        let row = generated.expression.starts_with("ROW");
        let kind = if generated.stored { "STORED" } else { "VIRTUAL" };
        let kind = if row { String::new() } else { format!(" {kind}") };
        parts.push(format!("GENERATED ALWAYS AS {}{kind}", generated.expression));
    }
    if let Some(srid) = spec.srid {
        parts.push(format!("/*!80003 SRID {srid} */"));
    }
    if let Some(on_update) = &spec.on_update {
        parts.push(format!("ON UPDATE {on_update}"));
    }
    if spec.auto_increment {
        parts.push("AUTO_INCREMENT".into());
    }
    if let Some(check) = &spec.check {
        parts.push(format!("CHECK {check}"));
    }
    parts.join(" ")
}

fn sized_blob(bytes: u64) -> TypeKind {
    match bytes {
        0..=255 => TypeKind::TinyBlob,
        256..=65_535 => TypeKind::Blob,
        65_536..=16_777_215 => TypeKind::MediumBlob,
        _ => TypeKind::LongBlob,
    }
}

fn sized_text(bytes: u64) -> TypeKind {
    match sized_blob(bytes) {
        TypeKind::TinyBlob => TypeKind::TinyText,
        TypeKind::Blob => TypeKind::Text,
        TypeKind::MediumBlob => TypeKind::MediumText,
        _ => TypeKind::LongText,
    }
}

/// The type that text in the charset `binary` really has.
fn binary_kind(kind: TypeKind) -> TypeKind {
    match kind {
        TypeKind::Char => TypeKind::Binary,
        TypeKind::VarChar => TypeKind::VarBinary,
        TypeKind::TinyText => TypeKind::TinyBlob,
        TypeKind::Text => TypeKind::Blob,
        TypeKind::MediumText => TypeKind::MediumBlob,
        TypeKind::LongText => TypeKind::LongBlob,
        other => other,
    }
}
