//! A writer's side of a latch in a process of its own, and of the engines at it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidelake_core::ports::store::Progress;
use tidelake_core::{CommitSeq, Error, Result, WriterEpoch, env};

use crate::client::{Connection, PATIENCE};
use crate::feed::{PATIENCE as LONG, WriterLine};
use crate::line::LatchLine;
use crate::wire::{Before, BeginWriter, GrantWriter, Lineages, Nothing, OfEpoch, Progresses, Question, TakeOver};

/// How often a writer that has told all it knows looks whether its latch still leads.
const LOOK: Duration = Duration::from_secs(1);

/// A writer's session with the latch that leads. It ends with the connection, and begins again with [`FleetLine::begin`].
pub struct FleetLine {
    line: Arc<LatchLine>,
    at: usize,
    session: WriterLine,
    ancestors: Vec<Before>,
}

/// An engine's answer to a writer.
#[derive(Clone, Debug)]
pub struct Fed {
    /// The buffer whose seqs it has.
    pub lineage: Option<String>,
    /// Newest published.
    pub published: Progress,
    /// Newest durable.
    pub durable: Progress,
}

impl From<Progresses> for Fed {
    fn from(now: Progresses) -> Fed {
        Fed { lineage: now.lineage, published: now.published, durable: now.durable }
    }
}

impl FleetLine {
    /// Begins a session for the writer of this buffer.
    ///
    /// # Errors
    /// `Invalid` if another buffer's seqs count.
    pub async fn begin(line: Arc<LatchLine>, lineage: &str) -> Result<FleetLine> {
        let epoch = FleetLine::grant(&line, Some(lineage)).await?;
        let ask = BeginWriter { epoch: epoch.0, lineage: lineage.to_owned(), anew: false, ancestors: Vec::new() };
        let (at, Lineages { ancestors, .. }) = line.ask("begin_writer", ask, PATIENCE).await?;
        let session = WriterLine::begun(line.connection(at).clone(), epoch);
        Ok(FleetLine { line, at, session, ancestors })
    }

    /// An epoch; only for a writer of the buffer that counts, if one is named.
    ///
    /// # Errors
    /// `Invalid` if another buffer's seqs count.
    pub async fn grant(line: &LatchLine, lineage: Option<&str>) -> Result<WriterEpoch> {
        let ask = GrantWriter { lineage: lineage.map(str::to_owned) };
        let (_, OfEpoch { epoch }) = line.ask("grant_writer", ask, PATIENCE).await?;
        Ok(WriterEpoch(epoch))
    }

    /// Whose seqs count.
    ///
    /// # Errors
    /// If no latch answers.
    pub async fn lineages(line: &LatchLine) -> Result<Lineages> {
        Ok(line.ask("lineage", Nothing {}, PATIENCE).await?.1)
    }

    /// A new buffer, `lineage`, begins where the engines are. `known` is whose seqs counted when they were looked at, `before` whose they have.
    ///
    /// # Errors
    /// `Invalid` if another writer was faster.
    pub async fn take_over(
        line: &LatchLine,
        epoch: WriterEpoch,
        lineage: &str,
        known: Option<String>,
        before: Option<String>,
        at: CommitSeq,
    ) -> Result<Lineages> {
        let ask = TakeOver { epoch: epoch.0, lineage: lineage.to_owned(), known, before, at };
        Ok(line.ask("take_over", ask, PATIENCE).await?.1)
    }

    /// Buffers whose seqs are this one's too.
    #[must_use]
    pub fn ancestors(&self) -> &[Before] {
        &self.ancestors
    }

    /// As [`WriterLine::tell`].
    ///
    /// # Errors
    /// `Fenced` if another writer has begun a session.
    pub async fn tell(&self, copies: bool, upstream: Option<Value>, ready: Option<CommitSeq>) -> Result<()> {
        self.session.tell(copies, upstream, ready).await
    }

    /// Answers the latch's questions as long as it leads and the connection holds.
    ///
    /// # Errors
    /// Why that ended: `Fenced` if another writer has begun a session.
    pub async fn answer<F>(&self, answer: impl Fn(Question) -> F + Clone + Send + Sync + 'static) -> Result<()>
    where
        F: Future<Output = Result<Option<CommitSeq>>> + Send + 'static,
    {
        tokio::select! {
            ended = self.session.answer_while_connected(answer) => ended?,
            () = self.replaced() => {}
        }
        Err(Error::Unavailable("the line to the latch ended".into()))
    }

    async fn replaced(&self) {
        // The line may learn of a latch that just began to lead a little later than its answer came.
        loop {
            env::sleep(LOOK).await;
            if self.line.leader() != self.at {
                return;
            }
        }
    }
}

/// Takes over writing to an engine for a buffer; how far the engine is. What it has of an ancestor is the buffer's too.
///
/// # Errors
/// `Invalid` if the engine has other seqs.
pub async fn join(engine: &Connection, epoch: WriterEpoch, lineage: &str, ancestors: &[Before]) -> Result<Fed> {
    let ask = BeginWriter { epoch: epoch.0, lineage: lineage.to_owned(), anew: false, ancestors: ancestors.to_vec() };
    let now: Progresses = engine.call_within("begin_writer", ask, LONG).await?;
    Ok(now.into())
}

/// Fences whoever wrote to an engine before, and makes everything published there durable.
///
/// # Errors
/// `Fenced` if somebody has a newer epoch.
pub async fn fence(engine: &Connection, epoch: WriterEpoch) -> Result<Fed> {
    let now: Progresses = engine.call_within("fence_writer", OfEpoch { epoch: epoch.0 }, LONG).await?;
    Ok(now.into())
}
