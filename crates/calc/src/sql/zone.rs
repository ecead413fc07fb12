//! Time zones: offsets (`+02:00`), and the names of the IANA database that is compiled in (`Europe/Berlin`).

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;
use tidelake_core::types::temporal::split_micros;

use super::datetime::{SECOND_US, shift};

/// A session's or a function's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    /// By its rules.
    Named(Tz),
}

/// UTC.
pub(crate) const UTC: Zone = Zone::Fixed(0);

impl Zone {
    /// A session's word for a zone: `SYSTEM` is the upstream's own.
    pub(crate) fn of_session(text: &str, system: Zone) -> Option<Zone> {
        if text.eq_ignore_ascii_case("SYSTEM") { Some(system) } else { Zone::parse(text) }
    }

    /// An offset up to 14 hours, or a name in any case.
    pub(crate) fn parse(text: &str) -> Option<Zone> {
        if text.eq_ignore_ascii_case("UTC") {
            return Some(UTC);
        }
        let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(rest), _) => (1, rest),
            (_, Some(rest)) => (-1, rest),
            _ => return named(text),
        };
        let (hours, minutes) = rest.split_once(':')?;
        let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
        let total = hours * 60 + minutes;
        ((0..60).contains(&minutes) && hours >= 0 && total <= 14 * 60).then_some(Zone::Fixed(sign * total * 60))
    }

    /// Seconds east of UTC at an instant.
    pub(crate) fn offset_at(self, utc_us: i64) -> i32 {
        match self {
            Zone::Fixed(seconds) => seconds,
            Zone::Named(zone) => {
                naive(utc_us).map_or(0, |at| zone.offset_from_utc_datetime(&at).fix().local_minus_utc())
            }
        }
    }

    /// The local clock at an instant; zero and partial dates stay.
    pub(crate) fn to_local(self, utc_us: i64) -> i64 {
        shift(utc_us, self.offset_at(utc_us))
    }

    /// The instant of a local clock: the first of two, and the end of a gap for what the clock skips. Zero and partial
    /// dates stay.
    pub(crate) fn to_utc(self, local_us: i64) -> i64 {
        let zone = match self {
            Zone::Fixed(seconds) => return shift(local_us, -seconds),
            Zone::Named(zone) => zone,
        };
        let Some(local) = naive(local_us) else { return local_us };
        match zone.offset_from_local_datetime(&local) {
            LocalResult::Single(o) | LocalResult::Ambiguous(o, _) => shift(local_us, -o.fix().local_minus_utc()),
            LocalResult::None => self.gap_end(local_us),
        }
    }

    /// The instant at which the clock jumped over this local time.
    fn gap_end(self, local_us: i64) -> i64 {
        let day = 86_400 * SECOND_US;
        let (mut before, mut after) = (local_us - 2 * day, local_us + 2 * day);
        let old = self.offset_at(before);
        while after - before > SECOND_US {
            let middle = before + (after - before) / 2;
            if self.offset_at(middle) == old { before = middle } else { after = middle }
        }
        after - after.rem_euclid(SECOND_US)
    }
}

/// Names have no case, as upstream.
fn named(text: &str) -> Option<Zone> {
    let found = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(text));
    found.map(|zone| Zone::Named(*zone))
}

/// `None` for zero and partial dates.
fn naive(us: i64) -> Option<NaiveDateTime> {
    if tidelake_core::types::temporal::is_invalid_day(split_micros(us).0) {
        return None;
    }
    DateTime::from_timestamp_micros(us).map(|at| at.naive_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::datetime::{datetime_text, parse_datetime};

    fn local(zone: &str, utc: &str) -> String {
        datetime_text(Zone::parse(zone).unwrap().to_local(parse_datetime(utc).unwrap().micros), 0)
    }

    fn utc(zone: &str, local: &str) -> String {
        datetime_text(Zone::parse(zone).unwrap().to_utc(parse_datetime(local).unwrap().micros), 0)
    }

    #[test]
    fn offsets_and_names() {
        assert_eq!(Zone::parse("+02:30"), Some(Zone::Fixed(9000)));
        assert_eq!(Zone::parse("-11:00"), Some(Zone::Fixed(-39600)));
        assert_eq!(Zone::of_session("system", Zone::Fixed(3600)), Some(Zone::Fixed(3600)));
        assert_eq!(Zone::parse("utc"), Some(UTC));
        assert_eq!(Zone::parse("europe/berlin"), Some(Zone::Named(Tz::Europe__Berlin)));
        assert_eq!((Zone::parse("+15:00"), Zone::parse("Atlantis"), Zone::parse("+1")), (None, None, None));
    }

    #[test]
    fn summer_and_winter() {
        assert_eq!(local("Europe/Berlin", "2024-07-01 12:00:00"), "2024-07-01 14:00:00");
        assert_eq!(local("Europe/Berlin", "2024-12-01 12:00:00"), "2024-12-01 13:00:00");
        assert_eq!(local("Europe/Berlin", "0000-00-00 00:00:00"), "0000-00-00 00:00:00");
        assert_eq!(utc("America/New_York", "2024-07-01 12:00:00"), "2024-07-01 16:00:00");
    }

    #[test]
    fn skipped_and_repeated_hours() {
        assert_eq!(utc("Europe/Berlin", "2024-03-31 02:30:00"), "2024-03-31 01:00:00");
        assert_eq!(utc("Europe/Berlin", "2024-10-27 02:30:00"), "2024-10-27 00:30:00");
    }
}
