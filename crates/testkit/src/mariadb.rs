//! A server of a test's own.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tempfile::TempDir;

use crate::client::SqlClient;
use crate::kind::ServerKind;
use crate::options::MariaDbOptions;
use crate::process::{Process, Signal};
use crate::template::{new_data_dir, user_id};

/// MySQL 5.6 sometimes waits for its own purge thread for ever: started once more, it does not.
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Below the range from which the system takes ports for outgoing connections: a port stays ours over a restart.
const PORTS: std::ops::Range<u16> = 27_000..32_000;

/// A running server (MariaDB, or MySQL by [`MariaDbOptions::of`]) with a data directory of its own. Stopped and removed when dropped.
#[derive(Debug)]
pub struct MariaDb {
    home: TempDir,
    port: u16,
    options: MariaDbOptions,
    process: Option<Process>,
}

impl MariaDb {
    /// Starts a server and returns once it answers. Blocks for about a second.
    ///
    /// It has the user `root` without a password, and `tidelake` (password `tide`) with exactly the rights that the
    /// user guide asks for.
    ///
    /// # Panics
    /// If the server is not installed or does not start, with its log.
    #[must_use]
    pub fn start(options: MariaDbOptions) -> MariaDb {
        let home = tempfile::Builder::new().prefix("tidelake-mariadb-").tempdir().expect("a temporary directory");
        new_data_dir(options.kind, &home.path().join("data"));
        let users = home.path().join("users.sql");
        // Run before the server listens and left out of its binlog: a new server's log begins with the test's own events.
        std::fs::write(&users, options.kind.users()).unwrap_or_else(|e| panic!("write {}: {e}", users.display()));
        let mut server = MariaDb { home, port: free_port(), options, process: None };
        let first = format!("--init-file={}", users.display());
        // Between the choice of a port and its use somebody else may take it.
        for _ in 0..5 {
            if server.try_run(Some(&first)) {
                return server;
            }
            server.port = free_port();
        }
        panic!("the server does not start:\n{}", server.log());
    }

    /// Which server it is.
    #[must_use]
    pub fn kind(&self) -> ServerKind {
        self.options.kind
    }

    /// Its port on 127.0.0.1; the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the test stopped this server before").pid()
    }

    /// The directory with its data and binlog files (`binlog.000001`, ...).
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Its Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.home.path().join("sock")
    }

    /// `mysql://` URL of `root`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    /// `mysql://` URL of the user with exactly the rights that the user guide asks for.
    #[must_use]
    pub fn source_url(&self) -> String {
        format!("mysql://tidelake:tide@127.0.0.1:{}", self.port)
    }

    /// The command line client, as `root`.
    #[must_use]
    pub fn client(&self) -> SqlClient {
        SqlClient::root(self.port)
    }

    /// See [`SqlClient::batch_text`].
    ///
    /// # Panics
    /// If a statement fails; with the end of the server's log, in case the server is what failed.
    #[must_use]
    pub fn batch_text(&self, sql: &str) -> Vec<u8> {
        let answer = self.client().try_batch_text(sql);
        answer.unwrap_or_else(|e| panic!("port {}: {sql:.2000}\n{e}\n{}", self.port, self.end_of_log()))
    }

    /// Runs statements (several, between semicolons) by the command line client, as `root`.
    ///
    /// # Panics
    /// As [`batch_text`](Self::batch_text).
    pub fn execute(&self, sql: &str) {
        drop(self.batch_text(sql));
    }

    fn end_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// A connection, as `root`.
    ///
    /// # Panics
    /// If it cannot be made.
    pub async fn connect(&self) -> Conn {
        let options = mysql_async::Opts::from_url(&self.url()).expect("the URL is made above");
        Conn::new(options).await.unwrap_or_else(|e| panic!("connect to {}: {e}\n{}", self.url(), self.log()))
    }

    /// The rows of one statement, over a connection of its own.
    ///
    /// # Panics
    /// If it fails.
    pub async fn query(&self, sql: &str) -> Vec<Row> {
        let mut conn = self.connect().await;
        let rows = conn.query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        // The answer is there; a connection that ends badly afterwards is not what is tested.
        let _ = conn.disconnect().await;
        rows
    }

    /// What the server logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// Kills the server (SIGKILL). What was committed stays: the log is written, though not synced, at each commit.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Stops the server politely and waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        process.signal(Signal::Terminate);
        process.wait(STOP_LIMIT);
    }

    /// Starts it again on the same port and data, after [`kill9`](Self::kill9), [`stop`](Self::stop) or from running.
    ///
    /// # Panics
    /// If it does not start, with its log.
    pub fn restart(&mut self) {
        self.stop();
        assert!(self.try_run(None), "the server does not start again:\n{}", self.log());
    }

    /// As [`restart`](Self::restart) with one more server argument from now on.
    ///
    /// # Panics
    /// If it does not start, with its log.
    pub fn restart_with(&mut self, arg: &str) {
        self.options.args.push(arg.to_owned());
        self.restart();
    }

    /// Freezes the server: it keeps its connections and answers nothing.
    ///
    /// # Panics
    /// If it does not run.
    pub fn freeze(&mut self) {
        self.running().signal(Signal::Stop);
    }

    /// Lets a frozen server go on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn thaw(&mut self) {
        self.running().signal(Signal::Continue);
    }

    fn running(&mut self) -> &mut Process {
        self.process.as_mut().expect("the test stopped this server before")
    }

    fn log_file(&self) -> PathBuf {
        self.home.path().join("server.log")
    }

    /// False if the server ended instead of answering.
    fn try_run(&mut self, first: Option<&str>) -> bool {
        for _ in 0..3 {
            if let Some(answers) = self.run_once(first) {
                return answers;
            }
        }
        panic!("the server does not answer within {START_LIMIT:?}, three times:\n{}", self.log());
    }

    /// `None`: it neither answers nor ends, and was killed.
    fn run_once(&mut self, first: Option<&str>) -> Option<bool> {
        let mut args = self.base_args();
        args.extend(first.map(str::to_owned));
        args.extend(self.options.args.iter().cloned());
        let mut words = self.options.kind.command();
        let program = PathBuf::from(words.remove(0));
        words.append(&mut args);
        let pid_file = self.home.path().join("pid");
        drop(std::fs::remove_file(&pid_file));
        let mut process = Process::start(&program, &words, &self.log_file());
        let begin = Instant::now();
        while begin.elapsed() < START_LIMIT {
            if process.ended().is_some() {
                return Some(false);
            }
            // the pid file tells that it is ours: another process may have taken the port
            if pid_file.is_file() && greets(self.port) {
                self.process = Some(process);
                return Some(true);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    fn base_args(&self) -> Vec<String> {
        let path = |name: &str| self.home.path().join(name).display().to_string();
        let mut args: Vec<String> = [
            "--no-defaults",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--server-id=1",
            "--binlog-format=ROW",
            "--binlog-row-image=FULL",
            "--character-set-server=utf8mb4",
            "--max-connections=200",
            // Enough to survive a kill of the server, not of the machine.
            "--innodb-flush-log-at-trx-commit=2",
            "--sync-binlog=0",
            "--innodb-buffer-pool-size=64M",
            "--innodb-use-native-aio=OFF",
        ]
        .map(str::to_owned)
        .into();
        args.extend(self.options.kind.settings());
        args.push(format!("--datadir={}", path("data")));
        args.push(format!("--socket={}", path("sock")));
        args.push(format!("--pid-file={}", path("pid")));
        args.push(format!("--log-bin={}", Path::new(&path("data")).join("binlog").display()));
        args.push(format!("--port={}", self.port));
        if user_id() == "0" {
            args.push("--user=root".to_owned());
        }
        args
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// True if a MySQL server on this port says hello (a length of three bytes, a number, protocol version 10).
fn greets(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
    let mut hello = [0; 5];
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.read_exact(&mut hello).is_ok()
        && hello[4] == 10
}

/// A port nobody listens on; each call another one.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let width = PORTS.end - PORTS.start;
    let begin = u16::try_from(std::process::id() % u32::from(width)).expect("smaller than the width");
    (0..width)
        .map(|_| PORTS.start + (begin + NEXT.fetch_add(1, Ordering::Relaxed) % width) % width)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap_or_else(|| panic!("no port of {PORTS:?} is free"))
}
