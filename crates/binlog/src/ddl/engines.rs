//! Storage engines whose tables are not what their row events say.

use tidelake_core::{Catalog, TableDef, TableId};

/// Why a table of this engine cannot be followed: its rows come from elsewhere, unlogged. `None` for all others.
pub(crate) fn rows_elsewhere(engine: &str) -> Option<String> {
    if is_merge(engine) {
        return Some("a MERGE table shows the rows of other tables: query those".into());
    }
    const REMOTE: [&str; 9] =
        ["federated", "federatedx", "connect", "spider", "s3", "sphinx", "oqgraph", "cassandra", "sequence"];
    let remote = REMOTE.iter().any(|e| e.eq_ignore_ascii_case(engine));
    remote.then(|| format!("the rows of a table with ENGINE={engine} change where the bin log does not see it"))
}

/// True if servers lack this engine, and its tables are not what others are.
pub(crate) fn may_be_absent(engine: &str) -> bool {
    is_blackhole(engine) || (rows_elsewhere(engine).is_some() && !is_merge(engine))
}

/// Several MyISAM tables as one.
pub(crate) fn is_merge(engine: &str) -> bool {
    ["merge", "mrg_myisam"].iter().any(|e| e.eq_ignore_ascii_case(engine))
}

/// Logs rows and keeps none.
pub(crate) fn is_blackhole(engine: &str) -> bool {
    engine.eq_ignore_ascii_case("blackhole")
}

/// Tables that may be behind this MERGE table: those that look like it, as the server demands. Which ones they are is
/// told in a clause that may name any database and change any time.
pub(crate) fn may_be_behind(merge: &TableDef, catalog: &Catalog) -> Vec<TableId> {
    let kinds = |def: &TableDef| def.columns.iter().map(|c| c.ty.kind).collect::<Vec<_>>();
    let wanted = kinds(merge);
    let alike = catalog.tables.values().filter(|e| !is_merge(&e.def.engine) && kinds(&e.def) == wanted);
    alike.map(|e| e.def.id).collect()
}
