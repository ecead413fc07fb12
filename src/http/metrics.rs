//! `GET /metrics` in Prometheus' text format. Every crate counts by the `metrics` facade; figures that are states
//! rather than counts (seqs, lag, buffer bytes) are read when asked for.

use anyhow::{Context, Result};
use axum::extract::State;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::Shared;
use crate::status;

/// Renders what was counted.
pub type Handle = PrometheusHandle;

/// Installs the process's recorder. Once per process.
///
/// # Errors
/// If a recorder is installed already.
pub fn install() -> Result<Handle> {
    let handle = PrometheusBuilder::new().install_recorder().context("install the metrics recorder")?;
    // Counters that alerts look for are there from the start, not from the first event on.
    metrics::counter!("tidelake_writer_flushes_total").increment(0);
    metrics::counter!("tidelake_writer_errors_total").increment(0);
    metrics::counter!("tidelake_writer_stopped_tables_total").increment(0);
    Ok(handle)
}

pub async fn page(State(shared): State<Shared>) -> String {
    let report = status::gather(&shared.pipeline);
    metrics::gauge!("tidelake_lag_seconds").set(report.lag_ms as f64 / 1000.0);
    metrics::gauge!("tidelake_interval_seconds").set(report.interval_ms as f64 / 1000.0);
    metrics::gauge!("tidelake_seq_head").set(report.seq.head as f64);
    metrics::gauge!("tidelake_seq_published").set(report.seq.published as f64);
    metrics::gauge!("tidelake_seq_durable").set(report.seq.durable as f64);
    metrics::gauge!("tidelake_buffer_bytes").set(report.buffer.bytes as f64);
    metrics::gauge!("tidelake_buffer_limit_bytes").set(report.buffer.limit as f64);
    metrics::gauge!("tidelake_source_bytes_read").set(report.source.bytes_read as f64);
    for state in ["live", "copying", "stopped"] {
        let tables = report.tables.iter().filter(|t| t.state == state).count();
        metrics::gauge!("tidelake_tables", "state" => state).set(tables as f64);
    }
    metrics::gauge!("tidelake_rows").set(report.tables.iter().map(|t| t.rows).sum::<u64>() as f64);
    shared.metrics.run_upkeep();
    shared.metrics.render()
}
