//! `SELECT *` of every table on both sides, over two connections that stay open.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Value};
use tidelake_testkit::MariaDb;
use tokio::runtime::Runtime;

use super::report::Report;
use crate::compare::quoted;
use crate::tidelake::Tidelake;

/// Longest time for a table to be copied again.
const SETTLE: Duration = Duration::from_secs(60);

/// The same difference seen so often, with pauses between, is one: other sessions may write meanwhile.
const LOOKS: u32 = 4;

const UPSTREAM: &str = "SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = '', lock_wait_timeout = 1, \
    innodb_lock_wait_timeout = 1, foreign_key_checks = 0, character_set_results = utf8mb4";
const OF_MARIADB: &str = "SET max_statement_time = 10, old_mode = ''";
const OF_MYSQL: &str = "SET max_execution_time = 10000";
const HERE: &str = "SET tidelake_freshness = 'latest', tidelake_freshness_timeout = 60, time_zone = '+00:00'";

const LIST: &str = "SELECT table_schema, table_name FROM information_schema.tables \
    WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') \
    AND table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys', 'mtr')";

type Names = Vec<(String, String)>;

/// Names of the columns, then the rows.
type Rows = Vec<Vec<Option<Vec<u8>>>>;

/// Both sides of one upstream.
pub struct Contents {
    runtime: Runtime,
    mysql: bool,
    upstream: Conn,
    here: Conn,
    /// Where the binlog was when everything was last the same.
    same_at: String,
}

/// What one look at a table showed.
enum Look {
    Equal,
    Different(String),
    /// Nobody can read it upstream now.
    Unreadable,
    /// Copied, or copied again.
    Coming(String),
    Stopped(String),
}

impl Contents {
    pub fn open(upstream: &MariaDb, tidelake: &Tidelake) -> Contents {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let connect = |port: u16, setup: &'static [&'static str]| {
            let url = format!("mysql://root@127.0.0.1:{port}?prefer_socket=false");
            runtime.block_on(async move {
                let mut conn = Conn::new(Opts::from_url(&url).expect("made here")).await?;
                for sql in setup {
                    conn.query_drop(*sql).await?;
                }
                Ok::<Conn, mysql_async::Error>(conn)
            })
        };
        let mysql = upstream.kind().is_mysql();
        let here = connect(tidelake.ports().mysql, &[HERE]).unwrap_or_else(|e| panic!("connect to tidelake: {e}"));
        let setup: &[&str] = if mysql { &[UPSTREAM, OF_MYSQL] } else { &[UPSTREAM, OF_MARIADB] };
        let upstream = connect(upstream.port(), setup).unwrap_or_else(|e| panic!("connect to the upstream: {e}"));
        Contents { runtime, mysql, upstream, here, same_at: String::new() }
    }

    /// Runs a statement upstream; its rows, or the server's complaint.
    pub fn upstream(&mut self, sql: &str) -> Result<Rows, String> {
        self.runtime.block_on(rows(&mut self.upstream, sql))
    }

    /// Compares everything, and waits for tables that are copied again.
    pub fn compare(&mut self, place: &str, report: &mut Report) {
        let Ok(at) = self.position() else { return };
        if at == self.same_at {
            return;
        }
        // Something holds metadata; the next comparison will see it.
        let Ok(names) = self.upstream(LIST).map(|rows| names(&rows)) else {
            report.busy += 1;
            return;
        };
        report.comparisons += 1;
        let (begin, mut looks) = (Instant::now(), 0);
        let mut open: BTreeMap<(String, String), Option<Look>> = names.into_iter().map(|name| (name, None)).collect();
        let mut all_same = true;
        loop {
            looks += 1;
            let last = looks >= LOOKS;
            let late = begin.elapsed() > SETTLE;
            let mut next = BTreeMap::new();
            for (name, _) in open {
                match self.look(&name.0, &name.1) {
                    Look::Equal => report.equal(&name),
                    Look::Unreadable => report.busy += 1,
                    Look::Stopped(reason) => report.stopped(&name, place, &reason),
                    Look::Different(_) if last && self.is_broken(&name) => report.busy += 1,
                    Look::Different(text) if last => {
                        all_same = false;
                        let definition = self.definition(&name);
                        report.different(&name, place, format!("{text}\n{definition}"));
                    }
                    Look::Coming(reason) if late => {
                        all_same = false;
                        report.stopped(&name, place, &format!("not copied again within {SETTLE:?}: {reason}"));
                    }
                    look => drop(next.insert(name, Some(look))),
                }
            }
            if next.is_empty() {
                break;
            }
            // only differences count as looks
            if next.values().all(|look| matches!(look, Some(Look::Coming(_)))) {
                looks = 0;
            }
            open = next;
            std::thread::sleep(Duration::from_millis(if looks > 1 { 200 } else { 10 }));
        }
        all_same &= self.extra(place, report);
        if all_same {
            self.same_at = at;
        }
    }

    /// Tables that are here and not upstream; true if there are none.
    fn extra(&mut self, place: &str, report: &mut Report) -> bool {
        for look in 1..=LOOKS {
            let Ok(wanted) = self.upstream(LIST).map(|rows| names(&rows)) else { return false };
            let here = match self.runtime.block_on(rows(&mut self.here, LIST)) {
                Ok(rows) => names(&rows),
                Err(error) if error.contains("for the copy of table") => return false,
                Err(error) => {
                    report.refused(place, &error);
                    return false;
                }
            };
            let extra: Names = here.into_iter().filter(|name| !wanted.contains(name)).collect();
            if extra.is_empty() {
                return true;
            }
            if look == LOOKS {
                extra.iter().for_each(|name| report.different(name, place, "is here but not upstream".into()));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        false
    }

    fn position(&mut self) -> Result<String, String> {
        let rows = self.upstream(if self.mysql { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" })?;
        Ok(rows.into_iter().flatten().flatten().map(|cell| String::from_utf8_lossy(&cell).into_owned()).collect())
    }

    fn look(&mut self, database: &str, table: &str) -> Look {
        let sql = format!("SELECT * FROM {}.{}", quoted(database), quoted(table));
        let Ok(mut wanted) = self.upstream(&sql) else { return Look::Unreadable };
        let mut found = match self.runtime.block_on(rows(&mut self.here, &sql)) {
            Ok(found) => found,
            // Its copy may have to wait for locks that the file's own session holds.
            Err(error)
                if [": resync: ", "still being copied", "for the copy of table"].iter().any(|t| error.contains(t)) =>
            {
                return Look::Coming(error);
            }
            Err(error) if error.contains(" is stopped at ") => return Look::Stopped(error),
            Err(error) => return Look::Different(error),
        };
        wanted[1..].sort_unstable();
        found[1..].sort_unstable();
        if wanted == found { Look::Equal } else { Look::Different(describe(&wanted, &found)) }
    }

    /// True if the upstream itself finds that the table's files do not fit together: then nobody knows its rows.
    fn is_broken(&mut self, (database, table): &(String, String)) -> bool {
        let found = self.upstream(&format!("CHECK TABLE {}.{}", quoted(database), quoted(table))).unwrap_or_default();
        found.iter().skip(1).any(|row| row.get(3).is_some_and(|text| text.as_deref() == Some(b"Corrupt")))
    }

    /// Its definition upstream, for whoever has to find out.
    fn definition(&mut self, (database, table): &(String, String)) -> String {
        let rows = self.upstream(&format!("SHOW CREATE TABLE {}.{}", quoted(database), quoted(table)));
        let text = rows.ok().and_then(|rows| rows.get(1)?.get(1)?.clone()).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Over the text protocol: bytes as the server prints them.
async fn rows(conn: &mut Conn, sql: &str) -> Result<Rows, String> {
    let told = |e: mysql_async::Error| e.to_string();
    let mut result = conn.query_iter(sql).await.map_err(told)?;
    let columns = result.columns_ref().iter().map(|c| Some(c.name_ref().to_vec())).collect();
    let mut all: Rows = vec![columns];
    for row in result.collect::<mysql_async::Row>().await.map_err(told)? {
        let cells = row.unwrap_raw().into_iter();
        all.push(cells.map(|cell| cell.and_then(bytes)).collect());
    }
    result.drop_result().await.map_err(told)?;
    Ok(all)
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(bytes),
        other => Some(other.as_sql(false).into_bytes()),
    }
}

fn names(rows: &Rows) -> Names {
    let text = |cell: &Option<Vec<u8>>| String::from_utf8_lossy(cell.as_deref().unwrap_or_default()).into_owned();
    rows[1..].iter().map(|row| (text(&row[0]), text(&row[1]))).collect()
}

fn describe(wanted: &Rows, found: &Rows) -> String {
    if wanted[0] != found[0] {
        return format!("columns {} upstream, {} here", line(&wanted[0]), line(&found[0]));
    }
    let without = |these: &Rows, those: &Rows| -> Rows {
        let rest = &those[1..];
        these[1..].iter().filter(|row| rest.binary_search(row).is_err()).cloned().collect()
    };
    let (missing, wrong) = (without(wanted, found), without(found, wanted));
    let mut text = format!("{} rows upstream, {} here", wanted.len() - 1, found.len() - 1);
    for (missing, wrong) in missing.iter().zip(&wrong).take(3) {
        let cells = wanted[0].iter().zip(missing.iter().zip(wrong)).filter(|(_, (a, b))| a != b);
        for (column, (missing, wrong)) in cells.take(6) {
            text += &format!("\n      {}: {} upstream, {} here", cell(column), cell(missing), cell(wrong));
        }
    }
    if missing.len() != wrong.len() {
        let more = |rows: &Rows| rows.iter().take(3).map(line).collect::<Vec<_>>();
        text += &format!("\n      missing {:?}\n      wrong {:?}", more(&missing), more(&wrong));
    }
    text
}

fn cell(bytes: &Option<Vec<u8>>) -> String {
    let text = bytes.as_ref().map_or("NULL".to_owned(), |bytes| bytes.escape_ascii().to_string());
    text.chars().take(200).collect()
}

#[allow(clippy::ptr_arg, reason = "one of the rows")]
fn line(row: &Vec<Option<Vec<u8>>>) -> String {
    row.iter().map(cell).collect::<Vec<_>>().join("|").chars().take(300).collect()
}
