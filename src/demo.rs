//! `tidelake demo`: a real binlog, recorded from a MariaDB server that ran a small shop, replayed and queried.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tidelake_core::ports::SourceState;
use tokio_util::sync::CancellationToken;

use crate::cli::{DemoArgs, OutputFormat, SqlArgs};
use crate::config::{Settings, SourceSettings};
use crate::pipeline::Pipeline;
use crate::{logging, progress, shutdown, sql};

/// How it was recorded: demo/README.md.
const BINLOG: &[u8] = include_bytes!("../demo/binlog/shop-bin.000001.zst");
const BINLOG_NAME: &str = "shop-bin.000001.zst";
const QUERIES: &str = include_str!("../demo/queries.sql");

/// `tidelake demo`.
///
/// # Errors
/// A wrong option, or a part that fails.
pub fn demo(args: DemoArgs) -> Result<()> {
    let mut settings = Settings::from_demo(args.serve)?;
    if settings.common.log == "info" {
        settings.common.log = "warn".into();
    }
    logging::init(settings.common.log_format, &settings.common.log)?;
    crate::run::runtime()?.block_on(run(settings, args.exit))
}

async fn run(settings: Settings, exit: bool) -> Result<()> {
    let SourceSettings::Files { dir, .. } = &settings.source else { bail!("the demo reads files") };
    unpack(dir)?;
    let cancel = CancellationToken::new();
    shutdown::on_signals(cancel.clone())?;
    let pipeline = Pipeline::start(&settings, None, cancel.clone()).await?;
    let shown = tokio::select! {
        shown = replay_and_query(&pipeline) => shown,
        () = cancel.cancelled() => Ok(()),
    };
    if shown.is_ok() && !exit && !cancel.is_cancelled() {
        println!("\nThe replica stays up; Ctrl-C ends it. Connect with:\n");
        println!("{}", pipeline.how_to_connect());
        pipeline.wait().await?;
    }
    shown.and(pipeline.stop().await)
}

/// The file is written once; a replay that was cut short goes on where it was.
fn unpack(dir: &Path) -> Result<()> {
    let path = dir.join(BINLOG_NAME);
    if fs::metadata(&path).is_ok_and(|m| m.len() == BINLOG.len() as u64) {
        return Ok(());
    }
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let draft = dir.join("unpacking");
    fs::write(&draft, BINLOG).with_context(|| format!("write {}", draft.display()))?;
    fs::rename(&draft, &path).with_context(|| format!("write {}", path.display()))
}

async fn replay_and_query(pipeline: &Arc<Pipeline>) -> Result<()> {
    replay(pipeline).await?;
    for query in queries() {
        show(pipeline, &query).await?;
    }
    Ok(())
}

/// Waits until everything in the files is published, with a progress bar.
async fn replay(pipeline: &Arc<Pipeline>) -> Result<()> {
    let begun = Instant::now();
    let before = pipeline.engine.published_seq();
    let bar = progress::replay_bar(BINLOG.len() as u64);
    loop {
        if let Some(reason) = pipeline.failure() {
            bail!(reason);
        }
        let source = pipeline.source.status();
        let (head, published) = (*pipeline.buffer.head().borrow(), pipeline.engine.published_seq());
        let writer = pipeline.writer().status();
        let (seconds, rows) = (begun.elapsed().as_secs_f64(), writer.rows);
        let applied = if head.0 == 0 { 0.0 } else { published.0 as f64 / head.0 as f64 };
        bar.set_position((source.bytes_read as f64 * applied) as u64);
        bar.set_message(format!("{rows} row changes, {:.0}/s", rows as f64 / seconds.max(0.001)));
        if source.state == SourceState::Finished && published >= head {
            bar.finish_and_clear();
            report(pipeline, rows, published.0 - before.0, seconds);
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn report(pipeline: &Pipeline, rows: u64, transactions: u64, seconds: f64) {
    let published = pipeline.engine.published().borrow().clone();
    if transactions == 0 {
        println!("Resumed at transaction {}: nothing to apply twice.", published.seq);
        return;
    }
    let rate = rows as f64 / seconds.max(0.001);
    println!(
        "Replayed {rows} row changes of {transactions} transactions in {seconds:.1} s ({rate:.0} rows/s), up to {}.",
        crate::status::place(&published.position.token)
    );
}

/// The file's queries, each with the comment lines above it as its title.
fn queries() -> Vec<String> {
    QUERIES
        .split(';')
        .map(str::trim)
        .filter(|q| q.lines().any(|l| !l.starts_with("--") && !l.is_empty()))
        .map(str::to_owned)
        .collect()
}

/// Through the MySQL protocol, like any other client.
async fn show(pipeline: &Pipeline, query: &str) -> Result<()> {
    let title: Vec<&str> = query.lines().filter_map(|l| l.strip_prefix("-- ")).collect();
    println!("\n{}\n", title.join("\n"));
    let address = pipeline.addresses().context("the pipeline listens")?.mysql;
    let mut conn = sql::connect(&SqlArgs::local(address, "shop")).await?;
    let begun = Instant::now();
    sql::print_result(&mut conn, query, OutputFormat::Table).await?;
    println!("in {:.0} ms", begun.elapsed().as_secs_f64() * 1000.0);
    conn.disconnect().await.context("disconnect")
}
