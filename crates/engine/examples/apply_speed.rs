//! How fast the engine takes, flushes and scans rows: `cargo run --profile <p> -p tidelake-engine --example apply_speed [rows]`.
//!
//! One table of ~100-byte rows with an integer key: inserts in batches of 10 000, then updates of every tenth
//! row that are in files by then, then full scans of files and of memory.

use std::time::Instant;

use anyhow::Result;
use futures::TryStreamExt;
use tidelake_core::ports::{ScanRequest, StoreEngine};
use tidelake_core::testing::tables::{accounts, changes, create, inserts, int, lease, position, text};
use tidelake_core::{CommitSeq, RowOp, TableDef, TableId, WriterEpoch};
use tidelake_engine::{EngineOptions, MagicEngine};

const BATCH: i64 = 10_000;

#[tokio::main]
async fn main() -> Result<()> {
    let rows: i64 = std::env::args().nth(1).map_or(Ok(1_000_000), |a| a.parse())?;
    let dir = tempfile::tempdir()?;
    let mut options = EngineOptions::new(dir.path().join("engine"));
    options.memtable_bytes = u64::MAX / 4;
    let engine = MagicEngine::open(options).await?;
    let mut writer = engine.open_writer(WriterEpoch(1)).await?;
    let def = accounts(1, "t");
    writer.stage(create(&def, 1)).await?;
    let mut seq = 1;
    let steps: Vec<_> = (0..rows / BATCH).map(|b| inserts(&def, b as u64 + 2, &batch(b * BATCH, 0))).collect();
    let start = Instant::now();
    for step in steps {
        seq += 1;
        writer.stage(step).await?;
        writer.publish(CommitSeq(seq), position(seq)).await?;
    }
    report("stage inserts", rows as f64 / start.elapsed().as_secs_f64(), "rows/s");
    scan(&engine, &def, seq, "scan memory").await?;
    let memory = engine.unflushed_bytes();
    let start = Instant::now();
    engine.flush().await?;
    let seconds = start.elapsed().as_secs_f64();
    report("flush", memory as f64 / 1e6 / seconds, "MB of memtable/s");
    report("flush", rows as f64 / seconds, "rows/s");
    scan(&engine, &def, seq, "scan file").await?;
    seq = update_tenth(&mut *writer, &def, rows, seq).await?;
    scan(&engine, &def, seq, "scan file and updates").await?;
    let stats = engine.table_stats(TableId(1))?;
    println!("{} live rows, {} file bytes, {} memory bytes", stats.live_rows, stats.file_bytes, stats.memory_bytes);
    Ok(())
}

fn batch(from: i64, balance: i64) -> Vec<Vec<tidelake_core::CellValue>> {
    (from..from + BATCH).map(|id| row(id, balance)).collect()
}

fn row(id: i64, balance: i64) -> Vec<tidelake_core::CellValue> {
    // Spread keys, so that nothing profits from their order.
    let key = id.wrapping_mul(0x9E37_79B1) & 0x7fff_ffff;
    vec![int(key), int(balance), text(&format!("{id:0>40}-{key:0>40}"))]
}

async fn update_tenth(
    writer: &mut dyn tidelake_core::ports::StoreWriter,
    def: &TableDef,
    rows: i64,
    mut seq: u64,
) -> Result<u64> {
    let ids: Vec<i64> = (0..rows).step_by(10).collect();
    let steps: Vec<_> = ids
        .chunks(BATCH as usize / 2)
        .enumerate()
        .map(|(i, ids)| {
            let at = seq + i as u64 + 1;
            let pair = |id: &i64| [(at, RowOp::Delete, row(*id, 0)), (at, RowOp::Insert, row(*id, 1))];
            changes(def, &ids.iter().flat_map(pair).collect::<Vec<_>>())
        })
        .collect();
    let start = Instant::now();
    for step in steps {
        seq += 1;
        writer.stage(step).await?;
        writer.publish(CommitSeq(seq), position(seq)).await?;
    }
    report("stage updates of rows in files", ids.len() as f64 / start.elapsed().as_secs_f64(), "rows/s");
    Ok(seq)
}

async fn scan(engine: &MagicEngine, def: &TableDef, seq: u64, what: &str) -> Result<()> {
    let start = Instant::now();
    let plan = engine.plan_scan(&ScanRequest::new(&lease(seq), def.id)).await?;
    let mut rows = 0;
    for split in &plan.splits {
        let mut batches = engine.read_split(split).await?;
        while let Some(batch) = batches.try_next().await? {
            rows += batch.num_rows();
        }
    }
    report(what, rows as f64 / start.elapsed().as_secs_f64(), "rows/s");
    Ok(())
}

fn report(what: &str, value: f64, unit: &str) {
    println!("{what:32} {value:14.0} {unit}");
}
