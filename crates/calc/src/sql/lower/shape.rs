//! Grouping, sorting, joining and distinctness by collation keys; sorting of ENUM by index; UNION of unlike types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, DataFusionError, Result};
use datafusion::functions_aggregate::{first_last::first_value_udaf, min_max::min_udaf};
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, FieldMetadata, NullTreatment, Sort as SortExpr, WindowFunction,
};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Join, LogicalPlan, LogicalPlanBuilder, Projection, Sort, Union, lit,
};

use super::compare::{field_of, key, unify};
use crate::sql::error::{through, unsupported};
use crate::sql::types::{LABELS_KEY, Ty, common, ty_of};
use crate::sql::udf::{EvalContext, operator, text_collation, to_type};

type Context = Arc<EvalContext>;

/// Rewrites one node whose expressions are lowered already.
pub(super) fn shape(plan: LogicalPlan, c: &Context) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Sort(Sort { expr, input, fetch }) => {
            let expr = expr.into_iter().map(|e| sort_key(e, input.schema(), c)).collect::<Result<_>>()?;
            Ok(LogicalPlan::Sort(Sort { expr, input, fetch }))
        }
        LogicalPlan::Aggregate(a) => aggregate(a, c),
        LogicalPlan::Distinct(Distinct::All(input)) => distinct(input, c),
        LogicalPlan::Join(join) => joined(join, c),
        LogicalPlan::Union(u) => union(u, c),
        other => Ok(other),
    }
}

/// What an expression groups by.
fn group_key(expr: Expr, schema: &DFSchema, c: &Context) -> Result<Expr> {
    let field = field_of(&expr, schema)?;
    if ty_of(&field) != Ty::Text {
        return Ok(expr);
    }
    Ok(key(expr, &text_collation(&field, c), c))
}

fn sort_key(sort: SortExpr, schema: &DFSchema, c: &Context) -> Result<SortExpr> {
    let field = field_of(&sort.expr, schema)?;
    let expr = match field.metadata().get(LABELS_KEY) {
        Some(labels) => operator("__enum_index", c).call(vec![sort.expr, lit(labels.as_str())]),
        None => group_key(sort.expr, schema, c)?,
    };
    Ok(SortExpr { expr, ..sort })
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(a) => unaliased(&a.expr),
        other => other,
    }
}

/// Groups by keys, gives the smallest spelling of each group, and restores names and metadata.
fn aggregate(a: Aggregate, c: &Context) -> Result<LogicalPlan> {
    let input_schema = Arc::clone(a.input.schema());
    let has_sets = a.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_)));
    if has_sets {
        return grouping_sets(a, &input_schema, c);
    }
    let mut groups = Vec::new();
    let mut aggregates = a.aggr_expr.clone();
    let mut spelled = Vec::new();
    for (i, group) in a.group_expr.iter().enumerate() {
        let plain = unaliased(group).clone();
        let keyed = group_key(plain.clone(), &input_schema, c)?;
        if keyed == plain {
            groups.push(group.clone());
            spelled.push(None);
            continue;
        }
        groups.push(keyed.alias(format!("__k{i}")));
        let name = format!("__g{i}");
        aggregates.push(min_udaf().call(vec![plain]).alias(&name));
        spelled.push(Some(name));
    }
    let metadata = carried(&a, &input_schema)?;
    if spelled.iter().all(Option::is_none) && metadata.iter().all(Option::is_none) {
        return Ok(LogicalPlan::Aggregate(a));
    }
    let wanted = Arc::clone(&a.schema);
    let inner = LogicalPlan::Aggregate(Aggregate::try_new(a.input, groups, aggregates)?);
    let inner_schema = Arc::clone(inner.schema());
    let mut restored = Vec::new();
    for (i, (qualifier, field)) in wanted.iter().enumerate() {
        let source = match spelled.get(i) {
            Some(Some(name)) => Column::from_name(name),
            _ => Column::from(inner_schema.qualified_field(i)),
        };
        let extra = metadata.get(i).cloned().flatten().unwrap_or_else(|| field.metadata().clone());
        let extra = (!extra.is_empty()).then(|| FieldMetadata::from(&Field::clone(field).with_metadata(extra)));
        let expr = Expr::Column(source);
        restored.push(expr.alias_qualified_with_metadata(qualifier.cloned(), field.name(), extra));
    }
    Ok(LogicalPlan::Projection(Projection::try_new(restored, Arc::new(inner))?))
}

/// Metadata of MIN, MAX and the like: that of their argument, which the engine drops.
fn carried(a: &Aggregate, schema: &DFSchema) -> Result<Vec<Option<std::collections::HashMap<String, String>>>> {
    let mut all = vec![None; a.group_expr.len()];
    for expr in &a.aggr_expr {
        let argument = match unaliased(expr) {
            Expr::AggregateFunction(f) if matches!(f.func.name(), "min" | "max" | "first_value") => {
                f.params.args.first()
            }
            _ => None,
        };
        let mut metadata = match argument {
            Some(e) => field_of(e, schema)?.metadata().clone(),
            None => Default::default(),
        };
        metadata.remove(crate::sql::types::NAME_KEY);
        all.push((!metadata.is_empty()).then_some(metadata));
    }
    Ok(all)
}

/// ROLLUP: only over what needs no key.
fn grouping_sets(a: Aggregate, schema: &DFSchema, c: &Context) -> Result<LogicalPlan> {
    let mut ignores = false;
    for group in &a.group_expr {
        if let Expr::GroupingSet(set) = group {
            for expr in set.distinct_expr() {
                let keyed = group_key(expr.clone(), schema, c)?;
                ignores |= keyed != *expr;
            }
        }
    }
    if ignores {
        let hint = "WITH ROLLUP over a text column; group by BINARY column, or add the totals with UNION ALL";
        return Err(through(unsupported(hint)));
    }
    Ok(LogicalPlan::Aggregate(a))
}

fn columns(schema: &DFSchema) -> Vec<Expr> {
    schema.iter().map(|f| Expr::Column(Column::from(f))).collect()
}

fn distinct(input: Arc<LogicalPlan>, c: &Context) -> Result<LogicalPlan> {
    let schema = Arc::clone(input.schema());
    let all = columns(&schema);
    let keyed = all.iter().map(|e| group_key(e.clone(), &schema, c)).collect::<Result<Vec<_>>>()?;
    if keyed == all {
        return Ok(LogicalPlan::Distinct(Distinct::All(input)));
    }
    aggregate(Aggregate::try_new(input, all, vec![])?, c)
}

fn joined(mut join: Join, c: &Context) -> Result<LogicalPlan> {
    let (left, right) = (Arc::clone(join.left.schema()), Arc::clone(join.right.schema()));
    let on = std::mem::take(&mut join.on);
    for (a, b) in on {
        let (fa, fb) = (field_of(&a, &left)?, field_of(&b, &right)?);
        join.on.push(unify(a, &fa, b, &fb, c)?);
    }
    Ok(LogicalPlan::Join(join))
}

/// Columns of unlike types become the type that holds them all.
fn union(u: Union, c: &Context) -> Result<LogicalPlan> {
    let width = u.schema.fields().len();
    let mut targets = Vec::new();
    for i in 0..width {
        let fields: Vec<&Field> = u.inputs.iter().map(|p| &**p.schema().field(i)).collect();
        let types: Vec<&DataType> = fields.iter().map(|f| f.data_type()).filter(|t| !t.is_null()).collect();
        let unlike = types.windows(2).any(|w| w[0] != w[1]);
        targets.push(unlike.then(|| common(&fields)));
    }
    if targets.iter().all(Option::is_none) {
        return Ok(LogicalPlan::Union(u));
    }
    let mut inputs = Vec::new();
    for input in u.inputs {
        let schema = Arc::clone(input.schema());
        let exprs = schema.iter().zip(&targets).map(|((qualifier, field), target)| {
            let column = Expr::Column(Column::from((qualifier, field)));
            match target {
                Some(ty) if *field.data_type() != ty.data_type() => {
                    to_type(column, *ty, c).alias_qualified(qualifier.cloned(), field.name())
                }
                _ => column,
            }
        });
        inputs.push(Arc::new(LogicalPlanBuilder::from(input).project(exprs.collect::<Vec<_>>())?.build()?));
    }
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
}

/// COUNT(DISTINCT text) counts keys; MIN and MAX of texts go by the collation.
pub(super) fn aggregate_function(f: AggregateFunction, schema: &DFSchema, c: &Context) -> Result<Expr> {
    let AggregateFunction { func, mut params } = f;
    params.order_by = params.order_by.into_iter().map(|s| sort_key(s, schema, c)).collect::<Result<_>>()?;
    let Some(argument) = params.args.first().cloned() else {
        return Ok(Expr::AggregateFunction(AggregateFunction { func, params }));
    };
    let keyed = group_key(argument.clone(), schema, c)?;
    let by_key = keyed != argument;
    if func.name() == "count" && params.distinct && by_key {
        params.args = vec![keyed];
        return Ok(Expr::AggregateFunction(AggregateFunction { func, params }));
    }
    if matches!(func.name(), "min" | "max") && by_key {
        let ascending = func.name() == "min";
        let order = |e: Expr| SortExpr { expr: e, asc: ascending, nulls_first: false };
        let params = AggregateFunctionParams {
            args: vec![argument.clone()],
            distinct: false,
            filter: params.filter,
            order_by: vec![order(keyed), order(argument)],
            null_treatment: Some(NullTreatment::IgnoreNulls),
        };
        return Ok(Expr::AggregateFunction(AggregateFunction { func: first_value_udaf(), params }));
    }
    if func.name() == "string_agg" && params.distinct && by_key && params.order_by.is_empty() {
        return Err(through(unsupported("GROUP_CONCAT(DISTINCT text) without COLLATE utf8mb4_bin")));
    }
    Ok(Expr::AggregateFunction(AggregateFunction { func, params }))
}

pub(super) fn window_function(mut f: WindowFunction, schema: &DFSchema, c: &Context) -> Result<Expr> {
    let partition = std::mem::take(&mut f.params.partition_by);
    f.params.partition_by = partition.into_iter().map(|e| group_key(e, schema, c)).collect::<Result<_>>()?;
    let order = std::mem::take(&mut f.params.order_by);
    f.params.order_by = order.into_iter().map(|s| sort_key(s, schema, c)).collect::<Result<_>>()?;
    if matches!(f.fun.name(), "min" | "max")
        && let Some(argument) = f.params.args.first()
        && group_key(argument.clone(), schema, c)? != *argument
    {
        return Err(through(unsupported("MIN or MAX of a text OVER a window")));
    }
    if f.fun.name().is_empty() {
        return Err(DataFusionError::Internal("a window function without name".into()));
    }
    Ok(Expr::WindowFunction(Box::new(f)))
}
