//! The engines of a hub as one, and its writer as who knows the upstream.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use tidelake_core::moment::{believed, now_us};
use tidelake_core::ports::store::Progress;
use tidelake_core::{Catalog, CommitSeq, Error, Moment, Result, SourcePosition, TableName, env};
use tidelake_latch::{FreshnessProbe, Replica};
use tokio::sync::watch;

use super::Hub;
use crate::wire::Question;

/// What the latch of a hub sees. It holds the latch, so the latch does not hold it.
pub(super) struct View(pub Weak<Hub>);

impl View {
    fn hub(&self) -> Result<Arc<Hub>> {
        self.0.upgrade().ok_or_else(|| Error::Unavailable("this latch leads no more".into()))
    }

    async fn seq(&self, question: Question) -> Result<CommitSeq> {
        let unanswered = || Error::Internal("the writer answered without a seq".into());
        self.hub()?.questions.ask(question).await?.ok_or_else(unanswered)
    }
}

impl Replica for View {
    fn published(&self) -> watch::Receiver<Progress> {
        match self.hub() {
            Ok(hub) => hub.shown.subscribe(),
            Err(_) => watch::Sender::new(Progress::default()).subscribe(),
        }
    }

    fn missing_table(&self, seq: CommitSeq, _: &dyn FreshnessProbe) -> Result<Option<TableName>> {
        let hub = self.hub()?;
        let copies = hub.session.lock().copies;
        let awaiting = hub.awaiting.lock();
        let known = awaiting.iter().rev().find(|(shown, _)| *shown == seq);
        let (_, table) = known.ok_or_else(|| Error::Unavailable(format!("nothing is known of seq {seq} any more")))?;
        Ok(table.clone().filter(|_| copies))
    }

    fn horizon(&self) -> CommitSeq {
        self.hub().map_or(CommitSeq::ZERO, |hub| hub.fleet.lock().horizon(env::now()))
    }

    fn set_horizon(&self, seq: CommitSeq) {
        if let Ok(hub) = self.hub() {
            hub.horizon.fetch_max(seq.0, Ordering::AcqRel);
        }
    }
}

#[async_trait]
impl FreshnessProbe for View {
    async fn seq_of_latest(&self) -> Result<CommitSeq> {
        self.seq(Question::Latest).await
    }

    fn missing_table(&self, _: &Catalog) -> Option<TableName> {
        None
    }

    async fn seq_of(&self, position: &SourcePosition) -> Result<CommitSeq> {
        self.seq(Question::SeqOf(position.clone())).await
    }

    async fn read_past(&self, moment: &Moment) -> Result<()> {
        self.seq_read_at(moment).await.map(|_| ())
    }

    fn seq_at(&self, _: &Moment) -> Result<Option<CommitSeq>> {
        Ok(None)
    }

    async fn seq_read_at(&self, moment: &Moment) -> Result<Option<CommitSeq>> {
        let question = match moment {
            Moment::Time(us) => Question::SeqAtTime(*us),
            Moment::Position(position) => Question::SeqAtPosition(position.clone()),
        };
        self.hub()?.questions.ask(question).await
    }

    /// Of what is shown, by its position; the writer's buffer knows the others.
    fn commit_time(&self, seq: CommitSeq) -> Result<Option<i64>> {
        let shown = self.hub()?.shown.borrow().clone();
        let time = believed(shown.position.commit_time_us, now_us());
        Ok(Some(time).filter(|time| shown.seq == seq && *time > 0))
    }

    async fn ready_at(&self) -> Result<CommitSeq> {
        let mut stage = self.hub()?.stage.subscribe();
        let known = stage.wait_for(|stage| stage.floor.is_some()).await;
        known.map(|stage| stage.floor.unwrap_or_default()).map_err(|_| Error::Unavailable("the latch has ended".into()))
    }

    fn trouble(&self) -> Option<String> {
        let hub = self.hub().ok()?;
        hub.waiting().or_else(|| (!hub.questions.heard()).then(|| "no writer is connected to the latch".to_owned()))
    }
}
