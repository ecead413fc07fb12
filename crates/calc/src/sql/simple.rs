//! Plans that need little planning: columns and conditions of one table, as look-ups of keys are. The full set of rules costs
//! more than such a query.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_optimizer::ensure_coop::EnsureCooperative;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;

/// The same state with the rules that do something for such plans.
pub(crate) fn state(full: &SessionState) -> SessionState {
    let mut builder = SessionStateBuilder::new_from_existing(full.clone())
        .with_optimizer_rules(vec![
            Arc::new(SimplifyExpressions::new()),
            Arc::new(PushDownFilter::new()),
            Arc::new(OptimizeProjections::new()),
        ])
        .with_physical_optimizer_rules(vec![Arc::new(FilterPushdown::new()), Arc::new(EnsureCooperative::new())]);
    if let Some(config) = builder.config() {
        // Each rule does all it can at once.
        config.options_mut().optimizer.max_passes = 1;
    }
    builder.build()
}

/// True for columns and conditions of one table, without anything that needs rows in one place or in an order.
pub(crate) fn is_simple(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(p) => p.expr.iter().all(is_plain) && is_simple(&p.input),
        LogicalPlan::Filter(f) => is_plain(&f.predicate) && is_simple(&f.input),
        LogicalPlan::SubqueryAlias(a) => is_simple(&a.input),
        LogicalPlan::TableScan(scan) => scan.fetch.is_none(),
        _ => false,
    }
}

/// Without subqueries.
fn is_plain(expr: &Expr) -> bool {
    let mut plain = true;
    let walked = expr.apply(|e| {
        plain &= !matches!(e, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_));
        Ok(if plain { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    plain && walked.is_ok()
}
