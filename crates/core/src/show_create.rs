//! Tables as the upstream's SHOW CREATE TABLE prints them, as near as the kept definition allows.
//!
//! Not kept, so not printed: AUTO_INCREMENT values, ROW_FORMAT and other storage options, partitions.

use crate::schema::{ColumnDef, TableDef};
use crate::types::text::ServerFlavor;
use crate::types::{TypeKind, UpstreamType};

/// A name in backticks.
#[must_use]
pub fn quote_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text in single quotes, escaped as SHOW CREATE TABLE escapes it.
#[must_use]
pub fn quote_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\0' => out.push_str("\\0"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("''"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// The type as SHOW COLUMNS and information_schema.COLUMN_TYPE print it: `int(10) unsigned`, `enum('a','b')`.
#[must_use]
pub fn column_type_sql(ty: &UpstreamType, flavor: ServerFlavor) -> String {
    use TypeKind as K;
    let name = kind_name(ty.kind);
    let base = match ty.kind {
        K::TinyInt | K::SmallInt | K::MediumInt | K::Int | K::BigInt => sized(name, display_width(ty, flavor)),
        K::Decimal => format!("{name}({},{})", ty.precision, ty.scale.unwrap_or(0)),
        K::Float | K::Double => match ty.scale {
            Some(scale) => format!("{name}({},{scale})", ty.precision),
            None => name.to_owned(),
        },
        K::Year if ty.length == 2 => "year(2)".to_owned(),
        K::Year if flavor != ServerFlavor::MySql || ty.length == 4 => "year(4)".to_owned(),
        K::Time | K::DateTime | K::Timestamp => sized(name, u32::from(ty.fsp)),
        K::Char | K::VarChar | K::Binary | K::VarBinary | K::Bit | K::Vector => format!("{name}({})", ty.length),
        K::Enum | K::Set => {
            let labels: Vec<String> = ty.labels.iter().map(|l| quote_text(l)).collect();
            format!("{name}({})", labels.join(","))
        }
        K::Geometry if !ty.subtype.is_empty() => ty.subtype.clone(),
        _ => name.to_owned(),
    };
    let unsigned = if ty.unsigned { " unsigned" } else { "" };
    let zerofill = if ty.zerofill { " zerofill" } else { "" };
    format!("{base}{unsigned}{zerofill}")
}

fn sized(name: &str, length: u32) -> String {
    if length == 0 { name.to_owned() } else { format!("{name}({length})") }
}

/// MariaDB always prints a width; MySQL 8 only where it was kept.
fn display_width(ty: &UpstreamType, flavor: ServerFlavor) -> u32 {
    if ty.length > 0 || flavor == ServerFlavor::MySql { ty.length } else { default_width(ty) }
}

/// The display width an integer type has if none is declared (MariaDB, MySQL before 8).
#[must_use]
pub fn default_width(ty: &UpstreamType) -> u32 {
    let signed = match ty.kind {
        TypeKind::TinyInt => 4,
        TypeKind::SmallInt => 6,
        TypeKind::MediumInt => 9,
        TypeKind::Int => 11,
        TypeKind::BigInt => return 20,
        _ => return 0,
    };
    if ty.unsigned { if ty.kind == TypeKind::MediumInt { 8 } else { signed - 1 } } else { signed }
}

fn kind_name(kind: TypeKind) -> &'static str {
    use TypeKind as K;
    match kind {
        K::TinyInt => "tinyint",
        K::SmallInt => "smallint",
        K::MediumInt => "mediumint",
        K::Int => "int",
        K::BigInt => "bigint",
        K::Decimal => "decimal",
        K::Float => "float",
        K::Double => "double",
        K::Bit => "bit",
        K::Year => "year",
        K::Date => "date",
        K::DateTime => "datetime",
        K::Timestamp => "timestamp",
        K::Time => "time",
        K::Char => "char",
        K::VarChar => "varchar",
        K::TinyText => "tinytext",
        K::Text => "text",
        K::MediumText => "mediumtext",
        K::LongText => "longtext",
        K::Binary => "binary",
        K::VarBinary => "varbinary",
        K::TinyBlob => "tinyblob",
        K::Blob => "blob",
        K::MediumBlob => "mediumblob",
        K::LongBlob => "longblob",
        K::Enum => "enum",
        K::Set => "set",
        K::Json => "json",
        K::Geometry => "geometry",
        K::Vector => "vector",
        K::Uuid => "uuid",
        K::Inet4 => "inet4",
        K::Inet6 => "inet6",
    }
}

/// The statement that SHOW CREATE TABLE prints, without a final newline.
#[must_use]
pub fn show_create_table(def: &TableDef, flavor: ServerFlavor) -> String {
    let mut lines: Vec<String> = def.columns.iter().map(|c| column_line(def, c, flavor)).collect();
    lines.extend(def.indexes.iter().filter(|i| is_period(&i.sql)).map(|i| i.sql.clone()));
    if def.key_is_primary {
        let names: Vec<String> = def.key_indexes().iter().map(|i| quote_name(&def.columns[*i].name)).collect();
        lines.push(format!("PRIMARY KEY ({})", names.join(",")));
    }
    let rank = |sql: &str| (sql.starts_with("CONSTRAINT"), sql.contains(" CHECK ("));
    let mut others: Vec<&str> = def.indexes.iter().map(|i| i.sql.as_str()).filter(|s| !is_period(s)).collect();
    others.sort_by_key(|s| rank(s));
    lines.extend(others.into_iter().map(str::to_owned));
    let comment = if def.comment.is_empty() { String::new() } else { format!(" COMMENT={}", quote_text(&def.comment)) };
    format!(
        "CREATE TABLE {} (\n  {}\n) ENGINE={} DEFAULT CHARSET={} COLLATE={}{comment}",
        quote_name(&def.name.table),
        lines.join(",\n  "),
        def.engine,
        def.charset,
        def.collation,
    )
}

fn is_period(sql: &str) -> bool {
    sql.starts_with("PERIOD FOR")
}

fn column_line(def: &TableDef, column: &ColumnDef, flavor: ServerFlavor) -> String {
    let mysql = flavor == ServerFlavor::MySql;
    let (extra, check) = split_check(&column.extra_sql);
    let (compressed, extra) = match extra.strip_prefix(COMPRESSED) {
        Some(rest) => (true, rest.trim_start()),
        None => (false, extra),
    };
    let mut out = format!("{} {}", quote_name(&column.name), column_type_sql(&column.ty, flavor));
    push_charset(&mut out, def, column);
    if compressed {
        push(&mut out, COMPRESSED);
    }
    if extra.starts_with("GENERATED") {
        push(&mut out, extra);
        if !column.nullable && mysql {
            push(&mut out, "NOT NULL");
        }
        push_invisible(&mut out, column, flavor);
    } else {
        push_null(&mut out, column);
        let extra = push_srid(&mut out, extra);
        if !mysql {
            push_invisible(&mut out, column, flavor);
        }
        push_default(&mut out, column, extra, flavor);
        push(&mut out, &spelled(extra, flavor));
        if mysql {
            push_invisible(&mut out, column, flavor);
        }
    }
    if !column.comment.is_empty() {
        push(&mut out, &format!("COMMENT {}", quote_text(&column.comment)));
    }
    push(&mut out, check);
    out
}

/// What stands first in `ColumnDef::extra_sql` of a compressed column.
pub const COMPRESSED: &str = "/*M!100301 COMPRESSED*/";

/// Splits `ColumnDef::extra_sql` into what stands before the comment and the CHECK behind it.
#[must_use]
pub fn split_check(extra_sql: &str) -> (&str, &str) {
    let mut depth = 0usize;
    let mut quote = None;
    for (at, byte) in extra_sql.bytes().enumerate() {
        match (quote, byte) {
            (Some(q), b) if b == q => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"' | b'`') => quote = Some(byte),
            (None, b'(') => depth += 1,
            (None, b')') => depth = depth.saturating_sub(1),
            (None, b'C') if depth == 0 && extra_sql[at..].starts_with("CHECK (") => {
                return (extra_sql[..at].trim_end(), &extra_sql[at..]);
            }
            _ => {}
        }
    }
    (extra_sql, "")
}

fn push(out: &mut String, part: &str) {
    if !part.is_empty() {
        out.push(' ');
        out.push_str(part);
    }
}

/// Printed where it differs from the table's.
fn push_charset(out: &mut String, def: &TableDef, column: &ColumnDef) {
    let (Some(charset), Some(collation)) = (&column.ty.charset, &column.ty.collation) else { return };
    if *collation != def.collation {
        push(out, &format!("CHARACTER SET {charset} COLLATE {collation}"));
    }
}

fn push_null(out: &mut String, column: &ColumnDef) {
    if !column.nullable {
        push(out, "NOT NULL");
    } else if column.ty.kind == TypeKind::Timestamp {
        push(out, "NULL");
    }
}

/// MySQL's spatial reference stands before the default. Returns the rest of the extra text.
fn push_srid<'a>(out: &mut String, extra: &'a str) -> &'a str {
    let Some(end) = extra.strip_prefix("/*!80003 SRID").and(extra.find("*/")) else { return extra };
    let (srid, rest) = extra.split_at(end + 2);
    push(out, srid);
    rest.trim_start()
}

fn push_invisible(out: &mut String, column: &ColumnDef, flavor: ServerFlavor) {
    if column.invisible {
        push(out, if flavor == ServerFlavor::MySql { "/*!80023 INVISIBLE */" } else { "INVISIBLE" });
    }
}

fn push_default(out: &mut String, column: &ColumnDef, extra: &str, flavor: ServerFlavor) {
    use TypeKind as K;
    if let Some(default) = &column.default_sql {
        push(out, &format!("DEFAULT {}", spelled(default, flavor)));
        return;
    }
    let large = column.ty.is_text() && !matches!(column.ty.kind, K::Char | K::VarChar)
        || matches!(column.ty.kind, K::TinyBlob | K::Blob | K::MediumBlob | K::LongBlob);
    let silent = flavor == ServerFlavor::MySql && large;
    if column.nullable && !silent && !extra.contains("AUTO_INCREMENT") {
        push(out, "DEFAULT NULL");
    }
}

/// MySQL prints CURRENT_TIMESTAMP without empty parentheses and in capitals.
fn spelled(sql: &str, flavor: ServerFlavor) -> String {
    if flavor == ServerFlavor::MariaDb {
        return sql.to_owned();
    }
    sql.replace("current_timestamp()", "CURRENT_TIMESTAMP").replace("current_timestamp(", "CURRENT_TIMESTAMP(")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_found_outside_of_quotes_and_parentheses() {
        assert_eq!(split_check("AUTO_INCREMENT CHECK (`a` > 0)"), ("AUTO_INCREMENT", "CHECK (`a` > 0)"));
        assert_eq!(split_check("CHECK (json_valid(`j`))"), ("", "CHECK (json_valid(`j`))"));
        let quoted = "GENERATED ALWAYS AS ('CHECK (' + (CHECK (1))) STORED";
        assert_eq!(split_check(quoted), (quoted, ""));
    }

    #[test]
    fn types_print_as_each_server_does() {
        let int = UpstreamType::new(TypeKind::Int);
        assert_eq!(column_type_sql(&int, ServerFlavor::MariaDb), "int(11)");
        assert_eq!(column_type_sql(&int, ServerFlavor::MySql), "int");
        assert_eq!(column_type_sql(&UpstreamType::new(TypeKind::Year), ServerFlavor::MySql), "year");
        let medium = UpstreamType::new(TypeKind::MediumInt).unsigned();
        assert_eq!(column_type_sql(&medium, ServerFlavor::MariaDb), "mediumint(8) unsigned");
        let labels = UpstreamType::new(TypeKind::Enum).with_labels(["a", "b'c", "d\\"]);
        assert_eq!(column_type_sql(&labels, ServerFlavor::MariaDb), r"enum('a','b''c','d\\')");
    }
}
