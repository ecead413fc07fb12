//! Checksums of a table's rows, by key, in any order.

use std::hash::{DefaultHasher, Hasher};

use arrow::array::RecordBatch;
use arrow::row::{RowConverter, SortField};
use tidelake_core::key::KeyEncoder;
use tidelake_core::{Result, TableDef};

/// Buckets of a table.
const BUCKETS: usize = 1 << 16;
/// Rows of either side that are looked at one by one.
const FEW_ROWS: u64 = 20_000;

/// The bucket of a key.
pub(super) fn bucket_of(key: &[u8]) -> usize {
    (hash(key) >> 48) as usize
}

/// A checksum that is the same in every process.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// One side's rows.
pub(super) struct Buckets {
    keys: KeyEncoder,
    rows: RowConverter,
    /// For each bucket the sum of its rows' checksums, and their number.
    sums: Vec<(u64, u64)>,
}

impl Buckets {
    /// Without rows.
    ///
    /// # Errors
    /// If a column has no row form.
    pub fn new(def: &TableDef) -> Result<Buckets> {
        let fields = def.arrow_schema().fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        Ok(Buckets { keys: KeyEncoder::new(def)?, rows: RowConverter::new(fields)?, sums: vec![(0, 0); BUCKETS] })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// If they are of another table.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = self.keys.encode(batch)?;
        let rows = self.rows.convert_columns(batch.columns())?;
        for (key, row) in keys.iter().zip(rows.iter()) {
            let (sum, count) = &mut self.sums[bucket_of(key.data())];
            *sum = sum.wrapping_add(hash(row.data()));
            *count += 1;
        }
        Ok(())
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.sums.iter().map(|(_, count)| count).sum()
    }

    /// The buckets that are not the same in both.
    pub fn differing(&self, other: &Buckets) -> Vec<usize> {
        (0..BUCKETS).filter(|bucket| self.sums[*bucket] != other.sums[*bucket]).collect()
    }

    /// As many of these buckets as hold few rows together, but one at least.
    pub fn few_of(&self, other: &Buckets, buckets: &[usize]) -> Vec<usize> {
        let mut rows = 0;
        let mut few = Vec::new();
        for bucket in buckets {
            rows += self.sums[*bucket].1 + other.sums[*bucket].1;
            if rows > FEW_ROWS && !few.is_empty() {
                break;
            }
            few.push(*bucket);
        }
        few
    }
}
