//! What a latch process must not forget: one *page*, written whole before anything of it is true for others.
//!
//! | on the page | because |
//! |---|---|
//! | term, epoch | neither may ever be given twice |
//! | lineage, ancestors | seqs of one buffer are not those of another (docs/adr/0010) |
//! | shown | nobody may see an older state than one already shown |
//! | upstream, engines | a latch that takes over answers at once, and waits for those that were there |
//!
//! A page that could not be written, or of which nobody knows, ends the *term*: whoever leads next reads what there is.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidelake_core::{CommitSeq, Error, Result, WriterEpoch, env};
use tokio_util::sync::CancellationToken;

use crate::backend::Leading;
use crate::replica::Epochs;

/// Most ancestors that are kept.
const ANCESTORS: usize = 100;

/// A buffer that another one took over from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its lineage.
    pub lineage: String,
    /// Up to here its seqs are those of every later one.
    pub upto: CommitSeq,
}

/// The page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// How many times a latch began to lead.
    pub term: u64,
    /// The newest granted epoch.
    pub epoch: u64,
    /// The buffer whose seqs count; `None`: none yet.
    pub lineage: Option<String>,
    /// Those before it, the newest last.
    #[serde(default)]
    pub ancestors: Vec<Ancestor>,
    /// Everything of this lineage that was ever shown is at or below; `None`: that is not known.
    pub shown: Option<CommitSeq>,
    /// What the writer told of the upstream.
    #[serde(default)]
    pub upstream: Option<Value>,
    /// Engines by name, with the address that each had.
    #[serde(default)]
    pub engines: BTreeMap<String, String>,
}

impl Page {
    /// Another buffer takes over where the one before is at `at`. What was shown of that may be more, so nobody knows from when on the new
    /// one has it.
    pub fn take_over(&mut self, lineage: String, before: Option<String>, at: CommitSeq) {
        for ancestor in &mut self.ancestors {
            ancestor.upto = ancestor.upto.min(at);
        }
        if let Some(before) = before {
            self.ancestors.push(Ancestor { lineage: before, upto: at });
        }
        let more = self.ancestors.len().saturating_sub(ANCESTORS);
        self.ancestors.drain(..more);
        (self.lineage, self.shown) = (Some(lineage), None);
    }
}

/// The page of a latch that leads.
pub struct Book {
    page: Mutex<Page>,
    /// One change at a time.
    writing: Mutex<()>,
    leading: Box<dyn Leading>,
    lost: CancellationToken,
}

impl Book {
    /// Opens it for a new term. May block.
    ///
    /// # Errors
    /// A page that cannot be read or is none, or another latch that leads.
    pub fn open(leading: Box<dyn Leading>) -> Result<Book> {
        let page: Page = match leading.load()? {
            None => Page::default(),
            Some(text) => serde_json::from_str(&text)
                .map_err(|e| Error::corrupt("the page of the latch", format!("not what a latch keeps: {e}")))?,
        };
        let book = Book { page: Mutex::new(page), writing: Mutex::new(()), leading, lost: CancellationToken::new() };
        book.change(|page| {
            page.term += 1;
            Ok(())
        })?;
        Ok(book)
    }

    /// What is on it.
    #[must_use]
    pub fn page(&self) -> Page {
        self.page.lock().clone()
    }

    /// True if an engine is on it with this address.
    #[must_use]
    pub fn lists(&self, engine: &str, address: &str) -> bool {
        self.page.lock().engines.get(engine).is_some_and(|known| known == address)
    }

    /// Changes it; durable when this returns. May block.
    ///
    /// # Errors
    /// What `change` says, then nothing is changed; [`Error::Unavailable`] if it could not be written: the term is over.
    pub fn change<T>(&self, change: impl FnOnce(&mut Page) -> Result<T>) -> Result<T> {
        let _one = self.writing.lock();
        self.check()?;
        let mut next = self.page.lock().clone();
        let before = next.clone();
        let answer = change(&mut next)?;
        if next != before {
            let text = serde_json::to_string(&next).map_err(|e| Error::Internal(format!("the latch's page: {e}")))?;
            if let Err(error) = self.leading.store(&text) {
                self.lost.cancel();
                return Err(Error::Unavailable(format!("this latch leads no more: {error}")));
            }
            *self.page.lock() = next;
        }
        Ok(answer)
    }

    /// That no other latch can lead now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] otherwise.
    pub fn check(&self) -> Result<()> {
        let late = self.leading.until().is_some_and(|until| env::now() >= until);
        if late {
            self.lost.cancel();
        }
        if self.lost.is_cancelled() {
            return Err(Error::Unavailable("this latch leads no more".into()));
        }
        Ok(())
    }

    /// Cancelled when the term is over.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Says that it still leads. May block.
    pub fn keep(&self) {
        if let Err(error) = self.leading.keep() {
            tracing::warn!(%error, "the latch's lease was not prolonged");
            if !error.is_transient() {
                self.lost.cancel();
            }
        }
    }

    /// Lets another one lead at once. May block.
    pub fn resign(&self) {
        self.lost.cancel();
        self.leading.resign();
    }
}

impl Epochs for Book {
    fn next(&self) -> Result<WriterEpoch> {
        self.change(|page| {
            page.epoch += 1;
            Ok(WriterEpoch(page.epoch))
        })
    }
}
