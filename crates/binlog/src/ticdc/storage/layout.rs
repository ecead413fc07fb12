//! Which files lie in a storage sink's directory.
//!
//! Data: `DB/TABLE/VERSION/[PARTITION/][DATE/]CDC<n>.csv|json`, or `CDC_<dispatcher>_<n>` from newer TiCDC, or below
//! `TABLE-ID/VERSION/`. Schemas: `.../meta/schema_<version>_<checksum>.json`. Index files are hints that may lead or lag; they
//! are not needed.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidelake_core::{Error, Result};

/// Deepest directory below the root.
const MAX_DEPTH: usize = 8;

/// What tells one content of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    len: u64,
    modified: (i64, i64),
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp { len: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()), inode: metadata.ino() }
    }
}

/// Formats of data files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFormat {
    /// `.json`
    CanalJson,
    /// `.csv`
    Csv,
}

/// A data file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPath {
    /// Where it is.
    pub path: PathBuf,
    /// Its format.
    pub format: DataFormat,
    /// Its content now.
    pub stamp: Stamp,
}

/// A schema file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaPath {
    /// Where it is.
    pub path: PathBuf,
    /// The version in its name.
    pub version: u64,
    /// Its content now.
    pub stamp: Stamp,
}

/// Everything found, by path.
#[derive(Debug, Default)]
pub struct Layout {
    /// Schema files.
    pub schemas: Vec<SchemaPath>,
    /// Data files.
    pub data: Vec<DataPath>,
    /// Numbers of data files by directory and dispatcher.
    numbers: BTreeMap<(PathBuf, String), Vec<u64>>,
}

/// The checkpoint of the sink; `None` before the first.
///
/// # Errors
/// [`Error::Corrupt`] for another content.
pub fn checkpoint(root: &Path) -> Result<Option<u64>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Metadata {
        checkpoint_ts: u64,
    }
    let path = root.join("metadata");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(format!("read {}", path.display()), e)),
    };
    match serde_json::from_slice::<Metadata>(&bytes) {
        Ok(metadata) => Ok(Some(metadata.checkpoint_ts)),
        // being written: the next look finds it whole
        Err(e) if e.is_eof() => Ok(None),
        Err(e) => Err(Error::corrupt(path.display().to_string(), e.to_string())),
    }
}

/// Lists the directory.
///
/// # Errors
/// What the file system says; [`Error::Invalid`] for data files of a format that is not read.
pub fn list(root: &Path) -> Result<Layout> {
    let mut layout = Layout::default();
    walk(root, 0, &mut layout)?;
    layout.schemas.sort_by(|a, b| (a.version, &a.path).cmp(&(b.version, &b.path)));
    layout.data.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(layout)
}

fn walk(dir: &Path, depth: usize, layout: &mut Layout) -> Result<()> {
    let io = |e| Error::io(format!("list directory {}", dir.display()), e);
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            // cleaned up, or a temporary name, while it was listed
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io(format!("look at {}", path.display()), e)),
        };
        if metadata.is_dir() {
            if depth < MAX_DEPTH {
                walk(&path, depth + 1, layout)?;
            }
            continue;
        }
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let stamp = Stamp::of(&metadata);
        if let Some(version) = schema_version(name).filter(|_| dir.ends_with("meta")) {
            layout.schemas.push(SchemaPath { path, version, stamp });
        } else if let Some((dispatcher, number, extension)) = data_name(name) {
            let format = match extension {
                "json" => DataFormat::CanalJson,
                "csv" => DataFormat::Csv,
                _ => {
                    let place = path.display();
                    return Err(Error::Invalid(format!("{place}: only protocol=canal-json and protocol=csv are read")));
                }
            };
            layout.numbers.entry((dir.to_owned(), dispatcher.to_owned())).or_default().push(number);
            layout.data.push(DataPath { path, format, stamp });
        }
    }
    Ok(())
}

fn schema_version(name: &str) -> Option<u64> {
    let (version, checksum) = name.strip_prefix("schema_")?.strip_suffix(".json")?.split_once('_')?;
    checksum.parse::<u64>().ok()?;
    version.parse().ok()
}

/// Dispatcher (may be empty), number and extension of a data file's name.
fn data_name(name: &str) -> Option<(&str, u64, &str)> {
    let (stem, extension) = name.strip_prefix("CDC")?.rsplit_once('.')?;
    if extension == "index" {
        return None;
    }
    let (dispatcher, digits) = match stem.strip_prefix('_') {
        Some(rest) => rest.rsplit_once('_')?,
        None => ("", stem),
    };
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
    Some((dispatcher, number, extension))
}

impl Layout {
    /// A sequence of files with a hole in it; `from_start`: it must begin with number 1.
    #[must_use]
    pub fn gap(&self, from_start: bool) -> Option<String> {
        for ((dir, _), numbers) in &self.numbers {
            let mut numbers = numbers.clone();
            numbers.sort_unstable();
            if from_start && numbers.first().is_some_and(|n| *n > 1) {
                return Some(format!("{} begins with file number {}", dir.display(), numbers[0]));
            }
            if let Some(pair) = numbers.windows(2).find(|pair| pair[1] > pair[0] + 1) {
                return Some(format!("{} misses the files between numbers {} and {}", dir.display(), pair[0], pair[1]));
            }
        }
        None
    }

    /// Directory of a table and version of its schema, for a data file below it: the nearest directory whose name is the
    /// version of a schema file beside it.
    #[must_use]
    pub fn schema_of<'a>(&'a self, data: &Path) -> Option<&'a SchemaPath> {
        data.ancestors().skip(1).find_map(|dir| {
            let version: u64 = dir.file_name()?.to_str()?.parse().ok()?;
            let meta = dir.parent()?.join("meta");
            let first = self.schemas.partition_point(|s| s.version < version);
            self.schemas[first..]
                .iter()
                .take_while(|s| s.version == version)
                .find(|s| s.path.parent() == Some(meta.as_path()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(data_name("CDC00000000000000000012.csv"), Some(("", 12, "csv")));
        assert_eq!(data_name("CDC000001.json"), Some(("", 1, "json")));
        assert_eq!(data_name("CDC_6a_b_000002.json"), Some(("6a_b", 2, "json")));
        assert_eq!(data_name("CDC.index"), None);
        assert_eq!(data_name("CDC_6a.index"), None);
        assert_eq!(data_name("other.json"), None);
        assert_eq!(schema_version("schema_441349361156227074_3131721815.json"), Some(441_349_361_156_227_074));
        assert_eq!(schema_version("schema_x_1.json"), None);
    }
}
