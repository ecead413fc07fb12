//! Clauses of a query: names of its columns, joins, GROUP BY ... WITH ROLLUP, what is ignored and what is refused.

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, GroupByWithModifier, Ident, JoinConstraint, JoinOperator, LimitClause, OrderByExpr, OrderByKind,
    Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, Value, ValueWithSpan,
};

use super::expressions::{truth, value};
use super::{MARK, Rewriter, having};
use crate::session::SqlError;
use crate::sql::error::{read_only, unsupported};

/// The SELECT that names the columns of the whole query.
pub(super) fn leftmost(query: &Query) -> Option<&Select> {
    let mut body = &*query.body;
    loop {
        match body {
            SetExpr::Select(select) => return Some(select),
            SetExpr::Query(inner) => body = &inner.body,
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return None,
        }
    }
}

/// Where a SELECT stands in the text.
pub(super) fn place(select: &Select) -> (u64, u64) {
    let start = select.select_token.0.span.start;
    (start.line, start.column)
}

fn lower(ident: &mut Ident) {
    ident.value = ident.value.to_lowercase();
}

fn last_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(i) if !i.value.starts_with('@') => Some(&i.value),
        Expr::CompoundIdentifier(parts) if !parts[0].value.starts_with('@') => parts.last().map(|p| p.value.as_str()),
        Expr::Nested(inner) => last_name(inner),
        _ => None,
    }
}

impl Rewriter<'_> {
    pub(super) fn before_query(&mut self, query: &mut Query) -> Result<(), SqlError> {
        query.locks.clear();
        if matches!(*query.body, SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)) {
            return Err(read_only());
        }
        if let Some(with) = &mut query.with {
            for cte in &mut with.cte_tables {
                self.ctes.push(cte.alias.name.value.clone());
                self.lower_alias(&mut cte.alias);
            }
        }
        Ok(())
    }

    pub(super) fn after_query(&mut self, query: &mut Query) -> Result<(), SqlError> {
        if let Some(order) = &mut query.order_by
            && let OrderByKind::Expressions(all) = &mut order.kind
        {
            order_values(all);
            if all.is_empty() {
                query.order_by = None;
            }
        }
        if let SetExpr::Values(values) = &mut *query.body {
            for row in &mut values.rows {
                row.content.iter_mut().for_each(value);
            }
        }
        if let Some(LimitClause::OffsetCommaLimit { offset, limit }) = &query.limit_clause {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(limit.clone()),
                offset: Some(datafusion::sql::sqlparser::ast::Offset {
                    value: offset.clone(),
                    rows: datafusion::sql::sqlparser::ast::OffsetRows::None,
                }),
                limit_by: vec![],
            });
        }
        self.cut_limits(query);
        Ok(())
    }

    /// `LIMIT 18446744073709551615` means "all".
    fn cut_limits(&self, query: &mut Query) {
        let Some(LimitClause::LimitOffset { limit, .. }) = &mut query.limit_clause else { return };
        if let Some(Expr::Value(ValueWithSpan { value: Value::Number(n, _), .. })) = limit
            && n.parse::<i64>().is_err()
        {
            *limit = None;
        }
    }

    pub(super) fn before_select(&mut self, select: &mut Select) -> Result<(), SqlError> {
        if select.into.is_some() {
            return Err(unsupported("SELECT ... INTO"));
        }
        select.select_modifiers = None;
        select.optimizer_hints.clear();
        if is_dual(&select.from) {
            select.from.clear();
        }
        for table in &mut select.from {
            self.table(table)?;
        }
        having::without_groups(select);
        self.name_items(select);
        self.hide_invisible(select)?;
        if let GroupByExpr::Expressions(exprs, modifiers) = &mut select.group_by {
            if modifiers.iter().any(|m| matches!(m, GroupByWithModifier::Rollup)) {
                let sets = std::mem::take(exprs).into_iter().map(|e| vec![e]).collect();
                exprs.push(Expr::Rollup(sets));
            }
            modifiers.clear();
        }
        Ok(())
    }

    fn name_items(&mut self, select: &mut Select) {
        let at = place(select);
        let texts = self.items.remove(&at).unwrap_or_default();
        let is_top = self.top == Some(at);
        let aligned = texts.len() == select.projection.len();
        let star = |i: &SelectItem| matches!(i, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        let has_star = select.projection.iter().any(star);
        let mut seen: Vec<String> = Vec::new();
        let mut display = Vec::new();
        for (i, item) in select.projection.iter_mut().enumerate() {
            let (name, expr, plain) = match item {
                SelectItem::UnnamedExpr(e) => match last_name(e) {
                    Some(name) => (name.to_owned(), e.clone(), true),
                    None => {
                        let text = if aligned { texts[i].clone() } else { e.to_string() };
                        (literal_name(e).unwrap_or_else(|| without_parentheses(e, text)), e.clone(), false)
                    }
                },
                SelectItem::ExprWithAlias { expr, alias } => (alias.value.clone(), expr.clone(), false),
                _ => continue,
            };
            let mut inner = name.to_lowercase();
            let repeated = seen.contains(&inner);
            seen.push(inner.clone());
            self.names.spelled.entry(inner.clone()).or_insert_with(|| name.clone());
            display.push(name);
            if plain && !repeated && !(has_star && is_top) {
                continue;
            }
            if repeated || plain {
                inner = format!("{inner}{MARK}{i}");
            }
            *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('`', inner) };
        }
        if is_top {
            self.names.display = (!has_star).then_some(display);
        }
    }

    fn lower_alias(&mut self, alias: &mut TableAlias) {
        for column in &mut alias.columns {
            self.names.spelled.entry(column.name.value.to_lowercase()).or_insert_with(|| column.name.value.clone());
            lower(&mut column.name);
        }
    }

    fn table(&mut self, table: &mut TableWithJoins) -> Result<(), SqlError> {
        self.factor(&mut table.relation)?;
        for join in &mut table.joins {
            self.factor(&mut join.relation)?;
            let operator = std::mem::replace(&mut join.join_operator, JoinOperator::ArrayJoin);
            join.join_operator = normal_join(operator)?;
        }
        Ok(())
    }

    fn factor(&mut self, factor: &mut TableFactor) -> Result<(), SqlError> {
        match factor {
            TableFactor::Table { alias, index_hints, partitions, args, .. } => {
                index_hints.clear();
                if !partitions.is_empty() || args.is_some() {
                    return Err(unsupported("a table with PARTITION or arguments"));
                }
                if let Some(alias) = alias {
                    self.lower_alias(alias);
                }
                Ok(())
            }
            TableFactor::Derived { alias, .. } => {
                match alias {
                    Some(alias) => self.lower_alias(alias),
                    None => return Err(SqlError::new(1248, "42000", "Every derived table must have its own alias")),
                }
                Ok(())
            }
            TableFactor::NestedJoin { table_with_joins, .. } => self.table(table_with_joins),
            other => Err(unsupported(format!("`{other}` in FROM"))),
        }
    }

    pub(super) fn after_select(&mut self, select: &mut Select) -> Result<(), SqlError> {
        for item in &mut select.projection {
            if let SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr) = item {
                value(expr);
            }
        }
        for condition in [&mut select.selection, &mut select.having].into_iter().flatten() {
            truth(condition);
        }
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            exprs.iter_mut().for_each(value);
        }
        for table in &mut select.from {
            conditions(table);
        }
        Ok(())
    }
}

/// A constant in parentheses is named without them.
fn without_parentheses(expr: &Expr, text: String) -> String {
    match expr {
        Expr::Nested(inner) if matches!(**inner, Expr::Value(_) | Expr::Nested(_)) => {
            let plain = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')).map(|t| t.trim().to_owned());
            literal_name(inner).unwrap_or_else(|| plain.map_or(text, |plain| without_parentheses(inner, plain)))
        }
        _ => text,
    }
}

fn literal_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(s) | Value::DoubleQuotedString(s), .. }) => {
            Some(s.clone())
        }
        _ => None,
    }
}

fn is_dual(from: &[TableWithJoins]) -> bool {
    match from {
        [TableWithJoins { relation: TableFactor::Table { name, .. }, joins }] if joins.is_empty() => {
            name.to_string().eq_ignore_ascii_case("dual")
        }
        _ => false,
    }
}

fn normal_join(operator: JoinOperator) -> Result<JoinOperator, SqlError> {
    use JoinOperator as J;
    let inner = |constraint| match constraint {
        JoinConstraint::None => J::CrossJoin(JoinConstraint::None),
        JoinConstraint::Using(columns) => J::Inner(using(columns)),
        other => J::Inner(other),
    };
    Ok(match operator {
        J::Join(c) | J::Inner(c) | J::CrossJoin(c) | J::StraightJoin(c) => inner(c),
        J::Left(JoinConstraint::Using(c)) | J::LeftOuter(JoinConstraint::Using(c)) => J::Left(using(c)),
        J::Right(JoinConstraint::Using(c)) | J::RightOuter(JoinConstraint::Using(c)) => J::Right(using(c)),
        J::Left(c) | J::LeftOuter(c) => J::Left(c),
        J::Right(c) | J::RightOuter(c) => J::Right(c),
        _ => return Err(unsupported("this kind of join")),
    })
}

fn using(mut columns: Vec<datafusion::sql::sqlparser::ast::ObjectName>) -> JoinConstraint {
    for column in &mut columns {
        for part in &mut column.0 {
            if let datafusion::sql::sqlparser::ast::ObjectNamePart::Identifier(ident) = part {
                lower(ident);
            }
        }
    }
    JoinConstraint::Using(columns)
}

fn conditions(table: &mut TableWithJoins) {
    if let TableFactor::NestedJoin { table_with_joins, .. } = &mut table.relation {
        conditions(table_with_joins);
    }
    for join in &mut table.joins {
        if let TableFactor::NestedJoin { table_with_joins, .. } = &mut join.relation {
            conditions(table_with_joins);
        }
        if let JoinOperator::Inner(JoinConstraint::On(on))
        | JoinOperator::Left(JoinConstraint::On(on))
        | JoinOperator::Right(JoinConstraint::On(on)) = &mut join.join_operator
        {
            truth(on);
        }
    }
}

/// ORDER BY NULL sorts nothing.
pub(super) fn order_values(all: &mut Vec<OrderByExpr>) {
    // A constant that is no position orders nothing.
    all.retain(|o| match &o.expr {
        Expr::Value(ValueWithSpan { value: Value::Number(n, _), .. }) => n.parse::<i64>().is_ok(),
        Expr::Value(_) => false,
        Expr::UnaryOp { expr, .. } => !matches!(**expr, Expr::Value(_)),
        _ => true,
    });
    for order in all {
        value(&mut order.expr);
    }
}
