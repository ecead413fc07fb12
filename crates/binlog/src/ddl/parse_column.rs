//! Column definitions: the type, then attributes in any order.

use tidelake_core::types::text::ServerFlavor;

use super::ast::{ColumnKey, ColumnSpec, DefaultSpec, Generated, Literal};
use super::cursor::{Cursor, Parsed};
use super::parse_keys::references;
use super::parse_type::{column_type, make_serial};
use super::token::TokenKind;

/// `name type attributes`, up to a `,`, a `)`, FIRST, AFTER or the end.
pub(super) fn column(c: &mut Cursor<'_>, flavor: ServerFlavor) -> Parsed<ColumnSpec> {
    let name = c.column_name()?;
    column_named(c, name, flavor)
}

/// The same after the name.
pub(super) fn column_named(c: &mut Cursor<'_>, name: String, flavor: ServerFlavor) -> Parsed<ColumnSpec> {
    let mut spec = column_type(c, name, flavor)?;
    while attribute(c, &mut spec)? {}
    Ok(spec)
}

/// Reads one attribute; false where the definition ends.
fn attribute(c: &mut Cursor<'_>, spec: &mut ColumnSpec) -> Parsed<bool> {
    let Some(word) = c.word() else { return Ok(false) };
    let word = word.to_ascii_lowercase();
    match word.as_str() {
        "first" | "after" => return Ok(false),
        "unsigned" | "signed" | "zerofill" | "binary" | "byte" | "ascii" | "unicode" | "character" | "charset"
        | "char" | "collate" => type_attribute(c, &word, spec)?,
        "generated" | "as" | "virtual" | "stored" | "persistent" => generated(c, &word, spec)?,
        "null" => {
            c.advance();
            spec.nullable = Some(true);
        }
        "not" => negated(c, spec)?,
        "default" => {
            c.advance();
            spec.default = Some(default_value(c)?);
        }
        "auto_increment" => {
            c.advance();
            spec.auto_increment = true;
        }
        "on" => {
            c.advance();
            c.expect("update")?;
            spec.on_update = Some(now_function(c)?.ok_or_else(|| c.error("CURRENT_TIMESTAMP"))?);
        }
        "unique" => {
            c.advance();
            c.eat("key");
            spec.key = if spec.key == ColumnKey::Primary { ColumnKey::Primary } else { ColumnKey::Unique };
        }
        "primary" | "key" => {
            c.advance();
            if word == "primary" {
                c.eat("key");
            }
            c.eat_any(&["clustered", "nonclustered"]);
            spec.key = ColumnKey::Primary;
        }
        "comment" => {
            c.advance();
            spec.comment = c.string()?;
        }
        "constraint" => {
            c.advance();
            if !c.is("check") {
                c.ident()?;
            }
        }
        "check" => {
            c.advance();
            spec.check = Some(c.parenthesised()?.to_owned());
        }
        "references" => spec.references = Some(references(c)?),
        "serial" => {
            c.advance();
            c.expect("default")?;
            c.expect("value")?;
            make_serial(spec);
        }
        "with" | "without" => {
            c.advance();
            c.expect("system")?;
            c.expect("versioning")?;
        }
        _ => storage_attribute(c, &word, spec)?,
    }
    Ok(true)
}

fn storage_attribute(c: &mut Cursor<'_>, word: &str, spec: &mut ColumnSpec) -> Parsed<()> {
    match word {
        "invisible" | "visible" => spec.invisible = word == "invisible",
        "compressed" => {
            spec.compressed = true;
            c.advance();
            if c.eat_punct(b'=') {
                c.advance();
            }
            return Ok(());
        }
        "enforced" => {}
        "column_format" | "storage" => c.advance(),
        "srid" => {
            c.advance();
            spec.srid = Some(c.number()?);
            return Ok(());
        }
        "auto_random" => {
            c.advance();
            if c.is_punct(b'(') {
                c.parenthesised()?;
            }
            return Ok(());
        }
        _ => {
            // An engine's own attribute: name = value, or name 'value' (MySQL's ENGINE_ATTRIBUTE).
            if *c.kind_at(1) != TokenKind::Punct(b'=') && !word.ends_with("engine_attribute") {
                return Err(c.error("a column attribute"));
            }
            c.advance();
            c.eat_punct(b'=');
        }
    }
    c.advance();
    Ok(())
}

fn type_attribute(c: &mut Cursor<'_>, word: &str, spec: &mut ColumnSpec) -> Parsed<()> {
    c.advance();
    match word {
        "unsigned" => spec.ty.unsigned = true,
        "zerofill" => {
            spec.ty.unsigned = true;
            spec.ty.zerofill = true;
        }
        "binary" => spec.binary = true,
        "byte" => spec.ty.charset = Some("binary".into()),
        "ascii" => spec.ty.charset = Some("latin1".into()),
        "unicode" => spec.ty.charset = Some("ucs2".into()),
        "character" | "char" => {
            c.expect("set")?;
            spec.ty.charset = charset_name(c)?;
        }
        "charset" => spec.ty.charset = charset_name(c)?,
        "collate" => spec.ty.collation = charset_name(c)?,
        _ => {}
    }
    Ok(())
}

/// A charset's or collation's name in its usual spelling; `None` for DEFAULT.
pub(super) fn charset_name(c: &mut Cursor<'_>) -> Parsed<Option<String>> {
    c.eat_punct(b'=');
    let name = match c.kind() {
        TokenKind::Str(_) => c.string()?,
        _ if c.eat("default") => return Ok(None),
        _ => c.ident()?,
    };
    Ok(Some(super::charset::usual_name(&name)))
}

fn negated(c: &mut Cursor<'_>, spec: &mut ColumnSpec) -> Parsed<()> {
    c.advance();
    if c.eat("null") {
        spec.nullable = Some(false);
        return Ok(());
    }
    // NOT ENFORCED, NOT SECONDARY, NOT INVISIBLE
    if c.eat_any(&["enforced", "secondary", "invisible"]) { Ok(()) } else { Err(c.error("NULL")) }
}

fn generated(c: &mut Cursor<'_>, word: &str, spec: &mut ColumnSpec) -> Parsed<()> {
    c.advance();
    if matches!(word, "virtual" | "stored" | "persistent") {
        if let Some(generated) = &mut spec.generated {
            generated.stored = word != "virtual";
        }
        return Ok(());
    }
    if word == "generated" {
        c.expect("always")?;
        c.expect("as")?;
    }
    let expression = if c.eat("row") {
        let edge = c.word().unwrap_or("").to_ascii_uppercase();
        if !c.eat_any(&["start", "end"]) {
            return Err(c.error("START or END"));
        }
        format!("ROW {edge}")
    } else {
        c.parenthesised()?.to_owned()
    };
    let stored = expression.starts_with("ROW");
    spec.generated = Some(Generated { expression, stored });
    Ok(())
}

const NOW: [&str; 4] = ["current_timestamp", "now", "localtime", "localtimestamp"];

/// `CURRENT_TIMESTAMP`, `now(3)`, ... as `current_timestamp(3)`; `None` if something else stands here.
fn now_function(c: &mut Cursor<'_>) -> Parsed<Option<String>> {
    if !c.is_any(&NOW) {
        return Ok(None);
    }
    c.advance();
    let mut digits = 0;
    if c.eat_punct(b'(') {
        if !c.is_punct(b')') {
            digits = c.number()?;
        }
        c.expect_punct(b')')?;
    }
    Ok(Some(if digits == 0 { "current_timestamp()".to_owned() } else { format!("current_timestamp({digits})") }))
}

/// What stands behind DEFAULT.
pub(super) fn default_value(c: &mut Cursor<'_>) -> Parsed<DefaultSpec> {
    let start = c.offset();
    if c.eat("null") {
        return Ok(DefaultSpec::Null);
    }
    if let Some(sql) = now_function(c)? {
        return Ok(DefaultSpec::Expression { sql, constant: None });
    }
    if let Some(literal) = literal(c)? {
        return Ok(DefaultSpec::Literal(literal));
    }
    if c.is_punct(b'(') {
        return parenthesised_default(c);
    }
    if c.eat_all(&["next", "value", "for"]) || c.eat_all(&["previous", "value", "for"]) {
        c.table_name()?;
        return Ok(DefaultSpec::Expression { sql: c.text_since(start).to_owned(), constant: None });
    }
    expression(c)?;
    Ok(DefaultSpec::Expression { sql: c.text_since(start).to_owned(), constant: None })
}

/// Steps over an expression without parentheses around it: `uuid()`, `@@version`, `CASE WHEN a THEN b END`.
fn expression(c: &mut Cursor<'_>) -> Parsed<()> {
    const NEXT: [&str; 22] = [
        "not",
        "null",
        "unique",
        "primary",
        "key",
        "comment",
        "collate",
        "check",
        "constraint",
        "references",
        "on",
        "auto_increment",
        "generated",
        "invisible",
        "visible",
        "compressed",
        "with",
        "without",
        "first",
        "after",
        "column_format",
        "storage",
    ];
    let start = c.offset();
    while !c.at_end() && !c.is_punct(b',') && !c.is_punct(b')') && !c.is_punct(b';') {
        if c.offset() > start && c.is_any(&NEXT) {
            break;
        }
        if c.is_punct(b'(') {
            c.parenthesised()?;
        } else {
            c.advance();
        }
    }
    if c.offset() == start { Err(c.error("a default value")) } else { Ok(()) }
}

fn parenthesised_default(c: &mut Cursor<'_>) -> Parsed<DefaultSpec> {
    let mut inside = c.clone();
    let mut depth = 0usize;
    while inside.eat_punct(b'(') {
        depth += 1;
    }
    let mut constant = literal(&mut inside)?;
    for _ in 0..depth {
        if !inside.eat_punct(b')') {
            constant = None;
        }
    }
    let sql = c.parenthesised()?.to_owned();
    if inside.offset() != c.offset() {
        constant = None;
    }
    Ok(DefaultSpec::Expression { sql, constant })
}

/// A literal, if one stands here: sign, charset introducer and type prefix included.
fn literal(c: &mut Cursor<'_>) -> Parsed<Option<Literal>> {
    if c.eat("true") {
        return Ok(Some(Literal::Number("1".into())));
    }
    if c.eat("false") {
        return Ok(Some(Literal::Number("0".into())));
    }
    let prefixed = c
        .word()
        .is_some_and(|w| w.starts_with('_') || ["date", "time", "timestamp"].iter().any(|t| w.eq_ignore_ascii_case(t)));
    if prefixed && matches!(c.kind_at(1), TokenKind::Str(_) | TokenKind::Hex(_) | TokenKind::Bits(_)) {
        c.advance();
    }
    let sign = match c.kind() {
        TokenKind::Punct(sign @ (b'-' | b'+')) if *c.kind_at(1) == TokenKind::Number => {
            c.advance();
            if *sign == b'-' { "-" } else { "" }
        }
        _ => "",
    };
    let literal = match c.kind() {
        TokenKind::Str(_) => return Ok(Some(Literal::Str(c.string()?))),
        TokenKind::Number => Literal::Number(format!("{sign}{}", c.raw())),
        TokenKind::Hex(bytes) => Literal::Bytes(bytes.clone()),
        TokenKind::Bits(digits) => Literal::Bits(digits.clone()),
        _ => return Ok(None),
    };
    c.advance();
    Ok(Some(literal))
}
