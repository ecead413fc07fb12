//! Which server to start, and how it is set.

use std::path::{Path, PathBuf};

use crate::kind::ServerKind;

/// What a [`MariaDb`](crate::MariaDb) is started with. The default is the installed MariaDB, set as Tidelake wants
/// its upstream.
#[derive(Clone, Debug, Default)]
pub struct MariaDbOptions {
    /// Which server.
    pub kind: ServerKind,
    /// Further arguments of the server. They come last, so they win over the defaults.
    pub args: Vec<String>,
}

impl MariaDbOptions {
    /// The defaults for another server than the installed MariaDB.
    #[must_use]
    pub fn of(kind: ServerKind) -> MariaDbOptions {
        MariaDbOptions { kind, args: Vec::new() }
    }

    /// The same with one more server argument, e.g. `--binlog-format=STATEMENT`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> MariaDbOptions {
        self.args.push(arg.into());
        self
    }
}

/// Finds an installed program; `/usr/sbin` is looked at too, as it is in nobody's PATH but root's.
///
/// # Panics
/// If it is not installed, with the command that installs it.
pub(crate) fn installed(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(program))
        .find(|candidate| is_file(candidate))
        .unwrap_or_else(|| {
            panic!(
                "`{program}` is not installed and the tests need it: run `./scripts/test.sh`, which installs it, \
                 or `apt-get install -y --no-install-recommends mariadb-server mariadb-client`"
            )
        })
}

fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file())
}
