//! Dates and times as TiDB prints them.

use tidelake_core::types::temporal::{TIME_MAX_US, day_number, join_micros};

/// `2024-02-31` as a day number.
pub(super) fn day(text: &str) -> Option<i32> {
    let mut parts = text.split('-');
    let (year, month, day) = (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    let valid = parts.next().is_none() && year <= 9999 && month <= 12 && day <= 31;
    valid.then(|| day_number(year as u16, month as u8, day as u8))
}

/// `2024-02-31 23:59:59.000001`, or a date alone, in microseconds.
pub(super) fn date_time_us(text: &str) -> Option<i64> {
    let (date, clock) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let us = time_us(clock).filter(|us| (0..86_400_000_000).contains(us))?;
    Some(join_micros(day(date)?, us))
}

/// `-838:59:59.000001` in microseconds.
pub(super) fn time_us(text: &str) -> Option<i64> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let (hours, minutes, seconds) = (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    if parts.next().is_some() || minutes > 59 || seconds > 59 || hours > 838 || fraction.len() > 6 {
        return None;
    }
    let fraction = if fraction.is_empty() { 0 } else { digits(fraction)? * 10i64.pow(6 - fraction.len() as u32) };
    let us = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction;
    (us <= TIME_MAX_US).then_some(if negative { -us } else { us })
}

fn digits(text: &str) -> Option<i64> {
    let fits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelake_core::types::temporal::{DAY_US, zero_micros};

    #[test]
    fn moments() {
        assert_eq!(date_time_us("0000-00-00 00:00:00"), Some(zero_micros()));
        assert_eq!(date_time_us("1970-01-02 00:00:00.25"), Some(DAY_US + 250_000));
        assert_eq!(date_time_us("1970-01-02"), Some(DAY_US));
        assert_eq!(time_us("-838:59:59.999999"), Some(-TIME_MAX_US));
        assert_eq!(time_us("-00:00:00.5"), Some(-500_000));
        for wrong in ["", "1:2", "1:60:00", "839:00:00", "+1:00:00", "00:00:00.1234567"] {
            assert_eq!(time_us(wrong), None, "{wrong}");
        }
        for wrong in ["2024-13-01", "2024-1", "10000-01-01", "2024-01-01 24:00:00", "2024-01-01 -1:00:00"] {
            assert_eq!(date_time_us(wrong), None, "{wrong}");
        }
    }
}
