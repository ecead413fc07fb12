//! INVISIBLE columns: `*` leaves them out.

use datafusion::sql::sqlparser::ast::{
    ExceptSelectItem, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Select, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, WildcardAdditionalOptions,
};
use tidelake_core::{TableDef, TableName};

use super::Rewriter;
use crate::session::SqlError;
use crate::sql::error::unsupported;

/// What a FROM clause names.
#[derive(Default)]
struct Sources {
    all: Vec<Source>,
    /// Every item has a name, and no join merges columns: `*` is `a.*, b.*`.
    plain: bool,
}

/// A table, or a subquery with a name (which hides nothing: its own `*` did).
struct Source {
    name: ObjectName,
    hidden: Vec<String>,
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
    /// Takes invisible columns out of the stars of a SELECT. A bare star over several items becomes a star for each, so
    /// that a name hidden in one is still shown by another.
    pub(super) fn hide_invisible(&self, select: &mut Select) -> Result<(), SqlError> {
        let mut sources = Sources { plain: true, ..Sources::default() };
        for table in &select.from {
            self.sources(table, &mut sources);
        }
        if sources.all.iter().all(|s| s.hidden.is_empty()) {
            return Ok(());
        }
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::Wildcard(options) if sources.all.len() == 1 && sources.plain => {
                    select.projection.push(SelectItem::Wildcard(without(options, &sources.all[0].hidden)));
                }
                SelectItem::Wildcard(options) if sources.plain => {
                    select.projection.extend(sources.all.iter().map(|s| star_of(s.name.clone(), &options, &s.hidden)));
                }
                SelectItem::Wildcard(_) => {
                    return Err(unsupported(
                        "* over USING, NATURAL or an item without a name, where a table has INVISIBLE columns; name \
                         the columns",
                    ));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    let alias = parts(&name).pop().map(str::to_lowercase);
                    let is_it = |s: &&Source| parts(&s.name).pop().map(str::to_lowercase) == alias;
                    let hidden = sources.all.iter().find(is_it).map_or(&[][..], |s| &s.hidden);
                    select.projection.push(star_of(name, &options, hidden));
                }
                other => select.projection.push(other),
            }
        }
        Ok(())
    }

    fn sources(&self, table: &TableWithJoins, into: &mut Sources) {
        self.source(&table.relation, into);
        for join in &table.joins {
            self.source(&join.relation, into);
            into.plain &= !merges(&join.join_operator);
        }
    }

    fn source(&self, factor: &TableFactor, into: &mut Sources) {
        match factor {
            TableFactor::Table { name, alias, .. } => {
                let hidden = self.hidden_in(name);
                let name = alias.as_ref().map_or_else(|| name.clone(), |a| ObjectName::from(vec![a.name.clone()]));
                into.all.push(Source { name, hidden });
            }
            TableFactor::Derived { alias: Some(alias), .. } => {
                into.all.push(Source { name: ObjectName::from(vec![alias.name.clone()]), hidden: Vec::new() });
            }
            TableFactor::NestedJoin { table_with_joins, .. } => self.sources(table_with_joins, into),
            _ => into.plain = false,
        }
    }

    fn hidden_in(&self, name: &ObjectName) -> Vec<String> {
        let (database, table) = match parts(name).as_slice() {
            [table] if self.ctes.iter().any(|cte| cte == table) => return Vec::new(),
            [table] => (self.scene.database.unwrap_or_default(), *table),
            [database, table] => (*database, *table),
            _ => return Vec::new(),
        };
        self.scene.catalog.visible(&TableName::new(database, table)).map(|e| hidden(&e.def)).unwrap_or_default()
    }
}

fn star_of(name: ObjectName, options: &WildcardAdditionalOptions, hidden: &[String]) -> SelectItem {
    let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
    SelectItem::QualifiedWildcard(kind, without(options.clone(), hidden))
}

fn without(mut options: WildcardAdditionalOptions, hidden: &[String]) -> WildcardAdditionalOptions {
    let mut names = hidden.iter().map(|n| Ident::with_quote('`', n));
    if let Some(first_element) = names.next() {
        options.opt_except = Some(ExceptSelectItem { first_element, additional_elements: names.collect() });
    }
    options
}

fn merges(operator: &JoinOperator) -> bool {
    let constraint = match operator {
        JoinOperator::Join(c)
        | JoinOperator::Inner(c)
        | JoinOperator::Left(c)
        | JoinOperator::LeftOuter(c)
        | JoinOperator::Right(c)
        | JoinOperator::RightOuter(c)
        | JoinOperator::CrossJoin(c)
        | JoinOperator::StraightJoin(c)
        | JoinOperator::FullOuter(c) => c,
        _ => return true,
    };
    matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural)
}
