//! The Tidelake process that is measured.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tidelake_testkit::{Process, SqlClient};

const START_LIMIT: Duration = Duration::from_secs(60);

/// A running Tidelake with a data directory of its own; both go when it is dropped.
pub struct Subject {
    home: TempDir,
    program: PathBuf,
    args: Vec<String>,
    process: Process,
    mysql: u16,
    http: u16,
}

impl Subject {
    /// `tidelake run --source SOURCE OPTIONS...`, listening.
    pub fn run(program: &Path, source: &str, options: &[&str]) -> Result<Subject> {
        let home = tempfile::Builder::new().prefix("tidelake-bench-").tempdir()?;
        let path = |name: &str| home.path().join(name).display().to_string();
        let mut args: Vec<String> =
            ["run", "--source", source].iter().chain(options).map(ToString::to_string).collect();
        for listener in ["--mysql-listen", "--http-listen", "--flight-listen"] {
            args.extend([listener.to_owned(), "127.0.0.1:0".to_owned()]);
        }
        args.extend(["--data-dir".to_owned(), path("data"), "--ports-file".to_owned(), path("ports.json")]);
        let process = Process::start(program, &args, &home.path().join("log"));
        let mut subject = Subject { home, program: program.to_owned(), args, process, mysql: 0, http: 0 };
        subject.wait_ports()?;
        Ok(subject)
    }

    /// `kill -9`, then the same again over the same directory; back when it listens.
    pub fn kill_and_start(&mut self) -> Result<()> {
        std::fs::remove_file(self.home.path().join("ports.json"))?;
        self.process.kill9();
        self.process = Process::start(&self.program, &self.args, &self.home.path().join("log"));
        self.wait_ports()
    }

    /// What is durable in the engine, and what readers see.
    pub fn seqs(&self) -> Result<(u64, u64)> {
        let seq = &self.status()?["seq"];
        let of = |name: &str| seq[name].as_u64().with_context(|| format!("{name} of {seq}"));
        Ok((of("durable")?, of("published")?))
    }

    fn status(&self) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/status", self.http);
        Ok(serde_json::from_str(&ureq::get(&url).call()?.body_mut().read_to_string()?)?)
    }

    fn wait_ports(&mut self) -> Result<()> {
        let (begin, file) = (Instant::now(), self.home.path().join("ports.json"));
        while begin.elapsed() < START_LIMIT && self.process.ended().is_none() {
            if let Ok(text) = std::fs::read_to_string(&file) {
                let ports: Value = serde_json::from_str(&text)?;
                let port = |name: &str| ports[name].as_u64().and_then(|p| u16::try_from(p).ok()).context("a port");
                (self.mysql, self.http) = (port("mysql")?, port("http")?);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("tidelake does not listen:\n{}", self.process.printed())
    }

    /// Port of the MySQL protocol.
    pub fn mysql_port(&self) -> u16 {
        self.mysql
    }

    /// The command line client on it.
    pub fn client(&self) -> SqlClient {
        SqlClient::root(self.mysql)
    }

    /// True if readers see this table of a database.
    pub fn has_table(&self, (database, table): (&str, &str)) -> Result<bool> {
        let status = self.status()?;
        let tables = status["tables"].as_array().context("a status has tables")?;
        Ok(tables.iter().any(|t| t["database"] == database && t["table"] == table && t["state"] == "live"))
    }

    /// Processor time that it took so far, in seconds.
    pub fn processor_seconds(&self) -> Result<f64> {
        processor_seconds(self.process.pid())
    }

    /// The most memory it ever had resident, in MiB, as the kernel counts it.
    pub fn peak_mib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024)
    }
}

/// Processor time of a process so far, user and system together, in seconds.
pub fn processor_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // behind the name in parentheses: fields 14 and 15 of proc(5), in ticks of 1/100 s
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("a time of /proc")?.parse::<f64>()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
