//! Leaving out files, row groups and pages that cannot match, by the minimum and maximum of their columns: of files as the manifest has them, of the
//! others as their footers do.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, BooleanArray, Scalar};
use arrow::compute::kernels::cmp;
use arrow::datatypes::DataType;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use tidelake_core::ports::{ColumnPredicate, PredicateOp};
use tidelake_core::types::widen::widen;
use tidelake_core::value::{CellValue, array_of};
use tidelake_core::{Result, TableDef};

use super::rows::intersection;
use crate::file::DataFile;

/// Row groups of a file that may hold rows for which all predicates are true.
pub(super) fn row_groups(file: &DataFile, def: &TableDef, predicates: &[ColumnPredicate]) -> Result<Vec<usize>> {
    if !may_hold(file, def, predicates)? {
        return Ok(Vec::new());
    }
    let footer = file.footer()?;
    let groups = footer.metadata().row_groups();
    let mut keep = vec![true; groups.len()];
    for predicate in predicates {
        let Some(subject) = Subject::of(file, &footer, def, predicate) else { continue };
        let (mins, maxes) = (subject.statistics.row_group_mins(groups), subject.statistics.row_group_maxes(groups));
        let (Ok(mins), Ok(maxes)) = (mins, maxes) else { continue };
        let may_match = subject.asked.may_match(predicate.op, &mins, &maxes)?;
        keep.iter_mut().zip(may_match).for_each(|(k, m)| *k &= m);
    }
    Ok(keep.into_iter().enumerate().filter_map(|(i, k)| k.then_some(i)).collect())
}

/// False if no row of the file can match, by what is known without reading it.
fn may_hold(file: &DataFile, def: &TableDef, predicates: &[ColumnPredicate]) -> Result<bool> {
    for predicate in predicates {
        let at = file.meta.columns.iter().position(|c| *c == predicate.column);
        let known = at.and_then(|at| file.meta.extents.get(at)?.as_ref());
        let (Some((least, greatest)), Some(asked)) = (known, Asked::of(def, predicate)) else { continue };
        let (Some(least), Some(greatest)) = (least.as_type(&asked.ty), greatest.as_type(&asked.ty)) else { continue };
        if !asked.may_match(predicate.op, &least, &greatest)?.contains(&true) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Rows of a row group, by place in it, whose pages may hold such rows; `None`: all of them.
pub(super) fn pages(
    file: &DataFile,
    def: &TableDef,
    predicates: &[ColumnPredicate],
    group: usize,
) -> Result<Option<Vec<Range<usize>>>> {
    if predicates.is_empty() {
        return Ok(None);
    }
    let footer = file.paged_footer()?;
    let (Some(index), Some(offsets)) = (footer.metadata().column_index(), footer.metadata().offset_index()) else {
        return Ok(None);
    };
    let mut kept: Option<Vec<Range<usize>>> = None;
    for predicate in predicates {
        let Some(subject) = Subject::of(file, &footer, def, predicate) else { continue };
        let statistics = &subject.statistics;
        let (mins, maxes, counts) = (
            statistics.data_page_mins(index, offsets, [&group]),
            statistics.data_page_maxes(index, offsets, [&group]),
            statistics.data_page_row_counts(offsets, footer.metadata().row_groups(), [&group]),
        );
        let (Ok(mins), Ok(maxes), Ok(Some(counts))) = (mins, maxes, counts) else { continue };
        let may_match = subject.asked.may_match(predicate.op, &mins, &maxes)?;
        let counts: Vec<usize> = counts.values().iter().map(|c| *c as usize).collect();
        let rows = footer.metadata().row_group(group).num_rows() as usize;
        if counts.len() != may_match.len() || counts.iter().sum::<usize>() != rows {
            continue;
        }
        let ranges = joined(&may_match, &counts);
        kept = Some(match kept {
            Some(kept) => intersection(&kept, &ranges),
            None => ranges,
        });
    }
    Ok(kept)
}

/// Pages one after the other, as ranges of rows.
fn joined(may_match: &[bool], counts: &[usize]) -> Vec<Range<usize>> {
    let (mut out, mut at): (Vec<Range<usize>>, _) = (Vec::new(), 0);
    for (may, count) in may_match.iter().zip(counts) {
        let page = at..at + count;
        at = page.end;
        match out.last_mut() {
            _ if !may || page.is_empty() => {}
            Some(last) if last.end == page.start => last.end = page.end,
            _ => out.push(page),
        }
    }
    out
}

/// What a predicate is about, as a file has it.
struct Subject<'a> {
    statistics: StatisticsConverter<'a>,
    asked: Asked,
}

/// What a predicate asks for.
struct Asked {
    /// As the table's version has the column.
    ty: DataType,
    values: Vec<ArrayRef>,
}

impl<'a> Subject<'a> {
    /// `None` if statistics say nothing about the predicate.
    fn of(
        file: &DataFile,
        footer: &'a ArrowReaderMetadata,
        def: &TableDef,
        predicate: &ColumnPredicate,
    ) -> Option<Subject<'a>> {
        let at = file.meta.columns.iter().position(|c| *c == predicate.column)?;
        let asked = Asked::of(def, predicate)?;
        let name = footer.schema().field(at).name();
        let statistics = StatisticsConverter::try_new(name, footer.schema(), footer.parquet_schema()).ok()?;
        Some(Subject { statistics, asked })
    }
}

impl Asked {
    /// `None` if least and greatest values say nothing about the predicate.
    fn of(def: &TableDef, predicate: &ColumnPredicate) -> Option<Asked> {
        let ty = def.arrow_schema().field(def.index_of(predicate.column)?).data_type().clone();
        // Floats have NaN and two zeros: left to the reader.
        let null = predicate.values.contains(&CellValue::Null);
        if ty.is_floating() || null || matches!(predicate.op, PredicateOp::IsNull | PredicateOp::IsNotNull) {
            return None;
        }
        let one = |v| array_of(&ty, std::slice::from_ref(v)).ok();
        let values = predicate.values.iter().map(one).collect::<Option<Vec<_>>>()?;
        (!values.is_empty()).then_some(Asked { ty, values })
    }

    /// For each pair of a minimum and a maximum, if values between them may match.
    fn may_match(&self, op: PredicateOp, mins: &ArrayRef, maxes: &ArrayRef) -> Result<Vec<bool>> {
        let (mins, maxes) = (widen(mins, &self.ty)?, widen(maxes, &self.ty)?);
        let mut out: Vec<bool> = (0..mins.len()).map(|i| mins.is_null(i) || maxes.is_null(i)).collect();
        for value in &self.values {
            let value = Scalar::new(value.clone());
            let mut mark = |holds: &BooleanArray, also: Option<&BooleanArray>| {
                for (i, out) in out.iter_mut().enumerate() {
                    *out |= holds.value(i) && also.is_none_or(|a| a.value(i));
                }
            };
            match op {
                PredicateOp::Eq | PredicateOp::In => {
                    mark(&cmp::lt_eq(&mins, &value)?, Some(&cmp::gt_eq(&maxes, &value)?));
                }
                PredicateOp::Lt => mark(&cmp::lt(&mins, &value)?, None),
                PredicateOp::LtEq => mark(&cmp::lt_eq(&mins, &value)?, None),
                PredicateOp::Gt => mark(&cmp::gt(&maxes, &value)?, None),
                PredicateOp::GtEq => mark(&cmp::gt_eq(&maxes, &value)?, None),
                PredicateOp::IsNull | PredicateOp::IsNotNull => out.fill(true),
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn neighbouring_pages_are_one_range() {
        assert_eq!(joined(&[true, true, false, true], &[10, 5, 7, 3]), [0..15, 22..25]);
        assert!(joined(&[false], &[10]).is_empty());
    }
}
