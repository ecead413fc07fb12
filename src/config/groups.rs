//! The groups of `options`, out of command line, file and defaults, checked: what several commands have is settled here for all of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytesize::ByteSize;
use tidelake_engine::{Compression, ObjectPlace};

use super::file::FileConfig;
use crate::access::args::MysqlTlsArgs;
use crate::access::{Access, AccessConfig};
use crate::options::{
    EngineFilesArgs, FreshnessArg, LogFormat, MemtableArgs, MovingArgs, ProcessArgs, RetentionArgs, SqlServeArgs,
};

/// Shortest interval of the Magic Writer.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// Longest interval of the Magic Writer.
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// What everything that keeps running has.
#[derive(Clone, Debug)]
pub struct Common {
    /// HTTP listener.
    pub http_listen: SocketAddr,
    /// Where to write the ports in use.
    pub ports_file: Option<PathBuf>,
    /// Log format.
    pub log_format: LogFormat,
    /// Log filter.
    pub log: String,
    /// Who may connect, as it is configured; without a certificate of MySQL's listener.
    access: AccessConfig,
}

/// What SQL is served with.
#[derive(Clone, Debug)]
pub struct SqlSettings {
    /// MySQL protocol listener.
    pub mysql_listen: SocketAddr,
    /// Flight SQL listener.
    pub flight_listen: SocketAddr,
    /// Memory for queries, bytes.
    pub query_memory: u64,
    /// Default freshness of sessions.
    pub freshness: FreshnessArg,
    /// Time zone sessions begin in; `None`: the upstream's.
    pub time_zone: Option<String>,
    /// The certificate of the MySQL listener.
    mysql_tls: MysqlTlsArgs,
}

/// How data is moved on.
#[derive(Clone, Debug)]
pub struct Moving {
    /// First interval of the Magic Writer.
    pub interval: Duration,
    /// Data Buffer limit, bytes.
    pub buffer_limit: u64,
    /// Longest time without a flush.
    pub flush_interval: Duration,
}

/// The Magic Engine's files.
#[derive(Clone, Debug)]
pub struct EngineFiles {
    /// Where they are; `None`: in the data directory.
    pub storage: Option<ObjectPlace>,
    /// Bytes of data files in the data directory if they are in an object store.
    pub cache: u64,
    /// How base files are compressed.
    pub compression: Compression,
}

impl Common {
    /// Who may connect to a process that listens at `address`, as `option` says, and at its HTTP listener.
    ///
    /// # Errors
    /// As for [`AccessConfig::open`].
    pub fn open(&self, option: &str, address: SocketAddr) -> Result<Arc<Access>> {
        self.access.clone().open(&[(option, address), ("--http-listen", self.http_listen)])
    }
}

impl SqlSettings {
    /// Who may connect to a process that serves SQL.
    ///
    /// # Errors
    /// As for [`AccessConfig::open`].
    pub fn open(&self, common: &Common) -> Result<Arc<Access>> {
        let listeners = [
            ("--mysql-listen", self.mysql_listen),
            ("--flight-listen", self.flight_listen),
            ("--http-listen", common.http_listen),
        ];
        AccessConfig { mysql_tls: self.mysql_tls.clone(), ..common.access.clone() }.open(&listeners)
    }
}

impl FileConfig {
    /// `config` is the file itself, `http` the port of the HTTP listener if nothing is said of it.
    pub(crate) fn process(&self, given: ProcessArgs, config: Option<PathBuf>, http: u16) -> Common {
        Common {
            http_listen: given.http_listen.or(self.http_listen).unwrap_or(local(http)),
            ports_file: given.ports_file.or(self.ports_file.clone()),
            log_format: given.log_format.or(self.log_format).unwrap_or_default(),
            log: given.log.or(self.log.clone()).unwrap_or_else(|| "info".into()),
            access: AccessConfig {
                users: self.users.clone(),
                file: config,
                tls: self.tls(given.tls),
                mysql_tls: MysqlTlsArgs::default(),
                insecure_listen: given.insecure_listen || self.insecure_listen.unwrap_or(false),
            },
        }
    }

    pub(crate) fn sql(&self, given: SqlServeArgs) -> Result<SqlSettings> {
        Ok(SqlSettings {
            mysql_listen: given.mysql_listen.or(self.mysql_listen).unwrap_or(local(4001)),
            flight_listen: given.flight_listen.or(self.flight_listen).unwrap_or(local(8815)),
            query_memory: size("query-memory", given.query_memory.or(self.query_memory), ByteSize::gib(1))?,
            freshness: given.freshness.or(self.freshness).unwrap_or_default(),
            time_zone: given.time_zone.or(self.time_zone.clone()),
            mysql_tls: self.mysql_tls(given.mysql_tls),
        })
    }

    pub(crate) fn moving(&self, given: MovingArgs) -> Result<Moving> {
        let interval = duration("interval", given.interval, self.interval.as_deref(), Duration::from_millis(100))?;
        check_interval(interval)?;
        let flush = self.flush_interval.as_deref();
        Ok(Moving {
            interval,
            buffer_limit: size("buffer-limit", given.buffer_limit.or(self.buffer_limit), ByteSize::gib(8))?,
            flush_interval: duration("flush-interval", given.flush_interval, flush, Duration::from_secs(60))?,
        })
    }

    /// Bytes.
    pub(crate) fn memtable(&self, given: MemtableArgs) -> Result<u64> {
        size("memtable-limit", given.memtable_limit.or(self.memtable_limit), ByteSize::mib(256))
    }

    pub(crate) fn engine_files(&self, given: EngineFilesArgs) -> Result<EngineFiles> {
        let storage = given.engine_storage.or(self.engine_storage.clone());
        Ok(EngineFiles {
            storage: storage.map(|url| ObjectPlace::parse(&url).context("engine-storage")).transpose()?,
            cache: size("engine-cache", given.engine_cache.or(self.engine_cache), ByteSize::gib(16))?,
            compression: given.engine_compression.or(self.engine_compression).unwrap_or_default().into(),
        })
    }

    pub(crate) fn retention(&self, given: RetentionArgs) -> Result<Duration> {
        duration("retention", given.retention, self.retention.as_deref(), Duration::from_secs(15 * 60))
    }

    /// The data directory, or how to give one.
    pub(crate) fn data_dir(&self, given: Option<PathBuf>) -> Result<PathBuf> {
        let dir = given.or(self.data_dir.clone());
        dir.context("no data directory given: add --data-dir DIR (it is created if missing)")
    }
}

/// A port of this machine.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Refuses an interval out of range.
///
/// # Errors
/// Names the range.
pub fn check_interval(interval: Duration) -> Result<()> {
    if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
        let given = humantime::format_duration(interval);
        bail!("interval {given} is out of range: it must be between 1ms and 60s");
    }
    Ok(())
}

/// Out of option, file and default.
pub(crate) fn duration(name: &str, given: Option<Duration>, file: Option<&str>, default: Duration) -> Result<Duration> {
    match (given, file) {
        (Some(d), _) => Ok(d),
        (None, Some(text)) => {
            humantime::parse_duration(text).with_context(|| format!("{name} = {text:?} in the configuration file"))
        }
        (None, None) => Ok(default),
    }
}

/// Bytes out of option or file, and default.
fn size(name: &str, given: Option<ByteSize>, default: ByteSize) -> Result<u64> {
    let bytes = given.unwrap_or(default).as_u64();
    if bytes < 1 << 20 {
        bail!("{name} is {bytes} bytes: it must be at least 1MiB");
    }
    Ok(bytes)
}
