//! Several engines of one latch, for readers: whichever has the seq is asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tidelake_core::ports::store::Progress;
use tidelake_core::ports::{BatchStream, ScanPlan, ScanRequest, ScanSplit, StoreEngine, StoreWriter, TableStats};
use tidelake_core::{Catalog, CommitSeq, Error, Result, TableId, WriterEpoch, env};
use tokio::sync::watch;

use crate::client::{Connection, PATIENCE, waited};
use crate::line::LatchLine;
use crate::store::FlightStore;
use crate::wire::Plan;

/// How long one engine may take to plan if there is another one to ask.
const QUICK: Duration = Duration::from_secs(5);
/// How long a scan that has given nothing yet is sent to its engine again: the next statement asks another one.
const SEND_AGAIN: Duration = Duration::from_secs(2);
/// How long to wait until an engine is heard to have a seq that the latch gave: its word may come after the latch's.
const WORD: Duration = Duration::from_millis(200);

/// Engines at one latch, as one store that is only read.
///
/// A statement's tables may be read from different engines, all at the seq of its lease: each engine checks for itself that it has that seq, of
/// that buffer. One that has not, or does not answer, is passed over for the next; a scan that has begun stays where it is.
pub struct FleetStore {
    stores: Vec<Arc<FlightStore>>,
    line: Arc<LatchLine>,
    /// The one that answered last.
    preferred: AtomicUsize,
    published: watch::Sender<Progress>,
    durable: watch::Sender<Progress>,
}

/// A split's part, with the engine that it is of.
#[derive(Serialize, Deserialize)]
struct Part {
    engine: usize,
    part: String,
}

impl FleetStore {
    /// Over these connections, whether or not anybody answers there yet; leases are those of a latch on this line.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none.
    pub fn new(connections: &[Connection], line: Arc<LatchLine>) -> Result<Arc<FleetStore>> {
        let first = connections.first().ok_or_else(|| Error::Invalid("no engine is named".into()))?;
        let stores: Vec<_> = connections.iter().map(|c| Arc::new(FlightStore::lazy(c.clone()))).collect();
        let fleet = Arc::new(FleetStore {
            stores,
            line,
            preferred: AtomicUsize::new(0),
            published: watch::Sender::new(Progress::default()),
            durable: watch::Sender::new(Progress::default()),
        });
        for store in &fleet.stores {
            first.spawn(follow(Arc::downgrade(&fleet), store.published(), store.durable()));
        }
        Ok(fleet)
    }

    /// Each engine, in the order of their connections.
    #[must_use]
    pub fn stores(&self) -> &[Arc<FlightStore>] {
        &self.stores
    }

    fn show(&self) {
        let heard = self.stores.iter().any(|store| store.is_heard());
        let counts = || self.stores.iter().filter(|store| !heard || store.is_heard());
        let newest = |of: &dyn Fn(&FlightStore) -> Progress| {
            counts().map(|store| of(store)).max_by_key(|progress| progress.seq).unwrap_or_default()
        };
        let published = newest(&|store| store.published().borrow().clone());
        let durable = newest(&|store| store.durable().borrow().clone());
        for (to, now) in [(&self.published, published), (&self.durable, durable)] {
            to.send_if_modified(|last| {
                let changed = last.seq != now.seq;
                if changed {
                    *last = now;
                }
                changed
            });
        }
    }

    fn has(&self, seq: CommitSeq) -> bool {
        self.stores.iter().any(|store| store.is_heard() && store.published_seq() >= seq)
    }

    /// Engines in the order in which they are to be asked for a seq.
    fn order(&self, seq: CommitSeq) -> Vec<usize> {
        let (count, first) = (self.stores.len(), self.preferred.load(Ordering::Relaxed));
        let mut order: Vec<usize> = (0..count).map(|turn| (first + turn) % count).collect();
        let rank = |at: &usize| {
            let store = self.stores.get(*at);
            let has = store.is_some_and(|store| store.published_seq() >= seq);
            let heard = store.is_some_and(|store| store.is_heard());
            (!heard, !has)
        };
        order.sort_by_key(rank);
        order
    }

    async fn order_soon(&self, seq: CommitSeq) -> Vec<usize> {
        let begun = env::now();
        while !self.has(seq) && env::since(begun) < WORD {
            env::sleep(Duration::from_millis(1)).await;
        }
        self.order(seq)
    }

    /// The first answer. `ask` gets the engine, and how much time it has.
    fn first<T>(&self, order: Vec<usize>, ask: impl Fn(&FlightStore, Duration) -> Result<T>) -> Result<T> {
        let mut problem = None;
        let last = order.last().copied();
        for at in order {
            let Some(store) = self.stores.get(at) else { continue };
            match ask(store, if Some(at) == last { PATIENCE } else { QUICK }) {
                Ok(answer) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) if is_of_one(&error) => problem = worse(problem, error),
                Err(error) => return Err(error),
            }
        }
        Err(problem.unwrap_or_else(|| Error::Unavailable("no engine answers".into())))
    }
}

/// Another engine may answer what this one refused: it has not got the seq, or no more, or does not answer.
fn is_of_one(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::Closed(_) | Error::SnapshotExpired(_))
}

/// What an engine said counts more than that another did not answer.
fn worse(before: Option<Error>, now: Error) -> Option<Error> {
    match (before, now) {
        (Some(before @ Error::SnapshotExpired(_)), _) => Some(before),
        (_, now) => Some(now),
    }
}

async fn follow(
    fleet: Weak<FleetStore>,
    mut published: watch::Receiver<Progress>,
    mut durable: watch::Receiver<Progress>,
) {
    loop {
        let changed = tokio::select! {
            changed = published.changed() => changed,
            changed = durable.changed() => changed,
            // Whether it is heard changes without a word.
            () = env::sleep(Duration::from_millis(250)) => Ok(()),
        };
        let Some(fleet) = fleet.upgrade().filter(|_| changed.is_ok()) else { return };
        fleet.show();
    }
}

fn read_only<T>() -> Result<T> {
    Err(Error::Internal("several engines at once are only read".into()))
}

#[async_trait]
impl StoreEngine for FleetStore {
    async fn open_writer(&self, _: WriterEpoch) -> Result<Box<dyn StoreWriter>> {
        read_only()
    }

    fn published(&self) -> watch::Receiver<Progress> {
        self.published.subscribe()
    }

    fn durable(&self) -> watch::Receiver<Progress> {
        self.durable.subscribe()
    }

    #[allow(clippy::disallowed_methods, reason = "only where a thread may block")]
    fn catalog(&self, seq: CommitSeq) -> Result<Arc<Catalog>> {
        if !self.has(seq) && env::may_block() {
            waited(|| {
                let begun = env::now();
                while !self.has(seq) && env::since(begun) < WORD {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        self.first(self.order(seq), |store, patience| store.catalog_within(seq, patience))
    }

    async fn plan_scan(&self, request: &ScanRequest) -> Result<ScanPlan> {
        let lineage = request.lease.and_then(|id| self.line.leases().lineage(id));
        let plan = Plan { lineage, ..Plan::of(request, None) };
        let (mut problem, order) = (None, self.order_soon(request.seq).await);
        let last = order.last().copied();
        for at in order {
            let Some(store) = self.stores.get(at) else { continue };
            let patience = if Some(at) == last { PATIENCE } else { QUICK };
            let late = |_| Error::Unavailable(format!("an engine did not plan within {patience:?}"));
            let planned = env::timeout(patience, store.plan_as(plan.clone())).await.map_err(late);
            match planned.and_then(|planned| planned) {
                Ok(planned) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return of_engine(planned, at);
                }
                Err(error) if is_of_one(&error) => problem = worse(problem, error),
                Err(error) => return Err(error),
            }
        }
        Err(problem.unwrap_or_else(|| Error::Unavailable("no engine answers".into())))
    }

    async fn read_split(&self, split: &ScanSplit) -> Result<BatchStream> {
        let wrong = |e| Error::Invalid(format!("a split that is none of these engines: {e}"));
        let Part { engine, part } = serde_json::from_str(&split.part).map_err(wrong)?;
        let none = || Error::Invalid(format!("a split of engine {engine}, and there is none"));
        let store = self.stores.get(engine).ok_or_else(none)?;
        store.read_within(&ScanSplit { part, ..split.clone() }, SEND_AGAIN).await
    }

    /// The oldest seq that all have that are heard.
    fn horizon(&self) -> CommitSeq {
        let heard = self.stores.iter().filter(|store| store.is_heard());
        heard.map(|store| store.last_said().horizon).max().unwrap_or_default()
    }

    /// The latch tells them.
    fn set_horizon(&self, _: CommitSeq) {}

    async fn flush(&self) -> Result<CommitSeq> {
        read_only()
    }

    fn table_stats(&self, table: TableId) -> Result<TableStats> {
        self.first(self.order(self.published_seq()), |store, _| store.table_stats(table))
    }

    fn unflushed_bytes(&self) -> u64 {
        self.stores.iter().map(|store| store.last_said().unflushed_bytes).max().unwrap_or_default()
    }
}

fn of_engine(planned: ScanPlan, engine: usize) -> Result<ScanPlan> {
    let of = |split: ScanSplit| {
        let part = serde_json::to_string(&Part { engine, part: split.part })
            .map_err(|e| Error::Internal(format!("encode a split: {e}")))?;
        Ok(ScanSplit { part, ..split })
    };
    Ok(ScanPlan { splits: planned.splits.into_iter().map(of).collect::<Result<_>>()?, ..planned })
}
