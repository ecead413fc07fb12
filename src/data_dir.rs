//! The data directory: what is where, which format it has, and whose data it holds.
//!
//! ```text
//! DIR/tidelake.json   format version and the source it belongs to
//! DIR/stream-start.json  where streaming first began
//! DIR/upstream.json   kind, version and time zone of the upstream
//! DIR/wishes.json     tables added, removed and to be copied again while it ran
//! DIR/buffer/         Data Buffer
//! DIR/engine/         Magic Engine
//! DIR/latch/          Latch Service (writer epochs; of `tidelake latch` all that it must not forget)
//! DIR/engine-name     of `tidelake engine --latch`: what the latch calls it
//! DIR/writer/         of `tidelake engine`: whose rows the engine has
//! DIR/lineage.json    of `tidelake writer`: whose seqs its buffer counts
//! DIR/feed/           events of TiDB's feeds that wait for a watermark; emptied at start
//! DIR/spill/          sorts and joins that outgrow their memory; emptied at start
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tidelake_core::SourcePosition;

/// Format of the directory as a whole; each part has a version of its own as well.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    format: u32,
    source_kind: String,
    source: String,
}

/// An opened data directory.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Opens or creates the directory for a source. `source` tells people where the data came from, without
    /// credentials.
    ///
    /// # Errors
    /// A directory of another source kind, of a newer format, or with foreign files in it.
    pub fn open(root: &Path, source_kind: &str, source: &str) -> Result<DataDir> {
        fs::create_dir_all(root).with_context(|| format!("create data directory {}", root.display()))?;
        let path = root.join("tidelake.json");
        match fs::read(&path) {
            Ok(bytes) => check(&path, &bytes, source_kind, source)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => create(root, &path, source_kind, source)?,
            Err(e) => return Err(e).with_context(|| format!("read {}", path.display())),
        }
        let dir = DataDir { root: root.to_owned() };
        dir.empty_spill()?;
        Ok(dir)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is known of the upstream.
    pub fn upstream(&self) -> PathBuf {
        self.root.join("upstream.json")
    }

    /// True if streaming from the source was begun before: there is a replica to serve.
    pub fn begun(root: &Path) -> bool {
        // A writer that took over began where the engine was.
        root.join("stream-start.json").exists() || root.join("lineage.json").exists()
    }

    /// Data Buffer.
    pub fn buffer(&self) -> PathBuf {
        self.root.join("buffer")
    }

    /// Magic Engine.
    pub fn engine(&self) -> PathBuf {
        self.root.join("engine")
    }

    /// Latch Service.
    pub fn latch(&self) -> PathBuf {
        self.root.join("latch")
    }

    /// What the latch calls this engine: made once.
    ///
    /// # Errors
    /// If it cannot be read or kept.
    pub fn engine_name(&self) -> Result<String> {
        let path = self.root.join("engine-name");
        match fs::read_to_string(&path) {
            Ok(name) => return Ok(name.trim().to_owned()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("read {}", path.display())),
        }
        let name = tidelake_api::new_name();
        write_durably(&self.root, &path, format!("{name}\n").as_bytes())?;
        Ok(name)
    }

    /// What an engine's process knows of its writer.
    pub fn writer(&self) -> PathBuf {
        self.root.join("writer")
    }

    /// Whose seqs a writer's buffer counts.
    pub fn lineage(&self) -> PathBuf {
        self.root.join("lineage.json")
    }

    /// Events of a feed that wait for their watermark.
    pub fn feed(&self) -> PathBuf {
        self.root.join("feed")
    }

    /// Spilled intermediate results.
    pub fn spill(&self) -> PathBuf {
        self.root.join("spill")
    }

    /// What the user asked for while it ran.
    pub fn wishes(&self) -> PathBuf {
        self.root.join("wishes.json")
    }

    /// The position where streaming first began, fixed by `first` and kept durably before anything is copied or
    /// streamed: a restart before the first transaction must begin at the same place.
    ///
    /// # Errors
    /// If the position cannot be had or kept.
    pub async fn stream_start<F>(&self, first: impl FnOnce() -> F) -> Result<Option<SourcePosition>>
    where
        F: Future<Output = Result<Option<SourcePosition>>>,
    {
        let path = self.root.join("stream-start.json");
        if path.exists() {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            return serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()));
        }
        let position = first().await?;
        write_durably(&self.root, &path, &serde_json::to_vec(&position)?)?;
        Ok(position)
    }

    fn empty_spill(&self) -> Result<()> {
        let spill = self.spill();
        if spill.exists() {
            fs::remove_dir_all(&spill).with_context(|| format!("empty {}", spill.display()))?;
        }
        fs::create_dir_all(&spill).with_context(|| format!("create {}", spill.display()))
    }
}

fn check(path: &Path, bytes: &[u8], source_kind: &str, source: &str) -> Result<()> {
    let place = path.display();
    let have: Identity = serde_json::from_slice(bytes).with_context(|| format!("{place} is not a tidelake file"))?;
    if have.format > FORMAT {
        bail!("{place} has format {}, this tidelake reads up to {FORMAT}: use a newer tidelake", have.format);
    }
    if have.source_kind != source_kind {
        bail!(
            "{place} holds the replica of {} ({}), not of {source} ({source_kind}): give another --data-dir",
            have.source,
            have.source_kind
        );
    }
    if have.source != source {
        tracing::warn!(before = have.source, now = source, "the source's address changed; its history is checked next");
    }
    Ok(())
}

fn create(root: &Path, path: &Path, source_kind: &str, source: &str) -> Result<()> {
    // The demo puts its binlog files below its data directory before it opens it.
    let foreign = fs::read_dir(root)
        .with_context(|| format!("list {}", root.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .find(|name| name != "upstream-binlog" && name != "lost+found" && !name.starts_with("tidelake.json"));
    if let Some(name) = foreign {
        bail!(
            "{} is not a tidelake data directory and not empty (it has {name}): give another --data-dir",
            root.display()
        );
    }
    let identity = Identity { format: FORMAT, source_kind: source_kind.into(), source: source.into() };
    write_durably(root, path, &serde_json::to_vec_pretty(&identity)?)
}

/// Writes a file of the data directory `root` so that a crash leaves the old or the new one.
///
/// # Errors
/// What the file system says.
pub fn write_durably(root: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = path.with_extension("json.new");
    fs::write(&draft, bytes).with_context(|| format!("write {}", draft.display()))?;
    fs::File::open(&draft).and_then(|f| f.sync_all()).with_context(|| format!("sync {}", draft.display()))?;
    fs::rename(&draft, path).with_context(|| format!("rename to {}", path.display()))?;
    fs::File::open(root).and_then(|f| f.sync_all()).with_context(|| format!("sync {}", root.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_kind_of_source_is_refused() {
        let dir = tempfile::tempdir().expect("tempdir");
        DataDir::open(dir.path(), "file", "/a").expect("create");
        DataDir::open(dir.path(), "file", "/b").expect("moved files are fine");
        let message = DataDir::open(dir.path(), "mysql", "h:3306").unwrap_err().to_string();
        assert!(message.contains("--data-dir") && message.contains("/a"), "{message}");
    }

    #[test]
    fn a_foreign_directory_is_left_alone() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::write(dir.path().join("thesis.doc"), "x").expect("write");
        let message = DataDir::open(dir.path(), "file", "/a").unwrap_err().to_string();
        assert!(message.contains("thesis.doc"), "{message}");
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().expect("tempdir");
        let text = r#"{"format":99,"source_kind":"file","source":"x"}"#;
        fs::write(dir.path().join("tidelake.json"), text).expect("write");
        assert!(DataDir::open(dir.path(), "file", "x").unwrap_err().to_string().contains("99"));
    }
}
