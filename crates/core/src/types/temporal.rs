//! Days and microseconds, with a place for dates that no calendar has.
//!
//! The upstream stores zero and partial dates (`0000-00-00`, `2024-00-31`, `2024-02-31`). They are kept
//! exactly, in a range of day numbers far below year 0: `INVALID_BASE + (year * 16 + month) * 32 + day`. Within
//! the range they order as the upstream orders them; all of them order before every real date.
//! A DATETIME is `day * 86_400_000_000 + microseconds of the day`, for both kinds of day.

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;

/// The day number of `0000-00-00`, the smallest one ever stored.
pub const INVALID_BASE: i32 = -20_000_000;

/// One past the largest reserved day number (`9999-15-31`).
pub const INVALID_END: i32 = INVALID_BASE + (10_000 << 9);

/// Largest TIME in microseconds: 838:59:59.999999.
pub const TIME_MAX_US: i64 = ((838 * 60 + 59) * 60 + 59) * 1_000_000 + 999_999;

/// Days since 1970-01-01 of a date as the upstream stores it (year 0 to 9999, month 0 to 12, day 0 to 31).
#[must_use]
#[inline]
pub fn day_number(year: u16, month: u8, day: u8) -> i32 {
    if month == 0 || day == 0 || day > days_in_month(year, month) {
        return INVALID_BASE + ((i32::from(year) << 9) | (i32::from(month) << 5) | i32::from(day));
    }
    days_from_civil(i32::from(year), month, day)
}

/// The inverse of [`day_number`]: year, month, day. Works for every `i32`.
#[must_use]
pub fn date_of(day: i32) -> (i32, u8, u8) {
    if (INVALID_BASE..INVALID_END).contains(&day) {
        let packed = day - INVALID_BASE;
        return (packed >> 9, ((packed >> 5) & 15) as u8, (packed & 31) as u8);
    }
    civil_from_days(day)
}

/// True if the day number stands for a zero or partial date.
#[must_use]
pub fn is_invalid_day(day: i32) -> bool {
    (INVALID_BASE..INVALID_END).contains(&day)
}

/// Splits microseconds into day number and microseconds of the day.
#[must_use]
pub fn split_micros(us: i64) -> (i32, i64) {
    (us.div_euclid(DAY_US) as i32, us.rem_euclid(DAY_US))
}

/// Joins day number and microseconds of the day.
#[must_use]
#[inline]
pub fn join_micros(day: i32, time_us: i64) -> i64 {
    i64::from(day) * DAY_US + time_us
}

/// The stored value of `TIMESTAMP '0000-00-00 00:00:00'` and of the zero DATETIME.
#[must_use]
#[inline]
pub fn zero_micros() -> i64 {
    join_micros(INVALID_BASE, 0)
}

#[inline]
fn days_in_month(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u8::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

/// Days from civil, proleptic Gregorian. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
#[inline]
fn days_from_civil(year: i32, month: u8, day: u8) -> i32 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (i32::from(month) + 9) % 12;
    let doy = (153 * mp + 2) / 5 + i32::from(day) - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

/// Civil from days; source as for [`days_from_civil`].
fn civil_from_days(day: i32) -> (i32, u8, u8) {
    let z = i64::from(day) + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let d = (doy - (153 * mp + 2) / 5 + 1) as u8;
    let m = (if mp < 10 { mp + 3 } else { mp - 9 }) as u8;
    let y = yoe + era * 400 + i64::from(m <= 2);
    (y as i32, m, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_date_round_trips() {
        for year in [0u16, 1, 4, 100, 400, 1582, 1899, 1970, 2000, 2023, 2024, 9999] {
            for month in 0..=12u8 {
                for day in 0..=31u8 {
                    let n = day_number(year, month, day);
                    assert_eq!(date_of(n), (i32::from(year), month, day));
                }
            }
        }
    }

    #[test]
    fn known_days() {
        assert_eq!(day_number(1970, 1, 1), 0);
        assert_eq!(day_number(2000, 3, 1), 11_017);
        assert_eq!(day_number(9999, 12, 31), 2_932_896);
        assert_eq!(day_number(0, 0, 0), INVALID_BASE);
        assert!(is_invalid_day(day_number(2024, 2, 30)));
        assert!(!is_invalid_day(day_number(2024, 2, 29)));
        assert!(day_number(2024, 2, 30) < day_number(2024, 2, 31));
    }

    #[test]
    fn micros_split_before_1970() {
        assert_eq!(split_micros(-1), (-1, DAY_US - 1));
        assert_eq!(split_micros(zero_micros()), (INVALID_BASE, 0));
    }
}
