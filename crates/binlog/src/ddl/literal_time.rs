//! Dates and times as the server reads them from literals.

use tidelake_core::types::temporal::{TIME_MAX_US, date_of, day_number, join_micros, split_micros};

/// A date and a time of day, zero and partial dates included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    year: u16,
    month: u8,
    day: u8,
    time_us: i64,
}

impl Civil {
    /// Reads `2024-01-02 03:04:05.6`, `20240102030405`, `24-1-2`, any punctuation between the parts.
    pub(super) fn parse(text: &str) -> Option<Civil> {
        let text = text.trim();
        if text == "0" {
            return Civil::of(&[0, 0, 0, 0, 0, 0], 0);
        }
        let (text, fraction_us) = split_fraction(text)?;
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return Civil::of(&compact_parts(text)?, fraction_us);
        }
        let groups: Vec<&str> =
            text.split(|c: char| c.is_ascii_punctuation() || c == ' ' || c == 'T').filter(|g| !g.is_empty()).collect();
        let mut parts = groups.iter().map(|g| g.parse::<u16>().ok()).collect::<Option<Vec<u16>>>()?;
        if parts.len() < 3 || parts.len() > 6 {
            return None;
        }
        if groups[0].len() <= 2 && parts.iter().any(|p| *p != 0) {
            parts[0] = full_year(parts[0]);
        }
        parts.resize(6, 0);
        Civil::of(&parts, fraction_us)
    }

    fn of(parts: &[u16], fraction_us: i64) -> Option<Civil> {
        let &[year, month, day, hour, minute, second] = parts else { return None };
        if year > 9999 || month > 12 || day > 31 || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let seconds = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second);
        Some(Civil { year, month: month as u8, day: day as u8, time_us: seconds * 1_000_000 + fraction_us })
    }

    pub(super) fn is_zero(&self) -> bool {
        (self.year, self.month, self.day, self.time_us) == (0, 0, 0, 0)
    }

    pub(super) fn day(&self) -> i32 {
        day_number(self.year, self.month, self.day)
    }

    /// Stored microseconds, if `fsp` digits hold them.
    pub(super) fn micros(&self, fsp: u8) -> Option<i64> {
        Some(join_micros(self.day(), exact(self.time_us, fsp)?))
    }

    pub(super) fn date_text(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// With exactly `fsp` digits.
    pub(super) fn text(&self, fsp: u8) -> Option<String> {
        let (day, time_us) = split_micros(self.micros(fsp)?);
        let (year, month, day) = date_of(day);
        Some(format!("{year:04}-{month:02}-{day:02} {}", time_text(time_us, fsp)))
    }
}

fn full_year(two_digits: u16) -> u16 {
    if two_digits < 70 { 2000 + two_digits } else { 1900 + two_digits }
}

fn compact_parts(text: &str) -> Option<Vec<u16>> {
    let year_digits = match text.len() {
        6 | 12 => 2,
        8 | 14 => 4,
        _ => return None,
    };
    let (year, rest) = text.split_at(year_digits);
    let year: u16 = year.parse().ok()?;
    let mut parts = vec![if year_digits == 2 { full_year(year) } else { year }];
    parts.extend((0..rest.len()).step_by(2).map_while(|i| rest[i..i + 2].parse::<u16>().ok()));
    parts.resize(6, 0);
    Some(parts)
}

/// Splits off `.123456` and gives it in microseconds.
fn split_fraction(text: &str) -> Option<(&str, i64)> {
    // A '.' may also stand between the parts of a date: a fraction follows a time or a run of digits.
    let Some((head, fraction)) = text.rsplit_once('.') else { return Some((text, 0)) };
    if !(head.contains(':') || (head.len() >= 5 && head.bytes().all(|b| b.is_ascii_digit()))) {
        return Some((text, 0));
    }
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.trim_end_matches('0');
    if digits.len() > 6 {
        return None;
    }
    Some((head, format!("{digits:0<6}").parse().ok()?))
}

/// `None` with more digits than `fsp`: MySQL rounds them and MariaDB cuts them off, each unless its `sql_mode` says otherwise.
fn exact(us: i64, fsp: u8) -> Option<i64> {
    let unit = 10i64.pow(6 - u32::from(fsp.min(6)));
    (us % unit == 0).then_some(us)
}

/// Microseconds of a TIME: `-838:59:59.5`, `1 02:03:04`, `12:30`, `123456`.
pub(super) fn time_micros(text: &str, fsp: u8) -> Option<i64> {
    let text = text.trim();
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (text, fraction_us) = split_fraction(text)?;
    let (days, clock) = match text.split_once(' ') {
        Some((days, clock)) => (days.parse::<i64>().ok()?, clock),
        None => (0, text),
    };
    let (hour, minute, second) = if clock.contains(':') {
        let parts = clock.split(':').map(|p| p.parse::<i64>().ok()).collect::<Option<Vec<i64>>>()?;
        (*parts.first()?, *parts.get(1)?, parts.get(2).copied().unwrap_or(0))
    } else {
        let number: i64 = clock.parse().ok()?;
        if days != 0 { (number, 0, 0) } else { (number / 10_000, number / 100 % 100, number % 100) }
    };
    let in_range = (0..=34).contains(&days) && (0..=838).contains(&hour) && (0..60).contains(&minute);
    if !in_range || !(0..60).contains(&second) {
        return None;
    }
    let us = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction_us;
    let us = exact(us, fsp)?;
    (us <= TIME_MAX_US).then_some(if negative { -us } else { us })
}

/// `-12:34:56.789` with exactly `fsp` digits.
pub(super) fn time_text(us: i64, fsp: u8) -> String {
    let sign = if us < 0 { "-" } else { "" };
    let us = us.unsigned_abs();
    let seconds = us / 1_000_000;
    let clock = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fsp == 0 {
        return clock;
    }
    let fraction = format!("{:06}", us % 1_000_000);
    format!("{clock}.{}", &fraction[..usize::from(fsp.min(6))])
}
