//! Which rows of a row group are decoded, and which of those live.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::{BooleanBuffer, Buffer};
use parquet::arrow::arrow_reader::RowSelection;
use roaring::RoaringBitmap;

/// Dead rows in one stretch are not decoded if there are this many of them. (Shorter stretches cost less to decode and mask
/// than to skip.)
const STRETCH: usize = 8192;

/// Rows of one row group.
#[derive(Debug, PartialEq)]
pub(super) struct GroupRows {
    /// Ranges to decode, ascending, by place in the group; `None`: the whole group.
    pub(super) ranges: Option<Vec<Range<usize>>>,
    /// Of the decoded rows those that live; `None`: all.
    pub(super) alive: Option<BooleanBuffer>,
}

impl GroupRows {
    /// Of the group with the rows `group` of a file, those of `wanted` (places in the group; `None`: all) that live, at
    /// most `limit`. `None` if there is none.
    pub(super) fn of(
        dead: &RoaringBitmap,
        group: Range<u64>,
        wanted: Option<Vec<Range<usize>>>,
        limit: Option<usize>,
    ) -> Option<GroupRows> {
        let rows = (group.end - group.start) as usize;
        let alive = living(dead, group.start as u32, rows);
        let whole = 0..rows;
        let mut ranges = wanted.unwrap_or_else(|| vec![whole.clone()]);
        if let Some(bits) = &alive {
            ranges = intersection(&ranges, &without_stretches(bits));
        }
        if let Some(limit) = limit {
            ranges = first(&ranges, alive.as_ref(), limit);
        }
        if ranges.is_empty() {
            return None;
        }
        if ranges.len() == 1 && ranges[0] == whole {
            return Some(GroupRows { ranges: None, alive });
        }
        let alive = alive.map(|bits| gathered(&bits, &ranges)).filter(|bits| bits.count_set_bits() < bits.len());
        Some(GroupRows { ranges: Some(ranges), alive })
    }

    /// Number of rows that live.
    pub(super) fn count(&self, group_rows: usize) -> usize {
        match (&self.alive, &self.ranges) {
            (Some(alive), _) => alive.count_set_bits(),
            (None, Some(ranges)) => ranges.iter().map(ExactSizeIterator::len).sum(),
            (None, None) => group_rows,
        }
    }

    /// The same rows in parts, cut at places that are multiples of `step`.
    pub(super) fn steps(self, group_rows: usize, step: usize) -> VecDeque<GroupRows> {
        if group_rows <= step {
            return [self].into();
        }
        let whole = 0..group_rows;
        let (mut steps, mut at) = (VecDeque::new(), 0);
        let mut part: Vec<Range<usize>> = Vec::new();
        let mut end = |part: &mut Vec<Range<usize>>| {
            let rows = part.iter().map(ExactSizeIterator::len).sum();
            let alive = self.alive.as_ref().map(|alive| alive.slice(at, rows));
            at += rows;
            steps.push_back(GroupRows { ranges: Some(mem::take(part)), alive });
        };
        for mut range in self.ranges.clone().unwrap_or_else(|| vec![whole]) {
            if part.last().is_some_and(|last| (last.end - 1) / step < range.start / step) {
                end(&mut part);
            }
            while range.start / step < (range.end - 1) / step {
                let cut = (range.start / step + 1) * step;
                part.push(range.start..cut);
                end(&mut part);
                range.start = cut;
            }
            part.push(range);
        }
        end(&mut part);
        steps
    }

    pub(super) fn selection(&self, group_rows: usize) -> Option<RowSelection> {
        let ranges = self.ranges.as_ref()?.iter().cloned();
        Some(RowSelection::from_consecutive_ranges(ranges, group_rows))
    }
}

/// Bits of the rows `first..first + rows` of a file that are not dead; `None`: all of them live.
pub(super) fn living(dead: &RoaringBitmap, first: u32, rows: usize) -> Option<BooleanBuffer> {
    let range = first..first.saturating_add(rows as u32);
    if dead.is_empty() || dead.range_cardinality(range.clone()) == 0 {
        return None;
    }
    let mut words = vec![u64::MAX; rows.div_ceil(64)];
    for row in dead.range(range) {
        let at = (row - first) as usize;
        words[at / 64] &= !(1 << (at % 64));
    }
    Some(BooleanBuffer::new(Buffer::from_vec(words), 0, rows))
}

/// All rows but those in long stretches of dead ones.
fn without_stretches(alive: &BooleanBuffer) -> Vec<Range<usize>> {
    let (mut kept, mut from, mut zeros) = (Vec::new(), 0, 0..0);
    let words = alive.bit_chunks().iter_padded();
    let mut end = |from: &mut usize, zeros: &Range<usize>| {
        if zeros.len() >= STRETCH {
            if zeros.start > *from {
                kept.push(*from..zeros.start);
            }
            *from = zeros.end;
        }
    };
    for (i, word) in words.enumerate() {
        if word == 0 {
            let begin = if zeros.is_empty() { i * 64 } else { zeros.start };
            zeros = begin..(i * 64 + 64).min(alive.len());
        } else {
            end(&mut from, &zeros);
            zeros = 0..0;
        }
    }
    end(&mut from, &zeros);
    if from < alive.len() {
        kept.push(from..alive.len());
    }
    kept
}

/// Rows that are in both, of ascending ranges.
pub(super) fn intersection(a: &[Range<usize>], b: &[Range<usize>]) -> Vec<Range<usize>> {
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        let common = a[i].start.max(b[j].start)..a[i].end.min(b[j].end);
        if !common.is_empty() {
            out.push(common);
        }
        if a[i].end < b[j].end { i += 1 } else { j += 1 }
    }
    out
}

/// The ranges up to their `limit`th living row.
fn first(ranges: &[Range<usize>], alive: Option<&BooleanBuffer>, limit: usize) -> Vec<Range<usize>> {
    let (mut left, mut out) = (limit, Vec::new());
    for range in ranges {
        if left == 0 {
            break;
        }
        let bits = alive.map(|a| a.slice(range.start, range.len()));
        let count = bits.as_ref().map_or(range.len(), BooleanBuffer::count_set_bits);
        if count < left {
            left -= count;
            out.push(range.clone());
            continue;
        }
        let len = bits.map_or(left, |b| b.set_indices().nth(left - 1).map_or(range.len(), |i| i + 1));
        out.push(range.start..range.start + len);
        left = 0;
    }
    out
}

/// The bits of some ranges, one after the other.
fn gathered(bits: &BooleanBuffer, ranges: &[Range<usize>]) -> BooleanBuffer {
    let mut out = BooleanBufferBuilder::new(ranges.iter().map(ExactSizeIterator::len).sum());
    ranges.iter().for_each(|r| out.append_buffer(&bits.slice(r.start, r.len())));
    out.finish()
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of ranges")]
mod tests {
    use super::*;

    fn of(dead: &[u32], wanted: Option<Vec<Range<usize>>>, limit: Option<usize>) -> Option<GroupRows> {
        GroupRows::of(&dead.iter().copied().collect(), 100..40_100, wanted, limit)
    }

    #[test]
    fn steps_are_the_same_rows() {
        let bits = |n: usize| BooleanBuffer::collect_bool(n, |i| i % 3 != 1);
        let ranges = [0..5, 7..8, 9..31, 33..34, 50..60, 60..61, 99..100];
        let rows = ranges.iter().map(ExactSizeIterator::len).sum();
        for alive in [None, Some(bits(rows))] {
            let all = GroupRows { ranges: Some(ranges.to_vec()), alive: alive.clone() };
            let steps = all.steps(100, 10);
            let parts: Vec<_> = steps.iter().flat_map(|s| s.ranges.clone().expect("ranges")).collect();
            let places = |ranges: &[Range<usize>]| ranges.iter().cloned().flatten().collect::<Vec<_>>();
            assert_eq!(places(&parts), places(&ranges));
            assert_eq!(steps.len(), 7, "of ten places each, empty ones left out");
            for step in &steps {
                let places = places(step.ranges.as_ref().expect("ranges"));
                assert_eq!(places[0] / 10, places[places.len() - 1] / 10);
                assert!(step.alive.as_ref().is_none_or(|alive| alive.len() == places.len()));
            }
            let joined: Vec<bool> =
                steps.iter().filter_map(|s| s.alive.as_ref()).flat_map(BooleanBuffer::iter).collect();
            assert_eq!(joined, alive.as_ref().map_or(vec![], |alive| alive.iter().collect()));
        }
        let whole = GroupRows { ranges: None, alive: Some(bits(25)) };
        let lengths = |steps: VecDeque<GroupRows>| steps.iter().map(|s| s.count(25)).collect::<Vec<_>>();
        assert_eq!(lengths(GroupRows { ranges: None, alive: None }.steps(25, 10)), [10, 10, 5]);
        assert_eq!(whole.steps(25, 25).len(), 1);
    }

    #[test]
    fn nothing_dead_reads_the_whole_group() {
        let rows = of(&[99, 40_100], None, None).unwrap();
        assert_eq!((rows.ranges.clone(), rows.alive.is_none(), rows.count(40_000)), (None, true, 40_000));
    }

    #[test]
    fn scattered_deaths_are_masked() {
        let rows = of(&[100, 163, 164, 40_099], None, None).unwrap();
        let alive = rows.alive.as_ref().unwrap();
        assert!(rows.ranges.is_none());
        let dead: Vec<usize> = (0..40_000).filter(|i| !alive.value(*i)).collect();
        assert_eq!((dead, rows.count(40_000)), (vec![0, 63, 64, 39_999], 39_996));
    }

    #[test]
    fn long_stretches_are_not_decoded() {
        let dead: Vec<u32> = (1000..20_000).chain([30_000]).collect();
        let rows = of(&dead, None, None).unwrap();
        // By whole words of 64 rows: the rest of the stretch is masked.
        assert_eq!(rows.ranges, Some(vec![0..960, 19_840..40_000]));
        assert_eq!(rows.count(40_000), 40_000 - 19_001);
        assert_eq!(rows.selection(40_000).unwrap().row_count(), 960 + 20_160);
        assert_eq!(of(&(0..50_000).collect::<Vec<_>>(), None, None), None);
        let tail: Vec<u32> = (20_100..40_100).collect();
        assert_eq!(of(&tail, None, None).unwrap().ranges, Some(vec![0..20_032]));
    }

    #[test]
    fn wanted_ranges_and_limits_cut() {
        let rows = of(&[100 + 50], Some(vec![10..20, 40..60]), Some(25)).unwrap();
        assert_eq!(rows.ranges, Some(vec![10..20, 40..56]));
        assert_eq!(rows.count(40_000), 25);
        assert_eq!(of(&[], None, Some(7)).unwrap().ranges, Some(vec![0..7]));
        assert_eq!(of(&[100, 101], None, Some(1)).unwrap().ranges, Some(vec![0..3]));
        assert_eq!(of(&[], Some(vec![]), None), None);
        assert_eq!(of(&[], None, Some(0)), None);
    }

    #[test]
    fn intersections() {
        assert_eq!(intersection(&[0..10, 20..30], &[5..22, 29..40]), [5..10, 20..22, 29..30]);
        assert!(intersection(&[0..10], &[10..20]).is_empty());
    }
}
