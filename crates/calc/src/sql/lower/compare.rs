//! Comparisons: both sides brought to the type in which MySQL compares them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::{InList, InSubquery};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Like, LogicalPlanBuilder, Operator, Subquery, lit};
use tidelake_core::types::temporal::split_micros;

use crate::session::SqlError;
use crate::sql::collation::Rules;
use crate::sql::convert::leading_double;
use crate::sql::datetime::{parse_datetime, parse_time};
use crate::sql::error::through;
use crate::sql::types::{COLLATION_KEY, Ty, collation_of, common, ty_of};
use crate::sql::udf::{EvalContext, collation_key, fold_text, operator, text_collation, to_type};

/// The field of an expression.
pub(super) fn field_of(expr: &Expr, schema: &DFSchema) -> Result<FieldRef> {
    Ok(expr.to_field(schema)?.1)
}

fn two(args: Vec<Expr>) -> Result<(Expr, Expr)> {
    let [a, b]: [Expr; 2] =
        args.try_into().map_err(|_| DataFusionError::Internal("an operator without two operands".into()))?;
    Ok((a, b))
}

fn op(left: Expr, operator: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)))
}

pub(super) fn binary(args: Vec<Expr>, comparison: Operator, schema: &DFSchema, c: &Arc<EvalContext>) -> Result<Expr> {
    let (a, b) = two(args)?;
    let (fa, fb) = (field_of(&a, schema)?, field_of(&b, schema)?);
    let (a, b) = unify(a, &fa, b, &fb, c)?;
    Ok(op(a, comparison, b))
}

pub(super) fn in_list(args: Vec<Expr>, schema: &DFSchema, c: &Arc<EvalContext>) -> Result<Expr> {
    let mut args = args.into_iter();
    let subject = args.next().ok_or_else(|| DataFusionError::Internal("IN without a subject".into()))?;
    let field = field_of(&subject, schema)?;
    let items: Vec<Expr> = args.collect();
    let mut pairs = Vec::new();
    if let Some(collation) = common_collation(&field, &items, schema, c)? {
        // One collation for all: a `_bin` one among the items decides for every item.
        let subject = key(as_text(subject.clone(), &field, c), &collation, c);
        for item in items {
            let item_field = field_of(&item, schema)?;
            pairs.push((subject.clone(), key(as_text(item, &item_field, c), &collation, c)));
        }
        return Ok(any_of(pairs));
    }
    for item in items {
        let item_field = field_of(&item, schema)?;
        pairs.push(unify(subject.clone(), &field, item, &item_field, c)?);
    }
    Ok(any_of(pairs))
}

/// The collation in which a text compares with all items, if they are all texts and one of them decides.
fn common_collation(field: &Field, items: &[Expr], schema: &DFSchema, c: &EvalContext) -> Result<Option<String>> {
    if ty_of(field) != Ty::Text {
        return Ok(None);
    }
    let mut agreed_on = collation_of(field);
    for item in items {
        let item_field = field_of(item, schema)?;
        match (ty_of(&item_field), &agreed_on, collation_of(&item_field)) {
            (Ty::Text, Some(_), Some(_)) => {
                let so_far =
                    field.clone().with_metadata([(COLLATION_KEY.to_owned(), agreed_on.unwrap_or_default())].into());
                agreed_on = Some(agreed(&so_far, &item_field, c)?);
            }
            (Ty::Text, None, other) => agreed_on = other,
            (Ty::Text, Some(_), None) => {}
            _ => return Ok(None),
        }
    }
    Ok(Some(agreed_on.unwrap_or_else(|| c.collation.clone())))
}

fn any_of(pairs: Vec<(Expr, Expr)>) -> Expr {
    let same = pairs.windows(2).all(|w| w[0].0 == w[1].0);
    if let (true, Some((first, _))) = (same, pairs.first()) {
        let expr = Box::new(first.clone());
        return Expr::InList(InList::new(expr, pairs.into_iter().map(|(_, item)| item).collect(), false));
    }
    let any = pairs.into_iter().map(|(a, b)| op(a, Operator::Eq, b)).reduce(|all, one| op(all, Operator::Or, one));
    any.unwrap_or_else(|| lit(false))
}

/// A BETWEEN compares texts in one collation with both ends.
pub(super) fn between(args: Vec<Expr>, schema: &DFSchema, c: &Arc<EvalContext>) -> Result<Expr> {
    let [subject, low, high]: [Expr; 3] =
        args.try_into().map_err(|_| DataFusionError::Internal("BETWEEN without its ends".into()))?;
    let field = field_of(&subject, schema)?;
    let ends = [low, high];
    let collation = common_collation(&field, &ends, schema, c)?;
    let sides = ends.into_iter().zip([Operator::GtEq, Operator::LtEq]).map(|(end, comparison)| {
        let end_field = field_of(&end, schema)?;
        let (a, b) = match &collation {
            Some(name) => {
                let text = |e: Expr, f: &Field| key(as_text(e, f, c), name, c);
                (text(subject.clone(), &field), text(end, &end_field))
            }
            None => unify(subject.clone(), &field, end, &end_field, c)?,
        };
        Ok(op(a, comparison, b))
    });
    let both = sides.collect::<Result<Vec<_>>>()?;
    Ok(both.into_iter().reduce(|a, b| op(a, Operator::And, b)).unwrap_or_else(|| lit(false)))
}

pub(super) fn in_subquery(e: InSubquery, schema: &DFSchema, c: &Arc<EvalContext>) -> Result<Expr> {
    let plan = Arc::clone(&e.subquery.subquery);
    let (qualifier, inner) = plan.schema().qualified_field(0);
    let column = Expr::Column(Column::from((qualifier, inner)));
    let field = field_of(&e.expr, schema)?;
    let (left, right) = unify((*e.expr).clone(), &field, column.clone(), inner, c)?;
    if right == column {
        return Ok(Expr::InSubquery(InSubquery { expr: Box::new(left), ..e }));
    }
    let name = inner.name().clone();
    let wrapped = LogicalPlanBuilder::from(plan).project(vec![right.alias(name)])?.build()?;
    let subquery = Subquery { subquery: Arc::new(wrapped), ..e.subquery };
    Ok(Expr::InSubquery(InSubquery { expr: Box::new(left), subquery, negated: e.negated }))
}

pub(super) fn truth(mut args: Vec<Expr>, schema: &DFSchema, c: &Arc<EvalContext>) -> Result<Expr> {
    let value = args.pop().ok_or_else(|| DataFusionError::Internal("a condition without value".into()))?;
    Ok(match ty_of(&*field_of(&value, schema)?) {
        Ty::Bool => value,
        Ty::Null => lit(ScalarValue::Boolean(None)),
        Ty::Int | Ty::UInt | Ty::Decimal(..) => op(value, Operator::NotEq, lit(0_i64)),
        _ => op(to_type(value, Ty::Double, c), Operator::NotEq, lit(0.0_f64)),
    })
}

fn texts(args: &[Expr], schema: &DFSchema, c: &Arc<EvalContext>) -> Result<(Expr, Expr, String)> {
    let (a, b) = (args[0].clone(), args[1].clone());
    let (fa, fb) = (field_of(&a, schema)?, field_of(&b, schema)?);
    let binary = ty_of(&fa) == Ty::Bytes || ty_of(&fb) == Ty::Bytes;
    let collation = if binary { "binary".to_owned() } else { agreed(&fa, &fb, c)? };
    Ok((as_text(a, &fa, c), as_text(b, &fb, c), collation))
}

fn as_text(expr: Expr, field: &Field, c: &Arc<EvalContext>) -> Expr {
    let text = matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View);
    if text { expr } else { to_type(expr, Ty::Text, c) }
}

pub(super) fn like(args: Vec<Expr>, schema: &DFSchema, c: &Arc<EvalContext>) -> Result<Expr> {
    let (a, pattern, collation) = texts(&args, schema, c)?;
    let rules = Rules::of(&collation);
    let ignores = rules.case_insensitive || rules.accent_insensitive;
    let plain = matches!(&pattern, Expr::Literal(ScalarValue::Utf8(Some(p)), _) if !p.contains('\\'));
    let (a, pattern) = match (&pattern, ignores) {
        (Expr::Literal(ScalarValue::Utf8(Some(p)), _), true) => {
            (fold_text(a, &collation, c), lit(rules.fold(p).into_owned()))
        }
        (_, true) => (fold_text(a, &collation, c), fold_text(pattern, &collation, c)),
        (_, false) => (a, pattern),
    };
    if plain && args[2] == lit("\\") {
        return Ok(Expr::Like(Like::new(false, Box::new(a), Box::new(pattern), None, false)));
    }
    Ok(operator("__like_text", c).call(vec![a, pattern, args[2].clone()]))
}

pub(super) fn regexp(args: Vec<Expr>, schema: &DFSchema, c: &Arc<EvalContext>) -> Result<Expr> {
    let (a, pattern, collation) = texts(&args, schema, c)?;
    let ignores = i64::from(Rules::of(&collation).case_insensitive);
    Ok(operator("__regexp_text", c).call(vec![a, pattern, lit(ignores)]))
}

/// The collation in which two texts compare.
fn agreed(a: &Field, b: &Field, c: &EvalContext) -> Result<String> {
    let (Some(x), Some(y)) = (collation_of(a), collation_of(b)) else {
        return Ok(collation_of(a).unwrap_or_else(|| text_collation(b, c)));
    };
    if Rules::of(&x) == Rules::of(&y) || x.ends_with("_bin") || x == "binary" {
        return Ok(x);
    }
    if y.ends_with("_bin") || y == "binary" {
        return Ok(y);
    }
    let message = format!("Illegal mix of collations ({x},IMPLICIT) and ({y},IMPLICIT) for operation '='");
    Err(through(SqlError::new(1267, "HY000", message)))
}

fn constant(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}

/// Brings two operands to one comparable type.
pub(super) fn unify(a: Expr, fa: &Field, b: Expr, fb: &Field, c: &Arc<EvalContext>) -> Result<(Expr, Expr)> {
    let (ta, tb) = (ty_of(fa), ty_of(fb));
    if ta == Ty::Null || tb == Ty::Null || (ta == Ty::Bool && tb == Ty::Bool) {
        return Ok((a, b));
    }
    if ta == Ty::Bool || tb == Ty::Bool {
        let whole = |e: Expr, ty| if ty == Ty::Bool { to_type(e, Ty::Int, c) } else { e };
        let (ia, ib) = (Ty::Int.field("a"), Ty::Int.field("b"));
        let (a, b) = (whole(a, ta), whole(b, tb));
        return unify(a, if ta == Ty::Bool { &ia } else { fa }, b, if tb == Ty::Bool { &ib } else { fb }, c);
    }
    if ta == Ty::Bytes || tb == Ty::Bytes {
        let bytes = |e: Expr, ty| if ty == Ty::Bytes { e } else { to_type(e, Ty::Bytes, c) };
        return Ok((bytes(a, ta), bytes(b, tb)));
    }
    let text = |t| matches!(t, Ty::Text | Ty::Address);
    if text(ta) && text(tb) {
        let collation = agreed(fa, fb, c)?;
        let (a, b) = (as_text(a, fa, c), as_text(b, fb, c));
        return Ok((key(a, &collation, c), key(b, &collation, c)));
    }
    if ta.is_temporal() && tb.is_temporal() {
        return Ok(temporals(a, ta, b, tb, c));
    }
    if ta.is_temporal() && text(tb) {
        return temporal_and_text(a, ta, b, c);
    }
    if tb.is_temporal() && text(ta) {
        let (b, a) = temporal_and_text(b, tb, a, c)?;
        return Ok((a, b));
    }
    let day = |t: Ty| matches!(t, Ty::Date | Ty::DateTime(_) | Ty::Timestamp(_));
    if (day(ta) && tb.is_number()) || (day(tb) && ta.is_number()) {
        let moment = |e: Expr, t: Ty| match t {
            Ty::DateTime(_) => e,
            _ if day(t) => to_type(e, Ty::DateTime(6), c),
            _ => operator("__number_date", c).call(vec![e]),
        };
        return Ok((moment(a, ta), moment(b, tb)));
    }
    if ta.is_number() && tb.is_number() {
        return Ok(numbers(a, fa, b, fb, c));
    }
    // A whole number written as text compares exactly with an integer column.
    if matches!(ta, Ty::Int | Ty::UInt)
        && let Some(n) = constant(&b).and_then(|t| t.trim().parse::<i64>().ok())
    {
        return Ok((a, lit(n)));
    }
    if matches!(tb, Ty::Int | Ty::UInt)
        && let Some(n) = constant(&a).and_then(|t| t.trim().parse::<i64>().ok())
    {
        return Ok((lit(n), b));
    }
    let double = |e: Expr| match constant(&e) {
        Some(text) => lit(leading_double(text)),
        None => to_type(e, Ty::Double, c),
    };
    Ok((double(a), double(b)))
}

/// A text's key, or the text itself where keys are the texts.
pub(super) fn key(expr: Expr, collation: &str, c: &Arc<EvalContext>) -> Expr {
    let rules = Rules::of(collation);
    if rules.is_identity() {
        return expr;
    }
    match constant(&expr) {
        Some(text) => lit(rules.key(text).into_owned()),
        None => collation_key(expr, collation, c),
    }
}

fn numbers(a: Expr, fa: &Field, b: Expr, fb: &Field, c: &Arc<EvalContext>) -> (Expr, Expr) {
    let (ta, tb) = (ty_of(fa), ty_of(fb));
    if ta == Ty::Double || tb == Ty::Double {
        let double = |e: Expr, f: &Field| match f.data_type() {
            DataType::Float64 if matches!(e, Expr::Column(_) | Expr::Literal(..)) => e,
            DataType::Float64 => super::shape::positive_zero(e),
            _ => to_type(e, Ty::Double, c),
        };
        return (double(a, fa), double(b, fb));
    }
    let wide = |f: &Field| matches!(f.data_type(), DataType::Decimal256(..));
    if wide(fa) != wide(fb) {
        let all = match common(&[fa, fb]) {
            Ty::Decimal(p, s) => Ty::Decimal(p.max(39), s),
            other => other,
        };
        return (to_type(a, all, c), to_type(b, all, c));
    }
    (a, b)
}

fn temporals(a: Expr, ta: Ty, b: Expr, tb: Ty, c: &Arc<EvalContext>) -> (Expr, Expr) {
    let same = std::mem::discriminant(&ta) == std::mem::discriminant(&tb);
    if same {
        return (a, b);
    }
    let local = |e: Expr, ty| match ty {
        Ty::DateTime(_) => e,
        _ => to_type(e, Ty::DateTime(6), c),
    };
    (local(a, ta), local(b, tb))
}

fn temporal_and_text(a: Expr, ta: Ty, b: Expr, c: &Arc<EvalContext>) -> Result<(Expr, Expr)> {
    let Some(text) = constant(&b) else {
        return Ok(match ta {
            Ty::Time(_) => (a, to_type(b, Ty::Time(6), c)),
            Ty::DateTime(_) => (a, to_type(b, Ty::DateTime(6), c)),
            _ => (to_type(a, Ty::DateTime(6), c), to_type(b, Ty::DateTime(6), c)),
        });
    };
    let wrong = |what: &str| through(SqlError::new(1525, "HY000", format!("Incorrect {what} value: '{text}'")));
    if let Ty::Time(_) = ta {
        let (us, _) = parse_time(text).ok_or_else(|| wrong("TIME"))?;
        return Ok((a, lit(us)));
    }
    let parsed = parse_datetime(text).ok_or_else(|| wrong(if ta == Ty::Date { "DATE" } else { "DATETIME" }))?;
    let (day, time) = split_micros(parsed.micros);
    Ok(match ta {
        Ty::Date if time == 0 => (a, lit(ScalarValue::Date32(Some(day)))),
        Ty::Timestamp(_) => {
            let utc = c.zone.to_utc(parsed.micros);
            (a, lit(ScalarValue::TimestampMicrosecond(Some(utc), Some("UTC".into()))))
        }
        Ty::DateTime(_) => (a, lit(ScalarValue::TimestampMicrosecond(Some(parsed.micros), None))),
        _ => {
            let micros = lit(ScalarValue::TimestampMicrosecond(Some(parsed.micros), None));
            (to_type(a, Ty::DateTime(6), c), micros)
        }
    })
}
