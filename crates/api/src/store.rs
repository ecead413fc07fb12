//! A store engine that is elsewhere.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::FlightDescriptor;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use async_trait::async_trait;
use futures::future::ready;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidelake_core::ports::store::Progress;
use tidelake_core::ports::{BatchStream, ScanPlan, ScanRequest, ScanSplit, StoreEngine, StoreWriter, TableStats};
use tidelake_core::{Catalog, CommitSeq, DecodedStep, Error, Result, SourcePosition, TableId, WriterEpoch, env};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::{Connection, PATIENCE};
use crate::ending;
use crate::errors::of_status;
use crate::offered::WATCH;
use crate::rows;
use crate::wire::{
    Catalogs, Nothing, OfCatalog, OfEpoch, OfSeq, OfTable, Plan, Planned, Progresses, Publish, Split, Stage,
    StageSchema, decode_answer, ticket,
};

/// Catalogs kept, newest seqs first: they never change.
const CATALOGS: usize = 64;
/// How long publishing, staging and flushing may take.
const WORK: Duration = Duration::from_secs(600);
/// Bytes of rows that are staged with one message, a larger row aside.
const STAGED_BYTES: usize = 8 << 20;
/// How long to wait after a lost connection.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a scan that has given nothing yet is sent again after a lost connection.
const SEND_AGAIN: Duration = Duration::from_secs(10);

/// A store engine reached over the Magic API.
pub struct FlightStore {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Connection,
    published: watch::Sender<Progress>,
    durable: watch::Sender<Progress>,
    last: Mutex<Progresses>,
    /// Names of engines before this one: what they said comes too late.
    past: Mutex<HashSet<String>>,
    catalogs: Mutex<BTreeMap<CommitSeq, Arc<Catalog>>>,
    heard: AtomicBool,
    /// Ends what follows the engine.
    _following: DropGuard,
}

impl Shared {
    /// Shows how far the engine is. An older message that comes late changes nothing; one of an engine that restarted
    /// counts, although it may be less far.
    fn show(&self, now: Progresses) {
        let (published, durable) = (now.published.clone(), now.durable.clone());
        let restarted = {
            let (mut last, mut past) = (self.last.lock(), self.past.lock());
            if past.contains(&now.engine) {
                return;
            }
            let restarted = last.engine != now.engine;
            if restarted {
                past.insert(last.engine.clone());
            }
            if restarted || now.published.seq >= last.published.seq {
                *last = now;
            }
            restarted
        };
        if restarted {
            // Seqs may name other states than before, if another writer took over from an older one.
            self.catalogs.lock().clear();
        }
        let newer = |new: Progress| {
            move |old: &mut Progress| {
                let newer = if restarted { new.seq != old.seq } else { new.seq > old.seq };
                if newer {
                    *old = new;
                }
                newer
            }
        };
        self.published.send_if_modified(newer(published));
        self.durable.send_if_modified(newer(durable));
    }

    /// The nearest catalog that is kept, and its seq.
    fn nearest(&self, seq: CommitSeq) -> Option<(CommitSeq, Arc<Catalog>)> {
        let catalogs = self.catalogs.lock();
        let nearest = catalogs.range(..=seq).next_back().or_else(|| catalogs.range(seq..).next());
        nearest.map(|(seq, catalog)| (*seq, catalog.clone()))
    }
}

impl FlightStore {
    /// Connects by a connection of its own.
    ///
    /// # Errors
    /// As for [`FlightStore::over`].
    pub async fn connect(url: &str) -> Result<FlightStore> {
        FlightStore::over(Connection::open(url)?).await
    }

    /// Over a connection; asks how far the engine is. Scans under leases that a
    /// [`RemoteLatch`](crate::RemoteLatch) holds over the same connection are checked by the engine's process with every read.
    ///
    /// # Errors
    /// If it cannot be reached, or speaks another version.
    pub async fn over(connection: Connection) -> Result<FlightStore> {
        let now: Progresses = connection.call("progress", Nothing {}).await?;
        Ok(FlightStore::begin(connection, now))
    }

    /// Of an engine that may be away: it has nothing until it is heard.
    #[must_use]
    pub fn lazy(connection: Connection) -> FlightStore {
        FlightStore::begin(connection, Progresses::default())
    }

    fn begin(connection: Connection, now: Progresses) -> FlightStore {
        let end = CancellationToken::new();
        let shared = Arc::new(Shared {
            connection: connection.clone(),
            published: watch::Sender::new(now.published.clone()),
            durable: watch::Sender::new(now.durable.clone()),
            last: Mutex::new(now),
            past: Mutex::default(),
            catalogs: Mutex::default(),
            heard: AtomicBool::new(false),
            _following: end.clone().drop_guard(),
        });
        connection.spawn(end.run_until_cancelled_owned(follow(Arc::downgrade(&shared), connection.clone())));
        FlightStore { shared }
    }

    /// True if the engine was heard, and the line to it is not known to be broken.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.shared.heard.load(Ordering::Acquire)
    }

    /// What it said last of itself.
    #[must_use]
    pub fn last_said(&self) -> Progresses {
        self.shared.last.lock().clone()
    }

    /// The catalog of a seq; an engine that is asked for it has so much time.
    pub(crate) fn catalog_within(&self, seq: CommitSeq, patience: Duration) -> Result<Arc<Catalog>> {
        if let Some(known) = self.shared.catalogs.lock().get(&seq).filter(|_| seq >= self.shared.last.lock().horizon) {
            return Ok(known.clone());
        }
        let near = self.shared.nearest(seq);
        let ask = OfCatalog { seq, known: near.as_ref().map(|(seq, _)| *seq) };
        let engine = self.shared.last.lock().engine.clone();
        let Catalogs { catalog } = self.shared.connection.call_now_within("catalog", ask, patience)?;
        let unasked = || Error::Internal("the engine sent no catalog, and none was known".into());
        let catalog = catalog.or(near.map(|(_, catalog)| catalog)).ok_or_else(unasked)?;
        let mut catalogs = self.shared.catalogs.lock();
        // Of one that restarted meanwhile it may be another: the lock is held, so none of it is kept.
        if self.shared.last.lock().engine == engine {
            catalogs.insert(seq, catalog.clone());
        }
        while catalogs.len() > CATALOGS {
            catalogs.pop_first();
        }
        Ok(catalog)
    }

    pub(crate) async fn plan_as(&self, plan: Plan) -> Result<ScanPlan> {
        let info = self.shared.connection.info(ticket(plan)?).await?;
        let planned: Planned = decode_answer(&info.app_metadata)?;
        let schema = info.try_decode_schema().map_err(|e| Error::Internal(format!("the plan's schema: {e}")))?;
        Ok(ScanPlan {
            schema: Arc::new(schema),
            splits: planned.splits.iter().map(leased).collect::<Result<_>>()?,
            exact_rows: planned.exact_rows,
            bounds: planned.bounds.iter().map(|b| b.as_ref().map(|b| b.bounds()).transpose()).collect::<Result<_>>()?,
        })
    }

    /// The rows of a split. As long as there is no row yet, one whose line is lost is sent again, for so long: it gives the same rows as long as its
    /// lease lives, which the engine checks. Once there are rows it is not: the same rows may come in another order.
    pub(crate) async fn read_within(&self, split: &ScanSplit, patience: Duration) -> Result<BatchStream> {
        let begun = env::now();
        loop {
            match self.begin_split(split).await {
                Err(error @ Error::Unavailable(_)) if env::since(begun) + AGAIN < patience => {
                    tracing::debug!(%error, "a scan lost its line before its first row, and is sent again");
                    env::sleep(AGAIN).await;
                }
                begun => return begun,
            }
        }
    }

    /// The rows of a split, once the first of them are there.
    async fn begin_split(&self, split: &ScanSplit) -> Result<BatchStream> {
        let wrong = |e| Error::Invalid(format!("a split that is none of this engine: {e}"));
        let Part { lease, lineage, part } = serde_json::from_str(&split.part).map_err(wrong)?;
        let ticket = ticket(Split { part, lineage, ..Split::of(split, lease) })?;
        let data = self.shared.connection.get(ticket.into()).await?;
        let batches = FlightRecordBatchStream::new_from_flight_data(ending::checked(data));
        let mut batches = batches.try_filter(|batch| ready(batch.num_rows() > 0)).map_err(|e| of_flight(&e)).boxed();
        let first = batches.try_next().await?;
        Ok(futures::stream::iter(first.map(Ok)).chain(batches).boxed())
    }

    fn ask_now(&self) -> Progresses {
        match self.shared.connection.call_now("progress", Nothing {}) {
            Ok(now) => now,
            Err(error) => {
                tracing::warn!(%error, "the engine does not answer; showing what it said last");
                self.shared.last.lock().clone()
            }
        }
    }
}

/// Shows what the engine says of itself, as long as anybody holds the store.
async fn follow(shared: Weak<Shared>, connection: Connection) {
    while shared.strong_count() > 0 {
        if let Ok(answers) = connection.listen::<_, Progresses>(WATCH, Nothing {}).await {
            let mut answers = std::pin::pin!(answers);
            while let Some(Ok(now)) = answers.next().await {
                let Some(shared) = shared.upgrade() else { return };
                shared.show(now);
                shared.heard.store(true, Ordering::Release);
            }
        }
        if let Some(shared) = shared.upgrade() {
            shared.heard.store(false, Ordering::Release);
        }
        env::sleep(AGAIN).await;
    }
}

#[async_trait]
impl StoreEngine for FlightStore {
    async fn open_writer(&self, epoch: WriterEpoch) -> Result<Box<dyn StoreWriter>> {
        let now: Progresses =
            self.shared.connection.call_within("open_writer", OfEpoch { epoch: epoch.0 }, WORK).await?;
        self.shared.show(now);
        Ok(Box::new(FlightWriter { shared: self.shared.clone(), epoch: epoch.0 }))
    }

    fn published(&self) -> watch::Receiver<Progress> {
        self.shared.published.subscribe()
    }

    fn durable(&self) -> watch::Receiver<Progress> {
        self.shared.durable.subscribe()
    }

    fn catalog(&self, seq: CommitSeq) -> Result<Arc<Catalog>> {
        self.catalog_within(seq, PATIENCE)
    }

    async fn plan_scan(&self, request: &ScanRequest) -> Result<ScanPlan> {
        let lease = self.shared.connection.leases();
        let lease = request.lease.and_then(|id| lease.name(id)).map(|(name, _)| name);
        self.plan_as(Plan::of(request, lease)).await
    }

    async fn read_split(&self, split: &ScanSplit) -> Result<BatchStream> {
        self.read_within(split, SEND_AGAIN).await
    }

    fn horizon(&self) -> CommitSeq {
        self.ask_now().horizon
    }

    fn set_horizon(&self, seq: CommitSeq) {
        if let Err(error) = self.shared.connection.call_now::<_, Nothing>("set_horizon", OfSeq { seq }) {
            tracing::warn!(%error, %seq, "the engine was not told the horizon; it keeps more than it must");
            return;
        }
        let mut last = self.shared.last.lock();
        last.horizon = last.horizon.max(seq.min(last.published.seq));
    }

    async fn flush(&self) -> Result<CommitSeq> {
        let now: Progresses = self.shared.connection.call_within("flush", Nothing {}, WORK).await?;
        let durable = now.durable.seq;
        self.shared.show(now);
        Ok(durable)
    }

    fn table_stats(&self, table: TableId) -> Result<TableStats> {
        self.shared.connection.call_now("table_stats", OfTable { table })
    }

    fn unflushed_bytes(&self) -> u64 {
        self.ask_now().unflushed_bytes
    }
}

/// A split's part, as whoever reads it needs it: with the lease that the server checks.
#[derive(Serialize, Deserialize)]
struct Part {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lineage: Option<String>,
    part: String,
}

/// A split for readers here.
fn leased(split: &Split) -> Result<ScanSplit> {
    let part = Part { lease: split.lease.clone(), lineage: split.lineage.clone(), part: split.part.clone() };
    let part = serde_json::to_string(&part).map_err(|e| Error::Internal(format!("encode a split: {e}")))?;
    Ok(ScanSplit { part, ..split.split()? })
}

/// What a stream of rows ended with.
fn of_flight(error: &FlightError) -> Error {
    match error {
        FlightError::Tonic(status) => of_status(status),
        other => Error::Unavailable(format!("rows of a split: {other}")),
    }
}

/// A batch in pieces that fit into messages: steps of a window are staged one after the other anyway.
fn pieces(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> + '_ {
    let (rows, bytes) = (batch.num_rows(), batch.get_array_memory_size());
    let step = (rows * STAGED_BYTES / bytes.max(1)).clamp(1, rows.max(1));
    (0..rows.max(1)).step_by(step).map(move |at| batch.slice(at, step.min(rows - at)))
}

/// The writer of an engine elsewhere.
struct FlightWriter {
    shared: Arc<Shared>,
    epoch: u64,
}

#[async_trait]
impl StoreWriter for FlightWriter {
    async fn stage(&mut self, step: DecodedStep) -> Result<()> {
        let changes = match step {
            DecodedStep::Rows(changes) => changes,
            DecodedStep::Schema(seq, change) => {
                let step = StageSchema { epoch: self.epoch, seq, change: *change };
                let Nothing {} = self.shared.connection.call_within("stage_schema", step, WORK).await?;
                return Ok(());
            }
        };
        let command = ticket(Stage { epoch: self.epoch, table: changes.table, version: changes.version })?;
        let batch = rows::to_batch(&changes)?;
        let encoded = FlightDataEncoderBuilder::new()
            .with_schema(batch.schema())
            // What is a message is staged whole or not at all.
            .with_max_flight_data_size(usize::MAX)
            .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)))
            .build(futures::stream::iter(pieces(&batch).map(Ok).collect::<Vec<_>>()));
        let data: Vec<_> = encoded.try_collect().await.map_err(|e| of_flight(&e))?;
        // One message is the schema's. What was cut on its way may look whole, but not every batch was answered then.
        let sent = data.len().saturating_sub(1);
        let answered = self.shared.connection.put(futures::stream::iter(data)).await?.len();
        if answered != sent {
            return Err(Error::Unavailable(format!("{answered} of {sent} batches of rows were answered")));
        }
        Ok(())
    }

    async fn publish(&mut self, upto: CommitSeq, position: SourcePosition) -> Result<()> {
        let ask = Publish { epoch: self.epoch, upto, position };
        let now: Progresses = self.shared.connection.call_within("publish", ask, WORK).await?;
        self.shared.show(now);
        Ok(())
    }
}
