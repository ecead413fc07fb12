//! Opening a directory at its durable state: the manifest says what is there; files it does not know are
//! leftovers of a crash and go, files nobody of us wrote are refused by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelake_core::{CommitSeq, Error, Result, TableDef, TableId};

use crate::deaths::{Deaths, DeathsByFile, FileDeaths, decode_deaths};
use crate::engine::Recovered;
use crate::file::{DataFile, FileMeta, Level};
use crate::flush::death_log_path;
use crate::keys::KeyMaker;
use crate::manifest::{ManifestLog, State};
use crate::options::EngineOptions;
use crate::pki::{Pki, RUN_MARK};
use crate::schema::build_pki;
use crate::storage::{OWN_NAMES, Storage};
use crate::table::Table;

pub(crate) fn recover(options: &EngineOptions) -> Result<Recovered> {
    let dir = &options.dir;
    for part in [dir.clone(), dir.join("table")] {
        fs::create_dir_all(&part).map_err(|e| Error::io(format!("create {}", part.display()), e))?;
    }
    let lock = lock(dir)?;
    let storage = Storage::open(options)?;
    refuse_foreign(dir, &[&OWN_NAMES[..], &["manifest", "table"]].concat())?;
    let (number, mut state) = ManifestLog::recover(&storage)?;
    state.incarnation += 1;
    if state.incarnation >= 1 << 31 {
        return Err(Error::Limit(format!("{} was opened too often", dir.display())));
    }
    let start = |state| ManifestLog::start(&storage, number + 1, state, options.faults.clone());
    if storage.objects().is_none() {
        remove_orphans(&storage, &state)?;
        let tables = tables(&storage, &state, true)?;
        let manifest = start(state)?;
        return Ok(Recovered { tables, manifest, storage, lock });
    }
    // An engine elsewhere may have put files that it is about to name: first it must not be able to any more.
    let manifest = start(state)?;
    remove_orphans(&storage, manifest.state())?;
    let tables = tables(&storage, manifest.state(), true)?;
    Ok(Recovered { tables, manifest, storage, lock })
}

/// What the manifest of a directory says, without changing anything; indexes that are missing are left out. The
/// engine is kept out while the returned file lives.
pub(crate) fn read_only(dir: &Path) -> Result<(File, State, BTreeMap<TableId, Arc<Table>>)> {
    if !Storage::is_engine(dir) {
        return Err(Error::NotFound(format!("an engine in {}", dir.display())));
    }
    let lock = lock(dir)?;
    let storage = Storage::of_directory(dir)?;
    let (_, state) = ManifestLog::read_newest(&storage)?;
    let tables = tables(&storage, &state, false)?;
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

/// Our files that the manifest does not name, here and in the object store.
///
/// # Errors
/// [`Error::Invalid`] for a file that is not ours.
pub(crate) fn leftovers(storage: &Storage, state: &State) -> Result<BTreeSet<PathBuf>> {
    let dir = storage.dir();
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
    let mut orphans: BTreeSet<PathBuf> = orphans.into_iter().collect();
    for (path, _) in storage.stored_files()? {
        let below = path.strip_prefix(dir.join("table")).ok().and_then(Path::to_str);
        match below.and_then(|b| is_named(b, state)) {
            Some(true) => {}
            Some(false) => drop(orphans.insert(path)),
            None => return Err(foreign(&path)),
        }
    }
    Ok(orphans)
}

/// If the manifest names what is at `<table>/<folder>/<name>`; `None` if it is not ours.
fn is_named(below: &str, state: &State) -> Option<bool> {
    let mut parts = below.split('/');
    let (table, folder, name) = (parts.next()?.parse().ok().map(TableId)?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    if folder == "dv" {
        let id = name.strip_suffix(".dvlog")?.parse::<u64>().ok()?;
        return Some(state.deaths.get(&id) == Some(&table));
    }
    let level = [Level::L0, Level::Base].into_iter().find(|l| l.name() == folder)?;
    let file = state.files.get(&file_id(name)?);
    Some(file.is_some_and(|f| f.table == table && f.level == level) && !name.contains(RUN_MARK))
}

/// Of which data file a file is, by its name.
fn file_id(name: &str) -> Option<u64> {
    match name.strip_suffix(".parquet") {
        Some(id) => id.parse().ok(),
        None => name.strip_suffix(".pki")?.split_once('-')?.0.parse().ok(),
    }
}

fn data_leftovers(dir: &Path, state: &State, table: TableId, level: Level, orphans: &mut Vec<PathBuf>) -> Result<()> {
    let of_level = state.files.values().filter(|f| f.table == table && f.level == level);
    let known: BTreeSet<u64> = of_level.map(|f| f.id).collect();
    for (name, path) in list(dir)? {
        match file_id(&name) {
            Some(_) if name.contains(RUN_MARK) => orphans.push(path),
            Some(id) if known.contains(&id) => {}
            Some(_) => orphans.push(path),
            None => return Err(foreign(&path)),
        }
    }
    Ok(())
}

fn remove_orphans(storage: &Storage, state: &State) -> Result<()> {
    for path in &leftovers(storage, state)? {
        tracing::info!(path = %path.display(), "removing a file that no flush completed");
        storage.remove(path);
    }
    Ok(())
}

/// Bytes of a small file that the manifest names.
fn read_small(storage: &Storage, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let io = |e| Error::io(format!("read {}", path.display()), e);
    let mut file = storage.open_file(path, None).map_err(|e| match e {
        Error::SnapshotExpired(_) => Error::corrupt(path.display().to_string(), "is missing"),
        other => other,
    })?;
    file.read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// The deaths in a log; a damaged copy of it is fetched anew.
pub(crate) fn read_death_log(storage: &Storage, table: TableId, id: u64) -> Result<DeathsByFile> {
    let path = death_log_path(storage.dir(), table, id);
    let place = path.display().to_string();
    match decode_deaths(&place, &read_small(storage, &path)?) {
        Err(_) if storage.fetch_anew(&path, None)? => decode_deaths(&place, &read_small(storage, &path)?),
        read => read,
    }
}

/// The key index of a file, if it is whole and of these keys; a damaged copy of it is fetched anew.
fn read_index(storage: &Storage, path: &Path, keys: &KeyMaker, rows: u64) -> Option<Pki> {
    let open = || {
        storage.open_file(path, None).ok()?;
        Pki::open(path).ok().filter(|p| p.signature() == keys.signature() && p.keys() == rows)
    };
    open().or_else(|| storage.fetch_anew(path, None).ok().filter(|anew| *anew).and_then(|_| open()))
}

fn tables(storage: &Arc<Storage>, state: &State, heal: bool) -> Result<BTreeMap<TableId, Arc<Table>>> {
    let dir = storage.dir();
    let mut deaths: HashMap<u64, Vec<Deaths>> = HashMap::new();
    for (id, table) in &state.deaths {
        for (file, log) in read_death_log(storage, *table, *id)? {
            deaths.entry(file).or_default().push(log);
        }
    }
    let stored: Option<HashMap<PathBuf, u64>> =
        storage.objects().map(|_| storage.stored_files().map(|s| s.into_iter().collect())).transpose()?;
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
        check_length(storage, meta, stored.as_ref())?;
        let mut units = table.units.write();
        let log = deaths.remove(&meta.id).unwrap_or_default();
        let file = open_file(storage, meta, log, &units.def, &units.keys, heal)?;
        if meta.valid_to == CommitSeq::MAX { units.files.push(file) } else { units.retired.push(file) }
    }
    tables.values().for_each(|t| t.units.write().arrange());
    Ok(tables)
}

/// A data file is as long as the manifest says. A copy that is not is removed.
fn check_length(storage: &Storage, meta: &FileMeta, stored: Option<&HashMap<PathBuf, u64>>) -> Result<()> {
    let path = meta.path(storage.dir());
    let place = path.display().to_string();
    let here = fs::metadata(&path).map(|m| m.len());
    let length = match stored {
        None => here.map_err(|e| Error::io(format!("open {place}"), e))?,
        Some(stored) => {
            if here.is_ok_and(|length| length != meta.bytes) {
                storage.drop_copy(&path)?;
            }
            let found = stored.get(&path).copied();
            found.ok_or_else(|| Error::corrupt(place.clone(), "the object store does not have it"))?
        }
    };
    if length != meta.bytes {
        return Err(Error::corrupt(place, format!("{length} bytes, the manifest has {}", meta.bytes)));
    }
    Ok(())
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
    storage: &Arc<Storage>,
    meta: &FileMeta,
    deaths: Vec<Deaths>,
    def: &Arc<TableDef>,
    keys: &KeyMaker,
    heal: bool,
) -> Result<Arc<DataFile>> {
    let deaths = FileDeaths::from_parts(deaths);
    if deaths.max_row().is_some_and(|row| u64::from(row) >= meta.rows) {
        let place = meta.path(storage.dir()).display().to_string();
        return Err(Error::corrupt(place, "deaths of rows beyond its end"));
    }
    let index = meta.pki_path(storage.dir(), keys.signature());
    if let Some(pki) = read_index(storage, &index, keys, meta.rows) {
        return Ok(Arc::new(DataFile::recovered(meta.clone(), storage, pki, deaths)));
    }
    let absent = Pki::absent(storage.dir())?;
    let file = Arc::new(DataFile::recovered(meta.clone(), storage, absent, deaths));
    if !heal {
        return Ok(file);
    }
    tracing::warn!(path = %index.display(), "making a key index anew from its data file");
    let pki = build_pki(&file, def, keys)?;
    *file.pki.write() = Arc::new(pki);
    Ok(file)
}
