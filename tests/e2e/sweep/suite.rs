//! MariaDB's own test suite: its files, a place where they run, and the client that runs one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidelake_testkit::obtained;

use super::relay::Relay;

/// Longest time for one file.
const FILE_LIMIT: Duration = Duration::from_secs(60);

/// Includes of the suite that end or start the server: here they do nothing.
const EMPTIED: [&str; 9] = [
    "restart_mysqld.inc",
    "start_mysqld.inc",
    "shutdown_mysqld.inc",
    "kill_mysqld.inc",
    "kill_and_restart_mysqld.inc",
    "restart_mysqld_with_option.inc",
    "wait_until_disconnected.inc",
    "expect_crash.inc",
    "restart_slave_sql.inc",
];

/// The suite and a directory in which it runs.
pub struct Suite {
    root: PathBuf,
    home: TempDir,
    sockets: AtomicU32,
}

/// How a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Well,
    /// The file found that this server is not for it.
    NotFor(String),
    /// Before its last line.
    Early(String),
    /// The server did not let its first session in: an earlier file has changed that.
    Unopened(String),
    TooLate,
}

impl Suite {
    pub fn open() -> Suite {
        let root = obtained("mariadb-suite");
        let home = tempfile::Builder::new().prefix("tidelake-sweep-").tempdir().expect("a temporary directory");
        let suite = Suite { root, home, sockets: AtomicU32::new(0) };
        for dir in ["suite", "suite/include", "var", "var/tmp", "var/log", "var/run"] {
            fs::create_dir_all(suite.home.path().join(dir)).expect("a directory of our own");
        }
        link_all(&suite.files(), &suite.home.path().join("suite"), &["include"]);
        link_all(&suite.files().join("include"), &suite.home.path().join("suite/include"), &EMPTIED);
        for name in EMPTIED {
            fs::write(suite.home.path().join("suite/include").join(name), "# nothing\n").expect("a file of our own");
        }
        // the suite's files are read by LOAD DATA and LOAD_FILE: the server lets only one directory be read
        symlink(suite.files().join("std_data"), suite.home.path().join("var/std_data")).expect("a link of our own");
        suite
    }

    fn files(&self) -> PathBuf {
        self.root.join("usr/share/mysql/mysql-test")
    }

    /// Names of all files of the suite `main`, sorted.
    pub fn names(&self) -> Vec<String> {
        let dir = self.files().join("main");
        let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("read {}: {e}", dir.display()));
        let names = entries.filter_map(|entry| {
            let name = entry.expect("a directory that can be read").file_name().into_string().ok()?;
            Some(name.strip_suffix(".test")?.to_owned())
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// The text of a file, for what it says it needs.
    pub fn text(&self, name: &str) -> String {
        let path = self.files().join("main").join(format!("{name}.test"));
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The directory that the server may read and write files in.
    pub fn readable(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// A path for a relay's socket.
    pub fn new_socket(&self) -> PathBuf {
        let number = self.sockets.fetch_add(1, Ordering::Relaxed);
        self.home.path().join(format!("var/run/relay{number}"))
    }

    /// Runs a file to its end, whatever its statements come to.
    pub fn run(&self, name: &str, relay: &Relay) -> Ended {
        let log = self.home.path().join("var/log").join(format!("{name}.out"));
        let out = fs::File::create(&log).expect("a file of our own");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(self.root.join("usr/bin/mariadb-test"));
        command.args(["--no-defaults", "--silent", "--continue-on-error", "--skip-ssl", "--database=test"]);
        command.args([
            "--user=root",
            "--host=localhost",
            "--sleep=0",
            "--max-connect-retries=20",
            "--max-connections=128",
        ]);
        command.arg(format!("--socket={}", relay.socket().display())).arg(format!("--port={}", relay.port()));
        command.arg(format!("--tmpdir={}", self.var("tmp"))).arg(format!("--logdir={}", self.var("log")));
        command.arg(format!("--suite-dir={}/", self.home.path().join("suite/main").display()));
        command.arg(format!("--test-file={}", self.home.path().join(format!("suite/main/{name}.test")).display()));
        command.arg("--wait-for-pos-timeout=10");
        command.current_dir(self.home.path().join("suite")).envs(self.environment(relay));
        command.stdin(Stdio::null()).stdout(out.try_clone().expect("a second handle")).stderr(out);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start the suite's client: {e}"));
        let begin = Instant::now();
        let status = loop {
            match child.try_wait().expect("a child that was started here can be asked") {
                Some(status) => break Some(status),
                None if begin.elapsed() > FILE_LIMIT => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let Some(status) = status else {
            // Both fail only if it has ended meanwhile.
            let _ = child.kill();
            let _ = child.wait();
            return Ended::TooLate;
        };
        let printed = fs::read(&log).unwrap_or_default();
        let printed = String::from_utf8_lossy(&printed);
        let last: String = printed.trim().chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
        match status.code() {
            Some(0) => Ended::Well,
            Some(62) => Ended::NotFor(last),
            _ if last.contains("Could not open connection 'default'") => Ended::Unopened(last),
            _ => Ended::Early(last),
        }
    }

    /// True if the suite's sessions can log in.
    pub fn is_let_in(&self, relay: &Relay) -> bool {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--skip-ssl", "--user=root", "--execute=SELECT 1", "test"]);
        command.arg(format!("--socket={}", relay.socket().display())).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn var(&self, dir: &str) -> String {
        self.home.path().join("var").join(dir).display().to_string()
    }

    /// What the suite's own runner puts into the environment, as far as files ask for it.
    fn environment(&self, relay: &Relay) -> Vec<(String, String)> {
        let home = |name: &str| self.home.path().join(name).display().to_string();
        let client =
            format!("--no-defaults --skip-ssl --user=root --host=localhost --socket={}", relay.socket().display());
        let charsets = "/usr/share/mysql/charsets";
        let mut all: Vec<(String, String)> = [
            ("MYSQL_TEST_DIR", home("suite")),
            ("MYSQL_TMP_DIR", home("var/tmp")),
            ("MYSQLTEST_VARDIR", home("var")),
            ("MYSQLTEST_REAL_VARDIR", home("var")),
            ("MYSQL_BINDIR", "/usr".into()),
            ("MYSQL_SHAREDIR", "/usr/share/mysql".into()),
            ("MYSQL_CHARSETSDIR", charsets.into()),
            ("SECURE_LOAD_PATH", home("suite/std_data")),
            ("MASTER_MYPORT", relay.port().to_string()),
            ("MASTER_MYSOCK", relay.socket().display().to_string()),
            ("DEFAULT_MASTER_PORT", "0".into()),
            ("USE_RUNNING_SERVER", "1".into()),
            ("BIG_TEST", "0".into()),
            ("MYSQL", format!("mariadb {client}")),
            ("EXE_MYSQL", "mariadb".into()),
            ("MYSQL_TEST", format!("{} {client}", self.root.join("usr/bin/mariadb-test").display())),
            ("MYSQL_DUMP", format!("mariadb-dump {client}")),
            ("MYSQLADMIN", "true".into()),
            ("LC_ALL", "C".into()),
            ("LD_LIBRARY_PATH", self.root.join("usr/lib/x86_64-linux-gnu").display().to_string()),
        ]
        .map(|(name, value): (&str, String)| (name.to_owned(), value))
        .into();
        // Programs that no file needs for its tables.
        let nothing = [
            "MYSQL_CHECK",
            "MYSQL_DUMP_SLAVE",
            "MYSQL_SLAP",
            "MYSQL_IMPORT",
            "MYSQL_SHOW",
            "MYSQL_BINLOG",
            "MYSQL_SLAVE",
            "MYSQL_UPGRADE",
            "MYSQL_CLIENT_TEST",
            "MYSQL_PLUGIN",
            "MYSQL_EMBEDDED",
            "MARIADB_CONV",
            "MYSQLD",
            "MYSQLD_CMD",
            "MYSQLD_LAST_CMD",
            "MYSQL_BUG25714",
            "MYSQL_FIX_PRIVILEGE_TABLES",
            "MYSQL_MY_PRINT_DEFAULTS",
            "MYISAMLOG",
            "MYISAMCHK",
            "MYISAMPACK",
            "MYISAM_FTDUMP",
            "MARIA_CHK",
            "MARIA_PACK",
            "MYSQLHOTCOPY",
            "MY_PERROR",
            "MYSQL_TZINFO_TO_SQL",
            "REPLACE",
            "INNOCHECKSUM",
            "XTRABACKUP",
            "XBSTREAM",
            "INNOBACKUPEX",
            "MYSQLD_BOOTSTRAP_CMD",
            "MYSQL_INSTALL_DB_EXE",
        ];
        all.extend(nothing.map(|name| (name.to_owned(), "true".to_owned())));
        all
    }
}

/// Links everything in a directory into another one.
fn link_all(from: &Path, to: &Path, but: &[&str]) {
    for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("read {}: {e}", from.display())) {
        let entry = entry.expect("a directory that can be read");
        if !but.iter().any(|name| entry.file_name() == *name) {
            symlink(entry.path(), to.join(entry.file_name())).expect("a link of our own");
        }
    }
}
