//! HAVING without groups: MySQL takes it for a second WHERE that knows the select list's aliases.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Select, SelectItem, visit_expressions, visit_expressions_mut,
};

const AGGREGATES: &[&str] = &[
    "any_value",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "count",
    "group_concat",
    "json_arrayagg",
    "json_objectagg",
    "max",
    "min",
    "std",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
];

fn aggregates(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |e| match e {
        Expr::Function(f) if AGGREGATES.contains(&f.name.to_string().to_lowercase().as_str()) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Moves such a HAVING into the WHERE.
pub(super) fn without_groups(select: &mut Select) {
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let items = select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } => Some(e),
        _ => None,
    });
    let Some(having) = &select.having else { return };
    if grouped || items.chain([having]).any(aggregates) {
        return;
    }
    let Some(mut condition) = select.having.take() else { return };
    let aliases: Vec<(String, Expr)> = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } => Some((alias.value.to_lowercase(), expr.clone())),
            _ => None,
        })
        .collect();
    // Expressions are visited after their parts: what stands for a name is not looked at again.
    let _ = visit_expressions_mut(&mut condition, |e| {
        if let Expr::Identifier(name) = e
            && let Some((_, meant)) = aliases.iter().find(|(alias, _)| *alias == name.value.to_lowercase())
        {
            *e = Expr::Nested(Box::new(meant.clone()));
        }
        ControlFlow::<()>::Continue(())
    });
    let condition = Expr::Nested(Box::new(condition));
    select.selection = Some(match select.selection.take() {
        Some(before) => {
            let before = Box::new(Expr::Nested(Box::new(before)));
            Expr::BinaryOp { left: before, op: BinaryOperator::And, right: Box::new(condition) }
        }
        None => condition,
    });
}
