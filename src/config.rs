//! One set of settings out of command line, environment, file and defaults, checked before anything starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytesize::ByteSize;
use serde::Deserialize;
use tidelake_engine::{Compression, ObjectPlace};

use crate::access::args::{EngineLoginArgs, EtcdArgs, LatchArgs, MysqlTlsArgs, TlsArgs};
use crate::access::users::UserConfig;
use crate::access::{Access, AccessConfig};
use crate::cli::{CompressionArg, FreshnessArg, LogFormat, RunArgs, ServeArgs};
use crate::feed;

/// Shortest interval of the Magic Writer.
pub const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// Longest interval of the Magic Writer.
pub const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// Everything a pipeline needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where from.
    pub source: SourceSettings,
    /// Table patterns; `None`: all.
    pub tables: Option<String>,
    /// Where Tidelake keeps its data.
    pub data_dir: PathBuf,
    /// MySQL protocol listener.
    pub mysql_listen: SocketAddr,
    /// Flight SQL listener.
    pub flight_listen: SocketAddr,
    /// HTTP listener.
    pub http_listen: SocketAddr,
    /// Where to write the ports in use.
    pub ports_file: Option<PathBuf>,
    /// First interval of the Magic Writer.
    pub interval: Duration,
    /// Data Buffer limit, bytes.
    pub buffer_limit: u64,
    /// Memtable limit, bytes.
    pub memtable_limit: u64,
    /// Where the engine's files are; `None`: in the data directory.
    pub engine_storage: Option<ObjectPlace>,
    /// Bytes of data files in the data directory if they are in an object store.
    pub engine_cache: u64,
    /// How the engine compresses its base files.
    pub engine_compression: Compression,
    /// Longest time without a flush.
    pub flush_interval: Duration,
    /// How far back the past can be read.
    pub retention: Duration,
    /// Memory for queries, bytes.
    pub query_memory: u64,
    /// Who may connect.
    pub access: Arc<Access>,
    /// Default freshness of sessions.
    pub freshness: FreshnessArg,
    /// Time zone sessions begin in; `None`: the upstream's.
    pub time_zone: Option<String>,
    /// Log format.
    pub log_format: LogFormat,
    /// Log filter.
    pub log: String,
}

/// Where from.
#[derive(Clone, Debug)]
pub enum SourceSettings {
    /// A server.
    Service {
        /// With credentials: never log it.
        url: String,
        /// Rows per chunk of the initial copy.
        copy_chunk_rows: usize,
        /// Chunks read at the same time, of one large table or of several.
        copy_threads: usize,
        /// Our replica server id, if given.
        server_id: Option<u32>,
    },
    /// A change feed of TiDB (`feed`).
    Feed {
        /// What was given: `ticdc-storage:...`. May hold credentials: never log it.
        url: String,
        /// Wait for more at the end.
        follow: bool,
        /// `--copy-from`: what to copy first. May hold credentials: never log it.
        copy_from: Option<String>,
        /// Rows per chunk of that copy.
        copy_chunk_rows: usize,
        /// Tables copied at the same time.
        copy_threads: usize,
    },
    /// A directory of binlog files.
    Files {
        /// The directory.
        dir: PathBuf,
        /// Wait for more at the end.
        follow: bool,
    },
}

/// The file: the same names as the options.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct FileConfig {
    pub(crate) engine: Option<String>,
    pub(crate) magic_listen: Option<SocketAddr>,
    pub(crate) latch: Option<String>,
    pub(crate) latch_listen: Option<SocketAddr>,
    pub(crate) latch_backend: Option<String>,
    pub(crate) engine_patience: Option<String>,
    pub(crate) etcd_ca: Option<PathBuf>,
    pub(crate) etcd_cert: Option<PathBuf>,
    pub(crate) etcd_key: Option<PathBuf>,
    pub(crate) etcd_user: Option<String>,
    pub(crate) etcd_password_file: Option<PathBuf>,
    pub(crate) latch_token_file: Option<PathBuf>,
    pub(crate) latch_ca: Option<PathBuf>,
    pub(crate) latch_cert: Option<PathBuf>,
    pub(crate) latch_key: Option<PathBuf>,
    pub(crate) source: Option<String>,
    pub(crate) copy_from: Option<String>,
    pub(crate) tables: Option<String>,
    pub(crate) follow: Option<bool>,
    pub(crate) copy_chunk_rows: Option<usize>,
    pub(crate) copy_threads: Option<usize>,
    pub(crate) server_id: Option<u32>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) mysql_listen: Option<SocketAddr>,
    pub(crate) flight_listen: Option<SocketAddr>,
    pub(crate) http_listen: Option<SocketAddr>,
    pub(crate) ports_file: Option<PathBuf>,
    pub(crate) interval: Option<String>,
    pub(crate) buffer_limit: Option<ByteSize>,
    pub(crate) memtable_limit: Option<ByteSize>,
    pub(crate) engine_storage: Option<String>,
    pub(crate) engine_cache: Option<ByteSize>,
    pub(crate) engine_compression: Option<CompressionArg>,
    pub(crate) flush_interval: Option<String>,
    pub(crate) retention: Option<String>,
    pub(crate) query_memory: Option<ByteSize>,
    #[serde(default)]
    pub(crate) users: Vec<UserConfig>,
    pub(crate) mysql_tls_cert: Option<PathBuf>,
    pub(crate) mysql_tls_key: Option<PathBuf>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) tls_client_ca: Option<PathBuf>,
    pub(crate) engine_token_file: Option<PathBuf>,
    pub(crate) engine_ca: Option<PathBuf>,
    pub(crate) engine_cert: Option<PathBuf>,
    pub(crate) engine_key: Option<PathBuf>,
    pub(crate) insecure_listen: Option<bool>,
    pub(crate) freshness: Option<FreshnessArg>,
    pub(crate) time_zone: Option<String>,
    pub(crate) log_format: Option<LogFormat>,
    pub(crate) log: Option<String>,
}

/// Where what is asked for comes from and goes.
struct Place {
    /// The configuration file.
    config: Option<PathBuf>,
    /// The data directory if none is given.
    default_dir: Option<PathBuf>,
}

impl FileConfig {
    /// The command line wins, certificate and key together.
    pub(crate) fn tls(&self, given: TlsArgs) -> TlsArgs {
        let own = given.tls_cert.is_some() || given.tls_key.is_some();
        TlsArgs {
            tls_cert: given.tls_cert.or_else(|| self.tls_cert.clone().filter(|_| !own)),
            tls_key: given.tls_key.or_else(|| self.tls_key.clone().filter(|_| !own)),
            tls_client_ca: given.tls_client_ca.or_else(|| self.tls_client_ca.clone()),
        }
    }

    /// As [`FileConfig::tls`].
    pub(crate) fn mysql_tls(&self, given: MysqlTlsArgs) -> MysqlTlsArgs {
        if given.mysql_tls_cert.is_some() || given.mysql_tls_key.is_some() {
            return given;
        }
        MysqlTlsArgs { mysql_tls_cert: self.mysql_tls_cert.clone(), mysql_tls_key: self.mysql_tls_key.clone() }
    }

    /// Where the latch is, and how to come in there.
    pub(crate) fn latch(&self, given: LatchArgs) -> LatchArgs {
        let own = given.latch_cert.is_some() || given.latch_key.is_some();
        let named = || self.latch.iter().flat_map(|all| all.split(',')).map(|one| one.trim().to_owned()).collect();
        LatchArgs {
            latch: if given.latch.is_empty() { named() } else { given.latch },
            latch_token_file: given.latch_token_file.or_else(|| self.latch_token_file.clone()),
            latch_ca: given.latch_ca.or_else(|| self.latch_ca.clone()),
            latch_cert: given.latch_cert.or_else(|| self.latch_cert.clone().filter(|_| !own)),
            latch_key: given.latch_key.or_else(|| self.latch_key.clone().filter(|_| !own)),
        }
    }

    /// How to come in at etcd. The command line wins, certificate and key together, and user and password.
    pub(crate) fn etcd(&self, given: EtcdArgs) -> EtcdArgs {
        let own = given.etcd_cert.is_some() || given.etcd_key.is_some();
        let user = given.etcd_user.is_some();
        EtcdArgs {
            etcd_ca: given.etcd_ca.or_else(|| self.etcd_ca.clone()),
            etcd_cert: given.etcd_cert.or_else(|| self.etcd_cert.clone().filter(|_| !own)),
            etcd_key: given.etcd_key.or_else(|| self.etcd_key.clone().filter(|_| !own)),
            etcd_user: given.etcd_user.or_else(|| self.etcd_user.clone()),
            etcd_password_file: given.etcd_password_file.or_else(|| self.etcd_password_file.clone().filter(|_| !user)),
        }
    }

    /// How to come in at the engine.
    pub(crate) fn engine_login(&self, given: EngineLoginArgs) -> EngineLoginArgs {
        let own = given.engine_cert.is_some() || given.engine_key.is_some();
        EngineLoginArgs {
            engine_token_file: given.engine_token_file.or_else(|| self.engine_token_file.clone()),
            engine_ca: given.engine_ca.or_else(|| self.engine_ca.clone()),
            engine_cert: given.engine_cert.or_else(|| self.engine_cert.clone().filter(|_| !own)),
            engine_key: given.engine_key.or_else(|| self.engine_key.clone().filter(|_| !own)),
        }
    }
}

impl Settings {
    /// Settings of `tidelake run`.
    ///
    /// # Errors
    /// A missing or wrong option, with its name and what to write instead.
    pub fn from_run(args: RunArgs) -> Result<Settings> {
        let file = read_file(args.config.as_deref())?;
        let Some(source) = args.source.or(file.source.clone()) else {
            bail!(
                "no source given: add --source mysql://USER:PASSWORD@HOST:PORT (or another source, see `tidelake run --help`), or try `tidelake demo`"
            );
        };
        let copy_from = args.copy_from.or(file.copy_from.clone());
        if copy_from.is_some() && feed::kind_of(&source).is_none() {
            bail!(
                "--copy-from is for feeds of TiDB (ticdc-storage:, kafka:, drainer:); other sources copy by themselves, or have everything in their files"
            );
        }
        let chunk_rows = positive("copy-chunk-rows", args.copy_chunk_rows.or(file.copy_chunk_rows), 20_000)?;
        let threads = positive("copy-threads", args.copy_threads.or(file.copy_threads), 2)?;
        let source = if let Some(dir) = source.strip_prefix("file:") {
            let dir = PathBuf::from(dir.strip_prefix("//").unwrap_or(dir));
            SourceSettings::Files { dir, follow: args.follow || file.follow.unwrap_or(false) }
        } else if feed::kind_of(&source).is_some() {
            SourceSettings::Feed {
                url: source,
                follow: args.follow || file.follow.unwrap_or(false),
                copy_from,
                copy_chunk_rows: chunk_rows,
                copy_threads: threads,
            }
        } else {
            SourceSettings::Service {
                url: source,
                copy_chunk_rows: chunk_rows,
                copy_threads: threads,
                server_id: args.server_id.or(file.server_id),
            }
        };
        let tables = args.tables.or(file.tables.clone());
        let place = Place { config: args.config, default_dir: None };
        Settings::assemble(source, tables, args.serve, file, place)
    }

    /// Settings of `tidelake demo`, which reads the binlog files in `binlog_dir` below its data directory.
    ///
    /// # Errors
    /// As for [`Settings::from_run`].
    pub fn from_demo(serve: ServeArgs) -> Result<Settings> {
        let data_dir = serve.data_dir.clone().unwrap_or_else(|| PathBuf::from("tidelake-demo"));
        let source = SourceSettings::Files { dir: data_dir.join("upstream-binlog"), follow: false };
        let place = Place { config: None, default_dir: Some(data_dir) };
        Settings::assemble(source, None, serve, FileConfig::default(), place)
    }

    fn assemble(
        source: SourceSettings,
        tables: Option<String>,
        serve: ServeArgs,
        file: FileConfig,
        Place { config, default_dir }: Place,
    ) -> Result<Settings> {
        let Some(data_dir) = serve.data_dir.or(file.data_dir.clone()).or(default_dir) else {
            bail!("no data directory given: add --data-dir DIR (it is created if missing)");
        };
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let interval = duration("interval", serve.interval, file.interval.as_deref(), Duration::from_millis(100))?;
        check_interval(interval)?;
        let mysql_listen = serve.mysql_listen.or(file.mysql_listen).unwrap_or(local(4001));
        let flight_listen = serve.flight_listen.or(file.flight_listen).unwrap_or(local(8815));
        let http_listen = serve.http_listen.or(file.http_listen).unwrap_or(local(8080));
        let access = AccessConfig {
            users: file.users.clone(),
            file: config,
            tls: file.tls(serve.tls),
            mysql_tls: file.mysql_tls(serve.mysql_tls),
            insecure_listen: serve.insecure_listen || file.insecure_listen.unwrap_or(false),
        };
        let listeners =
            [("--mysql-listen", mysql_listen), ("--flight-listen", flight_listen), ("--http-listen", http_listen)];
        let access = access.open(&listeners)?;
        Ok(Settings {
            source,
            tables,
            data_dir,
            mysql_listen,
            flight_listen,
            http_listen,
            access,
            ports_file: serve.ports_file.or(file.ports_file),
            interval,
            buffer_limit: size("buffer-limit", serve.buffer_limit.or(file.buffer_limit), ByteSize::gib(8))?,
            memtable_limit: size("memtable-limit", serve.memtable_limit.or(file.memtable_limit), ByteSize::mib(256))?,
            engine_storage: serve
                .engine_storage
                .or(file.engine_storage)
                .map(|url| ObjectPlace::parse(&url).context("engine-storage"))
                .transpose()?,
            engine_cache: size("engine-cache", serve.engine_cache.or(file.engine_cache), ByteSize::gib(16))?,
            engine_compression: serve.engine_compression.or(file.engine_compression).unwrap_or_default().into(),
            flush_interval: duration(
                "flush-interval",
                serve.flush_interval,
                file.flush_interval.as_deref(),
                Duration::from_secs(60),
            )?,
            retention: duration("retention", serve.retention, file.retention.as_deref(), Duration::from_secs(15 * 60))?,
            query_memory: size("query-memory", serve.query_memory.or(file.query_memory), ByteSize::gib(1))?,
            time_zone: serve.time_zone.or(file.time_zone),
            freshness: serve.freshness.or(file.freshness).unwrap_or_default(),
            log_format: serve.log_format.or(file.log_format).unwrap_or_default(),
            log: serve.log.or(file.log).unwrap_or_else(|| "info".into()),
        })
    }
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

/// The configuration file, or nothing.
///
/// # Errors
/// A file that cannot be read, or has unknown keys.
pub(crate) fn read_file(path: Option<&Path>) -> Result<FileConfig> {
    let Some(path) = path else { return Ok(FileConfig::default()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("read configuration file {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("configuration file {}", path.display()))
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
pub(crate) fn size(name: &str, given: Option<ByteSize>, default: ByteSize) -> Result<u64> {
    let bytes = given.unwrap_or(default).as_u64();
    if bytes < 1 << 20 {
        bail!("{name} is {bytes} bytes: it must be at least 1MiB");
    }
    Ok(bytes)
}

fn positive(name: &str, given: Option<usize>, default: usize) -> Result<usize> {
    match given.unwrap_or(default) {
        0 => bail!("{name} must be at least 1"),
        n => Ok(n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_args(source: &str) -> RunArgs {
        let serve = ServeArgs { data_dir: Some("d".into()), ..ServeArgs::default() };
        RunArgs { source: Some(source.into()), serve, ..RunArgs::default() }
    }

    #[test]
    fn a_directory_of_files_is_a_source() {
        let settings = Settings::from_run(run_args("file:/var/lib/mysql")).expect("settings");
        assert!(
            matches!(settings.source, SourceSettings::Files { dir, follow: false } if dir == Path::new("/var/lib/mysql"))
        );
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("t.toml");
        std::fs::write(&path, "interval = \"5s\"\ncopy-threads = 7\nbuffer-limit = \"2GiB\"\n").expect("write");
        let mut args = run_args("mysql://u@h");
        args.config = Some(path);
        args.serve.interval = Some(Duration::from_millis(7));
        let settings = Settings::from_run(args).expect("settings");
        assert_eq!(settings.interval, Duration::from_millis(7));
        assert_eq!(settings.buffer_limit, 2 << 30);
        assert!(matches!(settings.source, SourceSettings::Service { copy_threads: 7, .. }));
    }

    #[test]
    fn only_feeds_are_copied_from_elsewhere() {
        let args = |source: &str| RunArgs { copy_from: Some("dumpling:d".into()), ..run_args(source) };
        let settings = Settings::from_run(args("ticdc-storage:/sink")).expect("settings");
        assert!(matches!(settings.source, SourceSettings::Feed { copy_from: Some(from), .. } if from == "dumpling:d"));
        let message = Settings::from_run(args("mysql://u@h")).unwrap_err().to_string();
        assert!(message.contains("--copy-from"), "{message}");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("t.toml");
        std::fs::write(&path, "intervall = \"5s\"\n").expect("write");
        let args = RunArgs { config: Some(path), ..run_args("mysql://u@h") };
        let message = format!("{:#}", Settings::from_run(args).unwrap_err());
        assert!(message.contains("intervall"), "{message}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let message = Settings::from_run(RunArgs::default()).unwrap_err().to_string();
        assert!(message.contains("--source"), "{message}");
        assert!(check_interval(Duration::from_micros(10)).is_err());
    }
}
