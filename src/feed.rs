//! Change feeds of TiDB as sources: which kind a `--source` names, and opening it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::kafka::{KafkaOptions, KafkaSource};
use tidelake_binlog::ticdc::storage::{StorageOptions, StorageSource};
use tidelake_binlog::tidb_binlog::{DrainerOptions, DrainerSource};
use tidelake_binlog::tidb_copy::{CopiedFeed, CopyFrom, CopyOptions};
use tidelake_core::ports::Source;

const STORAGE: &str = "ticdc-storage";
const DRAINER: &str = "drainer";
const KAFKA: &str = "kafka";

/// The kind of feed that a source's text names, as [`Source::kind`] says it; `None`: no feed.
pub fn kind_of(url: &str) -> Option<&'static str> {
    let kinds = [STORAGE, DRAINER, KAFKA];
    let (scheme, _) = url.split_once(':')?;
    kinds.into_iter().find(|kind| *kind == scheme)
}

/// Where a feed comes from, without options and credentials.
pub fn address(url: &str) -> String {
    let rest = url.split_once(':').map_or(url, |(_, rest)| rest);
    let rest = rest.split('?').next().unwrap_or_default();
    rest.rsplit_once('@').map_or(rest, |(_, host)| host).to_owned()
}

/// The feed with a copy before it, as `--copy-from` says.
///
/// # Errors
/// A text that cannot be read; never with a password.
pub fn with_copy(
    feed: Arc<dyn Source>,
    from: &str,
    filter: TableFilter,
    rows: usize,
    threads: usize,
) -> Result<Arc<dyn Source>> {
    let from = CopyFrom::parse(from).context("--copy-from")?;
    Ok(Arc::new(CopiedFeed::new(feed, CopyOptions { from, filter, chunk_rows: rows, threads })))
}

/// Opens the feed. `scratch` is a directory for events that outgrow memory.
///
/// # Errors
/// A text that cannot be read, with what to write instead.
pub fn open(url: &str, follow: bool, filter: TableFilter, scratch: &Path) -> Result<Arc<dyn Source>> {
    let rest = url.split_once(':').map_or("", |(_, rest)| rest);
    match kind_of(url) {
        Some(STORAGE) => {
            let options = StorageOptions::parse(rest, scratch.to_owned()).context("--source")?;
            Ok(Arc::new(StorageSource::new(StorageOptions { filter, follow, ..options })))
        }
        Some(DRAINER) => {
            let options = DrainerOptions::parse(rest).context("--source")?;
            Ok(Arc::new(DrainerSource::new(DrainerOptions { filter, follow, ..options })))
        }
        Some(KAFKA) => {
            let options = KafkaOptions::parse(rest, scratch.to_owned()).context("--source")?;
            Ok(Arc::new(KafkaSource::new(KafkaOptions { filter, ..options })))
        }
        _ => bail!("--source {url} is no feed of TiDB"),
    }
}
