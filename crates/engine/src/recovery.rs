//! Opening a directory at its durable state: the manifest says what is there; files it does not know are
//! leftovers of a crash and go, files nobody of us wrote are refused by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelake_core::{CommitSeq, Error, Result, TableDef, TableId};

use crate::deaths::{Deaths, FileDeaths, decode_deaths};
use crate::engine::Recovered;
use crate::file::{DataFile, FileMeta, Level};
use crate::flush::death_log_path;
use crate::keys::KeyMaker;
use crate::manifest::{ManifestLog, State};
use crate::options::EngineOptions;
use crate::pki::{Pki, RUN_MARK};
use crate::schema::build_pki;
use crate::table::Table;

pub(crate) fn recover(options: &EngineOptions) -> Result<Recovered> {
    let dir = &options.dir;
    for part in [dir.clone(), dir.join("table")] {
        fs::create_dir_all(&part).map_err(|e| Error::io(format!("create {}", part.display()), e))?;
    }
    let lock = lock(dir)?;
    refuse_foreign(dir, &["LOCK", "manifest", "table"])?;
    let (number, mut state) = ManifestLog::recover(&dir.join("manifest"))?;
    state.incarnation += 1;
    if state.incarnation >= 1 << 31 {
        return Err(Error::Limit(format!("{} was opened too often", dir.display())));
    }
    remove_orphans(dir, &state)?;
    let tables = tables(dir, &state, true)?;
    let manifest = ManifestLog::start(&dir.join("manifest"), number + 1, state, options.faults.clone())?;
    Ok(Recovered { tables, manifest, lock })
}

/// What the manifest of a directory says, without changing anything; indexes that are missing are left out. The
/// engine is kept out while the returned file lives.
pub(crate) fn read_only(dir: &Path) -> Result<(File, State, BTreeMap<TableId, Arc<Table>>)> {
    if !dir.join("manifest").is_dir() {
        return Err(Error::NotFound(format!("an engine in {}", dir.display())));
    }
    let lock = lock(dir)?;
    let (_, state) = ManifestLog::read_newest(&dir.join("manifest"))?;
    let tables = tables(dir, &state, false)?;
    Ok((lock, state, tables))
}

/// Keeps other engines out of the directory.
pub(crate) fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("LOCK");
    let file = File::create(&path).map_err(|e| Error::io(format!("create {}", path.display()), e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::Unavailable(format!("{} is open in another process", dir.display())))
        }
        Err(TryLockError::Error(e)) => Err(Error::io(format!("lock {}", path.display()), e)),
    }
}

fn list(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let io = |e| Error::io(format!("list {}", dir.display()), e);
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        out.push((name, path));
    }
    Ok(out)
}

fn foreign(path: &Path) -> Error {
    Error::Invalid(format!("{} is not a file of the Magic Engine: move it away", path.display()))
}

fn refuse_foreign(dir: &Path, known: &[&str]) -> Result<()> {
    for (name, path) in list(dir)? {
        if !known.contains(&name.as_str()) {
            return Err(foreign(&path));
        }
    }
    Ok(())
}

/// Our files that the manifest does not name.
///
/// # Errors
/// [`Error::Invalid`] for a file that is not ours.
pub(crate) fn leftovers(dir: &Path, state: &State) -> Result<Vec<PathBuf>> {
    let mut orphans = Vec::new();
    for (name, path) in list(&dir.join("table"))? {
        let Ok(table) = name.parse::<u64>() else { return Err(foreign(&path)) };
        refuse_foreign(&path, &["l0", "base", "dv"])?;
        for level in [Level::L0, Level::Base] {
            data_leftovers(&path.join(level.name()), state, TableId(table), level, &mut orphans)?;
        }
        for (name, path) in list(&path.join("dv"))? {
            match name.strip_suffix(".dvlog").and_then(|n| n.parse::<u64>().ok()) {
                Some(id) if state.deaths.contains_key(&id) => {}
                Some(_) => orphans.push(path),
                None => return Err(foreign(&path)),
            }
        }
    }
    Ok(orphans)
}

fn data_leftovers(dir: &Path, state: &State, table: TableId, level: Level, orphans: &mut Vec<PathBuf>) -> Result<()> {
    let of_level = state.files.values().filter(|f| f.table == table && f.level == level);
    let known: BTreeSet<u64> = of_level.map(|f| f.id).collect();
    for (name, path) in list(dir)? {
        let id = match name.strip_suffix(".parquet") {
            Some(id) => id.parse::<u64>(),
            None => name.strip_suffix(".pki").and_then(|n| n.split_once('-')).map_or("", |n| n.0).parse(),
        };
        match id {
            Ok(_) if name.contains(RUN_MARK) => orphans.push(path),
            Ok(id) if known.contains(&id) => {}
            Ok(_) => orphans.push(path),
            Err(_) => return Err(foreign(&path)),
        }
    }
    Ok(())
}

fn remove_orphans(dir: &Path, state: &State) -> Result<()> {
    for path in &leftovers(dir, state)? {
        tracing::info!(path = %path.display(), "removing a file that no flush completed");
        fs::remove_file(path).map_err(|e| Error::io(format!("remove {}", path.display()), e))?;
    }
    Ok(())
}

fn tables(dir: &Path, state: &State, heal: bool) -> Result<BTreeMap<TableId, Arc<Table>>> {
    let mut deaths: HashMap<u64, Vec<Deaths>> = HashMap::new();
    for (id, table) in &state.deaths {
        let path = death_log_path(dir, *table, *id);
        let bytes = fs::read(&path).map_err(|e| Error::io(format!("read {}", path.display()), e))?;
        for (file, log) in decode_deaths(&path.display().to_string(), &bytes)? {
            deaths.entry(file).or_default().push(log);
        }
    }
    let mut tables = BTreeMap::new();
    // Below every id that this open will give out, and only compared within one table.
    let generation = state.incarnation << 32;
    for def in newest_defs(state) {
        tables.insert(def.id, Arc::new(Table::new(def, generation)?));
    }
    for meta in state.files.values() {
        let Some(table) = tables.get(&meta.table) else {
            return Err(Error::corrupt(meta.path(dir).display().to_string(), "no catalog version has its table"));
        };
        let mut units = table.units.write();
        let log = deaths.remove(&meta.id).unwrap_or_default();
        let file = open_file(dir, meta, log, &units.def, &units.keys, heal)?;
        if meta.valid_to == CommitSeq::MAX { units.files.push(file) } else { units.retired.push(file) }
    }
    tables.values().for_each(|t| t.units.write().arrange());
    Ok(tables)
}

/// The newest version of every table that some kept catalog has.
pub(crate) fn newest_defs(state: &State) -> Vec<Arc<TableDef>> {
    let mut defs: BTreeMap<TableId, Arc<TableDef>> = BTreeMap::new();
    for (_, catalog) in &state.catalogs {
        defs.extend(catalog.tables.iter().map(|(id, e)| (*id, e.def.clone())));
    }
    defs.into_values().collect()
}

fn open_file(
    dir: &Path,
    meta: &FileMeta,
    deaths: Vec<Deaths>,
    def: &Arc<TableDef>,
    keys: &KeyMaker,
    heal: bool,
) -> Result<Arc<DataFile>> {
    let path = meta.path(dir);
    let place = path.display().to_string();
    let length = fs::metadata(&path).map_err(|e| Error::io(format!("open {place}"), e))?.len();
    if length != meta.bytes {
        return Err(Error::corrupt(place, format!("{length} bytes, the manifest has {}", meta.bytes)));
    }
    let deaths = FileDeaths::from_parts(deaths);
    if deaths.max_row().is_some_and(|row| u64::from(row) >= meta.rows) {
        return Err(Error::corrupt(place, "deaths of rows beyond its end"));
    }
    let index = meta.pki_path(dir, keys.signature());
    let found = Pki::open(&index).ok().filter(|p| p.signature() == keys.signature() && p.keys() == meta.rows);
    if let Some(pki) = found {
        return Ok(Arc::new(DataFile::recovered(meta.clone(), dir, pki, deaths)));
    }
    let file = Arc::new(DataFile::recovered(meta.clone(), dir, Pki::absent(&path)?, deaths));
    if !heal {
        return Ok(file);
    }
    tracing::warn!(path = %index.display(), "making a key index anew from its data file");
    let pki = build_pki(&file, dir, def, keys)?;
    *file.pki.write() = Arc::new(pki);
    Ok(file)
}
