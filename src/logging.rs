//! Log lines on stderr, as text or JSON.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

use crate::options::LogFormat;

/// Sets the process's log format and filter.
///
/// # Errors
/// A filter that cannot be read.
pub fn init(format: LogFormat, filter: &str) -> Result<()> {
    let env_filter = EnvFilter::try_new(filter).with_context(|| format!("--log {filter:?}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(env_filter).with_writer(std::io::stderr);
    let done = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    done.map_err(|e| anyhow::anyhow!("start logging: {e}"))
}
