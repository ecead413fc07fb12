//! Foreign keys as a catalog keeps them (the text of a constraint): whom they refer to, and how they follow a table's name.

use tidelake_core::show_create::quote_name;
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{TableDef, TableName};

use super::ast::{ConstraintKind, ConstraintSpec, RawName};
use super::cursor::Cursor;
use super::parse_keys::{KeyOrConstraint, key_or_constraint, print_constraint, referred};
use super::token::lex;

/// A foreign key of a table in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForeignKey {
    /// The table it refers to.
    pub parent: TableName,
    /// The columns of it; empty if they are not said.
    pub parent_columns: Vec<String>,
    /// What happens to this table's rows, e.g. ` ON DELETE CASCADE`.
    pub actions: String,
}

/// Reads a constraint of `child`; `None` if it is no foreign key.
pub(crate) fn foreign_key(sql: &str, child: &TableName, flavor: ServerFlavor) -> Option<ForeignKey> {
    let (_, _, references) = constraint(sql, flavor)?;
    read_references(&references, child, flavor)
}

/// The definition with its foreign keys as they are once tables have got other names, itself perhaps among them; `None` if
/// they stay as they are.
pub(super) fn renamed(
    def: &TableDef,
    new_name: &dyn Fn(&TableName) -> TableName,
    flavor: ServerFlavor,
) -> Option<TableDef> {
    let mut changed = def.clone();
    let child = new_name(&def.name);
    for index in changed.indexes.iter_mut().filter(|i| i.columns.is_empty()) {
        let Some((name, columns, references)) = constraint(&index.sql, flavor) else { continue };
        let Some(key) = read_references(&references, &def.name, flavor) else { continue };
        let parent = new_name(&key.parent);
        if parent == key.parent && child.database == def.name.database {
            continue;
        }
        let references = print_references(&ForeignKey { parent, ..key }, &child);
        let kind = ConstraintKind::Foreign { columns, references };
        index.sql = print_constraint(&ConstraintSpec { name, kind }, &index.name);
    }
    (changed.indexes != def.indexes).then_some(changed)
}

/// Name, columns and the text from REFERENCES on.
fn constraint(sql: &str, flavor: ServerFlavor) -> Option<(Option<String>, Vec<String>, String)> {
    if !sql.contains(" FOREIGN KEY (") {
        return None;
    }
    let lexed = lex(sql, flavor, 0);
    match key_or_constraint(&mut Cursor::new(sql, &lexed.tokens)) {
        Ok(KeyOrConstraint::Constraint(ConstraintSpec {
            name,
            kind: ConstraintKind::Foreign { columns, references },
        })) => Some((name, columns, references)),
        _ => None,
    }
}

fn read_references(references: &str, child: &TableName, flavor: ServerFlavor) -> Option<ForeignKey> {
    let lexed = lex(references, flavor, 0);
    let (parent, parent_columns): (RawName, _) = referred(&mut Cursor::new(references, &lexed.tokens)).ok()?;
    // only names are quoted there, and all of them are
    let actions = references.rsplit('`').next()?.trim_start_matches(')').to_owned();
    Some(ForeignKey { parent: parent.resolve(&child.database)?, parent_columns, actions })
}

/// As the server prints it for a table of `child`'s database.
fn print_references(key: &ForeignKey, child: &TableName) -> String {
    let mut out = String::from("REFERENCES ");
    if key.parent.database != child.database {
        out.push_str(&quote_name(&key.parent.database));
        out.push('.');
    }
    out.push_str(&quote_name(&key.parent.table));
    if !key.parent_columns.is_empty() {
        let columns: Vec<String> = key.parent_columns.iter().map(|c| quote_name(c)).collect();
        out.push_str(&format!(" ({})", columns.join(",")));
    }
    out + &key.actions
}
