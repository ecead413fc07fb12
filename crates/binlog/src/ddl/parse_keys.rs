//! Keys and constraints, and how they are printed.

use tidelake_core::show_create::{quote_name, quote_text};

use super::ast::{ConstraintKind, ConstraintSpec, KeyKind, KeyPart, KeySpec, RawName};
use super::charset::usual_name;
use super::cursor::{Cursor, Parsed};
use super::token::TokenKind;

/// One key or constraint.
pub(super) enum KeyOrConstraint {
    Key(KeySpec),
    Constraint(ConstraintSpec),
}

/// True where a key or constraint begins, not a column.
pub(super) fn begins_key(c: &Cursor<'_>) -> bool {
    let second = |words: &[&str]| words.iter().any(|w| c.is_at(1, w));
    c.is_any(&["constraint", "primary", "unique", "key", "index", "fulltext", "spatial", "foreign", "check"])
        || (c.is("vector") && second(&["key", "index"]))
        || (c.is("period") && second(&["for"]))
}

/// Reads what [`begins_key`] saw.
pub(super) fn key_or_constraint(c: &mut Cursor<'_>) -> Parsed<KeyOrConstraint> {
    let mut name = None;
    if c.eat("constraint") {
        c.eat_all(&["if", "not", "exists"]);
        if !c.is_any(&["primary", "unique", "foreign", "check"]) {
            name = Some(c.ident()?);
        }
    }
    if c.eat("foreign") {
        return foreign_key(c, name).map(KeyOrConstraint::Constraint);
    }
    if c.eat("check") {
        let kind = ConstraintKind::Check(c.parenthesised()?.to_owned());
        c.eat("not");
        c.eat("enforced");
        return Ok(KeyOrConstraint::Constraint(ConstraintSpec { name, kind }));
    }
    if c.eat("period") {
        return period(c).map(KeyOrConstraint::Constraint);
    }
    key(c, name).map(KeyOrConstraint::Key)
}

fn period(c: &mut Cursor<'_>) -> Parsed<ConstraintSpec> {
    c.expect("for")?;
    c.eat_all(&["if", "not", "exists"]);
    let period = c.ident()?;
    let columns = column_list(c)?;
    let quoted: Vec<String> = columns.iter().map(|n| quote_name(n)).collect();
    let text = format!("PERIOD FOR {} ({})", period_name(&period), quoted.join(", "));
    Ok(ConstraintSpec { name: Some(period), kind: ConstraintKind::Period { text, columns } })
}

fn period_name(name: &str) -> String {
    if name.eq_ignore_ascii_case("system_time") { "SYSTEM_TIME".into() } else { quote_name(name) }
}

fn foreign_key(c: &mut Cursor<'_>, name: Option<String>) -> Parsed<ConstraintSpec> {
    c.expect("key")?;
    c.eat_all(&["if", "not", "exists"]);
    let mut name = name;
    if c.is_ident() {
        let index_name = c.ident()?;
        name = name.or(Some(index_name));
    }
    let columns = column_list(c)?;
    let references = references(c)?;
    Ok(ConstraintSpec { name, kind: ConstraintKind::Foreign { columns, references } })
}

/// `REFERENCES t (a,b)`: the table and its columns, if they are said.
pub(super) fn referred(c: &mut Cursor<'_>) -> Parsed<(RawName, Vec<String>)> {
    c.expect("references")?;
    let table = c.table_name()?;
    let columns = if c.is_punct(b'(') { column_list(c)? } else { Vec::new() };
    Ok((table, columns))
}

/// `REFERENCES t (a,b) ON DELETE CASCADE`, in the server's spelling.
pub(super) fn references(c: &mut Cursor<'_>) -> Parsed<String> {
    let (table, columns) = referred(c)?;
    let mut out = String::from("REFERENCES ");
    if let Some(database) = &table.database {
        out.push_str(&quote_name(database));
        out.push('.');
    }
    out.push_str(&quote_name(&table.table));
    if !columns.is_empty() {
        let columns: Vec<String> = columns.iter().map(|n| quote_name(n)).collect();
        out.push_str(&format!(" ({})", columns.join(",")));
    }
    loop {
        if c.eat("match") {
            c.ident()?;
        } else if c.eat("on") {
            let event = c.ident()?.to_ascii_uppercase();
            let action = match () {
                () if c.eat("cascade") => "CASCADE",
                () if c.eat("restrict") => "RESTRICT",
                () if c.eat_all(&["set", "null"]) => "SET NULL",
                () if c.eat_all(&["set", "default"]) => "SET DEFAULT",
                () if c.eat_all(&["no", "action"]) => "NO ACTION",
                () => return Err(c.error("a referential action")),
            };
            // RESTRICT is the default and is not printed.
            if action != "RESTRICT" {
                out.push_str(&format!(" ON {event} {action}"));
            }
        } else {
            return Ok(out);
        }
    }
}

/// `(a, b)`: names only.
pub(super) fn column_list(c: &mut Cursor<'_>) -> Parsed<Vec<String>> {
    Ok(key_parts(c)?.into_iter().map(|p| p.column).collect())
}

fn key(c: &mut Cursor<'_>, constraint: Option<String>) -> Parsed<KeySpec> {
    let kind = match () {
        () if c.eat("primary") => KeyKind::Primary,
        () if c.eat("unique") => KeyKind::Unique,
        () if c.eat("fulltext") => KeyKind::Fulltext,
        () if c.eat("spatial") => KeyKind::Spatial,
        () if c.eat("vector") => KeyKind::Vector,
        () => KeyKind::Plain,
    };
    c.eat_any(&["key", "index"]);
    key_body(c, kind, constraint)
}

/// A key from its name on.
fn key_body(c: &mut Cursor<'_>, kind: KeyKind, constraint: Option<String>) -> Parsed<KeySpec> {
    let if_not_exists = c.eat_all(&["if", "not", "exists"]);
    let mut using = None;
    let mut name = constraint;
    if !c.is_any(&["using", "type"]) && c.is_ident() {
        name = Some(c.ident()?);
    }
    if c.is_any(&["using", "type"]) {
        c.advance();
        using = Some(c.ident()?.to_ascii_uppercase());
    }
    let parts = key_parts(c)?;
    let options = key_options(c, using)?;
    Ok(KeySpec { kind, name: name.filter(|_| kind != KeyKind::Primary), parts, options, if_not_exists })
}

fn key_parts(c: &mut Cursor<'_>) -> Parsed<Vec<KeyPart>> {
    c.expect_punct(b'(')?;
    let mut parts = Vec::new();
    loop {
        let mut part = KeyPart::of("");
        if c.is_punct(b'(') {
            part.column = c.parenthesised()?.to_owned();
            part.functional = true;
        } else {
            part.column = c.column_name()?;
            if c.is_punct(b'(') {
                c.advance();
                part.prefix = Some(c.number()?);
                c.expect_punct(b')')?;
            }
        }
        if c.eat("desc") {
            part.descending = true;
        } else {
            c.eat("asc");
        }
        part.period = c.eat_all(&["without", "overlaps"]);
        parts.push(part);
        if !c.eat_punct(b',') {
            break;
        }
    }
    c.expect_punct(b')')?;
    Ok(parts)
}

/// Options behind the columns, as they are printed: `USING`, `COMMENT`, `IGNORED`; the rest is read and left.
pub(super) fn key_options(c: &mut Cursor<'_>, using: Option<String>) -> Parsed<String> {
    let (mut using, mut comment, mut visibility) = (using, None, "");
    loop {
        if c.is_any(&["using", "type"]) {
            c.advance();
            using = Some(c.ident()?.to_ascii_uppercase());
        } else if c.eat("comment") {
            c.eat_punct(b'=');
            comment = Some(c.string()?);
        } else if c.eat_all(&["not", "ignored"]) || c.eat("visible") {
            visibility = "";
        } else if c.eat("ignored") {
            visibility = " IGNORED";
        } else if c.eat("invisible") {
            visibility = " /*!80000 INVISIBLE */";
        } else if c.eat_all(&["with", "parser"]) {
            c.ident()?;
        } else if c.eat_any(&["clustered", "nonclustered", "global", "local"]) {
        } else if c.is_any(&["key_block_size", "clustering", "engine_attribute", "secondary_engine_attribute"])
            || (c.word().is_some() && *c.kind_at(1) == TokenKind::Punct(b'='))
        {
            c.advance();
            c.eat_punct(b'=');
            c.advance();
        } else {
            break;
        }
    }
    let using = using.map(|u| format!(" USING {u}")).unwrap_or_default();
    let comment = comment.map(|t| format!(" COMMENT {}", quote_text(&t))).unwrap_or_default();
    Ok(format!("{using}{comment}{visibility}"))
}

/// A key from the body of CREATE INDEX: `[UNIQUE|...] INDEX name [USING x] ON t (parts) options`.
pub(super) fn named_key(c: &mut Cursor<'_>, kind: KeyKind, name: String, using: Option<String>) -> Parsed<KeySpec> {
    let parts = key_parts(c)?;
    let options = key_options(c, using)?;
    Ok(KeySpec { kind, name: Some(name), parts, options, if_not_exists: false })
}

/// The key as SHOW CREATE TABLE prints it; `name` is used if the key has none.
pub(super) fn print_key(key: &KeySpec, name: &str) -> String {
    let parts: Vec<String> = key.parts.iter().map(print_part).collect();
    let head = match key.kind {
        KeyKind::Primary => "PRIMARY KEY".to_owned(),
        KeyKind::Unique => format!("UNIQUE KEY {}", quote_name(name)),
        KeyKind::Plain => format!("KEY {}", quote_name(name)),
        KeyKind::Fulltext => format!("FULLTEXT KEY {}", quote_name(name)),
        KeyKind::Spatial => format!("SPATIAL KEY {}", quote_name(name)),
        KeyKind::Vector => format!("VECTOR KEY {}", quote_name(name)),
    };
    format!("{head} ({}){}", parts.join(","), key.options)
}

fn print_part(part: &KeyPart) -> String {
    let mut out = if part.functional { part.column.clone() } else { quote_name(&part.column) };
    if let Some(prefix) = part.prefix {
        out.push_str(&format!("({prefix})"));
    }
    if part.descending {
        out.push_str(" DESC");
    }
    if part.period {
        out.push_str(" WITHOUT OVERLAPS");
    }
    out
}

/// The constraint as SHOW CREATE TABLE prints it; `name` is used if it has none.
pub(super) fn print_constraint(constraint: &ConstraintSpec, name: &str) -> String {
    let head = format!("CONSTRAINT {}", quote_name(constraint.name.as_deref().unwrap_or(name)));
    match &constraint.kind {
        ConstraintKind::Check(expression) => format!("{head} CHECK {expression}"),
        ConstraintKind::Foreign { columns, references } => {
            let columns: Vec<String> = columns.iter().map(|n| quote_name(n)).collect();
            format!("{head} FOREIGN KEY ({}) {references}", columns.join(","))
        }
        ConstraintKind::Period { text, .. } => text.clone(),
    }
}

/// `CHARACTER SET x`, `CHARSET = x` behind an optional DEFAULT; `None` if something else stands here.
pub(super) fn charset_option(c: &mut Cursor<'_>) -> Parsed<Option<Option<String>>> {
    if !(c.eat("charset") || c.eat_all(&["character", "set"]) || c.eat_all(&["char", "set"])) {
        return Ok(None);
    }
    c.eat_punct(b'=');
    if c.eat("default") {
        return Ok(Some(None));
    }
    let name = if let TokenKind::Str(_) = c.kind() { c.string()? } else { c.ident()? };
    Ok(Some(Some(usual_name(&name))))
}
