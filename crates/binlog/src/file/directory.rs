//! The binlog files of a directory, in order.

use std::path::{Path, PathBuf};

use tidelake_core::{Error, Result};

/// One binlog file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinlogFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its name on the server: without directory and without `.zst`.
    pub name: String,
    /// The digits of its name.
    pub number: u64,
    /// Compressed as a whole (`.zst`).
    pub compressed: bool,
    /// Bytes on disk when it was listed.
    pub bytes: u64,
}

/// Lists the files `<base>.<digits>` and `<base>.<digits>.zst`, by number. Others (`.index`, `.idx`, `.state`, ...) are
/// left out.
///
/// # Errors
/// [`Error::Invalid`] if there are none, if files of several bases lie there, or if a number is missing or twice.
pub fn list(dir: &Path) -> Result<Vec<BinlogFile>> {
    let io = |e| Error::io(format!("list directory {}", dir.display()), e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let (name, compressed) = name.strip_suffix(".zst").map_or((name, false), |n| (n, true));
        let Some((base, digits)) = name.rsplit_once('.') else { continue };
        let Ok(number) = digits.parse::<u64>() else { continue };
        if base.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let metadata = std::fs::metadata(&path).map_err(|e| Error::io(format!("look at {}", path.display()), e))?;
        if metadata.is_file() {
            let name = name.to_owned();
            files.push(BinlogFile { path, name, number, compressed, bytes: metadata.len() });
        }
    }
    files.sort_by_key(|f| f.number);
    check(dir, &files)?;
    Ok(files)
}

fn check(dir: &Path, files: &[BinlogFile]) -> Result<()> {
    let dir = dir.display();
    if files.is_empty() {
        let hint = "names end with a dot and digits, like binlog.000001 or binlog.000001.zst";
        return Err(Error::Invalid(format!("no binlog files in {dir}: {hint}")));
    }
    for pair in files.windows(2) {
        let (a, b) = (&pair[0].name, &pair[1].name);
        if base(a) != base(b) {
            return Err(Error::Invalid(format!("{dir} holds binlog files of two servers: {a} and {b}")));
        }
        if pair[0].number == pair[1].number {
            return Err(Error::Invalid(format!("{dir} holds {a} twice, also as {b} or compressed")));
        }
        if pair[0].number + 1 != pair[1].number {
            return Err(Error::Invalid(format!("{dir} misses the binlog files between {a} and {b}")));
        }
    }
    Ok(())
}

fn base(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(base, _)| base)
}
