//! One process with every part in it: source -> Data Buffer -> Magic Writer -> Magic Engine <- SQL, with the Latch
//! Service between writer and readers, and the listeners in front.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use parking_lot::Mutex;
use tidelake_api::Magic;
use tidelake_binlog::service::{ReplicaParts, ServiceSource, UpstreamServer};
use tidelake_buffer::{BufferOptions, DiskBuffer};
use tidelake_calc::session::SqlService;
use tidelake_calc::sql::{SqlEngine, SqlOptions};
use tidelake_core::ports::{Buffer, Latch, Source, SourceState, StoreEngine};
use tidelake_core::{CommitSeq, TableName, WriterEpoch, env};
use tidelake_engine::{EngineOptions, MagicEngine};
use tidelake_latch::{LatchOptions, LocalLatch};
use tidelake_writer::{MagicWriter, WriterHandle, WriterOptions, WriterParts};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::data_dir::DataDir;
use crate::listeners::{Addresses, listen};
use crate::probe::PipelineProbe;
use crate::status::EngineReport;
use crate::upstream::Upstream;
use crate::verify::Verifier;
use crate::where_from::{address, filter, open_source, source_kind};
use crate::wishes::{Kept, Wishes};

/// A started pipeline.
pub struct Pipeline {
    /// Where from.
    pub source: Arc<dyn Source>,
    /// `--tables`.
    pub tables: String,
    /// Tables changed while it runs; `None` for a source of files or a feed.
    pub wishes: Option<Arc<Wishes>>,
    /// Compares with the upstream; `None` for a source of files or a feed.
    pub verifier: Option<Arc<Verifier>>,
    /// Data Buffer.
    pub buffer: Arc<dyn Buffer>,
    /// The engine, in this process or elsewhere.
    pub engine: Arc<dyn StoreEngine>,
    /// What serves readers; `None`: they read in other processes.
    pub serving: Option<Serving>,
    /// The Magic Writer of each engine. One that writes to an engine elsewhere begins anew when that was away.
    writers: Mutex<Vec<WriterHandle>>,
    /// What is known of several engines.
    engines: OnceLock<Box<dyn Fn() -> Vec<EngineReport> + Send + Sync>>,
    addresses: OnceLock<Addresses>,
    tasks: Mutex<Vec<Task>>,
    ready_at: CommitSeq,
    cancel: CancellationToken,
}

/// Engine and latch of this process, and what readers reach them by.
pub struct Serving {
    /// The engine, for its own figures.
    pub magic: Arc<MagicEngine>,
    /// Latch Service.
    pub latch: Arc<LocalLatch>,
    /// The Magic API, for readers elsewhere.
    pub magic_api: Arc<Magic>,
    /// SQL sessions.
    pub sql: Arc<dyn SqlService>,
}

/// What a pipeline is made of.
pub struct Parts {
    /// Where from.
    pub source: Arc<dyn Source>,
    /// The same once more, if it is a server.
    pub service: Option<Arc<ServiceSource>>,
    /// Tables changed while an earlier process ran.
    pub kept: Kept,
    /// Data Buffer.
    pub buffer: Arc<dyn Buffer>,
    /// The engine.
    pub engine: Arc<dyn StoreEngine>,
    /// Latch of that engine.
    pub latch: Arc<dyn Latch>,
    /// What serves readers.
    pub serving: Option<Serving>,
    /// Magic Writer.
    pub writer: WriterHandle,
}

/// A part that runs until cancelled; its name is for messages.
pub struct Task {
    /// What it is.
    pub name: &'static str,
    /// Ends with the part.
    pub handle: JoinHandle<Result<()>>,
}

impl Pipeline {
    /// Starts every part; when it returns, everything listens. `server`: what the upstream just said of itself.
    ///
    /// # Errors
    /// The first part that cannot start, and why.
    pub async fn start(
        settings: &Settings,
        server: Option<&UpstreamServer>,
        cancel: CancellationToken,
    ) -> Result<Arc<Pipeline>> {
        let dir = DataDir::open(&settings.data_dir, source_kind(settings), &address(settings))?;
        let upstream = Upstream::learn(settings, server, &dir)?;
        let kept = Kept::load(&dir)?;
        let (source, service) = open_source(settings, &kept, &dir)?;
        let buffer: Arc<dyn Buffer> = open_buffer(&dir, settings)?;
        let ready_at = *buffer.head().borrow();
        let magic = MagicEngine::open(EngineOptions {
            memtable_bytes: settings.memtable_limit,
            objects: settings.files.storage.clone(),
            cache_bytes: settings.files.cache,
            compression: settings.files.compression,
            ..EngineOptions::new(dir.engine())
        })
        .await
        .context("open the Magic Engine")?;
        let engine: Arc<dyn StoreEngine> = magic.clone();
        let probe = Arc::new(PipelineProbe::new(source.clone(), buffer.clone()));
        let options = LatchOptions { retention: settings.retention, ..LatchOptions::new(dir.latch(), ready_at) };
        let latch = LocalLatch::open(options, engine.clone(), probe.clone()).context("open the Latch Service")?;
        let epoch = latch.grant_writer().context("grant a writer epoch")?;
        let parts = writer_parts(settings, &source, &buffer, &engine, epoch, cancel.child_token());
        let writer = MagicWriter::start(parts).await.context("start the Magic Writer")?;
        probe.wake(writer.clone());
        let sql = SqlEngine::new(sql_options(settings, &dir, upstream.as_ref(), engine.clone(), latch.clone())?)?;
        let about = upstream.as_ref().map(serde_json::to_value).transpose()?;
        let magic_api = Magic::for_readers(engine.clone(), latch.clone(), about);
        let serving = Some(Serving { magic, latch: latch.clone(), magic_api, sql });
        let parts = Parts { source, service, kept, buffer, engine, latch, serving, writer };
        let pipeline = Pipeline::of(parts, settings, &dir, cancel)?;
        pipeline.start_stream(&dir).await?;
        pipeline.start_copies();
        let addresses = listen(settings, &pipeline).await?;
        let _ = pipeline.addresses.set(addresses);
        Ok(pipeline)
    }

    /// Puts the parts together; nothing is read from the source yet.
    ///
    /// # Errors
    /// A pattern of tables that cannot be read.
    pub fn of(parts: Parts, settings: &Settings, dir: &DataDir, cancel: CancellationToken) -> Result<Arc<Pipeline>> {
        let Parts { source, service, kept, buffer, engine, latch, serving, writer } = parts;
        let replica = ReplicaParts { engine: engine.clone(), buffer: buffer.clone(), latch };
        let verifier = service.as_ref().map(|service| Verifier::new(service.clone(), replica, cancel.child_token()));
        let wishes = service
            .map(|service| anyhow::Ok(Wishes::start(dir, filter(settings)?, kept, service, cancel.child_token())))
            .transpose()?;
        Ok(Arc::new(Pipeline {
            ready_at: *buffer.head().borrow(),
            source,
            tables: settings.tables.clone().unwrap_or_default(),
            wishes,
            verifier,
            buffer,
            engine,
            serving,
            writers: Mutex::new(vec![writer]),
            engines: OnceLock::new(),
            addresses: OnceLock::new(),
            tasks: Mutex::new(Vec::new()),
            cancel,
        }))
    }

    /// Streaming starts at a position that was fixed before any copy begins, so no change falls between the two.
    ///
    /// # Errors
    /// If the position cannot be had or kept.
    pub async fn start_stream(&self, dir: &DataDir) -> Result<()> {
        let after = match self.last_position() {
            Some(position) => Some(position),
            None => dir.stream_start(|| self.first_position()).await?,
        };
        let (source, buffer, cancel) = (self.source.clone(), self.buffer.clone(), self.cancel.child_token());
        let stream =
            tokio::spawn(async move { source.stream(after, buffer, cancel).await.context("read the bin log") });
        self.add_task("source", stream);
        Ok(())
    }

    fn start_copies(&self) {
        let (source, buffer, engine) = (self.source.clone(), self.buffer.clone(), self.engine.clone());
        let cancel = self.cancel.child_token();
        let copies =
            tokio::spawn(async move { source.copy_tables(engine, buffer, cancel).await.context("copy tables") });
        self.add_task("initial copy", copies);
    }

    /// Where the stream goes on: what the buffer has read, or what the engine has if the buffer knows nothing. An engine may be further than a
    /// buffer that began where another engine is; what is between the two must be read again.
    fn last_position(&self) -> Option<tidelake_core::SourcePosition> {
        let read = self.buffer.read_position().borrow().clone();
        let durable = self.engine.durable().borrow().position.clone();
        read.into_iter().chain([durable]).find(|p| !p.token.is_empty())
    }

    async fn first_position(&self) -> Result<Option<tidelake_core::SourcePosition>> {
        self.source.first_position().await.context("read the upstream's position")
    }

    /// The writer that runs, or ran last; of several engines, that of the first.
    pub fn writer(&self) -> WriterHandle {
        self.writers.lock().first().cloned().unwrap_or_else(|| WriterHandle::idle(Duration::from_millis(100)))
    }

    /// Another one took its place.
    pub fn set_writer(&self, writer: WriterHandle) {
        self.set_writer_at(0, writer);
    }

    /// The same of one of several engines.
    pub fn set_writer_at(&self, engine: usize, writer: WriterHandle) {
        let mut writers = self.writers.lock();
        let interval = writers.first().map_or(Duration::from_millis(100), WriterHandle::interval);
        while writers.len() <= engine {
            writers.push(WriterHandle::idle(interval));
        }
        if let Some(own) = writers.get_mut(engine) {
            *own = writer;
        }
    }

    /// How several engines are to be reported.
    pub fn tell_engines(&self, report: impl Fn() -> Vec<EngineReport> + Send + Sync + 'static) {
        let _ = self.engines.set(Box::new(report));
    }

    /// Several engines; none if there is one.
    pub fn engines(&self) -> Vec<EngineReport> {
        self.engines.get().map_or_else(Vec::new, |report| report())
    }

    /// Adds a part to be watched.
    pub fn add_task(&self, name: &'static str, handle: JoinHandle<Result<()>>) {
        self.tasks.lock().push(Task { name, handle });
    }

    /// Until cancelled (`Ok`) or a part fails. A source that has read all its files is no failure.
    ///
    /// # Errors
    /// The part that failed, and why.
    pub async fn wait(&self) -> Result<()> {
        loop {
            if let Some(reason) = self.failure() {
                return Err(anyhow!(reason));
            }
            tokio::select! {
                () = self.cancel.cancelled() => return Ok(()),
                () = env::sleep(Duration::from_millis(100)) => {}
            }
            self.check_tasks().await?;
        }
    }

    async fn check_tasks(&self) -> Result<()> {
        let ended: Vec<Task> = {
            let mut tasks = self.tasks.lock();
            let (ended, running) = std::mem::take(&mut *tasks).into_iter().partition(|t| t.handle.is_finished());
            *tasks = running;
            ended
        };
        for task in ended {
            task.handle.await.with_context(|| format!("{} panicked", task.name))??;
        }
        Ok(())
    }

    /// Ends every part cleanly: the source first, then the writer with a last publish and flush.
    ///
    /// # Errors
    /// What failed while ending.
    pub async fn stop(&self) -> Result<()> {
        self.cancel.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            let limit = Duration::from_secs(20);
            match env::timeout(limit, task.handle).await {
                Ok(ended) => ended.with_context(|| format!("{} panicked", task.name))??,
                Err(_) => tracing::warn!(part = task.name, "did not end in 20 s; leaving it"),
            }
        }
        let writers = self.writers.lock().clone();
        for writer in writers {
            writer.join().await.context("end the Magic Writer")?;
        }
        Ok(())
    }

    /// Why the pipeline can do no more, if so.
    pub fn failure(&self) -> Option<String> {
        let source = self.source.status();
        if source.state == SourceState::Failed {
            return Some(format!("the source failed: {}", source.reason));
        }
        // Who writes to an engine elsewhere tries again by itself.
        self.serving.as_ref().and_then(|_| self.writer().failure())
    }

    /// Why readers must wait, if so: after a restart nobody may see an older state than one already served
    /// (invariant 7), so everything that was in the buffer is replayed first.
    pub fn not_ready(&self) -> Option<String> {
        let published = self.engine.published_seq();
        if published < self.ready_at {
            return Some(format!("replaying after a restart: {published} of {}", self.ready_at));
        }
        self.failure()
    }

    /// True if the replica has the table, in whatever state.
    pub fn has_table(&self, name: &TableName) -> bool {
        let published = self.engine.published_seq();
        let catalog = self.engine.catalog(published);
        catalog.is_ok_and(|catalog| catalog.tables.values().any(|entry| entry.def.name == *name))
    }

    /// Changes the Magic Writer's interval, at once.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn set_interval(&self, interval: Duration) -> Result<()> {
        let writers = self.writers.lock().clone();
        writers.iter().try_for_each(|writer| writer.set_interval(interval)).context("set the interval")
    }

    /// For listeners: cancelled when the pipeline is.
    pub fn listener_token(&self) -> CancellationToken {
        self.cancel.child_token()
    }

    /// What a person does next.
    pub fn how_to_connect(&self) -> String {
        self.addresses.get().map_or_else(String::new, ToString::to_string)
    }

    /// The addresses in use.
    pub fn addresses(&self) -> Option<&Addresses> {
        self.addresses.get()
    }
}

/// The Data Buffer.
///
/// # Errors
/// A directory that is in use, damaged or foreign.
pub fn open_buffer(dir: &DataDir, settings: &Settings) -> Result<Arc<DiskBuffer>> {
    let options = BufferOptions {
        limit_bytes: settings.moving.buffer_limit,
        history: settings.retention,
        ..BufferOptions::new(dir.buffer())
    };
    DiskBuffer::open(options).context("open the Data Buffer")
}

/// What a Magic Writer works with.
pub fn writer_parts(
    settings: &Settings,
    source: &Arc<dyn Source>,
    buffer: &Arc<dyn Buffer>,
    engine: &Arc<dyn StoreEngine>,
    epoch: WriterEpoch,
    cancel: CancellationToken,
) -> WriterParts {
    let source = source.clone();
    WriterParts {
        buffer: buffer.clone(),
        engine: engine.clone(),
        epoch,
        decoders: Arc::new(move || source.decoder()),
        options: WriterOptions {
            interval: settings.moving.interval,
            flush_interval: settings.moving.flush_interval,
            flush_bytes: settings.memtable_limit,
            ..WriterOptions::default()
        },
        cancel,
    }
}

fn sql_options(
    settings: &Settings,
    dir: &DataDir,
    upstream: Option<&Upstream>,
    engine: Arc<dyn StoreEngine>,
    latch: Arc<dyn Latch>,
) -> Result<SqlOptions> {
    let options = SqlOptions::new(engine, latch, upstream.map(|u| u.flavor).unwrap_or_default());
    Ok(SqlOptions {
        server_version: upstream.map_or_else(|| options.server_version.clone(), Upstream::replica_version),
        zones: Upstream::zones(upstream, settings.sql.time_zone.as_deref())?,
        memory_limit_bytes: settings.sql.query_memory as usize,
        spill_dir: Some(dir.spill()),
        default_freshness: settings.sql.freshness.into(),
        ..options
    })
}
