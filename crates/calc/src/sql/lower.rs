//! The second rewrite, on the logical plan, where every expression's type and collation are known: comparisons get
//! operands of one type, texts compare, group, join and sort by their collation's keys, conditions become booleans.

mod compare;
mod shape;

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};

use super::udf::EvalContext;

/// Lowers a whole plan, subqueries included.
pub(crate) fn lower(plan: LogicalPlan, context: &Arc<EvalContext>) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(|p| node(p, context).map(Transformed::yes))?.data)
}

fn node(plan: LogicalPlan, context: &Arc<EvalContext>) -> Result<LogicalPlan> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let ends = matches!(plan, LogicalPlan::Projection(_));
    let grouped = matches!(&plan, LogicalPlan::Aggregate(a) if !a.group_expr.is_empty());
    let lowered = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let done = expr.transform_up(|e| expression(e, grouped, &schema, context).map(Transformed::yes))?;
        let data = if ends { shape::rounded(done.data, &schema, context)? } else { done.data };
        Ok(Transformed::yes(name.restore(data)))
    })?;
    shape::shape(lowered.data.recompute_schema()?, context)
}

fn expression(expr: Expr, grouped: bool, schema: &DFSchema, context: &Arc<EvalContext>) -> Result<Expr> {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let comparison = match func.name() {
                "__eq" => Operator::Eq,
                "__ne" => Operator::NotEq,
                "__lt" => Operator::Lt,
                "__le" => Operator::LtEq,
                "__gt" => Operator::Gt,
                "__ge" => Operator::GtEq,
                "__nseq" => Operator::IsNotDistinctFrom,
                "__between" => return compare::between(args, schema, context),
                "__in" => return compare::in_list(args, schema, context),
                "__truth" => return compare::truth(args, schema, context),
                "__like" => return compare::like(args, schema, context),
                "__regexp" => return compare::regexp(args, schema, context),
                _ => return Ok(Expr::ScalarFunction(ScalarFunction { func, args })),
            };
            compare::binary(args, comparison, schema, context)
        }
        Expr::InSubquery(e) => compare::in_subquery(e, schema, context),
        Expr::AggregateFunction(f) => shape::aggregate_function(f, grouped, schema, context),
        Expr::WindowFunction(f) => shape::window_function(*f, schema, context),
        other => Ok(other),
    }
}
