//! Sorted runs of records on disk: what a stalled watermark holds back does not stay in memory.
//!
//! A run is a file of records, each with its length before it, in ascending order. Runs are scratch: a restart reads the feed
//! again, so none survives one.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use tidelake_core::{Error, Result};

/// Runs are merged into one when there are more.
const MAX_RUNS: usize = 32;
/// Longest record; a longer length is damage.
const MAX_RECORD: u32 = 1 << 30;

/// One run, read from its beginning. Its file goes with it.
struct Run {
    path: PathBuf,
    file: BufReader<File>,
    /// The next record.
    head: Option<Vec<u8>>,
    /// Bytes not read yet, the head included.
    bytes: u64,
}

impl Run {
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let record = self.head.take();
        if let Some(record) = &record {
            self.bytes = self.bytes.saturating_sub(record.len() as u64);
            self.head = self.read()?;
        }
        Ok(record)
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>> {
        let io = |e| Error::io(format!("read {}", self.path.display()), e);
        let mut length = [0; 4];
        if self.file.read(&mut length[..1]).map_err(io)? == 0 {
            return Ok(None);
        }
        self.file.read_exact(&mut length[1..]).map_err(io)?;
        let length = u32::from_le_bytes(length);
        if length > MAX_RECORD {
            return Err(Error::corrupt(self.path.display().to_string(), format!("record of {length} bytes")));
        }
        let mut record = vec![0; length as usize];
        self.file.read_exact(&mut record).map_err(io)?;
        Ok(Some(record))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// All runs of one directory.
pub struct Runs {
    dir: PathBuf,
    next: u64,
    runs: Vec<Run>,
}

impl Runs {
    /// Runs in `dir`, which is created; what an earlier process left there goes.
    ///
    /// # Errors
    /// If the directory cannot be made or emptied.
    pub fn open(dir: &Path) -> Result<Runs> {
        let io = |e| Error::io(format!("empty {}", dir.display()), e);
        std::fs::create_dir_all(dir).map_err(io)?;
        for entry in std::fs::read_dir(dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|e| e == "run") {
                std::fs::remove_file(&path).map_err(io)?;
            }
        }
        Ok(Runs { dir: dir.to_owned(), next: 1, runs: Vec::new() })
    }

    /// Bytes of records not taken yet.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|r| r.bytes).sum()
    }

    /// Number of runs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// True without records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Adds a run of records in ascending order.
    ///
    /// # Errors
    /// What the file system says.
    pub fn add(&mut self, records: impl Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
        let path = self.dir.join(format!("{:08}.run", self.next));
        self.next += 1;
        let io = |e| Error::io(format!("write {}", path.display()), e);
        let mut out = BufWriter::with_capacity(256 << 10, File::create(&path).map_err(io)?);
        let mut bytes = 0;
        for record in records {
            let record = record?;
            let length = u32::try_from(record.len()).ok().filter(|n| *n <= MAX_RECORD);
            let length = length.ok_or_else(|| Error::Limit(format!("an event of {} bytes", record.len())))?;
            out.write_all(&length.to_le_bytes()).and_then(|()| out.write_all(&record)).map_err(io)?;
            bytes += record.len() as u64;
        }
        out.flush().map_err(io)?;
        drop(out);
        let file = BufReader::with_capacity(64 << 10, File::open(&path).map_err(io)?);
        let mut run = Run { path, file, head: None, bytes };
        run.head = run.read()?;
        if run.head.is_some() {
            self.runs.push(run);
        }
        if self.runs.len() > MAX_RUNS { self.merge() } else { Ok(()) }
    }

    fn merge(&mut self) -> Result<()> {
        let mut old = Runs { dir: self.dir.clone(), next: 0, runs: std::mem::take(&mut self.runs) };
        self.add(std::iter::from_fn(move || old.smallest().and_then(|run| old.take(run).transpose())))
    }

    /// The run with the smallest next record.
    #[must_use]
    pub fn smallest(&self) -> Option<usize> {
        (0..self.runs.len()).min_by(|a, b| self.runs[*a].head.cmp(&self.runs[*b].head))
    }

    /// The next record of a run.
    #[must_use]
    pub fn peek(&self, run: usize) -> Option<&[u8]> {
        self.runs[run].head.as_deref()
    }

    /// Takes the next record of a run; a run that ends goes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn take(&mut self, run: usize) -> Result<Option<Vec<u8>>> {
        let record = self.runs[run].next()?;
        if self.runs[run].head.is_none() {
            self.runs.swap_remove(run);
        }
        Ok(record)
    }
}
