//! Which files lie in a storage sink's directory.
//!
//! Data: `DB/TABLE/VERSION/[PARTITION/][DATE/]CDC<n>.csv|json`, or `CDC_<dispatcher>_<n>` from newer TiCDC, or below
//! `TABLE-ID/VERSION/`. Schemas: `.../meta/schema_<version>_<checksum>.json`. Index files are hints that may lead or lag; they
//! are not needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidelake_core::{Error, Result};

use super::store::{Stamp, Store};

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
    /// The number in its name.
    pub number: u64,
    /// The dispatcher in its name; may be empty.
    pub dispatcher: String,
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
    /// The sink's root, for messages.
    root: String,
}

/// The checkpoint of the sink; `None` before the first.
///
/// # Errors
/// [`Error::Corrupt`] for another content.
pub fn checkpoint(store: &Store) -> Result<Option<u64>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Metadata {
        checkpoint_ts: u64,
    }
    let path = Path::new("metadata");
    let Some(bytes) = store.get(path)? else { return Ok(None) };
    match serde_json::from_slice::<Metadata>(&bytes) {
        Ok(metadata) => Ok(Some(metadata.checkpoint_ts)),
        // being written: the next look finds it whole
        Err(e) if e.is_eof() => Ok(None),
        Err(e) => Err(Error::corrupt(store.name_of(path), e.to_string())),
    }
}

/// Lists the sink's files.
///
/// # Errors
/// What the store says; [`Error::Invalid`] for data files of a format that is not read.
pub fn list(store: &Store) -> Result<Layout> {
    let mut layout = Layout { root: store.name_of(Path::new("")), ..Layout::default() };
    for found in store.list()? {
        let (path, stamp) = (found.path, found.stamp);
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let dir = path.parent().unwrap_or(Path::new(""));
        if let Some(version) = schema_version(name).filter(|_| dir.ends_with("meta")) {
            layout.schemas.push(SchemaPath { path, version, stamp });
        } else if let Some((dispatcher, number, extension)) = data_name(name) {
            let format = match extension {
                "json" => DataFormat::CanalJson,
                "csv" => DataFormat::Csv,
                _ => {
                    let place = store.name_of(&path);
                    return Err(Error::Invalid(format!("{place}: only protocol=canal-json and protocol=csv are read")));
                }
            };
            let dispatcher = dispatcher.to_owned();
            layout.numbers.entry((dir.to_owned(), dispatcher.clone())).or_default().push(number);
            layout.data.push(DataPath { path, format, number, dispatcher, stamp });
        }
    }
    layout.schemas.sort_by(|a, b| (a.version, &a.path).cmp(&(b.version, &b.path)));
    layout.data.sort_by(|a, b| a.path.cmp(&b.path));
    layout.numbers.values_mut().for_each(|numbers| numbers.sort_unstable());
    Ok(layout)
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
            let dir = format!("{}{}", self.root, dir.display());
            if from_start && numbers.first().is_some_and(|n| *n > 1) {
                return Some(format!("{dir} begins with file number {}", numbers[0]));
            }
            if let Some(pair) = numbers.windows(2).find(|pair| pair[1] > pair[0] + 1) {
                return Some(format!("{dir} misses the files between numbers {} and {}", pair[0], pair[1]));
            }
        }
        None
    }

    /// True if no file of this sequence has a higher number: its writer may write it again.
    #[must_use]
    pub fn is_last(&self, data: &DataPath) -> bool {
        let dir = data.path.parent().unwrap_or(Path::new("")).to_owned();
        self.numbers.get(&(dir, data.dispatcher.clone())).and_then(|n| n.last()).is_none_or(|last| *last == data.number)
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
