//! Tables added, removed and copied again while Tidelake runs, kept in the data directory so that a restart keeps them.
//!
//! `--tables` says with what a replica begins. Every change made while it runs is one more pattern behind those of
//! `--tables`, and the last pattern that matches a table decides.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::service::ServiceSource;
use tidelake_core::TableName;
use tokio_util::sync::CancellationToken;

use crate::data_dir::{DataDir, write_durably};

/// How often copies that have begun are taken off the file.
const TIDY_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kept {
    /// Patterns behind those of `--tables`; `!` excludes.
    pub tables: Vec<String>,
    /// Tables whose new copy has not begun yet.
    pub resync: Vec<TableName>,
}

impl Kept {
    /// Reads the file; none is no wishes.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    pub fn load(dir: &DataDir) -> Result<Kept> {
        let path = dir.wishes();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Kept::default()),
            Err(e) => Err(e).with_context(|| format!("read {}", path.display())),
        }
    }

    /// The tables wanted, with the changes made while it ran.
    ///
    /// # Errors
    /// A pattern that cannot be read.
    pub fn apply_to(&self, base: TableFilter) -> Result<TableFilter> {
        self.tables.iter().try_fold(base, |filter, pattern| filter.and(pattern)).context("tables changed while it ran")
    }

    /// One more pattern; earlier ones about the same names decide nothing any more.
    fn change(&mut self, pattern: &str, include: bool) {
        let bare = |p: &str| p.trim_start_matches('!').trim().to_owned();
        let name = bare(pattern);
        self.tables.retain(|old| bare(old) != name);
        self.tables.push(if include { name } else { format!("!{name}") });
    }
}

/// The wishes of a running pipeline.
pub struct Wishes {
    root: PathBuf,
    path: PathBuf,
    base: TableFilter,
    service: Arc<ServiceSource>,
    kept: Mutex<Kept>,
}

impl Wishes {
    /// For a running source, whose filter is `base` with the kept changes already. Asks it again for what was left.
    pub fn start(
        dir: &DataDir,
        base: TableFilter,
        kept: Kept,
        service: Arc<ServiceSource>,
        cancel: CancellationToken,
    ) -> Arc<Wishes> {
        for name in &kept.resync {
            if let Err(error) = service.resync(name.clone()) {
                tracing::warn!(table = %name, %error, "a wish of an earlier run is dropped");
            }
        }
        let path = dir.wishes();
        let root = path.parent().map_or_else(PathBuf::new, PathBuf::from);
        let wishes = Arc::new(Wishes { root, path, base, service, kept: Mutex::new(kept) });
        tokio::spawn(wishes.clone().tidy(cancel));
        wishes
    }

    /// The patterns added to those of `--tables`.
    pub fn changes(&self) -> Vec<String> {
        self.kept.lock().tables.clone()
    }

    /// Tables that were asked to be copied again and are not whole yet.
    pub fn resyncs(&self) -> Vec<TableName> {
        self.service.resyncs().into_iter().map(|(name, _)| name).collect()
    }

    /// Tables that were asked to be copied again, but upstream has them no more.
    pub fn given_up(&self) -> Vec<TableName> {
        self.service.given_up_resyncs()
    }

    /// Adds or removes tables. Durable when it returns.
    ///
    /// # Errors
    /// A pattern that cannot be read, or a file that cannot be written; nothing is changed then.
    pub fn change_tables(&self, pattern: &str, include: bool) -> Result<()> {
        let mut kept = self.kept.lock();
        let mut next = kept.clone();
        next.change(pattern, include);
        let filter = next.apply_to(self.base.clone())?;
        self.save(&next)?;
        *kept = next;
        self.service.want_tables(filter);
        tracing::info!(pattern, include, "the wanted tables changed");
        Ok(())
    }

    /// Has a table copied again. Durable when it returns.
    ///
    /// # Errors
    /// A table that is not wanted, or a file that cannot be written.
    pub fn resync(&self, name: &TableName) -> Result<()> {
        let mut kept = self.kept.lock();
        let mut next = kept.clone();
        if !next.resync.contains(name) {
            next.resync.push(name.clone());
        }
        self.save(&next)?;
        *kept = next;
        self.service.resync(name.clone())?;
        tracing::info!(table = %name, "the table will be copied again");
        Ok(())
    }

    fn save(&self, kept: &Kept) -> Result<()> {
        write_durably(&self.root, &self.path, &serde_json::to_vec_pretty(kept)?)
    }

    /// Takes copies off the file that have begun: from then on they go on by themselves.
    async fn tidy(self: Arc<Self>, cancel: CancellationToken) {
        while cancel.run_until_cancelled(tokio::time::sleep(TIDY_EVERY)).await.is_some() {
            let wishes = self.clone();
            let tidied = tokio::task::spawn_blocking(move || wishes.tidy_once()).await;
            if let Ok(Err(error)) = tidied {
                tracing::warn!(error = format!("{error:#}"), "the wishes cannot be kept");
            }
        }
    }

    fn tidy_once(&self) -> Result<()> {
        let mut kept = self.kept.lock();
        let waiting: Vec<TableName> =
            self.service.resyncs().into_iter().filter(|(_, begun)| !begun).map(|(name, _)| name).collect();
        if kept.resync == waiting {
            return Ok(());
        }
        let next = Kept { resync: waiting, ..kept.clone() };
        self.save(&next)?;
        *kept = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_decides() {
        let mut kept = Kept::default();
        kept.change("shop.*", false);
        kept.change("shop.orders", true);
        kept.change("!shop.*", true);
        assert_eq!(kept.tables, ["shop.orders", "shop.*"]);
        kept.change("shop.orders", false);
        assert_eq!(kept.tables, ["shop.*", "!shop.orders"]);
        let filter = kept.apply_to(TableFilter::parse("crm.*").expect("parses")).expect("parses");
        let wants = |database, table| filter.wants(&TableName::new(database, table));
        assert!(wants("crm", "t") && wants("shop", "t") && !wants("shop", "orders") && !wants("other", "t"));
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let home = tempfile::tempdir().expect("tempdir");
        let dir = DataDir::open(home.path(), "mysql", "h:1").expect("opens");
        assert_eq!(Kept::load(&dir).expect("no file, no wishes"), Kept::default());
        fs::write(dir.wishes(), "{\"tables\": 7}").expect("write");
        assert!(format!("{:#}", Kept::load(&dir).unwrap_err()).contains("wishes.json"));
    }
}
