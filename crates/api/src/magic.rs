//! What every transport serves: calls by name with JSON in and out, plans, splits, and staged rows.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;
use serde::Serialize;
use serde_json::Value;
use tidelake_access::{Caller, Right, Rights};
use tidelake_core::ports::{BatchStream, Freshness, Latch, SnapshotLease, StoreEngine, StoreWriter};
use tidelake_core::types::arrow::field;
use tidelake_core::{CommitSeq, DecodedStep, Error, Result, TableId, WriterEpoch};
use tokio::sync::Mutex;

use crate::desk::Desk;
use crate::leases::{LONGEST, Leases, new_name};
use crate::rows;
use crate::wire::{
    About, Acquire, BeginWriter, Catalogs, Leased, Nothing, OfCatalog, OfEpoch, OfLease, OfSeq, OfTable, Plan, Planned,
    Progresses, Publish, Renew, Split, Stage, StageSchema, decode, encode,
};

/// Names of the calls that anyone may make.
pub const READ_CALLS: &[&str] =
    &["acquire", "renew", "check", "release", "progress", "catalog", "table_stats", "about"];
/// Names of the calls of a writer.
pub const WRITE_CALLS: &[&str] = &[
    "grant_writer",
    "begin_writer",
    "open_writer",
    "stage_schema",
    "publish",
    "flush",
    "set_horizon",
    "tell",
    "answer",
    "fence_writer",
];

/// The writer that is open.
struct Open {
    epoch: WriterEpoch,
    writer: Box<dyn StoreWriter>,
}

/// One engine and its latch, as clients elsewhere see them.
pub struct Magic {
    pub(crate) engine: Arc<dyn StoreEngine>,
    latch: Arc<dyn Latch>,
    leases: Leases,
    /// A name that nothing had before: clients tell by it that the engine restarted.
    name: String,
    /// `None`: clients only read.
    writer: Option<Mutex<Option<Open>>>,
    /// Of a writer that keeps its buffer elsewhere.
    pub(crate) desk: Option<Arc<Desk>>,
    /// What sessions take from the upstream, if the writer is in this process.
    upstream: Option<Value>,
    /// Leases are given elsewhere: each reading is judged by the seq and the buffer that it is of.
    far_latch: bool,
}

impl Magic {
    /// For readers: the writer is in this process, and knows its upstream.
    #[must_use]
    pub fn for_readers(engine: Arc<dyn StoreEngine>, latch: Arc<dyn Latch>, upstream: Option<Value>) -> Arc<Magic> {
        Magic::new(engine, latch, None, None, upstream)
    }

    /// For readers and one writer at a time, about which nothing is kept.
    #[must_use]
    pub fn for_all(engine: Arc<dyn StoreEngine>, latch: Arc<dyn Latch>) -> Arc<Magic> {
        Magic::new(engine, latch, Some(Mutex::new(None)), None, None)
    }

    /// For readers, and a writer that must begin at this desk.
    #[must_use]
    pub fn with_desk(engine: Arc<dyn StoreEngine>, latch: Arc<dyn Latch>, desk: Arc<Desk>) -> Arc<Magic> {
        Magic::new(engine, latch, Some(Mutex::new(None)), Some(desk), None)
    }

    /// For readers, and a writer that must begin at this desk, while leases and epochs are given by a latch in another process.
    #[must_use]
    pub fn at_latch(engine: Arc<dyn StoreEngine>, desk: Arc<Desk>) -> Arc<Magic> {
        let magic = Magic::new(engine, Arc::new(FarLatch), Some(Mutex::new(None)), Some(desk), None);
        Arc::new(Magic { far_latch: true, ..Arc::into_inner(magic).expect("nobody else has it yet") })
    }

    fn new(
        engine: Arc<dyn StoreEngine>,
        latch: Arc<dyn Latch>,
        writer: Option<Mutex<Option<Open>>>,
        desk: Option<Arc<Desk>>,
        upstream: Option<Value>,
    ) -> Arc<Magic> {
        let name = new_name();
        let leases = Leases::default();
        Arc::new(Magic { engine, latch, leases, name, writer, desk, upstream, far_latch: false })
    }

    /// Runs a call.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a name that is none; [`Error::Denied`] for a caller who may not; what the call fails with.
    pub async fn call(&self, caller: &Caller, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        let rights = &*caller.rights;
        if WRITE_CALLS.contains(&name) {
            rights.check(Right::Write)?;
            return self.write_call(name, body).await;
        }
        rights.check(Right::Read)?;
        match name {
            "acquire" => answer(self.acquire(decode(body)?).await?),
            "renew" => answer(self.renew(&decode(body)?)?),
            "check" => {
                let OfLease { lease } = decode(body)?;
                answer(OfSeq { seq: self.leases.live(&*self.latch, &lease)?.seq() })
            }
            "release" => {
                let OfLease { lease } = decode(body)?;
                self.leases.release(&lease);
                answer(Nothing {})
            }
            "progress" => {
                let Nothing {} = decode(body)?;
                answer(self.progress())
            }
            "catalog" => {
                let OfCatalog { seq, known } = decode(body)?;
                answer(self.catalog(rights, seq, known)?)
            }
            "table_stats" => {
                let OfTable { table } = decode(body)?;
                self.check_table(rights, self.engine.published_seq(), table)?;
                answer(self.engine.table_stats(table)?)
            }
            "about" => {
                let Nothing {} = decode(body)?;
                answer(self.about())
            }
            _ => Err(Error::NotFound(format!("call {name:.100}"))),
        }
    }

    async fn write_call(&self, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.writable()?;
        match name {
            "grant_writer" => {
                let Nothing {} = decode(body)?;
                answer(OfEpoch { epoch: self.latch.grant_writer()?.0 })
            }
            "begin_writer" => {
                self.begin_writer(&decode(body)?).await?;
                answer(self.progress())
            }
            "tell" => {
                self.desk()?.tell(decode(body)?)?;
                answer(Nothing {})
            }
            "answer" => {
                self.desk()?.answer(decode(body)?)?;
                answer(Nothing {})
            }
            "open_writer" => {
                let OfEpoch { epoch } = decode(body)?;
                self.open_writer(WriterEpoch(epoch)).await?;
                answer(self.progress())
            }
            "stage_schema" => {
                let StageSchema { epoch, seq, change } = decode(body)?;
                self.stage_step(epoch, DecodedStep::Schema(seq, Box::new(change))).await?;
                answer(Nothing {})
            }
            "publish" => {
                let Publish { epoch, upto, position } = decode(body)?;
                let mut open = self.writable()?.lock().await;
                of_epoch(&mut open, epoch)?.publish(upto, position).await?;
                answer(self.progress())
            }
            "flush" => {
                let Nothing {} = decode(body)?;
                self.engine.flush().await?;
                answer(self.progress())
            }
            "fence_writer" => {
                let OfEpoch { epoch } = decode(body)?;
                self.fence_writer(WriterEpoch(epoch)).await?;
                answer(self.progress())
            }
            _ if self.far_latch => Err(Error::Invalid("this engine's horizon is its latch's".into())),
            _ => {
                let OfSeq { seq } = decode(body)?;
                self.engine.set_horizon(seq);
                answer(Nothing {})
            }
        }
    }

    fn writable(&self) -> Result<&Mutex<Option<Open>>> {
        let refused = || Error::Invalid("this engine has its writer in its own process: clients only read".into());
        self.writer.as_ref().ok_or_else(refused)
    }

    async fn acquire(&self, ask: Acquire) -> Result<Leased> {
        self.leases.sweep(&*self.latch);
        let ttl = Duration::from_millis(ask.ttl_ms).min(LONGEST);
        let wait = Duration::from_millis(ask.wait_ms).min(LONGEST);
        let lease = self.latch.acquire(ask.freshness.into(), ttl, wait).await?;
        let seq = lease.seq();
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Ok(Leased { lease: self.leases.keep(&*self.latch, lease)?, seq, ttl_ms, lineage: None, term: None })
    }

    fn renew(&self, ask: &Renew) -> Result<Leased> {
        let lease = self.leases.live(&*self.latch, &ask.lease)?;
        let ttl = Duration::from_millis(ask.ttl_ms).min(LONGEST);
        self.latch.renew(&lease, ttl)?;
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Ok(Leased { lease: ask.lease.clone(), seq: lease.seq(), ttl_ms, lineage: None, term: None })
    }

    fn catalog(&self, rights: &Rights, seq: CommitSeq, known: Option<CommitSeq>) -> Result<Catalogs> {
        let catalog = self.engine.catalog(seq)?;
        let known = known.and_then(|known| self.engine.catalog(known).ok());
        let same = known.is_some_and(|known| Arc::ptr_eq(&known, &catalog));
        Ok(Catalogs { catalog: (!same).then(|| rights.view(&catalog)) })
    }

    /// How far the engine is.
    pub(crate) fn progress(&self) -> Progresses {
        Progresses {
            engine: self.name.clone(),
            published: self.engine.published().borrow().clone(),
            durable: self.engine.durable().borrow().clone(),
            horizon: self.engine.horizon(),
            unflushed_bytes: self.engine.unflushed_bytes(),
            lineage: self.desk.as_ref().filter(|_| self.far_latch).and_then(|desk| desk.lineage()),
            term: None,
        }
    }

    /// Plans a scan.
    ///
    /// # Errors
    /// `SnapshotExpired` if the named lease lapsed, [`Error::Invalid`] if its seq is another, [`Error::Denied`] for a table that the
    /// caller may not read; the engine's.
    pub async fn plan(&self, caller: &Caller, plan: Plan) -> Result<(SchemaRef, Planned)> {
        self.check_table(&caller.rights, plan.seq, plan.table)?;
        self.check_lease(plan.lease.as_deref(), plan.seq)?;
        self.check_lineage(plan.lineage.as_deref())?;
        let found = self.engine.plan_scan(&plan.request()?).await?;
        let of = |split| Split { lineage: plan.lineage.clone(), ..Split::of(split, plan.lease.clone()) };
        let splits = found.splits.iter().map(of).collect();
        let bounds = found.bounds.iter().map(|bounds| bounds.as_ref().map(Into::into)).collect();
        Ok((found.schema, Planned { splits, exact_rows: found.exact_rows, bounds }))
    }

    /// Reads a split: its schema and its batches. Its lease is checked for every batch.
    ///
    /// # Errors
    /// As for [`Magic::plan`].
    pub async fn read(self: &Arc<Magic>, caller: &Caller, split: &Split) -> Result<(SchemaRef, BatchStream)> {
        self.check_table(&caller.rights, split.seq, split.table)?;
        self.check_lease(split.lease.as_deref(), split.seq)?;
        self.check_lineage(split.lineage.as_deref())?;
        let schema = self.schema(split)?;
        let batches = self.engine.read_split(&split.split()?).await?;
        if self.far_latch {
            let (engine, seq) = (self.engine.clone(), split.seq);
            // Once it was made, while nothing that it needs may have gone yet.
            let checked = batches.map(move |batch| batch.and_then(|batch| still_kept(&*engine, seq).map(|()| batch)));
            return Ok((schema, checked.boxed()));
        }
        let Some(lease) = split.lease.clone() else { return Ok((schema, batches)) };
        let magic = self.clone();
        let checked = batches.map(move |batch| {
            magic.leases.live(&*magic.latch, &lease)?;
            batch
        });
        Ok((schema, checked.boxed()))
    }

    fn check_lease(&self, lease: Option<&str>, seq: CommitSeq) -> Result<()> {
        let Some(name) = lease else { return Ok(()) };
        let pinned = self.leases.live(&*self.latch, name)?.seq();
        if pinned != seq {
            return Err(Error::Invalid(format!("the lease is of seq {pinned}, not of {seq}")));
        }
        Ok(())
    }

    /// A seq of another buffer is another state.
    fn check_lineage(&self, lineage: Option<&str>) -> Result<()> {
        let Some(wanted) = lineage else { return Ok(()) };
        if !self.far_latch {
            return Err(Error::Invalid("this engine has a latch of its own: take the lease there".into()));
        }
        if self.desk()?.lineage().as_deref() == Some(wanted) {
            return Ok(());
        }
        Err(Error::SnapshotExpired("the lease is of another Data Buffer than this engine's rows".into()))
    }

    /// Names decide, so a table is looked up in the catalog of the seq that is read.
    fn check_table(&self, rights: &Rights, seq: CommitSeq, table: TableId) -> Result<()> {
        rights.check(Right::Read)?;
        if rights.reads_all() {
            return Ok(());
        }
        rights.check_table(&self.engine.catalog(seq)?.table(table)?.def.name)
    }

    fn schema(&self, split: &Split) -> Result<SchemaRef> {
        let catalog = self.engine.catalog(split.seq)?;
        let def = &catalog.table(split.table)?.def;
        let missing = |id| Error::NotFound(format!("column {id} of {} at seq {}", def.name, split.seq));
        let fields = split.columns.iter().map(|id| {
            let column = def.columns.iter().find(|c| c.id == *id).ok_or_else(|| missing(id))?;
            Ok(field(column))
        });
        Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
    }

    fn about(&self) -> About {
        let published = self.engine.published_seq();
        let own = || About { upstream: self.upstream.clone(), waiting: None };
        self.desk.as_ref().map_or_else(own, |desk| desk.about(published))
    }

    pub(crate) fn desk(&self) -> Result<&Desk> {
        self.desk.as_deref().ok_or_else(|| Error::Invalid("this engine keeps nothing of its writer".into()))
    }

    /// Fences every writer before, then notes whose seqs the engine has. A buffer that is anew begins where everything is durable:
    /// nothing that was published before is in it.
    async fn begin_writer(&self, ask: &BeginWriter) -> Result<()> {
        let desk = self.desk()?;
        let mut open = self.writable()?.lock().await;
        desk.admit(ask, self.engine.published_seq())?;
        let epoch = WriterEpoch(ask.epoch);
        let writer = self.engine.open_writer(epoch).await?;
        *open = Some(Open { epoch, writer });
        if ask.anew {
            self.engine.flush().await?;
        }
        desk.begun(ask)
    }

    /// Fences every writer of an older epoch, and makes everything published durable. Nobody has begun to write by that.
    async fn fence_writer(&self, epoch: WriterEpoch) -> Result<()> {
        let mut open = self.writable()?.lock().await;
        let writer = self.engine.open_writer(epoch).await?;
        *open = Some(Open { epoch, writer });
        self.engine.flush().await.map(|_| ())
    }

    async fn open_writer(&self, epoch: WriterEpoch) -> Result<()> {
        let mut open = self.writable()?.lock().await;
        self.desk.as_ref().map_or(Ok(()), |desk| desk.check(epoch.0))?;
        let writer = self.engine.open_writer(epoch).await?;
        *open = Some(Open { epoch, writer });
        Ok(())
    }

    /// Stages rows that came as a batch with `_seq` and `_op`.
    ///
    /// # Errors
    /// As [`StoreWriter::stage`]; [`Error::Invalid`] for a batch that is none of the table, [`Error::Denied`] for a caller who may not.
    pub async fn stage(&self, caller: &Caller, stage: Stage, batch: &RecordBatch) -> Result<()> {
        caller.rights.check(Right::Write)?;
        let changes = rows::of_batch(stage.table, stage.version, batch)?;
        self.stage_step(stage.epoch, DecodedStep::Rows(changes)).await
    }

    async fn stage_step(&self, epoch: u64, step: DecodedStep) -> Result<()> {
        let mut open = self.writable()?.lock().await;
        of_epoch(&mut open, epoch)?.stage(step).await
    }
}

/// The open writer, if it is of this epoch.
fn of_epoch(open: &mut Option<Open>, epoch: u64) -> Result<&mut dyn StoreWriter> {
    let found = open.as_ref().map(|open| open.epoch.0);
    match (open, found) {
        (Some(open), Some(own)) if own == epoch => Ok(&mut *open.writer),
        (_, Some(newest)) if newest > epoch => Err(Error::Fenced { mine: epoch, newest }),
        _ => {
            Err(Error::Closed(format!("no writer of epoch {epoch} is open here: the server restarted; open it again")))
        }
    }
}

/// `SnapshotExpired` once versions that a snapshot needs may be gone.
fn still_kept(engine: &dyn StoreEngine, seq: CommitSeq) -> Result<()> {
    let horizon = engine.horizon();
    if seq < horizon {
        return Err(Error::SnapshotExpired(format!("seq {seq} is below the horizon {horizon}: its lease has lapsed")));
    }
    Ok(())
}

/// Stands for a latch in another process.
struct FarLatch;

impl FarLatch {
    fn refused<T>() -> Result<T> {
        Err(Error::Invalid("this engine is at a latch of another process (--latch): ask that one".into()))
    }
}

#[async_trait]
impl Latch for FarLatch {
    async fn acquire(&self, _: Freshness, _: Duration, _: Duration) -> Result<SnapshotLease> {
        FarLatch::refused()
    }

    fn renew(&self, _: &SnapshotLease, _: Duration) -> Result<()> {
        FarLatch::refused()
    }

    fn check(&self, _: &SnapshotLease) -> Result<()> {
        FarLatch::refused()
    }

    fn grant_writer(&self) -> Result<WriterEpoch> {
        FarLatch::refused()
    }

    fn horizon(&self) -> CommitSeq {
        CommitSeq::ZERO
    }
}

fn answer<T: Serialize>(message: T) -> Result<Vec<u8>> {
    encode(message)
}
