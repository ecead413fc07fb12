//! Child processes that die with the test process, also when that is killed.
//!
//! The kernel sends the death signal when the *thread* that made the child ends. Threads of a test or of a runtime end
//! too early, so one thread of its own makes all children and stays until the process ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

type Order = (Command, Sender<std::io::Result<Child>>);

/// A signal that a test sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// A polite end.
    Terminate,
    /// Reads its configuration again.
    Hangup,
    /// Frozen: keeps its sockets, answers nothing.
    Stop,
    /// Goes on after [`Signal::Stop`].
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Signal::Interrupt => "INT",
            Signal::Terminate => "TERM",
            Signal::Hangup => "HUP",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
        }
    }
}

/// A running child process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    what: String,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with both outputs appended to the file `log`, without standard input.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(program: &Path, args: &[String], log: &Path) -> Process {
        let what = program.display().to_string();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args);
        command.stdin(Stdio::null()).stdout(append_to(log)).stderr(append_to(log));
        let child = spawn(command).unwrap_or_else(|e| panic!("start {what} through setpriv (util-linux): {e}"));
        Process { child, what, log: log.to_owned() }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far, both outputs mixed.
    #[must_use]
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// If the operating system cannot tell.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child that was started here can be asked")
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn signal(&mut self, signal: Signal) {
        assert!(self.ended().is_none(), "{} has ended before it got {signal:?}:\n{}", self.what, self.printed());
        // The shell's own `kill`: the program of that name is not on every machine.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{} {}", signal.name(), self.pid())).status();
        assert!(sent.is_ok_and(|status| status.success()), "send {signal:?} to {}", self.what);
    }

    /// Kills it at once (SIGKILL) and waits until it is gone. Does nothing to one that has ended.
    pub fn kill9(&mut self) {
        // Both fail only if it has ended and was waited for, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it still runs after `limit`, with what it printed; it is killed then.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            if let Some(status) = self.ended() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill9();
        panic!("{} did not end within {limit:?}:\n{}", self.what, self.printed());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn append_to(log: &Path) -> File {
    let opened = File::options().create(true).append(true).open(log);
    opened.unwrap_or_else(|e| panic!("open log {}: {e}", log.display()))
}

/// Lets the lasting thread make the child.
fn spawn(command: Command) -> std::io::Result<Child> {
    static ORDERS: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (orders, taken) = channel();
        std::thread::Builder::new()
            .name("testkit-spawner".to_owned())
            .spawn(move || make_children(&taken))
            .expect("a test process can start one thread");
        Mutex::new(orders)
    });
    let (answer, answered) = channel();
    let sent = orders.lock().unwrap_or_else(std::sync::PoisonError::into_inner).send((command, answer));
    sent.map_err(std::io::Error::other)?;
    answered.recv().map_err(std::io::Error::other)?
}

fn make_children(orders: &Receiver<Order>) {
    for (mut command, answer) in orders {
        // An asker that has gone drops the child's handle, nothing more.
        let _ = answer.send(command.spawn());
    }
}
