//! `tidelake engine stats` and `tidelake scrub`: what the Magic Engine holds, and whether it is whole.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tidelake_engine::{EngineStats, ScrubReport, TableFigures};

use crate::cli::{EngineCommand, EngineStatsArgs, ScrubArgs};
use crate::client;

/// `tidelake engine ...`.
///
/// # Errors
/// As for the command given.
pub fn engine(command: &EngineCommand) -> Result<()> {
    match command {
        EngineCommand::Stats(args) => stats(args),
    }
}

fn stats(args: &EngineStatsArgs) -> Result<()> {
    let stats = match &args.data_dir {
        Some(dir) => of_directory(dir)?,
        None => serde_json::from_str(&client::get(&args.http, "/api/v1/engine")?).context("read the answer")?,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&stats)?);
    } else {
        print!("{}", for_people(&stats));
    }
    Ok(())
}

fn of_directory(dir: &Path) -> Result<EngineStats> {
    tidelake_engine::stats_of_directory(&dir.join("engine"))
        .with_context(|| format!("read {} (a running tidelake is asked without --data-dir)", dir.display()))
}

/// `tidelake scrub`.
///
/// # Errors
/// If anything is damaged, or the directory cannot be read.
pub fn scrub(args: &ScrubArgs) -> Result<()> {
    let report = tidelake_engine::scrub(&args.data_dir.join("engine"))
        .with_context(|| format!("scrub {}", args.data_dir.display()))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", findings(&report));
    }
    match report.damage.len() {
        0 => Ok(()),
        n => bail!(
            "{n} damaged: if it is more than key indexes, move {} away and start again, so that all tables are copied anew",
            args.data_dir.display()
        ),
    }
}

fn findings(report: &ScrubReport) -> String {
    let mut out = String::new();
    for note in &report.notes {
        let _ = writeln!(out, "note      {note}");
    }
    for damage in &report.damage {
        let _ = writeln!(out, "DAMAGED   {damage}");
    }
    let ScrubReport { durable, tables, files, rows, deaths, .. } = report;
    let mib = mib(report.bytes);
    let _ = writeln!(
        out,
        "checked   {files} data files of {tables} tables at seq {durable}: {mib} MiB, {rows} rows, {deaths} dead"
    );
    if report.damage.is_empty() {
        let _ = writeln!(out, "whole");
    }
    out
}

fn for_people(stats: &EngineStats) -> String {
    let mut out = String::new();
    let EngineStats { published, durable, horizon, .. } = stats;
    let _ = writeln!(out, "seq       published {published}, durable {durable}, horizon {horizon}");
    if stats.memtable_limit > 0 {
        let (used, staged, limit) = (mib(stats.memtable_bytes), mib(stats.staged_bytes), mib(stats.memtable_limit));
        let _ = writeln!(out, "memory    {used} MiB of rows ({staged} MiB not published yet), flushed at {limit} MiB");
    }
    let head = ["level", "files", "rows", "dead rows", "MiB", "index MiB", "memory MiB", "write ampl."];
    let lines: Vec<_> = stats.tables.iter().flat_map(rows_of).collect();
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(5);
    let line = |out: &mut String, name: &str, cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|c| format!("{c:>12}")).collect();
        let _ = writeln!(out, "{name:width$}{}", cells.concat());
    };
    out.push('\n');
    line(&mut out, "table", &head.map(str::to_owned));
    lines.iter().for_each(|(name, cells)| line(&mut out, name, cells));
    out
}

/// One line of the whole table, one per level if there are two, and one for files that only old snapshots read.
fn rows_of(table: &TableFigures) -> Vec<(String, Vec<String>)> {
    let amplification = table.write_amplification.map_or_else(|| "-".into(), |a| format!("{a:.2}"));
    let index = mib(table.index_bytes + table.deaths_bytes);
    let memory = mib(table.memtable_bytes);
    let (mut files, mut rows, mut bytes, mut levels) = (0, 0, 0, Vec::new());
    for level in &table.levels {
        (files, rows, bytes) = (files + level.files, rows + level.rows, bytes + level.bytes);
        levels.push(level.level.clone());
    }
    let level = if levels.is_empty() { "-".to_owned() } else { levels.join("+") };
    let numbers = [files, rows, table.dead_rows].map(|n| n.to_string());
    let cells = [vec![level], numbers.to_vec(), vec![mib(bytes), index, memory, amplification]].concat();
    let name = if table.state == "live" { table.table.clone() } else { format!("{} ({})", table.table, table.state) };
    let mut lines = vec![(name, cells)];
    let blank = String::new;
    for level in table.levels.iter().filter(|_| table.levels.len() > 1) {
        let (files, rows) = (level.files.to_string(), level.rows.to_string());
        lines.push((blank(), vec![level.level.clone(), files, rows, blank(), mib(level.bytes)]));
    }
    if table.retired_files > 0 {
        let (files, bytes) = (table.retired_files.to_string(), mib(table.retired_bytes));
        lines.push((blank(), vec!["retired".into(), files, blank(), blank(), bytes]));
    }
    lines
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelake_engine::LevelFigures;

    #[test]
    fn figures_read_like_a_table() {
        let level = |name: &str, files| LevelFigures { level: name.into(), files, rows: 500, bytes: 5 << 20 };
        let table = TableFigures {
            table: "shop.orders".into(),
            state: "live".into(),
            levels: vec![level("base", 1), level("l0", 2)],
            dead_rows: 17,
            retired_files: 2,
            write_amplification: Some(1.5),
            ..TableFigures::default()
        };
        let gone =
            TableFigures { table: "shop.orders (12)".into(), state: "dropped".into(), ..TableFigures::default() };
        let tables = vec![table, gone];
        let text = for_people(&EngineStats { tables, memtable_limit: 8 << 20, ..EngineStats::default() });
        let row = text.lines().find(|l| l.starts_with("shop.orders")).expect("a line of the table");
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>()[1..],
            ["base+l0", "3", "1000", "17", "10.0", "0.0", "0.0", "1.50"]
        );
        assert!(text.lines().any(|l| l.split_whitespace().eq(["l0", "2", "500", "5.0"])), "{text}");
        let head = text.lines().find(|l| l.starts_with("table")).expect("a head");
        assert!(text.lines().any(|l| l.contains("(dropped)") && l.len() == head.len()), "{text}");
        assert!(text.contains("flushed at 8.0 MiB") && text.contains("retired"), "{text}");
    }

    #[test]
    fn damage_is_shouted() {
        let report = ScrubReport { damage: vec!["x.parquet: bad".into()], ..ScrubReport::default() };
        assert!(findings(&report).contains("DAMAGED   x.parquet: bad") && !findings(&report).contains("whole"));
    }
}
