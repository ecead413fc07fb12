//! Questions of a latch to the writer, wherever it is: they wait until it answers, or who asks has lost patience.

use std::collections::HashMap;

use parking_lot::Mutex;
use tidelake_core::{CommitSeq, Error, Result};
use tokio::sync::{mpsc, oneshot};

use crate::wire::{Answer, Asked, Question};

/// Most questions that wait for an answer.
const MAX_WAITING: usize = 10_000;

struct Waiting {
    question: Question,
    answer: oneshot::Sender<Result<Option<CommitSeq>>>,
}

#[derive(Default)]
struct Open {
    waiting: HashMap<u64, Waiting>,
    next: u64,
    /// Where the writer listens.
    listener: Option<mpsc::UnboundedSender<Asked>>,
}

/// What was asked and not answered.
#[derive(Default)]
pub(crate) struct Questions {
    open: Mutex<Open>,
}

impl Questions {
    /// True if a writer listens.
    pub(crate) fn heard(&self) -> bool {
        self.open.lock().listener.as_ref().is_some_and(|listener| !listener.is_closed())
    }

    /// Asks the writer; waits for one if there is none. The caller has its own patience.
    pub(crate) async fn ask(&self, question: Question) -> Result<Option<CommitSeq>> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut open = self.open.lock();
            if open.waiting.len() >= MAX_WAITING {
                return Err(Error::Limit(format!("{MAX_WAITING} questions wait for the writer")));
            }
            open.next += 1;
            let id = open.next;
            if let Some(listener) = &open.listener {
                // One that is gone is asked in vain; the next one is asked again.
                let _ = listener.send(Asked { id, question: question.clone() });
            }
            open.waiting.insert(id, Waiting { question, answer });
            id
        };
        let _forget = Forget { questions: self, id };
        answered.await.map_err(|_| Error::Closed("the desk is closed".into()))?
    }

    /// The writer's end: questions that wait, then those that come. The listener before gets no more.
    pub(crate) fn listen(&self) -> mpsc::UnboundedReceiver<Asked> {
        let (listener, asked) = mpsc::unbounded_channel();
        let mut open = self.open.lock();
        for (id, waiting) in &open.waiting {
            let _ = listener.send(Asked { id: *id, question: waiting.question.clone() });
        }
        open.listener = Some(listener);
        asked
    }

    /// Of the writer that listens.
    pub(crate) fn answer(&self, answer: Answer) {
        // Who asked may have lost patience.
        let Some(waiting) = self.open.lock().waiting.remove(&answer.id) else { return };
        let _ = waiting.answer.send(answer.error.map_or(Ok(answer.seq), |error| Err(error.into())));
    }
}

/// A question whose asker lost patience is not asked again.
struct Forget<'a> {
    questions: &'a Questions,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.questions.open.lock().waiting.remove(&self.id);
    }
}
