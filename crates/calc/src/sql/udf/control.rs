//! Operators that the rewrites use, conditionals and conversions.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, StringArray};
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Expr, lit};

use super::{Body, Call, EvalContext, FnDef, Gives, MANY, Out, Row, Want, operator};
use crate::sql::collation::Rules;
use crate::sql::datetime::number_datetime;
use crate::sql::form::Labels;
use crate::sql::types::{Ty, common};
use tidelake_core::types::temporal::{day_number, join_micros};

const fn lowered(name: &'static str, arity: (usize, usize)) -> FnDef {
    FnDef { name, arity, gives: Gives::Always(Ty::Bool), body: Body::Lowered }
}

const fn columns(name: &'static str, arity: (usize, usize), gives: Gives, f: fn(&Call) -> Result<ArrayRef>) -> FnDef {
    FnDef { name, arity, gives, body: Body::Columns(f) }
}

pub(super) const FUNCTIONS: &[FnDef] = &[
    lowered("__eq", (2, 2)),
    lowered("__ne", (2, 2)),
    lowered("__lt", (2, 2)),
    lowered("__le", (2, 2)),
    lowered("__gt", (2, 2)),
    lowered("__ge", (2, 2)),
    lowered("__nseq", (2, 2)),
    lowered("__in", (2, MANY)),
    lowered("__between", (3, 3)),
    lowered("__truth", (1, 1)),
    lowered("__like", (3, 3)),
    lowered("__regexp", (2, 2)),
    FnDef {
        name: "__like_text",
        arity: (3, 3),
        gives: Gives::Always(Ty::Bool),
        body: Body::Rows(&[Want::S], |r| Ok(Out::Bool(like(r.s(0), r.s(1), r.s(2).chars().next())))),
    },
    FnDef {
        name: "__regexp_text",
        arity: (3, 3),
        gives: Gives::Always(Ty::Bool),
        body: Body::Rows(&[Want::S, Want::S, Want::I], super::strings::regexp),
    },
    columns("__int", (1, 1), Gives::Always(Ty::Int), |c| c.converted(0, Ty::Int)),
    columns("__local", (1, 1), Gives::By(|f, _| Ty::DateTime(crate::sql::types::ty_of(&f[0]).fsp())), |c| {
        c.converted(0, c.returns)
    }),
    columns("__collate", (2, 2), Gives::Always(Ty::Text), |c| c.converted(0, Ty::Text)),
    FnDef { name: "__collkey", arity: (2, 2), gives: Gives::Always(Ty::Text), body: Body::Columns(|c| keys(c, true)) },
    FnDef { name: "__fold", arity: (2, 2), gives: Gives::Always(Ty::Text), body: Body::Columns(|c| keys(c, false)) },
    FnDef {
        name: "__enum_index",
        arity: (2, 2),
        gives: Gives::Always(Ty::Int),
        body: Body::Rows(&[Want::S], enum_index),
    },
    columns("__text", (1, 1), Gives::Always(Ty::Text), |c| c.converted(0, Ty::Text)),
    columns("__char", (2, 2), Gives::Always(Ty::Text), cast_char),
    columns("__bytes", (1, 1), Gives::Always(Ty::Bytes), |c| c.converted(0, Ty::Bytes)),
    columns("__signed", (1, 1), Gives::Always(Ty::Int), |c| c.converted(0, Ty::Int)),
    columns("__unsigned", (1, 1), Gives::Always(Ty::UInt), |c| c.converted(0, Ty::UInt)),
    columns("__double", (1, 1), Gives::Always(Ty::Double), |c| c.converted(0, Ty::Double)),
    columns("__fixed", (2, 2), Gives::By(|_, s| Ty::Fixed(digits(s).min(30))), |c| c.converted(0, Ty::Double)),
    columns("__number_date", (1, 1), Gives::Always(Ty::DateTime(6)), number_date),
    columns("__decimal", (3, 3), Gives::By(declared_decimal), |c| c.converted(0, c.returns)),
    columns("__date", (1, 1), Gives::Always(Ty::Date), |c| c.converted(0, Ty::Date)),
    columns("__datetime", (2, 2), Gives::By(|_, s| Ty::DateTime(digits(s).min(6))), cast_datetime),
    columns("__time", (2, 2), Gives::By(|_, s| Ty::Time(digits(s).min(6))), cast_time),
    columns("__case", (2, MANY), Gives::By(|f, _| common(&branches(f))), case),
    columns("coalesce", (1, MANY), Gives::By(|f, _| common(&f.iter().map(|f| &**f).collect::<Vec<_>>())), coalesce),
];

/// A number where it is compared with dates: 20240131 or 20240131235959; what is no date is the zero date.
fn number_date(call: &Call) -> Result<ArrayRef> {
    let numbers = call.converted(0, Ty::Int)?;
    let zero = join_micros(day_number(0, 0, 0), 0);
    let numbers = numbers.as_primitive::<arrow::datatypes::Int64Type>();
    let dates = numbers.iter().map(|n| n.map(|n| number_datetime(n).unwrap_or(zero)));
    Ok(Arc::new(dates.collect::<arrow::array::TimestampMicrosecondArray>()))
}

fn digits(scalars: &[Option<&ScalarValue>]) -> u8 {
    match scalars.get(1) {
        Some(Some(ScalarValue::Int64(Some(n)))) => (*n).clamp(0, 30) as u8,
        _ => 0,
    }
}

fn declared_decimal(_: &[FieldRef], scalars: &[Option<&ScalarValue>]) -> Ty {
    let number = |i: usize| match scalars.get(i) {
        Some(Some(ScalarValue::Int64(Some(n)))) => (*n).clamp(0, 65) as u8,
        _ => 0,
    };
    let scale = number(2).min(38);
    Ty::Decimal(number(1).max(scale).max(1), scale)
}

fn cast_datetime(call: &Call) -> Result<ArrayRef> {
    let micros = call.converted(0, call.returns)?;
    let unit = 10_i64.pow(6 - u32::from(call.returns.fsp()));
    let micros = micros.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    Ok(Arc::new(micros.unary::<_, arrow::datatypes::TimestampMicrosecondType>(|us| us.div_euclid(unit) * unit)))
}

fn cast_time(call: &Call) -> Result<ArrayRef> {
    let micros = call.converted(0, call.returns)?;
    let unit = 10_i64.pow(6 - u32::from(call.returns.fsp()));
    let micros = micros.as_primitive::<arrow::datatypes::Int64Type>();
    Ok(Arc::new(micros.unary::<_, arrow::datatypes::Int64Type>(|us| us / unit * unit)))
}

fn cast_char(call: &Call) -> Result<ArrayRef> {
    let text = call.converted(0, Ty::Text)?;
    let length = call.converted(1, Ty::Int)?;
    let length = length.as_primitive::<arrow::datatypes::Int64Type>();
    let cut = text.as_string::<i32>().iter().zip(length.iter()).map(|(t, n)| {
        let n = n.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        t.map(|t| t.chars().take(n).collect::<String>())
    });
    Ok(Arc::new(cut.collect::<StringArray>()))
}

/// The values of `cond, value, cond, value, ..., else`.
fn branches(fields: &[FieldRef]) -> Vec<&Field> {
    let n = fields.len();
    let values = (0..n).filter(|i| i % 2 == 1 || (*i == n - 1 && n % 2 == 1));
    values.map(|i| &*fields[i]).collect()
}

fn case(call: &Call) -> Result<ArrayRef> {
    let n = call.args.len();
    let mut result = if n % 2 == 1 {
        call.converted(n - 1, call.returns)?
    } else {
        ScalarValue::try_from(&call.returns.data_type())?.to_array_of_size(call.rows)?
    };
    for i in (0..n / 2).rev() {
        let condition = call.array(2 * i)?;
        let taken: BooleanArray = truth(&condition)?;
        let value = call.converted(2 * i + 1, call.returns)?;
        result = zip(&taken, &value, &result)?;
    }
    Ok(result)
}

fn truth(array: &ArrayRef) -> Result<BooleanArray> {
    let array = arrow::compute::cast(array, &arrow::datatypes::DataType::Boolean)?;
    let array = array.as_boolean();
    Ok(array.iter().map(|v| Some(v.unwrap_or(false))).collect())
}

fn coalesce(call: &Call) -> Result<ArrayRef> {
    let n = call.args.len();
    let mut result = call.converted(n - 1, call.returns)?;
    for i in (0..n - 1).rev() {
        let value = call.converted(i, call.returns)?;
        let present = arrow::compute::is_not_null(&value)?;
        result = zip(&present, &value, &result)?;
    }
    Ok(result)
}

fn keys(call: &Call, pad: bool) -> Result<ArrayRef> {
    let text = call.converted(0, Ty::Text)?;
    let rules = match &call.args[1] {
        ColumnarValue::Scalar(ScalarValue::Utf8(Some(name))) => Rules::of(name),
        _ => Rules::BINARY,
    };
    let text = text.as_string::<i32>();
    let folded = text.iter().map(|t| t.map(|t| if pad { rules.key(t) } else { rules.fold(t) }));
    Ok(Arc::new(folded.collect::<StringArray>()))
}

fn enum_index(row: &Row) -> Result<Out> {
    // Labels may hold any character, so they come as JSON.
    Ok(Labels::parse(row.s(1)).map_or(Out::Null, |labels| Out::I(labels.number(row.s(0)) as i64)))
}

/// LIKE with `%`, `_` and an escape character.
fn like(text: &str, pattern: &str, escape: Option<char>) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            c if Some(c) == escape => Piece::Exactly(chars.next().unwrap_or(c)),
            '%' => Piece::Any,
            '_' => Piece::One,
            c => Piece::Exactly(c),
        });
    }
    let (mut t, mut p, mut retry) = (0, 0, None);
    while t < text.len() {
        match tokens.get(p) {
            Some(Piece::Any) => {
                retry = Some((p, t));
                p += 1;
            }
            Some(Piece::One) => (t, p) = (t + 1, p + 1),
            Some(Piece::Exactly(c)) if *c == text[t] => (t, p) = (t + 1, p + 1),
            _ => match retry {
                Some((at, from)) => {
                    retry = Some((at, from + 1));
                    (t, p) = (from + 1, at + 1);
                }
                None => return false,
            },
        }
    }
    tokens[p..].iter().all(|t| matches!(t, Piece::Any))
}

enum Piece {
    Exactly(char),
    One,
    Any,
}

/// The sort key of a text expression in a collation.
pub(crate) fn collation_key(expr: Expr, collation: &str, context: &Arc<EvalContext>) -> Expr {
    operator("__collkey", context).call(vec![expr, lit(collation)])
}

/// A text expression without case and accents.
pub(crate) fn fold_text(expr: Expr, collation: &str, context: &Arc<EvalContext>) -> Expr {
    operator("__fold", context).call(vec![expr, lit(collation)])
}

/// An expression converted as MySQL converts.
pub(crate) fn to_type(expr: Expr, ty: Ty, context: &Arc<EvalContext>) -> Expr {
    let name = match ty {
        Ty::Text | Ty::Address | Ty::Null => "__text",
        Ty::Bytes => "__bytes",
        Ty::Int | Ty::Bool => "__signed",
        Ty::UInt => "__unsigned",
        Ty::Double => "__double",
        Ty::Fixed(digits) => return operator("__fixed", context).call(vec![expr, lit(i64::from(digits))]),
        Ty::Date => "__date",
        Ty::Decimal(p, s) => {
            let args = vec![expr, lit(i64::from(p)), lit(i64::from(s))];
            return operator("__decimal", context).call(args);
        }
        Ty::DateTime(f) | Ty::Timestamp(f) => {
            return operator("__datetime", context).call(vec![expr, lit(i64::from(f))]);
        }
        Ty::Time(f) => return operator("__time", context).call(vec![expr, lit(i64::from(f))]),
    };
    operator(name, context).call(vec![expr])
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn like_matches_as_mysql() {
        for (text, pattern, matches) in [
            ("abc", "a%", true),
            ("abc", "a_c", true),
            ("abc", "b%", false),
            ("a%c", "a\\%c", true),
            ("abc", "a\\%c", false),
            ("", "%", true),
            ("aXbXc", "%X%c", true),
            ("äb", "_b", true),
            ("abcabd", "%abd", true),
        ] {
            assert_eq!(like(text, pattern, Some('\\')), matches, "{text} like {pattern}");
        }
    }
}
