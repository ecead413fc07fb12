//! Dates and times as the servers print them, zero and partial ones too.

use super::super::temporal::{DAY_US, date_of, is_invalid_day, join_micros, split_micros};
use super::number::push_padded_uint;

/// How many digits of fractional seconds are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fraction {
    /// Always so many, 0 to 6.
    Digits(u8),
    /// Six, or none if the fraction is zero.
    IfNonzero,
}

/// YEAR with four digits, or YEAR(2) with the last two.
pub(super) fn push_year(year: u64, digits: usize, out: &mut Vec<u8>) {
    let shown = if digits == 2 { year % 100 } else { year };
    push_padded_uint(shown, digits, out);
}

/// `YYYY-MM-DD`.
pub(super) fn push_date(day: i32, out: &mut Vec<u8>) {
    let (year, month, day) = date_of(day);
    if year < 0 {
        out.push(b'-');
    }
    push_padded_uint(u64::from(year.unsigned_abs()), 4, out);
    out.push(b'-');
    push_two(u64::from(month), out);
    out.push(b'-');
    push_two(u64::from(day), out);
}

/// `YYYY-MM-DD hh:mm:ss[.f]` of microseconds as `temporal` stores them, moved by `offset_us`. Zero and partial
/// dates are no moment on a clock, so they are not moved.
pub(super) fn push_datetime(micros: i64, offset_us: i64, fraction: Fraction, out: &mut Vec<u8>) {
    let (mut day, mut time) = split_micros(micros);
    if offset_us != 0 && !is_invalid_day(day) {
        (day, time) = split_micros(join_micros(day, time).saturating_add(offset_us));
    }
    push_date(day, out);
    out.push(b' ');
    push_clock(time.rem_euclid(DAY_US).unsigned_abs(), fraction, out);
}

/// `[-]hh:mm:ss[.f]`, hours up to 838.
pub(super) fn push_time(micros: i64, fraction: Fraction, out: &mut Vec<u8>) {
    if micros < 0 {
        out.push(b'-');
    }
    push_clock(micros.unsigned_abs(), fraction, out);
}

fn push_clock(micros: u64, fraction: Fraction, out: &mut Vec<u8>) {
    let seconds = micros / 1_000_000;
    push_two(seconds / 3600, out);
    out.push(b':');
    push_two(seconds / 60 % 60, out);
    out.push(b':');
    push_two(seconds % 60, out);
    let part = micros % 1_000_000;
    let digits = match fraction {
        Fraction::Digits(n) => usize::from(n.min(6)),
        Fraction::IfNonzero if part == 0 => 0,
        Fraction::IfNonzero => 6,
    };
    if digits == 0 {
        return;
    }
    out.push(b'.');
    push_padded_uint(part / 10u64.pow(6 - digits as u32), digits, out);
}

fn push_two(value: u64, out: &mut Vec<u8>) {
    if value < 100 {
        out.extend_from_slice(&[b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]);
        return;
    }
    push_padded_uint(value, 2, out);
}
