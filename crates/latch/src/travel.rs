//! Snapshots of the past: which seq shows what upstream had at a moment, and how far back that can be asked.

use std::time::Duration;

use tidelake_core::moment::{now_us, time_text};
use tidelake_core::{CommitSeq, Error, Moment, Result, env};

use crate::{FreshnessProbe, LocalLatch, Replica};

/// Commit times of MariaDB and older MySQL are whole seconds: until a second is over, more may be committed in it.
const SECOND_US: i64 = 1_000_000;

/// Where the window begins when the service opens: what upstream had committed a retention ago, or all that the engine has if
/// that is not known.
pub(crate) fn window_begin(
    engine: &dyn Replica,
    probe: &dyn FreshnessProbe,
    retention: Duration,
    wall_us: i64,
) -> Result<CommitSeq> {
    let published = engine.published().borrow().seq;
    if retention.is_zero() {
        return Ok(published);
    }
    let retention_us = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
    let begin = probe.seq_at(&Moment::Time(wall_us.saturating_sub(retention_us)))?;
    Ok(begin.unwrap_or(CommitSeq::ZERO).max(engine.horizon()).min(published))
}

impl LocalLatch {
    /// The seq that shows what upstream had at a moment. Waits until nothing more can be committed up to it, and until
    /// that was read.
    pub(crate) async fn seq_at(&self, moment: &Moment) -> Result<CommitSeq> {
        if let Moment::Time(us) = moment {
            self.wait_until_past(*us).await?;
        }
        self.probe.seq_read_at(moment).await?.ok_or_else(|| self.too_old(&moment.to_string()))
    }

    async fn wait_until_past(&self, us: i64) -> Result<()> {
        let now = now_us();
        if us > now {
            let (asked, now) = (time_text(us), time_text(now));
            return Err(Error::Invalid(format!("{asked} is in the future: it is {now}; {}", self.window())));
        }
        let left = us.saturating_add(SECOND_US).saturating_sub(now);
        if left > 0 {
            env::sleep(Duration::from_micros(left.cast_unsigned())).await;
        }
        Ok(())
    }

    /// What can be read, in words.
    #[must_use]
    pub fn window(&self) -> String {
        let (oldest, time) = self.oldest();
        let time = time.map_or_else(String::new, |us| format!(", committed at {}", time_text(us)));
        format!("the oldest readable state is seq {oldest}{time} (--retention is {:?})", self.retention)
    }

    /// The oldest seq that can be read, and when upstream committed it, if that is known.
    #[must_use]
    pub fn oldest(&self) -> (CommitSeq, Option<i64>) {
        let oldest = self.leases.lock().horizon().max(self.engine.horizon());
        let time = self.probe.commit_time(oldest).unwrap_or_else(|error| {
            tracing::warn!(%error, seq = %oldest, "the commit time of the oldest readable seq cannot be looked up");
            None
        });
        (oldest, time)
    }

    pub(crate) fn too_old(&self, what: &str) -> Error {
        Error::SnapshotExpired(format!("{what} is outside the window: {}", self.window()))
    }
}
