//! `SELECT *` leaves invisible columns out: the list of a table's visible columns is upstream's, not the engine's.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExceptSelectItem, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, Visit, VisitMut, Visitor, VisitorMut,
    WildcardAdditionalOptions,
};
use tidelake_core::{Catalog, TableName};

/// Makes every `*` that reaches a table with invisible columns leave them out.
///
/// Limit: a bare `*` over a join with USING or NATURAL still shows them.
pub(crate) fn leave_out_invisible(query: &mut Query, catalog: &Catalog, database: Option<&str>) {
    if !catalog.tables.values().any(|e| e.def.columns.iter().any(|c| c.invisible)) {
        return;
    }
    let mut names = WithNames(Vec::new());
    let _: ControlFlow<()> = Visit::visit(&*query, &mut names);
    let _: ControlFlow<()> = VisitMut::visit(query, &mut Stars { catalog, database, with: names.0 });
}

/// Names of WITH clauses: they hide tables.
struct WithNames(Vec<String>);

impl Visitor for WithNames {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|w| &w.cte_tables);
        self.0.extend(tables.map(|t| t.alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }
}

struct Stars<'a> {
    catalog: &'a Catalog,
    database: Option<&'a str>,
    with: Vec<String>,
}

/// A table or subquery of a FROM clause.
struct Source {
    name: ObjectName,
    invisible: Vec<String>,
}

impl VisitorMut for Stars<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let mut sources = Vec::new();
        let mut plain = true;
        for table in &select.from {
            plain &= self.sources(table, &mut sources);
        }
        if sources.iter().all(|s| s.invisible.is_empty()) {
            return ControlFlow::Continue(());
        }
        let items = std::mem::take(&mut select.projection);
        select.projection = items.into_iter().flat_map(|item| expanded(item, &sources, plain)).collect();
        ControlFlow::Continue(())
    }
}

fn expanded(item: SelectItem, sources: &[Source], plain: bool) -> Vec<SelectItem> {
    match item {
        SelectItem::Wildcard(options) if sources.len() == 1 => {
            vec![SelectItem::Wildcard(without(options, &sources[0].invisible))]
        }
        SelectItem::Wildcard(options) if plain => {
            let one = |s: &Source| {
                let kind = SelectItemQualifiedWildcardKind::ObjectName(s.name.clone());
                SelectItem::QualifiedWildcard(kind, without(options.clone(), &s.invisible))
            };
            sources.iter().map(one).collect()
        }
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
            let last = |n: &ObjectName| n.0.last().map(|part| part.to_string().trim_matches('`').to_lowercase());
            let found = sources.iter().find(|s| last(&s.name) == last(&name));
            let options = without(options, found.map_or(&[], |s| &s.invisible));
            vec![SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)]
        }
        other => vec![other],
    }
}

fn without(mut options: WildcardAdditionalOptions, invisible: &[String]) -> WildcardAdditionalOptions {
    let mut names = invisible.iter().map(|n| Ident::with_quote('`', n.to_lowercase()));
    if let Some(first_element) = names.next() {
        options.opt_except = Some(ExceptSelectItem { first_element, additional_elements: names.collect() });
    }
    options
}

impl Stars<'_> {
    /// Collects what a FROM item names; `false` if it merges columns (USING, NATURAL).
    fn sources(&self, table: &TableWithJoins, out: &mut Vec<Source>) -> bool {
        let mut plain = self.factor(&table.relation, out);
        for join in &table.joins {
            plain &= self.factor(&join.relation, out);
            plain &= !merges(&join.join_operator);
        }
        plain
    }

    fn factor(&self, factor: &TableFactor, out: &mut Vec<Source>) -> bool {
        match factor {
            TableFactor::Table { name, alias, .. } => {
                let invisible = self.invisible(name);
                let name = alias.as_ref().map_or_else(|| name.clone(), |a| ObjectName::from(vec![a.name.clone()]));
                out.push(Source { name, invisible });
                true
            }
            TableFactor::NestedJoin { table_with_joins, .. } => self.sources(table_with_joins, out),
            TableFactor::Derived { alias: Some(alias), .. } => {
                out.push(Source { name: ObjectName::from(vec![alias.name.clone()]), invisible: Vec::new() });
                true
            }
            _ => false,
        }
    }

    fn invisible(&self, name: &ObjectName) -> Vec<String> {
        let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
        let (database, table) = match parts.as_deref() {
            Some([table]) if self.with.contains(&table.value.to_lowercase()) => return Vec::new(),
            Some([table]) => (self.database.unwrap_or_default(), &table.value),
            Some([database, table]) => (database.value.as_str(), &table.value),
            _ => return Vec::new(),
        };
        let entry = self.catalog.visible(&TableName::new(database, table.as_str()));
        let columns = entry.map(|e| e.def.columns.as_slice()).unwrap_or_default();
        columns.iter().filter(|c| c.invisible).map(|c| c.name.clone()).collect()
    }
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
