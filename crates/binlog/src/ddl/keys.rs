//! Keys of a definition: which one identifies rows, what the others are called, and how they follow changes of columns.

use tidelake_core::schema::{IndexDef, TableDef};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{ColumnDef, ColumnId, TableName};

use super::ast::{ConstraintKind, ConstraintSpec, KeyKind, KeySpec};
use super::cursor::Cursor;
use super::parse_keys::{KeyOrConstraint, key_or_constraint, print_constraint, print_key};
use super::token::lex;

/// The columns that identify a row, and whether they are the PRIMARY KEY: it, else the first UNIQUE key whose columns
/// are whole and NOT NULL, else none.
pub(super) fn identity(columns: &[ColumnDef], keys: &[KeySpec]) -> Result<(Vec<ColumnId>, bool), String> {
    if let Some(primary) = keys.iter().find(|k| k.kind == KeyKind::Primary) {
        return Ok((column_ids(columns, primary)?, true));
    }
    for key in keys.iter().filter(|k| k.kind == KeyKind::Unique) {
        if is_identity(columns, key) {
            return Ok((column_ids(columns, key)?, false));
        }
    }
    Ok((Vec::new(), false))
}

fn is_identity(columns: &[ColumnDef], key: &KeySpec) -> bool {
    key.parts.iter().all(|part| {
        let whole = !part.functional && part.prefix.is_none();
        whole && find(columns, &part.column).is_some_and(|c| !c.nullable)
    })
}

fn column_ids(columns: &[ColumnDef], key: &KeySpec) -> Result<Vec<ColumnId>, String> {
    let id = |name: &str| find(columns, name).map(|c| c.id).ok_or_else(|| format!("key column {name} is not there"));
    key.parts.iter().map(|part| id(&part.column)).collect()
}

pub(super) fn find<'a>(columns: &'a [ColumnDef], name: &str) -> Option<&'a ColumnDef> {
    let lower = name.to_lowercase();
    columns.iter().find(|c| c.name.eq_ignore_ascii_case(name) || c.name.to_lowercase() == lower)
}

/// All keys but the PRIMARY one, as kept for SHOW: named and in the server's order.
pub(super) fn indexes(columns: &[ColumnDef], keys: &[KeySpec]) -> Vec<IndexDef> {
    let mut out: Vec<(KeySpec, IndexDef)> = Vec::new();
    for key in keys.iter().filter(|k| k.kind != KeyKind::Primary) {
        let taken: Vec<&str> = out.iter().map(|(_, i)| i.name.as_str()).collect();
        out.push((key.clone(), index(key, &taken)));
    }
    out.sort_by_key(|(key, _)| order(columns, key));
    out.into_iter().map(|(_, index)| index).collect()
}

/// UNIQUE first, among them those without NULLs, then those of whole columns; FULLTEXT last.
fn order(columns: &[ColumnDef], key: &KeySpec) -> (bool, bool, bool, bool) {
    let unique = key.kind == KeyKind::Unique;
    let nulls = key.parts.iter().any(|p| find(columns, &p.column).is_none_or(|c| c.nullable));
    let prefix = key.parts.iter().any(|p| p.prefix.is_some());
    (!unique, unique && nulls, unique && prefix, key.kind == KeyKind::Fulltext)
}

/// One key as kept for SHOW; a key without a name gets the server's.
pub(super) fn index(key: &KeySpec, taken: &[&str]) -> IndexDef {
    let name = key.name.clone().unwrap_or_else(|| free_name(key, taken));
    let columns = key.parts.iter().filter(|p| !p.functional).map(|p| p.column.clone()).collect();
    IndexDef { sql: print_key(key, &name), unique: key.kind == KeyKind::Unique, columns, name }
}

fn free_name(key: &KeySpec, taken: &[&str]) -> String {
    let first = key.parts.first().filter(|p| !p.functional).map_or("functional_index", |p| p.column.as_str());
    let is_taken =
        |name: &str| taken.iter().any(|t| t.eq_ignore_ascii_case(name)) || name.eq_ignore_ascii_case("primary");
    if !is_taken(first) {
        return first.to_owned();
    }
    (2..).map(|n| format!("{first}_{n}")).find(|name| !is_taken(name)).unwrap_or_default()
}

/// Adds a constraint: kept among the indexes, without columns.
pub(super) fn add_constraint(
    indexes: &mut Vec<IndexDef>,
    constraint: &ConstraintSpec,
    table: &TableName,
    flavor: ServerFlavor,
) {
    let name = constraint.name.clone().unwrap_or_else(|| constraint_name(indexes, constraint, table, flavor));
    let sql = print_constraint(constraint, &name);
    indexes.push(IndexDef { name, unique: false, sql, columns: Vec::new() });
}

/// Adds the keys that foreign keys bring along, where no other key begins with their columns.
pub(super) fn add_foreign_indexes(indexes: &mut Vec<IndexDef>, primary: &[String], constraints: &[ConstraintSpec]) {
    let columns_of = |c: &ConstraintSpec| match &c.kind {
        ConstraintKind::Foreign { columns, .. } => Some(columns.clone()),
        _ => None,
    };
    for (at, constraint) in constraints.iter().enumerate() {
        let Some(columns) = columns_of(constraint) else { continue };
        let starts = |have: &[String]| {
            have.len() >= columns.len() && have.iter().zip(&columns).all(|(a, b)| a.eq_ignore_ascii_case(b))
        };
        let has_key = starts(primary) || indexes.iter().any(|i| starts(&i.columns));
        // Of several on the same columns the last one names the key.
        let again = constraints[at + 1..].iter().any(|c| columns_of(c).as_ref() == Some(&columns));
        if !has_key && !again {
            indexes.push(foreign_index(indexes, constraint, &columns));
        }
    }
}

fn foreign_index(indexes: &[IndexDef], constraint: &ConstraintSpec, columns: &[String]) -> IndexDef {
    let part = |c: &String| super::ast::KeyPart::of(c);
    let key = KeySpec {
        kind: KeyKind::Plain,
        name: constraint.name.clone(),
        parts: columns.iter().map(part).collect(),
        options: String::new(),
        if_not_exists: false,
    };
    let taken: Vec<&str> = indexes.iter().map(|i| i.name.as_str()).collect();
    index(&key, &taken)
}

fn constraint_name(
    indexes: &[IndexDef],
    constraint: &ConstraintSpec,
    table: &TableName,
    flavor: ServerFlavor,
) -> String {
    let foreign = matches!(constraint.kind, ConstraintKind::Foreign { .. });
    let prefix = match (foreign, flavor) {
        (true, _) => format!("{}_ibfk_", table.table),
        (false, ServerFlavor::MariaDb) => "CONSTRAINT_".to_owned(),
        (false, _) => format!("{}_chk_", table.table),
    };
    (1..).map(|n| format!("{prefix}{n}")).find(|name| indexes.iter().all(|i| i.name != *name)).unwrap_or_default()
}

/// Renames (`Some`) or removes (`None`) a column in all keys; a key that loses its last column goes.
pub(super) fn follow_column(indexes: &mut Vec<IndexDef>, old: &str, new: Option<&str>, flavor: ServerFlavor) {
    indexes.retain_mut(|index| {
        if !index.columns.iter().any(|c| c.eq_ignore_ascii_case(old)) {
            return true;
        }
        let Some(mut key) = reread(&index.sql, flavor) else { return true };
        let hit = |column: &str| column.eq_ignore_ascii_case(old);
        match new {
            Some(new) => key.parts.iter_mut().filter(|p| hit(&p.column)).for_each(|p| p.column = new.to_owned()),
            None => key.parts.retain(|p| !hit(&p.column)),
        }
        index.columns = key.parts.iter().filter(|p| !p.functional).map(|p| p.column.clone()).collect();
        index.sql = print_key(&key, &index.name);
        !key.parts.is_empty()
    });
}

/// Renames a key.
pub(super) fn rename(index: &mut IndexDef, new: &str, flavor: ServerFlavor) {
    if let Some(key) = reread(&index.sql, flavor) {
        index.sql = print_key(&key, new);
        index.name = new.to_owned();
    }
}

fn reread(sql: &str, flavor: ServerFlavor) -> Option<KeySpec> {
    let lexed = lex(sql, flavor, 0);
    match key_or_constraint(&mut Cursor::new(sql, &lexed.tokens)) {
        Ok(KeyOrConstraint::Key(key)) => Some(key),
        _ => None,
    }
}

/// True if dropping this key takes away what identifies rows.
pub(super) fn holds_identity(def: &TableDef, index: &IndexDef) -> bool {
    if def.key.is_empty() || def.key_is_primary || !index.unique {
        return false;
    }
    let key: Vec<String> = def.key_indexes().iter().map(|i| def.columns[*i].name.to_lowercase()).collect();
    let same = |i: &IndexDef| i.unique && i.columns.iter().map(|c| c.to_lowercase()).eq(key.iter().cloned());
    same(index) && def.indexes.iter().filter(|i| same(i)).count() == 1
}
