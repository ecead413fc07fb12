//! Settings of the processes out of command line, environment, file and defaults, checked before anything starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytesize::ByteSize;
use tidelake_engine::{Compression, ObjectPlace};

use super::args::{CommonArgs, EngineServeArgs, EnginesArgs, LatchServeArgs, QueryArgs, WriterArgs};
use crate::access::args::{EngineLoginArgs, EtcdArgs, LatchArgs, MysqlTlsArgs};
use crate::access::{Access, AccessConfig};
use crate::cli::{FreshnessArg, LogFormat};
use crate::config::{FileConfig, Settings, duration, read_file, size};

/// Settings that every process has.
pub struct Common {
    /// HTTP listener.
    pub http_listen: SocketAddr,
    /// Where to write the ports in use.
    pub ports_file: Option<PathBuf>,
    /// Log format.
    pub log_format: LogFormat,
    /// Log filter.
    pub log: String,
    access: AccessConfig,
}

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
    /// Where the engine's files are; `None`: in the data directory.
    pub engine_storage: Option<ObjectPlace>,
    /// Bytes of data files in the data directory if they are in an object store.
    pub engine_cache: u64,
    /// How the engine compresses its base files.
    pub engine_compression: Compression,
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
    /// MySQL protocol listener.
    pub mysql_listen: SocketAddr,
    /// Flight SQL listener.
    pub flight_listen: SocketAddr,
    /// Who may connect.
    pub access: Arc<Access>,
    /// Memory for queries, bytes.
    pub query_memory: u64,
    /// Default freshness of sessions.
    pub freshness: FreshnessArg,
    /// Time zone sessions begin in; `None`: the upstream's.
    pub time_zone: Option<String>,
    /// What every process has.
    pub common: Common,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn common(args: CommonArgs, file: &FileConfig) -> Common {
    Common {
        http_listen: args.http_listen.or(file.http_listen).unwrap_or(local(8080)),
        ports_file: args.ports_file.or(file.ports_file.clone()),
        log_format: args.log_format.or(file.log_format).unwrap_or_default(),
        log: args.log.or(file.log.clone()).unwrap_or_else(|| "info".into()),
        access: AccessConfig {
            users: file.users.clone(),
            file: args.config,
            tls: file.tls(args.tls),
            mysql_tls: MysqlTlsArgs::default(),
            insecure_listen: args.insecure_listen || file.insecure_listen.unwrap_or(false),
        },
    }
}

/// Settings of the engine's process.
///
/// # Errors
/// A missing or wrong option, with its name and what to write instead.
pub fn of_engine(args: EngineServeArgs) -> Result<EngineSettings> {
    let file = read_file(args.common.config.as_deref())?;
    let common = common(args.common, &file);
    let Some(data_dir) = args.data_dir.or(file.data_dir.clone()) else {
        bail!("no data directory given: add --data-dir DIR (it is created if missing)");
    };
    let magic_listen = args.magic_listen.or(file.magic_listen).unwrap_or(local(8816));
    let listeners = [("--magic-listen", magic_listen), ("--http-listen", common.http_listen)];
    let access = common.access.clone().open(&listeners)?;
    let latches = latches(args.latch, &EngineLoginArgs::default(), &file);
    Ok(EngineSettings {
        latches,
        data_dir,
        magic_listen,
        access,
        memtable_limit: size("memtable-limit", args.memtable_limit.or(file.memtable_limit), ByteSize::mib(256))?,
        engine_storage: args
            .engine_storage
            .or(file.engine_storage)
            .map(|url| ObjectPlace::parse(&url).context("engine-storage"))
            .transpose()?,
        engine_cache: size("engine-cache", args.engine_cache.or(file.engine_cache), ByteSize::gib(16))?,
        engine_compression: args.engine_compression.or(file.engine_compression).unwrap_or_default().into(),
        retention: duration("retention", args.retention, file.retention.as_deref(), Duration::from_secs(15 * 60))?,
        common,
    })
}

/// Settings of the latch's process.
///
/// # Errors
/// As for [`of_engine`].
pub fn of_latch(args: LatchServeArgs) -> Result<LatchSettings> {
    let file = read_file(args.common.config.as_deref())?;
    let common = common(args.common, &file);
    let etcd = file.etcd(args.etcd);
    let backend = match (args.latch_backend.or(file.latch_backend), args.data_dir.or(file.data_dir)) {
        (Some(url), _) => LatchBackend::Etcd(url, etcd),
        (None, Some(dir)) => LatchBackend::Dir(dir),
        (None, None) => bail!(
            "nowhere to keep what a latch must not forget: add --data-dir DIR (it is created if missing) or --latch-backend \
             etcd://HOST:PORT"
        ),
    };
    let latch_listen = args.latch_listen.or(file.latch_listen).unwrap_or(local(8817));
    let listeners = [("--latch-listen", latch_listen), ("--http-listen", common.http_listen)];
    let access = common.access.clone().open(&listeners)?;
    let patience =
        duration("engine-patience", args.engine_patience, file.engine_patience.as_deref(), Duration::from_secs(5))?;
    Ok(LatchSettings {
        backend,
        latch_listen,
        access,
        engine_patience: patience,
        retention: duration("retention", args.retention, file.retention.as_deref(), Duration::from_secs(15 * 60))?,
        common,
    })
}

/// Settings of a writer, as those of `tidelake run`; engines and latch.
///
/// # Errors
/// As for [`of_engine`].
pub fn of_writer(args: WriterArgs) -> Result<(Settings, Places)> {
    let file = read_file(args.common.config.as_deref())?;
    let (run, engines) = args.split();
    let places = places(engines, &file)?;
    Ok((Settings::from_run(run)?, places))
}

/// Settings of a query process.
///
/// # Errors
/// As for [`of_engine`].
pub fn of_query(args: QueryArgs) -> Result<QuerySettings> {
    let file = read_file(args.common.config.as_deref())?;
    let common = common(args.common, &file);
    let mysql_listen = args.mysql_listen.or(file.mysql_listen).unwrap_or(local(4001));
    let flight_listen = args.flight_listen.or(file.flight_listen).unwrap_or(local(8815));
    let config = AccessConfig { mysql_tls: file.mysql_tls(args.mysql_tls), ..common.access.clone() };
    let listeners =
        [("--mysql-listen", mysql_listen), ("--flight-listen", flight_listen), ("--http-listen", common.http_listen)];
    let access = config.open(&listeners)?;
    Ok(QuerySettings {
        places: places(EnginesArgs { engine: args.engine, login: args.engine_login, latch: args.latch }, &file)?,
        mysql_listen,
        flight_listen,
        access,
        query_memory: size("query-memory", args.query_memory.or(file.query_memory), ByteSize::gib(1))?,
        freshness: args.freshness.or(file.freshness).unwrap_or_default(),
        time_zone: args.time_zone.or(file.time_zone),
        common,
    })
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
