//! Where the data comes from: opening the source that the settings name.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use tidelake_binlog::file::{FileSource, FileSourceOptions};
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::service::{ServiceOptions, ServiceSource};
use tidelake_core::ports::Source;

use crate::config::{Settings, SourceSettings};
use crate::data_dir::DataDir;
use crate::feed;
use crate::wishes::Kept;

/// As [`Source::kind`] says it of the source that is not open yet.
pub fn source_kind(settings: &Settings) -> &'static str {
    match &settings.source {
        SourceSettings::Feed { url, .. } => feed::kind_of(url).unwrap_or("feed"),
        SourceSettings::Files { .. } => "file",
        SourceSettings::Service { .. } => "mysql",
    }
}

/// A source, and the same once more if it is a server.
pub type OpenedSource = (Arc<dyn Source>, Option<Arc<ServiceSource>>);

/// Opens it, with the tables that were changed while an earlier process ran.
///
/// # Errors
/// An address, option or pattern that cannot be read.
pub fn open_source(settings: &Settings, kept: &Kept, dir: &DataDir) -> Result<OpenedSource> {
    Ok(match &settings.source {
        SourceSettings::Feed { url, follow, copy_from, copy_chunk_rows, copy_threads } => {
            let opened = feed::open(url, *follow, filter(settings)?, &dir.feed())?;
            let source = match copy_from {
                Some(from) => feed::with_copy(opened, from, filter(settings)?, *copy_chunk_rows, *copy_threads)?,
                None => opened,
            };
            (source, None)
        }
        SourceSettings::Files { dir, follow } => {
            let filter = filter(settings)?;
            (Arc::new(FileSource::new(FileSourceOptions { dir: dir.clone(), filter, follow: *follow })), None)
        }
        SourceSettings::Service { .. } => {
            let options = service_options(settings)?;
            let filter = kept.apply_to(options.filter.clone())?;
            let service = Arc::new(ServiceSource::new(ServiceOptions { filter, ..options })?);
            (service.clone(), Some(service))
        }
    })
}

/// What the service source needs.
///
/// # Errors
/// A URL or pattern that cannot be read.
pub fn service_options(settings: &Settings) -> Result<ServiceOptions> {
    let SourceSettings::Service { url, copy_chunk_rows, copy_threads, server_id } = &settings.source else {
        return Err(anyhow!("the source is not a server"));
    };
    let mut options = ServiceOptions { filter: filter(settings)?, ..ServiceOptions::new(url) };
    options.copy_chunk_rows = *copy_chunk_rows;
    options.copy_threads = *copy_threads;
    if let Some(id) = server_id {
        options.server_id = *id;
    }
    Ok(options)
}

/// `--tables`.
///
/// # Errors
/// A pattern that cannot be read.
pub fn filter(settings: &Settings) -> Result<TableFilter> {
    TableFilter::parse(settings.tables.as_deref().unwrap_or("")).context("--tables")
}

/// Where the data comes from, without credentials.
pub fn address(settings: &Settings) -> String {
    match &settings.source {
        SourceSettings::Feed { url, .. } => feed::address(url),
        SourceSettings::Files { dir, .. } => dir.display().to_string(),
        SourceSettings::Service { url, .. } => {
            let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            rest.rsplit_once('@').map_or(rest, |(_, host)| host).split(['/', '?']).next().unwrap_or_default().to_owned()
        }
    }
}
