//! Conditions that a scan evaluates on some columns before the engine reads the others: those of the query, and those that
//! running joins and sorts find out (dynamic filters). The plan keeps its own filters; here rows are only spared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::and_kleene;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use tidelake_core::ColumnId;
use tidelake_core::ports::RowFilter;

/// Rows that are judged before it is decided if that pays.
const TRIAL: u64 = 100_000;

/// It pays while at most one row in so many is kept.
const KEPT: u64 = 3;

/// The conditions of one scan.
pub(crate) struct LateFilter {
    conditions: Vec<Arc<dyn PhysicalExpr>>,
    columns: Vec<ColumnId>,
    /// Of the columns, as the conditions see them.
    schema: SchemaRef,
    judged: AtomicU64,
    kept: AtomicU64,
    failed: AtomicBool,
}

impl LateFilter {
    /// Of conditions on columns of `schema`, whose ids are `ids`. `None` without conditions.
    pub(crate) fn of(
        conditions: &[Arc<dyn PhysicalExpr>],
        schema: &Schema,
        ids: &[ColumnId],
    ) -> Result<Option<Arc<LateFilter>>> {
        let mut places: Vec<usize> = conditions.iter().flat_map(collect_columns).map(|c| c.index()).collect();
        places.sort_unstable();
        places.dedup();
        if places.is_empty() {
            return Ok(None);
        }
        let inner = Arc::new(schema.project(&places)?);
        let moved = conditions.iter().map(|c| reassign_expr_columns(Arc::clone(c), &inner));
        Ok(Some(Arc::new(LateFilter {
            conditions: moved.collect::<Result<Vec<_>>>()?,
            columns: places.iter().map(|i| ids[*i]).collect(),
            schema: inner,
            judged: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        })))
    }

    fn judge(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), rows.columns().to_vec())?;
        let mut kept: Option<BooleanArray> = None;
        for condition in &self.conditions {
            let value = condition.evaluate(&rows)?.into_array(rows.num_rows())?;
            let value = value
                .as_boolean_opt()
                .ok_or_else(|| DataFusionError::Internal("a condition that is no truth value".into()))?;
            let both = match kept {
                Some(kept) => and_kleene(&kept, value)?,
                None => value.clone(),
            };
            if both.true_count() == 0 {
                return Ok(both);
            }
            kept = Some(both);
        }
        kept.ok_or_else(|| DataFusionError::Internal("a filter without conditions".into()))
    }
}

impl RowFilter for LateFilter {
    fn columns(&self) -> &[ColumnId] {
        &self.columns
    }

    fn keep(&self, rows: &RecordBatch) -> BooleanArray {
        let kept = self.judge(rows).unwrap_or_else(|_| {
            // Perhaps about a row that nobody sees. The plan's own filter tells if it is a real error.
            self.failed.store(true, Ordering::Relaxed);
            BooleanArray::new(BooleanBuffer::new_set(rows.num_rows()), None)
        });
        self.judged.fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
        self.kept.fetch_add(kept.true_count() as u64, Ordering::Relaxed);
        kept
    }

    fn pays(&self) -> bool {
        let (judged, kept) = (self.judged.load(Ordering::Relaxed), self.kept.load(Ordering::Relaxed));
        !self.failed.load(Ordering::Relaxed) && (judged < TRIAL || kept.saturating_mul(KEPT) <= judged)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, ArrayRef, Int32Array};
    use arrow::datatypes::{DataType, Field};
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{binary, col, lit};

    use super::*;

    fn schema() -> Schema {
        Schema::new(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Int32, true)])
    }

    fn of(condition: &Arc<dyn PhysicalExpr>) -> Arc<LateFilter> {
        LateFilter::of(&[Arc::clone(condition)], &schema(), &[ColumnId(7), ColumnId(9)]).unwrap().unwrap()
    }

    fn stored(values: Vec<Option<i32>>) -> RecordBatch {
        // Engines name columns as the upstream does.
        RecordBatch::try_from_iter([("B", Arc::new(Int32Array::from(values)) as ArrayRef)]).unwrap()
    }

    #[test]
    fn it_asks_for_its_own_columns_and_ends_when_it_keeps_too_much() {
        let schema = schema();
        let below = binary(col("b", &schema).unwrap(), Operator::Lt, lit(5), &schema).unwrap();
        let filter = of(&below);
        assert_eq!(filter.columns(), [ColumnId(9)]);
        let kept = filter.keep(&stored(vec![Some(1), None, Some(9)]));
        assert_eq!((kept.value(0), kept.is_null(1), kept.value(2)), (true, true, false));
        assert!(filter.pays());
        filter.keep(&stored(vec![Some(9); 200_000]));
        assert!(filter.pays());
        filter.keep(&stored(vec![Some(1); 200_000]));
        assert!(!filter.pays());
    }

    #[test]
    fn rows_that_cannot_be_judged_are_kept() {
        let schema = schema();
        let quotient = binary(lit(10), Operator::Divide, col("b", &schema).unwrap(), &schema).unwrap();
        let filter = of(&binary(quotient, Operator::Gt, lit(5), &schema).unwrap());
        assert_eq!(filter.keep(&stored(vec![Some(1), Some(9)])).true_count(), 1);
        assert_eq!(filter.keep(&stored(vec![Some(9), Some(0)])).true_count(), 2);
        assert!(!filter.pays());
    }
}
