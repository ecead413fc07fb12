//! CREATE TABLE.

use tidelake_core::types::text::ServerFlavor;

use super::ast::{CreateTable, RawName, Statement, TableOptions};
use super::cursor::{Cursor, Parsed};
use super::parse_column::{charset_name, column};
use super::parse_keys::{KeyOrConstraint, begins_key, charset_option, key_or_constraint};
use super::resolve::{foreign_key_of_column, key_of_column};
use super::token::TokenKind;

/// Reads the statement after `TABLE`.
pub(super) fn create_table(
    c: &mut Cursor<'_>,
    or_replace: bool,
    flavor: ServerFlavor,
    table: &mut Option<RawName>,
) -> Parsed<Statement> {
    let if_not_exists = c.eat_all(&["if", "not", "exists"]);
    let name = c.table_name()?;
    *table = Some(name.clone());
    let mut create = CreateTable {
        name,
        or_replace,
        if_not_exists,
        like: None,
        select: false,
        columns: Vec::new(),
        keys: Vec::new(),
        constraints: Vec::new(),
        options: TableOptions::default(),
    };
    if c.eat("like") {
        create.like = Some(c.table_name()?);
    } else if c.is_punct(b'(') && c.is_at(1, "like") {
        c.advance();
        c.advance();
        create.like = Some(c.table_name()?);
        c.expect_punct(b')')?;
    } else {
        body_and_options(c, flavor, &mut create)?;
    }
    if !create.select {
        c.finish()?;
    }
    Ok(Statement::CreateTable(Box::new(create)))
}

fn body_and_options(c: &mut Cursor<'_>, flavor: ServerFlavor, create: &mut CreateTable) -> Parsed<()> {
    if c.is_punct(b'(') && !begins_select(c, 1) {
        c.advance();
        body(c, flavor, create)?;
    }
    table_options(c, &mut create.options)?;
    if c.eat("partition") {
        c.expect("by")?;
        create.select = skip_to_select(c)?;
        return Ok(());
    }
    create.select = begins_select(c, 0) || begins_select(c, 1) && c.is_punct(b'(');
    Ok(())
}

fn begins_select(c: &Cursor<'_>, ahead: usize) -> bool {
    ["select", "as", "with", "ignore", "replace", "values"].iter().any(|w| c.is_at(ahead, w))
        || (ahead == 0 && c.is("table"))
}

fn skip_to_select(c: &mut Cursor<'_>) -> Parsed<bool> {
    while !c.at_end() && !c.is_punct(b';') {
        if c.is("select") || c.is("as") {
            return Ok(true);
        }
        if c.is_punct(b'(') {
            c.parenthesised()?;
        } else {
            c.advance();
        }
    }
    Ok(false)
}

fn body(c: &mut Cursor<'_>, flavor: ServerFlavor, create: &mut CreateTable) -> Parsed<()> {
    loop {
        if begins_key(c) {
            match key_or_constraint(c)? {
                KeyOrConstraint::Key(key) => create.keys.push(key),
                KeyOrConstraint::Constraint(constraint) => create.constraints.push(constraint),
            }
        } else {
            let spec = column(c, flavor)?;
            create.keys.extend(key_of_column(&spec));
            create.constraints.extend(foreign_key_of_column(&spec, flavor));
            create.columns.push(spec);
        }
        if !c.eat_punct(b',') {
            break;
        }
    }
    c.expect_punct(b')')
}

/// Reads table options; stops before PARTITION, a query or the end.
pub(super) fn table_options(c: &mut Cursor<'_>, options: &mut TableOptions) -> Parsed<()> {
    loop {
        let before = c.offset();
        c.eat_punct(b',');
        if !table_option(c, options)? {
            return Ok(());
        }
        if c.offset() == before {
            return Err(c.error("a table option"));
        }
    }
}

/// Reads one table option; false if none stands here.
pub(super) fn table_option(c: &mut Cursor<'_>, options: &mut TableOptions) -> Parsed<bool> {
    let start = c.clone();
    c.eat("default");
    if let Some(charset) = charset_option(c)? {
        options.charset = charset;
        return Ok(true);
    }
    if c.eat("collate") {
        options.collation = charset_name(c)?;
        return Ok(true);
    }
    *c = start;
    // Row images show whether a table is versioned; the definition does not keep it.
    if c.eat_all(&["with", "system", "versioning"]) {
        return Ok(true);
    }
    if c.eat_all(&["start", "transaction"]) {
        options.starts_transaction = true;
        return Ok(true);
    }
    if c.is("partition") || begins_select(c, 0) || !c.is_ident() {
        return Ok(false);
    }
    named_option(c, options)?;
    Ok(true)
}

fn named_option(c: &mut Cursor<'_>, options: &mut TableOptions) -> Parsed<()> {
    let mut option = c.ident()?.to_ascii_lowercase();
    if matches!(option.as_str(), "data" | "index") {
        c.expect("directory")?;
        option.push_str(" directory");
    }
    c.eat_punct(b'=');
    match option.as_str() {
        "engine" | "type" => options.engine = Some(engine_name(name_or_text(c)?)),
        "comment" => options.comment = Some(c.string()?),
        _ if c.is_punct(b'(') => {
            c.parenthesised()?;
        }
        // TiDB: when rows go, `c + INTERVAL 1 DAY`, and where they lie
        "ttl" => {
            c.ident()?;
            c.expect_punct(b'+')?;
            c.expect("interval")?;
            c.advance();
            c.ident()?;
        }
        "placement" => {
            c.expect("policy")?;
            c.eat_punct(b'=');
            c.ident()?;
        }
        _ => {
            if c.is_punct(b'-') {
                c.advance();
            }
            match c.kind() {
                TokenKind::Punct(_) | TokenKind::End => return Err(c.error("the value of a table option")),
                _ => c.advance(),
            }
        }
    }
    Ok(())
}

/// The engine's own spelling.
fn engine_name(written: String) -> String {
    const KNOWN: [&str; 7] = ["InnoDB", "MyISAM", "Aria", "MEMORY", "CSV", "ARCHIVE", "ROCKSDB"];
    if written.eq_ignore_ascii_case("heap") {
        return "MEMORY".into();
    }
    KNOWN.iter().find(|k| k.eq_ignore_ascii_case(&written)).map_or(written, |known| (*known).to_owned())
}

fn name_or_text(c: &mut Cursor<'_>) -> Parsed<String> {
    if let TokenKind::Str(_) = c.kind() { c.string() } else { c.ident() }
}
