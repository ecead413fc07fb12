//! The desk between an engine's process and its writer elsewhere: whose seqs the engine has, from when on readers may read,
//! what the writer told of the upstream, and the latch's questions to it.
//!
//! A *lineage* names a Data Buffer. Seqs are counted by the buffer, so those of two buffers are not of one kind: an engine takes rows
//! of another buffer only if that one begins where the engine is durable ([`BeginWriter::anew`]). From then on the one before is
//! refused for good, also after restarts: it is kept in `writer.json`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidelake_core::{CommitSeq, Error, Result};
use tokio::sync::{mpsc, watch};

use crate::questions::Questions;
use crate::wire::{About, Answer, Asked, BeginWriter, Question, Tell};

/// What survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// The buffer that the engine's seqs are of; `None`: it has none yet.
    lineage: Option<String>,
    /// What the writer told of the upstream.
    upstream: Option<Value>,
    /// Everything that readers saw is at or below this seq: only after a clean end.
    served: Option<CommitSeq>,
}

/// What the running writer told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// Of the writer that has begun.
    epoch: Option<u64>,
    copies: bool,
    /// Once known it stays, as long as this process serves.
    ready: Option<CommitSeq>,
}

/// The desk of one engine.
pub struct Desk {
    dir: PathBuf,
    kept: Mutex<Kept>,
    told: watch::Sender<Told>,
    questions: Questions,
}

impl Desk {
    /// Opens it over a directory of its own, which is created if it is not there. `durable` is where the engine opened.
    ///
    /// # Errors
    /// A file that is damaged or cannot be read or written.
    pub fn open(dir: &Path, durable: CommitSeq) -> Result<Arc<Desk>> {
        fs::create_dir_all(dir).map_err(|e| Error::io(format!("create {}", dir.display()), e))?;
        let path = dir.join("writer.json");
        let mut kept: Kept = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| Error::corrupt(path.display().to_string(), format!("not what an engine keeps: {e}")))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(e) => return Err(Error::io(format!("read {}", path.display()), e)),
        };
        let ready = kept.served.take().filter(|served| *served <= durable);
        let desk = Desk {
            dir: dir.to_owned(),
            kept: Mutex::new(kept),
            told: watch::Sender::new(Told { ready, ..Told::default() }),
            questions: Questions::default(),
        };
        // From now on more may be served than was.
        desk.keep(&desk.kept.lock())?;
        Ok(Arc::new(desk))
    }

    /// Notes that nothing beyond this seq, which is durable, was served. To be called when nothing is served any more.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn end(&self, durable: CommitSeq) -> Result<()> {
        let mut kept = self.kept.lock();
        // Readers that still wait for a replay may have seen more before.
        kept.served = self.told.borrow().ready.filter(|ready| *ready <= durable).map(|_| durable);
        self.keep(&kept)
    }

    fn keep(&self, kept: &Kept) -> Result<()> {
        let path = self.dir.join("writer.json");
        let write = || -> std::io::Result<()> {
            let draft = self.dir.join("writer.json.new");
            let mut file = File::create(&draft)?;
            file.write_all(&serde_json::to_vec(kept)?)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|e| Error::io(format!("write {}", path.display()), e))
    }

    /// True if a writer of this buffer may begin; an error says what to do instead.
    pub(crate) fn admit(&self, ask: &BeginWriter, published: CommitSeq) -> Result<()> {
        if ask.lineage.is_empty() || ask.lineage.len() > 200 {
            return Err(Error::Invalid("a lineage is a name of 1 to 200 bytes".into()));
        }
        let kept = self.kept.lock();
        match (&kept.lineage, ask.anew) {
            (_, true) => Ok(()),
            (Some(own), false) if *own == ask.lineage => Ok(()),
            // What is here is the beginning of that buffer's too.
            (Some(own), false) if ask.ancestors.iter().any(|a| a.lineage == *own && published <= a.upto) => Ok(()),
            (None, false) if published == CommitSeq::ZERO => Ok(()),
            (own, false) => Err(Error::Invalid(format!(
                "this engine has the transactions of another Data Buffer ({}), not of this writer's ({}): another writer has \
                 taken over since, or the engine's directory is another one. To take over again, move the writer's data \
                 directory away: a writer with an empty one goes on where the engine is",
                own.as_deref().unwrap_or("none"),
                ask.lineage
            ))),
        }
    }

    /// The writer has begun: whoever was before is refused from now on. Durable when it returns.
    pub(crate) fn begun(&self, ask: &BeginWriter) -> Result<()> {
        let mut kept = self.kept.lock();
        if kept.lineage.as_ref() != Some(&ask.lineage) {
            let next = Kept { lineage: Some(ask.lineage.clone()), ..kept.clone() };
            self.keep(&next)?;
            *kept = next;
        }
        self.told.send_modify(|told| told.epoch = Some(ask.epoch));
        Ok(())
    }

    /// Changes when a writer has begun.
    pub(crate) fn begins(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// The buffer whose seqs the engine has.
    #[must_use]
    pub fn lineage(&self) -> Option<String> {
        self.kept.lock().lineage.clone()
    }

    /// Refused unless this is the writer that has begun.
    pub(crate) fn check(&self, epoch: u64) -> Result<()> {
        match self.told.borrow().epoch {
            Some(own) if own == epoch => Ok(()),
            Some(newest) if newest > epoch => Err(Error::Fenced { mine: epoch, newest }),
            _ => Err(Error::Closed(format!("the writer of epoch {epoch} has not begun here: call begin_writer"))),
        }
    }

    pub(crate) fn tell(&self, tell: Tell) -> Result<()> {
        self.check(tell.epoch)?;
        let mut kept = self.kept.lock();
        if tell.upstream.is_some() && kept.upstream != tell.upstream {
            let next = Kept { upstream: tell.upstream, ..kept.clone() };
            self.keep(&next)?;
            *kept = next;
        }
        self.told.send_modify(|told| {
            told.copies = tell.copies;
            told.ready = told.ready.or(tell.ready);
        });
        Ok(())
    }

    /// What is known of the upstream, and whether readers are served.
    #[must_use]
    pub fn about(&self, published: CommitSeq) -> About {
        let ready = self.told.borrow().ready;
        let waiting = match ready {
            None => {
                Some(self.trouble().unwrap_or_else(|| "the writer has not told yet how far the replica was".into()))
            }
            Some(ready) if published < ready => Some(format!("replaying after a restart: {published} of {ready}")),
            Some(_) => None,
        };
        About { upstream: self.kept.lock().upstream.clone(), waiting }
    }

    /// The seq that readers wait for; waits until the writer has told it.
    ///
    /// # Errors
    /// None that lasts: the desk lives as long as who asks.
    pub async fn ready(&self) -> Result<CommitSeq> {
        let mut told = self.told.subscribe();
        let told = told.wait_for(|told| told.ready.is_some()).await;
        told.map(|told| told.ready.unwrap_or_default()).map_err(|_| Error::Closed("the desk is closed".into()))
    }

    /// Tables that stopped for a re-sync come back.
    #[must_use]
    pub fn copies(&self) -> bool {
        self.told.borrow().copies
    }

    /// Why questions wait, if no writer listens.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        (!self.questions.heard()).then(|| "no writer is connected to the engine".to_owned())
    }

    /// Asks the writer; waits for one if there is none. The caller has its own patience.
    ///
    /// # Errors
    /// What the writer answers; `Limit` if too many wait.
    pub async fn ask(&self, question: Question) -> Result<Option<CommitSeq>> {
        self.questions.ask(question).await
    }

    /// The writer's end: questions that wait, then those that come. The listener before gets no more.
    pub(crate) fn listen(&self, epoch: u64) -> Result<mpsc::UnboundedReceiver<Asked>> {
        self.check(epoch)?;
        Ok(self.questions.listen())
    }

    pub(crate) fn answer(&self, answer: Answer) -> Result<()> {
        self.check(answer.epoch)?;
        self.questions.answer(answer);
        Ok(())
    }
}
