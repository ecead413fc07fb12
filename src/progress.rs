//! Progress for people: bars on a terminal, log lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tidelake_core::TableName;
use tidelake_core::ports::CopyProgress;
use tokio_util::sync::CancellationToken;

use crate::pipeline::Pipeline;

const TICK: Duration = Duration::from_millis(200);
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Shows the copies of a pipeline until all are done, again when new ones begin, until cancelled.
pub async fn show_copies(pipeline: Arc<Pipeline>, cancel: CancellationToken) {
    let mut view: Box<dyn View> =
        if std::io::stderr().is_terminal() { Box::new(Bars::default()) } else { Box::new(Lines::default()) };
    while !cancel.is_cancelled() {
        view.update(&pipeline.source.copies());
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

trait View: Send {
    fn update(&mut self, copies: &[CopyProgress]);
}

#[derive(Default)]
struct Bars {
    multi: MultiProgress,
    bars: BTreeMap<TableName, ProgressBar>,
}

impl View for Bars {
    fn update(&mut self, copies: &[CopyProgress]) {
        for copy in copies {
            if copy.done {
                if let Some(bar) = self.bars.remove(&copy.name) {
                    bar.finish_and_clear();
                    let _ = self.multi.println(format!("copied {}: {} rows", copy.name, copy.rows));
                }
                continue;
            }
            let multi = &self.multi;
            let bar = self.bars.entry(copy.name.clone()).or_insert_with(|| multi.add(copy_bar(&copy.name)));
            bar.set_length(copy.estimated_rows.max(copy.rows));
            bar.set_position(copy.rows);
            bar.set_message(format!("{:.1} MB", copy.bytes as f64 / 1e6));
        }
    }
}

fn copy_bar(name: &TableName) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix} {wide_bar} {human_pos}/{human_len} rows {msg} {per_sec} {eta} left");
    let bar = ProgressBar::new(0).with_prefix(format!("copying {name}"));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

#[derive(Default)]
struct Lines {
    last: Option<Instant>,
    done: Vec<TableName>,
}

impl View for Lines {
    fn update(&mut self, copies: &[CopyProgress]) {
        for copy in copies.iter().filter(|c| c.done) {
            if !self.done.contains(&copy.name) {
                self.done.push(copy.name.clone());
                tracing::info!(table = %copy.name, rows = copy.rows, "copied");
            }
        }
        self.done.retain(|name| copies.iter().any(|c| c.done && c.name == *name));
        if self.last.is_some_and(|at| at.elapsed() < LOG_EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        for copy in copies.iter().filter(|c| !c.done) {
            tracing::info!(table = %copy.name, rows = copy.rows, of_about = copy.estimated_rows, bytes = copy.bytes, "copying");
        }
    }
}

/// A bar over bytes, for reading files.
pub fn replay_bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}%, {eta} left");
    let bar = ProgressBar::new(total);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
