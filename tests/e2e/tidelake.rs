//! The process under test: its data directory, its ports, its status.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;
use tidelake_testkit::{Process, Signal, SqlClient};

const READY_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(60);

/// Ports in use, as the process itself tells.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ports {
    pub mysql: u16,
    pub http: u16,
    pub flight: u16,
    /// Of `tidelake engine`.
    pub magic: u16,
    /// Of `tidelake latch`.
    pub latch: u16,
}

/// Where the process listens now; `None` while it is down. Ports change at every start.
#[derive(Clone, Debug, Default)]
pub struct Address(Arc<Mutex<Option<Ports>>>);

impl Address {
    /// A server that is no Tidelake, to try readers on.
    pub fn of_upstream(port: u16) -> Address {
        Address(Arc::new(Mutex::new(Some(Ports { mysql: port, ..Ports::default() }))))
    }

    pub fn get(&self) -> Option<Ports> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, ports: Option<Ports>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ports;
    }
}

/// One Tidelake with its data directory, over all its starts. Killed and removed when dropped.
pub struct Tidelake {
    home: TempDir,
    args: Vec<String>,
    environment: Vec<String>,
    address: Address,
    process: Option<Process>,
}

impl Tidelake {
    /// `tidelake run --source SOURCE OPTIONS...`, up and listening.
    pub fn run(source: &str, options: &[&str]) -> Tidelake {
        let mut tidelake = Tidelake::prepare(&["run", "--source", source], options);
        tidelake.restart();
        tidelake
    }

    /// `tidelake demo OPTIONS...`, up and listening.
    pub fn demo(options: &[&str]) -> Tidelake {
        let mut tidelake = Tidelake::prepare(&["demo"], options);
        tidelake.restart();
        tidelake
    }

    /// The same without starting it.
    pub fn prepare(command: &[&str], options: &[&str]) -> Tidelake {
        let listeners = ["--mysql-listen", "--http-listen", "--flight-listen"];
        let mut tidelake = Tidelake::part(command, options, &listeners);
        tidelake.keep_data();
        tidelake
    }

    /// One of several processes, with these listeners and without a data directory.
    pub fn part(command: &[&str], options: &[&str], listeners: &[&str]) -> Tidelake {
        let home = tempfile::Builder::new().prefix("tidelake-e2e-").tempdir().expect("a temporary directory");
        let mut args: Vec<String> = command.iter().chain(options).map(|&arg| arg.to_owned()).collect();
        for listener in listeners {
            args.extend([(*listener).to_owned(), "127.0.0.1:0".to_owned()]);
        }
        args.extend(["--ports-file".to_owned(), home.path().join("ports.json").display().to_string()]);
        Tidelake { home, args, environment: Vec::new(), address: Address::default(), process: None }
    }

    /// Gives it a data directory of its own.
    pub fn keep_data(&mut self) {
        let data = self.data_dir().display().to_string();
        self.args.extend(["--data-dir".to_owned(), data]);
    }

    /// More options.
    pub fn add_options(&mut self, options: &[&str]) {
        self.args.extend(options.iter().map(|option| (*option).to_owned()));
    }

    /// Gives another value to an option that is set already.
    pub fn set_option(&mut self, name: &str, value: &str) {
        let at = self.args.iter().position(|arg| arg == name).expect("an option that is set");
        value.clone_into(&mut self.args[at + 1]);
    }

    /// Starts it with this variable in its environment.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.push(format!("{name}={value}"));
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Where it listens, for threads that outlive a restart.
    pub fn address(&self) -> Address {
        self.address.clone()
    }

    /// Starts the process without waiting for it.
    pub fn spawn(&mut self) {
        self.address.set(None);
        // Of an earlier start, if there was one.
        let _ = std::fs::remove_file(self.ports_file());
        let mut words = self.environment.clone();
        words.push(binary().display().to_string());
        words.extend_from_slice(&self.args);
        // which becomes the program, with the same process id
        self.process = Some(Process::start(Path::new("/usr/bin/env"), &words, &self.log_file()));
    }

    /// Waits until it listens.
    pub fn wait_ports(&mut self) {
        let begin = Instant::now();
        while begin.elapsed() < READY_LIMIT {
            if let Ok(text) = std::fs::read_to_string(self.ports_file()) {
                self.address.set(Some(serde_json::from_str(&text).expect("the ports file is JSON")));
                return;
            }
            let ended = self.process.as_mut().expect("spawned").ended();
            assert!(ended.is_none(), "tidelake ended instead of listening ({ended:?}):\n{}", self.printed());
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("tidelake does not listen after {READY_LIMIT:?}:\n{}", self.printed());
    }

    /// Starts it (again) on its data directory and waits until it listens.
    pub fn restart(&mut self) {
        self.spawn();
        self.wait_ports();
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        self.address.set(None);
        self.process = None;
    }

    /// It keeps its connections and does nothing for so long.
    pub fn freeze_for(&mut self, time: Duration) {
        self.freeze();
        std::thread::sleep(time);
        self.thaw();
    }

    /// It keeps its connections and does nothing.
    pub fn freeze(&mut self) {
        self.process.as_mut().expect("running").signal(Signal::Stop);
    }

    /// It goes on.
    pub fn thaw(&mut self) {
        self.process.as_mut().expect("running").signal(Signal::Continue);
    }

    /// Sends it a signal that it lives on with.
    pub fn signal(&mut self, signal: Signal) {
        self.process.as_mut().expect("running").signal(signal);
    }

    /// Ctrl-C; waits for the end.
    pub fn interrupt(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("running");
        process.signal(Signal::Interrupt);
        let status = process.wait(END_LIMIT);
        self.address.set(None);
        status
    }

    /// The most memory the process had since it started, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let pid = self.process.as_ref().expect("running").pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux tells about processes");
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("a peak");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib << 10
    }

    /// Waits for an end that it comes to by itself.
    pub fn wait_end(&mut self) -> ExitStatus {
        self.process.take().expect("running").wait(END_LIMIT)
    }

    /// Ports in use.
    pub fn ports(&self) -> Ports {
        self.address.get().unwrap_or_else(|| panic!("tidelake is not listening:\n{}", self.printed()))
    }

    /// The command line client of any MySQL user.
    pub fn client(&self) -> SqlClient {
        SqlClient::root(self.ports().mysql)
    }

    /// Bytes of an answer that has everything the upstream has committed before.
    pub fn latest(&self, sql: &str) -> Vec<u8> {
        self.try_latest(sql).unwrap_or_else(|e| panic!("{sql}\n{e}\nstatus {}\n{}", self.status(), self.printed()))
    }

    /// The same, or the client's complaint.
    pub fn try_latest(&self, sql: &str) -> Result<Vec<u8>, String> {
        self.client().try_batch_text(&format!("SET tidelake_freshness = 'latest'; SET time_zone = '+00:00'; {sql}"))
    }

    /// `GET /api/v1/status`.
    pub fn status(&self) -> serde_json::Value {
        let url = format!("http://127.0.0.1:{}/api/v1/status", self.ports().http);
        let mut answer = ureq::get(&url).call().unwrap_or_else(|e| panic!("GET {url}: {e}\n{}", self.printed()));
        answer.body_mut().read_json().expect("the status is JSON")
    }

    /// What is wrong with the process as a whole: it ended, or a part of it did.
    pub fn trouble(&mut self) -> Option<String> {
        if let Some(status) = self.process.as_mut().and_then(Process::ended) {
            return Some(format!("tidelake ended: {status}"));
        }
        if self.printed().contains("panicked at") {
            return Some("a panic in tidelake".to_owned());
        }
        let (code, body) = self.get("/healthz");
        (code != 200).then_some(body)
    }

    /// A path of the HTTP listener: code and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("http://127.0.0.1:{}{path}", self.ports().http);
        let mut answer = agent.get(&url).call().unwrap_or_else(|e| panic!("GET {url}: {e}"));
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"))
    }

    /// Everything it printed, over all starts.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.home.path().join("tidelake.log")
    }

    fn ports_file(&self) -> PathBuf {
        self.home.path().join("ports.json")
    }
}

/// The program under test: the one just built, or what `TIDELAKE_BINARY` says.
fn binary() -> PathBuf {
    std::env::var_os("TIDELAKE_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_tidelake").into(), PathBuf::from)
}

/// A command that ends by itself.
pub fn tidelake(args: &[&str]) -> Output {
    Command::new(binary()).args(args).output().expect("the binary under test starts")
}

/// The same with environment variables.
pub fn tidelake_with(variables: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(args).envs(variables.iter().copied()).output().expect("the binary under test starts")
}

/// Its standard output; panics unless it ended well.
pub fn tidelake_prints(args: &[&str]) -> String {
    let output = tidelake(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tidelake {args:?} failed: {error}");
    String::from_utf8(output.stdout).expect("output is UTF-8")
}

/// Asks again and again until there is an answer.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
