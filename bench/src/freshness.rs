//! How long after its commit upstream a transaction is seen by readers here, under a steady load.
//!
//! Each client counts its transactions in a row of its own, written in the same transaction as rows of a growing
//! table. A reader asks for all counters again and again; a commit is *seen* when the first answer that has it
//! arrives. The reader's own pace (some milliseconds) is part of the figure.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tidelake_testkit::MariaDb;
use tokio::sync::mpsc;

use crate::Freshness;
use crate::catch_up::quick_server;
use crate::subject::Subject;

const WARM_UP: Duration = Duration::from_secs(5);

/// One commit: whose, its number, when the upstream had answered it.
type Commit = (u32, u64, Instant);

/// Runs the load, reads, prints the figures.
pub fn measure(tidelake: &Path, args: &Freshness) -> Result<()> {
    let upstream = MariaDb::start(quick_server());
    let counters: Vec<String> = (0..args.clients).map(|client| format!("({client}, 0)")).collect();
    upstream.execute(&format!(
        "CREATE DATABASE bench; CREATE TABLE bench.counters (client INT PRIMARY KEY, n BIGINT NOT NULL); \
         CREATE TABLE bench.ledger (client INT, n BIGINT, line INT, what VARCHAR(40), at DATETIME(3), \
         amount DECIMAL(12,2), PRIMARY KEY (client, n, line)); \
         INSERT INTO bench.counters VALUES {}",
        counters.join(", ")
    ));
    let subject = Subject::run(tidelake, &upstream.source_url(), &["--interval", &args.interval])?;
    let _ = subject.client().batch_text("SET tidelake_freshness = 'latest'; SELECT 1");
    let runtime = tokio::runtime::Runtime::new()?;
    let mut delays = runtime.block_on(run(&upstream, &subject, args))?;
    let total = "SELECT COUNT(*), SUM(n) FROM bench.ledger";
    let found = subject.client().batch_text(&format!("SET tidelake_freshness = 'latest'; {total}"));
    ensure!(found == upstream.batch_text(total), "the rows differ from the upstream's");
    delays.sort_unstable();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!("interval           {}", args.interval);
    let commits = delays.len() as f64 / args.seconds as f64;
    println!("commits/s          {commits:.0}");
    println!("row changes/s      {:.0}", commits * f64::from(args.changes));
    println!("commit to visible  p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", at(0.5), at(0.99), at(1.0));
    println!("peak memory        {} MiB", subject.peak_mib()?);
    println!("processor time     {:.2} s", subject.processor_seconds()?);
    Ok(())
}

/// The delays of all commits after the warm-up.
async fn run(upstream: &MariaDb, subject: &Subject, args: &Freshness) -> Result<Vec<Duration>> {
    let (send, commits) = mpsc::unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let pause = Duration::from_secs_f64(f64::from(args.clients) / f64::from(args.commits.max(1)));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..args.clients {
        clients.spawn(work(upstream.url(), client, args.changes, pause, send.clone(), stop.clone()));
    }
    drop(send);
    let begin = Instant::now() + WARM_UP;
    let end = begin + Duration::from_secs(args.seconds);
    let reader = Conn::new(Opts::from_url(&format!("mysql://root@127.0.0.1:{}", subject.mysql_port()))?).await?;
    let delays = watch(reader, commits, begin, end, &stop).await?;
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    ensure!(!delays.is_empty(), "no commit was seen");
    Ok(delays)
}

/// One client of the upstream, at its own steady pace.
async fn work(
    url: String,
    client: u32,
    changes: u32,
    pause: Duration,
    commits: mpsc::UnboundedSender<Commit>,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    let mut conn = Conn::new(Opts::from_url(&url)?).await?;
    let mut tick = tokio::time::interval(pause);
    for n in 1.. {
        tick.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        conn.query_drop("BEGIN").await?;
        let lines =
            (1..changes).map(|line| format!("({client}, {n}, {line}, 'entry {n} of {client}', NOW(3), {n}.25)"));
        let lines = lines.collect::<Vec<_>>().join(", ");
        conn.query_drop(format!("INSERT INTO bench.ledger VALUES {lines}")).await?;
        conn.query_drop(format!("UPDATE bench.counters SET n = {n} WHERE client = {client}")).await?;
        conn.query_drop("COMMIT").await?;
        if commits.send((client, n, Instant::now())).is_err() {
            break;
        }
    }
    conn.disconnect().await?;
    Ok(())
}

/// Reads the counters until every commit before `end` was seen.
async fn watch(
    mut reader: Conn,
    mut commits: mpsc::UnboundedReceiver<Commit>,
    begin: Instant,
    end: Instant,
    stop: &AtomicBool,
) -> Result<Vec<Duration>> {
    let (mut waiting, mut delays) = (Vec::new(), Vec::new());
    loop {
        let rows: Vec<(u32, u64)> = reader.query("SELECT client, n FROM bench.counters").await?;
        let seen_at = Instant::now();
        while let Ok(commit) = commits.try_recv() {
            waiting.push(commit);
        }
        let mut unseen = Vec::new();
        for (client, n, at) in waiting.drain(..) {
            let (_, seen) = rows.iter().find(|(c, _)| *c == client).context("a counter is missing")?;
            match *seen >= n {
                false => unseen.push((client, n, at)),
                true if at >= begin && at < end => delays.push(seen_at.saturating_duration_since(at)),
                true => {}
            }
        }
        waiting = unseen;
        if Instant::now() >= end {
            stop.store(true, Ordering::Relaxed);
            if waiting.iter().all(|(_, _, at)| *at >= end) {
                reader.disconnect().await?;
                return Ok(delays);
            }
        }
    }
}
