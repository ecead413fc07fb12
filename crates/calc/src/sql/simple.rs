//! Plans that need little planning: columns and conditions of one table, and look-ups of keys, which need none. The full set
//! of rules costs more than such a query.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_expr::expressions::{BinaryExpr as Compared, Column as Place, Literal};
use datafusion::physical_expr::{PhysicalExpr, conjunction};
use datafusion::physical_optimizer::ensure_coop::EnsureCooperative;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;

use super::table::ReplicaTable;

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

/// The plan of columns of one table where its whole key, and maybe more, is equal to constants of the columns' types: what all
/// rules together would make of it. `None` for any other plan.
pub(crate) async fn look_up(plan: &LogicalPlan, state: &SessionState) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let LogicalPlan::Projection(projection) = plan else { return Ok(None) };
    let LogicalPlan::Filter(filter) = &*projection.input else { return Ok(None) };
    let mut table = &*filter.input;
    while let LogicalPlan::SubqueryAlias(alias) = table {
        table = &alias.input;
    }
    let LogicalPlan::TableScan(scan) = table else { return Ok(None) };
    let (schema, untouched) = (filter.input.schema(), scan.projection.is_none() && scan.filters.is_empty());
    let conditions: Vec<&Expr> = split_conjunction(&filter.predicate);
    let equalities: Option<Vec<_>> = conditions.iter().map(|c| equality(c, schema)).collect();
    let columns: Option<Vec<_>> = projection.expr.iter().map(|e| place(column_of(e)?, schema)).collect();
    let (true, Some(equalities), Some(columns)) = (untouched, equalities, columns) else { return Ok(None) };
    let provider = source_as_provider(&scan.source)?;
    // The engine is told constants of the columns' types.
    let filter = |(at, value): &(usize, ScalarValue)| {
        Expr::Column(Column::from_name(schema.field(*at).name())).eq(Expr::Literal(value.clone(), None))
    };
    let filters: Vec<Expr> = equalities.iter().map(filter).collect();
    if !provider.downcast_ref::<ReplicaTable>().is_some_and(|t| t.is_whole_key(&filters)) {
        return Ok(None);
    }
    let mut wanted: Vec<usize> = columns.iter().copied().chain(equalities.iter().map(|e| e.0)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let rows = provider.scan(state, Some(&wanted), &filters, None).await?;
    let read = |at: usize| -> Arc<dyn PhysicalExpr> {
        let at = wanted.partition_point(|w| *w < at);
        Arc::new(Place::new(rows.schema().field(at).name(), at))
    };
    let compared = |(at, value): (usize, ScalarValue)| -> Arc<dyn PhysicalExpr> {
        Arc::new(Compared::new(read(at), Operator::Eq, Arc::new(Literal::new(value))))
    };
    let condition = conjunction(equalities.into_iter().map(compared));
    let named = columns.iter().zip(plan.schema().fields()).map(|(at, field)| (read(*at), field.name().clone()));
    let named: Vec<_> = named.collect();
    let kept = Arc::new(FilterExec::try_new(condition, Arc::clone(&rows))?);
    Ok(Some(Arc::new(ProjectionExec::try_new(named, kept)?)))
}

/// The place of a column and the constant of its type that it must be equal to.
fn equality(condition: &Expr, schema: &DFSchema) -> Option<(usize, ScalarValue)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
    let (column, value) = match (&**left, &**right) {
        (Expr::Column(column), Expr::Literal(value, _)) | (Expr::Literal(value, _), Expr::Column(column)) => {
            (column, value)
        }
        _ => return None,
    };
    let at = place(column, schema)?;
    Some((at, of_type(value, schema.field(at).data_type())?))
}

/// The constant as a value of a column's type: a text too, and that of another type of integers if it is one of the column's.
fn of_type(value: &ScalarValue, ty: &DataType) -> Option<ScalarValue> {
    let own = value.data_type();
    if value.is_null() || own == *ty {
        return (!value.is_null()).then(|| value.clone());
    }
    let text = own == DataType::Utf8 && *ty == DataType::Utf8View;
    let cast = (text || own.is_integer() && ty.is_integer()).then(|| value.cast_to(ty).ok())??;
    (cast.cast_to(&own).ok()? == *value).then_some(cast)
}

fn column_of(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => column_of(&alias.expr),
        _ => None,
    }
}

fn place(column: &Column, schema: &DFSchema) -> Option<usize> {
    schema.maybe_index_of_column(column)
}
