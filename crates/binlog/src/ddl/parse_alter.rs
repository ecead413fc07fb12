//! The clauses of ALTER TABLE.

use tidelake_core::types::text::ServerFlavor;

use super::ast::{AlterAction, ColumnSpec, Place, TableOptions};
use super::cursor::{Cursor, Parsed};
use super::parse::skip_wait;
use super::parse_column::{charset_name, column, column_named, default_value};
use super::parse_keys::{KeyOrConstraint, begins_key, charset_option, key_or_constraint};
use super::parse_table::table_option;
use super::resolve::{foreign_key_of_column, key_of_column};

/// All clauses of one statement, after the table's name.
pub(super) fn alter_actions(c: &mut Cursor<'_>, flavor: ServerFlavor) -> Parsed<Vec<AlterAction>> {
    skip_wait(c)?;
    let mut actions = Vec::new();
    loop {
        if c.at_end() || c.is_punct(b';') {
            return Ok(actions);
        }
        clause(c, flavor, &mut actions)?;
        // PARTITION BY may follow without a comma.
        if !c.eat_punct(b',') && !c.is_any(&["partition", "remove"]) {
            return Ok(actions);
        }
    }
}

fn clause(c: &mut Cursor<'_>, flavor: ServerFlavor, actions: &mut Vec<AlterAction>) -> Parsed<()> {
    let Some(word) = c.word() else { return Err(c.error("a clause of ALTER TABLE")) };
    match word.to_ascii_lowercase().as_str() {
        "add" => add(c, flavor, actions),
        "drop" => drop(c, actions),
        "modify" | "change" => change(c, flavor, actions),
        "alter" => alter(c, actions),
        "rename" => rename(c, actions),
        "convert" => convert(c, actions),
        "algorithm" | "lock" => {
            c.advance();
            c.eat_punct(b'=');
            c.ident()?;
            actions.push(AlterAction::Nothing);
            Ok(())
        }
        "order" => {
            c.advance();
            c.expect("by")?;
            c.skip_clause()?;
            while c.eat_punct(b',') {
                c.skip_clause()?;
            }
            actions.push(AlterAction::Nothing);
            Ok(())
        }
        "partition" | "coalesce" | "reorganize" | "rebuild" | "optimize" | "analyze" | "check" | "repair" => {
            partitions(c, actions)
        }
        "remove" | "enable" | "disable" | "force" | "with" | "without" => upkeep(c, actions),
        "truncate" | "exchange" | "discard" | "import" => rows(c, actions),
        // where TiDB keeps copies and how it spreads rows; nothing stands beside it
        "set" | "cache" | "nocache" | "attributes" | "split" if flavor == ServerFlavor::TiDb => partitions(c, actions),
        _ => options(c, actions),
    }
}

/// Partitions' upkeep stands last and may hold lists: everything up to the end belongs to it.
fn partitions(c: &mut Cursor<'_>, actions: &mut Vec<AlterAction>) -> Parsed<()> {
    while !c.at_end() && !c.is_punct(b';') {
        c.advance();
    }
    actions.push(AlterAction::Nothing);
    Ok(())
}

fn upkeep(c: &mut Cursor<'_>, actions: &mut Vec<AlterAction>) -> Parsed<()> {
    c.skip_clause()?;
    actions.push(AlterAction::Nothing);
    Ok(())
}

fn rows(c: &mut Cursor<'_>, actions: &mut Vec<AlterAction>) -> Parsed<()> {
    let start = c.offset();
    let mut also = Vec::new();
    while !c.at_end() && !c.is_punct(b';') {
        if c.eat("table") {
            also.push(c.table_name()?);
        } else {
            c.advance();
        }
    }
    actions.push(AlterAction::Rows { what: c.text_since(start).to_owned(), also });
    Ok(())
}

fn options(c: &mut Cursor<'_>, actions: &mut Vec<AlterAction>) -> Parsed<()> {
    let mut options = TableOptions::default();
    let mut any = false;
    while table_option(c, &mut options)? {
        any = true;
    }
    if !any {
        return Err(c.error("a clause of ALTER TABLE"));
    }
    actions.push(AlterAction::Options(Box::new(options)));
    Ok(())
}

fn add(c: &mut Cursor<'_>, flavor: ServerFlavor, actions: &mut Vec<AlterAction>) -> Parsed<()> {
    c.advance();
    if c.eat_all(&["system", "versioning"]) {
        actions.push(AlterAction::Nothing);
        return Ok(());
    }
    if c.is("partition") {
        return partitions(c, actions);
    }
    if begins_key(c) {
        actions.push(match key_or_constraint(c)? {
            KeyOrConstraint::Key(key) => AlterAction::AddKey(key),
            KeyOrConstraint::Constraint(constraint) => AlterAction::AddConstraint(constraint),
        });
        return Ok(());
    }
    c.eat("column");
    let if_not_exists = c.eat_all(&["if", "not", "exists"]);
    if c.eat_punct(b'(') {
        return add_list(c, flavor, if_not_exists, actions);
    }
    let spec = column(c, flavor)?;
    let place = place(c)?;
    push_column_keys(&spec, flavor, actions, |spec| AlterAction::AddColumn { spec, place, if_not_exists });
    Ok(())
}

fn add_list(
    c: &mut Cursor<'_>,
    flavor: ServerFlavor,
    if_not_exists: bool,
    actions: &mut Vec<AlterAction>,
) -> Parsed<()> {
    loop {
        if begins_key(c) {
            actions.push(match key_or_constraint(c)? {
                KeyOrConstraint::Key(key) => AlterAction::AddKey(key),
                KeyOrConstraint::Constraint(constraint) => AlterAction::AddConstraint(constraint),
            });
        } else {
            let spec = column(c, flavor)?;
            let place = Place::Unsaid;
            push_column_keys(&spec, flavor, actions, |spec| AlterAction::AddColumn { spec, place, if_not_exists });
        }
        if !c.eat_punct(b',') {
            return c.expect_punct(b')');
        }
    }
}

fn push_column_keys(
    spec: &ColumnSpec,
    flavor: ServerFlavor,
    actions: &mut Vec<AlterAction>,
    action: impl FnOnce(Box<ColumnSpec>) -> AlterAction,
) {
    actions.push(action(Box::new(spec.clone())));
    actions.extend(key_of_column(spec).map(AlterAction::AddKey));
    actions.extend(foreign_key_of_column(spec, flavor).map(AlterAction::AddConstraint));
}

fn place(c: &mut Cursor<'_>) -> Parsed<Place> {
    if c.eat("first") {
        return Ok(Place::First);
    }
    if c.eat("after") {
        return Ok(Place::After(c.column_name()?));
    }
    Ok(Place::Unsaid)
}

fn change(c: &mut Cursor<'_>, flavor: ServerFlavor, actions: &mut Vec<AlterAction>) -> Parsed<()> {
    let renames = c.is("change");
    c.advance();
    c.eat("column");
    let if_exists = c.eat_all(&["if", "exists"]);
    let old = c.column_name()?;
    let new = if renames { c.column_name()? } else { old.clone() };
    let spec = column_named(c, new, flavor)?;
    let place = place(c)?;
    push_column_keys(&spec, flavor, actions, |spec| AlterAction::ChangeColumn { old, spec, place, if_exists });
    Ok(())
}

fn drop(c: &mut Cursor<'_>, actions: &mut Vec<AlterAction>) -> Parsed<()> {
    let start = c.offset();
    c.advance();
    // Only rows of the past go, which nobody here has.
    if c.eat_all(&["system", "versioning"]) {
        actions.push(AlterAction::Nothing);
        return Ok(());
    }
    if c.is("partition") {
        c.skip_clause()?;
        while c.eat_punct(b',') {
            c.skip_clause()?;
        }
        actions.push(AlterAction::Rows { what: c.text_since(start).to_owned(), also: Vec::new() });
        return Ok(());
    }
    if c.eat_all(&["primary", "key"]) {
        actions.push(AlterAction::DropPrimaryKey);
        return Ok(());
    }
    if c.is_any(&["index", "key"]) {
        c.advance();
        c.eat_all(&["if", "exists"]);
        let name = c.ident()?;
        let primary = name.eq_ignore_ascii_case("primary");
        actions.push(if primary { AlterAction::DropPrimaryKey } else { AlterAction::DropKey(name) });
        return Ok(());
    }
    if c.eat_all(&["foreign", "key"]) || c.eat_any(&["constraint", "check"]) {
        c.eat_all(&["if", "exists"]);
        let name = c.ident()?;
        // the key is a constraint of this name
        let primary = name.eq_ignore_ascii_case("primary");
        actions.push(if primary { AlterAction::DropPrimaryKey } else { AlterAction::DropConstraint(name) });
        return Ok(());
    }
    if c.eat_all(&["period", "for"]) {
        c.eat_all(&["if", "exists"]);
        actions.push(AlterAction::DropConstraint(c.ident()?));
        return Ok(());
    }
    c.eat("column");
    let if_exists = c.eat_all(&["if", "exists"]);
    let name = c.column_name()?;
    c.eat_any(&["restrict", "cascade"]);
    actions.push(AlterAction::DropColumn { name, if_exists });
    Ok(())
}

fn alter(c: &mut Cursor<'_>, actions: &mut Vec<AlterAction>) -> Parsed<()> {
    c.advance();
    if c.is_any(&["index", "key", "check", "constraint"]) && !c.is_at(1, "set") && !c.is_at(1, "drop") {
        c.skip_clause()?;
        actions.push(AlterAction::Nothing);
        return Ok(());
    }
    c.eat("column");
    c.eat_all(&["if", "exists"]);
    let name = c.column_name()?;
    if c.eat_all(&["drop", "default"]) {
        actions.push(AlterAction::SetDefault { name, default: None });
        return Ok(());
    }
    c.expect("set")?;
    if c.is_any(&["visible", "invisible"]) {
        let invisible = c.is("invisible");
        c.advance();
        actions.push(AlterAction::SetVisibility { name, invisible });
        return Ok(());
    }
    c.expect("default")?;
    actions.push(AlterAction::SetDefault { name, default: Some(default_value(c)?) });
    Ok(())
}

fn rename(c: &mut Cursor<'_>, actions: &mut Vec<AlterAction>) -> Parsed<()> {
    c.advance();
    let column = c.is("column");
    if column || ((c.is("index") || c.is("key")) && !c.is_at(1, "as")) {
        c.advance();
        let if_exists = c.eat_all(&["if", "exists"]);
        let old = c.column_name()?;
        c.expect("to")?;
        let new = c.column_name()?;
        actions.push(if column {
            AlterAction::RenameColumn { old, new, if_exists }
        } else {
            AlterAction::RenameKey { old, new }
        });
        return Ok(());
    }
    if !c.eat_any(&["to", "as"]) {
        c.eat_punct(b'=');
    }
    actions.push(AlterAction::RenameTable(c.table_name()?));
    Ok(())
}

fn convert(c: &mut Cursor<'_>, actions: &mut Vec<AlterAction>) -> Parsed<()> {
    let start = c.clone();
    c.advance();
    if c.is_any(&["table", "partition"]) {
        *c = start;
        return rows(c, actions);
    }
    c.expect("to")?;
    let Some(charset) = charset_option(c)? else { return Err(c.error("CHARACTER SET")) };
    let collation = if c.eat("collate") { charset_name(c)? } else { None };
    actions.push(AlterAction::ConvertCharset { charset, collation });
    Ok(())
}
