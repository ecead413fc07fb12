//! An index of keys that come in any order: sorted runs on disk, then merged, so that memory is bounded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelake_core::Result;

use super::{Pki, PkiBuilder, PkiStream};
use crate::keys::Keys;

/// Bytes of keys that are sorted in memory.
const RUN_BYTES: usize = 16 << 20;

/// What the name of a run has in it; the next open removes those that a crash left.
pub(crate) const RUN_MARK: &str = "-run";

/// Collects keys with their rows and writes the index at the end.
pub(crate) struct PkiSorter {
    path: PathBuf,
    signature: String,
    run_bytes: usize,
    bytes: Vec<u8>,
    /// Begin and end in `bytes`, and the row.
    entries: Vec<(u32, u32, u32)>,
    runs: Vec<PathBuf>,
    keys: u64,
}

impl PkiSorter {
    pub(crate) fn new(path: &Path, signature: &str) -> PkiSorter {
        PkiSorter::with_run_bytes(path, signature, RUN_BYTES)
    }

    pub(super) fn with_run_bytes(path: &Path, signature: &str, run_bytes: usize) -> PkiSorter {
        PkiSorter {
            path: path.to_owned(),
            signature: signature.to_owned(),
            run_bytes,
            bytes: Vec::new(),
            entries: Vec::new(),
            runs: Vec::new(),
            keys: 0,
        }
    }

    /// Takes the keys of rows `first..`.
    pub(crate) fn push(&mut self, keys: &Keys, first: u32) -> Result<()> {
        for at in 0..keys.len() {
            let begin = self.bytes.len() as u32;
            self.bytes.extend_from_slice(keys.get(at));
            self.entries.push((begin, self.bytes.len() as u32, first + at as u32));
            if self.bytes.len() + 12 * self.entries.len() >= self.run_bytes {
                self.write_run()?;
            }
        }
        self.keys += keys.len() as u64;
        Ok(())
    }

    fn sort(&mut self) {
        let key = |e: &(u32, u32, u32)| &self.bytes[e.0 as usize..e.1 as usize];
        self.entries.sort_unstable_by(|a, b| key(a).cmp(key(b)).then(a.2.cmp(&b.2)));
    }

    fn write_into(&mut self, builder: &mut PkiBuilder) -> Result<()> {
        self.sort();
        for (begin, end, row) in self.entries.drain(..) {
            builder.push(&self.bytes[begin as usize..end as usize], row)?;
        }
        self.bytes.clear();
        Ok(())
    }

    fn write_run(&mut self) -> Result<()> {
        let name = self.path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let path = self.path.with_file_name(format!("{name}{RUN_MARK}{}.pki", self.runs.len()));
        let mut builder = PkiBuilder::create(&path, &self.signature, None)?;
        self.runs.push(path);
        self.write_into(&mut builder)?;
        drop(builder.finish()?);
        Ok(())
    }

    /// Writes the index, durably, and opens it.
    pub(crate) fn finish(mut self) -> Result<Pki> {
        let mut builder = PkiBuilder::create(&self.path, &self.signature, Some(self.keys))?;
        if self.runs.is_empty() {
            self.write_into(&mut builder)?;
            return builder.finish();
        }
        if !self.entries.is_empty() {
            self.write_run()?;
        }
        let open = |path: &PathBuf| PkiStream::new(Arc::new(Pki::open(path)?));
        let mut streams = self.runs.iter().map(open).collect::<Result<Vec<_>>>()?;
        loop {
            let waiting = streams.iter().enumerate().filter_map(|(i, s)| Some((s.entry()?, i)));
            let Some(((key, row), i)) = waiting.min() else { break };
            builder.push(key, row)?;
            streams[i].advance()?;
        }
        builder.finish()
    }
}

impl Drop for PkiSorter {
    fn drop(&mut self) {
        for run in &self.runs {
            if let Err(e) = std::fs::remove_file(run) {
                tracing::warn!(path = %run.display(), error = %e, "a run of keys stays");
            }
        }
    }
}
