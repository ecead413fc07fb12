//! A real etcd: one member, on free ports of this machine, with an empty data directory.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::mariadb::free_port;
use crate::options::installed;
use crate::process::{Process, Signal};

const READY_LIMIT: Duration = Duration::from_secs(60);

/// A server; gone with all its keys when dropped.
pub struct Etcd {
    process: Option<Process>,
    home: TempDir,
    port: u16,
    peers: u16,
}

impl Etcd {
    /// An empty server that answers.
    ///
    /// # Panics
    /// If etcd is not there (Debian's `etcd-server`) or does not start.
    #[must_use]
    pub fn start() -> Etcd {
        let home = tempfile::Builder::new().prefix("tidelake-etcd-").tempdir().expect("a temporary directory");
        let mut etcd = Etcd { process: None, home, port: free_port(), peers: free_port() };
        etcd.go_on();
        etcd
    }

    /// Starts it on what it has kept.
    ///
    /// # Panics
    /// If it does not start.
    pub fn go_on(&mut self) {
        let (client, peer) = (format!("http://{}", self.address()), format!("http://127.0.0.1:{}", self.peers));
        let data = self.home.path().join("data").display().to_string();
        let args = [
            ("--data-dir", data.as_str()),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("default={peer}")),
        ];
        let args: Vec<String> =
            args.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect();
        let mut process = Process::start(&installed("etcd"), &args, &self.home.path().join("server.log"));
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(process.ended().is_none(), "etcd ended instead of listening:\n{}", process.printed());
            assert!(begin.elapsed() < READY_LIMIT, "etcd does not listen:\n{}", process.printed());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.process = Some(process);
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Sends it a signal that it lives on with.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&mut self, signal: Signal) {
        self.process.as_mut().expect("running").signal(signal);
    }

    /// `127.0.0.1:PORT`
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `etcd://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("etcd://{}", self.address())
    }
}
