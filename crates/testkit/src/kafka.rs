//! A real Kafka broker: one node in KRaft mode, on a free port, with an empty data directory.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::kind::component;
use crate::mariadb::free_port;
use crate::options::installed;
use crate::process::Process;

const READY_LIMIT: Duration = Duration::from_secs(120);

/// A broker; killed and removed when dropped.
pub struct Kafka {
    /// Ends before its home goes.
    process: Option<Process>,
    home: TempDir,
    port: u16,
}

impl Kafka {
    /// An empty broker that answers.
    ///
    /// # Panics
    /// If Kafka is not there (`scripts/servers.sh kafka`) or does not start.
    #[must_use]
    pub fn start() -> Kafka {
        let home = tempfile::Builder::new().prefix("tidelake-kafka-").tempdir().expect("a temporary directory");
        let mut kafka = Kafka { process: None, home, port: free_port() };
        let control = free_port();
        let (port, data) = (kafka.port, kafka.home.path().join("data").display().to_string());
        let mut text = String::new();
        for (name, value) in [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", "1".into()),
            ("controller.quorum.voters", format!("1@127.0.0.1:{control}")),
            ("controller.listener.names", "CONTROLLER".into()),
            ("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}")),
            ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".into()),
            ("inter.broker.listener.name", "PLAINTEXT".into()),
            ("log.dirs", data),
            ("offsets.topic.replication.factor", "1".into()),
            ("offsets.topic.num.partitions", "1".into()),
            ("transaction.state.log.replication.factor", "1".into()),
            ("transaction.state.log.min.isr", "1".into()),
            ("transaction.state.log.num.partitions", "1".into()),
        ] {
            let _ = writeln!(text, "{name}={value}");
        }
        std::fs::write(kafka.settings(), text).expect("write the broker's settings");
        let mut format = Command::new(installed("java"));
        format.args(["-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &classes()]);
        format.args(["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c"]).arg(kafka.settings());
        let output = format.output().expect("java starts");
        assert!(output.status.success(), "format a Kafka directory: {}", String::from_utf8_lossy(&output.stderr));
        kafka.restart();
        kafka
    }

    /// `127.0.0.1:PORT`; the same over restarts.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Starts it (again) on its data and waits until it listens.
    ///
    /// # Panics
    /// If it ends instead, or does not listen in two minutes.
    pub fn restart(&mut self) {
        self.process = None;
        let settings = self.settings().display().to_string();
        let args = ["-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"];
        let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        args.extend([classes(), "kafka.Kafka".to_owned(), settings]);
        let mut process = Process::start(&installed("java"), &args, &self.home.path().join("broker.log"));
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(process.ended().is_none(), "Kafka ended instead of listening:\n{}", process.printed());
            assert!(begin.elapsed() < READY_LIMIT, "Kafka does not listen:\n{}", process.printed());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.process = Some(process);
    }

    fn settings(&self) -> PathBuf {
        self.home.path().join("server.properties")
    }
}

fn classes() -> String {
    component("kafka").join("libs/*").display().to_string()
}
