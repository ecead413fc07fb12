//! What reading costs beside plain Parquet, as ratios in one run: `cargo bench --workspace --bench scan -- [ROWS]`
//! (`--profile dev` before `--` for a quick look).
//!
//! One table of ~100-byte rows with an integer key, written by the engine, and the same rows as one plain Parquet file with the same
//! settings, read by the arrow reader on one thread. Scans: compacted; with 10 % of the rows updated since and not
//! compacted. Then look-ups of random keys. Best of five.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use arrow::array::RecordBatch;
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tidelake_core::ports::{ColumnPredicate, PredicateOp, ScanRequest, StoreEngine, StoreWriter};
use tidelake_core::testing::tables::{Row, accounts, batch, changes, create, inserts, int, lease, position, text};
use tidelake_core::{ColumnId, CommitSeq, RowOp, TableDef, WriterEpoch};
use tidelake_engine::{EngineOptions, MagicEngine};

const STEP: i64 = 10_000;
const ROUNDS: usize = 5;
const LOOKUPS: i64 = 200;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    // `cargo bench` adds arguments of its own.
    let rows: i64 = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir()?;
    let mut options = EngineOptions::new(dir.path().join("engine"));
    options.memtable_bytes = 1 << 30;
    let engine = MagicEngine::open(options).await?;
    let mut writer = engine.open_writer(WriterEpoch(1)).await?;
    let def = accounts(1, "t");
    fill(&mut *writer, &def, rows).await?;
    engine.flush().await?;
    let plain = dir.path().join("plain.parquet");
    write_plain(&plain, &def, rows)?;

    println!("{rows} rows");
    for (what, columns) in [("all columns", None), ("one column", Some(vec![ColumnId(2)]))] {
        let of_plain = best(async || read_plain(&plain, columns.is_some(), rows)).await?;
        let of_engine = best(async || scan(&engine, &def, 1, columns.clone(), rows).await).await?;
        report(&format!("scan, {what}"), of_plain, of_engine);
    }
    update_tenth(&mut *writer, &def, rows).await?;
    engine.flush().await?;
    for (what, columns) in [("all columns", None), ("one column", Some(vec![ColumnId(2)]))] {
        let of_plain = best(async || read_plain(&plain, columns.is_some(), rows)).await?;
        let of_engine = best(async || scan(&engine, &def, 2, columns.clone(), rows).await).await?;
        report(&format!("scan after 10 % were updated, {what}"), of_plain, of_engine);
    }
    let took = best(async || look_up(&engine, &def, rows).await).await?;
    println!("look-up of a key: {:.3} ms", took.as_secs_f64() * 1000.0 / LOOKUPS as f64);
    Ok(())
}

fn report(what: &str, plain: Duration, engine: Duration) {
    let (p, e) = (plain.as_secs_f64(), engine.as_secs_f64());
    println!("{what}: plain Parquet {:.0} ms, engine {:.0} ms, ratio {:.2}", p * 1000.0, e * 1000.0, e / p);
}

/// The shortest time of some rounds.
async fn best(mut work: impl AsyncFnMut() -> Result<()>) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        work().await?;
        best = best.min(begun.elapsed());
    }
    Ok(best)
}

/// Version `v` of a row; nothing in it compresses well but the text's zeros.
fn row(id: i64, v: i64) -> Row {
    vec![int(id), int((id * 7_919 + v) % 1_000_003), text(&format!("{:0>40}", id.wrapping_mul(0x9E37_79B1)))]
}

async fn fill(writer: &mut dyn StoreWriter, def: &TableDef, rows: i64) -> Result<()> {
    writer.stage(create(def, 1)).await?;
    for first in (0..rows).step_by(STEP as usize) {
        let step: Vec<Row> = (first..rows.min(first + STEP)).map(|id| row(id, 0)).collect();
        writer.stage(inserts(def, 1, &step)).await?;
    }
    Ok(writer.publish(CommitSeq(1), position(1)).await?)
}

async fn update_tenth(writer: &mut dyn StoreWriter, def: &TableDef, rows: i64) -> Result<()> {
    let ids: Vec<i64> = (0..rows).step_by(10).collect();
    for ids in ids.chunks(STEP as usize) {
        let pair = |id: &i64| [(2, RowOp::Delete, row(*id, 0)), (2, RowOp::Insert, row(*id, 1))];
        writer.stage(changes(def, &ids.iter().flat_map(pair).collect::<Vec<_>>())).await?;
    }
    Ok(writer.publish(CommitSeq(2), position(2)).await?)
}

fn write_plain(path: &Path, def: &TableDef, rows: i64) -> Result<()> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::LZ4_RAW)
        .set_max_row_group_row_count(Some(1 << 20))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, def.arrow_schema(), Some(properties))?;
    for first in (0..rows).step_by(STEP as usize) {
        let step: Vec<Row> = (first..rows.min(first + STEP)).map(|id| row(id, 0)).collect();
        writer.write(&batch(def, &step))?;
    }
    writer.close()?;
    Ok(())
}

fn read_plain(path: &Path, one_column: bool, rows: i64) -> Result<()> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.with_batch_size(8192);
    let columns = if one_column { vec![1] } else { vec![0, 1, 2] };
    let mask = parquet::arrow::ProjectionMask::roots(builder.parquet_schema(), columns);
    let mut read = 0;
    for batch in builder.with_projection(mask).build()? {
        read += batch?.num_rows() as i64;
    }
    anyhow::ensure!(read == rows, "{read} rows of {rows}");
    Ok(())
}

async fn scan(engine: &MagicEngine, def: &TableDef, seq: u64, columns: Option<Vec<ColumnId>>, rows: i64) -> Result<()> {
    let mut request = ScanRequest::new(&lease(seq), def.id);
    request.projection = columns;
    let mut read = 0;
    for split in &engine.plan_scan(&request).await?.splits {
        let mut batches = engine.read_split(split).await?;
        while let Some(batch) = batches.try_next().await? {
            read += batch.num_rows() as i64;
        }
    }
    anyhow::ensure!(read == rows, "{read} rows of {rows}");
    Ok(())
}

async fn look_up(engine: &MagicEngine, def: &TableDef, rows: i64) -> Result<()> {
    for n in 0..LOOKUPS {
        let id = n.wrapping_mul(7_368_787) % rows;
        let mut request = ScanRequest::new(&lease(2), def.id);
        request.predicates = vec![ColumnPredicate { column: ColumnId(1), op: PredicateOp::Eq, values: vec![int(id)] }];
        let mut found = 0;
        for split in &engine.plan_scan(&request).await?.splits {
            let batches: Vec<RecordBatch> = engine.read_split(split).await?.try_collect().await?;
            found += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        }
        anyhow::ensure!(found == 1, "{found} rows of key {id}");
    }
    Ok(())
}
