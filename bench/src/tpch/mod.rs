//! TPC-H: the 22 queries by SQL over the replica, while a tenth of its rows is updated or deleted and not merged; beside
//! DataFusion over plain Parquet files of the rows that are left (the answers must be the same), and beside ClickHouse.

mod queries;
mod tables;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use arrow::array::RecordBatch;

use crate::answers::{Rows, ensure_same, rows_of};
use crate::clickhouse::ClickHouse;
use crate::lab::Lab;
use crate::plain::Plain;
use crate::{Codec, Tpch};
use queries::{QUERIES, query};
use tables::{DATABASE, Fate, Table, tables};

/// Loads, changes, asks, compares, prints the times.
pub async fn measure(args: &Tpch) -> Result<()> {
    let tables = tables(args.scale);
    let plain = Plain::open(Codec::default())?;
    let begun = Instant::now();
    let lab = loaded(&tables, args.scale, !args.unchanged).await?;
    println!("replica loaded in {:.0} s", begun.elapsed().as_secs_f64());
    for table in &tables {
        let mut file = plain.table(&table.def.name.table, table.def.arrow_schema())?;
        for batch in table.batches(args.scale) {
            let (first, rows) = batch?;
            file.write(&if args.unchanged { rows } else { table.changed(first, &rows)? })?;
        }
        plain.finish(file).await?;
        println!("  {}: {} files", table.def.name.table, lab.files(&table.def)?);
    }
    let clickhouse = match &args.clickhouse {
        Some(url) => Some(clickhouse(url, &tables, args).await?),
        None => None,
    };
    let mut total = [Duration::ZERO; 3];
    for at in 0..QUERIES.len() {
        let sql = query(at, args.scale);
        let mut times = [Duration::MAX; 3];
        let mut answers: [Rows; 3] = Default::default();
        for _ in 0..args.rounds {
            let begun = Instant::now();
            let ours = lab.query(DATABASE, &sql).await.with_context(|| format!("query {}", at + 1))?;
            times[0] = times[0].min(begun.elapsed());
            answers[0] = rows_of(&ours)?;
            let begun = Instant::now();
            let theirs = plain.query(&sql).await.with_context(|| format!("query {} of DataFusion", at + 1))?;
            times[1] = times[1].min(begun.elapsed());
            answers[1] = rows_of(&theirs)?;
            if let Some(clickhouse) = &clickhouse {
                let begun = Instant::now();
                let theirs = clickhouse.query(&sql).with_context(|| format!("query {} of ClickHouse", at + 1))?;
                times[2] = times[2].min(begun.elapsed());
                answers[2] = rows_of(&theirs)?;
            }
        }
        ensure_same(&answers[0], &answers[1]).with_context(|| format!("query {} beside DataFusion", at + 1))?;
        // ClickHouse divides decimals with other digits, so its answers are told apart, not refused.
        let beside = clickhouse.as_ref().map(|_| match ensure_same(&answers[0], &answers[2]) {
            Ok(()) => String::new(),
            Err(e) => format!(" (ClickHouse: {e:#})"),
        });
        let ms = times.map(|t| t.as_secs_f64() * 1000.0);
        print!("query {:2}: {:4} rows, replica {:8.1} ms, plain {:8.1} ms", at + 1, answers[0].len(), ms[0], ms[1]);
        match beside {
            Some(note) => println!(", ClickHouse FINAL {:8.1} ms{note}", ms[2]),
            None => println!(),
        }
        total.iter_mut().zip(times).for_each(|(sum, t)| *sum += if t == Duration::MAX { Duration::ZERO } else { t });
    }
    let [ours, plain, clickhouse] = total.map(|t| t.as_secs_f64());
    println!("total: replica {ours:.2} s, plain {plain:.2} s, ClickHouse FINAL {clickhouse:.2} s");
    Ok(())
}

/// A replica with all rows, compacted, and if `change` with a tenth of them changed since.
async fn loaded(tables: &[Table], scale: f64, change: bool) -> Result<Lab> {
    let mut lab = Lab::open().await?;
    for table in tables {
        lab.create(&table.def).await?;
        for batch in table.batches(scale) {
            lab.insert(&table.def, batch?.1).await?;
        }
    }
    lab.compact().await?;
    for table in tables.iter().filter(|_| change) {
        for batch in table.batches(scale) {
            let (first, rows) = batch?;
            if let Some((ops, images)) = table.changes(first, &rows)? {
                lab.change(&table.def, ops, images).await?;
            }
        }
    }
    lab.flush().await?;
    Ok(lab)
}

/// The same rows in ClickHouse: all of them merged, then the changes as newer versions and tombstones.
async fn clickhouse(url: &str, tables: &[Table], args: &Tpch) -> Result<ClickHouse> {
    let clickhouse = ClickHouse::connect(url, DATABASE)?;
    for table in tables {
        clickhouse.create(&table.def, table.key)?;
        for batch in table.batches(args.scale) {
            clickhouse.insert(&table.def, &batch?.1, 1, false)?;
        }
        clickhouse.merge(&table.def)?;
        if args.unchanged {
            continue;
        }
        let mut changed: Vec<(RecordBatch, bool)> = Vec::new();
        for batch in table.batches(args.scale) {
            let (first, rows) = batch?;
            let Some(after) = table.updated(&rows)? else { continue };
            changed.push((Table::with_fate(first, &after, Fate::Updated)?, false));
            changed.push((Table::with_fate(first, &rows, Fate::Deleted)?, true));
        }
        for (rows, dead) in changed {
            clickhouse.insert(&table.def, &rows, 2, dead)?;
        }
    }
    Ok(clickhouse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::rows_from;

    /// Of DuckDB, for the generator's rows at scale factor 0.01.
    const ANSWERS: &str = include_str!("answers-0.01.txt");
    const SCALE: f64 = 0.01;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_queries_are_right() {
        let lab = loaded(&tables(SCALE), SCALE, false).await.unwrap();
        for (at, wanted) in ANSWERS.split("== ").skip(1).enumerate() {
            let (_, wanted) = wanted.split_once('\n').unwrap();
            let got = lab.query(DATABASE, &query(at, SCALE)).await;
            let got = got.and_then(|batches| rows_of(&batches)).unwrap_or_else(|e| panic!("query {}: {e:#}", at + 1));
            ensure_same(&got, &rows_from(wanted)).unwrap_or_else(|e| panic!("query {}: {e}", at + 1));
        }
        assert_eq!(ANSWERS.matches("== ").count(), QUERIES.len());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_queries_are_right_after_changes() {
        let (tables, plain) = (tables(SCALE), Plain::open(Codec::default()).unwrap());
        let lab = loaded(&tables, SCALE, true).await.unwrap();
        for table in &tables {
            let mut file = plain.table(&table.def.name.table, table.def.arrow_schema()).unwrap();
            for batch in table.batches(SCALE) {
                let (first, rows) = batch.unwrap();
                file.write(&table.changed(first, &rows).unwrap()).unwrap();
            }
            plain.finish(file).await.unwrap();
        }
        for at in 0..QUERIES.len() {
            let sql = query(at, SCALE);
            let got = rows_of(&lab.query(DATABASE, &sql).await.unwrap()).unwrap();
            let wanted = rows_of(&plain.query(&sql).await.unwrap()).unwrap();
            ensure_same(&got, &wanted).unwrap_or_else(|e| panic!("query {}: {e}", at + 1));
        }
    }
}
