//! Transactions that keep coming at the upstream while a scenario does its worst to Tidelake.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tidelake_testkit::MariaDb;

/// What one client of the upstream does.
pub trait Workload: Send + 'static {
    /// The statements of the next transaction.
    fn transaction(&mut self, rng: &mut StdRng) -> Vec<String>;
}

/// Deadlock, lock timeout, definition changed under a transaction, duplicate key, table or column gone: a client with bad
/// luck. The transaction is rolled back whole.
const BAD_LUCK: [u16; 8] = [1213, 1205, 1412, 1062, 1146, 1054, 1136, 1020];

/// Statements for MySQL, which has no tables `seq_1_to_N`.
pub fn with_sequences(upstream: &MariaDb, sql: &str) -> String {
    if !upstream.kind().is_mysql() {
        return sql.to_owned();
    }
    let mut parts = sql.split("seq_1_to_");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_at(part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len()));
        out += &sequence(number);
        // a table in FROM may go without a name of its own, this may not
        out += if rest.starts_with(" o ") || rest.starts_with(" l;") { "" } else { " AS numbers" };
        out += rest;
    }
    out
}

/// A query of the numbers from 1 on, made of digits: MySQL 5.6 has no recursion.
fn sequence(upto: &str) -> String {
    let digit: Vec<String> = (0..10).map(|d| format!("SELECT {d} AS d")).collect();
    let digit = digit.join(" UNION ALL ");
    let places: Vec<String> = (0..upto.len()).map(|i| format!("{} * d{i}.d", 10_u64.pow(i as u32))).collect();
    let digits: Vec<String> = (0..upto.len()).map(|i| format!("({digit}) d{i}")).collect();
    format!("(SELECT 1 + {} AS seq FROM {} HAVING seq <= {upto})", places.join(" + "), digits.join(" CROSS JOIN "))
}

/// Clients at work, one thread each.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Done>>,
}

/// What one client did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub committed: u64,
    pub rolled_back: u64,
}

impl Load {
    /// Starts one client per workload, each with a seed of its own and a pause after each transaction.
    pub fn start(upstream: &MariaDb, workloads: Vec<Box<dyn Workload>>, pause: Duration) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let url = upstream.url();
        let start = |(seed, workload): (u64, Box<dyn Workload>)| {
            let client = Client { url: url.clone(), stop: Arc::clone(&stop), pause };
            std::thread::spawn(move || client.work(workload, seed))
        };
        let clients = (1..).zip(workloads).map(start).collect();
        Load { stop, clients }
    }

    /// Ends after the transactions under way; returns what each client did.
    pub fn stop(mut self) -> Vec<Done> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.drain(..).map(|c| c.join().expect("a client of the upstream failed")).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Client {
    url: String,
    stop: Arc<AtomicBool>,
    pause: Duration,
}

impl Client {
    fn work(&self, mut workload: Box<dyn Workload>, seed: u64) -> Done {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut done = Done::default();
            let mut conn = None;
            while !self.stop.load(Ordering::Relaxed) {
                let Some(open) = &mut conn else {
                    // The upstream may be down for a moment: scenarios restart it.
                    conn = connect(&self.url).await.ok();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                match run(open, &workload.transaction(&mut rng)).await {
                    Ok(()) => done.committed += 1,
                    Err(Failure::BadLuck) => done.rolled_back += 1,
                    Err(Failure::Lost) => conn = None,
                }
                tokio::time::sleep(self.pause).await;
            }
            done
        })
    }
}

enum Failure {
    BadLuck,
    Lost,
}

async fn connect(url: &str) -> Result<Conn, mysql_async::Error> {
    let mut conn = Conn::new(Opts::from_url(url)?).await?;
    conn.query_drop("SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00'").await?;
    conn.query_drop("SET innodb_lock_wait_timeout = 2, lock_wait_timeout = 5").await?;
    Ok(conn)
}

async fn run(conn: &mut Conn, statements: &[String]) -> Result<(), Failure> {
    match try_run(conn, statements).await {
        Ok(()) => Ok(()),
        // The server says that it is going away (SQLSTATE class 08), before the line is cut.
        Err((_, mysql_async::Error::Server(e))) if e.state.starts_with("08") => Err(Failure::Lost),
        Err((sql, mysql_async::Error::Server(e))) => {
            assert!(BAD_LUCK.contains(&e.code), "the workload itself is wrong: {sql}: {e}");
            conn.query_drop("ROLLBACK").await.map_err(|_| Failure::Lost)?;
            Err(Failure::BadLuck)
        }
        Err(_) => Err(Failure::Lost),
    }
}

async fn try_run<'a>(conn: &mut Conn, statements: &'a [String]) -> Result<(), (&'a str, mysql_async::Error)> {
    conn.query_drop("BEGIN").await.map_err(|e| ("BEGIN", e))?;
    for sql in statements {
        conn.query_drop(sql).await.map_err(|e| (sql.as_str(), e))?;
    }
    conn.query_drop("COMMIT").await.map_err(|e| ("COMMIT", e))
}
