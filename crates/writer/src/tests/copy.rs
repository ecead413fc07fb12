//! The initial copy against a random upstream: snapshots at exact positions, a stream that lags, chunks that arrive
//! late, restarts. At every settled point each live table is exactly what upstream had at the stream's position.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_core::control::{self, ControlRecord};
use tidelake_core::ports::Buffer;
use tidelake_core::testing::tables::{Row, accounts, batch, events, int, null, position, sorted, text};
use tidelake_core::{TableDef, TableState};

use super::{Bench, TestEvent, append};
use crate::WriterOptions;

/// Rows by key (keyed table) or by an internal number (keyless), as InnoDB has them.
type Rows = BTreeMap<i64, Row>;

/// A server with one table: every state it ever had, and its bin log.
struct Upstream {
    def: TableDef,
    states: Vec<Rows>,
    log: Vec<Vec<TestEvent>>,
}

impl Upstream {
    fn new(def: TableDef) -> Upstream {
        Upstream { def, states: vec![Rows::new()], log: Vec::new() }
    }

    /// Its newest position: transactions committed so far.
    fn now(&self) -> u64 {
        self.log.len() as u64
    }

    fn commit(&mut self, random: &mut StdRng) {
        let mut rows = self.states.last().unwrap().clone();
        let mut events = Vec::new();
        for _ in 0..random.random_range(1..4) {
            let key = random.random_range(0..30i64);
            let (keyed, value) = (!self.def.key.is_empty(), random.random_range(0..5i64));
            let row = if keyed { vec![int(key), int(value), text("x")] } else { vec![int(value), null()] };
            let before = rows.remove(&key);
            let after = (before.is_none() || random.random_bool(0.6)).then_some(row);
            after.iter().for_each(|row| drop(rows.insert(key, row.clone())));
            events.push(TestEvent::Row { name: self.def.name.clone(), before, after });
        }
        self.states.push(rows);
        self.log.push(events);
    }
}

/// A chunk that was read but not appended yet.
struct Chunk {
    read_at: u64,
    rows: Vec<Row>,
    next: i64,
}

/// What the copier remembers; a restart forgets it.
#[derive(Default)]
struct Copier {
    copy_id: Option<u64>,
    cursor: i64,
    newest_read: u64,
    /// A snapshot taken before the copy was begun.
    early: Option<u64>,
    chunk: Option<Chunk>,
    holds: Vec<Arc<dyn Send + Sync>>,
    done: bool,
}

struct World {
    bench: Bench,
    upstream: Upstream,
    copier: Copier,
    /// Transactions of the bin log that are in the buffer.
    streamed: u64,
    next_copy: u64,
    random: StdRng,
}

impl World {
    async fn new(def: TableDef, seed: u64) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let options = WriterOptions {
            interval: Duration::from_millis(random.random_range(1..20)),
            flush_interval: Duration::from_millis(random.random_range(0..10)),
            ..WriterOptions::default()
        };
        let bench = Bench::new(options).await;
        World { bench, upstream: Upstream::new(def), copier: Copier::default(), streamed: 0, next_copy: 1, random }
    }

    fn stream_one(&mut self) {
        if self.streamed < self.upstream.now() {
            self.streamed += 1;
            append(&*self.bench.buffer, self.streamed, &self.upstream.log[self.streamed as usize - 1]);
        }
        self.bench.buffer.note_read(position(self.streamed));
    }

    fn control(&self, record: &ControlRecord, rows: Option<&[Row]>) {
        let rows = rows.map(|rows| batch(&self.upstream.def, rows));
        let record = control::encode(record, rows.as_ref()).unwrap();
        self.bench.buffer.append_control(record.into()).unwrap();
    }

    fn hold(&mut self) {
        let head = *self.bench.buffer.head().borrow();
        self.copier.holds.push(self.bench.buffer.hold(head));
    }

    /// One step of the copier.
    fn copy_one(&mut self) {
        let keyed = !self.upstream.def.key.is_empty();
        let Some(copy_id) = self.copier.copy_id else { return self.begin() };
        match self.copier.chunk.take() {
            None if self.copier.cursor < 30 => self.read_chunk(keyed),
            None if self.streamed >= self.copier.newest_read && !self.copier.done => {
                let read_at = (!keyed).then(|| position(self.copier.newest_read));
                self.control(&ControlRecord::CopyDone { copy_id, read_at }, None);
                self.copier.done = true;
            }
            None => {}
            Some(chunk) => {
                let cursor = chunk.next.to_string();
                let record = ControlRecord::CopyRows { copy_id, read_at: position(chunk.read_at), cursor };
                self.control(&record, Some(&chunk.rows));
                self.copier.cursor = chunk.next;
                self.copier.newest_read = self.copier.newest_read.max(chunk.read_at);
            }
        }
    }

    /// First the snapshot, then, some steps later, the record: as the real copier does.
    fn begin(&mut self) {
        let Some(from) = self.copier.early else {
            self.hold();
            self.copier.early = Some(self.upstream.now());
            return;
        };
        let copy_id = self.next_copy;
        self.next_copy += 1;
        let def = Box::new(self.upstream.def.clone());
        self.control(&ControlRecord::CopyBegin { copy_id, def, from: position(from) }, None);
        self.copier.copy_id = Some(copy_id);
        self.copier.cursor = 0;
    }

    fn read_chunk(&mut self, keyed: bool) {
        // The first chunk of a copy is read in the snapshot it began with; so are all of a table without a key.
        let read_at = match self.copier.early {
            Some(early) if !keyed || self.copier.cursor == 0 => early,
            _ => {
                self.hold();
                self.upstream.now()
            }
        };
        let next = self.copier.cursor + self.random.random_range(5..20);
        let range = self.upstream.states[read_at as usize].range(self.copier.cursor..next);
        let rows = range.map(|(_, row)| row.clone()).collect();
        self.copier.chunk = Some(Chunk { read_at, rows, next });
    }

    /// Everything appended is applied, then live tables must be right; returns whether the table is live.
    async fn check(&mut self, seed: u64) -> bool {
        self.bench.settle().await;
        let catalog = self.bench.catalog();
        let name = &self.upstream.def.name;
        if catalog.visible(name).is_none() {
            return false;
        }
        let expected = self.upstream.states[self.streamed as usize].values().cloned().collect();
        assert_eq!(self.bench.rows(name).await.unwrap(), sorted(expected), "seed {seed} at {}", self.streamed);
        true
    }

    /// A new process: the source resumes after the buffer, the copier at the catalog's cursor.
    async fn crash(mut self) -> World {
        // The old process holds what it needs of the buffer until it has ended.
        let ended = std::mem::take(&mut self.copier);
        self.bench = self.bench.crash().await;
        drop(ended);
        self.streamed = self.bench.buffer.read_position().borrow().as_ref().map_or(0, |p| p.minor);
        self.bench.settle().await;
        let catalog = self.bench.catalog();
        if catalog.visible(&self.upstream.def.name).is_some() {
            self.copier.done = true;
            self.copier.copy_id = Some(0);
            self.copier.cursor = 30;
        }
        if let Some(entry) = catalog.copying(&self.upstream.def.name)
            && let TableState::Copying { copy_id, cursor, .. } = &entry.state
            && !self.upstream.def.key.is_empty()
        {
            self.copier.copy_id = Some(*copy_id);
            self.copier.cursor = cursor.parse().unwrap_or(0);
            self.copier.newest_read = self.upstream.now();
        }
        self
    }
}

async fn random_copy(def: TableDef, seed: u64) {
    let mut world = World::new(def, seed).await;
    for _ in 0..world.random.random_range(0..40) {
        let mut random = world.random.clone();
        world.upstream.commit(&mut random);
        world.random = random;
    }
    // Where the stream begins.
    world.streamed = world.random.random_range(0..=world.upstream.now());
    world.bench.buffer.note_read(position(world.streamed));
    let mut live = false;
    for step in 0..300 {
        match world.random.random_range(0..20) {
            0..=5 if step < 200 => {
                let mut random = world.random.clone();
                world.upstream.commit(&mut random);
                world.random = random;
            }
            0..=12 => world.stream_one(),
            13..=16 => world.copy_one(),
            17 => drop(world.bench.buffer.sync().unwrap()),
            18 => live = world.check(seed).await,
            _ if world.random.random_bool(0.2) => world = world.crash().await,
            _ => {}
        }
    }
    while world.streamed < world.upstream.now() || !world.copier.done {
        world.stream_one();
        world.copy_one();
    }
    live |= world.check(seed).await;
    assert!(live, "seed {seed}: the copy ended");
    world.bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inv1_inv2_copy_of_a_table_with_a_key_is_exact() {
    for seed in 0..150 {
        random_copy(accounts(0, "t"), seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inv1_inv2_copy_of_a_table_without_a_key_is_exact() {
    for seed in 0..150 {
        random_copy(events(0, "t"), seed).await;
    }
}
