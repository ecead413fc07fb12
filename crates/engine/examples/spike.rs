//! What the two doubtful steps of the write path cost on one core: encoding flushed rows as Parquet, and looking keys up
//! in a `.pki`: `cargo build --workspace --example spike`, then `target/debug/examples/spike [rows]`.
//!
//! Times are those that the thread had a processor (Linux), so that other work on the machine matters little; only cold
//! look-ups are measured by the clock, after the kernel was asked (`dd`) to forget the index. Whether it did is up to it.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};
use arrow::array::RecordBatch;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tidelake_core::testing::tables::{accounts, batch, int, text};
use tidelake_engine::decoders::Pki;
use tidelake_engine::parts::{count_found, write_index, write_rows};

const BATCH: i64 = 8192;

fn main() -> Result<()> {
    let rows: i64 = std::env::args().nth(1).map_or(Ok(1_000_000), |a| a.parse())?;
    let dir = tempfile::tempdir()?;
    encode(dir.path(), rows)?;
    look_up(dir.path(), rows as u64)
}

/// ~100-byte rows: an integer key, a small number, text that does not repeat.
fn encode(dir: &Path, rows: i64) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut some = |from: i64| {
        let note =
            |rng: &mut StdRng| text(&(0..5).map(|_| format!("{:016x}", rng.random::<u64>())).collect::<String>());
        let rows: Vec<_> = (from..from + BATCH).map(|id| vec![int(id), int(id % 1000), note(&mut rng)]).collect();
        batch(&accounts(1, "t"), &rows)
    };
    let batches: Vec<RecordBatch> = (0..rows / BATCH).map(|b| some(b * BATCH)).collect();
    let (rows, bytes) = (BATCH * batches.len() as i64, batches.iter().map(memory).sum::<usize>());
    for base in [false, true] {
        let path = dir.join("rows.parquet");
        let (seconds, written) = best(|| Ok(write_rows(&path, &accounts(1, "t"), &batches, base)?))?;
        let name = if base { "encode for the base level" } else { "encode for L0 (LZ4_RAW, births)" };
        let (speed, megabytes) = (rows as f64 / seconds, bytes as f64 / 1e6 / seconds);
        println!(
            "{name:48} {speed:12.0} rows/s {megabytes:8.0} MB/s, {:.2} of its size",
            written as f64 / bytes as f64
        );
    }
    Ok(())
}

fn memory(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}

fn look_up(dir: &Path, count: u64) -> Result<()> {
    // Even numbers are there.
    let key = |i: u64| (2 * i).to_be_bytes().to_vec();
    let keys: Vec<Vec<u8>> = (0..count).map(key).collect();
    let path = dir.join("keys.pki");
    let (seconds, _) = best(|| Ok(write_index(&path, &keys, true)?))?;
    report("write an index", count, seconds);
    for filter in [true, false] {
        let pki = write_index(&path, &keys, filter)?;
        let with = if filter { "filter" } else { "no filter" };
        for batch in [4, 1_000, 100_000] {
            measure(&pki, &path, count, batch, 0, false, &format!("{with}, batches of {batch}"))?;
        }
        measure(&pki, &path, count, 10_000, 1, false, &format!("{with}, batches of 10000, none is there"))?;
        measure(&pki, &path, count, 10_000, 0, true, &format!("{with}, batches of 10000, cold"))?;
    }
    Ok(())
}

/// Random keys in sorted batches, as staging looks them up; `offset` 1: keys that are not there.
fn measure(pki: &Pki, path: &Path, count: u64, batch: usize, offset: u64, cold: bool, name: &str) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(2);
    let mut wanted: Vec<u64> = (0..count).collect();
    wanted.shuffle(&mut rng);
    wanted.truncate(20_000.max(batch));
    let wanted: Vec<Vec<u8>> = wanted.iter().map(|i| (2 * i + offset).to_be_bytes().to_vec()).collect();
    let mut seconds = f64::MAX;
    for _ in 0..if cold { 1 } else { 3 } {
        if cold {
            forget(path)?;
        }
        let begun = Clock::start(cold);
        let mut found = 0;
        for part in wanted.chunks(batch) {
            let mut part: Vec<&[u8]> = part.iter().map(Vec::as_slice).collect();
            part.sort_unstable();
            found += count_found(pki, &part)?;
        }
        seconds = seconds.min(begun.seconds()?);
        ensure!(found == if offset == 0 { wanted.len() as u64 } else { 0 }, "{found} keys found");
    }
    report(name, wanted.len() as u64, seconds);
    Ok(())
}

/// Asks the kernel to drop a file from its cache.
fn forget(path: &Path) -> Result<()> {
    let file = format!("of={}", path.display());
    let done = Command::new("dd").args([&file, "oflag=nocache", "conv=notrunc,fdatasync", "count=0"]).output()?;
    ensure!(done.status.success(), "dd failed");
    Ok(())
}

fn best<T>(mut work: impl FnMut() -> Result<T>) -> Result<(f64, T)> {
    let mut seconds = f64::MAX;
    let mut last = work()?;
    for _ in 0..3 {
        let begun = Clock::start(false);
        last = black_box(work()?);
        seconds = seconds.min(begun.seconds()?);
    }
    Ok((seconds, last))
}

/// Seconds on a processor, or by the clock.
struct Clock {
    began: f64,
    by_clock: Option<Instant>,
}

impl Clock {
    fn start(by_clock: bool) -> Clock {
        Clock { began: on_processor().unwrap_or(0.0), by_clock: by_clock.then(Instant::now) }
    }

    fn seconds(&self) -> Result<f64> {
        match self.by_clock {
            Some(begun) => Ok(begun.elapsed().as_secs_f64()),
            None => Ok(on_processor()? - self.began),
        }
    }
}

fn on_processor() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split_whitespace().next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}

fn report(name: &str, count: u64, seconds: f64) {
    println!("{name:48} {:12.0} keys/s", count as f64 / seconds);
}
