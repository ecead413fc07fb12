//! One set of settings out of command line, environment, file and defaults, checked before anything starts.
//!
//! Rooms: `file` the configuration file; `groups` what several commands have; here what a pipeline needs.

mod file;
mod groups;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::access::Access;
use crate::cli::{RunArgs, ServeArgs};
use crate::feed;
use crate::options::{SourceArgs, http_port};

pub(crate) use file::{FileConfig, read_file};
pub use groups::{Common, EngineFiles, Moving, SqlSettings, check_interval};
pub(crate) use groups::{duration, local};

/// Everything a pipeline needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where from.
    pub source: SourceSettings,
    /// Table patterns; `None`: all.
    pub tables: Option<String>,
    /// Where Tidelake keeps its data.
    pub data_dir: PathBuf,
    /// What SQL is served with.
    pub sql: SqlSettings,
    /// Buffer and writer.
    pub moving: Moving,
    /// Memtable limit, bytes.
    pub memtable_limit: u64,
    /// The engine's files.
    pub files: EngineFiles,
    /// How far back the past can be read.
    pub retention: Duration,
    /// Who may connect.
    pub access: Arc<Access>,
    /// What everything that keeps running has.
    pub common: Common,
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

impl Settings {
    /// Settings of `tidelake run`.
    ///
    /// # Errors
    /// A missing or wrong option, with its name and what to write instead.
    pub fn from_run(args: RunArgs) -> Result<Settings> {
        let config = args.config.config;
        let file = read_file(config.as_deref())?;
        let tables = args.source.tables.clone().or(file.tables.clone());
        let source = SourceSettings::of(args.source, &file)?;
        Settings::assemble(source, tables, args.serve, &file, config)
    }

    /// Settings of `tidelake demo`, which reads the binlog files in `binlog_dir` below its data directory.
    ///
    /// # Errors
    /// As for [`Settings::from_run`].
    pub fn from_demo(serve: ServeArgs) -> Result<Settings> {
        let data_dir = serve.data_dir.clone().unwrap_or_else(|| PathBuf::from("tidelake-demo"));
        let source = SourceSettings::Files { dir: data_dir.join("upstream-binlog"), follow: false };
        let serve = ServeArgs { data_dir: Some(data_dir), ..serve };
        Settings::assemble(source, None, serve, &FileConfig::default(), None)
    }

    fn assemble(
        source: SourceSettings,
        tables: Option<String>,
        serve: ServeArgs,
        file: &FileConfig,
        config: Option<PathBuf>,
    ) -> Result<Settings> {
        let data_dir = file.data_dir(serve.data_dir)?;
        let sql = file.sql(serve.sql)?;
        let common = file.process(serve.process, config, http_port::WRITER);
        let access = sql.open(&common)?;
        Ok(Settings {
            source,
            tables,
            data_dir,
            sql,
            moving: file.moving(serve.moving)?,
            memtable_limit: file.memtable(serve.memtable)?,
            files: file.engine_files(serve.files)?,
            retention: file.retention(serve.retention)?,
            access,
            common,
        })
    }
}

impl SourceSettings {
    fn of(args: SourceArgs, file: &FileConfig) -> Result<SourceSettings> {
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
        let follow = args.follow || file.follow.unwrap_or(false);
        let copy_chunk_rows = positive("copy-chunk-rows", args.copy_chunk_rows.or(file.copy_chunk_rows), 20_000)?;
        let copy_threads = positive("copy-threads", args.copy_threads.or(file.copy_threads), 2)?;
        if let Some(dir) = source.strip_prefix("file:") {
            let dir = PathBuf::from(dir.strip_prefix("//").unwrap_or(dir));
            return Ok(SourceSettings::Files { dir, follow });
        }
        if feed::kind_of(&source).is_some() {
            return Ok(SourceSettings::Feed { url: source, follow, copy_from, copy_chunk_rows, copy_threads });
        }
        let server_id = args.server_id.or(file.server_id);
        Ok(SourceSettings::Service { url: source, copy_chunk_rows, copy_threads, server_id })
    }
}

fn positive(name: &str, given: Option<usize>, default: usize) -> Result<usize> {
    match given.unwrap_or(default) {
        0 => bail!("{name} must be at least 1"),
        n => Ok(n),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::options::ConfigArgs;

    fn run_args(source: &str) -> RunArgs {
        let serve = ServeArgs { data_dir: Some("d".into()), ..ServeArgs::default() };
        RunArgs {
            source: SourceArgs { source: Some(source.into()), ..SourceArgs::default() },
            serve,
            ..RunArgs::default()
        }
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
        args.config.config = Some(path);
        args.serve.moving.interval = Some(Duration::from_millis(7));
        let settings = Settings::from_run(args).expect("settings");
        assert_eq!(settings.moving.interval, Duration::from_millis(7));
        assert_eq!(settings.moving.buffer_limit, 2 << 30);
        assert!(matches!(settings.source, SourceSettings::Service { copy_threads: 7, .. }));
    }

    #[test]
    fn only_feeds_are_copied_from_elsewhere() {
        let args = |source: &str| {
            let mut args = run_args(source);
            args.source.copy_from = Some("dumpling:d".into());
            args
        };
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
        let args = RunArgs { config: ConfigArgs { config: Some(path) }, ..run_args("mysql://u@h") };
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
