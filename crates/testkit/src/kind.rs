//! The servers that tests run against: where each is found, how an empty data directory is made, what it is set to.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::options::installed;
use crate::template::{run, user_id};

/// Which server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServerKind {
    /// The system's MariaDB (10.11 on Debian 12).
    #[default]
    MariaDb,
    /// The newest MariaDB, as `scripts/servers.sh` obtained it (11.8 when this was written).
    MariaDbNew,
    /// The newest MySQL, as `scripts/servers.sh` obtained it (9.7 when this was written).
    MySqlNew,
    /// MySQL 5.6, the oldest dialect.
    MySqlOld,
}

/// Redo log size of templates and servers; they must agree, or each start writes a new log.
const REDO_LOG: &str = "--innodb-log-file-size=32M";

const MARIADB_USERS: &str = "SET sql_log_bin = 0;\n\
    DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');\n\
    FLUSH PRIVILEGES;\n\
    CREATE OR REPLACE USER 'root'@'127.0.0.1';\n\
    GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n\
    CREATE OR REPLACE USER 'tidelake'@'127.0.0.1' IDENTIFIED BY 'tide';\n\
    GRANT SELECT, REPLICATION SLAVE, BINLOG MONITOR ON *.* TO 'tidelake'@'127.0.0.1';\n";

const MYSQL_NEW_USERS: &str = "SET sql_log_bin = 0;\n\
    CREATE USER 'root'@'127.0.0.1';\n\
    GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n\
    CREATE USER 'tidelake'@'127.0.0.1' IDENTIFIED BY 'tide';\n\
    GRANT SELECT, RELOAD, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'tidelake'@'127.0.0.1';\n";

const MYSQL_OLD_USERS: &str = "SET sql_log_bin = 0;\n\
    DELETE FROM mysql.user WHERE User = '';\n\
    FLUSH PRIVILEGES;\n\
    GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n\
    GRANT SELECT, RELOAD, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'tidelake'@'127.0.0.1' IDENTIFIED BY 'tide';\n";

impl ServerKind {
    /// All of them.
    pub const ALL: [ServerKind; 4] =
        [ServerKind::MariaDb, ServerKind::MariaDbNew, ServerKind::MySqlNew, ServerKind::MySqlOld];

    /// True for MySQL, false for MariaDB.
    #[must_use]
    pub fn is_mysql(self) -> bool {
        matches!(self, ServerKind::MySqlNew | ServerKind::MySqlOld)
    }

    /// The name that `scripts/servers.sh` knows it by; `None`: a package of the system.
    fn obtained_as(self) -> Option<&'static str> {
        match self {
            ServerKind::MariaDb => None,
            ServerKind::MariaDbNew => Some("mariadb-new"),
            ServerKind::MySqlNew => Some("mysql-new"),
            ServerKind::MySqlOld => Some("mysql-old"),
        }
    }

    /// Where the server is unpacked; `None`: a package of the system.
    ///
    /// # Panics
    /// If it is not there.
    fn root(self) -> Option<PathBuf> {
        Some(obtained(self.obtained_as()?))
    }

    /// The program and the arguments that come before all others. Servers with a C library of their own are started by
    /// its loader.
    pub(crate) fn command(self) -> Vec<String> {
        let Some(root) = self.root() else { return vec![installed("mariadbd").display().to_string()] };
        let path = |name: &str| root.join(name).display().to_string();
        if self == ServerKind::MySqlOld {
            return vec![path("bin/mysqld")];
        }
        let libraries = ["usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/mysql/private", "usr/lib/mysql/private"];
        let program = if self.is_mysql() { "usr/sbin/mysqld" } else { "usr/sbin/mariadbd" };
        let libraries = libraries.map(path).join(":");
        vec![path("usr/lib64/ld-linux-x86-64.so.2"), "--library-path".to_owned(), libraries, path(program)]
    }

    /// Where the server finds its own files.
    fn places(self) -> Vec<String> {
        let Some(root) = self.root() else { return Vec::new() };
        let at = |option: &str, name: &str| format!("--{option}={}", root.join(name).display());
        match self {
            ServerKind::MySqlOld => vec![at("basedir", ""), at("lc-messages-dir", "share")],
            _ => {
                let share = if self.is_mysql() { "usr/share/mysql" } else { "usr/share/mariadb" };
                vec![
                    at("basedir", "usr"),
                    at("lc-messages-dir", share),
                    at("character-sets-dir", &format!("{share}/charsets")),
                    at("plugin-dir", "usr/lib/mysql/plugin"),
                ]
            }
        }
    }

    /// Settings besides those that all servers share.
    pub(crate) fn settings(self) -> Vec<String> {
        let own: &[&str] = match self {
            ServerKind::MariaDb | ServerKind::MariaDbNew => &["--binlog-row-metadata=FULL", REDO_LOG],
            ServerKind::MySqlNew => &[
                "--binlog-row-metadata=FULL",
                "--innodb-redo-log-capacity=32M",
                "--mysqlx=OFF",
                "--performance-schema=OFF",
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--secure-file-priv=",
            ],
            ServerKind::MySqlOld => &["--gtid-mode=ON", "--enforce-gtid-consistency", "--log-slave-updates", REDO_LOG],
        };
        self.places().into_iter().chain(own.iter().map(|&s| s.to_owned())).collect()
    }

    /// The statements that make its users, each on a line of its own.
    pub(crate) fn users(self) -> &'static str {
        match self {
            ServerKind::MariaDb | ServerKind::MariaDbNew => MARIADB_USERS,
            ServerKind::MySqlNew => MYSQL_NEW_USERS,
            ServerKind::MySqlOld => MYSQL_OLD_USERS,
        }
    }

    /// Makes an empty data directory.
    pub(crate) fn install(self, data: &Path) {
        let dir = format!("--datadir={}", data.display());
        match self {
            ServerKind::MariaDb => {
                let mut command = Command::new(installed("mariadb-install-db"));
                command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", REDO_LOG]);
                command.arg("--innodb-use-native-aio=OFF").arg(dir).args(as_root());
                run(&mut command);
            }
            ServerKind::MySqlNew => {
                let mut command = self.bare(&dir);
                command.args(["--initialize-insecure", "--innodb-redo-log-capacity=32M", "--performance-schema=OFF"]);
                run(&mut command);
                // Each copy of the template is another server.
                drop(std::fs::remove_file(data.join("auto.cnf")));
            }
            ServerKind::MariaDbNew => self.bootstrap(
                data,
                "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n",
                "usr/share/mariadb",
                &[
                    "mariadb_system_tables.sql",
                    "mariadb_performance_tables.sql",
                    "mariadb_system_tables_data.sql",
                    "maria_add_gis_sp_bootstrap.sql",
                    "mariadb_sys_schema.sql",
                ],
            ),
            ServerKind::MySqlOld => {
                self.bootstrap(
                    data,
                    "CREATE DATABASE mysql;\nUSE mysql;\n",
                    "share",
                    &["mysql_system_tables.sql", "mysql_system_tables_data.sql"],
                );
            }
        }
    }

    /// The server on a data directory, without anything that only tests need.
    fn bare(self, dir: &str) -> Command {
        let words = self.command();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("--no-defaults").args(self.places()).arg(dir).args(as_root());
        command.arg("--innodb-use-native-aio=OFF");
        command
    }

    /// Feeds the server's own scripts to its bootstrap mode.
    fn bootstrap(self, data: &Path, first: &str, share: &str, scripts: &[&str]) {
        std::fs::create_dir_all(data).unwrap_or_else(|e| panic!("create {}: {e}", data.display()));
        let root = self.root().expect("the system's server has an installer");
        let mut sql = first.to_owned();
        for script in scripts {
            let path = root.join(share).join(script);
            sql += &std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
            sql.push('\n');
        }
        let input = data.with_extension("sql");
        std::fs::write(&input, sql).unwrap_or_else(|e| panic!("write {}: {e}", input.display()));
        let mut command = self.bare(&format!("--datadir={}", data.display()));
        command.args(["--bootstrap", "--log-warnings=0", REDO_LOG]);
        command.stdin(Stdio::from(std::fs::File::open(&input).expect("it was just written")));
        run(&mut command);
    }
}

fn as_root() -> Option<&'static str> {
    (user_id() == "0").then_some("--user=root")
}

/// Where `scripts/servers.sh` unpacked what it knows by this name.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn obtained(name: &str) -> PathBuf {
    component(name).join("root")
}

/// The directory of something that `scripts/servers.sh` obtains.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn component(name: &str) -> PathBuf {
    let dir = servers_dir().join(name);
    let there = dir.join(".complete").is_file();
    assert!(there, "{} is missing and the tests need it: run `./scripts/servers.sh {name}`", dir.display());
    dir
}

/// Where `scripts/servers.sh` puts them.
fn servers_dir() -> PathBuf {
    let named = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    named("TIDELAKE_SERVERS").unwrap_or_else(|| {
        let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
        cache.expect("HOME is set").join("tidelake/servers")
    })
}
