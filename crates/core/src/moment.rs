//! Moments in the upstream's history, and what a commit time is worth.

use crate::position::SourcePosition;
use crate::types::temporal::{date_of, split_micros};

/// How far a commit time may be ahead of this machine's clock and still be believed, in microseconds.
const AHEAD_US: i64 = 60_000_000;

/// A place in the upstream's history.
#[derive(Clone, Debug, PartialEq)]
pub enum Moment {
    /// When the upstream committed, microseconds since 1970 UTC.
    Time(i64),
    /// Right after this position.
    Position(SourcePosition),
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Moment::Time(us) => f.write_str(&time_text(*us)),
            Moment::Position(position) => write!(f, "position {position}"),
        }
    }
}

/// This machine's clock, microseconds since 1970 UTC.
#[must_use]
pub fn now_us() -> i64 {
    crate::env::wall_us()
}

/// A commit time as it is worth keeping: 0, unknown, if it is more than a minute ahead of `now_us`. A session of the
/// upstream may put any time into the bin log (`SET timestamp`), and commit times never go back.
#[must_use]
pub fn believed(commit_time_us: i64, now_us: i64) -> i64 {
    if commit_time_us > now_us.saturating_add(AHEAD_US) { 0 } else { commit_time_us }
}

/// `YYYY-MM-DD hh:mm:ss[.ffffff] UTC`.
#[must_use]
pub fn time_text(us: i64) -> String {
    let (day, time) = split_micros(us);
    let (year, month, day) = date_of(day);
    let (seconds, fraction) = (time / 1_000_000, time % 1_000_000);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
    format!("{year:04}-{month:02}-{day:02} {clock}{fraction} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_text() {
        assert_eq!(time_text(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time_text(1_790_519_926_702_000), "2026-09-27 14:38:46.702000 UTC");
        assert_eq!(time_text(-1), "1969-12-31 23:59:59.999999 UTC");
        // Whatever a peer sends has a text.
        assert!(!time_text(i64::MAX).is_empty() && !time_text(i64::MIN).is_empty());
    }

    #[test]
    fn a_time_far_ahead_is_not_believed() {
        assert_eq!(believed(100, 40), 100);
        assert_eq!(believed(AHEAD_US + 41, 40), 0);
        assert_eq!(believed(i64::MAX, i64::MAX), i64::MAX);
    }
}
