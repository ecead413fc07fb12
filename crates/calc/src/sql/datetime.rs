//! Dates and times as MySQL reads and writes them: lenient parsing, text forms, calendar arithmetic. Zero and
//! partial dates keep their reserved day numbers (`tidelake_core::types::temporal`).

use tidelake_core::types::temporal::{
    DAY_US, TIME_MAX_US, date_of, day_number, is_invalid_day, join_micros, split_micros,
};

/// Microseconds of a second.
pub(crate) const SECOND_US: i64 = 1_000_000;

/// A parsed date with time; `has_time` tells `2024-01-01` from `2024-01-01 00:00:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// As DATETIME is stored.
    pub(crate) micros: i64,
    /// A time part was written.
    pub(crate) has_time: bool,
    /// Digits of fractional seconds written, at most 6.
    pub(crate) fsp: u8,
}

/// Reads a date or datetime in any form MySQL takes: separators of any kind, two-digit years, digits only.
pub(crate) fn parse_datetime(text: &str) -> Option<Parsed> {
    let text = text.trim();
    if text.is_empty() || !text.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    let whole = text.split('.').next().unwrap_or("");
    if whole.len() >= 5 && whole.bytes().all(|b| b.is_ascii_digit()) {
        return parse_digits(whole, text.get(whole.len() + 1..).unwrap_or(""));
    }
    let (date, time) = match text.find(['T', ' ']) {
        Some(at) => (&text[..at], text[at + 1..].trim()),
        None => (text, ""),
    };
    // What follows the day and is no time is passed over, as upstream does with a warning.
    let mut parts = date.splitn(3, |c: char| c.is_ascii_punctuation());
    let year_text = parts.next()?;
    let month = number(parts.next()?)?;
    let rest = parts.next()?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let day = number(&rest[..digits])?;
    let time = if digits < rest.len() { "" } else { time };
    let year = match (number(year_text)?, month, day) {
        (0, 0, 0) => 0,
        (year, ..) => full_year(year, year_text.len()),
    };
    let day = checked_day(year, month, day)?;
    let (time_us, fsp) = if time.is_empty() { (0, 0) } else { clock(time)? };
    Some(Parsed { micros: join_micros(day, time_us), has_time: !time.is_empty(), fsp })
}

fn parse_digits(digits: &str, fraction: &str) -> Option<Parsed> {
    let (year_len, has_time) = match digits.len() {
        8 => (4, false),
        14 => (4, true),
        5 | 6 => (2, false),
        11 | 12 => (2, true),
        _ => return None,
    };
    let padded = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits.to_owned() };
    let at = |from: usize, n: usize| padded.get(from..from + n).and_then(number);
    let year = full_year(at(0, year_len)?, year_len);
    let day = checked_day(year, at(year_len, 2)?, at(year_len + 2, 2)?)?;
    let mut time_us = 0;
    if has_time {
        let (h, m, s) = (at(year_len + 4, 2)?, at(year_len + 6, 2)?, at(year_len + 8, 2)?);
        if h > 23 || m > 59 || s > 59 {
            return None;
        }
        time_us = i64::from((h * 60 + m) * 60 + s) * SECOND_US;
    }
    let (us, fsp) = if has_time { fraction_us(fraction) } else { (0, 0) };
    Some(Parsed { micros: join_micros(day, time_us + us), has_time, fsp })
}

fn number(text: &str) -> Option<u32> {
    if text.is_empty() || text.len() > 6 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn full_year(year: u32, digits: usize) -> u32 {
    match (digits, year) {
        (3.., y) => y,
        (_, y @ 0..=69) => 2000 + y,
        (_, y) => 1900 + y,
    }
}

fn checked_day(year: u32, month: u32, day: u32) -> Option<i32> {
    if year > 9999 || month > 12 || day > 31 {
        return None;
    }
    let number = day_number(year as u16, month as u8, day as u8);
    // Real calendars only, besides dates with a zero part.
    (!is_invalid_day(number) || month == 0 || day == 0).then_some(number)
}

fn clock(text: &str) -> Option<(i64, u8)> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Some((0, 0));
    }
    let (hour, minute, second, fraction) = clock_parts(text)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (us, fsp) = fraction_us(fraction);
    Some((i64::from((hour * 60 + minute) * 60 + second) * SECOND_US + us, fsp))
}

/// Hour, minute, second and the fraction's text of `h[:m[:s[.f]]]`; what follows is passed over.
fn clock_parts(text: &str) -> Option<(u32, u32, u32, &str)> {
    let mut rest = text;
    let mut values = [0; 3];
    for (i, value) in values.iter_mut().enumerate() {
        if i > 0 {
            match rest.strip_prefix(':') {
                Some(after) => rest = after,
                None => break,
            }
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        *value = number(&rest[..digits])?;
        rest = &rest[digits..];
    }
    Some((values[0], values[1], values[2], rest.strip_prefix('.').unwrap_or("")))
}

fn fraction_us(text: &str) -> (i64, u8) {
    let digits: String = text.chars().take_while(char::is_ascii_digit).take(6).collect();
    let us = format!("{digits:0<6}").parse().unwrap_or(0);
    (us, digits.len() as u8)
}

/// A number as a date: `YYMMDD`, `YYYYMMDD`, `YYMMDDhhmmss` or `YYYYMMDDhhmmss`; 0 is the zero date.
pub(crate) fn number_datetime(n: i64) -> Option<i64> {
    const DAY: i64 = 1_000_000;
    let full = match n {
        0 => 0,
        10_000_101_000_000.. => n,
        101..=691_231 => (n + 20_000_000) * DAY,
        700_101..=991_231 => (n + 19_000_000) * DAY,
        10_000_101..=99_991_231 => n * DAY,
        101_000_000..=691_231_235_959 => n + 20_000_000 * DAY,
        700_101_000_000..=991_231_235_959 => n + 19_000_000 * DAY,
        _ => return None,
    };
    let (date, time) = (u32::try_from(full / DAY).ok()?, full % DAY);
    let day = checked_day(date / 10_000, date / 100 % 100, date % 100)?;
    let (h, m, s) = (time / 10_000, time / 100 % 100, time % 100);
    (h < 24 && m < 60 && s < 60).then(|| join_micros(day, ((h * 60 + m) * 60 + s) * SECOND_US))
}

/// Reads a TIME: `[-][d ]hh:mm[:ss[.frac]]`, `hhmmss`, or the time part of a datetime.
pub(crate) fn parse_time(text: &str) -> Option<(i64, u8)> {
    let text = text.trim();
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let has_clock = body.contains([' ', 'T']) && body.contains(':');
    if body.matches('-').count() == 2 && has_clock {
        let parsed = parse_datetime(body)?;
        return Some((split_micros(parsed.micros).1, parsed.fsp));
    }
    let digits = body.bytes().take_while(u8::is_ascii_digit).count();
    let (first, rest) = (&body[..digits], &body[digits..]);
    if rest.starts_with(['e', 'E']) {
        return None;
    }
    if digits == 14 {
        let parsed = parse_datetime(body)?;
        return Some((split_micros(parsed.micros).1, parsed.fsp));
    }
    let days_before =
        rest.strip_prefix(' ').map(str::trim_start).filter(|r| r.starts_with(|c: char| c.is_ascii_digit()));
    let (days, (h, m, s, fraction)) = match days_before {
        Some(clock) => (number(first)?, clock_parts(clock)?),
        None if rest.starts_with(':') => (0, clock_parts(body)?),
        None => {
            let n: u32 = first.parse().ok().filter(|n| *n <= 8_385_959)?;
            (0, (n / 10_000, n / 100 % 100, n % 100, rest.strip_prefix('.').unwrap_or("")))
        }
    };
    if m > 59 || s > 59 {
        return None;
    }
    let (us, fsp) = fraction_us(fraction);
    let hours = i64::from(days) * 24 + i64::from(h);
    let total = ((hours * 60 + i64::from(m)) * 60 + i64::from(s)) * SECOND_US + us;
    let total = total.min(TIME_MAX_US);
    Some((if negative { -total } else { total }, fsp))
}

/// `YYYY-MM-DD`.
pub(crate) fn date_text(day: i32) -> String {
    let (y, m, d) = date_of(day);
    format!("{y:04}-{m:02}-{d:02}")
}

/// `YYYY-MM-DD hh:mm:ss[.f]` with exactly `fsp` digits.
pub(crate) fn datetime_text(micros: i64, fsp: u8) -> String {
    let (day, us) = split_micros(micros);
    format!("{} {}", date_text(day), time_text(us, fsp))
}

/// `[-]hh:mm:ss[.f]` with exactly `fsp` digits.
pub(crate) fn time_text(us: i64, fsp: u8) -> String {
    let sign = if us < 0 { "-" } else { "" };
    let abs = us.unsigned_abs();
    let (seconds, fraction) = (abs / 1_000_000, abs % 1_000_000);
    let mut text = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fsp > 0 {
        let digits = format!("{fraction:06}");
        text.push('.');
        text.push_str(&digits[..usize::from(fsp.min(6))]);
    }
    text
}

/// Shifts a real instant; zero and partial dates stay as they are.
pub(crate) fn shift(micros: i64, offset_seconds: i32) -> i64 {
    if is_invalid_day(split_micros(micros).0) {
        return micros;
    }
    micros + i64::from(offset_seconds) * SECOND_US
}

/// Adds calendar months; the day is cut to the month's length. `None` outside years 0 to 9999 and for zero dates.
pub(crate) fn add_months(micros: i64, months: i64) -> Option<i64> {
    let (day, us) = split_micros(micros);
    if is_invalid_day(day) {
        return None;
    }
    let (y, m, d) = date_of(day);
    let total = (i64::from(y) * 12 + i64::from(m) - 1).checked_add(months)?;
    let year = u16::try_from(total.div_euclid(12)).ok().filter(|y| *y <= 9999)?;
    let month = (total.rem_euclid(12) + 1) as u8;
    Some(join_micros(day_number(year, month, d.min(last_day(year, month))), us))
}

/// The number of days of a month.
pub(crate) fn last_day(year: u16, month: u8) -> u8 {
    (28..=31).rev().find(|d| !is_invalid_day(day_number(year, month, *d))).unwrap_or(0)
}

/// Adds microseconds; `None` for zero dates and outside years 0 to 9999.
pub(crate) fn add_micros(micros: i64, by: i64) -> Option<i64> {
    let (day, _) = split_micros(micros);
    if is_invalid_day(day) {
        return None;
    }
    let sum = micros.checked_add(by)?;
    let (y, _, _) = date_of(i32::try_from(sum.div_euclid(DAY_US)).ok()?);
    (0..=9999).contains(&y).then_some(sum)
}

/// Days since year 0, as TO_DAYS counts.
pub(crate) fn to_days(day: i32) -> i64 {
    i64::from(day) + 719_528
}

/// Sunday is 0.
pub(crate) fn weekday_from_sunday(day: i32) -> i64 {
    (i64::from(day) + 4).rem_euclid(7)
}

/// Day of the year, from 1.
pub(crate) fn day_of_year(day: i32) -> i64 {
    let (y, _, _) = date_of(day);
    i64::from(day) - i64::from(day_number(y.clamp(0, 9999) as u16, 1, 1)) + 1
}

/// WEEK and YEARWEEK: week number and the year it belongs to, by MySQL's mode bits.
pub(crate) fn week(day: i32, mode: i64) -> (i64, i64) {
    let monday_first = mode & 1 != 0;
    let mut week_year = mode & 2 != 0;
    let first_weekday = (mode & 4 != 0) ^ monday_first;
    // In MySQL's own terms: bit 2 counts weeks with four or more days when the week begins on Monday.
    let first_weekday = !first_weekday;
    let (y, m, d) = date_of(day);
    let start = i64::from(day_number(y.clamp(0, 9999) as u16, 1, 1));
    let weekday_of = |n: i64| if monday_first { (n + 3).rem_euclid(7) } else { (n + 4).rem_euclid(7) };
    let mut year = i64::from(y);
    let mut weekday = weekday_of(start);
    let mut first = start;
    if m == 1 && i64::from(d) <= 7 - weekday {
        if !week_year && ((first_weekday && weekday != 0) || (!first_weekday && weekday >= 4)) {
            return (0, year);
        }
        week_year = true;
        year -= 1;
        let days = if is_leap(year) { 366 } else { 365 };
        first -= days;
        weekday = (weekday + 53 * 7 - days).rem_euclid(7);
    }
    let skip = (first_weekday && weekday != 0) || (!first_weekday && weekday >= 4);
    let days = if skip { i64::from(day) - (first + 7 - weekday) } else { i64::from(day) - (first - weekday) };
    if week_year && days >= 52 * 7 {
        let length = if is_leap(year) { 366 } else { 365 };
        weekday = (weekday + length).rem_euclid(7);
        if (!first_weekday && weekday < 4) || (first_weekday && weekday == 0) {
            return (1, year + 1);
        }
    }
    (days / 7 + 1, year)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str) -> Option<String> {
        parse_datetime(text).map(|p| datetime_text(p.micros, p.fsp))
    }

    #[test]
    fn datetimes_in_many_forms() {
        assert_eq!(round("2024-02-29 13:14:15.25").as_deref(), Some("2024-02-29 13:14:15.25"));
        assert_eq!(round("2024-2-9").as_deref(), Some("2024-02-09 00:00:00"));
        assert_eq!(round("20240229131415").as_deref(), Some("2024-02-29 13:14:15"));
        assert_eq!(round("24-02-29").as_deref(), Some("2024-02-29 00:00:00"));
        assert_eq!(round("700101").as_deref(), Some("1970-01-01 00:00:00"));
        assert_eq!(round("0000-00-00").as_deref(), Some("0000-00-00 00:00:00"));
        assert_eq!(round("2024-02-30"), None);
        assert_eq!(round("hello"), None);
        assert_eq!(round("2024-02-29x").as_deref(), Some("2024-02-29 00:00:00"));
        assert_eq!((round("12"), round("2024-01-01 25:00:00")), (None, None));
        assert_eq!(round("2024-01-01T10:11:12").as_deref(), Some("2024-01-01 10:11:12"));
    }

    #[test]
    fn numbers_as_dates() {
        let text = |n: i64| number_datetime(n).map(|us| datetime_text(us, 0));
        assert_eq!(text(0).as_deref(), Some("0000-00-00 00:00:00"));
        assert_eq!(text(127).as_deref(), Some("2000-01-27 00:00:00"));
        assert_eq!(text(991_231).as_deref(), Some("1999-12-31 00:00:00"));
        assert_eq!(text(20_240_229_101_112).as_deref(), Some("2024-02-29 10:11:12"));
        assert_eq!((text(7), text(-5), text(20_240_230)), (None, None, None));
    }

    #[test]
    fn times_in_many_forms() {
        let text = |t: &str| parse_time(t).map(|(us, f)| time_text(us, f));
        assert_eq!(text("-838:59:59").as_deref(), Some("-838:59:59"));
        assert_eq!(text("1 02:03:04.5").as_deref(), Some("26:03:04.5"));
        assert_eq!(text("101112").as_deref(), Some("10:11:12"));
        assert_eq!(text("12:34").as_deref(), Some("12:34:00"));
        assert_eq!(text("12:61"), None);
        assert_eq!(text("2024-02-29").as_deref(), Some("00:20:24"));
        assert_eq!(text("12abc").as_deref(), Some("00:00:12"));
        assert_eq!(text("10:11:12xx").as_deref(), Some("10:11:12"));
        assert_eq!((text("abc"), text("1e3"), text("")), (None, None, None));
    }

    #[test]
    fn months_are_cut_to_their_length() {
        let at = |t: &str| parse_datetime(t).unwrap().micros;
        assert_eq!(add_months(at("2024-01-31"), 1), Some(at("2024-02-29")));
        assert_eq!(add_months(at("2024-03-31"), -13), Some(at("2023-02-28")));
        assert_eq!(add_months(at("0000-00-00"), 1), None);
    }
}
