//! The whole log: the port's conformance suite, damage, crashes, many threads.

mod conformance;
mod crash;
mod damage;
mod threads;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::{BufferOptions, DiskBuffer};

/// Small segments and chunks, so that a test crosses many.
fn options(dir: &Path, limit_bytes: u64) -> BufferOptions {
    let history = Duration::MAX;
    BufferOptions { dir: dir.to_owned(), limit_bytes, segment_bytes: 8 << 10, spill_bytes: 2 << 10, history }
}

fn open(dir: &Path) -> Arc<DiskBuffer> {
    DiskBuffer::open(options(dir, 1 << 30)).unwrap()
}

/// Segment files, oldest first.
fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = entries.filter(|p| p.extension().is_some_and(|e| e == "seg")).collect();
    files.sort();
    files
}
