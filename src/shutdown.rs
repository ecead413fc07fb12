//! Ctrl-C and SIGTERM: the first ends cleanly, the second at once.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `token` at the first SIGINT or SIGTERM; ends the process at the second.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn on_signals(token: CancellationToken) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("handle SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("handle SIGTERM")?;
    tokio::spawn(async move {
        for round in 0.. {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if round > 0 {
                tracing::warn!(signal = name, "second signal: ending at once; the next start replays from the buffer");
                std::process::exit(130);
            }
            tracing::info!(signal = name, "shutting down; once more to end at once");
            token.cancel();
        }
    });
    Ok(())
}
