//! Number functions.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal256Type, FieldRef, Int64Type, i256};
use datafusion::common::{Result, ScalarValue};

use super::Want::{D, I, S, U};
use super::{Body, Call, FnDef, Gives, MANY, Out, Row, by_column, by_row};
use crate::sql::types::{Ty, as_decimal, common, declared_digits, fixed_digits, ty_of};

const fn d(name: &'static str, body: fn(&Row) -> Result<Out>) -> FnDef {
    FnDef { name, arity: (1, 1), gives: Gives::Always(Ty::Double), body: Body::Rows(&[D], body) }
}

pub(super) const FUNCTIONS: &[FnDef] = &[
    by_column("round", (1, 2), |f, s| cut_type(f, s, true), |c| cut(c, Cut::Round)),
    by_column("truncate", (2, 2), |f, s| cut_type(f, s, false), |c| cut(c, Cut::Truncate)),
    by_column("floor", (1, 1), |f, _| whole_type(f), |c| whole(c, Cut::Floor)),
    by_column("ceil", (1, 1), |f, _| whole_type(f), |c| whole(c, Cut::Ceil)),
    by_column("abs", (1, 1), |f, _| abs_type(f), abs),
    by_column("greatest", (2, MANY), |f, _| all(f), |c| extreme(c, true)),
    by_column("least", (2, MANY), |f, _| all(f), |c| extreme(c, false)),
    by_row("sign", (1, 1), Ty::Int, &[D], |r| Ok(Out::I(if r.d(0) > 0.0 { 1 } else { -i64::from(r.d(0) < 0.0) }))),
    d("sqrt", |r| Ok(finite(r.d(0).sqrt()))),
    d("exp", |r| Ok(finite(r.d(0).exp()))),
    d("ln", |r| Ok(logarithm(r.d(0), f64::ln))),
    d("log2", |r| Ok(logarithm(r.d(0), |v| v.ln() / std::f64::consts::LN_2))),
    d("log10", |r| Ok(logarithm(r.d(0), f64::log10))),
    by_row("log", (1, 2), Ty::Double, &[D], |r| {
        Ok(if r.len() == 1 {
            logarithm(r.d(0), f64::ln)
        } else if r.d(0) <= 0.0 || r.d(0) == 1.0 {
            Out::Null
        } else {
            logarithm(r.d(1), |v| v.ln() / r.d(0).ln())
        })
    }),
    by_row("pow", (2, 2), Ty::Double, &[D], |r| Ok(finite(r.d(0).powf(r.d(1))))),
    d("sin", |r| Ok(finite(r.d(0).sin()))),
    d("cos", |r| Ok(finite(r.d(0).cos()))),
    d("tan", |r| Ok(finite(r.d(0).tan()))),
    d("asin", |r| Ok(finite(r.d(0).asin()))),
    d("acos", |r| Ok(finite(r.d(0).acos()))),
    by_row("atan", (1, 2), Ty::Double, &[D], |r| {
        Ok(finite(if r.len() == 1 { r.d(0).atan() } else { r.d(0).atan2(r.d(1)) }))
    }),
    by_row("atan2", (2, 2), Ty::Double, &[D], |r| Ok(finite(r.d(0).atan2(r.d(1))))),
    d("degrees", |r| Ok(finite(r.d(0).to_degrees()))),
    d("cot", |r| Ok(finite(1.0 / r.d(0).tan()))),
    d("radians", |r| Ok(finite(r.d(0).to_radians()))),
    FnDef {
        name: "pi",
        arity: (0, 0),
        gives: Gives::Always(Ty::Fixed(6)),
        body: Body::Rows(&[], |_| Ok(Out::D(std::f64::consts::PI))),
    },
    by_row("bin", (1, 1), Ty::Text, &[I], |r| Ok(Out::S(format!("{:b}", r.i(0))))),
    by_row("oct", (1, 1), Ty::Text, &[I], |r| Ok(Out::S(format!("{:o}", r.i(0))))),
    by_row("bit_count", (1, 1), Ty::Int, &[U], |r| Ok(Out::I(i64::from(r.u(0).count_ones())))),
    by_row("conv", (3, 3), Ty::Text, &[S, I, I], conv),
    by_row("format", (2, 2), Ty::Text, &[D, I], format_number),
];

fn finite(v: f64) -> Out {
    if v.is_finite() { Out::D(v) } else { Out::Null }
}

fn logarithm(v: f64, f: impl Fn(f64) -> f64) -> Out {
    if v > 0.0 { finite(f(v)) } else { Out::Null }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Round,
    Truncate,
    Floor,
    Ceil,
}

fn exact(field: &FieldRef) -> Option<(u8, u8)> {
    match ty_of(field) {
        Ty::Text | Ty::Bytes | Ty::Double | Ty::Address => None,
        t if t.is_temporal() => Some((14 + t.fsp(), t.fsp())),
        _ => Some(as_decimal(field)),
    }
}

fn digits_asked(scalars: &[Option<&ScalarValue>]) -> Option<i64> {
    match scalars.get(1) {
        None => Some(0),
        Some(Some(ScalarValue::Int64(Some(n)))) => Some(*n),
        _ => None,
    }
}

fn cut_type(fields: &[FieldRef], scalars: &[Option<&ScalarValue>], carries: bool) -> Ty {
    match (ty_of(&fields[0]), exact(&fields[0])) {
        (Ty::UInt, _) => Ty::UInt,
        (ty, Some((p, s))) if s > 0 || matches!(ty, Ty::Decimal(..)) => {
            let declared = declared_digits(&fields[0]).unwrap_or(s);
            let scale = digits_asked(scalars).map_or(declared, |n| n.clamp(0, 38) as u8);
            Ty::Decimal((p - s.min(p) + scale + u8::from(carries)).clamp(1, 76), scale)
        }
        (_, Some(_)) => Ty::Int,
        (_, None) => match digits_asked(scalars) {
            Some(n) if n <= 30 => Ty::Fixed(n.max(0) as u8),
            _ => Ty::Double,
        },
    }
}

fn whole_type(fields: &[FieldRef]) -> Ty {
    match (ty_of(&fields[0]), exact(&fields[0])) {
        (Ty::UInt, _) => Ty::UInt,
        (Ty::Decimal(..), Some((p, s))) if p - s.min(p) >= 18 => Ty::Decimal((p - s.min(p) + 1).min(76), 0),
        (_, Some(_)) => Ty::Int,
        (_, None) => Ty::Fixed(0),
    }
}

fn abs_type(fields: &[FieldRef]) -> Ty {
    match ty_of(&fields[0]) {
        t @ (Ty::UInt | Ty::Int | Ty::Decimal(..)) => t,
        Ty::Bool => Ty::Int,
        Ty::Double => fixed_digits(&fields[0]).map_or(Ty::Double, Ty::Fixed),
        t if t.is_temporal() && t.fsp() > 0 => Ty::Decimal(14 + t.fsp(), t.fsp()),
        t if t.is_temporal() => Ty::Int,
        _ => Ty::Double,
    }
}

fn wide(call: &Call) -> Result<(Vec<Option<i256>>, u8)> {
    let (p, s) = exact(&call.fields[0]).unwrap_or((65, 30));
    let array = cast(&call.converted(0, Ty::Decimal(p.max(1), s))?, &DataType::Decimal256(76, s as i8))?;
    Ok((array.as_primitive::<Decimal256Type>().iter().collect(), s))
}

/// Cuts `value` (in units of 10^-scale) to `digits` after the point, in the same units.
fn cut_exact(value: i256, scale: u8, digits: i64, how: Cut) -> i256 {
    let drop = i64::from(scale) - digits;
    if drop <= 0 {
        return value;
    }
    if drop > 76 {
        return i256::ZERO;
    }
    let unit = i256::from_i128(10).wrapping_pow(drop as u32);
    let rest = value.wrapping_rem(unit);
    let base = value.wrapping_sub(rest);
    let twice = rest.wrapping_abs().wrapping_mul(i256::from_i128(2));
    let (up, down) = (base.wrapping_add(unit), base.wrapping_sub(unit));
    match how {
        Cut::Truncate => base,
        Cut::Floor if rest < i256::ZERO => down,
        Cut::Ceil if rest > i256::ZERO => up,
        Cut::Round if twice >= unit => {
            if value < i256::ZERO {
                down
            } else {
                up
            }
        }
        _ => base,
    }
}

fn cut_double(v: f64, digits: i64, how: Cut) -> f64 {
    let digits = digits.clamp(-308, 308) as i32;
    let unit = 10_f64.powi(digits.abs());
    let scaled = if digits >= 0 { v * unit } else { v / unit };
    if !scaled.is_finite() {
        return v;
    }
    let whole = match how {
        Cut::Round => scaled.round_ties_even(),
        Cut::Truncate => scaled.trunc(),
        Cut::Floor => scaled.floor(),
        Cut::Ceil => scaled.ceil(),
    };
    if digits >= 0 { whole / unit } else { whole * unit }
}

fn cut(call: &Call, how: Cut) -> Result<ArrayRef> {
    let digits: Vec<Option<i64>> = if call.args.len() > 1 {
        call.converted(1, Ty::Int)?.as_primitive::<Int64Type>().iter().collect()
    } else {
        vec![Some(0); call.rows]
    };
    if call.returns == Ty::Double {
        let values = call.converted(0, Ty::Double)?;
        let values = values.as_primitive::<arrow::datatypes::Float64Type>();
        let all = values.iter().zip(digits).map(|(v, n)| Some(cut_double(v?, n?, how)));
        return Ok(Arc::new(all.collect::<arrow::array::Float64Array>()));
    }
    let (values, scale) = wide(call)?;
    let all = values.into_iter().zip(digits).map(|(v, n)| Some(cut_exact(v?, scale, n?, how))).collect();
    finish(all, scale, call)
}

fn whole(call: &Call, how: Cut) -> Result<ArrayRef> {
    if call.returns == Ty::Double {
        return cut(call, how);
    }
    let (values, scale) = wide(call)?;
    finish(values.into_iter().map(|v| v.map(|v| cut_exact(v, scale, 0, how))).collect(), scale, call)
}

fn finish(values: Vec<Option<i256>>, scale: u8, call: &Call) -> Result<ArrayRef> {
    let array = arrow::array::Decimal256Array::from_iter(values).with_precision_and_scale(76, scale as i8)?;
    Ok(cast(&array, &call.returns.data_type())?)
}

fn abs(call: &Call) -> Result<ArrayRef> {
    if call.returns == Ty::Double {
        let values = call.converted(0, Ty::Double)?;
        let values = values.as_primitive::<arrow::datatypes::Float64Type>();
        return Ok(Arc::new(values.unary::<_, arrow::datatypes::Float64Type>(f64::abs)));
    }
    let (values, scale) = wide(call)?;
    finish(values.into_iter().map(|v| v.map(i256::wrapping_abs)).collect(), scale, call)
}

fn all(fields: &[FieldRef]) -> Ty {
    common(&fields.iter().map(|f| &**f).collect::<Vec<_>>())
}

/// GREATEST and LEAST: NULL if any is; texts by the session's collation.
fn extreme(call: &Call, greatest: bool) -> Result<ArrayRef> {
    let mut best = call.converted(0, call.returns)?;
    for i in 1..call.args.len() {
        let other = call.converted(i, call.returns)?;
        let (a, b) = (comparable(&best, call), comparable(&other, call));
        let smaller = arrow::compute::kernels::cmp::lt(&a, &b)?;
        let take_other = if greatest { smaller } else { arrow::compute::not(&smaller)? };
        let picked = arrow::compute::kernels::zip::zip(&prep(&take_other), &other, &best)?;
        let either = arrow::compute::or(&arrow::compute::is_null(&best)?, &arrow::compute::is_null(&other)?)?;
        best = arrow::compute::nullif(&picked, &either)?;
    }
    Ok(best)
}

fn prep(mask: &arrow::array::BooleanArray) -> arrow::array::BooleanArray {
    mask.iter().map(|v| Some(v.unwrap_or(false))).collect()
}

fn comparable(array: &ArrayRef, call: &Call) -> ArrayRef {
    if call.returns != Ty::Text {
        return Arc::clone(array);
    }
    let collation = super::strongest(call.fields).unwrap_or_else(|| call.context.collation.clone());
    let rules = crate::sql::collation::Rules::of(&collation);
    let keys = array.as_string::<i32>().iter().map(|t| t.map(|t| rules.key(t)));
    Arc::new(keys.collect::<arrow::array::StringArray>())
}

fn conv(r: &Row) -> Result<Out> {
    let (from, to) = (r.i(1).unsigned_abs() as u32, r.i(2).unsigned_abs() as u32);
    if !(2..=36).contains(&from) || !(2..=36).contains(&to) {
        return Ok(Out::Null);
    }
    let text = r.s(0).trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let value = digits.chars().map_while(|c| c.to_digit(from)).fold(0_u64, |n, d| {
        n.checked_mul(u64::from(from)).and_then(|n| n.checked_add(u64::from(d))).unwrap_or(u64::MAX)
    });
    let mut value = if negative { value.wrapping_neg() } else { value };
    let mut out = Vec::new();
    while value > 0 || out.is_empty() {
        let digit = (value % u64::from(to)) as u32;
        out.push(char::from_digit(digit, to).unwrap_or('0').to_ascii_uppercase());
        value /= u64::from(to);
    }
    Ok(Out::S(out.iter().rev().collect()))
}

fn format_number(r: &Row) -> Result<Out> {
    let digits = r.i(1).clamp(0, 30) as usize;
    let text = format!("{:.digits$}", r.d(0).abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(c);
    }
    let sign = if r.d(0) < 0.0 { "-" } else { "" };
    Ok(Out::S(if digits == 0 { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{fraction}") }))
}
