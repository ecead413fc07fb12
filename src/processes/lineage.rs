//! Whose seqs a writer's Data Buffer counts: `lineage.json` in its data directory.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tidelake_core::ports::store::Progress;

use crate::data_dir::{DataDir, write_durably};

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// Names the buffer: no other has this name.
    pub name: String,
    /// Where the engine was when the buffer began.
    pub begin: Progress,
    /// The buffer has had everything that any reader may have seen before it began.
    pub caught_up: bool,
}

impl Lineage {
    /// Reads the file; `None` if the buffer has not begun.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    pub fn load(dir: &DataDir) -> Result<Option<Lineage>> {
        let path = dir.lineage();
        match std::fs::read(&path) {
            Ok(bytes) => {
                Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Keeps it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self, dir: &DataDir) -> Result<()> {
        write_durably(dir.root(), &dir.lineage(), &serde_json::to_vec_pretty(self)?)
    }
}
