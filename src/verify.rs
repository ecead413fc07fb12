//! `tidelake verify`: the replica against the upstream, table by table, while both run.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::service::{Outcome, ReplicaParts, ServiceSource, TableVerdict};
use tidelake_core::{TableName, TableState};
use tokio_util::sync::CancellationToken;

use crate::cli::VerifyArgs;
use crate::client;

/// How often the command asks how far it is.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// A comparison, running or done: `GET /api/v1/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Counts the comparisons of this process; 0 before the first.
    pub run: u64,
    /// False once every table has its verdict.
    pub running: bool,
    /// The tables to compare.
    pub tables: Vec<TableName>,
    /// What was found, in the order of `tables`.
    pub verdicts: Vec<TableVerdict>,
}

/// Compares on request, one request at a time.
pub struct Verifier {
    service: Arc<ServiceSource>,
    replica: ReplicaParts,
    report: Mutex<Report>,
    cancel: CancellationToken,
}

impl Verifier {
    /// For a running source and its replica.
    pub fn new(service: Arc<ServiceSource>, replica: ReplicaParts, cancel: CancellationToken) -> Arc<Verifier> {
        Arc::new(Verifier { service, replica, report: Mutex::default(), cancel })
    }

    /// How far it is.
    pub fn report(&self) -> Report {
        self.report.lock().clone()
    }

    /// Begins to compare the replica's tables that these patterns name (empty: all); returns the report at its beginning.
    ///
    /// # Errors
    /// While another comparison runs, and for wrong patterns or those that name no table.
    pub fn start(self: &Arc<Self>, patterns: &str) -> Result<Report> {
        let filter = TableFilter::parse(patterns)?;
        let catalog = self.replica.engine.catalog(self.replica.engine.published_seq())?;
        let there = catalog.tables.values().filter(|entry| !matches!(entry.state, TableState::Copying { .. }));
        let mut tables: Vec<TableName> = there.map(|e| e.def.name.clone()).filter(|name| filter.wants(name)).collect();
        tables.sort();
        if tables.is_empty() {
            bail!("no table of the replica is meant by {patterns:?}");
        }
        let mut report = self.report.lock();
        if report.running {
            bail!("another comparison is running: {} of {} tables", report.verdicts.len(), report.tables.len());
        }
        *report = Report { run: report.run + 1, running: true, tables: tables.clone(), verdicts: Vec::new() };
        let (verifier, cancel) = (self.clone(), self.cancel.clone());
        tokio::spawn(async move { cancel.run_until_cancelled(verifier.run(tables)).await });
        Ok(report.clone())
    }

    async fn run(&self, tables: Vec<TableName>) {
        for name in tables {
            let verdict = self.service.verify(&self.replica, &name).await;
            match verdict.outcome {
                Outcome::Equal => tracing::info!(table = %name, rows = verdict.upstream_rows, "equal to upstream"),
                _ => tracing::warn!(table = %name, ?verdict, "not found equal to upstream"),
            }
            self.report.lock().verdicts.push(verdict);
        }
        self.report.lock().running = false;
    }
}

/// `tidelake verify`.
///
/// # Errors
/// If a table differs or could not be compared, or no Tidelake answers.
pub fn verify(args: &VerifyArgs) -> Result<()> {
    let server = &args.http;
    let patterns = args.tables.clone().unwrap_or_default();
    let started = client::post(server, "/api/v1/verify", &serde_json::json!({ "tables": patterns }))?;
    let started: Report = serde_json::from_str(&started)?;
    let mut told = 0;
    let report = loop {
        let report: Report = serde_json::from_str(&client::get(server, "/api/v1/verify")?)?;
        if report.run != started.run {
            bail!("tidelake was restarted or began another comparison meanwhile");
        }
        if !args.json {
            report.verdicts[told.min(report.verdicts.len())..].iter().for_each(|v| print!("{}", for_people(v)));
            told = report.verdicts.len();
        }
        if !report.running {
            break report;
        }
        std::thread::sleep(ASK_EVERY);
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report.verdicts).context("print the verdicts")?);
    }
    refuse_differences(&report)
}

fn refuse_differences(report: &Report) -> Result<()> {
    let count = |outcome| report.verdicts.iter().filter(|v| v.outcome == outcome).count();
    let (different, failed) = (count(Outcome::Different), count(Outcome::Failed));
    if different + failed > 0 {
        bail!("{different} tables differ, {failed} could not be compared, of {}", report.verdicts.len());
    }
    Ok(())
}

fn for_people(verdict: &TableVerdict) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let (name, at) = (&verdict.table, &verdict.position);
    let _ = match verdict.outcome {
        Outcome::Equal => writeln!(out, "equal      {name}  {} rows at {at}", verdict.upstream_rows),
        Outcome::Skipped => writeln!(out, "skipped    {name}  {}", verdict.reason),
        Outcome::Failed => writeln!(out, "failed     {name}  {}", verdict.reason),
        Outcome::Different => {
            let (upstream, replica) = (verdict.upstream_rows, verdict.replica_rows);
            writeln!(out, "DIFFERENT  {name}  {upstream} rows upstream, {replica} in the replica, at {at}")
        }
    };
    for difference in &verdict.differences {
        let _ = writeln!(out, "           {}: {}", difference.key, difference.what);
    }
    if verdict.differing_parts > verdict.differences.len() as u64 {
        let _ = writeln!(out, "           ... and more");
    }
    out
}
