//! How fast small transactions are appended, with a sync every few milliseconds on another thread, and read back.
//!
//! `cargo run -p tidelake-buffer --example append_speed [transactions] [bytes of an event]`

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidelake_buffer::{BufferOptions, DiskBuffer};
use tidelake_core::ports::{Buffer, BufferedPayload};
use tidelake_core::{CommitSeq, Error, Result, SourcePosition};

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|a| a.parse::<u64>().ok());
    let transactions = numbers.next().unwrap_or(1_000_000);
    let event = vec![7; numbers.next().unwrap_or(100) as usize];
    let dir = tempfile::tempdir().map_err(|e| Error::io("create a directory", e))?;
    let buffer = DiskBuffer::open(BufferOptions::new(dir.path()))?;
    let (begun, done) = (Instant::now(), AtomicBool::new(false));
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) && buffer.sync().is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        for n in 1..=transactions {
            let mut transaction = buffer.begin(&format!("0-1-{n}"))?;
            transaction.push(&event)?;
            transaction.push(&event)?;
            let token = format!("{{\"file\":\"binlog.000001\",\"pos\":{n}}}");
            transaction.commit(SourcePosition { major: 1, minor: n, token, commit_time_us: 0 })?;
        }
        done.store(true, Ordering::Relaxed);
        buffer.sync().map(|_| ())
    })?;
    report("appended", transactions, buffer.bytes().0, begun.elapsed());
    let begun = Instant::now();
    let (mut reader, mut bytes) = (buffer.read_after(CommitSeq::ZERO)?, 0);
    while let Some(transaction) = reader.next()? {
        let BufferedPayload::Events(events) = transaction.payload else { continue };
        for event in events {
            bytes += event?.len() as u64;
        }
    }
    report("read", transactions, bytes, begun.elapsed());
    drop((reader, buffer));
    let begun = Instant::now();
    let buffer = DiskBuffer::open(BufferOptions::new(dir.path()))?;
    report("recovered", buffer.head().borrow().0, buffer.bytes().0, begun.elapsed());
    Ok(())
}

fn report(what: &str, transactions: u64, bytes: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    let (rate, megabytes) = (transactions as f64 / seconds, bytes as f64 / 1e6 / seconds);
    println!("{what} {transactions} transactions in {seconds:.2} s: {rate:.0} transactions/s, {megabytes:.0} MB/s");
}
