//! `tidelake writer --latch`: one source and one Data Buffer for several engines.
//!
//! Each engine has *turns* of its own: a Magic Writer with its own epoch, that begins where the engine is and ends when it is lost. So one engine that is
//! away, slow or refused holds up no other; the buffer keeps what it lacks. The *session* with the latch, by which readers learn from when on they may
//! read and their questions are answered, ends and begins again apart from all turns; so do the copies, which look at one engine that is there.
//!
//! Rooms: `session` and `copies`, beside the turns here; `shares` the buffer of all; `takeover` a buffer that begins where the engines are; `adopt` an engine that is further than that.

mod adopt;
mod copies;
mod session;
mod shares;
pub(crate) mod takeover;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tidelake_api::wire::Before;
use tidelake_api::{Connection, FleetLine, FleetStore, FlightStore, LatchLine, RemoteLatch, fence, join};
use tidelake_core::ports::{Buffer, Source, StoreEngine};
use tidelake_core::{CommitSeq, Error, WriterEpoch, env};
use tidelake_writer::{MagicWriter, WriterHandle};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::lineage::Lineage;
use super::settings::Places;
use super::writer::until_ended;
use super::{AGAIN, connect, latch_line, may_come_back, upstream_probe};
use crate::config::Settings;
use crate::data_dir::DataDir;
use crate::pipeline::{Parts, Pipeline, open_buffer, writer_parts};
use crate::probe::PipelineProbe;
use crate::status::EngineReport;
use crate::upstream::Upstream;
use crate::where_from::{OpenedSource, address, open_source, source_kind};
use crate::wishes::Kept;
use crate::{doctor, shutdown};
use shares::Shares;

/// How long the Magic Writer of an ended turn has to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before an engine that was refused is tried again.
const REFUSED: Duration = Duration::from_secs(10);

/// One engine.
struct Engine {
    address: String,
    connection: Connection,
    store: Arc<FlightStore>,
    state: Mutex<State>,
}

/// What is done with an engine.
#[derive(Clone, Debug, PartialEq)]
enum State {
    Waiting(String),
    Writing,
    Refused(String),
}

/// What outlives turns and sessions.
pub(crate) struct Work {
    settings: Settings,
    dir: DataDir,
    line: Arc<LatchLine>,
    engines: Vec<Engine>,
    source: Arc<dyn Source>,
    buffer: Arc<dyn Buffer>,
    shares: Arc<Shares>,
    probe: Arc<PipelineProbe>,
    upstream: Option<serde_json::Value>,
    lineage: Mutex<Lineage>,
    /// Buffers whose seqs are this one's too, as the latch says.
    ancestors: watch::Sender<Option<Vec<Before>>>,
    /// Which engines are written to.
    writing: watch::Sender<Vec<bool>>,
    pipeline: Arc<Pipeline>,
    cancel: CancellationToken,
}

/// Serves until cancelled.
///
/// # Errors
/// A wrong upstream setting, a failed part, another writer that has taken over.
pub async fn serve(settings: Settings, places: &Places) -> Result<()> {
    let server = doctor::preflight(&settings).await?;
    let cancel = CancellationToken::new();
    shutdown::on_signals(cancel.clone())?;
    let dir = DataDir::open(&settings.data_dir, source_kind(&settings), &address(&settings))?;
    let upstream = Upstream::learn(&settings, server.as_ref(), &dir)?.map(serde_json::to_value).transpose()?;
    let line = latch_line(&places.latches)?;
    let connect = |place: &super::settings::EnginePlace| anyhow::Ok((place.address.clone(), connect(place)?));
    let connections: Vec<(String, Connection)> = places.engines.iter().map(connect).collect::<Result<_>>()?;
    let Some(lineage) = takeover::lineage(&dir, &line, &connections, &cancel).await? else { return Ok(()) };
    let kept = Kept::load(&dir)?;
    let opened = open_source(&settings, &kept, &dir)?;
    let work = Arc::new(open(Begun { settings, dir, upstream, line, connections, lineage, kept }, opened, &cancel)?);
    work.begin().await?;
    until_ended(&work.settings, &work.pipeline, &cancel).await
}

/// What there is once it is known where the buffer begins.
pub(crate) struct Begun {
    pub settings: Settings,
    pub dir: DataDir,
    pub upstream: Option<serde_json::Value>,
    pub line: Arc<LatchLine>,
    pub connections: Vec<(String, Connection)>,
    pub lineage: Lineage,
    pub kept: Kept,
}

pub(crate) fn open(begun: Begun, (source, service): OpenedSource, cancel: &CancellationToken) -> Result<Work> {
    let Begun { settings, dir, upstream, line, connections, lineage, kept } = begun;
    let buffer: Arc<dyn Buffer> = open_buffer(&dir, &settings)?;
    let all: Vec<Connection> = connections.iter().map(|(_, connection)| connection.clone()).collect();
    let fleet = FleetStore::new(&all, line.clone())?;
    let probe = Arc::new(PipelineProbe::new(source.clone(), buffer.clone()));
    let parts = Parts {
        source: source.clone(),
        service,
        kept,
        buffer: buffer.clone(),
        engine: fleet.clone(),
        latch: Arc::new(RemoteLatch::at(line.clone())),
        serving: None,
        writer: WriterHandle::idle(settings.moving.interval),
    };
    let pipeline = Pipeline::of(parts, &settings, &dir, cancel.clone())?;
    let engines: Vec<Engine> = connections
        .into_iter()
        .zip(fleet.stores())
        .map(|((address, connection), store)| {
            let state = Mutex::new(State::Waiting("not reached yet".into()));
            Engine { address, connection, store: store.clone(), state }
        })
        .collect();
    let count = engines.len();
    Ok(Work {
        settings,
        dir,
        line,
        engines,
        source,
        shares: Shares::new(buffer.clone(), count),
        buffer,
        probe,
        upstream,
        lineage: Mutex::new(lineage),
        ancestors: watch::Sender::new(None),
        writing: watch::Sender::new(vec![false; count]),
        pipeline,
        cancel: cancel.clone(),
    })
}

impl Work {
    /// Reads, writes and copies from now on.
    pub(crate) async fn begin(self: &Arc<Self>) -> Result<()> {
        let reported = Arc::downgrade(self);
        self.pipeline.tell_engines(move || reported.upgrade().map_or_else(Vec::new, |work| work.report()));
        self.pipeline.start_stream(&self.dir).await?;
        self.start();
        Ok(())
    }

    /// What runs, and ends when one of its parts fails.
    #[cfg(test)]
    pub(crate) fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// Starts everything that goes on by itself.
    fn start(self: &Arc<Self>) {
        let own = self.clone();
        let session = tokio::spawn(async move { own.sessions().await.context("the session with the latch") });
        self.pipeline.add_task("session with the latch", session);
        for at in 0..self.engines.len() {
            let own = self.clone();
            self.pipeline.add_task("Magic Writer", tokio::spawn(async move { own.turns(at).await }));
        }
        let own = self.clone();
        let copies = tokio::spawn(async move { own.copies().await.context("copy tables") });
        self.pipeline.add_task("initial copy", copies);
    }

    fn name(&self) -> String {
        self.lineage.lock().name.clone()
    }

    /// One engine's turns, until cancelled or until trying again mends nothing for any engine.
    async fn turns(&self, at: usize) -> Result<()> {
        let Some(engine) = self.engines.get(at) else { return Ok(()) };
        loop {
            let ended = self.turn(at, engine).await;
            self.set_writing(at, false);
            if self.cancel.is_cancelled() {
                if let Err(Ended::Replaced(error) | Ended::Engine(error)) = ended {
                    tracing::warn!(engine = %engine.address, %error, "the engine did not take the last rows; the buffer keeps them");
                }
                return Ok(());
            }
            let pause = match ended {
                Ok(()) => AGAIN,
                Err(Ended::Replaced(error)) => return Err(error).context("write to the engines"),
                Err(Ended::Engine(error)) if takeover::is_refused(&error) => {
                    self.refused(engine, &error)?;
                    REFUSED
                }
                Err(Ended::Engine(error)) if may_come_back(&error) || matches!(error, Error::Fenced { .. }) => {
                    self.lost(engine, &error);
                    AGAIN
                }
                Err(Ended::Engine(error)) => {
                    return Err(error).with_context(|| format!("write to the engine at {}", engine.address));
                }
            };
            tokio::select! {
                () = self.cancel.cancelled() => return Ok(()),
                () = env::sleep(pause) => {}
            }
        }
    }

    fn lost(&self, engine: &Engine, error: &Error) {
        metrics::counter!("tidelake_writer_turns_lost_total").increment(1);
        let mut state = engine.state.lock();
        if !matches!(*state, State::Waiting(_)) {
            tracing::warn!(
                engine = %engine.address, %error,
                "the engine was lost; fetching goes on, writing to it begins again when it is back"
            );
        }
        *state = State::Waiting(error.to_string());
    }

    /// It can go on without this engine, if there is another.
    fn refused(&self, engine: &Engine, error: &Error) -> Result<()> {
        tracing::error!(
            engine = %engine.address, %error,
            "the engine cannot go on with this writer's buffer: let it begin with another engine's files, or leave it out"
        );
        *engine.state.lock() = State::Refused(error.to_string());
        let all = self.engines.iter().all(|engine| matches!(*engine.state.lock(), State::Refused(_)));
        anyhow::ensure!(!all, "no engine can go on with this writer's buffer: {error}");
        Ok(())
    }

    /// Takes over writing to an engine.
    async fn join(&self, engine: &Engine) -> Result<WriterEpoch, Ended> {
        let mut ancestors = self.ancestors.subscribe();
        let known = ancestors.wait_for(Option::is_some).await.ok().and_then(|known| known.clone()).unwrap_or_default();
        let name = self.name();
        let epoch = match FleetLine::grant(&self.line, Some(&name)).await {
            Ok(epoch) => epoch,
            Err(error @ Error::Invalid(_)) => return Err(Ended::Replaced(error)),
            Err(error) => return Err(Ended::Engine(error)),
        };
        let begin = self.lineage.lock().begin.seq;
        let fed = fence(&engine.connection, epoch).await.map_err(Ended::Engine)?;
        let known = adopt::ancestors(&self.buffer, &name, begin, &known, &fed).await.map_err(Ended::Engine)?;
        let fed = join(&engine.connection, epoch, &name, &known).await.map_err(Ended::Engine)?;
        tracing::info!(engine = %engine.address, published = %fed.published.seq, epoch = epoch.0, "writing begins");
        Ok(epoch)
    }

    /// Writes until the engine is lost.
    async fn turn(&self, at: usize, engine: &Engine) -> Result<(), Ended> {
        let epoch = tokio::select! {
            () = self.cancel.cancelled() => return Ok(()),
            joined = self.join(engine) => joined?,
        };
        let end = self.cancel.child_token();
        let store: Arc<dyn StoreEngine> = engine.store.clone();
        let parts = writer_parts(&self.settings, &self.source, &self.shares.of(at), &store, epoch, end.child_token());
        let writer = MagicWriter::start(parts).await.map_err(Ended::Engine)?;
        // Changed while it ran, it stays as it is.
        let interval = self.pipeline.writer().interval();
        writer.set_interval(interval).map_err(Ended::Engine)?;
        self.probe.wake_at(at, writer.clone());
        self.pipeline.set_writer_at(at, writer.clone());
        *engine.state.lock() = State::Writing;
        self.set_writing(at, true);
        let followed = self.follow(at, engine, &writer).await;
        end.cancel();
        match env::timeout(PATIENCE, writer.join()).await {
            Ok(ended) => followed.and(ended).map_err(Ended::Engine),
            Err(_) => {
                tracing::warn!("the Magic Writer of the lost turn does not end; leaving it, it is fenced");
                Ok(())
            }
        }
    }

    /// Until the writer has ended. It is joined by whoever asked.
    ///
    /// # Errors
    /// `Closed` if the engine has less than was published: it restarted. While upstream is idle nothing is written, and nothing else would tell.
    async fn follow(&self, at: usize, engine: &Engine, writer: &WriterHandle) -> Result<(), Error> {
        let (mut status, mut published) = (writer.watch_status(), engine.store.published());
        loop {
            let (state, applied) = {
                let status = status.borrow_and_update();
                (status.state, status.applied)
            };
            self.shares.published(at, applied);
            let has = published.borrow_and_update().seq;
            if has < applied {
                return Err(Error::Closed(format!(
                    "the engine restarted: it has seq {has}, and {applied} was published"
                )));
            }
            if state != tidelake_writer::WriterState::Running {
                return Ok(());
            }
            let ended = tokio::select! {
                biased;
                changed = status.changed() => changed.is_err(),
                changed = published.changed() => changed.is_err(),
            };
            if ended {
                return Ok(());
            }
        }
    }

    fn set_writing(&self, at: usize, now: bool) {
        self.writing.send_if_modified(|all| {
            let Some(own) = all.get_mut(at) else { return false };
            std::mem::replace(own, now) != now
        });
    }

    /// For status.
    fn report(&self) -> Vec<EngineReport> {
        let needs = self.shares.needs();
        let of = |(engine, needs): (&Engine, &shares::Needs)| {
            let (state, reason) = match engine.state.lock().clone() {
                State::Waiting(reason) => ("waiting", reason),
                State::Writing => ("writing", String::new()),
                State::Refused(reason) => ("refused", reason),
            };
            EngineReport {
                address: engine.address.clone(),
                state: state.into(),
                reason,
                published: engine.store.published_seq().0,
                durable: engine.store.durable().borrow().seq.0,
                needs_after: needs.released.unwrap_or(CommitSeq::ZERO).0,
            }
        };
        self.engines.iter().zip(&needs).map(of).collect()
    }
}

/// Why a turn ended.
enum Ended {
    /// Another writer has taken over.
    Replaced(Error),
    /// The engine was lost, or refuses.
    Engine(Error),
}
