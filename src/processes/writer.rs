//! `tidelake writer`: source, Data Buffer and Magic Writer, for an engine in another process.
//!
//! Fetching goes on whatever the engine does. What needs the engine, a *turn* of the Magic Writer, the copies and the answers to the
//! latch's questions, ends when the engine is lost and begins again, with a new epoch, when it is back: from the seq that the
//! engine then has.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tidelake_api::{Connection, FlightStore, RemoteLatch, WriterLine, new_name};
use tidelake_binlog::service::UpstreamServer;
use tidelake_core::ports::{Buffer, Source, StoreEngine};
use tidelake_core::{CommitSeq, Error, env};
use tidelake_writer::{MagicWriter, WriterHandle};
use tokio_util::sync::CancellationToken;

use super::args::WriterArgs;
use super::lineage::Lineage;
use super::settings::EnginePlace;
use super::{connect, may_come_back, settings, until_answered, upstream_probe};
use crate::config::Settings;
use crate::data_dir::DataDir;
use crate::listeners::{StatusAddress, write_ports};
use crate::pipeline::{Parts, Pipeline, open_buffer, writer_parts};
use crate::probe::PipelineProbe;
use crate::run::runtime;
use crate::upstream::Upstream;
use crate::where_from::{address, open_source, source_kind};
use crate::wishes::Kept;
use crate::{doctor, http, logging, progress, shutdown};

/// How long the Magic Writer of an ended turn has to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// `tidelake writer`.
///
/// # Errors
/// A wrong option, a wrong upstream setting, a failed part, another writer that has taken over.
pub fn writer(args: WriterArgs) -> Result<()> {
    let (settings, places) = settings::of_writer(args)?;
    logging::init(settings.common.log_format, &settings.common.log)?;
    if !places.latches.is_empty() {
        return runtime()?.block_on(super::fed::serve(settings, &places));
    }
    let engine = places.engines.first().context("no engine is named")?;
    runtime()?.block_on(serve(settings, engine))
}

async fn serve(settings: Settings, engine: &EnginePlace) -> Result<()> {
    let server = doctor::preflight(&settings).await?;
    let cancel = CancellationToken::new();
    shutdown::on_signals(cancel.clone())?;
    let connection = connect(engine)?;
    let Some((work, line)) = open(&settings, connection, server.as_ref(), &cancel).await? else { return Ok(()) };
    let work = Arc::new(work);
    let pipeline = work.pipeline.clone();
    pipeline.start_stream(&work.dir).await?;
    let (own, first) = (work.clone(), line);
    pipeline.add_task("Magic Writer", tokio::spawn(async move { own.turns(first).await }));
    until_ended(&settings, &pipeline, &cancel).await
}

/// Shows how a writer's pipeline is, until it ends or is cancelled; then all of it is stopped.
///
/// # Errors
/// A port that is taken, and what the pipeline ended with.
pub(super) async fn until_ended(
    settings: &Settings,
    pipeline: &Arc<Pipeline>,
    cancel: &CancellationToken,
) -> Result<()> {
    settings.access.reload_on_hangup(cancel.clone())?;
    let routes = http::of_pipeline(pipeline.clone(), http::install_metrics()?);
    let (http, _) = http::serve(&settings.access, settings.common.http_listen, routes, cancel.child_token()).await?;
    if let Some(file) = &settings.common.ports_file {
        write_ports(file, &[("http", &http)])?;
    }
    eprintln!("{}", StatusAddress(&settings.access, http));
    let bars = tokio::spawn(progress::show_copies(pipeline.clone(), cancel.clone()));
    let ended = pipeline.wait().await;
    cancel.cancel();
    let stopped = pipeline.stop().await;
    let _ = bars.await;
    ended.and(stopped)
}

/// What outlives a turn.
struct Work {
    settings: Settings,
    dir: DataDir,
    connection: Connection,
    store: Arc<dyn StoreEngine>,
    source: Arc<dyn Source>,
    buffer: Arc<dyn Buffer>,
    probe: Arc<PipelineProbe>,
    upstream: Option<serde_json::Value>,
    lineage: parking_lot::Mutex<Lineage>,
    pipeline: Arc<Pipeline>,
    cancel: CancellationToken,
}

/// Takes over writing and opens everything, once the engine answers; `None` if cancelled before.
async fn open(
    settings: &Settings,
    connection: Connection,
    server: Option<&UpstreamServer>,
    cancel: &CancellationToken,
) -> Result<Option<(Work, WriterLine)>> {
    let dir = DataDir::open(&settings.data_dir, source_kind(settings), &address(settings))?;
    let upstream = Upstream::learn(settings, server, &dir)?.map(serde_json::to_value).transpose()?;
    let kept = Kept::load(&dir)?;
    let (source, service) = open_source(settings, &kept, &dir)?;
    let Some((line, lineage)) = take_over(&dir, &connection, cancel).await? else { return Ok(None) };
    let buffer: Arc<dyn Buffer> = open_buffer(&dir, settings)?;
    let what = "the engine cannot be reached";
    let store = until_answered(what, cancel, || FlightStore::over(connection.clone())).await?;
    let Some(store) = store else { return Ok(None) };
    let store: Arc<dyn StoreEngine> = Arc::new(store);
    let probe = Arc::new(PipelineProbe::new(source.clone(), buffer.clone()));
    let writer = WriterHandle::idle(settings.moving.interval);
    let latch = Arc::new(RemoteLatch::over(connection.clone()));
    let parts = Parts {
        source: source.clone(),
        service,
        kept,
        buffer: buffer.clone(),
        engine: store.clone(),
        latch,
        serving: None,
        writer,
    };
    let pipeline = Pipeline::of(parts, settings, &dir, cancel.clone())?;
    let (settings, cancel) = (settings.clone(), cancel.clone());
    let lineage = parking_lot::Mutex::new(lineage);
    let work = Work { settings, dir, connection, store, source, buffer, probe, upstream, lineage, pipeline, cancel };
    Ok(Some((work, line)))
}

/// The first turn's line. A writer without a buffer goes on where the engine is, and begins its buffer there.
async fn take_over(
    dir: &DataDir,
    connection: &Connection,
    cancel: &CancellationToken,
) -> Result<Option<(WriterLine, Lineage)>> {
    let known = Lineage::load(dir)?;
    let name = known.as_ref().map_or_else(new_name, |lineage| lineage.name.clone());
    let anew = known.is_none();
    let begin = || WriterLine::begin(connection.clone(), &name, anew);
    let Some((line, now)) = until_answered("the engine cannot be reached", cancel, begin).await? else {
        return Ok(None);
    };
    let lineage = match known {
        Some(known) => known,
        None => {
            anyhow::ensure!(now.durable.seq == CommitSeq::ZERO || now.durable.position.is_known(), super::NO_PLACE);
            let begun = Lineage { name, begin: now.durable, caught_up: false };
            begun.keep(dir)?;
            begun
        }
    };
    let Lineage { begin, .. } = &lineage;
    tidelake_buffer::DiskBuffer::begin_after(&dir.buffer(), begin.seq, &begin.position)
        .context("begin the Data Buffer")?;
    if anew && begin.seq > CommitSeq::ZERO {
        tracing::info!(seq = %begin.seq, position = %begin.position, "taking over where the engine is");
    }
    Ok(Some((line, lineage)))
}

impl Work {
    /// One turn after the other, until cancelled or until trying again mends nothing.
    async fn turns(&self, mut line: WriterLine) -> Result<()> {
        loop {
            let ended = self.turn(&line).await;
            match ended {
                _ if self.cancel.is_cancelled() => {
                    if let Err(error) = ended {
                        tracing::warn!(%error, "the engine did not take the last rows; the buffer keeps them");
                    }
                    return Ok(());
                }
                Ok(()) => {}
                Err(error) if may_come_back(&error) => {
                    metrics::counter!("tidelake_writer_turns_lost_total").increment(1);
                    tracing::warn!(%error, "the engine was lost; fetching goes on, writing begins again when it is back");
                }
                Err(error) => return Err(error).context("write to the engine"),
            }
            let name = self.lineage.lock().name.clone();
            let begin = || WriterLine::begin(self.connection.clone(), &name, false);
            match until_answered("the engine cannot be reached", &self.cancel, begin).await? {
                Some((next, now)) => {
                    tracing::info!(published = %now.published.seq, epoch = next.epoch().0, "writing begins again");
                    line = next;
                }
                None => return Ok(()),
            }
        }
    }

    /// Writes, copies and answers until one of the three ends.
    async fn turn(&self, line: &WriterLine) -> Result<(), Error> {
        let end = self.cancel.child_token();
        let parts =
            writer_parts(&self.settings, &self.source, &self.buffer, &self.store, line.epoch(), end.child_token());
        let writer = MagicWriter::start(parts).await?;
        // Changed while it ran, it stays as it is.
        writer.set_interval(self.pipeline.writer().interval())?;
        self.probe.wake(writer.clone());
        self.pipeline.set_writer(writer.clone());
        let copies = self.source.copy_tables(self.store.clone(), self.buffer.clone(), end.child_token());
        let probe = self.probe.clone();
        let answers = line.answer(move |question| upstream_probe::answer(probe.clone(), question));
        let ended = tokio::select! {
            ended = watch(&writer) => ended,
            Err(error) = copies => Err(error),
            Err(error) = answers => Err(error),
            Err(error) = self.let_read(line) => Err(error),
        };
        end.cancel();
        match env::timeout(PATIENCE, writer.join()).await {
            Ok(Err(error)) => ended.and(Err(error)),
            Ok(Ok(())) => ended,
            Err(_) => {
                tracing::warn!("the Magic Writer of the lost turn does not end; leaving it, it is fenced");
                ended
            }
        }
    }

    /// Tells the engine what readers need to know: at once, and again when it is known that nothing is shown that is older than what
    /// anybody saw before.
    async fn let_read(&self, line: &WriterLine) -> Result<(), Error> {
        let copies = self.source.can_copy();
        let caught_up = self.lineage.lock().caught_up;
        // What this buffer has is all that the engine ever showed.
        let ready = caught_up.then(|| *self.buffer.head().borrow());
        line.tell(copies, self.upstream.clone(), ready).await?;
        if ready.is_none() {
            let ready = upstream_probe::seq_of_head(&*self.source, &self.probe).await?;
            let lineage = Lineage { caught_up: true, ..self.lineage.lock().clone() };
            lineage.keep(&self.dir).map_err(|e| Error::Internal(format!("{e:#}")))?;
            *self.lineage.lock() = lineage;
            line.tell(copies, self.upstream.clone(), Some(ready)).await?;
        }
        std::future::pending().await
    }
}

/// Until the writer has ended. It is joined by whoever asked.
async fn watch(writer: &WriterHandle) -> Result<(), Error> {
    let mut status = writer.watch_status();
    // The sender lives as long as the handle.
    let _ = status.wait_for(|status| status.state != tidelake_writer::WriterState::Running).await;
    Ok(())
}
