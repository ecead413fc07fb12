//! Date and time functions, in the session's time zone. Zero and partial dates give their parts; arithmetic on them
//! is NULL.

use arrow::datatypes::FieldRef;
use datafusion::common::{Result, ScalarValue};
use tidelake_core::types::temporal::{DAY_US, INVALID_BASE, date_of, day_number, is_invalid_day, split_micros};

use super::Want::{D, I, M, S, T};
use super::{Body, FnDef, Gives, Out, Row, Want};
use crate::sql::datetime::{
    SECOND_US, add_micros, add_months, day_of_year, last_day, parse_datetime, to_days, week, weekday_from_sunday,
};
use crate::sql::error::{through, unsupported};
use crate::sql::types::{Ty, ty_of};

const fn f(
    name: &'static str,
    arity: (usize, usize),
    gives: Ty,
    wants: &'static [Want],
    body: fn(&Row) -> Result<Out>,
) -> FnDef {
    FnDef { name, arity, gives: Gives::Always(gives), body: Body::Rows(wants, body) }
}

const fn part(name: &'static str, body: fn(&Row) -> Result<Out>) -> FnDef {
    f(name, (1, 1), Ty::Int, &[T], body)
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
    f("week", (1, 2), Ty::Int, &[T, I], |r| {
        let mode = if r.len() == 2 { r.i(1) & 7 } else { 0 };
        Ok(real(r, |day| week(day, mode).0))
    }),
    f("yearweek", (1, 2), Ty::Int, &[T, I], |r| {
        let mode = if r.len() == 2 { r.i(1) & 7 } else { 0 };
        Ok(real(r, |day| {
            let (week, year) = week(day, mode | 2);
            year * 100 + week
        }))
    }),
    f("hour", (1, 1), Ty::Int, &[M], |r| Ok(Out::I(r.i(0).abs() / 3_600_000_000))),
    f("minute", (1, 1), Ty::Int, &[M], |r| Ok(Out::I(r.i(0).abs() / 60_000_000 % 60))),
    f("second", (1, 1), Ty::Int, &[M], |r| Ok(Out::I(r.i(0).abs() / SECOND_US % 60))),
    f("microsecond", (1, 1), Ty::Int, &[M], |r| Ok(Out::I(r.i(0).abs() % SECOND_US))),
    f("date", (1, 1), Ty::Date, &[T], |r| Ok(Out::T(r.i(0)))),
    FnDef {
        name: "time",
        arity: (1, 1),
        gives: Gives::By(|f, _| Ty::Time(fsp(&f[0]))),
        body: Body::Rows(&[M], |r| Ok(Out::M(r.i(0)))),
    },
    FnDef {
        name: "timestamp",
        arity: (1, 2),
        gives: Gives::By(|f, _| Ty::DateTime(f.iter().map(fsp).max().unwrap_or(0))),
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
    f("datediff", (2, 2), Ty::Int, &[T], |r| {
        let (a, b) = (split_micros(r.i(0)).0, split_micros(r.i(1)).0);
        Ok(if is_invalid_day(a) || is_invalid_day(b) { Out::Null } else { Out::I(i64::from(a) - i64::from(b)) })
    }),
    f("__timestampdiff", (3, 3), Ty::Int, &[S, T, T], timestampdiff),
    FnDef { name: "__date_add", arity: (3, 3), gives: Gives::By(add_type), body: Body::Rows(&[T, S, S], date_add) },
    FnDef {
        name: "__time_add",
        arity: (2, 2),
        gives: Gives::By(|f, _| Ty::Time(f.iter().map(fsp).max().unwrap_or(0))),
        body: Body::Rows(&[M], |r| Ok(Out::M(r.i(0) + r.i(1)))),
    },
    f("timediff", (2, 2), Ty::Time(0), &[T], |r| Ok(Out::M(r.i(0) - r.i(1)))),
    f("date_format", (2, 2), Ty::Text, &[T, S], |r| Ok(Out::S(formatted(r.i(0), r.s(1))))),
    f("time_format", (2, 2), Ty::Text, &[M, S], |r| {
        Ok(Out::S(formatted(i64::from(INVALID_BASE) * DAY_US + r.i(0).rem_euclid(DAY_US), r.s(1))))
    }),
    FnDef {
        name: "str_to_date",
        arity: (2, 2),
        gives: Gives::By(str_to_date_type),
        body: Body::Rows(&[S], str_to_date),
    },
    FnDef {
        name: "unix_timestamp",
        arity: (1, 1),
        gives: Gives::Always(Ty::Int),
        body: Body::Rows(&[T], |r| {
            let (day, _) = split_micros(r.i(0));
            let utc = r.i(0) - i64::from(r.context.offset) * SECOND_US;
            Ok(Out::I(if is_invalid_day(day) { 0 } else { utc.div_euclid(SECOND_US).max(0) }))
        }),
    },
    FnDef {
        name: "from_unixtime",
        arity: (1, 1),
        gives: Gives::By(|f, _| match ty_of(&f[0]) {
            Ty::Decimal(_, s) => Ty::DateTime(s.min(6)),
            Ty::Double | Ty::Text => Ty::DateTime(6),
            _ => Ty::DateTime(0),
        }),
        body: Body::Rows(&[D], |r| {
            let us = (r.d(0) * 1e6).round();
            Ok(if r.d(0) < 0.0 || us > 2.5e17 {
                Out::Null
            } else {
                Out::T(us as i64 + i64::from(r.context.offset) * SECOND_US)
            })
        }),
    },
    f("from_days", (1, 1), Ty::Date, &[I], |r| {
        let day = i32::try_from(r.i(0) - 719_528).ok().filter(|_| (366..3_652_500).contains(&r.i(0)));
        Ok(Out::T(i64::from(day.unwrap_or(INVALID_BASE)) * DAY_US))
    }),
    f("makedate", (2, 2), Ty::Date, &[I], |r| {
        let first = i64::from(day_number(r.i(0).clamp(0, 9999) as u16, 1, 1));
        Ok(if r.i(1) < 1 {
            Out::Null
        } else {
            add_micros(first * DAY_US, (r.i(1) - 1).saturating_mul(DAY_US)).map_or(Out::Null, Out::T)
        })
    }),
    f("maketime", (3, 3), Ty::Time(0), &[I], |r| {
        let fits = (0..60).contains(&r.i(1)) && (0..60).contains(&r.i(2)) && r.i(0).abs() <= 838;
        let sign = if r.i(0) < 0 { -1 } else { 1 };
        Ok(if fits { Out::M(sign * ((r.i(0).abs() * 60 + r.i(1)) * 60 + r.i(2)) * SECOND_US) } else { Out::Null })
    }),
    f("sec_to_time", (1, 1), Ty::Time(0), &[I], |r| Ok(Out::M(r.i(0).clamp(-3_020_399, 3_020_399) * SECOND_US))),
    f("time_to_sec", (1, 1), Ty::Int, &[M], |r| Ok(Out::I(r.i(0) / SECOND_US))),
    f("__extract", (2, 2), Ty::Int, &[S, T], extract),
];

impl FnDef {
    const fn text(self) -> FnDef {
        FnDef { gives: Gives::Always(Ty::Text), ..self }
    }
}

const MONTHS: &[&str] = &[
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
const DAYS: &[&str] = &["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

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

fn fsp(field: &FieldRef) -> u8 {
    match ty_of(field) {
        Ty::Text | Ty::Double => 6,
        ty => ty.fsp(),
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

fn extract(r: &Row) -> Result<Out> {
    let (day, us) = split_micros(r.i(1));
    let (y, m, d) = date_of(day);
    let (y, m, d) = (i64::from(y), i64::from(m), i64::from(d));
    let (h, mi, s, f) = (us / 3_600_000_000, us / 60_000_000 % 60, us / SECOND_US % 60, us % SECOND_US);
    Ok(Out::I(match r.s(0).to_ascii_uppercase().as_str() {
        "YEAR" => y,
        "QUARTER" => (m + 2) / 3,
        "MONTH" => m,
        "WEEK" => week(day, 0).0,
        "DAY" => d,
        "HOUR" => h,
        "MINUTE" => mi,
        "SECOND" => s,
        "MICROSECOND" => f,
        "YEAR_MONTH" => y * 100 + m,
        "DAY_HOUR" => d * 100 + h,
        "DAY_MINUTE" => (d * 100 + h) * 100 + mi,
        "DAY_SECOND" => ((d * 100 + h) * 100 + mi) * 100 + s,
        "HOUR_MINUTE" => h * 100 + mi,
        "HOUR_SECOND" => (h * 100 + mi) * 100 + s,
        "MINUTE_SECOND" => mi * 100 + s,
        other => return Err(through(unsupported(format!("EXTRACT({other} FROM ...)")))),
    }))
}

/// DATE_FORMAT's directives.
fn formatted(micros: i64, format: &str) -> String {
    let (day, us) = split_micros(micros);
    let (y, m, d) = date_of(day);
    let (h, mi, s) = (us / 3_600_000_000, us / 60_000_000 % 60, us / SECOND_US % 60);
    let twelve = if h % 12 == 0 { 12 } else { h % 12 };
    let noon = if h % 24 < 12 { "AM" } else { "PM" };
    let month = MONTHS.get(usize::from(m).wrapping_sub(1)).copied().unwrap_or("");
    let weekday = DAYS[weekday_from_sunday(day) as usize];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(directive) = chars.next() else {
            out.push('%');
            break;
        };
        let text = match directive {
            'Y' => format!("{y:04}"),
            'y' => format!("{:02}", y % 100),
            'm' => format!("{m:02}"),
            'c' => m.to_string(),
            'd' => format!("{d:02}"),
            'e' => d.to_string(),
            'D' => format!("{d}{}", ordinal(d)),
            'H' => format!("{h:02}"),
            'k' => h.to_string(),
            'h' | 'I' => format!("{twelve:02}"),
            'l' => twelve.to_string(),
            'i' => format!("{mi:02}"),
            's' | 'S' => format!("{s:02}"),
            'f' => format!("{:06}", us % SECOND_US),
            'p' => noon.to_owned(),
            'r' => format!("{twelve:02}:{mi:02}:{s:02} {noon}"),
            'T' => format!("{h:02}:{mi:02}:{s:02}"),
            'M' => month.to_owned(),
            'b' => month.chars().take(3).collect(),
            'W' => weekday.to_owned(),
            'a' => weekday.chars().take(3).collect(),
            'w' => weekday_from_sunday(day).to_string(),
            'j' => format!("{:03}", day_of_year(day)),
            'U' => format!("{:02}", week(day, 0).0),
            'u' => format!("{:02}", week(day, 1).0),
            'V' => format!("{:02}", week(day, 2).0),
            'v' => format!("{:02}", week(day, 3).0),
            'X' => format!("{:04}", week(day, 2).1),
            'x' => format!("{:04}", week(day, 3).1),
            other => other.to_string(),
        };
        out.push_str(&text);
    }
    out
}

fn ordinal(d: u8) -> &'static str {
    match (d % 10, d / 10) {
        (1, t) if t != 1 => "st",
        (2, t) if t != 1 => "nd",
        (3, t) if t != 1 => "rd",
        _ => "th",
    }
}

fn str_to_date_type(_: &[FieldRef], scalars: &[Option<&ScalarValue>]) -> Ty {
    let Some(Some(ScalarValue::Utf8(Some(format)))) = scalars.get(1) else { return Ty::DateTime(6) };
    let has = |set: &str| format.as_bytes().windows(2).any(|w| w[0] == b'%' && set.as_bytes().contains(&w[1]));
    match (has("YyMmcbdeDj"), has("HkhIlisSTrpf")) {
        (true, false) => Ty::Date,
        (false, true) => Ty::Time(if has("f") { 6 } else { 0 }),
        _ => Ty::DateTime(if has("f") { 6 } else { 0 }),
    }
}

fn str_to_date(r: &Row) -> Result<Out> {
    let Some((date, time)) = read_by_format(r.s(0), r.s(1)) else { return Ok(Out::Null) };
    if matches!(r.returns, Ty::Time(_)) {
        return Ok(Out::M(time));
    }
    let (y, m, d) = date;
    let text = format!("{y:04}-{m:02}-{d:02}");
    Ok(parse_datetime(&text).map_or(Out::Null, |p| Out::T(p.micros + time)))
}

/// Year, month, day, and the time in microseconds.
fn read_by_format(text: &str, format: &str) -> Option<((i64, i64, i64), i64)> {
    let (mut y, mut m, mut d) = (0, 0, 0);
    let (mut h, mut mi, mut s, mut f) = (0, 0, 0, 0);
    let mut afternoon = None;
    let mut rest = text.trim_start();
    let format = format.replace("%T", "%H:%i:%s").replace("%r", "%h:%i:%s %p");
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            rest = if c == ' ' { rest.trim_start() } else { rest.strip_prefix(c)? };
            continue;
        }
        let directive = chars.next()?;
        let mut digits = |most: usize| -> Option<i64> {
            let n = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
            let value = rest[..n].parse().ok()?;
            rest = &rest[n..];
            Some(value)
        };
        match directive {
            'Y' => y = digits(4)?,
            'y' => y = digits(2).map(|n| if n < 70 { 2000 + n } else { 1900 + n })?,
            'm' | 'c' => m = digits(2)?,
            'd' | 'e' => d = digits(2)?,
            'H' | 'k' | 'h' | 'I' | 'l' => h = digits(2)?,
            'i' => mi = digits(2)?,
            's' | 'S' => s = digits(2)?,
            'f' => {
                let n = rest.bytes().take(6).take_while(u8::is_ascii_digit).count();
                f = format!("{:0<6}", &rest[..n]).parse().ok()?;
                rest = &rest[n..];
            }
            'p' => {
                let head = rest.get(..2)?.to_ascii_uppercase();
                afternoon = Some(head == "PM");
                rest = &rest[2..];
            }
            'M' | 'b' => {
                let long = directive == 'M';
                let lower = rest.to_ascii_lowercase();
                let found = MONTHS.iter().enumerate().find_map(|(i, name)| {
                    let name = if long { *name } else { &name[..3] };
                    lower.starts_with(&name.to_ascii_lowercase()).then_some((i, name.len()))
                })?;
                m = found.0 as i64 + 1;
                rest = &rest[found.1..];
            }
            '%' => rest = rest.strip_prefix('%')?,
            _ => return None,
        }
    }
    if let Some(pm) = afternoon {
        h = h % 12 + if pm { 12 } else { 0 };
    }
    if h > 23 || mi > 59 || s > 59 || m > 12 || d > 31 {
        return None;
    }
    Some(((y, m, d), ((h * 60 + mi) * 60 + s) * SECOND_US + f))
}
