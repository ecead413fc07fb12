//! How fast a directory of binlog files becomes readable rows, alone or beside MariaDB's own replica.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tidelake_testkit::{MariaDb, MariaDbOptions};

use crate::history::{self, CHECK};
use crate::subject::Subject;
use crate::{CatchUp, peer};

const POLL: Duration = Duration::from_millis(20);

/// Writes the binlog, replays it, compares, prints the figures.
pub fn measure(tidelake: &Path, args: &CatchUp) -> Result<()> {
    let upstream = MariaDb::start(quick_server());
    let begin = Instant::now();
    let transactions = history::write(&upstream, args.changes, args.transaction);
    println!("upstream wrote {} row changes in {:.1} s", args.changes, begin.elapsed().as_secs_f64());
    upstream.execute("FLUSH BINARY LOGS");
    let (dir, bytes) = binlogs(&upstream)?;
    let wanted = upstream.batch_text(CHECK);

    let seconds = replay(tidelake, dir.path(), &wanted, args)?;
    let per_second = args.changes as f64 / seconds;
    println!("row changes        {} in {transactions} transactions", args.changes);
    println!("binlog             {:.1} MB", bytes as f64 / 1e6);
    println!("until readable     {seconds:.2} s (start of the process included)");
    println!("row changes/s      {per_second:.0}");
    println!("binlog MB/s        {:.1}", bytes as f64 / 1e6 / seconds);
    if args.beside_replica {
        let (took, processor) = peer::catch_up(&upstream, args.replica_threads)?;
        let peer = args.changes as f64 / took.as_secs_f64();
        println!("MariaDB's replica  {peer:.0} row changes/s ({} threads, optimistic)", args.replica_threads);
        println!("its processor time {processor:.2} s");
        println!("ratio              {:.1}", per_second / peer);
    }
    Ok(())
}

/// Seconds from the start of a Tidelake process until all of the directory is readable.
fn replay(tidelake: &Path, dir: &Path, wanted: &[u8], args: &CatchUp) -> Result<f64> {
    let begin = Instant::now();
    let options: Vec<&str> = args.option.iter().map(String::as_str).collect();
    let subject = Subject::run(tidelake, &format!("file:{}", dir.display()), &options)?;
    while !subject.has_table(history::END)? {
        std::thread::sleep(POLL);
    }
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(subject.client().batch_text(CHECK) == wanted, "the rows differ from the upstream's");
    println!("peak memory        {} MiB", subject.peak_mib()?);
    println!("processor time     {:.2} s", subject.processor_seconds()?);
    Ok(seconds)
}

/// The server's own speed does not matter here.
pub fn quick_server() -> MariaDbOptions {
    MariaDbOptions::default()
        .arg("--innodb-flush-log-at-trx-commit=0")
        .arg("--sync-binlog=0")
        .arg("--innodb-buffer-pool-size=1G")
}

/// Copies of the server's closed binlog files, and their size in bytes.
fn binlogs(upstream: &MariaDb) -> Result<(TempDir, u64)> {
    let dir = tempfile::tempdir()?;
    let mut bytes = 0;
    for entry in std::fs::read_dir(upstream.data_dir())? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a file name in UTF-8")?;
        if name.strip_prefix("binlog.").is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit())) {
            bytes += std::fs::copy(entry.path(), dir.path().join(&name))?;
        }
    }
    Ok((dir, bytes))
}
