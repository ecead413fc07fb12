//! Which files lie in a dump's directory, and what its `metadata` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use tidelake_core::{Error, Result, TableName};

use super::super::server::parse_tso;
use super::table_name;

/// Largest definition of a table.
const MAX_SCHEMA: u64 = 64 << 20;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    None,
    Gzip,
    Zstd,
    Snappy,
}

/// A file with rows.
#[derive(Clone, Debug)]
pub struct DataFile {
    pub path: PathBuf,
    /// Its name, which orders the files of a table.
    pub name: String,
    pub is_csv: bool,
    pub packing: Packing,
}

/// What there is of a table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub schema: Option<PathBuf>,
    pub data: Vec<DataFile>,
}

/// Everything found; views and sequences are left out.
#[derive(Debug, Default)]
pub struct Layout {
    pub tables: BTreeMap<TableName, Table>,
}

fn packing_of(name: &str) -> (&str, Packing) {
    for (end, packing) in [(".gz", Packing::Gzip), (".zst", Packing::Zstd), (".snappy", Packing::Snappy)] {
        if let Some(rest) = name.strip_suffix(end) {
            return (rest, packing);
        }
    }
    (name, Packing::None)
}

impl Layout {
    /// Lists the directory.
    ///
    /// # Errors
    /// What the file system says; [`Error::Invalid`] for files of a dump that cannot be read.
    pub fn of(dir: &Path) -> Result<Layout> {
        let io = |e| Error::io(format!("list directory {}", dir.display()), e);
        let mut layout = Layout::default();
        let mut no_tables = BTreeSet::new();
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(io)? {
            paths.push(entry.map_err(io)?.path());
        }
        paths.sort();
        for path in paths {
            let Some(name) = path.file_name().and_then(|n| n.to_str()).map(str::to_owned) else { continue };
            let (stem, packing) = packing_of(&name);
            let unknown = || Error::Invalid(format!("{}: is not named as Dumpling names its files", path.display()));
            let parsed = |text: &str| table_name(text).ok_or_else(unknown);
            let other = ["-schema-create", "-schema-post", "-schema-triggers", "-placement-policy-create"];
            if stem.strip_suffix(".sql").is_some_and(|s| other.iter().any(|end| s.ends_with(end))) {
                continue;
            }
            if let Some(view) =
                stem.strip_suffix("-schema-view.sql").or_else(|| stem.strip_suffix("-schema-sequence.sql"))
            {
                no_tables.insert(parsed(view)?);
            } else if let Some(table) = stem.strip_suffix("-schema.sql") {
                layout.tables.entry(parsed(table)?).or_default().schema = Some(path.clone());
            } else if let Some((rest, extension @ ("sql" | "csv"))) = stem.rsplit_once('.') {
                // the number may be missing
                let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                let table = match rest.rsplit_once('.') {
                    Some((table, number)) if table.contains('.') && is_number(number) => table,
                    _ => rest,
                };
                if table.matches('.').count() != 1 {
                    return Err(unknown());
                }
                let file = DataFile { name: name.clone(), is_csv: extension == "csv", packing, path: path.clone() };
                layout.tables.entry(parsed(table)?).or_default().data.push(file);
            } else if stem.ends_with(".parquet") {
                return Err(Error::Invalid(format!("{}: dump with --filetype sql or csv", path.display())));
            }
        }
        layout.tables.retain(|name, _| !no_tables.contains(name));
        Ok(layout)
    }
}

/// Why `metadata` names no TSO.
#[derive(Debug)]
pub enum NoTso {
    /// The dump did not end.
    Unfinished(String),
    /// It is of another kind.
    Other(String),
}

impl fmt::Display for NoTso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (NoTso::Unfinished(reason) | NoTso::Other(reason)) = self;
        f.write_str(reason)
    }
}

/// The TSO that `metadata` names.
///
/// # Errors
/// Why there is none.
pub fn tso(dir: &Path) -> Result<u64, NoTso> {
    let path = dir.join("metadata");
    let place = path.display();
    let text = std::fs::read_to_string(&path).map_err(|e| NoTso::Unfinished(format!("read {place}: {e}")))?;
    if !text.lines().any(|line| line.starts_with("Finished dump at:")) {
        return Err(NoTso::Unfinished(format!("{place} says of no end of the dump: it is not whole")));
    }
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with("SHOW MASTER STATUS:") && !line.starts_with("SHOW BINARY LOG STATUS:"));
    let section = lines.by_ref().skip(1).take_while(|line| line.starts_with(['\t', ' '])).collect::<Vec<&str>>();
    let value = |name: &str| section.iter().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    let advice = "dump with --consistency snapshot, or give the TSO as ?tso=";
    match (value("Log:"), value("Pos:")) {
        (Some("tidb-binlog"), Some(pos)) => {
            parse_tso(pos).map_err(|e| NoTso::Other(format!("{place}, Pos: {e}; {advice}")))
        }
        (Some(log), _) => Err(NoTso::Other(format!("{place} has the binlog {log}: it is no dump of TiDB"))),
        _ => Err(NoTso::Other(format!("{place} has no position: {advice}"))),
    }
}

/// The CREATE TABLE of a schema file, without what stands before it.
///
/// # Errors
/// What the file system says, [`Error::Invalid`] if there is none.
pub fn create_table(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let mut bytes = Vec::new();
    let io = |e| Error::io(format!("read {}", path.display()), e);
    unpacked(path, packing_of(name).1)?.take(MAX_SCHEMA).read_to_end(&mut bytes).map_err(io)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::Invalid(format!("{} is not UTF-8", path.display())))?;
    // what comes first sets the session
    let begin =
        text.find("CREATE TABLE").ok_or_else(|| Error::Invalid(format!("{}: no CREATE TABLE", path.display())))?;
    Ok(text[begin..].trim_end().trim_end_matches(';').to_owned())
}

/// Opens a file.
///
/// # Errors
/// What the file system says.
pub fn unpacked(path: &Path, packing: Packing) -> Result<Box<dyn Read + Send>> {
    let io = |e| Error::io(format!("open {}", path.display()), e);
    let file = std::io::BufReader::new(std::fs::File::open(path).map_err(io)?);
    Ok(match packing {
        Packing::None => Box::new(file),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(file).map_err(io)?),
        Packing::Snappy => Box::new(snap::read::FrameDecoder::new(file)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("a file");
        }
        dir
    }

    #[test]
    fn files_by_table() {
        let names = [
            "metadata",
            "a-schema-create.sql",
            "a.t-schema.sql",
            "a.t.000000001.csv.gz",
            "a.t.000000000.sql",
            "a.7.sql",
            "a%2Eb.%2Dschema.0000000010000.sql.zst",
            "a.v-schema.sql",
            "a.v-schema-view.sql",
            "a.s-schema-sequence.sql",
            "a.t-schema-triggers.sql",
        ];
        let found = Layout::of(dir(&names.map(|name| (name, ""))).path()).expect("a layout");
        let tables: Vec<String> = found.tables.keys().map(ToString::to_string).collect();
        assert_eq!(tables, ["a.7", "a.t", "a.b.-schema"]);
        let files: Vec<&str> = found.tables[&TableName::new("a", "t")].data.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(files, ["a.t.000000000.sql", "a.t.000000001.csv.gz"]);
        for wrong in ["a.sql", "a.t.x.sql", "a.t.000000000.parquet", "a.%zz.0.sql"] {
            assert!(Layout::of(dir(&[(wrong, "")]).path()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn positions() {
        let text =
            "Started dump at: x\nSHOW MASTER STATUS:\n\tLog: tidb-binlog\n\tPos: POS\n\tGTID:\n\nFinished dump at: y\n";
        let of = |text: &str| tso(dir(&[("metadata", text)]).path()).map_err(|e| e.to_string());
        assert_eq!(of(&text.replace("POS", "441349361156227074")), Ok(441_349_361_156_227_074));
        for (text, part) in [
            (text.replace("POS", "2026-11-29 10:00:00"), "no TSO"),
            (text.replace("tidb-binlog", "ON.000001"), "no dump of TiDB"),
            (text.replace("Finished", "Ended"), "not whole"),
            ("Started\nFinished dump at: y\n".to_owned(), "no position"),
        ] {
            let error = of(&text).expect_err(&text);
            assert!(error.contains(part), "{error}");
        }
        assert!(tso(Path::new("/no/such/dump")).is_err());
    }
}
