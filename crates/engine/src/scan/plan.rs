//! Planning: which generations and which row groups hold rows of a snapshot.

use std::ops::Range;
use std::sync::Arc;

use parquet::file::metadata::RowGroupMetaData;
use tidelake_core::ports::{ColumnBounds, ScanPlan, ScanRequest, ScanSplit, TableStats};
use tidelake_core::{ColumnId, CommitSeq, Error, Result, TableDef, TableId};

use super::lookup::Lookup;
use super::{Part, bounds, prune};
use crate::adapt::Target;
use crate::engine::Inner;
use crate::file::DataFile;
use crate::memory::Chunk;
use crate::parquet_file::PAGE_ROWS;

/// Keys times files that are looked up where they are asked for.
const AT_ONCE: usize = 64;

/// Parts of one snapshot of a table, taken at once.
struct View {
    memory: Vec<(u64, Vec<Arc<Chunk>>)>,
    files: Vec<Arc<DataFile>>,
}

fn view(inner: &Inner, table: TableId, seq: CommitSeq) -> View {
    let Ok(table) = inner.table(table) else { return View { memory: Vec::new(), files: Vec::new() } };
    let units = table.units.read();
    let seen = |g: &&crate::memory::Generation| seq < g.dead_at && g.chunks.iter().any(|c| c.first_birth() <= seq.0);
    View {
        memory: units.generations.iter().filter(seen).map(|g| (g.id, g.chunks.clone())).collect(),
        files: units.files.iter().chain(&units.retired).filter(|f| f.covers(seq)).cloned().collect(),
    }
}

/// Plans a scan, reading what it needs of files.
pub(crate) fn plan(inner: &Inner, request: &ScanRequest) -> Result<ScanPlan> {
    let def = inner.readable_def(request.seq, request.table)?;
    let lookup = Lookup::of(&def, &request.predicates)?;
    let view = view(inner, request.table, request.seq);
    plan_of(request, def, lookup, &view, inner.options.split_rows)
}

/// The plan of a look-up of few keys, which reads some blocks of indexes: less than handing it to another thread takes. `None`
/// if it may have to wait.
pub(crate) fn plan_at_once(inner: &Inner, request: &ScanRequest) -> Result<Option<ScanPlan>> {
    let def = inner.readable_def(request.seq, request.table)?;
    let Some(lookup) = Lookup::of(&def, &request.predicates)? else { return Ok(None) };
    let view = view(inner, request.table, request.seq);
    if lookup.len() * view.files.len() > AT_ONCE || !view.files.iter().all(|f| f.is_ready()) {
        return Ok(None);
    }
    plan_of(request, def, Some(lookup), &view, inner.options.split_rows).map(Some)
}

/// `least_rows`: a row group is not cut to fewer.
fn plan_of(
    request: &ScanRequest,
    def: Arc<TableDef>,
    lookup: Option<Lookup>,
    view: &View,
    least_rows: usize,
) -> Result<ScanPlan> {
    let columns = request.projection.clone().unwrap_or_else(|| def.columns.iter().map(|c| c.id).collect());
    let target = Target::new(def.clone(), columns.clone())?.with_views(request.text_views);
    let split = |part: Part, rows: u64, bytes: u64| -> Result<ScanSplit> {
        let part = serde_json::to_string(&part).map_err(|e| Error::Internal(format!("encode split: {e}")))?;
        let (columns, predicates) = (columns.clone(), request.predicates.clone());
        let (seq, table, text_views) = (request.seq, request.table, request.text_views);
        Ok(ScanSplit { seq, table, columns, predicates, part, text_views, batch_bytes: 0, rows, bytes })
    };
    let total = view.files.iter().map(|f| f.meta.rows).chain(view.memory.iter().map(|m| rows_of(&m.1))).sum::<u64>();
    let rows_per_split = total.div_ceil(request.target_splits.max(1) as u64).max(1);
    let mut splits = Vec::new();
    for (generation, chunks) in &view.memory {
        for (from, to, rows, bytes) in seq_ranges(chunks, rows_per_split) {
            let part = Part::Memory { generation: *generation, from, to, keyed: lookup.is_some() };
            splits.push(split(part, rows, bytes)?);
        }
    }
    // Without predicates; births are looked at only where a file has rows of later snapshots.
    let limit = request.limit.filter(|_| request.predicates.is_empty());
    for file in &view.files {
        if let Some(rows) = lookup.as_ref().map(|l| l.rows(file)).transpose()?.flatten() {
            if !rows.is_empty() {
                let (groups, count) = (groups_of(file, &rows)?, rows.len() as u64);
                let bytes = file.meta.bytes / file.meta.rows.max(1) * count;
                let part = Part::File { file: file.meta.id, groups, span: None, rows: Some(rows), limit };
                splits.push(split(part, count, bytes)?);
            }
            continue;
        }
        let groups = prune::row_groups(file, &def, &request.predicates)?;
        if groups.is_empty() {
            continue;
        }
        let footer = file.footer()?;
        for piece in pieces(footer.metadata().row_groups(), &groups, rows_per_split, least_rows) {
            let Piece { groups, span, rows, bytes } = piece;
            splits.push(split(Part::File { file: file.meta.id, groups, span, rows: None, limit }, rows, bytes)?);
        }
    }
    let whole = request.predicates.is_empty() && request.limit.is_none();
    let exact_rows = if whole { count(view, request.seq) } else { None };
    let bounds = if lookup.is_some() { Vec::new() } else { view.bounds(&def, &columns, request.seq)? };
    Ok(ScanPlan { schema: target.schema, splits, exact_rows, bounds })
}

impl View {
    fn bounds(&self, def: &TableDef, columns: &[ColumnId], seq: CommitSeq) -> Result<Vec<Option<ColumnBounds>>> {
        let chunks: Vec<&Chunk> = self.memory.iter().flat_map(|m| &m.1).map(Arc::as_ref).collect();
        bounds::bounds(&self.files, &chunks, def, columns, seq)
    }
}

/// What a split reads of a file.
#[derive(Debug, PartialEq)]
struct Piece {
    groups: Vec<usize>,
    span: Option<Range<u32>>,
    rows: u64,
    bytes: u64,
}

/// Row groups put together, or one cut, to about `wanted` rows each.
fn pieces(of_file: &[RowGroupMetaData], groups: &[usize], wanted: u64, least_rows: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut open: Option<Piece> = None;
    for group in groups {
        let (rows, bytes) = (of_file[*group].num_rows() as u64, of_file[*group].compressed_size() as u64);
        let cuts = spans(rows, wanted, least_rows);
        if cuts.len() > 1 {
            pieces.extend(open.take());
            pieces.extend(cuts.into_iter().map(|span| {
                let cut = u64::from(span.end - span.start);
                Piece { groups: vec![*group], span: Some(span), rows: cut, bytes: bytes * cut / rows }
            }));
            continue;
        }
        let piece = open.get_or_insert_with(|| Piece { groups: Vec::new(), span: None, rows: 0, bytes: 0 });
        piece.groups.push(*group);
        (piece.rows, piece.bytes) = (piece.rows + rows, piece.bytes + bytes);
        if piece.rows >= wanted {
            pieces.extend(open.take());
        }
    }
    pieces.extend(open);
    pieces
}

/// A row group cut into parts of about `wanted` rows, but not fewer than `least_rows`, where pages begin.
fn spans(rows: u64, wanted: u64, least_rows: usize) -> Vec<Range<u32>> {
    let parts = rows.div_ceil(wanted.max(1)).min(rows / (least_rows.max(1) as u64)).max(1);
    let mut step = rows.div_ceil(parts).max(1);
    if step > PAGE_ROWS as u64 {
        step = step.next_multiple_of(PAGE_ROWS as u64);
    }
    (0..rows).step_by(step as usize).map(|from| from as u32..(from + step).min(rows) as u32).collect()
}

/// Row groups that have some of these rows.
fn groups_of(file: &DataFile, rows: &[u32]) -> Result<Vec<usize>> {
    let (mut groups, mut begin) = (Vec::new(), 0u64);
    for (at, group) in file.footer()?.metadata().row_groups().iter().enumerate() {
        let end = begin + group.num_rows() as u64;
        let first = rows.partition_point(|r| u64::from(*r) < begin);
        if rows.get(first).is_some_and(|r| u64::from(*r) < end) {
            groups.push(at);
        }
        begin = end;
    }
    Ok(groups)
}

fn rows_of(chunks: &[Arc<Chunk>]) -> u64 {
    chunks.iter().map(|c| c.len() as u64).sum()
}

/// Cuts a generation at births, so that each part is the same rows in memory and in the file made of it.
fn seq_ranges(chunks: &[Arc<Chunk>], rows_per_split: u64) -> Vec<(u64, u64, u64, u64)> {
    let mut ranges = Vec::new();
    let (mut from, mut rows, mut bytes) = (0, 0, 0);
    for (i, chunk) in chunks.iter().enumerate() {
        rows += chunk.len() as u64;
        bytes += chunk.bytes;
        let next = chunks.get(i + 1).map_or(u64::MAX, |c| c.first_birth());
        // A seq that runs over two chunks belongs to one part.
        if next > chunk.last_birth() && (rows >= rows_per_split || next == u64::MAX) {
            ranges.push((from, next, rows, bytes));
            (from, rows, bytes) = (next, 0, 0);
        }
    }
    ranges
}

/// Number of rows of a snapshot; `None` where only reading births could tell.
fn count(view: &View, seq: CommitSeq) -> Option<u64> {
    let mut rows = 0;
    for file in &view.files {
        if file.meta.births.1 > seq {
            return None;
        }
        rows += file.meta.rows - file.deaths.read().count_at(seq);
    }
    Some(rows + view.memory.iter().flat_map(|m| &m.1).map(|c| c.count(seq)).sum::<u64>())
}

pub(crate) fn table_stats(inner: &Inner, id: TableId) -> Result<TableStats> {
    let published = inner.published.borrow().seq;
    inner.catalog(published)?.table(id)?;
    let view = view(inner, id, published);
    let live_rows =
        count(&view, published).ok_or_else(|| Error::Internal("a file holds rows that are not published".into()))?;
    let table = inner.table(id)?;
    let units = table.units.read();
    let files = units.files.iter().chain(&units.retired);
    Ok(TableStats {
        live_rows,
        file_bytes: files.clone().map(|f| f.meta.bytes).sum(),
        files: files.count() as u64,
        memory_bytes: units.memory(),
    })
}

#[cfg(test)]
mod tests {
    use super::spans;

    #[test]
    fn large_groups_are_cut_where_pages_begin() {
        let of =
            |rows, wanted, least| spans(rows, wanted, least).into_iter().map(|s| (s.start, s.end)).collect::<Vec<_>>();
        assert_eq!(of(1_000_000, 500_000, 65_536), [(0, 501_760), (501_760, 1_000_000)]);
        assert_eq!(of(1_000_000, 2_000_000, 65_536), [(0, 1_000_000)]);
        assert_eq!(of(100_000, 10_000, 65_536), [(0, 100_000)]);
        assert_eq!(of(140_000, 10_000, 65_536), [(0, 71_680), (71_680, 140_000)]);
        assert_eq!(of(7, 3, 2), [(0, 3), (3, 6), (6, 7)]);
        assert!(of(0, 3, 2).is_empty());
    }
}
