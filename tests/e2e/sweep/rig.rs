//! One server and one Tidelake for many files, and what makes them as new between two files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

use super::contents::Contents;
use super::relay::Relay;
use super::report::Report;
use super::suite::{Ended, Suite};
use crate::tidelake::Tidelake;

/// A pair that follows each other.
pub struct Rig {
    upstream: MariaDb,
    tidelake: Tidelake,
    watch: Arc<Mutex<Watch>>,
    relay: Relay,
    globals: BTreeMap<String, String>,
    /// Bytes of Tidelake's log that were read.
    logged: usize,
}

/// What the relay's sessions share.
struct Watch {
    contents: Contents,
    report: Report,
}

/// Set as the suite's own runner sets the server, where that is not about its runner.
const SERVER: [&str; 12] = [
    "--character-set-server=latin1",
    "--default-storage-engine=myisam",
    "--local-infile=ON",
    "--log-bin-trust-function-creators=1",
    "--key-buffer-size=1M",
    "--sort-buffer-size=256K",
    "--max-heap-table-size=1M",
    "--max-allowed-packet=32M",
    "--lock-wait-timeout=10",
    "--innodb-lock-wait-timeout=4",
    "--connect-timeout=60",
    "--event-scheduler=OFF",
];

const MARIADB: [&str; 3] =
    ["--binlog-direct-non-transactional-updates", "--max-statement-time=15", "--plugin-maturity=unknown"];

const FIRST: &str = "GRANT LOCK TABLES ON *.* TO 'tidelake'@'127.0.0.1'; CREATE DATABASE test; CREATE DATABASE mtr;
    CREATE PROCEDURE mtr.add_suppression(pattern VARCHAR(255)) BEGIN END";

const GLOBALS: &str = "SHOW GLOBAL VARIABLES";

const DATABASES: &str = "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN \
    ('information_schema', 'mysql', 'performance_schema', 'sys', 'mtr')";

impl Rig {
    pub fn start(kind: ServerKind, suite: &Suite) -> Rig {
        let mut options = MariaDbOptions::of(kind);
        options.args.extend(SERVER.map(str::to_owned));
        options.args.push(format!("--secure-file-priv={}", suite.readable().display()));
        if !kind.is_mysql() {
            options.args.extend(MARIADB.map(str::to_owned));
        }
        let upstream = MariaDb::start(options);
        upstream.execute(FIRST);
        let follow = ["--interval", "5ms", "--flush-interval", "2s", "--freshness", "any"];
        let tidelake = Tidelake::run(&upstream.source_url(), &follow);
        let contents = Contents::open(&upstream, &tidelake);
        let watch = Arc::new(Mutex::new(Watch { contents, report: Report::default() }));
        let watching = Arc::clone(&watch);
        let before = move |sql: &[u8]| {
            let text: String = String::from_utf8_lossy(sql).split_whitespace().collect::<Vec<_>>().join(" ");
            let place: String = text.chars().take(100).collect();
            let Watch { contents, report } = &mut *watching.lock().unwrap_or_else(PoisonError::into_inner);
            contents.compare(&format!("before {place}"), report);
        };
        let socket = suite.new_socket();
        let relay = Relay::start(upstream.socket(), upstream.port(), &socket, Box::new(before));
        let mut rig = Rig { upstream, tidelake, watch, relay, globals: BTreeMap::new(), logged: 0 };
        rig.globals = rig.globals();
        rig
    }

    fn sql(&self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |cell: Option<Vec<u8>>| String::from_utf8_lossy(&cell.unwrap_or_default()).into_owned();
        let rows = watch.contents.upstream(sql)?;
        Ok(rows.into_iter().skip(1).map(|row| row.into_iter().map(text).collect()).collect())
    }

    fn globals(&self) -> BTreeMap<String, String> {
        let rows = self.sql(GLOBALS).unwrap_or_default();
        rows.into_iter().map(|mut row| (row.swap_remove(0), row.pop().unwrap_or_default())).collect()
    }

    /// Runs one file and makes everything as it was. False: the pair is not to be used again.
    pub fn run(&mut self, suite: &Suite, file: &str) -> (Report, Ended, bool) {
        let ended = suite.run(file, &self.relay);
        let crashed = {
            let Watch { contents, report } = &mut *self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            contents.compare("at the end", report);
            report.files = 1;
            self.tidelake.trouble()
        };
        let log = self.tidelake.printed();
        let mut report = {
            let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut watch.report)
        };
        report.note_log(log.get(self.logged..).unwrap_or_default());
        self.logged = log.len();
        if let Some(trouble) = crashed {
            report.crashes.push(trouble);
            return (report, ended, false);
        }
        let healthy = report.is_clean() && self.clean(suite);
        (report, ended, healthy)
    }

    /// Away with everything the file left. False if that cannot be done.
    fn clean(&self, suite: &Suite) -> bool {
        let own = self.sql("SELECT connection_id()").ok().and_then(|rows| Some(rows.first()?.first()?.clone()));
        let others = "SELECT id FROM information_schema.processlist WHERE user NOT IN ('tidelake', 'system user', 'event_scheduler')";
        for row in self.sql(others).unwrap_or_default() {
            if row.first() != own.as_ref() {
                // It may have ended by itself.
                let _ = self.sql(&format!("KILL {}", row[0]));
            }
        }
        for xid in self.prepared() {
            let _ = self.sql(&format!("XA ROLLBACK {xid}"));
        }
        // Names that only their own charset can write need the old way.
        for row in self.sql(DATABASES).unwrap_or_default() {
            if self.sql(&format!("DROP DATABASE `{}`", row[0].replace('`', "``"))).is_err() {
                return false;
            }
        }
        let users = "SELECT concat(quote(user), '@', quote(host)) FROM mysql.user WHERE user NOT IN ('root', 'tidelake', 'mariadb.sys', 'mysql.sys', 'mysql.session', 'mysql.infoschema')";
        for row in self.sql(users).unwrap_or_default() {
            let _ = self.sql(&format!("DROP USER {}", row[0]));
        }
        for (name, value) in self.globals() {
            let Some(first) = self.globals.get(&name).filter(|first| **first != value) else { continue };
            let set = |value: &str| self.sql(&format!("SET GLOBAL {name} = {value}")).is_ok();
            // Those that cannot be set are counters and states.
            let _ = set(first) || set(&format!("'{}'", first.replace('\\', "\\\\").replace('\'', "''")));
        }
        self.sql("CREATE DATABASE test CHARACTER SET latin1").is_ok()
            && self.upstream.client().try_batch_text("SELECT 1").is_ok()
            && suite.is_let_in(&self.relay)
            && self.tidelake.try_latest("SELECT 1").is_ok()
    }

    /// The names of XA transactions that a file left prepared, as SQL has them.
    fn prepared(&self) -> Vec<String> {
        if !self.upstream.kind().is_mysql() {
            let rows = self.sql("XA RECOVER FORMAT='SQL'").unwrap_or_default();
            return rows.into_iter().filter_map(|mut row| row.pop()).collect();
        }
        let rows = self.sql("XA RECOVER CONVERT XID").unwrap_or_default();
        let of_row = |row: Vec<String>| {
            let (digits, global) = (row[3].strip_prefix("0x")?.to_owned(), 2 * row[1].parse::<usize>().ok()?);
            Some(format!("x'{}', x'{}', {}", digits.get(..global)?, digits.get(global..)?, row[0]))
        };
        rows.into_iter().filter_map(of_row).collect()
    }

    /// For whoever has to find out.
    pub fn logs(&self) -> (String, PathBuf) {
        (self.tidelake.printed(), self.upstream.data_dir())
    }
}
