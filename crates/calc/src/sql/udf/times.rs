//! TIME arithmetic, time zones and UNIX time.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{FieldRef, Int64Type, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue};
use tidelake_core::types::temporal::{TIME_MAX_US, date_of, is_invalid_day, split_micros};

use super::Want::{I, S, T};
use super::dates::digits;
use super::{Body, Call, FnDef, Gives, MANY, Out, Row};
use crate::sql::datetime::{SECOND_US, add_micros, parse_datetime, parse_time, week};
use crate::sql::error::{through, unsupported};
use crate::sql::types::{Ty, exact, ty_of};
use crate::sql::zone::Zone;

pub(super) const FUNCTIONS: &[FnDef] = &[
    FnDef {
        name: "timediff",
        arity: (2, 2),
        gives: Gives::By(|f, s| Ty::Time(most(f, s))),
        body: Body::Columns(timediff),
    },
    FnDef { name: "addtime", arity: (2, 2), gives: Gives::By(sum_type), body: Body::Columns(|c| shifted(c, 1)) },
    FnDef { name: "subtime", arity: (2, 2), gives: Gives::By(sum_type), body: Body::Columns(|c| shifted(c, -1)) },
    FnDef {
        name: "maketime",
        arity: (3, 3),
        gives: Gives::By(|f, s| Ty::Time(digits(f, s, 2))),
        body: Body::Columns(maketime),
    },
    FnDef {
        name: "sec_to_time",
        arity: (1, 1),
        gives: Gives::By(|f, s| Ty::Time(digits(f, s, 0))),
        body: Body::Columns(sec_to_time),
    },
    FnDef {
        name: "time_to_sec",
        arity: (1, 1),
        gives: Gives::By(|f, s| seconds(f, s, 12)),
        body: Body::Columns(time_to_sec),
    },
    FnDef {
        name: "unix_timestamp",
        arity: (1, 1),
        gives: Gives::By(|f, s| seconds(f, s, 11)),
        body: Body::Columns(unix_timestamp),
    },
    FnDef {
        name: "from_unixtime",
        arity: (1, 1),
        gives: Gives::By(|f, s| match ty_of(&f[0]) {
            Ty::Decimal(_, s) => Ty::DateTime(s.min(6)),
            Ty::Double | Ty::Text => Ty::DateTime(digits(f, s, 0).max(6)),
            _ => Ty::DateTime(0),
        }),
        body: Body::Columns(from_unixtime),
    },
    FnDef {
        name: "convert_tz",
        arity: (3, 3),
        gives: Gives::By(|f, s| Ty::DateTime(digits(f, s, 0))),
        body: Body::Rows(&[T, S, S], convert_tz),
    },
    FnDef { name: "__extract", arity: (2, 2), gives: Gives::Always(Ty::Int), body: Body::Rows(&[S], extract) },
    FnDef {
        name: "period_add",
        arity: (2, 2),
        gives: Gives::Always(Ty::Int),
        body: Body::Rows(&[I], |r| Ok(Out::I(period(months(r.i(0)) + r.i(1))))),
    },
    FnDef {
        name: "period_diff",
        arity: (2, 2),
        gives: Gives::Always(Ty::Int),
        body: Body::Rows(&[I], |r| Ok(Out::I(months(r.i(0)) - months(r.i(1))))),
    },
    FnDef {
        name: "interval",
        arity: (2, MANY),
        gives: Gives::Always(Ty::Int),
        body: Body::RowsWithNulls(&[super::Want::D], interval),
    },
];

fn most(fields: &[FieldRef], scalars: &[Option<&ScalarValue>]) -> u8 {
    (0..fields.len()).map(|i| digits(fields, scalars, i)).max().unwrap_or(0)
}

/// BIGINT, or DECIMAL where there are fractional seconds.
fn seconds(fields: &[FieldRef], scalars: &[Option<&ScalarValue>], width: u8) -> Ty {
    match digits(fields, scalars, 0) {
        0 => Ty::Int,
        fsp => Ty::Decimal(width + fsp, fsp),
    }
}

/// An argument as a moment or as a TIME, whichever it is.
enum Moment {
    Date(i64),
    Time(i64),
}

fn moments(call: &Call, i: usize, zero_is_day_0: bool) -> Result<Vec<Option<Moment>>> {
    Ok(match ty_of(&call.fields[i]) {
        Ty::Date | Ty::DateTime(_) | Ty::Timestamp(_) => {
            let local = call.converted(i, Ty::DateTime(6))?;
            let local = local.as_primitive::<TimestampMicrosecondType>();
            // A zero date is day 0; of a partial one nothing is known.
            let real = |us: i64| {
                let (day, time) = split_micros(us);
                match date_of(day) {
                    (0, 0, 0) if zero_is_day_0 => Some(-719_528 * 86_400 * SECOND_US + time),
                    _ => (!is_invalid_day(day)).then_some(us),
                }
            };
            local.iter().map(|v| v.and_then(real).map(Moment::Date)).collect()
        }
        Ty::Text | Ty::Bytes => {
            let text = call.converted(i, Ty::Text)?;
            let read = |t: &str| {
                let date = t
                    .trim()
                    .split([' ', 'T'])
                    .next()
                    .is_some_and(|d| d.matches('-').count() == 2 && !d.starts_with('-'));
                if date {
                    return parse_datetime(t).map(|p| Moment::Date(p.micros));
                }
                parse_time(t).map(|(us, _)| Moment::Time(us))
            };
            text.as_string::<i32>().iter().map(|v| v.and_then(read)).collect()
        }
        _ => {
            let times = call.converted(i, Ty::Time(6))?;
            times.as_primitive::<Int64Type>().iter().map(|v| v.map(Moment::Time)).collect()
        }
    })
}

/// Within what a TIME holds, cut to the result's digits.
fn clamped(us: i64, fsp: u8) -> i64 {
    let unit = 10_i64.pow(6 - u32::from(fsp.min(6)));
    let most = TIME_MAX_US - TIME_MAX_US.rem_euclid(SECOND_US) + if fsp > 0 { SECOND_US - 1 } else { 0 };
    us.clamp(-most, most) / unit * unit
}

fn timediff(call: &Call) -> Result<ArrayRef> {
    let fsp = call.returns.fsp();
    let pairs = moments(call, 0, true)?.into_iter().zip(moments(call, 1, true)?);
    let all = pairs.map(|(a, b)| match (a?, b?) {
        (Moment::Date(a), Moment::Date(b)) | (Moment::Time(a), Moment::Time(b)) => Some(clamped(a - b, fsp)),
        _ => None,
    });
    Ok(Arc::new(all.collect::<Int64Array>()))
}

/// ADDTIME keeps what its first argument is; of a text, a text.
fn sum_type(fields: &[FieldRef], scalars: &[Option<&ScalarValue>]) -> Ty {
    match ty_of(&fields[0]) {
        Ty::Date | Ty::DateTime(_) | Ty::Timestamp(_) => Ty::DateTime(most(fields, scalars)),
        Ty::Time(_) => Ty::Time(most(fields, scalars)),
        _ => Ty::Text,
    }
}

fn shifted(call: &Call, sign: i64) -> Result<ArrayRef> {
    let (first, by) = (moments(call, 0, false)?, moments(call, 1, false)?);
    let sums: Vec<Option<Moment>> = first
        .into_iter()
        .zip(by)
        .map(|(a, b)| {
            let Moment::Time(by) = b? else { return None };
            Some(match a? {
                Moment::Date(us) => Moment::Date(add_micros(us, sign * by)?),
                Moment::Time(us) => Moment::Time(us + sign * by),
            })
        })
        .collect();
    let fsp = call.returns.fsp();
    Ok(match call.returns {
        Ty::Time(_) => Arc::new(sums.into_iter().map(|m| m.map(|m| clamped(m.micros(), fsp))).collect::<Int64Array>()),
        Ty::Text => {
            let text = |m: Moment| match m {
                Moment::Date(us) => crate::sql::datetime::datetime_text(us, fraction(us)),
                Moment::Time(us) => crate::sql::datetime::time_text(clamped(us, fraction(us)), fraction(us)),
            };
            Arc::new(sums.into_iter().map(|m| m.map(text)).collect::<arrow::array::StringArray>())
        }
        _ => Arc::new(sums.into_iter().map(|m| m.map(|m| m.micros())).collect::<TimestampMicrosecondArray>()),
    })
}

impl Moment {
    fn micros(&self) -> i64 {
        match self {
            Moment::Date(us) | Moment::Time(us) => *us,
        }
    }
}

fn fraction(us: i64) -> u8 {
    if us.rem_euclid(SECOND_US) == 0 { 0 } else { 6 }
}

/// Microseconds of a number of seconds, exactly.
fn micros_of(call: &Call, i: usize) -> Result<Vec<Option<i64>>> {
    if matches!(exact(&call.fields[i]), Ty::Text | Ty::Bytes | Ty::Double | Ty::Fixed(_)) {
        let doubles = call.converted(i, Ty::Double)?;
        let doubles = doubles.as_primitive::<arrow::datatypes::Float64Type>();
        return Ok(doubles.iter().map(|v| v.map(|s| (s * 1e6).round().clamp(-9e18, 9e18) as i64)).collect());
    }
    let exact = call.converted(i, Ty::Decimal(38, 6))?;
    let clamp = |v: i128| v.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    Ok(exact.as_primitive::<arrow::datatypes::Decimal128Type>().iter().map(|v| v.map(clamp)).collect())
}

fn maketime(call: &Call) -> Result<ArrayRef> {
    let (h, m) = (call.converted(0, Ty::Int)?, call.converted(1, Ty::Int)?);
    let (h, m, s) = (h.as_primitive::<Int64Type>(), m.as_primitive::<Int64Type>(), micros_of(call, 2)?);
    let fsp = call.returns.fsp();
    let all = h.iter().zip(m.iter()).zip(s).map(|((h, m), s)| {
        let (h, m, s) = (h?, m?, s?);
        if !(0..60).contains(&m) || !(0..60 * SECOND_US).contains(&s) {
            return None;
        }
        let sign = if h < 0 { -1 } else { 1 };
        Some(clamped(sign * ((h.abs().min(10_000) * 60 + m) * 60 * SECOND_US + s), fsp))
    });
    Ok(Arc::new(all.collect::<Int64Array>()))
}

fn sec_to_time(call: &Call) -> Result<ArrayRef> {
    let fsp = call.returns.fsp();
    Ok(Arc::new(micros_of(call, 0)?.into_iter().map(|v| v.map(|us| clamped(us, fsp))).collect::<Int64Array>()))
}

/// Microseconds as whole seconds, or as a DECIMAL of seconds.
fn as_seconds(micros: Vec<Option<i64>>, call: &Call) -> Result<ArrayRef> {
    if call.returns == Ty::Int {
        return Ok(Arc::new(micros.into_iter().map(|v| v.map(|us| us.div_euclid(SECOND_US))).collect::<Int64Array>()));
    }
    let fsp = call.returns;
    let Ty::Decimal(_, scale) = fsp else { return Ok(Arc::new(Int64Array::new_null(micros.len()))) };
    let unit = 10_i64.pow(6 - u32::from(scale.min(6)));
    let exact = micros.into_iter().map(|v| v.map(|us| i128::from(us / unit * unit)));
    let exact = exact.collect::<arrow::array::Decimal128Array>().with_precision_and_scale(38, 6)?;
    Ok(arrow::compute::cast(&exact, &call.returns.data_type())?)
}

fn time_to_sec(call: &Call) -> Result<ArrayRef> {
    let times = call.converted(0, Ty::Time(6))?;
    let micros = times.as_primitive::<Int64Type>().iter();
    if call.returns == Ty::Int {
        return Ok(Arc::new(micros.map(|v| v.map(|us| us / SECOND_US)).collect::<Int64Array>()));
    }
    as_seconds(micros.collect(), call)
}

/// The first instant a TIMESTAMP holds and the one after the last, in microseconds.
const STAMPS: std::ops::Range<i64> = 0..2_147_483_648 * SECOND_US;

fn unix_timestamp(call: &Call) -> Result<ArrayRef> {
    let utc: Vec<Option<i64>> = if let Ty::Timestamp(_) = ty_of(&call.fields[0]) {
        let utc = call.converted(0, Ty::Timestamp(6))?;
        utc.as_primitive::<TimestampMicrosecondType>().iter().collect()
    } else {
        let local = call.converted(0, Ty::DateTime(6))?;
        let zone = call.context.zone;
        local.as_primitive::<TimestampMicrosecondType>().iter().map(|v| v.map(|us| zone.to_utc(us))).collect()
    };
    let real = |us: &i64| !is_invalid_day(split_micros(*us).0) && STAMPS.contains(us);
    as_seconds(utc.into_iter().map(|v| v.filter(real)).collect(), call)
}

fn from_unixtime(call: &Call) -> Result<ArrayRef> {
    let zone = call.context.zone;
    let unit = 10_i64.pow(6 - u32::from(call.returns.fsp()));
    let all = micros_of(call, 0)?
        .into_iter()
        .map(|v| v.filter(|us| STAMPS.contains(us)).map(|us| zone.to_local(us / unit * unit)));
    Ok(Arc::new(all.collect::<TimestampMicrosecondArray>()))
}

/// Moments outside TIMESTAMP's range are not moved; an unknown zone gives NULL.
fn convert_tz(r: &Row) -> Result<Out> {
    let zone = |i| Zone::of_session(r.s(i), r.system_zone);
    let (Some(from), Some(to)) = (zone(1), zone(2)) else { return Ok(Out::Null) };
    if is_invalid_day(split_micros(r.i(0)).0) {
        return Ok(Out::Null);
    }
    let utc = from.to_utc(r.i(0));
    Ok(Out::T(if STAMPS.contains(&utc) && utc >= SECOND_US { to.to_local(utc) } else { r.i(0) }))
}

fn months(period: i64) -> i64 {
    let (year, month) = (period / 100, period % 100);
    let year = match year {
        0..=69 => 2000 + year,
        70..=99 => 1900 + year,
        other => other,
    };
    year * 12 + month - 1
}

fn period(months: i64) -> i64 {
    months.div_euclid(12) * 100 + months.rem_euclid(12) + 1
}

/// INTERVAL(n, a, b, ...): how many of them are not above n.
fn interval(r: &Row) -> Result<Out> {
    if r.is_null(0) {
        return Ok(Out::I(-1));
    }
    let above = (1..r.len()).find(|i| !r.is_null(*i) && r.d(*i) > r.d(0)).unwrap_or(r.len());
    Ok(Out::I(above as i64 - 1))
}

/// The parts of a value that units of EXTRACT are made of: year, month, day, and the time's microseconds.
fn parts(r: &Row, only_time: bool) -> Option<((i64, i64, i64), i64, i64)> {
    let is_time = matches!(r.ty(1), Ty::Time(_)) || (only_time && !r.ty(1).is_temporal() && !r.s(1).contains('-'));
    if is_time {
        let (us, _) = parse_time(r.s(1))?;
        let sign = if us < 0 { -1 } else { 1 };
        return Some(((0, 0, us.abs() / (86_400 * SECOND_US)), us.abs() % (86_400 * SECOND_US), sign));
    }
    let parsed = parse_datetime(r.s(1))?;
    let (day, us) = split_micros(parsed.micros);
    let (y, m, d) = date_of(day);
    Some(((i64::from(y), i64::from(m), i64::from(d)), us, 1))
}

fn extract(r: &Row) -> Result<Out> {
    let unit = r.s(0).to_ascii_uppercase();
    let only_time = !["YEAR", "QUARTER", "MONTH", "WEEK", "YEAR_MONTH"].contains(&unit.as_str());
    let Some(((y, m, d), us, sign)) = parts(r, only_time) else { return Ok(Out::Null) };
    let (h, mi, s, f) = (us / 3_600_000_000, us / 60_000_000 % 60, us / SECOND_US % 60, us % SECOND_US);
    let million = 1_000_000;
    let value = match unit.as_str() {
        "YEAR" => y,
        "QUARTER" => (m + 2) / 3,
        "MONTH" => m,
        "WEEK" => {
            let Some(parsed) = parse_datetime(r.s(1)) else { return Ok(Out::Null) };
            let day = split_micros(parsed.micros).0;
            if is_invalid_day(day) {
                return Ok(Out::Null);
            }
            week(day, 0).0
        }
        "DAY" => d,
        "HOUR" => h,
        "MINUTE" => mi,
        "SECOND" => s,
        "MICROSECOND" => f,
        "YEAR_MONTH" => y * 100 + m,
        "DAY_HOUR" => d * 100 + h,
        "DAY_MINUTE" => (d * 100 + h) * 100 + mi,
        "DAY_SECOND" => ((d * 100 + h) * 100 + mi) * 100 + s,
        "DAY_MICROSECOND" => (((d * 100 + h) * 100 + mi) * 100 + s) * million + f,
        "HOUR_MINUTE" => h * 100 + mi,
        "HOUR_SECOND" => (h * 100 + mi) * 100 + s,
        "HOUR_MICROSECOND" => ((h * 100 + mi) * 100 + s) * million + f,
        "MINUTE_SECOND" => mi * 100 + s,
        "MINUTE_MICROSECOND" => (mi * 100 + s) * million + f,
        "SECOND_MICROSECOND" => s * million + f,
        other => return Err(through(unsupported(format!("EXTRACT({other} FROM ...)")))),
    };
    Ok(Out::I(sign * value))
}
