//! Grouping, sorting, joining and distinctness by collation keys; sorting of ENUM by index; UNION of unlike types.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, DataFusionError, JoinType, NullEquality, Result, ScalarValue};
use datafusion::functions_aggregate::min_max::min_udaf;
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, FieldMetadata, Sort as SortExpr, WindowFunction,
};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, Join, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Sort, Union,
    Window, WindowFunctionDefinition, lit,
};

use tidelake_core::TypeKind;
use tidelake_core::types::arrow::{TYPE_METADATA_KEY, upstream_type};

use super::compare::{field_of, key, unify};
use crate::sql::aggregates::{Shape, Style, extreme, group_concat};
use crate::sql::error::{through, unsupported};
use crate::sql::rewrite::calls::{ARRAY, DISTINCT, OBJECT};
use crate::sql::types::{LABELS_KEY, Ty, common, declared_digits, exact, fixed_digits, ty_of};
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
        LogicalPlan::Window(w) => window(w),
        LogicalPlan::Distinct(Distinct::All(input)) => distinct(input, c),
        LogicalPlan::Join(join) => joined(join, c),
        LogicalPlan::Union(u) => union(u, c),
        other => Ok(other),
    }
}

/// What an expression groups by.
fn group_key(expr: Expr, schema: &DFSchema, c: &Context) -> Result<Expr> {
    let field = field_of(&expr, schema)?;
    if declared_digits(&field).is_some() {
        return Ok(to_type(expr, exact(&field), c));
    }
    if ty_of(&field) != Ty::Text {
        return Ok(expr);
    }
    Ok(key(expr, &text_collation(&field, c), c))
}

fn sort_key(sort: SortExpr, schema: &DFSchema, c: &Context) -> Result<SortExpr> {
    let field = field_of(&sort.expr, schema)?;
    let expr = match field.metadata().get(LABELS_KEY) {
        Some(labels) => operator("__enum_index", c).call(vec![sort.expr, lit(labels.as_str())]),
        None if computed_double(&sort.expr, &field) => positive_zero(sort.expr),
        None => group_key(sort.expr, schema, c)?,
    };
    Ok(SortExpr { expr, ..sort })
}

/// True for a DOUBLE that may be -0, which a column is not.
fn computed_double(expr: &Expr, field: &Field) -> bool {
    let plain = matches!(expr, Expr::Column(_) | Expr::Literal(..)) && fixed_digits(field).is_none();
    *field.data_type() == DataType::Float64 && !plain
}

/// -0 becomes 0: the engine tells them apart, MySQL does not.
pub(super) fn positive_zero(expr: Expr) -> Expr {
    let zero = Box::new(lit(0.0_f64));
    Expr::BinaryExpr(BinaryExpr::new(Box::new(expr), Operator::Plus, zero))
}

/// A quotient's digits, cut to what is declared where an expression ends.
pub(super) fn rounded(expr: Expr, schema: &DFSchema, c: &Context) -> Result<Expr> {
    if let Expr::Alias(mut alias) = expr {
        *alias.expr = rounded(*alias.expr, schema, c)?;
        return Ok(Expr::Alias(alias));
    }
    #[expect(deprecated, reason = "a star may still be there")]
    if matches!(expr, Expr::Wildcard { .. }) {
        return Ok(expr);
    }
    let field = field_of(&expr, schema)?;
    Ok(if declared_digits(&field).is_some() { to_type(expr, exact(&field), c) } else { expr })
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
        all.push(kept(unaliased(expr), schema)?);
    }
    Ok(all)
}

/// Metadata of a function's result that the engine drops: that of the argument whose values it gives.
fn kept(expr: &Expr, schema: &DFSchema) -> Result<Option<HashMap<String, String>>> {
    let (name, args) = match expr {
        Expr::AggregateFunction(f) => (f.func.name(), &f.params.args),
        Expr::WindowFunction(f) => (f.fun.name(), &f.params.args),
        _ => return Ok(None),
    };
    let argument = match name {
        "percent_rank" | "cume_dist" => return Ok(Some(Ty::Fixed(10).field("").metadata().clone())),
        "min" | "max" | "first_value" | "last_value" | "nth_value" | "lag" | "lead" | "sum" | "stddev"
        | "stddev_pop" | "var" | "var_pop" => args.first(),
        "__min_text" | "__max_text" => args.get(1),
        _ => None,
    };
    let Some(argument) = argument else { return Ok(None) };
    let field = field_of(argument, schema)?;
    let mut metadata = field.metadata().clone();
    metadata.remove(crate::sql::types::NAME_KEY);
    metadata.remove(LABELS_KEY);
    let year = upstream_type(&field).is_some_and(|ty| ty.kind == TypeKind::Year);
    let sums = matches!(name, "sum" | "stddev" | "stddev_pop" | "var" | "var_pop");
    if year || (sums && fixed_digits(&field).is_none()) {
        metadata.remove(TYPE_METADATA_KEY);
    }
    Ok((!metadata.is_empty()).then_some(metadata))
}

/// What window functions partition and sort by becomes columns of its own: the engine compares such expressions by how
/// they are written and can lose one. And what they give keeps its type, as what aggregates give does.
fn window(w: Window) -> Result<LogicalPlan> {
    let (input, wanted) = (Arc::clone(w.input.schema()), Arc::clone(&w.schema));
    let mut metadata = Vec::new();
    let mut keys: Vec<Expr> = Vec::new();
    let (mut functions, mut names) = (Vec::new(), Vec::new());
    for expr in &w.window_expr {
        metadata.push(kept(unaliased(expr), &input)?);
        let Expr::WindowFunction(mut f) = unaliased(expr).clone() else {
            return Err(DataFusionError::Internal("a window without function".into()));
        };
        let sorts = f.params.order_by.iter_mut().map(|s| &mut s.expr);
        for key in f.params.partition_by.iter_mut().chain(sorts) {
            if !matches!(key, Expr::Column(_)) {
                let at = keys.iter().position(|k| k == key).unwrap_or_else(|| {
                    keys.push(key.clone());
                    keys.len() - 1
                });
                *key = Expr::Column(Column::from_name(format!("__w{at}")));
            }
        }
        let function = Expr::WindowFunction(f);
        names.push(function.schema_name().to_string());
        if !functions.contains(&function) {
            functions.push(function);
        }
    }
    let mut base = columns(&input);
    base.extend(keys.into_iter().enumerate().map(|(i, key)| key.alias(format!("__w{i}"))));
    let base = LogicalPlan::Projection(Projection::try_new(base, w.input)?);
    let computed = LogicalPlanBuilder::window_plan(base, functions)?;
    let before = input.fields().len();
    let restored = wanted.iter().enumerate().map(|(i, (qualifier, field))| match i.checked_sub(before) {
        None => Expr::Column(Column::from((qualifier, field))),
        Some(at) => {
            let kept = metadata[at].clone().unwrap_or_default();
            let kept = (!kept.is_empty()).then(|| FieldMetadata::from(&Field::clone(field).with_metadata(kept)));
            let value = Expr::Column(Column::from_name(&names[at]));
            value.alias_qualified_with_metadata(qualifier.cloned(), field.name(), kept)
        }
    });
    let restored = restored.collect::<Vec<_>>();
    Ok(LogicalPlan::Projection(Projection::try_new(restored, Arc::new(computed))?))
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
    let set_operation = matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.left.schema().fields().len() == join.right.schema().fields().len();
    if set_operation {
        // INTERSECT and EXCEPT give the type that holds both sides, as UNION does.
        let targets = targets(&[join.left.schema(), join.right.schema()]);
        if targets.iter().any(Option::is_some) {
            join.left = brought(join.left, &targets, c)?;
            join.right = brought(join.right, &targets, c)?;
        }
    }
    let (left, right) = (Arc::clone(join.left.schema()), Arc::clone(join.right.schema()));
    let on = std::mem::take(&mut join.on);
    for (a, b) in on {
        let (fa, fb) = (field_of(&a, &left)?, field_of(&b, &right)?);
        join.on.push(unify(a, &fa, b, &fb, c)?);
    }
    LogicalPlan::Join(join).recompute_schema()
}

/// The classes that columns of several inputs must become; `None` where they are alike.
fn targets(schemas: &[&DFSchema]) -> Vec<Option<Ty>> {
    let width = schemas.first().map_or(0, |s| s.fields().len());
    let target = |i: usize| {
        let fields: Vec<&Field> = schemas.iter().map(|s| &**s.field(i)).collect();
        let mut classes: Vec<Ty> = fields.iter().map(|f| exact(f)).filter(|t| *t != Ty::Null).collect();
        classes.dedup();
        let mut stored: Vec<&DataType> = fields.iter().map(|f| f.data_type()).filter(|t| !t.is_null()).collect();
        stored.dedup();
        let nothing = fields.iter().any(|f| f.data_type().is_null()) && !stored.is_empty();
        (classes.len() > 1 || stored.len() > 1 || nothing).then(|| common(&fields))
    };
    (0..width).map(target).collect()
}

/// An input with its columns converted.
fn brought(input: Arc<LogicalPlan>, targets: &[Option<Ty>], c: &Context) -> Result<Arc<LogicalPlan>> {
    let schema = Arc::clone(input.schema());
    let exprs = schema.iter().zip(targets).map(|((qualifier, field), target)| {
        let column = Expr::Column(Column::from((qualifier, field)));
        match target {
            Some(ty) if exact(field) != *ty || *field.data_type() != ty.data_type() => {
                to_type(column, *ty, c).alias_qualified(qualifier.cloned(), field.name())
            }
            _ => column,
        }
    });
    let exprs = exprs.collect::<Vec<_>>();
    Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, input)?)))
}

/// Columns of unlike types become the type that holds them all.
fn union(u: Union, c: &Context) -> Result<LogicalPlan> {
    let schemas: Vec<&DFSchema> = u.inputs.iter().map(|p| &**p.schema()).collect();
    let targets = targets(&schemas);
    if targets.iter().all(Option::is_none) {
        return Ok(LogicalPlan::Union(u));
    }
    let inputs = u.inputs.into_iter().map(|input| brought(input, &targets, c)).collect::<Result<Vec<_>>>()?;
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
}

/// COUNT(DISTINCT text) counts keys; MIN and MAX of texts go by the collation.
pub(super) fn aggregate_function(f: AggregateFunction, grouped: bool, schema: &DFSchema, c: &Context) -> Result<Expr> {
    let AggregateFunction { func, mut params } = f;
    if grouped || params.distinct {
        // Groups are kept in columns, whose digits are the declared ones.
        params.args = params.args.into_iter().map(|e| rounded(e, schema, c)).collect::<Result<_>>()?;
    }
    params.order_by = params.order_by.into_iter().map(|s| sort_key(s, schema, c)).collect::<Result<_>>()?;
    let Some(argument) = params.args.first().cloned() else {
        return Ok(Expr::AggregateFunction(AggregateFunction { func, params }));
    };
    let keyed = group_key(argument.clone(), schema, c)?;
    let by_key = keyed != argument && ty_of(&*field_of(&argument, schema)?) == Ty::Text;
    if func.name() == "count" && params.distinct && by_key {
        params.args = vec![keyed];
        return Ok(Expr::AggregateFunction(AggregateFunction { func, params }));
    }
    if matches!(func.name(), "min" | "max") && by_key {
        let func = extreme(func.name() == "max");
        let params =
            AggregateFunctionParams { args: vec![keyed, argument], distinct: false, order_by: vec![], ..params };
        return Ok(Expr::AggregateFunction(AggregateFunction { func, params }));
    }
    if func.name() == "string_agg" {
        return concatenation(params, keyed, c);
    }
    Ok(Expr::AggregateFunction(AggregateFunction { func, params }))
}

/// GROUP_CONCAT with its order among its arguments.
fn concatenation(params: AggregateFunctionParams, keyed: Expr, c: &Context) -> Result<Expr> {
    let mut args = params.args.into_iter();
    let (Some(piece), Some(Expr::Literal(ScalarValue::Utf8(Some(mark)), _))) = (args.next(), args.next()) else {
        return Err(through(unsupported("GROUP_CONCAT with a SEPARATOR that is no text")));
    };
    let (distinct, separator) = match mark.strip_prefix(DISTINCT) {
        Some(rest) => (true, rest),
        None => (false, mark.as_str()),
    };
    let (shape, separator) = match separator {
        ARRAY => (Shape::Array, ","),
        OBJECT => (Shape::Object, ", "),
        plain => (Shape::Plain, plain),
    };
    let max_len = if shape == Shape::Plain { c.concat_limit } else { usize::MAX };
    let descending = params.order_by.iter().map(|s| !s.asc).collect();
    let style = Style { separator: separator.to_owned(), distinct, descending, shape, max_len };
    let sorts = params.order_by.into_iter().map(|s| s.expr);
    let args = [piece, keyed].into_iter().chain(sorts).collect();
    let params = AggregateFunctionParams {
        args,
        distinct: false,
        order_by: vec![],
        filter: params.filter,
        null_treatment: None,
    };
    Ok(Expr::AggregateFunction(AggregateFunction { func: group_concat(style), params }))
}

pub(super) fn window_function(mut f: WindowFunction, schema: &DFSchema, c: &Context) -> Result<Expr> {
    let args = std::mem::take(&mut f.params.args);
    let year = |e: Expr| -> Result<Expr> {
        let is_year = upstream_type(&*field_of(&e, schema)?).is_some_and(|ty| ty.kind == TypeKind::Year);
        // The result is a number, not a YEAR.
        if is_year { Ok(to_type(e, Ty::UInt, c)) } else { rounded(e, schema, c) }
    };
    f.params.args = args.into_iter().map(year).collect::<Result<_>>()?;
    let partition = std::mem::take(&mut f.params.partition_by);
    f.params.partition_by = partition.into_iter().map(|e| group_key(e, schema, c)).collect::<Result<_>>()?;
    let order = std::mem::take(&mut f.params.order_by);
    f.params.order_by = order.into_iter().map(|s| sort_key(s, schema, c)).collect::<Result<_>>()?;
    if matches!(f.fun.name(), "min" | "max")
        && let Some(argument) = f.params.args.first().cloned()
    {
        let keyed = group_key(argument.clone(), schema, c)?;
        if keyed != argument && ty_of(&*field_of(&argument, schema)?) == Ty::Text {
            f.fun = WindowFunctionDefinition::AggregateUDF(extreme(f.fun.name() == "max"));
            f.params.args = vec![keyed, argument];
        }
    }
    if f.fun.name().is_empty() {
        return Err(DataFusionError::Internal("a window function without name".into()));
    }
    Ok(Expr::WindowFunction(Box::new(f)))
}
