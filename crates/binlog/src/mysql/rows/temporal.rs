//! Dates and times, in the layouts before and since MySQL 5.6, and MariaDB's own with fractions between them.
//!
//! Formats: MySQL's `my_time.cc` (`*_to_binary`), MariaDB's `Field_*_hires` in `sql/field.cc`.

use tidelake_core::types::temporal::{day_number, join_micros, zero_micros};

use crate::mysql::reader::{Malformed, Parsed, Reader};

const POW10: [i64; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];

/// Days of a date, checked.
#[inline]
fn day(year: u64, month: u64, day: u64) -> Parsed<i32> {
    if year > 9999 || month > 12 || day > 31 {
        return Err(Malformed::new(format!("date {year}-{month}-{day}")));
    }
    Ok(day_number(year as u16, month as u8, day as u8))
}

/// Microseconds of a day, checked.
#[inline]
fn of_day(hour: u64, minute: u64, second: u64, us: i64) -> Parsed<i64> {
    if hour > 23 || minute > 59 || second > 59 || !(0..1_000_000).contains(&us) {
        return Err(Malformed::new(format!("time of day {hour}:{minute}:{second} and {us} us")));
    }
    Ok(((hour * 60 + minute) * 60 + second) as i64 * 1_000_000 + us)
}

/// Microseconds of a TIME, checked.
fn duration(negative: bool, hour: u64, minute: u64, second: u64, us: i64) -> Parsed<i64> {
    if hour > 838 || minute > 59 || second > 59 || !(0..1_000_000).contains(&us) {
        return Err(Malformed::new(format!("time {hour}:{minute}:{second} and {us} us")));
    }
    let value = ((hour * 60 + minute) * 60 + second) as i64 * 1_000_000 + us;
    Ok(if negative { -value } else { value })
}

/// Bytes of the fraction of a value with `fsp` digits, since 5.6.
#[must_use]
pub fn fraction_bytes(fsp: u8) -> u32 {
    u32::from(fsp.min(6)).div_ceil(2)
}

/// Microseconds in the 0 to 3 bytes behind a value with `fsp` digits.
#[inline]
fn fraction(r: &mut Reader<'_>, fsp: u8) -> Parsed<i64> {
    let bytes = fraction_bytes(fsp) as usize;
    Ok(r.be(bytes)? as i64 * POW10[6 - 2 * bytes])
}

/// DATE: days.
///
/// # Errors
/// For impossible values and at the end of the event, as all that follow.
#[inline]
pub fn date(r: &mut Reader<'_>) -> Parsed<i32> {
    let v = u64::from(r.u24()?);
    day(v >> 9, (v >> 5) & 15, v & 31)
}

/// DATETIME since 5.6: microseconds.
///
/// # Errors
/// See [`date`].
#[inline]
pub fn datetime2(r: &mut Reader<'_>, fsp: u8) -> Parsed<i64> {
    let v = r.be(5)?.checked_sub(0x80_0000_0000).ok_or(Malformed::because("negative DATETIME"))?;
    let months = v >> 22;
    let day = day(months / 13, months % 13, (v >> 17) & 31)?;
    let us = fraction(r, fsp)?;
    Ok(join_micros(day, of_day((v >> 12) & 31, (v >> 6) & 63, v & 63, us)?))
}

/// TIMESTAMP since 5.6: microseconds.
///
/// # Errors
/// See [`date`].
#[inline]
pub fn timestamp2(r: &mut Reader<'_>, fsp: u8) -> Parsed<i64> {
    let seconds = r.be(4)? as i64;
    let us = fraction(r, fsp)?;
    Ok(if seconds == 0 && us == 0 { zero_micros() } else { seconds * 1_000_000 + us })
}

/// TIME since 5.6: microseconds.
///
/// # Errors
/// See [`date`].
#[inline]
pub fn time2(r: &mut Reader<'_>, fsp: u8) -> Parsed<i64> {
    let bytes = fraction_bytes(fsp) as usize;
    let bits = 8 * bytes;
    // value and fraction are one number, stored with an offset so that it sorts
    let v = r.be(3 + bytes)? as i64 - (1i64 << (23 + bits));
    let (negative, v) = (v < 0, v.unsigned_abs());
    let us = (v & ((1 << bits) - 1)) as i64 * POW10[6 - 2 * bytes];
    let v = v >> bits;
    duration(negative, (v >> 12) & 0x3ff, (v >> 6) & 63, v & 63, us)
}

/// Bytes of a value of [`datetime_old`].
#[must_use]
pub fn datetime_old_bytes(fsp: u8) -> u32 {
    [8, 6, 6, 7, 7, 7, 8][usize::from(fsp.min(6))]
}

/// Bytes of a value of [`timestamp_old`].
#[must_use]
pub fn timestamp_old_bytes(fsp: u8) -> u32 {
    [4, 5, 5, 6, 6, 7, 7][usize::from(fsp.min(6))]
}

/// Bytes of a value of [`time_old`].
#[must_use]
pub fn time_old_bytes(fsp: u8) -> u32 {
    [3, 4, 4, 5, 5, 5, 6][usize::from(fsp.min(6))]
}

/// DATETIME before 5.6: decimal digits YYYYMMDDhhmmss. MariaDB with `fsp` digits: one packed number.
///
/// # Errors
/// See [`date`].
pub fn datetime_old(r: &mut Reader<'_>, fsp: u8) -> Parsed<i64> {
    if fsp == 0 {
        let v = r.u64()?;
        let (d, t) = (v / 1_000_000, v % 1_000_000);
        let day = day(d / 10_000, d / 100 % 100, d % 100)?;
        return Ok(join_micros(day, of_day(t / 10_000, t / 100 % 100, t % 100, 0)?));
    }
    let (us, v) = unpack(r.be(datetime_old_bytes(fsp) as usize)?, fsp);
    let (second, v) = (v % 60, v / 60);
    let (minute, v) = (v % 60, v / 60);
    let (hour, v) = (v % 24, v / 24);
    let (of_month, v) = (v % 32, v / 32);
    Ok(join_micros(day(v / 13, v % 13, of_month)?, of_day(hour, minute, second, us)?))
}

/// TIMESTAMP before 5.6; MariaDB with `fsp` digits.
///
/// # Errors
/// See [`date`].
pub fn timestamp_old(r: &mut Reader<'_>, fsp: u8) -> Parsed<i64> {
    let (seconds, us) = if fsp == 0 {
        (i64::from(r.u32()?), 0)
    } else {
        let fraction = timestamp_old_bytes(fsp) as usize - 4;
        (r.be(4)? as i64, r.be(fraction)? as i64 * POW10[6 - usize::from(fsp.min(6))])
    };
    Ok(if seconds == 0 && us == 0 { zero_micros() } else { seconds * 1_000_000 + us })
}

/// TIME before 5.6: decimal digits hhmmss; MariaDB with `fsp` digits: one packed number with an offset.
///
/// # Errors
/// See [`date`].
pub fn time_old(r: &mut Reader<'_>, fsp: u8) -> Parsed<i64> {
    if fsp == 0 {
        let v = i64::from((r.u24()? << 8) as i32 >> 8);
        let (negative, v) = (v < 0, v.unsigned_abs());
        return duration(negative, v / 10_000, v / 100 % 100, v % 100, 0);
    }
    const ZERO_SECONDS: i64 = 838 * 3600 + 59 * 60 + 59 + 1;
    let digits = usize::from(fsp.min(6));
    let v = r.be(time_old_bytes(fsp) as usize)? as i64 - ZERO_SECONDS * POW10[digits];
    let (negative, v) = (v < 0, v.unsigned_abs());
    let (us, v) = unpack(v, fsp);
    duration(negative, v / 3600, v / 60 % 60, v % 60, us)
}

/// Splits a number with `fsp` decimal digits of fraction into microseconds and whole seconds.
fn unpack(v: u64, fsp: u8) -> (i64, u64) {
    let unit = POW10[usize::from(fsp.min(6))] as u64;
    ((v % unit) as i64 * POW10[6 - usize::from(fsp.min(6))], v / unit)
}
