//! Scrubbing: reads everything an engine's directory holds and checks that it is what the manifest says.
//!
//! Of each data file: length, checksum, footer, every page (by decoding every row), births within what the manifest
//! says, order of keys. Of its key index: every block's checksum, and that it has exactly the file's keys and rows.
//! Of deaths: checksums, rows within their files. Over all files of a table with a key: no key alive twice. What a crash
//! may leave behind is named, but is no damage. Memory is bounded: files are read in batches, indexes block by block.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::cast::AsArray;
use arrow::datatypes::UInt64Type;
use serde::{Deserialize, Serialize};
use tidelake_core::{CommitSeq, Error, Result, TableDef, TableId};

use crate::adapt::Target;
use crate::deaths::{Deaths, FileDeaths};
use crate::file::{DataFile, FileMeta};
use crate::hash::key_hash;
use crate::keys::KeyMaker;
use crate::manifest::{ManifestLog, State};
use crate::pki::{Pki, PkiStream};
use crate::recovery::{leftovers, lock, newest_defs, read_death_log};
use crate::scan::read::{FileRead, read_file};
use crate::storage::Storage;

/// What a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubReport {
    /// The seq of the state that was checked.
    pub durable: u64,
    /// Tables with files.
    pub tables: u64,
    /// Data files read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows decoded.
    pub rows: u64,
    /// Deaths checked.
    pub deaths: u64,
    /// What is damaged, one line each, with the file.
    pub damage: Vec<String>,
    /// What is worth knowing but no damage.
    pub notes: Vec<String>,
}

/// Checks the directory of an engine that is not running.
///
/// # Errors
/// [`Error::Unavailable`] if an engine has it open, [`Error::NotFound`] if there is none, [`Error::Io`]. Damage is no
/// error: it is in the report.
pub fn scrub(dir: &Path) -> Result<ScrubReport> {
    if !Storage::is_engine(dir) {
        return Err(Error::NotFound(format!("an engine in {}", dir.display())));
    }
    let _lock = lock(dir)?;
    let storage = &Storage::of_directory(dir)?;
    let mut report = ScrubReport::default();
    let state = match ManifestLog::read_newest(storage) {
        Ok((_, state)) => state,
        Err(e @ Error::Io { .. }) => return Err(e),
        Err(e) => {
            report.damage.push(e.to_string());
            return Ok(report);
        }
    };
    report.durable = state.durable.seq.0;
    match leftovers(storage, &state) {
        Ok(paths) => report.notes.extend(paths.iter().map(|p| format!("{}: left by a crash", p.display()))),
        Err(e) => report.damage.push(e.to_string()),
    }
    let deaths = read_deaths(storage, &state, &mut report);
    Scrub { dir, storage, state: &state, deaths, report: &mut report }.tables()?;
    Ok(report)
}

fn read_deaths(storage: &Storage, state: &State, report: &mut ScrubReport) -> BTreeMap<u64, Vec<Deaths>> {
    let mut deaths: BTreeMap<u64, Vec<Deaths>> = BTreeMap::new();
    for (id, table) in &state.deaths {
        match read_death_log(storage, *table, *id) {
            Ok(log) => log.into_iter().for_each(|(file, d)| deaths.entry(file).or_default().push(d)),
            Err(e) => report.damage.push(e.to_string()),
        }
    }
    deaths
}

struct Scrub<'a> {
    dir: &'a Path,
    storage: &'a Arc<Storage>,
    state: &'a State,
    deaths: BTreeMap<u64, Vec<Deaths>>,
    report: &'a mut ScrubReport,
}

/// What is true of every index.
const HEALS: &str = "(removed while no Tidelake runs, it is made anew from its data file)";

/// A data file whose index is good.
struct Checked {
    file: Arc<DataFile>,
    pki: Arc<Pki>,
}

impl Scrub<'_> {
    fn tables(mut self) -> Result<()> {
        let defs: BTreeMap<TableId, Arc<TableDef>> =
            newest_defs(self.state).into_iter().map(|def| (def.id, def)).collect();
        let mut by_table: BTreeMap<TableId, Vec<&FileMeta>> = BTreeMap::new();
        self.state.files.values().for_each(|f| by_table.entry(f.table).or_default().push(f));
        self.report.tables = by_table.len() as u64;
        for (table, files) in by_table {
            let Some(def) = defs.get(&table) else {
                self.damaged(&files[0].path(self.dir), "no catalog version has its table");
                continue;
            };
            let mut checked = Vec::new();
            for meta in files {
                checked.extend(self.file(meta, def)?);
            }
            self.unique_keys(def, &checked)?;
            self.ranges_apart(def, &checked)?;
        }
        Ok(())
    }

    fn damaged(&mut self, path: &Path, what: impl std::fmt::Display) {
        self.report.damage.push(format!("{}: {what}", path.display()));
    }

    /// Checks one file and its index; the file, if both are whole.
    fn file(&mut self, meta: &FileMeta, def: &Arc<TableDef>) -> Result<Option<Checked>> {
        let deaths = FileDeaths::from_parts(self.deaths.remove(&meta.id).unwrap_or_default());
        let path = meta.path(self.dir);
        let dead = deaths.count_at(CommitSeq::MAX);
        self.report.files += 1;
        self.report.bytes += meta.bytes;
        self.report.deaths += dead;
        if deaths.max_row().is_some_and(|row| u64::from(row) >= meta.rows) {
            self.damaged(&path, format_args!("a death log names rows beyond its {} rows", meta.rows));
        }
        let maker = KeyMaker::new(def)?;
        let index = meta.pki_path(self.dir, maker.signature());
        let pki = self.index(&index, meta, &maker);
        let opened = match &pki {
            Some(pki) => pki.clone(),
            None => Arc::new(Pki::absent(self.dir)?),
        };
        let file = Arc::new(DataFile::recovered(meta.clone(), self.storage, opened, deaths));
        if pki.is_none() && matches!(file.open(), Err(Error::SnapshotExpired(_))) {
            self.damaged(&path, "is missing");
            return Ok(None);
        }
        let (Some(content), Some(pki)) = (self.content(&file, def, &maker), pki) else { return Ok(None) };
        match index_digest(&pki) {
            Ok(digest) if digest == content => return Ok(Some(Checked { file, pki })),
            Ok(_) => self.damaged(&index, format_args!("does not have the keys of its data file {HEALS}")),
            Err(e) => self.report.damage.push(format!("{e} {HEALS}")),
        }
        Ok(None)
    }

    /// The key index, if its resident part is whole.
    fn index(&mut self, path: &Path, meta: &FileMeta, maker: &KeyMaker) -> Option<Arc<Pki>> {
        // A copy of it may not be here.
        let here = self.storage.open_file(path, None);
        match here.and_then(|_| Pki::open(path)) {
            Ok(pki) if pki.signature() == maker.signature() && pki.keys() == meta.rows => Some(Arc::new(pki)),
            Ok(pki) => {
                let (keys, rows) = (pki.keys(), meta.rows);
                self.damaged(path, format_args!("{keys} keys, or of other columns, for {rows} rows {HEALS}"));
                None
            }
            Err(e) => {
                self.report.damage.push(format!("{e} {HEALS}"));
                None
            }
        }
    }

    /// Reads all rows; a digest of keys and row numbers, if they are whole.
    fn content(&mut self, file: &Arc<DataFile>, def: &Arc<TableDef>, maker: &KeyMaker) -> Option<u64> {
        match read_content(file, def, maker) {
            Ok((rows, digest)) => {
                self.report.rows += rows;
                Some(digest)
            }
            Err(e) => {
                let (path, text) = (file.path.clone(), e.to_string());
                // Most errors name the file themselves.
                if text.contains(&path.display().to_string()) {
                    self.report.damage.push(text);
                } else {
                    self.damaged(&path, text);
                }
                None
            }
        }
    }

    /// Base files keep apart from each other.
    fn ranges_apart(&mut self, def: &TableDef, files: &[Checked]) -> Result<()> {
        let maker = KeyMaker::new(def)?;
        let living = |f: &DataFile| f.meta.valid_to == CommitSeq::MAX && f.dead_at() == CommitSeq::MAX;
        let base = files.iter().map(|c| &c.file).filter(|f| living(f) && f.is_base(maker.signature()));
        let mut ranges: Vec<_> = base.filter_map(|f| Some((f.keys()?, f))).collect();
        ranges.sort_by(|a, b| a.0.first.cmp(&b.0.first));
        for pair in ranges.windows(2).filter(|p| p[0].0.overlaps(&p[1].0)) {
            let other = pair[0].1.path.display();
            self.damaged(&pair[1].1.path, format_args!("overlaps the keys of {other}"));
        }
        Ok(())
    }

    /// No key lives twice at the durable seq.
    fn unique_keys(&mut self, def: &TableDef, files: &[Checked]) -> Result<()> {
        if def.key.is_empty() {
            return Ok(());
        }
        let seq = self.state.durable.seq;
        let mut streams = Vec::new();
        for checked in files.iter().filter(|c| c.file.covers(seq)) {
            let mask = checked.file.deaths.read().mask_at(seq);
            let mut stream = PkiStream::new(checked.pki.clone())?;
            skip(&mut stream, &mask)?;
            streams.push((stream, mask, &checked.file));
        }
        let mut last: Option<(Vec<u8>, usize)> = None;
        loop {
            let living = streams.iter().enumerate().filter_map(|(i, s)| Some((s.0.entry()?.0, i)));
            let Some((key, i)) = living.min() else { return Ok(()) };
            if let Some((before, other)) = last.as_ref().filter(|l| l.0 == key) {
                let what = format!("key {before:02x?} of {} is alive twice, also in", def.name);
                let (path, other) = (streams[i].2.path.clone(), streams[*other].2.path.display().to_string());
                self.damaged(&path, format_args!("{what} {other}"));
            }
            last = Some((key.to_vec(), i));
            streams[i].0.advance()?;
            let (stream, mask, _) = &mut streams[i];
            skip(stream, mask)?;
        }
    }
}

fn skip(stream: &mut PkiStream, dead: &roaring::RoaringBitmap) -> Result<()> {
    while stream.entry().is_some_and(|(_, row)| dead.contains(row)) {
        stream.advance()?;
    }
    Ok(())
}

/// Number of rows, and the digest of their keys.
fn read_content(file: &Arc<DataFile>, def: &Arc<TableDef>, maker: &KeyMaker) -> Result<(u64, u64)> {
    let length = file.open()?.metadata().map_err(|e| Error::io(format!("open {}", file.path.display()), e))?.len();
    if length != file.meta.bytes {
        return Err(file.corrupt(format!("{length} bytes, the manifest has {}", file.meta.bytes)));
    }
    let mut read = FileRead::everything(file.clone(), Target::of_any_row(def.clone())?)?;
    read.with_births = file.meta.with_births;
    let sorted = !maker.keyless() && file.meta.sorted_by == maker.signature();
    let (mut rows, mut digest, mut last) = (0, 0u64, Vec::new());
    let (mut oldest, mut newest) = (u64::MAX, 0);
    read_file(&read, &mut |batch, first| {
        let at = def.columns.len();
        if read.with_births {
            for birth in batch.column(at).as_primitive::<UInt64Type>().values() {
                (oldest, newest) = (oldest.min(*birth), newest.max(*birth));
            }
        }
        let keys = maker.keys(&batch.project(&(0..at).collect::<Vec<_>>())?)?;
        for i in 0..keys.len() {
            let key = keys.get(i);
            if sorted && key < last.as_slice() {
                return Err(file.corrupt(format!("row {} is not in the order of keys", first + i as u32)));
            }
            digest = digest.wrapping_add(entry_digest(key, first + i as u32));
            last.clear();
            last.extend_from_slice(key);
        }
        rows += keys.len() as u64;
        Ok(true)
    })?;
    let births = (CommitSeq(oldest), CommitSeq(newest));
    if rows > 0 && read.with_births && births != file.meta.births {
        return Err(file.corrupt(format!("births {oldest} to {newest}, the manifest has {:?}", file.meta.births)));
    }
    Ok((rows, digest))
}

fn index_digest(pki: &Arc<Pki>) -> Result<u64> {
    let mut stream = PkiStream::new(pki.clone())?;
    let mut digest = 0u64;
    while let Some((key, row)) = stream.entry() {
        digest = digest.wrapping_add(entry_digest(key, row));
        stream.advance()?;
    }
    Ok(digest)
}

/// The same for the same entries in any order.
fn entry_digest(key: &[u8], row: u32) -> u64 {
    key_hash(&[&key_hash(key).to_le_bytes()[..], &row.to_le_bytes()[..]].concat())
}
