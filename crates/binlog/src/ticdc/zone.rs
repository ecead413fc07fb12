//! The zone in which a feed tells TIMESTAMPs. TiCDC prints them in its server's zone (`--tz`) and, but for the simple protocol,
//! does not say which: the user does.

use chrono::{DateTime, MappedLocalTime, Offset, TimeZone};
use tidelake_core::types::temporal::is_invalid_day;
use tidelake_core::types::temporal::split_micros;
use tidelake_core::{Error, Result};

use crate::mysql::reader::{Malformed, Parsed};

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Microseconds east of UTC.
    Fixed(i64),
    /// A zone with a history.
    Named(chrono_tz::Tz),
}

impl Zone {
    /// Reads `UTC`, `+08:00`, `Asia/Shanghai`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else.
    pub fn parse(text: &str) -> Result<Zone> {
        let unknown = || {
            Error::Invalid(format!("time zone {text:?} is not known: write UTC, +08:00 or a name like Asia/Shanghai"))
        };
        if text.is_empty() || text.eq_ignore_ascii_case("utc") {
            return Ok(Zone::Fixed(0));
        }
        if let Some(rest) = text.strip_prefix(['+', '-']) {
            let (hours, minutes) = rest.split_once(':').ok_or_else(unknown)?;
            let (hours, minutes): (i64, i64) =
                (hours.parse().map_err(|_| unknown())?, minutes.parse().map_err(|_| unknown())?);
            if !(0..=14).contains(&hours) || !(0..60).contains(&minutes) {
                return Err(unknown());
            }
            let us = (hours * 60 + minutes) * 60_000_000;
            return Ok(Zone::Fixed(if text.starts_with('-') { -us } else { us }));
        }
        text.parse().map(Zone::Named).map_err(|_| unknown())
    }

    /// Microseconds since 1970 UTC of microseconds on a clock in this zone. Zero and partial dates are no moments and stay.
    ///
    /// # Errors
    /// For an hour that the zone's clocks showed twice or not at all.
    pub fn to_utc(&self, local_us: i64) -> Parsed<i64> {
        if is_invalid_day(split_micros(local_us).0) {
            return Ok(local_us);
        }
        let tz = match self {
            Zone::Fixed(us) => return Ok(local_us - us),
            Zone::Named(tz) => tz,
        };
        let naive =
            DateTime::from_timestamp_micros(local_us).ok_or(Malformed::because("a time out of range"))?.naive_utc();
        match tz.offset_from_local_datetime(&naive) {
            MappedLocalTime::Single(offset) => Ok(local_us - i64::from(offset.fix().local_minus_utc()) * 1_000_000),
            _ => Err(Malformed::new(format!(
                "{naive} is not one moment in time zone {tz}, whose clocks were changed then: run TiCDC with --tz UTC"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelake_core::types::temporal::zero_micros;

    #[test]
    fn moments() {
        let hour = 3_600_000_000;
        assert_eq!(Zone::parse("+08:00").unwrap().to_utc(8 * hour), Ok(0));
        assert_eq!(Zone::parse("Asia/Shanghai").unwrap().to_utc(8 * hour), Ok(0));
        assert_eq!(Zone::parse("-03:30").unwrap().to_utc(0), Ok(7 * hour / 2));
        assert_eq!(Zone::parse("+08:00").unwrap().to_utc(zero_micros()), Ok(zero_micros()));
        // 2023-10-29 02:30 happened twice in Berlin
        let twice = 1_698_546_600_000_000;
        assert!(Zone::parse("Europe/Berlin").unwrap().to_utc(twice).unwrap_err().0.contains("--tz UTC"));
        for text in ["+8", "Mars/Olympus", "+15:00", "+-1:00"] {
            assert!(Zone::parse(text).is_err(), "{text}");
        }
    }
}
