//! Readers, who judge everything that they are told: whole transactions, nothing older than anybody saw, as fresh as asked for, within the time
//! that was given, and the same again as long as a lease lives.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use parking_lot::Mutex;
use tidelake_api::{FleetStore, RemoteLatch};
use tidelake_core::ports::{Freshness, Latch, ScanRequest, SnapshotLease, StoreEngine};
use tidelake_core::testing::tables::cells_of;
use tidelake_core::{CellValue, Error, Result, env};

use super::upstream::{Balances, TABLES, Upstream, name, table};
use super::world::Shared;

/// How much longer than asked for an answer may take: the client's own grace, and a message's way.
const GRACE: Duration = Duration::from_secs(12);
/// Without anything being done to anybody for so long, everything must be as if nothing had ever been done.
const CALM: Duration = Duration::from_secs(45);

/// By then both engines have come to their latch.
const JOINED: Duration = Duration::from_secs(6);

/// What all readers have seen together.
pub struct Seen {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    newest: u64,
    /// When something was done to anybody last.
    disturbed: Option<Duration>,
    answered: u64,
    refused: u64,
    held: u64,
}

impl Seen {
    pub fn new(shared: Arc<Shared>) -> Seen {
        Seen { shared, state: Mutex::default() }
    }

    /// Something is done to somebody.
    pub fn disturb(&self) {
        self.state.lock().disturbed = Some(self.shared.now());
    }

    /// Nothing was done to anybody since long before.
    fn was_calm_since(&self, since: Duration) -> bool {
        self.state.lock().disturbed.is_none_or(|disturbed| disturbed + CALM < since)
    }

    /// Answers, refusals, and states that were read again under one lease.
    pub fn counts(&self) -> (u64, u64, u64) {
        let state = self.state.lock();
        (state.answered, state.refused, state.held)
    }
}

/// What a process of SQL sessions has.
pub struct Front {
    name: &'static str,
    latch: RemoteLatch,
    fleet: Arc<FleetStore>,
    seen: Arc<Seen>,
    upstream: Arc<Upstream>,
}

/// What a reader asked for, as transactions of the upstream.
struct Asked {
    what: Freshness,
    at_least: u64,
    wait: Duration,
    ttl: Duration,
}

impl Front {
    pub fn new(
        name: &'static str,
        latch: RemoteLatch,
        fleet: Arc<FleetStore>,
        seen: Arc<Seen>,
        upstream: Arc<Upstream>,
    ) -> Arc<Front> {
        Arc::new(Front { name, latch, fleet, seen, upstream })
    }

    /// Some readers, until the process ends.
    pub fn start(self: &Arc<Self>) {
        for _ in 0..2 {
            let own = self.clone();
            tokio::spawn(async move {
                loop {
                    env::sleep(own.shared().ms(10..900)).await;
                    own.read().await;
                }
            });
        }
    }

    fn shared(&self) -> &Shared {
        &self.seen.shared
    }

    fn violation(&self, what: &str) {
        self.shared().violation(format!("{}: {what}", self.name));
    }

    fn asks(&self) -> Asked {
        let shared = self.shared();
        let committed = self.upstream.newest();
        let (what, at_least) = match shared.pick(0..4) {
            0 | 1 => (Freshness::Latest, committed),
            2 => {
                let at = committed.saturating_sub(shared.pick(0..5));
                (Freshness::AtLeast(Upstream::position(at)), at)
            }
            _ => (Freshness::Any, 0),
        };
        Asked { what, at_least, wait: shared.ms(200..6000), ttl: shared.ms(600..5000) }
    }

    /// One reader's statement.
    async fn read(&self) {
        let (asked, begun) = (self.asks(), self.shared().now());
        let before = self.seen.state.lock().newest;
        let lease = self.latch.acquire(asked.what.clone(), asked.ttl, asked.wait).await;
        let took = self.shared().now() - begun;
        if took > asked.wait + GRACE {
            self.violation(&format!("{:?} took {took:?}, and was to wait {:?}", asked.what, asked.wait));
        }
        let balances = match &lease {
            Ok(lease) => self.balances(lease).await,
            Err(error) => Err(again(error)),
        };
        match (balances, lease) {
            (Ok(balances), Ok(lease)) => {
                let at_least = asked.at_least.max(before);
                let Some(count) = self.judge(&balances, at_least, &lease) else { return };
                self.ask_each(&lease, begun).await;
                self.hold(&lease, count, asked.ttl, begun).await;
                if self.shared().once_in(20) {
                    // A reader who vanishes.
                    std::mem::forget(lease);
                }
            }
            (balances, _) => {
                self.seen.state.lock().refused += 1;
                let error = balances.map_or_else(|error| error.to_string(), |_| String::new());
                self.shared().note(|| format!("{} was refused: {error}", self.name));
                if asked.wait > Duration::from_secs(4) && self.seen.was_calm_since(begun) {
                    self.violation(&format!("refused although nothing was done to anybody: {error}"));
                }
            }
        }
    }

    /// Once nothing was done to anybody for long, every engine has what was shown.
    async fn ask_each(&self, lease: &SnapshotLease, begun: Duration) {
        if !self.seen.was_calm_since(begun) || begun < JOINED {
            return;
        }
        for store in self.fleet.stores() {
            let request = ScanRequest::new(lease, table(0).id);
            if let Err(error) = store.plan_scan(&request).await {
                self.violation(&format!("seq {} was shown, and an engine has not got it: {error}", lease.seq()));
            }
        }
    }

    /// The transaction that the state is of, if it is one that may be shown.
    fn judge(&self, balances: &Balances, at_least: u64, lease: &SnapshotLease) -> Option<u64> {
        let count =
            balances.first().filter(|first| (first.0, first.1) == (0, 0)).map_or(0, |first| first.2.unsigned_abs());
        let state = format!("seq {}, transaction {count}", lease.seq());
        if self.upstream.balances(count).as_ref() != Some(balances) {
            self.violation(&format!("{state} is no state of the upstream: {balances:?}"));
            return None;
        }
        if count < at_least {
            self.violation(&format!("{state} is older than {at_least}"));
            return None;
        }
        let mut seen = self.seen.state.lock();
        seen.newest = seen.newest.max(count);
        seen.answered += 1;
        drop(seen);
        self.shared().note(|| format!("{} read {state}", self.name));
        Some(count)
    }

    /// Reads the same again for a while, renewing or not.
    async fn hold(&self, lease: &SnapshotLease, count: u64, ttl: Duration, begun: Duration) {
        let shared = self.shared();
        let (times, renews) = (shared.pick(0..8).saturating_sub(2), shared.once_in(3));
        let mut dead = self.shared().now() + ttl;
        for _ in 0..times {
            env::sleep(shared.ms(50..900)).await;
            let renewed = renews.then(|| self.latch.renew(lease, ttl));
            if let Some(Ok(())) = renewed {
                if shared.now() > dead {
                    self.violation(&format!("a lease of seq {} was renewed after it lapsed", lease.seq()));
                }
                dead = shared.now() + ttl;
            }
            let lives = self.latch.check(lease).is_ok();
            match self.balances(lease).await {
                Ok(again) if self.upstream.balances(count).as_ref() == Some(&again) => {
                    self.seen.state.lock().held += 1;
                }
                Ok(again) => self.violation(&format!("seq {} is another state than before: {again:?}", lease.seq())),
                Err(error) => {
                    let refused = lives && self.latch.check(lease).is_ok() && self.seen.was_calm_since(begun);
                    if refused {
                        self.violation(&format!("a lease of seq {} that lives was refused: {error}", lease.seq()));
                    }
                    return;
                }
            }
        }
        if times == 5 {
            env::sleep(dead.saturating_sub(shared.now()) + Duration::from_millis(1)).await;
            if self.latch.renew(lease, ttl).is_ok() {
                self.violation(&format!("a lease of seq {} that lapsed came back", lease.seq()));
            }
        }
    }

    /// All tables at the lease's seq.
    async fn balances(&self, lease: &SnapshotLease) -> Result<Balances> {
        let mut all = Balances::new();
        let catalog = self.fleet.catalog(lease.seq())?;
        for at in 0..TABLES.len() {
            let Some(table) = catalog.visible(&name(at)) else { continue };
            let request = ScanRequest { target_splits: 1, ..ScanRequest::new(lease, table.def.id) };
            let plan = self.fleet.plan_scan(&request).await?;
            for split in &plan.splits {
                let batches: Vec<_> = self.fleet.read_split(split).await?.try_collect().await?;
                for batch in &batches {
                    for row in cells_of(batch)? {
                        if let [CellValue::Int(account), CellValue::Int(balance), _] = row[..] {
                            all.push((at, account, balance));
                        }
                    }
                }
            }
        }
        all.sort_unstable();
        Ok(all)
    }
}

fn again(error: &Error) -> Error {
    Error::Unavailable(error.to_string())
}
