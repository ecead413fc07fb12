//! INVISIBLE columns: `*` leaves them out.

use datafusion::sql::sqlparser::ast::{
    ExceptSelectItem, Ident, ObjectName, ObjectNamePart, Select, SelectItem, SelectItemQualifiedWildcardKind,
    TableFactor, TableWithJoins,
};
use tidelake_core::{TableDef, TableName};

use super::Rewriter;
use crate::session::SqlError;
use crate::sql::error::unsupported;

/// A table of the FROM clause: the name it goes by, and its columns.
struct Source<'a> {
    alias: String,
    def: &'a TableDef,
}

fn parts(name: &ObjectName) -> Vec<&str> {
    let part = |p| match p {
        &ObjectNamePart::Identifier(Ident { ref value, .. }) => Some(value.as_str()),
        ObjectNamePart::Function(_) => None,
    };
    name.0.iter().filter_map(part).collect()
}

fn hidden(def: &TableDef) -> Vec<String> {
    def.columns.iter().filter(|c| c.invisible).map(|c| c.name.to_lowercase()).collect()
}

impl Rewriter<'_> {
    /// Takes invisible columns out of the stars of a SELECT.
    pub(super) fn hide_invisible(&self, select: &mut Select) -> Result<(), SqlError> {
        let mut sources = Vec::new();
        for table in &select.from {
            self.sources(table, &mut sources);
        }
        if sources.iter().all(|s| hidden(s.def).is_empty()) {
            return Ok(());
        }
        for item in &mut select.projection {
            match item {
                SelectItem::Wildcard(options) => options.opt_except = except(hidden_of_all(&sources)?),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    let alias = parts(name).pop().unwrap_or_default();
                    let source = sources.iter().find(|s| s.alias == alias);
                    options.opt_except = except(source.map(|s| hidden(s.def)).unwrap_or_default());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn sources<'t>(&'t self, table: &TableWithJoins, into: &mut Vec<Source<'t>>) {
        let factors = std::iter::once(&table.relation).chain(table.joins.iter().map(|j| &j.relation));
        for factor in factors {
            match factor {
                TableFactor::Table { name, alias, .. } => {
                    let parts = parts(name);
                    let (database, table) = match parts.as_slice() {
                        [table] if self.ctes.iter().any(|cte| cte == table) => continue,
                        [table] => (self.scene.database.unwrap_or_default(), *table),
                        [database, table] => (*database, *table),
                        _ => continue,
                    };
                    if let Some(entry) = self.scene.catalog.visible(&TableName::new(database, table)) {
                        let alias = alias.as_ref().map_or(table, |a| a.name.value.as_str()).to_owned();
                        into.push(Source { alias, def: &entry.def });
                    }
                }
                TableFactor::NestedJoin { table_with_joins, .. } => self.sources(table_with_joins, into),
                _ => {}
            }
        }
    }
}

/// The hidden columns of all tables, if no other table shows a column of such a name.
fn hidden_of_all(sources: &[Source]) -> Result<Vec<String>, SqlError> {
    let mut names: Vec<String> = sources.iter().flat_map(|s| hidden(s.def)).collect();
    names.sort();
    names.dedup();
    let shown =
        |s: &Source| s.def.columns.iter().filter(|c| !c.invisible).map(|c| c.name.to_lowercase()).collect::<Vec<_>>();
    let mut visible = sources.iter().flat_map(shown);
    match visible.find(|name| names.contains(name)) {
        Some(name) => Err(unsupported(format!(
            "* where column {name} is INVISIBLE in one table and shown in another; name the columns"
        ))),
        None => Ok(names),
    }
}

fn except(names: Vec<String>) -> Option<ExceptSelectItem> {
    let mut names = names.into_iter().map(|n| Ident::with_quote('`', n));
    let first_element = names.next()?;
    Some(ExceptSelectItem { first_element, additional_elements: names.collect() })
}
