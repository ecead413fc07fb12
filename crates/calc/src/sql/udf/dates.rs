//! Date and time functions, in the session's time zone. Zero and partial dates give their parts; arithmetic on them
//! is NULL.

use arrow::datatypes::FieldRef;
use datafusion::common::{Result, ScalarValue};
use tidelake_core::types::temporal::{DAY_US, INVALID_BASE, date_of, day_number, is_invalid_day, split_micros};

use super::Want::{I, M, S, T};
use super::{Body, FnDef, Gives, Out, Row, by_row};
use crate::sql::datetime::{
    SECOND_US, add_micros, add_months, day_of_year, last_day, to_days, week, weekday_from_sunday,
};
use crate::sql::error::{through, unsupported};
use crate::sql::types::{Ty, ty_of};

const fn part(name: &'static str, body: fn(&Row) -> Result<Out>) -> FnDef {
    by_row(name, (1, 1), Ty::Int, &[T], body)
}

pub(super) const FUNCTIONS: &[FnDef] = &[
    part("year", |r| Ok(Out::I(i64::from(ymd(r.i(0)).0)))),
    part("month", |r| Ok(Out::I(i64::from(ymd(r.i(0)).1)))),
    part("dayofmonth", |r| Ok(Out::I(i64::from(ymd(r.i(0)).2)))),
    part("quarter", |r| Ok(Out::I((i64::from(ymd(r.i(0)).1) + 2) / 3))),
    part("dayofweek", |r| Ok(real(r, |day| weekday_from_sunday(day) + 1))),
    part("weekday", |r| Ok(real(r, |day| (weekday_from_sunday(day) + 6) % 7))),
    part("dayofyear", |r| Ok(real(r, day_of_year))),
    part("to_days", |r| Ok(real(r, to_days))),
    part("to_seconds", |r| Ok(real(r, |day| to_days(day) * 86_400 + split_micros(r.i(0)).1 / SECOND_US))),
    part("weekofyear", |r| Ok(real(r, |day| week(day, 3).0))),
    by_row("week", (1, 2), Ty::Int, &[T, I], |r| {
        let mode = if r.len() == 2 { r.i(1) & 7 } else { 0 };
        Ok(real(r, |day| week(day, mode).0))
    }),
    by_row("yearweek", (1, 2), Ty::Int, &[T, I], |r| {
        let mode = if r.len() == 2 { r.i(1) & 7 } else { 0 };
        Ok(real(r, |day| {
            let (week, year) = week(day, mode | 2);
            year * 100 + week
        }))
    }),
    by_row("hour", (1, 1), Ty::Int, &[M], |r| Ok(Out::I(r.i(0).abs() / 3_600_000_000))),
    by_row("minute", (1, 1), Ty::Int, &[M], |r| Ok(Out::I(r.i(0).abs() / 60_000_000 % 60))),
    by_row("second", (1, 1), Ty::Int, &[M], |r| Ok(Out::I(r.i(0).abs() / SECOND_US % 60))),
    by_row("microsecond", (1, 1), Ty::Int, &[M], |r| Ok(Out::I(r.i(0).abs() % SECOND_US))),
    by_row("date", (1, 1), Ty::Date, &[T], |r| Ok(Out::T(r.i(0)))),
    FnDef {
        name: "time",
        arity: (1, 1),
        gives: Gives::By(|f, s| Ty::Time(digits(f, s, 0))),
        body: Body::Rows(&[M], |r| Ok(Out::M(r.i(0)))),
    },
    FnDef {
        name: "timestamp",
        arity: (1, 2),
        gives: Gives::By(|f, s| Ty::DateTime((0..f.len()).map(|i| digits(f, s, i)).max().unwrap_or(0))),
        body: Body::Rows(&[T, M], |r| {
            Ok(if r.len() == 2 { add_micros(r.i(0), r.i(1)).map_or(Out::Null, Out::T) } else { Out::T(r.i(0)) })
        }),
    },
    part("monthname", |r| Ok(name(MONTHS, i64::from(ymd(r.i(0)).1) - 1))).text(),
    part("dayname", |r| {
        Ok(match real(r, weekday_from_sunday) {
            Out::I(n) => name(DAYS, n),
            other => other,
        })
    })
    .text(),
    FnDef { name: "last_day", arity: (1, 1), gives: Gives::Always(Ty::Date), body: Body::Rows(&[T], end_of_month) },
    by_row("datediff", (2, 2), Ty::Int, &[T], |r| {
        let (a, b) = (split_micros(r.i(0)).0, split_micros(r.i(1)).0);
        Ok(if is_invalid_day(a) || is_invalid_day(b) { Out::Null } else { Out::I(i64::from(a) - i64::from(b)) })
    }),
    by_row("__timestampdiff", (3, 3), Ty::Int, &[S, T, T], timestampdiff),
    FnDef { name: "__date_add", arity: (3, 3), gives: Gives::By(add_type), body: Body::Rows(&[T, S, S], date_add) },
    FnDef {
        name: "__time_add",
        arity: (2, 2),
        gives: Gives::By(|f, s| Ty::Time((0..f.len()).map(|i| digits(f, s, i)).max().unwrap_or(0))),
        body: Body::Rows(&[M], |r| Ok(Out::M(r.i(0) + r.i(1)))),
    },
    by_row("from_days", (1, 1), Ty::Date, &[I], |r| {
        let day = i32::try_from(r.i(0) - 719_528).ok().filter(|_| (366..3_652_500).contains(&r.i(0)));
        Ok(Out::T(i64::from(day.unwrap_or(INVALID_BASE)) * DAY_US))
    }),
    by_row("makedate", (2, 2), Ty::Date, &[I], |r| {
        let first = i64::from(day_number(r.i(0).clamp(0, 9999) as u16, 1, 1));
        Ok(if r.i(1) < 1 {
            Out::Null
        } else {
            add_micros(first * DAY_US, (r.i(1) - 1).saturating_mul(DAY_US)).map_or(Out::Null, Out::T)
        })
    }),
];

impl FnDef {
    const fn text(self) -> FnDef {
        FnDef { gives: Gives::Always(Ty::Text), ..self }
    }
}

pub(super) const MONTHS: &[&str] = &[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const DAYS: &[&str] = &["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

fn name(names: &[&str], at: i64) -> Out {
    Out::of(usize::try_from(at).ok().and_then(|i| names.get(i)).map(|n| (*n).to_owned()))
}

fn ymd(micros: i64) -> (i32, u8, u8) {
    date_of(split_micros(micros).0)
}

/// NULL for zero and partial dates.
fn real(r: &Row, f: impl Fn(i32) -> i64) -> Out {
    let day = split_micros(r.i(0)).0;
    if is_invalid_day(day) { Out::Null } else { Out::I(f(day)) }
}

/// Digits of fractional seconds of an argument: of a constant text those it has, of another text six.
pub(super) fn digits(fields: &[FieldRef], scalars: &[Option<&ScalarValue>], i: usize) -> u8 {
    match (ty_of(&fields[i]), scalars.get(i)) {
        (Ty::Text, Some(Some(ScalarValue::Utf8(Some(text))))) => {
            text.rsplit_once('.').map_or(0, |(_, f)| f.bytes().take_while(u8::is_ascii_digit).count().min(6) as u8)
        }
        (Ty::Text | Ty::Bytes | Ty::Double, _) => 6,
        (Ty::Decimal(_, s), _) => s.min(6),
        (ty, _) => ty.fsp(),
    }
}

fn end_of_month(r: &Row) -> Result<Out> {
    let (y, m, _) = ymd(r.i(0));
    if m == 0 || !(0..=9999).contains(&y) {
        return Ok(Out::Null);
    }
    let day = day_number(y as u16, m, last_day(y as u16, m));
    Ok(Out::T(i64::from(day) * DAY_US))
}

/// What an INTERVAL counts: months, or microseconds.
enum Step {
    Months(i64),
    Micros(i64),
}

fn step(amount: &str, unit: &str) -> Option<Step> {
    let unit = unit.to_ascii_uppercase();
    let number = crate::sql::convert::leading_double(amount);
    let whole = number.round() as i64;
    let us = |n: i64, each: i64| n.checked_mul(each).map(Step::Micros);
    match unit.as_str() {
        "YEAR" => whole.checked_mul(12).map(Step::Months),
        "QUARTER" => whole.checked_mul(3).map(Step::Months),
        "MONTH" => Some(Step::Months(whole)),
        "WEEK" => us(whole, 7 * DAY_US),
        "DAY" => us(whole, DAY_US),
        "HOUR" => us(whole, 3600 * SECOND_US),
        "MINUTE" => us(whole, 60 * SECOND_US),
        "SECOND" => Some(Step::Micros((number * 1e6).round() as i64)),
        "MICROSECOND" => Some(Step::Micros(whole)),
        compound => compound_step(amount, compound),
    }
}

/// `'1:30' MINUTE_SECOND`: numbers between anything else, aligned at the right.
fn compound_step(amount: &str, unit: &str) -> Option<Step> {
    let negative = amount.trim_start().starts_with('-');
    let numbers: Vec<i64> =
        amount.split(|c: char| !c.is_ascii_digit()).filter(|p| !p.is_empty()).filter_map(|p| p.parse().ok()).collect();
    let mut numbers = numbers;
    if unit.ends_with("_MICROSECOND")
        && let Some(last) = numbers.last_mut()
    {
        // `1.5` is one and a half: the last number is a fraction.
        let digits = amount.trim_end().bytes().rev().take_while(u8::is_ascii_digit).count();
        *last = last.saturating_mul(10_i64.pow(6_usize.saturating_sub(digits) as u32));
    }
    let sign = if negative { -1 } else { 1 };
    if unit == "YEAR_MONTH" {
        let (y, m) = match numbers.as_slice() {
            [y, m] => (*y, *m),
            [m] => (0, *m),
            _ => return None,
        };
        return Some(Step::Months(sign * (y * 12 + m)));
    }
    let units: &[i64] = &[DAY_US, 3600 * SECOND_US, 60 * SECOND_US, SECOND_US, 1];
    let names = ["DAY", "HOUR", "MINUTE", "SECOND", "MICROSECOND"];
    let (first, last) = unit.split_once('_')?;
    let first = names.iter().position(|n| *n == first)?;
    let last = names.iter().position(|n| *n == last)?;
    if last <= first || numbers.len() > last - first + 1 {
        return None;
    }
    let from = last + 1 - numbers.len();
    let total: i64 = numbers.iter().zip(&units[from..=last]).map(|(n, each)| n.saturating_mul(*each)).sum();
    Some(Step::Micros(sign * total))
}

/// `date_add(date, amount, unit)`: a DATE stays a DATE for units of days and more; a text gives a text.
fn add_type(fields: &[FieldRef], scalars: &[Option<&ScalarValue>]) -> Ty {
    let unit = match scalars.get(2) {
        Some(Some(ScalarValue::Utf8(Some(u)))) => u.to_ascii_uppercase(),
        _ => String::new(),
    };
    let fraction = if unit.contains("MICROSECOND") { 6 } else { 0 };
    let whole_days = matches!(unit.as_str(), "YEAR" | "QUARTER" | "MONTH" | "WEEK" | "DAY" | "YEAR_MONTH");
    match ty_of(&fields[0]) {
        Ty::Date if whole_days => Ty::Date,
        Ty::Date => Ty::DateTime(fraction),
        Ty::DateTime(f) | Ty::Timestamp(f) => Ty::DateTime(f.max(fraction)),
        Ty::Time(_) => Ty::DateTime(6),
        _ => Ty::Text,
    }
}

fn date_add(r: &Row) -> Result<Out> {
    let amount = r.s(1);
    Ok(match step(amount, r.s(2)) {
        Some(Step::Months(n)) => add_months(r.i(0), n),
        Some(Step::Micros(n)) => add_micros(r.i(0), n),
        None => None,
    }
    .map_or(Out::Null, Out::T))
}

fn timestampdiff(r: &Row) -> Result<Out> {
    let (a, b) = (r.i(1), r.i(2));
    if is_invalid_day(split_micros(a).0) || is_invalid_day(split_micros(b).0) {
        return Ok(Out::Null);
    }
    let months = |n: i64| whole_months(a, b) / n;
    Ok(Out::I(match r.s(0).to_ascii_uppercase().as_str() {
        "YEAR" => months(12),
        "QUARTER" => months(3),
        "MONTH" => months(1),
        "WEEK" => (b - a) / (7 * DAY_US),
        "DAY" => (b - a) / DAY_US,
        "HOUR" => (b - a) / (3600 * SECOND_US),
        "MINUTE" => (b - a) / (60 * SECOND_US),
        "SECOND" => (b - a) / SECOND_US,
        "MICROSECOND" => b - a,
        other => return Err(through(unsupported(format!("TIMESTAMPDIFF({other}, ...)")))),
    }))
}

fn whole_months(a: i64, b: i64) -> i64 {
    if b < a {
        return -whole_months(b, a);
    }
    let ((y1, m1, d1), (y2, m2, d2)) = (ymd(a), ymd(b));
    let months = i64::from(y2 - y1) * 12 + i64::from(m2) - i64::from(m1);
    let late = (d2, split_micros(b).1) < (d1, split_micros(a).1);
    months - i64::from(late)
}
