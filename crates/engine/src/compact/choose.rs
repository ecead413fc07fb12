//! What a table needs: which files to merge next, and where to.
//!
//! With a key, in this order:
//!
//! 1. A file in the order of an older key is *sorted anew*.
//! 2. Too many small files of L0, or too many of L0 over one key: they are merged. Base files that overlap them are
//!    merged along if they are not more than `base_ratio` times as large; then the output goes to the base level. Else
//!    it stays in L0, cut into files that cover a part of the keys each: so L0 of a large table gathers what changed
//!    until a part of it is worth its base files.
//! 3. A large file of L0 goes to the base level when it, with others of L0 between the same base files, is large enough.
//! 4. Neighbours of the base level that are small are merged, if no one of them is most of it.
//! 5. A file with too many rows dead below the horizon is written anew.
//!
//! Without a key there are only small files, the largest of which are left alone once they are full, and 5.

use std::sync::Arc;

use crate::engine::Inner;
use crate::file::{DataFile, Level};
use crate::options::EngineOptions;
use crate::pki::KeyRange;
use crate::table::Units;
use tidelake_core::CommitSeq;

/// The next merge of a table.
pub(super) struct Choice {
    pub(super) files: Vec<Arc<DataFile>>,
    pub(super) into: Level,
    /// The only file is sorted anew.
    pub(super) resort: bool,
}

type Files = Vec<Arc<DataFile>>;

/// Most base files in one merge, so that a merge of a large table ends.
const MOST_BASE: usize = 256;
/// Times `max_files` of small files in L0 that writing slows down for.
const CROWD: usize = 8;
/// Small neighbours that are worth a merge.
const NEIGHBOURS: usize = 4;

/// `None` if a table needs nothing.
pub(super) fn choose(inner: &Inner, units: &Units) -> Option<Choice> {
    let chooser = Chooser { options: &inner.options, units, horizon: inner.horizon() };
    if units.keys.keyless() { chooser.keyless() } else { chooser.keyed() }
}

/// True if merges are so far behind that writing should wait for them a little.
pub(super) fn crowded(inner: &Inner, units: &Units) -> bool {
    let chooser = Chooser { options: &inner.options, units, horizon: inner.horizon() };
    let small = units.l0_files().iter().filter(|f| chooser.is_small(f)).count();
    small > CROWD * inner.options.max_files.max(1)
}

struct Chooser<'a> {
    options: &'a EngineOptions,
    units: &'a Units,
    horizon: CommitSeq,
}

impl Chooser<'_> {
    fn fits(&self, file: &DataFile) -> bool {
        file.in_manifest() && file.dead_at() == CommitSeq::MAX && !file.is_garbage(self.horizon)
    }

    fn l0(&self) -> impl Iterator<Item = &Arc<DataFile>> {
        self.units.l0_files().iter().filter(|f| self.fits(f))
    }

    fn base(&self) -> impl Iterator<Item = &Arc<DataFile>> {
        self.units.base_files().iter().filter(|f| self.fits(f))
    }

    fn keyless(&self) -> Option<Choice> {
        let small: Files = self.l0().filter(|f| self.is_small(f)).cloned().collect();
        let files = self.tier(small);
        let files = if files.is_empty() { self.too_dead(self.l0()) } else { files };
        (!files.is_empty()).then_some(Choice { files, into: Level::L0, resort: false })
    }

    fn keyed(&self) -> Option<Choice> {
        let signature = self.units.keys.signature();
        let (sorted, unsorted): (Files, Files) = self.l0().cloned().partition(|f| f.meta.sorted_by == signature);
        if let Some(file) = unsorted.into_iter().next() {
            return Some(Choice { files: vec![file], into: Level::L0, resort: true });
        }
        let small: Files = sorted.iter().filter(|f| self.is_small(f)).cloned().collect();
        let mut crowd = self.tier(small);
        if crowd.is_empty() {
            crowd = self.tier(deepest(&sorted));
        }
        if !crowd.is_empty() {
            return Some(self.with_base(crowd));
        }
        self.worth_its_base(&sorted).or_else(|| self.small_neighbours()).or_else(|| self.mostly_dead(&sorted))
    }

    /// How much of a full file this is.
    fn fullness(&self, file: &DataFile) -> f64 {
        let bytes = file.meta.bytes as f64 / self.options.base_file_bytes.max(1) as f64;
        bytes.max(file.meta.rows as f64 / self.options.base_file_rows.max(1) as f64)
    }

    fn is_small(&self, file: &DataFile) -> bool {
        self.fullness(file) < 0.5
    }

    /// The smallest of too many files: enough of them, and those that are not much larger than the rest together.
    fn tier(&self, mut files: Files) -> Files {
        let most = self.options.max_files.max(1);
        if files.len() <= most {
            return Vec::new();
        }
        files.sort_by_key(|f| f.meta.rows);
        let at_least = (files.len() - most + 1).min(self.options.merge_inputs());
        let (mut taken, mut rows) = (0, 0u64);
        for file in files.iter().take(self.options.merge_inputs()) {
            let grows = taken < at_least.max(2) || file.meta.rows <= 2 * rows;
            if !grows || rows + file.meta.rows > u64::from(u32::MAX) {
                break;
            }
            rows += file.meta.rows;
            taken += 1;
        }
        files.truncate(taken);
        if taken > 1 { files } else { Vec::new() }
    }

    /// Files of L0, with the base files they overlap if these are few enough.
    fn with_base(&self, mut files: Files) -> Choice {
        let base = self.overlapped(&files);
        let into = if self.affordable(&files, &base) { Level::Base } else { Level::L0 };
        if into == Level::Base && !self.options.faults.on("bug: base files overlap") {
            files.extend(base);
        }
        Choice { files, into, resort: false }
    }

    fn affordable(&self, files: &[Arc<DataFile>], base: &[Arc<DataFile>]) -> bool {
        let all_fit = base.iter().all(|f| self.fits(f));
        all_fit && base.len() <= MOST_BASE && bytes(base) <= self.options.base_ratio.saturating_mul(bytes(files))
    }

    /// Base files with keys between the first and the last one of these files.
    fn overlapped(&self, files: &[Arc<DataFile>]) -> Files {
        let Some(hull) = hull(files) else { return Vec::new() };
        let inside = |f: &&Arc<DataFile>| f.keys().is_some_and(|k| k.overlaps(&hull));
        self.units.base_files().iter().filter(inside).cloned().collect()
    }

    /// A large file of L0 with all that lies between the same base files.
    fn worth_its_base(&self, sorted: &[Arc<DataFile>]) -> Option<Choice> {
        for file in sorted.iter().filter(|f| !self.is_small(f)) {
            let alone = std::slice::from_ref(file);
            let base = self.overlapped(alone);
            let whole = hull(base.iter().chain(alone))?;
            let inside = |f: &&Arc<DataFile>| {
                f.keys().is_some_and(|k| whole.contains(&k.first) && whole.contains(&k.last))
                    && f.meta.id != file.meta.id
            };
            let mut files: Files = alone.to_vec();
            files.extend(sorted.iter().filter(inside).take(self.options.merge_inputs()).cloned());
            if self.affordable(&files, &base) {
                files.extend(base);
                return Some(Choice { files, into: Level::Base, resort: false });
            }
        }
        None
    }

    fn small_neighbours(&self) -> Option<Choice> {
        // Neighbours with none between them.
        let small = |f: &Arc<DataFile>| self.fullness(f) < 0.25 && self.fits(f);
        let worth = |run: &[Arc<DataFile>]| {
            let largest = run.iter().map(|f| f.meta.rows).max().unwrap_or(0);
            let rows: u64 = run.iter().map(|f| f.meta.rows).sum();
            small(&run[0]) && run.len() >= NEIGHBOURS && 2 * largest <= rows
        };
        let run = self.units.base_files().chunk_by(|a, b| small(a) == small(b)).find(|r| worth(r))?;
        let files = run.iter().take(MOST_BASE).cloned().collect();
        Some(Choice { files, into: Level::Base, resort: false })
    }

    fn mostly_dead(&self, sorted: &[Arc<DataFile>]) -> Option<Choice> {
        let base = self.too_dead(self.base());
        let (files, into) =
            if base.is_empty() { (self.too_dead(sorted.iter()), Level::L0) } else { (base, Level::Base) };
        (!files.is_empty()).then_some(Choice { files, into, resort: false })
    }

    /// The first file with too many dead rows.
    fn too_dead<'f>(&self, mut files: impl Iterator<Item = &'f Arc<DataFile>>) -> Files {
        let part = |f: &Arc<DataFile>| f.deaths.read().count_at(self.horizon) as f64 / f.meta.rows.max(1) as f64;
        files.find(|f| part(f) > self.options.max_dead).into_iter().cloned().collect()
    }
}

fn bytes(files: &[Arc<DataFile>]) -> u64 {
    files.iter().map(|f| f.meta.bytes).sum()
}

/// From the first to the last key of some files.
pub(super) fn hull<'f>(files: impl IntoIterator<Item = &'f Arc<DataFile>>) -> Option<KeyRange> {
    files.into_iter().filter_map(|f| f.keys()).map(|k| (*k).clone()).reduce(|a, b| a.hull(&b))
}

/// The files over the key that most of them are over.
fn deepest(files: &[Arc<DataFile>]) -> Files {
    let ranges: Vec<(Arc<KeyRange>, &Arc<DataFile>)> = files.iter().filter_map(|f| Some((f.keys()?, f))).collect();
    // The deepest place begins where some file begins.
    let over = |key: &[u8]| ranges.iter().filter(|r| r.0.contains(key)).map(|r| r.1.clone()).collect::<Files>();
    ranges.iter().map(|r| over(&r.0.first)).max_by_key(Vec::len).unwrap_or_default()
}
