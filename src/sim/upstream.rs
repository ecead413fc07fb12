//! The upstream: a bank whose every transaction moves money between three tables, and the source that follows it.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidelake_core::env;
use tidelake_core::ports::{
    Buffer, BufferedPayload, BufferedTransaction, Source, SourceState, SourceStatus, TransactionDecoder,
};
use tidelake_core::testing::tables::{Row, accounts, changes, create, int, null};
use tidelake_core::{
    Catalog, DecodedStep, Error, Result, RowOp, SchemaChange, SourcePosition, TableDef, TableName, TableState,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::flaws::Flaw;
use super::world::Shared;

/// Tables, and accounts in each.
pub const TABLES: [&str; 3] = ["a", "b", "c"];
const ACCOUNTS: i64 = 3;
/// What everybody has together.
const TOTAL: i64 = 900;

/// All balances: the account, and what is on it. Account 0 of the first table counts the transactions.
pub type Balances = Vec<(usize, i64, i64)>;

/// One event of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Happened {
    Begins,
    Changes { table: usize, account: i64, from: i64, to: i64 },
}

struct State {
    balances: Vec<Balances>,
    log: Vec<Vec<Happened>>,
}

/// The bank. Transaction 1 makes the tables.
pub struct Upstream {
    shared: Arc<Shared>,
    state: Mutex<State>,
    newest: watch::Sender<u64>,
    flaw: Option<Flaw>,
}

impl Upstream {
    pub fn new(shared: Arc<Shared>, flaw: Option<Flaw>) -> Arc<Upstream> {
        let state = State { balances: vec![Vec::new()], log: Vec::new() };
        let upstream = Upstream { shared, state: Mutex::new(state), newest: watch::Sender::new(0), flaw };
        upstream.begin();
        Arc::new(upstream)
    }

    fn begin(&self) {
        let each = TOTAL / (TABLES.len() as i64 * ACCOUNTS);
        let mut balances = vec![(0, 0, 1)];
        let mut events = vec![Happened::Begins];
        for table in 0..TABLES.len() {
            balances.extend((1..=ACCOUNTS).map(|account| (table, account, each)));
        }
        events.extend(balances.iter().map(|&(table, account, to)| Happened::Changes { table, account, from: 0, to }));
        self.commit(balances, events);
    }

    fn commit(&self, balances: Balances, events: Vec<Happened>) {
        let mut state = self.state.lock();
        state.balances.push(balances);
        state.log.push(events);
        let newest = state.log.len() as u64;
        drop(state);
        self.newest.send_replace(newest);
    }

    /// Some money moves.
    pub fn transfer(&self) {
        let mut balances = self.state.lock().balances.last().cloned().unwrap_or_default();
        let count = balances.len() as u64;
        let mut events = Vec::new();
        let mut change = |at: usize, by: i64| {
            let (table, account, from) = balances[at];
            balances[at].2 += by;
            events.push(Happened::Changes { table, account, from, to: from + by });
        };
        change(0, 1);
        let (from, to) = (self.shared.pick(1..count) as usize, self.shared.pick(1..count) as usize);
        if from != to {
            let amount = self.shared.pick(1..20) as i64;
            change(from, -amount);
            change(to, amount);
        }
        self.commit(balances, events);
    }

    /// How many transactions there are.
    pub fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// Balances after so many.
    pub fn balances(&self, count: u64) -> Option<Balances> {
        self.state.lock().balances.get(count as usize).cloned()
    }

    /// Right after a transaction.
    pub fn position(count: u64) -> SourcePosition {
        SourcePosition { major: 1, minor: count, token: format!("{{\"n\":{count}}}"), commit_time_us: 0 }
    }

    fn events(&self, at: u64) -> Vec<Happened> {
        self.state.lock().log[at as usize].clone()
    }
}

/// What a writer follows the bank with.
pub struct BankSource {
    pub upstream: Arc<Upstream>,
    /// The writer cannot reach the bank.
    pub cut: watch::Sender<bool>,
    complete: watch::Sender<bool>,
    disk: Arc<Disk>,
}

impl BankSource {
    pub fn new(upstream: Arc<Upstream>, disk: Arc<Disk>) -> BankSource {
        BankSource { upstream, cut: watch::Sender::new(false), complete: watch::Sender::new(true), disk }
    }

    async fn reached(&self) {
        let mut cut = self.cut.subscribe();
        let _ = cut.wait_for(|cut| !*cut).await;
        env::sleep(self.upstream.shared.ms(0..8)).await;
    }

    fn append(&self, buffer: &dyn Buffer, at: u64) -> Result<()> {
        let id = format!("transaction {}", at + 1);
        let mut transaction = buffer.begin(&id)?;
        for event in self.upstream.events(at) {
            transaction.push(&serde_json::to_vec(&event).map_err(|e| Error::Internal(e.to_string()))?)?;
        }
        transaction.commit(Upstream::position(at + 1))?;
        Ok(())
    }
}

#[async_trait]
impl Source for BankSource {
    fn kind(&self) -> &'static str {
        "bank"
    }

    async fn stream(
        &self,
        after: Option<SourcePosition>,
        buffer: Arc<dyn Buffer>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let mut at = after.map_or(0, |after| after.minor);
        if self.upstream.flaw == Some(Flaw::TakeoverSkips) && at > 1 {
            at = (at + 1).min(self.upstream.newest());
        }
        let mut newest = self.upstream.newest.subscribe();
        while !cancel.is_cancelled() {
            self.reached().await;
            // Group after group, as it comes.
            let group = at + self.upstream.shared.pick(1..12);
            while at < group.min(self.upstream.newest()) {
                self.append(&*buffer, at)?;
                at += 1;
            }
            // Whoever is killed now has written what was not synced.
            env::sleep(self.upstream.shared.ms(0..6)).await;
            buffer.sync()?;
            self.disk.is_synced();
            buffer.note_read(Upstream::position(at));
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                _ = newest.wait_for(|newest| *newest > at) => {}
            }
        }
        Ok(())
    }

    async fn first_position(&self) -> Result<Option<SourcePosition>> {
        Ok(Some(Upstream::position(0)))
    }

    async fn head(&self) -> Result<SourcePosition> {
        if *self.cut.borrow() {
            return Err(Error::Unavailable("the bank cannot be reached".into()));
        }
        let stale = if self.upstream.flaw == Some(Flaw::HeadIsOld) { 3 } else { 0 };
        let head = self.upstream.newest().saturating_sub(stale);
        self.reached().await;
        Ok(Upstream::position(head))
    }

    fn copy_complete(&self) -> watch::Receiver<bool> {
        self.complete.subscribe()
    }

    fn decoder(&self) -> Box<dyn TransactionDecoder> {
        Box::new(BankDecoder::default())
    }

    fn status(&self) -> SourceStatus {
        SourceStatus { state: SourceState::Streaming, ..SourceStatus::default() }
    }
}

/// The definition of a table.
pub fn table(at: usize) -> TableDef {
    accounts(at as u64 + 1, TABLES[at])
}

/// Its name.
pub fn name(at: usize) -> TableName {
    table(at).name
}

#[derive(Default)]
struct BankDecoder {
    steps: Vec<DecodedStep>,
    /// Row changes that were not handed over yet, of each table.
    open: [Vec<(u64, RowOp, Row)>; TABLES.len()],
}

impl TransactionDecoder for BankDecoder {
    fn decode(&mut self, transaction: BufferedTransaction, catalog: &mut Catalog) -> Result<()> {
        let BufferedTransaction { seq, position, payload, .. } = transaction;
        let BufferedPayload::Events(events) = payload else {
            return Err(Error::Internal("a control record, and nothing is copied".into()));
        };
        for event in events {
            let event =
                serde_json::from_slice(&event?).map_err(|e| Error::corrupt(position.to_string(), e.to_string()))?;
            match event {
                Happened::Begins => {
                    for at in 0..TABLES.len() {
                        let change = SchemaChange::CreateTable { def: Box::new(table(at)), state: TableState::Live };
                        catalog.apply(seq, &change)?;
                        self.steps.push(create(&table(at), seq.0));
                    }
                }
                Happened::Changes { table: at, account, from, to } => {
                    let row = |balance| vec![int(account), int(balance), null()];
                    let birth = (seq.0, RowOp::Insert, row(to));
                    let both = [(seq.0, RowOp::Delete, row(from)), birth.clone()];
                    let is_new = seq.0 == 1 || position.minor == 1;
                    let ops = if is_new { &both[1..] } else { &both[..] };
                    self.open[at].extend_from_slice(ops);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<DecodedStep>> {
        for (at, open) in self.open.iter_mut().enumerate().filter(|(_, open)| !open.is_empty()) {
            self.steps.push(changes(&table(at), &std::mem::take(open)));
        }
        Ok(std::mem::take(&mut self.steps))
    }

    fn pending_bytes(&self) -> usize {
        0
    }
}
