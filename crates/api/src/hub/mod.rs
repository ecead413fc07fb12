//! A latch in a process of its own, as long as it leads: several engines report to it, one writer tells it what readers need to know, and readers
//! take leases that hold at every engine in step.
//!
//! Rooms: `calls` what is asked by name, and `desk` what of it is a writer's; `replica` the engines as one for the latch; `reporter` an engine's word to it; `writer` a writer's.

mod calls;
mod desk;
mod replica;
mod reporter;
mod server;
mod writer;

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tidelake_core::ports::store::Progress;
use tidelake_core::{CommitSeq, Error, Result, TableName, env};
use tidelake_latch::backend::Leading;
use tidelake_latch::{Book, Fleet, LatchOptions, LocalLatch, Page, Report, Standing};
use tokio::sync::{Notify, watch};

pub use calls::{HUB_ADMIN_CALLS, HUB_READ_CALLS, HUB_WRITE_CALLS};
pub use reporter::Reporter;
pub(crate) use server::hub_service;
pub use server::{HubFlight, HubSeat, HubServer};
pub use writer::{Fed, FleetLine, fence, join};

use crate::leases::Leases;
use crate::questions::Questions;

/// How often it is looked whether readers need wait no more for an engine.
const LOOK: Duration = Duration::from_millis(50);
/// How often the lead is prolonged.
const KEEP: Duration = Duration::from_secs(1);
/// Seqs of which it is remembered whether a table awaited its copy there.
const REMEMBERED: usize = 1024;

/// Settings of a hub.
#[derive(Clone, Copy, Debug)]
pub struct HubOptions {
    /// How long readers wait for an engine that lacks what others have.
    pub patience: Duration,
    /// How far back the past can be read.
    pub retention: Duration,
    /// How long a published seq can still be pinned.
    pub grace: Duration,
}

/// What is shown, and of which buffer.
#[derive(Clone, Debug, Default, PartialEq)]
struct Stage {
    /// Grows with every buffer that takes over.
    generation: u64,
    lineage: Option<String>,
    /// Readers wait for this seq; `None`: nobody knows it yet.
    floor: Option<CommitSeq>,
}

/// What the running writer told.
#[derive(Clone, Copy, Debug, Default)]
struct Session {
    epoch: Option<u64>,
    copies: bool,
}

/// The latch while it leads.
pub struct Hub {
    book: Arc<Book>,
    term: u64,
    name: String,
    fleet: Mutex<Fleet>,
    news: Notify,
    shown: watch::Sender<Progress>,
    awaiting: Mutex<VecDeque<(CommitSeq, Option<TableName>)>>,
    horizon: AtomicU64,
    stage: watch::Sender<Stage>,
    /// Held while something is shown, or another buffer takes over.
    turn: tokio::sync::Mutex<()>,
    session: Mutex<Session>,
    questions: Questions,
    latch: std::sync::OnceLock<Arc<LocalLatch>>,
    leases: Leases,
}

impl Hub {
    /// Begins a term. It shows nothing that was not noted before, so it begins where the one before ended.
    ///
    /// # Errors
    /// A page that cannot be read or written.
    pub async fn open(leading: Box<dyn Leading>, options: HubOptions) -> Result<Arc<Hub>> {
        let book = blocking(move || Book::open(leading)).await?;
        let Page { term, lineage, shown, engines, .. } = book.page();
        let now = env::now();
        let mut fleet = Fleet::new(options.patience, engines.into_keys(), now);
        fleet.begin(lineage.clone(), shown, now);
        let stage = Stage { generation: 0, lineage, floor: shown };
        let hub = Arc::new(Hub {
            book: Arc::new(book),
            term,
            name: crate::leases::new_name(),
            fleet: Mutex::new(fleet),
            news: Notify::new(),
            shown: watch::Sender::new(Progress::default()),
            awaiting: Mutex::default(),
            horizon: AtomicU64::new(0),
            stage: watch::Sender::new(stage),
            turn: tokio::sync::Mutex::new(()),
            session: Mutex::default(),
            questions: Questions::default(),
            latch: std::sync::OnceLock::new(),
            leases: Leases::default(),
        });
        let latch_options = LatchOptions {
            grace: options.grace,
            retention: options.retention,
            ..LatchOptions::new("", CommitSeq::ZERO)
        };
        let view = Arc::new(replica::View(Arc::downgrade(&hub)));
        let latch = LocalLatch::over(latch_options, view.clone(), hub.book.clone(), view)?;
        let _ = hub.latch.set(latch);
        tokio::spawn(show(Arc::downgrade(&hub)));
        tokio::spawn(keep(Arc::downgrade(&hub)));
        Ok(hub)
    }

    fn latch(&self) -> Result<&Arc<LocalLatch>> {
        self.latch.get().ok_or_else(|| Error::Unavailable("the latch begins".into()))
    }

    /// Waits until another one may lead.
    pub async fn lost(&self) {
        self.book.lost().cancelled().await;
    }

    /// Lets another one lead.
    pub async fn resign(&self) {
        let book = self.book.clone();
        // A process that ends anyway.
        let _ = env::spawn_blocking(move || book.resign()).await;
    }

    /// How many times a latch began to lead.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The newest seq that readers may see.
    #[must_use]
    pub fn shown(&self) -> CommitSeq {
        self.shown.borrow().seq
    }

    /// Why readers would wait now, if so.
    #[must_use]
    pub fn waiting(&self) -> Option<String> {
        let floor = self.stage.borrow().floor;
        match floor {
            None if !self.questions.heard() => Some("no writer is connected to the latch".into()),
            None => Some("the writer has not told yet how far the replica was".into()),
            Some(floor) if self.shown() < floor || self.shown() == CommitSeq::ZERO && self.in_step() == 0 => {
                Some(format!("no engine has what was shown before (seq {floor}) yet"))
            }
            Some(_) => None,
        }
    }

    fn in_step(&self) -> usize {
        self.engines().iter().filter(|(_, standing)| *standing == Standing::InStep).count()
    }

    /// All engines, and how each stands.
    #[must_use]
    pub fn engines(&self) -> Vec<(Report, Standing)> {
        self.fleet.lock().standings(env::now())
    }

    /// Engines that were there before this one led, and were not heard of since.
    #[must_use]
    pub fn expected(&self) -> Vec<String> {
        self.fleet.lock().expected()
    }

    /// Number of live leases.
    #[must_use]
    pub fn live_leases(&self) -> usize {
        self.latch.get().map_or(0, |latch| latch.live_leases())
    }

    /// The oldest seq that can be read.
    #[must_use]
    pub fn oldest(&self) -> CommitSeq {
        self.latch.get().map_or(CommitSeq::ZERO, |latch| latch.oldest().0)
    }

    /// True if a writer answers.
    #[must_use]
    pub fn has_writer(&self) -> bool {
        self.questions.heard()
    }

    /// Changes the page where that may block.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Page) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let book = self.book.clone();
        blocking(move || book.change(change)).await
    }

    /// Shows what every engine in step has, once it is noted that it may have been seen.
    async fn show(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let Some(next) = self.fleet.lock().showable(env::now()) else { return Ok(()) };
        let seq = next.published.seq;
        if seq <= self.shown() {
            return Ok(());
        }
        self.change(move |page| {
            page.shown = page.shown.max((!env::is_flawed("shown is not noted")).then_some(seq));
            Ok(())
        })
        .await?;
        self.fleet.lock().shown(seq);
        {
            let mut awaiting = self.awaiting.lock();
            awaiting.push_back((seq, next.awaiting));
            while awaiting.len() > REMEMBERED {
                awaiting.pop_front();
            }
        }
        self.shown.send_replace(next.published);
        Ok(())
    }

    /// Another buffer's seqs count from now on. Whoever holds a lease of the one before has it no more.
    fn begin_stage(&self, lineage: Option<String>, floor: Option<CommitSeq>) {
        self.fleet.lock().begin(lineage.clone(), floor, env::now());
        self.awaiting.lock().clear();
        self.shown.send_replace(Progress::default());
        self.stage.send_modify(|stage| {
            *stage = Stage { generation: stage.generation + 1, lineage, floor };
        });
        self.horizon.store(0, std::sync::atomic::Ordering::Release);
        if let Some(latch) = self.latch.get() {
            latch.begin_again();
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    env::spawn_blocking(work).await.map_err(|e| Error::Closed(format!("the process is ending: {e}")))?
}

async fn show(hub: Weak<Hub>) {
    while let Some(hub) = hub.upgrade() {
        let lost = hub.book.lost();
        tokio::select! {
            () = lost.cancelled() => return,
            () = hub.news.notified() => {}
            () = env::sleep(LOOK) => {}
        }
        if let Err(error) = hub.show().await {
            tracing::warn!(%error, "nothing more is shown");
        }
    }
}

async fn keep(hub: Weak<Hub>) {
    while let Some(hub) = hub.upgrade() {
        let (book, lost) = (hub.book.clone(), hub.book.lost());
        drop(hub);
        tokio::select! {
            () = lost.cancelled() => return,
            () = env::sleep(KEEP) => {}
        }
        let kept = env::spawn_blocking(move || {
            book.keep();
            book.check()
        });
        if let Ok(Err(error)) = kept.await {
            tracing::warn!(%error, "the latch's term is over");
        }
    }
}
