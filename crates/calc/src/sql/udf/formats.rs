//! DATE_FORMAT, TIME_FORMAT and STR_TO_DATE: their directives.

use arrow::datatypes::FieldRef;
use datafusion::common::{Result, ScalarValue};
use tidelake_core::types::temporal::{date_of, split_micros};

use super::Want::{M, S, T};
use super::dates::{DAYS, MONTHS};
use super::{Body, FnDef, Gives, Out, Row};
use crate::sql::datetime::{SECOND_US, day_of_year, parse_datetime, week, weekday_from_sunday};
use crate::sql::types::Ty;

pub(super) const FUNCTIONS: &[FnDef] = &[
    FnDef {
        name: "date_format",
        arity: (2, 2),
        gives: Gives::Always(Ty::Text),
        body: Body::Rows(&[T, S], |r| Ok(Out::of(formatted(r.i(0), r.s(1), false)))),
    },
    FnDef {
        name: "time_format",
        arity: (2, 2),
        gives: Gives::Always(Ty::Text),
        body: Body::Rows(&[M, S], time_format),
    },
    FnDef {
        name: "str_to_date",
        arity: (2, 2),
        gives: Gives::By(str_to_date_type),
        body: Body::Rows(&[S], str_to_date),
    },
];

/// What the upstream prints as the number of a zero date's week.
const ZERO_WEEK: &str = "613566757";

fn time_format(r: &Row) -> Result<Out> {
    let sign = if r.i(0) < 0 { "-" } else { "" };
    Ok(Out::of(clock_formatted(r.i(0).abs(), r.s(1)).map(|text| format!("{sign}{text}"))))
}

/// Hours of a TIME go beyond 23; its date is all zeros.
fn clock_formatted(us: i64, format: &str) -> Option<String> {
    let (h, zero) = (us / (3600 * SECOND_US), tidelake_core::types::temporal::day_number(0, 0, 0));
    let format = format.replace("%H", &format!("{h:02}")).replace("%k", &h.to_string());
    let format = format.replace("%T", &format!("{h:02}:%i:%s"));
    let within = us % (24 * 3600 * SECOND_US);
    formatted(tidelake_core::types::temporal::join_micros(zero, within), &format, true)
}

/// DATE_FORMAT's directives.
pub(super) fn formatted(micros: i64, format: &str, is_time: bool) -> Option<String> {
    let (day, us) = split_micros(micros);
    let (y, m, d) = date_of(day);
    let (h, mi, s) = (us / 3_600_000_000, us / 60_000_000 % 60, us / SECOND_US % 60);
    let twelve = if h % 12 == 0 { 12 } else { h % 12 };
    let noon = if h % 24 < 12 { "AM" } else { "PM" };
    let month = MONTHS.get(usize::from(m).wrapping_sub(1)).copied().unwrap_or("");
    // A zero date has no name of a day, month or number in the year; a TIME has no date at all.
    let nothing = |directive: char| match directive {
        'M' | 'b' => m == 0,
        'W' | 'a' | 'w' => is_time || (y == 0 && m == 0),
        'j' => is_time || (y == 0 && m == 0),
        'Y' | 'y' | 'm' | 'c' | 'd' | 'e' => false,
        'D' | 'U' | 'u' | 'V' | 'v' | 'X' | 'x' => is_time,
        _ => false,
    };
    let zero_week = |text: String| if (y, m, d) == (0, 0, 0) { ZERO_WEEK.to_owned() } else { text };
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
        if nothing(directive) {
            return None;
        }
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
            'U' => zero_week(format!("{:02}", week(day, 0).0)),
            'u' => zero_week(format!("{:02}", week(day, 1).0)),
            'V' => zero_week(format!("{:02}", week(day, 2).0)),
            'v' => zero_week(format!("{:02}", week(day, 3).0)),
            'X' => format!("{:04}", week(day, 2).1),
            'x' => format!("{:04}", week(day, 3).1),
            other => other.to_string(),
        };
        out.push_str(&text);
    }
    Some(out)
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
