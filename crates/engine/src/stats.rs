//! What the engine holds, for people who watch it: of a running engine, or of the directory of one that is not running.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use tidelake_core::{Catalog, CommitSeq, Result, TableId, TableState};

use crate::engine::{Inner, MagicEngine};
use crate::file::DataFile;
use crate::manifest::Written;
use crate::memory::Generation;
use crate::recovery::read_only;
use crate::table::Table;

/// Figures of an engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineStats {
    /// The newest seq that readers see.
    pub published: u64,
    /// The newest seq that a crash leaves.
    pub durable: u64,
    /// The oldest seq that readers may ask for.
    pub horizon: u64,
    /// Bytes of rows in memory.
    pub memtable_bytes: u64,
    /// Of these, bytes of rows that are not published yet.
    pub staged_bytes: u64,
    /// Published bytes that start a flush; 0 if the engine is not running.
    pub memtable_limit: u64,
    /// All tables, by name.
    pub tables: Vec<TableFigures>,
}

/// Figures of one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableFigures {
    /// `database.table`; a table that only old snapshots see has its id in parentheses.
    pub table: String,
    /// Its id in the engine.
    pub id: u64,
    /// `live`, `copying`, `stopped` or `dropped`.
    pub state: String,
    /// Files by level, the ones of new snapshots only.
    pub levels: Vec<LevelFigures>,
    /// Files that only old snapshots and plans read.
    pub retired_files: u64,
    /// Their bytes.
    pub retired_bytes: u64,
    /// Rows in files that are dead by now.
    pub dead_rows: u64,
    /// Bytes of resident key indexes and filters.
    pub index_bytes: u64,
    /// Bytes of resident death vectors.
    pub deaths_bytes: u64,
    /// Rows in memory.
    pub memtable_rows: u64,
    /// Bytes of rows in memory, with their keys.
    pub memtable_bytes: u64,
    /// Bytes of files written by flushes and spills, ever.
    pub flushed_bytes: u64,
    /// Bytes of files written by merges, ever.
    pub merged_bytes: u64,
    /// All bytes written for each byte flushed; `None` before the first flush.
    pub write_amplification: Option<f64>,
}

/// Figures of one level.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LevelFigures {
    /// `l0`: all files are.
    pub level: String,
    /// Number of files.
    pub files: u64,
    /// Rows in them, dead ones included.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl MagicEngine {
    /// Figures as of now.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        let inner: &Inner = &self.inner;
        let tables: Vec<Arc<Table>> = inner.tables.read().values().cloned().collect();
        let written = inner.written.read().clone();
        EngineStats {
            published: inner.published.borrow().seq.0,
            durable: inner.durable.borrow().seq.0,
            horizon: inner.horizon().0,
            memtable_bytes: inner.memory.load(Ordering::Acquire),
            staged_bytes: inner.staged_bytes.load(Ordering::Acquire),
            memtable_limit: inner.options.memtable_bytes,
            tables: figures(&tables, &inner.newest_catalog(), &written),
        }
    }
}

/// Figures of a directory that no engine has open.
///
/// # Errors
/// [`Error::Unavailable`](tidelake_core::Error::Unavailable) if one has; errors as of opening it.
pub fn stats_of_directory(dir: &Path) -> Result<EngineStats> {
    let (_lock, state, tables) = read_only(dir)?;
    let tables: Vec<Arc<Table>> = tables.into_values().collect();
    let catalog = state.catalogs.last().map(|c| c.1.clone()).unwrap_or_default();
    Ok(EngineStats {
        published: state.durable.seq.0,
        durable: state.durable.seq.0,
        horizon: state.horizon.0,
        tables: figures(&tables, &catalog, &state.written),
        ..EngineStats::default()
    })
}

fn figures(tables: &[Arc<Table>], catalog: &Catalog, written: &BTreeMap<TableId, Written>) -> Vec<TableFigures> {
    let of_table = |t: &Arc<Table>| table(t, catalog, written.get(&t.id).copied().unwrap_or_default());
    let mut all: Vec<TableFigures> = tables.iter().map(of_table).collect();
    all.sort_by(|a, b| (&a.table, a.id).cmp(&(&b.table, b.id)));
    all
}

fn table(table: &Table, catalog: &Catalog, written: Written) -> TableFigures {
    let units = table.units.read();
    let (name, state) = match catalog.tables.get(&table.id) {
        Some(entry) => (entry.def.name.to_string(), state_of(&entry.state)),
        None => (format!("{} ({})", units.def.name, table.id), "dropped"),
    };
    let mut figures = TableFigures {
        table: name,
        id: table.id.0,
        state: state.into(),
        retired_files: units.retired.len() as u64,
        retired_bytes: units.retired.iter().map(|f| f.meta.bytes).sum(),
        memtable_rows: units.generations.iter().flat_map(|g| &g.chunks).map(|c| c.len() as u64).sum(),
        memtable_bytes: units.generations.iter().map(Generation::bytes).sum(),
        flushed_bytes: written.flushed,
        merged_bytes: written.merged,
        write_amplification: written.amplification(),
        ..TableFigures::default()
    };
    units.files.iter().for_each(|f| add_file(&mut figures, f));
    for file in units.files.iter().chain(&units.retired) {
        figures.index_bytes += file.pki.read().memory();
        figures.deaths_bytes += file.deaths.read().memory();
    }
    figures
}

fn add_file(figures: &mut TableFigures, file: &DataFile) {
    let level = file.meta.level.name();
    let at = figures.levels.iter().position(|l| l.level == level).unwrap_or_else(|| {
        figures.levels.push(LevelFigures { level: level.into(), ..LevelFigures::default() });
        figures.levels.len() - 1
    });
    let of_level = &mut figures.levels[at];
    of_level.files += 1;
    of_level.rows += file.meta.rows;
    of_level.bytes += file.meta.bytes;
    let all_dead = file.dead_at() != CommitSeq::MAX;
    figures.dead_rows += if all_dead { file.meta.rows } else { file.deaths.read().count_at(CommitSeq::MAX) };
}

fn state_of(state: &TableState) -> &'static str {
    match state {
        TableState::Live => "live",
        TableState::Copying { .. } => "copying",
        TableState::Stopped { .. } => "stopped",
    }
}
