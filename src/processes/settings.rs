//! Settings of the processes out of command line, environment, file and defaults, checked before anything starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};

use super::args::{CommonArgs, EngineServeArgs, EnginesArgs, LatchServeArgs, QueryArgs, WriterArgs};
use crate::access::Access;
use crate::access::args::{EngineLoginArgs, EtcdArgs, LatchArgs};
use crate::config::{Common, EngineFiles, FileConfig, Settings, SqlSettings, duration, local, read_file};
use crate::options::http_port;

/// Where the engine is, and how to come in.
pub struct EnginePlace {
    /// `HOST:PORT` or a URL.
    pub address: String,
    /// Token and certificates.
    pub login: EngineLoginArgs,
}

/// Engines and, if it is a process of its own, their latch.
pub struct Places {
    /// At least one; several only with a latch.
    pub engines: Vec<EnginePlace>,
    /// The latches, of which one leads; empty: the latch is in the engine's process.
    pub latches: Vec<EnginePlace>,
}

/// Settings of the engine's process.
pub struct EngineSettings {
    /// The latches, of which one leads; empty: in this process.
    pub latches: Vec<EnginePlace>,
    /// Where the engine keeps its data.
    pub data_dir: PathBuf,
    /// Magic API listener.
    pub magic_listen: SocketAddr,
    /// Who may connect.
    pub access: Arc<Access>,
    /// Memtable limit, bytes.
    pub memtable_limit: u64,
    /// The engine's files.
    pub files: EngineFiles,
    /// How far back the past can be read.
    pub retention: Duration,
    /// What every process has.
    pub common: Common,
}

/// Where a latch keeps what it must not forget.
pub enum LatchBackend {
    /// A data directory.
    Dir(PathBuf),
    /// `etcd://...`, and how to come in there.
    Etcd(String, EtcdArgs),
}

/// Settings of the latch's process.
pub struct LatchSettings {
    /// Where it keeps what it must not forget.
    pub backend: LatchBackend,
    /// Listener for engines, writer and readers.
    pub latch_listen: SocketAddr,
    /// Who may connect.
    pub access: Arc<Access>,
    /// How long readers wait for an engine that lacks what another has.
    pub engine_patience: Duration,
    /// How far back the past can be read.
    pub retention: Duration,
    /// What every process has.
    pub common: Common,
}

/// Settings of a query process.
pub struct QuerySettings {
    /// Engines and latch.
    pub places: Places,
    /// What SQL is served with.
    pub sql: SqlSettings,
    /// Who may connect.
    pub access: Arc<Access>,
    /// What every process has.
    pub common: Common,
}

fn common(args: CommonArgs, http: u16) -> Result<(FileConfig, Common)> {
    let config = args.config.config;
    let file = read_file(config.as_deref())?;
    let common = file.process(args.process, config, http);
    Ok((file, common))
}

/// Settings of the engine's process.
///
/// # Errors
/// A missing or wrong option, with its name and what to write instead.
pub fn of_engine(args: EngineServeArgs) -> Result<EngineSettings> {
    let (file, common) = common(args.common, http_port::ENGINE)?;
    let data_dir = file.data_dir(args.data_dir)?;
    let magic_listen = args.magic_listen.or(file.magic_listen).unwrap_or(local(8816));
    let access = common.open("--magic-listen", magic_listen)?;
    let latches = latches(args.latch, &EngineLoginArgs::default(), &file);
    Ok(EngineSettings {
        latches,
        data_dir,
        magic_listen,
        access,
        memtable_limit: file.memtable(args.memtable)?,
        files: file.engine_files(args.files)?,
        retention: file.retention(args.retention)?,
        common,
    })
}

/// Settings of the latch's process.
///
/// # Errors
/// As for [`of_engine`].
pub fn of_latch(args: LatchServeArgs) -> Result<LatchSettings> {
    let (file, common) = common(args.common, http_port::LATCH)?;
    let etcd = file.etcd(args.etcd);
    let backend = match (args.latch_backend.or(file.latch_backend.clone()), args.data_dir.or(file.data_dir.clone())) {
        (Some(url), _) => LatchBackend::Etcd(url, etcd),
        (None, Some(dir)) => LatchBackend::Dir(dir),
        (None, None) => bail!(
            "nowhere to keep what a latch must not forget: add --data-dir DIR (it is created if missing) or --latch-backend \
             etcd://HOST:PORT"
        ),
    };
    let latch_listen = args.latch_listen.or(file.latch_listen).unwrap_or(local(8817));
    let access = common.open("--latch-listen", latch_listen)?;
    let patience =
        duration("engine-patience", args.engine_patience, file.engine_patience.as_deref(), Duration::from_secs(5))?;
    Ok(LatchSettings {
        backend,
        latch_listen,
        access,
        engine_patience: patience,
        retention: file.retention(args.retention)?,
        common,
    })
}

/// Settings of a writer, as those of `tidelake run`; engines and latch.
///
/// # Errors
/// As for [`of_engine`].
pub fn of_writer(args: WriterArgs) -> Result<(Settings, Places)> {
    let file = read_file(args.common.config.config.as_deref())?;
    let (run, engines) = args.split();
    let places = places(engines, &file)?;
    Ok((Settings::from_run(run)?, places))
}

/// Settings of a query process.
///
/// # Errors
/// As for [`of_engine`].
pub fn of_query(args: QueryArgs) -> Result<QuerySettings> {
    let (file, common) = common(args.common, http_port::QUERY)?;
    let sql = file.sql(args.sql)?;
    let access = sql.open(&common)?;
    let engines = EnginesArgs { engine: args.engine, login: args.engine_login, latch: args.latch };
    Ok(QuerySettings { places: places(engines, &file)?, sql, access, common })
}

fn places(args: EnginesArgs, file: &FileConfig) -> Result<Places> {
    let EnginesArgs { engine, login, latch } = args;
    let login = file.engine_login(login);
    let named = || file.engine.iter().flat_map(|all| all.split(',')).map(|one| one.trim().to_owned()).collect();
    let engines: Vec<String> = if engine.is_empty() { named() } else { engine };
    let latches = latches(latch, &login, file);
    if engines.is_empty() {
        bail!("no engine given: add --engine HOST:PORT, where `tidelake engine` listens (--magic-listen)");
    }
    if engines.len() > 1 && latches.is_empty() {
        bail!("several engines need a latch of their own: add --latch HOST:PORT, where `tidelake latch` listens");
    }
    if let Some(twice) = engines.iter().enumerate().find_map(|(at, e)| engines.get(..at)?.contains(e).then_some(e)) {
        bail!("the engine {twice} is given twice");
    }
    let place = |address| EnginePlace { address, login: login.clone() };
    Ok(Places { engines: engines.into_iter().map(place).collect(), latches })
}

/// The latches; what is not said of how to come in there is as for the engine.
fn latches(given: LatchArgs, engine: &EngineLoginArgs, file: &FileConfig) -> Vec<EnginePlace> {
    let LatchArgs { latch, latch_token_file, latch_ca, latch_cert, latch_key } = file.latch(given);
    let own = latch_cert.is_some() || latch_key.is_some();
    let login = EngineLoginArgs {
        engine_token_file: latch_token_file.or_else(|| engine.engine_token_file.clone()),
        engine_ca: latch_ca.or_else(|| engine.engine_ca.clone()),
        engine_cert: latch_cert.or_else(|| engine.engine_cert.clone().filter(|_| !own)),
        engine_key: latch_key.or_else(|| engine.engine_key.clone().filter(|_| !own)),
    };
    latch.into_iter().map(|address| EnginePlace { address, login: login.clone() }).collect()
}
