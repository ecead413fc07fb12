//! What the latch of an engine's process asks of the upstream: the writer, wherever it is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidelake_api::Desk;
use tidelake_api::wire::Question;
use tidelake_core::moment::{believed, now_us};
use tidelake_core::ports::{Source, StoreEngine};
use tidelake_core::{Catalog, CommitSeq, Error, Moment, Result, SourcePosition, TableName, env};
use tidelake_latch::FreshnessProbe;

use crate::probe::PipelineProbe;

/// Asks at the desk.
pub struct DeskProbe {
    desk: Arc<Desk>,
    engine: Arc<dyn StoreEngine>,
}

impl DeskProbe {
    /// For one engine.
    pub fn new(desk: Arc<Desk>, engine: Arc<dyn StoreEngine>) -> DeskProbe {
        DeskProbe { desk, engine }
    }

    async fn seq(&self, question: Question) -> Result<CommitSeq> {
        let unanswered = || Error::Internal("the writer answered without a seq".into());
        self.desk.ask(question).await?.ok_or_else(unanswered)
    }
}

#[async_trait]
impl FreshnessProbe for DeskProbe {
    async fn seq_of_latest(&self) -> Result<CommitSeq> {
        self.seq(Question::Latest).await
    }

    fn missing_table(&self, catalog: &Catalog) -> Option<TableName> {
        catalog.awaiting_copy().filter(|_| self.desk.copies()).cloned()
    }

    async fn seq_of(&self, position: &SourcePosition) -> Result<CommitSeq> {
        self.seq(Question::SeqOf(position.clone())).await
    }

    async fn read_past(&self, moment: &Moment) -> Result<()> {
        self.seq_read_at(moment).await.map(|_| ())
    }

    /// Nothing is known at once: whoever opens keeps what the engine has.
    fn seq_at(&self, _: &Moment) -> Result<Option<CommitSeq>> {
        Ok(None)
    }

    async fn seq_read_at(&self, moment: &Moment) -> Result<Option<CommitSeq>> {
        let question = match moment {
            Moment::Time(us) => Question::SeqAtTime(*us),
            Moment::Position(position) => Question::SeqAtPosition(position.clone()),
        };
        self.desk.ask(question).await
    }

    /// Of what is published, by its position; the writer's buffer knows the others.
    fn commit_time(&self, seq: CommitSeq) -> Result<Option<i64>> {
        let published = self.engine.published().borrow().clone();
        let time = believed(published.position.commit_time_us, now_us());
        Ok(Some(time).filter(|time| published.seq == seq && *time > 0))
    }

    async fn ready_at(&self) -> Result<CommitSeq> {
        self.desk.ready().await
    }

    fn trouble(&self) -> Option<String> {
        self.desk.trouble()
    }
}

/// The writer's side.
///
/// # Errors
/// What source and buffer say.
pub async fn answer(probe: Arc<PipelineProbe>, question: Question) -> Result<Option<CommitSeq>> {
    match question {
        Question::Latest => probe.seq_of_latest().await.map(Some),
        Question::SeqOf(position) => probe.seq_of(&position).await.map(Some),
        Question::SeqAtTime(us) => probe.seq_read_at(&Moment::Time(us)).await,
        Question::SeqAtPosition(position) => probe.seq_read_at(&Moment::Position(position)).await,
    }
}

/// How long to wait before an upstream that does not tell its head is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// The seq that has everything upstream has committed now: more than any writer before can have read.
///
/// # Errors
/// What is no passing trouble of the upstream.
pub async fn seq_of_head(source: &dyn Source, probe: &PipelineProbe) -> Result<CommitSeq> {
    loop {
        match source.head().await {
            Ok(head) => {
                let seq = probe.seq_of(&head).await?;
                if source.still_follows(&head) {
                    return Ok(seq);
                }
            }
            Err(error) if error.is_transient() => env::sleep(AGAIN).await,
            Err(error) => return Err(error),
        }
    }
}
