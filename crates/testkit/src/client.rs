//! The `mariadb` command line client, pointed at an upstream or at Tidelake.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::options::installed;

/// Where to connect and as whom. Every call is a connection of its own.
#[derive(Clone, Debug)]
pub struct SqlClient {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// User name.
    pub user: String,
    /// Password, may be empty.
    pub password: String,
}

impl SqlClient {
    /// As `root` without a password.
    #[must_use]
    pub fn root(port: u16) -> SqlClient {
        SqlClient { port, user: "root".to_owned(), password: String::new() }
    }

    /// The raw bytes of `mariadb --batch --raw --skip-column-names`: cells between tabs, rows between newlines, nothing
    /// escaped. `sql` may hold several statements.
    ///
    /// # Panics
    /// If a statement fails, with the server's message.
    #[must_use]
    pub fn batch_text(&self, sql: &str) -> Vec<u8> {
        self.try_batch_text(sql).unwrap_or_else(|e| panic!("port {}: {sql:.2000}\n{e}", self.port))
    }

    /// As [`batch_text`](Self::batch_text), with the server's message if a statement fails.
    ///
    /// # Errors
    /// What the client printed to its standard error.
    pub fn try_batch_text(&self, sql: &str) -> Result<Vec<u8>, String> {
        self.run(&["--batch", "--raw", "--skip-column-names"], sql)
    }

    /// What the client prints with its own further `options`.
    ///
    /// # Errors
    /// What the client printed to its standard error.
    ///
    /// # Panics
    /// If the client cannot be started.
    pub fn run(&self, options: &[&str], sql: &str) -> Result<Vec<u8>, String> {
        let mut command = Command::new(installed("mariadb"));
        command.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--default-character-set=utf8mb4"]);
        command.args(["--connect-timeout=10", "--skip-ssl", "--max-allowed-packet=256M"]).args(options);
        command.arg(format!("--port={}", self.port)).arg(format!("--user={}", self.user));
        command.arg(format!("--password={}", self.password));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start the mariadb client: {e}"));
        let mut stdin = child.stdin.take().expect("standard input is piped");
        let text = sql.to_owned();
        // In a thread: the client may print more than a pipe holds before it has read everything. It may also end
        // before it has read everything; then its exit status tells.
        let feed = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
        let output = child.wait_with_output().unwrap_or_else(|e| panic!("wait for the mariadb client: {e}"));
        feed.join().expect("the feeding thread does not panic");
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
