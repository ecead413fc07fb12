//! `tidelake run`: replicate and serve until told to stop.

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;

use crate::cli::RunArgs;
use crate::config::Settings;
use crate::pipeline::Pipeline;
use crate::{doctor, logging, progress, shutdown};

/// `tidelake run`.
///
/// # Errors
/// A wrong option, a wrong upstream setting, a failed part.
pub fn run(args: RunArgs) -> Result<()> {
    let settings = Settings::from_run(args)?;
    logging::init(settings.common.log_format, &settings.common.log)?;
    runtime()?.block_on(serve(settings))
}

/// The runtime of a serving process.
///
/// # Errors
/// If threads cannot be started.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")
}

async fn serve(settings: Settings) -> Result<()> {
    let server = doctor::preflight(&settings).await?;
    let cancel = CancellationToken::new();
    shutdown::on_signals(cancel.clone())?;
    let pipeline = Pipeline::start(&settings, server.as_ref(), cancel.clone()).await?;
    eprintln!("{}", pipeline.how_to_connect());
    let bars = tokio::spawn(progress::show_copies(pipeline.clone(), cancel.clone()));
    let ended = pipeline.wait().await;
    cancel.cancel();
    let stopped = pipeline.stop().await;
    let _ = bars.await;
    ended.and(stopped)
}
