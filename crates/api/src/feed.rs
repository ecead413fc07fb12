//! A writer's line to the desk of an engine elsewhere.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use tidelake_core::{CommitSeq, Result, WriterEpoch, env};
use tokio::task::JoinSet;

use crate::client::Connection;
use crate::errors::WireError;
use crate::offered::QUESTIONS;
use crate::wire::{About, Answer, Asked, BeginWriter, Nothing, OfEpoch, Progresses, Question, Tell};

/// Taking over makes everything durable first.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// How long to wait after a lost connection.
const AGAIN: Duration = Duration::from_millis(200);

/// What a writer says to the engine, beside rows.
#[derive(Clone)]
pub struct WriterLine {
    connection: Connection,
    epoch: WriterEpoch,
}

impl WriterLine {
    /// Takes over writing with a newly granted epoch; how far the engine is. `anew`: the buffer of this lineage is empty, and will begin
    /// where the engine is durable.
    ///
    /// # Errors
    /// `Invalid` if the engine has the seqs of another buffer.
    pub async fn begin(connection: Connection, lineage: &str, anew: bool) -> Result<(WriterLine, Progresses)> {
        let OfEpoch { epoch } = connection.call("grant_writer", Nothing {}).await?;
        let ask = BeginWriter { epoch, lineage: lineage.to_owned(), anew, ancestors: Vec::new() };
        let now: Progresses = connection.call_within("begin_writer", ask, PATIENCE).await?;
        Ok((WriterLine { connection, epoch: WriterEpoch(epoch) }, now))
    }

    /// A session that has begun at a latch in a process of its own.
    pub(crate) fn begun(connection: Connection, epoch: WriterEpoch) -> WriterLine {
        WriterLine { connection, epoch }
    }

    /// The granted epoch.
    #[must_use]
    pub fn epoch(&self) -> WriterEpoch {
        self.epoch
    }

    /// Tells what readers need to know of the upstream, and once it is known from which seq on they may read.
    ///
    /// # Errors
    /// `Fenced` if another writer has taken over.
    pub async fn tell(
        &self,
        copies: bool,
        upstream: Option<serde_json::Value>,
        ready: Option<CommitSeq>,
    ) -> Result<()> {
        let tell = Tell { epoch: self.epoch.0, copies, upstream, ready };
        let Nothing {} = self.connection.call("tell", tell).await?;
        Ok(())
    }

    /// Answers the latch's questions, each in a task of its own, until it is dropped or another writer has taken over.
    ///
    /// # Errors
    /// `Fenced`, or `Closed` if the engine's process restarted.
    pub async fn answer<F>(&self, answer: impl Fn(Question) -> F + Clone + Send + Sync + 'static) -> Result<()>
    where
        F: Future<Output = Result<Option<CommitSeq>>> + Send + 'static,
    {
        loop {
            match self.answer_while_connected(answer.clone()).await {
                Ok(()) => {}
                Err(e) if e.is_transient() => tracing::debug!(error = %e, "the engine's questions cannot be heard"),
                Err(e) => return Err(e),
            }
            env::sleep(AGAIN).await;
        }
    }

    /// The same over one connection: ends with it.
    pub(crate) async fn answer_while_connected<F>(
        &self,
        answer: impl Fn(Question) -> F + Clone + Send + 'static,
    ) -> Result<()>
    where
        F: Future<Output = Result<Option<CommitSeq>>> + Send + 'static,
    {
        let asked = self.connection.listen::<_, Asked>(QUESTIONS, OfEpoch { epoch: self.epoch.0 }).await?;
        let mut asked = std::pin::pin!(asked);
        let mut open = JoinSet::new();
        while let Some(next) = asked.next().await {
            let Asked { id, question } = next?;
            let (line, answer) = (self.clone(), answer.clone());
            open.spawn(async move { line.send(id, answer(question).await).await });
            while open.try_join_next().is_some() {}
        }
        Ok(())
    }

    async fn send(&self, id: u64, answer: Result<Option<CommitSeq>>) {
        let (seq, error) = match answer {
            Ok(seq) => (seq, None),
            Err(e) => (None, Some(WireError::from(&e))),
        };
        let answer = Answer { epoch: self.epoch.0, id, seq, error };
        // The engine asks again whoever listens next.
        let sent: Result<Nothing> = self.connection.call("answer", answer).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "an answer did not reach the engine");
        }
    }
}

/// What the engine's process knows of the upstream.
///
/// # Errors
/// If it cannot be reached, or speaks another version.
pub async fn about(connection: &Connection) -> Result<About> {
    let about: About = connection.call("about", Nothing {}).await?;
    Ok(about)
}
