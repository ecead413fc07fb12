//! How long a process is away after `kill -9`: until it answers again, and until all is there that it had shown.
//!
//! Part of the rows were in files, the rest in the memtable when it was killed: the *tail*, which is decoded again out of the Data Buffer.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidelake_testkit::MariaDb;

use crate::Restart;
use crate::catch_up::quick_server;
use crate::history::{self, CHECK};
use crate::subject::Subject;

const POLL: Duration = Duration::from_millis(5);
const ROWS: &str = "SELECT COUNT(*) FROM bench.orders";

/// Replicates, kills, starts again, compares, prints the figures.
pub fn measure(tidelake: &Path, args: &Restart) -> Result<()> {
    let upstream = MariaDb::start(quick_server());
    let options: Vec<&str> = args.option.iter().map(String::as_str).collect();
    let mut subject = Subject::run(tidelake, &upstream.source_url(), &options)?;
    history::write(&upstream, args.changes, 1_000);
    let latest = |query: &str| format!("SET tidelake_freshness = 'latest'; {query}");
    let wanted = upstream.batch_text(CHECK);
    ensure!(subject.client().batch_text(&latest(CHECK)) == wanted, "the rows differ from the upstream's");
    let (durable, published) = subject.seqs()?;
    let newest = upstream.batch_text(ROWS);
    let begun = Instant::now();
    subject.kill_and_start()?;
    let listens = begun.elapsed();
    let _ = subject.client().batch_text("SELECT 1");
    let answers = begun.elapsed();
    // What was shown is waited for, so the first answer about the table has all of it.
    while subject.client().batch_text(ROWS) != newest {
        std::thread::sleep(POLL);
    }
    let all = begun.elapsed();
    ensure!(subject.client().batch_text(CHECK) == wanted, "the rows differ after the restart");
    println!("row changes        {}, 1000 per transaction", args.changes);
    println!("tail               {} of {published} transactions were not durable in files", published - durable);
    for (what, time) in [("listens", listens), ("answers", answers), ("has all rows", all)] {
        println!("{what:18} {:.0} ms after kill -9", time.as_secs_f64() * 1e3);
    }
    println!("processor time     {:.2} s since the start", subject.processor_seconds()?);
    Ok(())
}
