//! What a large table costs when nobody reads it: memory of the process, and time to open it again.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use tidelake_core::types::{TypeKind, UpstreamType};
use tidelake_core::{ColumnDef, TableDef, TableId, TableName};

use crate::Footprint;
use crate::lab::Lab;

const STEP: u64 = 65_536;

/// Fills, measures, opens again, measures.
pub async fn measure(args: &Footprint) -> Result<()> {
    let def = narrow();
    let mut lab = Lab::open().await?;
    lab.create(&def).await?;
    let begun = Instant::now();
    for first in (0..args.rows).step_by(STEP as usize) {
        lab.insert(&def, rows(&def, first, STEP.min(args.rows - first))?).await?;
    }
    lab.compact().await?;
    println!("{} rows, loaded and compacted in {:.0} s", args.rows, begun.elapsed().as_secs_f64());
    figures(&lab, &def)?;
    println!("peak memory of the process until here {} MiB", resident("VmHWM")?);
    let (lab, took) = lab.reopen().await?;
    println!("opened again in {:.0} ms", took.as_secs_f64() * 1000.0);
    figures(&lab, &def)?;
    let begun = Instant::now();
    let count = lab.query("bench", "SELECT COUNT(*) FROM narrow").await?;
    println!("first COUNT(*) in {:.0} ms", begun.elapsed().as_secs_f64() * 1000.0);
    let count = crate::answers::rows_of(&count)?;
    ensure!(count == [[Some(args.rows.to_string())]], "{count:?} rows");
    let begun = Instant::now();
    lab.drain("bench", "SELECT SUM(v) FROM narrow").await?;
    println!(
        "first full scan in {:.0} ms (checksums of files are compared once)",
        begun.elapsed().as_secs_f64() * 1000.0
    );
    Ok(())
}

fn figures(lab: &Lab, def: &TableDef) -> Result<()> {
    let (memory, files) = lab.sizes(def)?;
    let (memory, mib) = (memory as f64 / f64::from(1 << 20), files as f64 / f64::from(1 << 20));
    println!(
        "  key indexes, deaths and rows in memory {memory:.1} MiB; {} files of {mib:.0} MiB; process {} MiB",
        lab.files(def)?,
        resident("VmRSS")?
    );
    Ok(())
}

/// A figure of this process as the kernel has it, in MiB.
fn resident(name: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix(name)).context("a figure of the kernel")?;
    let kib: u64 = line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024)
}

fn narrow() -> TableDef {
    let columns = vec![
        ColumnDef::new(1, "id", UpstreamType::new(TypeKind::BigInt)),
        ColumnDef::new(2, "v", UpstreamType::new(TypeKind::Int)),
    ];
    let mut def = TableDef::new(TableName::new("bench", "narrow"), columns, &["id"]);
    def.id = TableId(1);
    def
}

fn rows(def: &TableDef, first: u64, rows: u64) -> Result<RecordBatch> {
    let ids = first as i64..(first + rows) as i64;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(Int32Array::from_iter_values(ids.map(|id| (id.wrapping_mul(7919) % 1_000_003) as i32))),
    ];
    Ok(RecordBatch::try_new(def.arrow_schema(), columns)?)
}
