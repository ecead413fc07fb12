//! Settings of the processes out of command line, environment, file and defaults, checked before anything starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytesize::ByteSize;
use tidelake_engine::{Compression, ObjectPlace};

use super::args::{CommonArgs, EngineServeArgs, QueryArgs, WriterArgs};
use crate::access::args::{EngineLoginArgs, MysqlTlsArgs};
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

/// Settings of the engine's process.
pub struct EngineSettings {
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

/// Settings of a query process.
pub struct QuerySettings {
    /// The engine's Magic API.
    pub engine: EnginePlace,
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
    let Some(data_dir) = args.data_dir.or(file.data_dir) else {
        bail!("no data directory given: add --data-dir DIR (it is created if missing)");
    };
    let magic_listen = args.magic_listen.or(file.magic_listen).unwrap_or(local(8816));
    let listeners = [("--magic-listen", magic_listen), ("--http-listen", common.http_listen)];
    let access = common.access.clone().open(&listeners)?;
    Ok(EngineSettings {
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

/// Settings of a writer, as those of `tidelake run`; and the engine.
///
/// # Errors
/// As for [`of_engine`].
pub fn of_writer(args: WriterArgs) -> Result<(Settings, EnginePlace)> {
    let file = read_file(args.common.config.as_deref())?;
    let (run, engine, login) = args.split();
    let engine = some_engine(engine, login, &file)?;
    Ok((Settings::from_run(run)?, engine))
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
        engine: some_engine(args.engine, args.engine_login, &file)?,
        mysql_listen,
        flight_listen,
        access,
        query_memory: size("query-memory", args.query_memory.or(file.query_memory), ByteSize::gib(1))?,
        freshness: args.freshness.or(file.freshness).unwrap_or_default(),
        time_zone: args.time_zone.or(file.time_zone),
        common,
    })
}

fn some_engine(engine: Option<String>, login: EngineLoginArgs, file: &FileConfig) -> Result<EnginePlace> {
    let address = engine.or_else(|| file.engine.clone());
    let missing = "no engine given: add --engine HOST:PORT, where `tidelake engine` listens (--magic-listen)";
    Ok(EnginePlace { address: address.context(missing)?, login: file.engine_login(login) })
}
