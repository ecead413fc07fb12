//! `+ - * / DIV % -x`, bit operators, and the argument of SUM. Integers are BIGINT and overflow loudly; `/` of exact
//! numbers is DECIMAL with four more digits; what is not exact is DOUBLE; division by zero is NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, UInt64Array};
use arrow::compute::cast;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Decimal256Type, FieldRef, Float64Type, Int64Type, UInt64Type, i256};
use datafusion::common::{Result, ScalarValue};

use super::{Body, Call, FnDef, Gives};
use crate::session::SqlError;
use crate::sql::error::through;
use crate::sql::types::{Ty, as_decimal, decimal, declared_digits, exact, ty_of};

const fn columns(
    name: &'static str,
    n: usize,
    gives: fn(&[FieldRef], &[Option<&ScalarValue>]) -> Ty,
    f: fn(&Call) -> Result<ArrayRef>,
) -> FnDef {
    FnDef { name, arity: (n, n), gives: Gives::By(gives), body: Body::Columns(f) }
}

pub(super) const FUNCTIONS: &[FnDef] = &[
    columns("__add", 2, |f, _| sum_type(f, false), |c| summed(c, "+", numeric::add)),
    columns("__sub", 2, |f, _| sum_type(f, false), |c| summed(c, "-", numeric::sub)),
    columns("__mul", 2, |f, _| sum_type(f, true), |c| summed(c, "*", numeric::mul)),
    columns("__div", 2, |f, _| div_type(f), div),
    columns("__intdiv", 2, |f, _| if unsigned(f) { Ty::UInt } else { Ty::Int }, intdiv),
    columns("mod", 2, |f, _| mod_type(f), modulo),
    columns("__neg", 1, |f, _| neg_type(f), negate),
    columns("__sumarg", 1, |f, _| sum_argument(f), |c| c.converted(0, c.returns)),
    columns("__bitand", 2, |_, _| Ty::UInt, |c| bits(c, |a, b| a & b)),
    columns("__bitor", 2, |_, _| Ty::UInt, |c| bits(c, |a, b| a | b)),
    columns("__bitxor", 2, |_, _| Ty::UInt, |c| bits(c, |a, b| a ^ b)),
    columns("__shl", 2, |_, _| Ty::UInt, |c| bits(c, |a, b| if b < 64 { a << b } else { 0 })),
    columns("__shr", 2, |_, _| Ty::UInt, |c| bits(c, |a, b| if b < 64 { a >> b } else { 0 })),
    columns(
        "__bitnot",
        1,
        |_, _| Ty::UInt,
        |c| {
            let a = c.converted(0, Ty::UInt)?;
            Ok(Arc::new(a.as_primitive::<UInt64Type>().unary::<_, UInt64Type>(|v| !v)))
        },
    ),
    columns("__argbits", 1, |_, _| Ty::UInt, |c| c.converted(0, Ty::UInt)),
    // The argument of STDDEV and VARIANCE: of exact numbers the result has four more digits, of others all.
    columns("__statarg", 1, |f, _| spread(&f[0]), |c| c.converted(0, Ty::Double)),
];

fn class(fields: &[FieldRef]) -> (bool, bool) {
    let all = fields.iter().map(|f| ty_of(f));
    let inexact = all.clone().any(|t| matches!(t, Ty::Double | Ty::Text | Ty::Bytes | Ty::Address));
    let fractional = all.clone().any(|t| matches!(t, Ty::Decimal(..)) || t.fsp() > 0);
    (inexact, fractional)
}

fn unsigned(fields: &[FieldRef]) -> bool {
    fields.iter().any(|f| ty_of(f) == Ty::UInt)
}

fn parts(field: &FieldRef) -> (u8, u8) {
    match ty_of(field) {
        t if t.is_temporal() => (14 + t.fsp(), t.fsp()),
        _ => as_decimal(field),
    }
}

fn sum_type(fields: &[FieldRef], product: bool) -> Ty {
    let (inexact, fractional) = class(fields);
    if inexact {
        return double(fields, 0);
    }
    if !fractional {
        return if unsigned(fields) { Ty::UInt } else { Ty::Int };
    }
    let ((p, s), (q, t)) = (parts(&fields[0]), parts(&fields[1]));
    if product {
        return decimal(p.saturating_sub(s) + q.saturating_sub(t), 0, s + t);
    }
    decimal(p.saturating_sub(s) + 1, q.saturating_sub(t) + 1, s.max(t))
}

/// Digits after the point that a quotient is computed with: the upstream's decimals are groups of nine digits.
fn quotient_digits(s: u8, t: u8) -> u8 {
    let group = |digits: u8| digits.div_ceil(9) * 9;
    let spare = group(s) - s + group(t) - t;
    group(group(s) + group(t) + 4_u8.saturating_sub(spare)).min(36).max((s + 4).min(38))
}

/// DOUBLE, of a fixed number of digits if both sides are.
fn double(fields: &[FieldRef], more: u8) -> Ty {
    let digits = fields.iter().map(|f| match exact(f) {
        Ty::Double | Ty::Text | Ty::Bytes | Ty::Address => None,
        Ty::Fixed(n) | Ty::Decimal(_, n) => Some(n),
        other => Some(other.fsp()),
    });
    let most = digits.collect::<Option<Vec<u8>>>().and_then(|all| all.into_iter().max());
    most.map_or(Ty::Double, |n| Ty::Fixed((n + more).min(30)))
}

/// The digits that the result of an operator declares; `None` for what is no operator on decimals.
pub(super) fn declared(name: &str, fields: &[FieldRef]) -> Option<u8> {
    let of = |i: usize| declared_digits(&fields[i]).unwrap_or_else(|| parts(&fields[i]).1);
    Some(match name {
        "__add" | "__sub" | "mod" => of(0).max(of(1)),
        "__mul" => (of(0) + of(1)).min(38),
        "__div" => (of(0) + 4).min(38),
        "__neg" | "__sumarg" | "abs" => of(0),
        _ => return None,
    })
}

fn div_type(fields: &[FieldRef]) -> Ty {
    if class(fields).0 {
        return double(fields, 4);
    }
    let ((p, s), (_, t)) = (parts(&fields[0]), parts(&fields[1]));
    decimal(p.saturating_sub(s) + t, 0, quotient_digits(s, t))
}

fn mod_type(fields: &[FieldRef]) -> Ty {
    match sum_type(fields, false) {
        Ty::UInt if ty_of(&fields[0]) != Ty::UInt => Ty::Int,
        other => other,
    }
}

fn neg_type(fields: &[FieldRef]) -> Ty {
    match exact(&fields[0]) {
        Ty::Fixed(n) => Ty::Fixed(n),
        Ty::Text | Ty::Bytes | Ty::Double | Ty::Address => Ty::Double,
        Ty::Decimal(..) => ty_of(&fields[0]),
        // Outside BIGINT, and for unsigned numbers, the result is exact.
        Ty::UInt => Ty::Decimal(20, 0),
        t if t.is_temporal() && t.fsp() > 0 => Ty::Decimal(14 + t.fsp(), t.fsp()),
        _ => Ty::Int,
    }
}

fn sum_argument(fields: &[FieldRef]) -> Ty {
    match exact(&fields[0]) {
        Ty::Fixed(n) => Ty::Fixed(n),
        Ty::Text | Ty::Bytes | Ty::Double | Ty::Address => Ty::Double,
        t if t.is_temporal() => Ty::Decimal(14 + t.fsp(), t.fsp()),
        _ => {
            let (p, s) = as_decimal(&fields[0]);
            Ty::Decimal(p, s)
        }
    }
}

fn spread(field: &FieldRef) -> Ty {
    match exact(field) {
        Ty::Double | Ty::Text | Ty::Bytes | Ty::Address => Ty::Double,
        Ty::Fixed(n) | Ty::Decimal(_, n) => Ty::Fixed((n + 4).min(30)),
        other => Ty::Fixed(other.fsp() + 4),
    }
}

fn out_of_range(what: &str, call: &Call) -> datafusion::common::DataFusionError {
    let kind = match call.returns {
        Ty::UInt => "BIGINT UNSIGNED",
        Ty::Int => "BIGINT",
        Ty::Double => "DOUBLE",
        _ => "DECIMAL",
    };
    through(SqlError::new(1690, "22003", format!("{kind} value is out of range in '{what}'")))
}

/// A DOUBLE that left its range is an error.
fn within_double(result: ArrayRef, sign: &str, call: &Call) -> Result<ArrayRef> {
    let doubles = result.as_primitive_opt::<Float64Type>();
    match doubles.is_some_and(|d| d.iter().flatten().any(|v| !v.is_finite())) {
        true => Err(out_of_range(sign, call)),
        false => Ok(result),
    }
}

type Kernel = fn(&dyn arrow::array::Datum, &dyn arrow::array::Datum) -> Result<ArrayRef, arrow::error::ArrowError>;

fn summed(call: &Call, sign: &str, kernel: Kernel) -> Result<ArrayRef> {
    let ty = call.returns;
    if !matches!(ty, Ty::Decimal(..)) {
        if ty == Ty::UInt {
            return unsigned_exact(call, sign);
        }
        let (a, b) = (call.converted(0, ty)?, call.converted(1, ty)?);
        let result = kernel(&a, &b).map_err(|_| out_of_range(sign, call))?;
        return within_double(result, sign, call);
    }
    // Both sides in the result's width; the kernels derive their own precision, which is then set to ours.
    let side = |i: usize| -> Result<ArrayRef> {
        let (p, s) = parts(&call.fields[i]);
        let wide = matches!(ty, Ty::Decimal(p, _) if p > 38);
        let own = Ty::Decimal(p.max(1), s);
        let array = call.converted(i, own)?;
        match (wide, array.data_type()) {
            (true, DataType::Decimal128(p, s)) => Ok(cast(&array, &DataType::Decimal256(*p, *s))?),
            _ => Ok(array),
        }
    };
    let result = kernel(&side(0)?, &side(1)?).map_err(|_| out_of_range(sign, call))?;
    Ok(cast(&result, &ty.data_type())?)
}

/// A mix of signed and unsigned is computed exactly and must fit BIGINT UNSIGNED, as MySQL wants it.
fn unsigned_exact(call: &Call, sign: &str) -> Result<ArrayRef> {
    let wide = |i: usize| -> Result<Vec<Option<i128>>> {
        if ty_of(&call.fields[i]) == Ty::UInt {
            let a = call.converted(i, Ty::UInt)?;
            return Ok(a.as_primitive::<UInt64Type>().iter().map(|v| v.map(i128::from)).collect());
        }
        let a = call.converted(i, Ty::Int)?;
        Ok(a.as_primitive::<Int64Type>().iter().map(|v| v.map(i128::from)).collect())
    };
    let (a, b) = (wide(0)?, wide(1)?);
    let results = a.into_iter().zip(b).map(|(a, b)| {
        let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
        let value = match sign {
            "+" => a + b,
            "-" => a - b,
            _ => a.saturating_mul(b),
        };
        u64::try_from(value).map(Some).map_err(|_| out_of_range(sign, call))
    });
    Ok(Arc::new(results.collect::<Result<UInt64Array>>()?))
}

fn doubles(call: &Call) -> Result<(Float64Array, Float64Array)> {
    let (a, b) = (call.converted(0, Ty::Double)?, call.converted(1, Ty::Double)?);
    Ok((a.as_primitive::<Float64Type>().clone(), b.as_primitive::<Float64Type>().clone()))
}

fn wide(call: &Call, i: usize) -> Result<(Vec<Option<i256>>, u8)> {
    let (p, s) = parts(&call.fields[i]);
    let array = call.converted(i, Ty::Decimal(p.max(1), s))?;
    let array = cast(&array, &DataType::Decimal256(76, s as i8))?;
    Ok((array.as_primitive::<Decimal256Type>().iter().collect(), s))
}

fn power_of_ten(n: u8) -> i256 {
    i256::from_i128(10).wrapping_pow(u32::from(n))
}

fn div(call: &Call) -> Result<ArrayRef> {
    let Ty::Decimal(_, scale) = call.returns else {
        let (a, b) = doubles(call)?;
        let q = a.iter().zip(b.iter()).map(|(a, b)| Some(a? / b.filter(|b| *b != 0.0)?));
        return within_double(Arc::new(q.collect::<Float64Array>()), "/", call);
    };
    let ((a, s), (b, t)) = (wide(call, 0)?, wide(call, 1)?);
    // a / 10^s divided by b / 10^t, in units of 10^-scale.
    let up = power_of_ten(scale + t - s);
    let quotients = a.into_iter().zip(b).map(|(a, b)| {
        let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
        if b == i256::ZERO {
            return Ok(None);
        }
        let numerator = a.checked_mul(up).ok_or_else(|| out_of_range("/", call))?;
        // Cut, not rounded: the declared digits are rounded at the end.
        Ok(Some(numerator.wrapping_div(b)))
    });
    decimals(quotients.collect::<Result<Vec<_>>>()?, scale, call)
}

fn decimals(values: Vec<Option<i256>>, scale: u8, call: &Call) -> Result<ArrayRef> {
    let array = arrow::array::Decimal256Array::from_iter(values).with_precision_and_scale(76, scale as i8)?;
    Ok(cast(&array, &call.returns.data_type())?)
}

fn intdiv(call: &Call) -> Result<ArrayRef> {
    let scaled = |i: usize| -> Result<(Vec<Option<i256>>, u8)> {
        if class(&call.fields[i..=i]).0 {
            let a = call.converted(i, Ty::Decimal(38, 9))?;
            let a = cast(&a, &DataType::Decimal256(76, 9))?;
            return Ok((a.as_primitive::<Decimal256Type>().iter().collect(), 9));
        }
        wide(call, i)
    };
    let ((a, s), (b, t)) = (scaled(0)?, scaled(1)?);
    let top = s.max(t);
    let quotients = a.into_iter().zip(b).map(|(a, b)| {
        let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
        let a = a.checked_mul(power_of_ten(top - s)).ok_or_else(|| out_of_range("DIV", call))?;
        let b = b.checked_mul(power_of_ten(top - t)).ok_or_else(|| out_of_range("DIV", call))?;
        if b == i256::ZERO {
            return Ok(None);
        }
        a.wrapping_div(b).to_i128().map(Some).ok_or_else(|| out_of_range("DIV", call))
    });
    let quotients = quotients.collect::<Result<Vec<Option<i128>>>>()?;
    if call.returns == Ty::UInt {
        let fit = |v: i128| u64::try_from(v).map_err(|_| out_of_range("DIV", call));
        let all = quotients.into_iter().map(|v| v.map(fit).transpose());
        return Ok(Arc::new(all.collect::<Result<UInt64Array>>()?));
    }
    let fit = |v: i128| i64::try_from(v).map_err(|_| out_of_range("DIV", call));
    let all = quotients.into_iter().map(|v| v.map(fit).transpose());
    Ok(Arc::new(all.collect::<Result<Int64Array>>()?))
}

fn modulo(call: &Call) -> Result<ArrayRef> {
    match call.returns {
        Ty::Double => {
            let (a, b) = doubles(call)?;
            let r = a.iter().zip(b.iter()).map(|(a, b)| Some(a? % b.filter(|b| *b != 0.0)?));
            Ok(Arc::new(r.collect::<Float64Array>()))
        }
        Ty::Decimal(_, scale) => {
            let ((a, s), (b, t)) = (wide(call, 0)?, wide(call, 1)?);
            let r = a.into_iter().zip(b).map(|(a, b)| {
                let b = b.filter(|b| *b != i256::ZERO)?.wrapping_mul(power_of_ten(scale - t));
                Some(a?.wrapping_mul(power_of_ten(scale - s)).wrapping_rem(b))
            });
            decimals(r.collect(), scale, call)
        }
        _ => {
            let ((a, _), (b, _)) = (wide(call, 0)?, wide(call, 1)?);
            let r = a.into_iter().zip(b).map(|(a, b)| Some(a?.wrapping_rem(b.filter(|b| *b != i256::ZERO)?)));
            decimals_as(r.collect(), call)
        }
    }
}

fn decimals_as(values: Vec<Option<i256>>, call: &Call) -> Result<ArrayRef> {
    let whole = values.into_iter().map(|v| v.and_then(i256::to_i128));
    Ok(match call.returns {
        Ty::UInt => Arc::new(whole.map(|v| v.map(|v| v as u64)).collect::<UInt64Array>()),
        _ => Arc::new(whole.map(|v| v.map(|v| v as i64)).collect::<Int64Array>()),
    })
}

fn negate(call: &Call) -> Result<ArrayRef> {
    let array = call.converted(0, call.returns)?;
    numeric::neg(&array).map_err(|_| out_of_range("-", call))
}

fn bits(call: &Call, f: fn(u64, u64) -> u64) -> Result<ArrayRef> {
    let (a, b) = (call.converted(0, Ty::UInt)?, call.converted(1, Ty::UInt)?);
    let (a, b) = (a.as_primitive::<UInt64Type>(), b.as_primitive::<UInt64Type>());
    let all = a.iter().zip(b.iter()).map(|(a, b)| Some(f(a?, b?)));
    Ok(Arc::new(all.collect::<UInt64Array>()))
}
