//! The parts of Tidelake as processes of their own: `tidelake engine`, `tidelake writer`, `tidelake query`, `tidelake latch`.
//!
//! The engine's process has engine and latch, and serves the Magic API to one writer and any number of readers. The writer's has source,
//! Data Buffer and Magic Writer. A query process has SQL sessions and nothing that lasts. With `--latch` the latch is a process of its own, and the
//! writer feeds any number of engines, which readers see at one moment.
//!
//! Rooms: `args` and `settings` what is said on the command line and in the file; `engine`, `writer`, `query`, `latch` one process each, and `fed` the
//! writer of several engines; `lineage` whose seqs a writer's buffer counts; `upstream_probe` what the latch asks the writer; `health` HTTP of
//! processes without a source.

pub mod args;
pub mod engine;
pub mod latch;
pub mod query;
pub mod writer;

pub(crate) mod fed;
mod health;
pub(crate) mod lineage;
pub(crate) mod settings;
mod upstream_probe;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tidelake_api::{Connection, LatchLine, Login};
use tidelake_core::{Error, env};
use tokio_util::sync::CancellationToken;

use crate::access::args::EngineLoginArgs;
use crate::access::users::secret_of;
use settings::EnginePlace;

/// How long to wait before an engine that cannot be reached is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Why a writer without a buffer cannot go on where an engine is.
const NO_PLACE: &str = "there is only what a copy by an older Tidelake put in, which did not note where the upstream was then: go on with the \
                        data directory of the writer that made it (it notes the place when it starts), or begin anew with empty \
                        data directories of writer and engine";

/// True for what may be different when it is tried again, also because the engine's process restarted.
fn may_come_back(error: &Error) -> bool {
    error.is_transient() || matches!(error, Error::Closed(_))
}

/// Asks until there is an answer; `None` once cancelled. What cannot be mended by waiting ends it.
async fn until_answered<T, F>(
    what: &str,
    cancel: &CancellationToken,
    mut ask: impl FnMut() -> F,
) -> Result<Option<T>, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut said = false;
    loop {
        let answer = tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            answer = ask() => answer,
        };
        match answer {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) if may_come_back(&error) => {
                if !said {
                    tracing::warn!(%error, "{what}: trying until it answers");
                }
                said = true;
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            () = env::sleep(AGAIN) => {}
        }
    }
}

/// A connection to an engine.
fn connect(engine: &EnginePlace) -> Result<Connection> {
    let EnginePlace { address, login } = engine;
    let encrypted = login.engine_ca.is_some() || login.engine_cert.is_some();
    let url = match (address.contains("://"), encrypted) {
        (true, _) => address.clone(),
        (false, true) => format!("https://{address}"),
        (false, false) => format!("http://{address}"),
    };
    Ok(Connection::open_as(&url, &read_login(login)?)?)
}

/// The way to the latches, of which one leads.
fn latch_line(latches: &[EnginePlace]) -> Result<Arc<LatchLine>> {
    Ok(LatchLine::of(latches.iter().map(connect).collect::<Result<_>>()?)?)
}

/// A file that an option names.
fn read(option: &str, file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("read {} ({option})", file.display()))
}

fn read_login(login: &EngineLoginArgs) -> Result<Login> {
    let identity = match (&login.engine_cert, &login.engine_key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((read("--engine-cert", cert)?, read("--engine-key", key)?)),
        _ => bail!("--engine-cert and --engine-key belong together: give both"),
    };
    Ok(Login {
        token: login.engine_token_file.as_deref().map(secret_of).transpose().context("--engine-token-file")?,
        ca: login.engine_ca.as_ref().map(|file| read("--engine-ca", file)).transpose()?,
        identity,
    })
}
