//! How fast a directory of binlog files becomes readable rows.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tidelake_testkit::{MariaDb, MariaDbOptions};

use crate::CatchUp;
use crate::subject::Subject;

const POLL: Duration = Duration::from_millis(20);

/// Eleven columns of the usual kinds.
const SETUP: &str = "CREATE DATABASE bench; \
    CREATE TABLE bench.orders (id BIGINT PRIMARY KEY, customer INT NOT NULL, product INT UNSIGNED NOT NULL, \
    amount DECIMAL(12,2) NOT NULL, quantity SMALLINT NOT NULL, price DOUBLE NOT NULL, state VARCHAR(12) NOT NULL, \
    note VARCHAR(60), day DATE NOT NULL, at DATETIME(3) NOT NULL, changed TIMESTAMP(6) NOT NULL);";

/// Writes the binlog, replays it, compares, prints the figures.
pub fn measure(tidelake: &Path, args: &CatchUp) -> Result<()> {
    let upstream = MariaDb::start(quick_server());
    let begin = Instant::now();
    let transactions = write_history(&upstream, args);
    println!("upstream wrote {} row changes in {:.1} s", args.changes, begin.elapsed().as_secs_f64());
    upstream.execute("FLUSH BINARY LOGS");
    let (dir, bytes) = binlogs(&upstream)?;
    let wanted = upstream.batch_text(CHECK);

    let begin = Instant::now();
    let subject = Subject::run(tidelake, &format!("file:{}", dir.path().display()), &[])?;
    loop {
        let status = subject.status()?;
        if status["source"]["state"] == "finished" && status["seq"]["head"] == status["seq"]["published"] {
            break;
        }
        std::thread::sleep(POLL);
    }
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(subject.client().batch_text(CHECK) == wanted, "the rows differ from the upstream's");
    println!("row changes        {}", args.changes);
    println!("transactions       {transactions}");
    println!("binlog             {:.1} MB", bytes as f64 / 1e6);
    println!("until readable     {seconds:.2} s (start of the process included)");
    println!("row changes/s      {:.0}", args.changes as f64 / seconds);
    println!("binlog MB/s        {:.1}", bytes as f64 / 1e6 / seconds);
    println!("peak memory        {} MiB", subject.peak_mib()?);
    Ok(())
}

const CHECK: &str = "SELECT COUNT(*), SUM(id), SUM(amount), SUM(quantity), MIN(at), MAX(changed), COUNT(note), \
    COUNT(DISTINCT state) FROM bench.orders";

/// The server's own speed does not matter here.
pub fn quick_server() -> MariaDbOptions {
    MariaDbOptions::default()
        .arg("--innodb-flush-log-at-trx-commit=0")
        .arg("--sync-binlog=0")
        .arg("--innodb-buffer-pool-size=1G")
}

/// Six in ten changes insert, three update (some of the row), one deletes.
fn write_history(upstream: &MariaDb, args: &CatchUp) -> u64 {
    upstream.execute(SETUP);
    let (mut rows, mut done, mut transactions) = (0, 0, 0);
    let (mut deleted, mut script) = (0, String::new());
    while done < args.changes {
        let size = args.transaction.min(args.changes - done);
        let _ = match transactions % 10 {
            0..=2 | 4..=6 => {
                let _ = write!(script, "{}", insert(rows + 1, size));
                rows += size;
                Ok(())
            }
            3 | 7 | 8 if rows >= deleted + size => write!(
                script,
                "UPDATE bench.orders SET amount = amount + 1, state = 'paid', changed = changed + INTERVAL 1 SECOND \
                 WHERE id > {0} AND id <= {0} + {size};",
                rows - size
            ),
            _ if rows >= deleted + size => {
                deleted += size;
                write!(script, "DELETE FROM bench.orders WHERE id > {} AND id <= {deleted};", deleted - size)
            }
            _ => {
                let _ = write!(script, "{}", insert(rows + 1, size));
                rows += size;
                Ok(())
            }
        };
        done += size;
        transactions += 1;
        if script.len() > 1 << 20 {
            upstream.execute(&std::mem::take(&mut script));
        }
    }
    upstream.execute(&script);
    transactions
}

fn insert(first: u64, rows: u64) -> String {
    let last = first + rows - 1;
    format!(
        "INSERT INTO bench.orders SELECT seq, seq % 50021, seq % 997, (seq % 100000) / 100, seq % 12, seq / 7, \
         ELT(1 + seq % 4, 'new', 'paid', 'packed', 'sent'), IF(seq % 3, CONCAT('note ', MD5(seq)), NULL), \
         '2024-01-01' + INTERVAL seq % 700 DAY, '2024-01-01' + INTERVAL seq SECOND, \
         '2024-01-01' + INTERVAL seq * 1000 MICROSECOND FROM bench.seq_{first}_to_{last};"
    )
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
