//! `tidelake doctor`, and the same checks before every `tidelake run`.

use anyhow::{Context, Result, bail};
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::service::{self, Preflight, ServiceOptions, UpstreamServer};

use crate::cli::DoctorArgs;
use crate::config::{Settings, SourceSettings};
use crate::data_dir::DataDir;
use crate::where_from::service_options;

/// `tidelake doctor`.
///
/// # Errors
/// If something is wrong with the upstream.
pub fn doctor(args: DoctorArgs) -> Result<()> {
    let filter = TableFilter::parse(args.tables.as_deref().unwrap_or("")).context("--tables")?;
    let options = ServiceOptions { filter, ..ServiceOptions::new(&args.url) };
    let preflight = crate::run::runtime()?.block_on(service::preflight(&options))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&preflight.findings)?);
    } else {
        preflight.findings.iter().for_each(|finding| println!("{finding}"));
    }
    refuse_errors(&preflight)
}

/// Checks the upstream of a service source; prints what is not as it should be. `None`: nobody answers (or it is no
/// server), and there is a replica that is served meanwhile.
///
/// # Errors
/// If Tidelake cannot replicate from it as it is.
pub async fn preflight(settings: &Settings) -> Result<Option<UpstreamServer>> {
    let SourceSettings::Service { .. } = settings.source else { return Ok(None) };
    let preflight = service::preflight(&service_options(settings)?).await?;
    preflight.warnings().chain(preflight.errors()).for_each(|finding| eprintln!("{finding}"));
    if preflight.unreachable && DataDir::begun(&settings.data_dir) {
        eprintln!("the replica is served as it is; Tidelake goes on trying to reach the upstream");
        return Ok(None);
    }
    refuse_errors(&preflight)?;
    Ok(preflight.server)
}

fn refuse_errors(preflight: &Preflight) -> Result<()> {
    match preflight.errors().count() {
        0 => Ok(()),
        1 => bail!("the upstream is not ready: mend the error above, then try again"),
        n => bail!("the upstream is not ready: mend the {n} errors above, then try again"),
    }
}
