//! Point look-ups: predicates that name whole keys are answered by the key index of each file, so that only the rows of
//! these keys are read, and only their pages.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::arrow_reader::RowSelection;
use roaring::RoaringBitmap;
use tidelake_core::ports::{ColumnPredicate, PredicateOp};
use tidelake_core::value::{CellValue, array_of};
use tidelake_core::{ColumnId, CommitSeq, Result, TableDef};

use crate::file::DataFile;
use crate::keys::{KeyMaker, Keys};
use crate::memory::Generation;
use crate::pki::BlockCursor;

/// More keys than this are a scan.
const MOST_KEYS: usize = 200;

/// Keys that a scan is about; no other row can match.
pub(super) struct Lookup {
    maker: KeyMaker,
    keys: Keys,
    /// Their order, for neighbours in the index.
    order: Vec<u32>,
}

impl Lookup {
    /// `None` if the predicates do not name whole keys.
    pub(super) fn of(def: &TableDef, predicates: &[ColumnPredicate]) -> Result<Option<Lookup>> {
        let Some(rows) = key_rows(def, predicates)? else { return Ok(None) };
        let maker = KeyMaker::new(def)?;
        let keys = maker.keys(&rows)?;
        let mut order: Vec<u32> = (0..keys.len() as u32).collect();
        order.sort_unstable_by(|a, b| keys.get(*a as usize).cmp(keys.get(*b as usize)));
        Ok(Some(Lookup { maker, keys, order }))
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Of which columns the keys are.
    pub(super) fn signature(&self) -> &str {
        self.maker.signature()
    }

    /// Rows of these keys in a generation whose index is of the same columns, seen at `seq` and born in `births`: by chunk.
    pub(super) fn memory_rows(
        &self,
        generation: &Generation,
        seq: CommitSeq,
        births: &Range<u64>,
    ) -> BTreeMap<usize, Vec<u32>> {
        let mut found: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        let died_later = generation.rows_that_died_after(seq);
        for at in 0..self.keys.len() {
            let key = self.keys.get(at);
            let mut rows = generation.living_rows_of_key(self.keys.hash(at), key, seq);
            let is_key = |(chunk, row): &&(usize, usize)| generation.index.keys[*chunk].get(*row) == key;
            rows.extend(died_later.iter().filter(is_key));
            for (chunk, row) in rows {
                if births.contains(&generation.chunks[chunk].births[row]) {
                    found.entry(chunk).or_default().push(row as u32);
                }
            }
        }
        for rows in found.values_mut() {
            rows.sort_unstable();
            rows.dedup();
        }
        found
    }

    /// Rows of these keys in a file, dead ones too; `None` if its index is of other columns.
    pub(super) fn rows(&self, file: &DataFile) -> Result<Option<Vec<u32>>> {
        let pki = file.pki.read().clone();
        if pki.signature() != self.maker.signature() {
            return Ok(None);
        }
        let mut rows = Vec::new();
        let mut cursor = BlockCursor::default();
        for at in &self.order {
            let at = *at as usize;
            pki.find(self.keys.get(at), self.keys.hash(at), &mut cursor, |row| {
                rows.push(row);
                true
            })?;
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(Some(rows))
    }
}

/// Rows with the keys in their key columns, and nothing else.
fn key_rows(def: &TableDef, predicates: &[ColumnPredicate]) -> Result<Option<RecordBatch>> {
    let schema = def.arrow_schema();
    let mut found: Vec<(usize, ArrayRef)> = Vec::with_capacity(def.key.len());
    for (id, at) in def.key.iter().zip(def.key_indexes()) {
        let ty = schema.field(at).data_type();
        let Some(values) = values_of(*id, predicates, def.key.len() == 1) else { return Ok(None) };
        // Floats have two zeros and many NaN. A value that does not fit the column is left to the reader.
        let (false, Ok(array)) = (ty.is_floating(), array_of(ty, values)) else { return Ok(None) };
        found.push((at, array));
    }
    let Some(rows) = found.first().map(|f| f.1.len()) else { return Ok(None) };
    let fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let mut columns: Vec<ArrayRef> = fields.iter().map(|f| new_null_array(f.data_type(), rows)).collect();
    for (at, array) in found {
        columns[at] = array;
    }
    Ok(Some(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?))
}

fn values_of(column: ColumnId, predicates: &[ColumnPredicate], several: bool) -> Option<&[CellValue]> {
    let names = |p: &&ColumnPredicate| {
        let few = match p.op {
            PredicateOp::Eq => p.values.len() == 1,
            PredicateOp::In => several && (1..=MOST_KEYS).contains(&p.values.len()),
            _ => false,
        };
        p.column == column && few && !p.values.contains(&CellValue::Null)
    };
    predicates.iter().find(names).map(|p| p.values.as_slice())
}

/// The rows of one row group that are wanted and live; `None` if there is none.
pub(super) fn selection(rows: &[u32], dead: &RoaringBitmap, group: Range<u64>) -> Option<RowSelection> {
    let inside = rows.iter().copied().filter(|r| group.contains(&u64::from(*r)) && !dead.contains(*r));
    let ranges: Vec<Range<usize>> = inside
        .map(|row| {
            let at = (u64::from(row) - group.start) as usize;
            at..at + 1
        })
        .collect();
    let whole = (group.end - group.start) as usize;
    (!ranges.is_empty()).then(|| RowSelection::from_consecutive_ranges(ranges.into_iter(), whole))
}
