//! The heads of statements: which of them change tables or databases, and which name they are about.

use tidelake_core::types::text::ServerFlavor;

use super::SyntaxError;
use super::ast::{AlterAction, KeyKind, RawName, Statement};
use super::cursor::{Cursor, Parsed};
use super::parse_alter::alter_actions;
use super::parse_keys::named_key;
use super::parse_table::create_table;

/// A statement about tables that could not be read.
pub(super) struct Unreadable {
    pub(super) error: SyntaxError,
    /// The table it is about, if that much could be read.
    pub(super) table: Option<RawName>,
}

/// Reads one statement. What is not about tables or databases is `Ignore`, however it goes on.
pub(super) fn statement(mut c: Cursor<'_>, flavor: ServerFlavor) -> Result<Statement, Unreadable> {
    skip_set_statement(&mut c);
    let mut table = None;
    let parsed = dispatch(&mut c, flavor, &mut table);
    parsed.map_err(|error| Unreadable { error, table })
}

/// MariaDB: `SET STATEMENT a=1, b=2 FOR statement`.
fn skip_set_statement(c: &mut Cursor<'_>) {
    if !(c.is("set") && c.is_at(1, "statement")) {
        return;
    }
    while !c.at_end() && !c.eat("for") {
        if c.is_punct(b'(') {
            if c.parenthesised().is_err() {
                return;
            }
        } else {
            c.advance();
        }
    }
}

fn dispatch(c: &mut Cursor<'_>, flavor: ServerFlavor, table: &mut Option<RawName>) -> Parsed<Statement> {
    if c.eat("create") {
        return create(c, flavor, table);
    }
    if c.eat("alter") {
        return alter(c, flavor, table);
    }
    if c.eat("drop") {
        return drop(c, table);
    }
    if c.is("rename") && (c.is_at(1, "table") || c.is_at(1, "tables")) {
        c.advance();
        c.advance();
        return rename(c);
    }
    if c.eat("truncate") {
        c.eat("table");
        let name = c.table_name()?;
        *table = Some(name.clone());
        skip_wait(c)?;
        c.finish()?;
        return Ok(Statement::Truncate(name));
    }
    Ok(Statement::Ignore)
}

fn create(c: &mut Cursor<'_>, flavor: ServerFlavor, table: &mut Option<RawName>) -> Parsed<Statement> {
    let or_replace = c.eat_all(&["or", "replace"]);
    if c.eat_any(&["database", "schema"]) {
        c.eat_all(&["if", "not", "exists"]);
        return Ok(Statement::CreateDatabase { name: c.ident()?, or_replace });
    }
    if c.eat("temporary") {
        return Ok(Statement::Ignore);
    }
    if c.eat("table") {
        return create_table(c, or_replace, flavor, table);
    }
    c.eat_any(&["online", "offline"]);
    let kind = match () {
        () if c.eat("unique") => KeyKind::Unique,
        () if c.eat("fulltext") => KeyKind::Fulltext,
        () if c.eat("spatial") => KeyKind::Spatial,
        () if c.is("vector") && c.is_at(1, "index") => {
            c.advance();
            KeyKind::Vector
        }
        () => KeyKind::Plain,
    };
    if !c.eat("index") {
        return Ok(Statement::Ignore);
    }
    create_index(c, kind, table)
}

fn create_index(c: &mut Cursor<'_>, kind: KeyKind, table: &mut Option<RawName>) -> Parsed<Statement> {
    let if_not_exists = c.eat_all(&["if", "not", "exists"]);
    let index = c.ident()?;
    let mut using = None;
    if c.eat_any(&["using", "type"]) {
        using = Some(c.ident()?.to_ascii_uppercase());
    }
    c.expect("on")?;
    let name = c.table_name()?;
    *table = Some(name.clone());
    let mut key = named_key(c, kind, index, using)?;
    key.if_not_exists = if_not_exists;
    while !c.at_end() && !c.is_punct(b';') {
        let before = c.offset();
        skip_wait(c)?;
        if c.eat_any(&["algorithm", "lock"]) {
            c.eat_punct(b'=');
            c.ident()?;
        }
        if c.offset() == before {
            return Err(c.error("an index option"));
        }
    }
    c.finish()?;
    Ok(Statement::AlterTable { name, actions: vec![AlterAction::AddKey(key)] })
}

fn alter(c: &mut Cursor<'_>, flavor: ServerFlavor, table: &mut Option<RawName>) -> Parsed<Statement> {
    let mut ignore = false;
    while c.is_any(&["online", "offline", "ignore"]) {
        ignore |= c.is("ignore");
        c.advance();
    }
    if !c.eat("table") {
        return Ok(Statement::Ignore);
    }
    c.eat_all(&["if", "exists"]);
    let name = c.table_name()?;
    *table = Some(name.clone());
    let clauses = c.offset();
    let mut actions = alter_actions(c, flavor)?;
    c.finish()?;
    if ignore {
        actions.insert(0, AlterAction::Ignore);
        // rows that no partition takes go
        if c.text_since(clauses).to_ascii_lowercase().contains("partition") {
            actions.push(AlterAction::Rows { what: "IGNORE with partitions".into(), also: Vec::new() });
        }
    }
    Ok(Statement::AlterTable { name, actions })
}

fn drop(c: &mut Cursor<'_>, table: &mut Option<RawName>) -> Parsed<Statement> {
    if c.eat_any(&["database", "schema"]) {
        c.eat_all(&["if", "exists"]);
        return Ok(Statement::DropDatabase(c.ident()?));
    }
    c.eat_any(&["online", "offline"]);
    if c.eat("index") {
        c.eat_all(&["if", "exists"]);
        let index = c.ident()?;
        c.expect("on")?;
        let name = c.table_name()?;
        *table = Some(name.clone());
        let primary = index.eq_ignore_ascii_case("primary");
        let action = if primary { AlterAction::DropPrimaryKey } else { AlterAction::DropKey(index) };
        return Ok(Statement::AlterTable { name, actions: vec![action] });
    }
    if !c.eat_any(&["table", "tables"]) {
        return Ok(Statement::Ignore);
    }
    c.eat_all(&["if", "exists"]);
    let names = name_list(c)?;
    skip_wait(c)?;
    c.eat_any(&["restrict", "cascade"]);
    c.finish()?;
    Ok(Statement::DropTables(names))
}

fn name_list(c: &mut Cursor<'_>) -> Parsed<Vec<RawName>> {
    let mut names = vec![c.table_name()?];
    while c.eat_punct(b',') {
        names.push(c.table_name()?);
    }
    Ok(names)
}

fn rename(c: &mut Cursor<'_>) -> Parsed<Statement> {
    c.eat_all(&["if", "exists"]);
    let mut pairs = Vec::new();
    loop {
        let from = c.table_name()?;
        skip_wait(c)?;
        c.expect("to")?;
        pairs.push((from, c.table_name()?));
        if !c.eat_punct(b',') {
            break;
        }
    }
    c.finish()?;
    Ok(Statement::RenameTables(pairs))
}

/// `WAIT n`, `NOWAIT`.
pub(super) fn skip_wait(c: &mut Cursor<'_>) -> Parsed<()> {
    if c.eat("wait") {
        c.advance();
    } else {
        c.eat("nowait");
    }
    Ok(())
}
