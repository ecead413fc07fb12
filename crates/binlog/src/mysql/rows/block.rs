//! Where the values of row images are: the first of two passes over a rows event.
//!
//! A *block* is a run of images of one event. This pass steps over the values, row after row, and notes where each of them
//! begins; the second one ([`super::column`]) decodes a column of the block at a time, in one loop made for its type.
//! Images that have every column and no NULL, nearly all, are stepped over in *runs*: columns of a fixed width, then one
//! with a length before it.

use tidelake_core::TableDef;

use super::bit;
use super::column::null_refused;
use crate::mysql::reader::{Malformed, Parsed, Reader};

/// In place of a value's place: NULL, or not in the image.
const NO_VALUE: u32 = u32::MAX;
/// Images of a block; even, so that both images of an update are in one.
const MAX_IMAGES: usize = 256;
/// A block ends after so many bytes.
const MAX_BYTES: usize = 1 << 20;
/// Places that a block holds, about, however many columns there are.
const MAX_PLACES: usize = 1 << 16;

/// Bytes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// Always as many.
    Fixed(u32),
    /// As many as the number in so many bytes before them says.
    Sized(u8),
}

/// Columns of fixed widths, and the sized one behind them.
#[derive(Clone, Debug)]
struct Run {
    first: usize,
    end: usize,
    bytes: usize,
    /// Bytes of the length of column `end`; 0: no column follows.
    sized: u8,
}

/// How the images of a table version are stepped over.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    spans: Vec<Span>,
    runs: Vec<Run>,
    /// Where a column begins in its run.
    relative: Vec<u32>,
    nullable: Vec<bool>,
    /// Two more columns follow: MariaDB's implicit period.
    period: bool,
    /// So many more follow at the end: MariaDB's hashes of unique keys over whole BLOBs, or USING HASH.
    hashes: usize,
}

impl Shape {
    pub(super) fn new(columns: impl Iterator<Item = (Span, bool)>, period: bool, hashes: usize) -> Shape {
        let (spans, nullable): (Vec<Span>, Vec<bool>) = columns.unzip();
        let (runs, relative) = (Vec::new(), Vec::with_capacity(spans.len()));
        let mut shape = Shape { relative, runs, spans, nullable, period, hashes };
        let mut run = Run { first: 0, end: 0, bytes: 0, sized: 0 };
        for (i, span) in shape.spans.iter().enumerate() {
            shape.relative.push(run.bytes as u32);
            match span {
                Span::Fixed(bytes) => {
                    run.bytes += *bytes as usize;
                    run.end = i + 1;
                }
                Span::Sized(length) => {
                    shape.runs.push(Run { sized: *length, ..run });
                    run = Run { first: i + 1, end: i + 1, bytes: 0, sized: 0 };
                }
            }
        }
        shape.runs.push(run);
        shape
    }

    /// Columns of an image, those of the period and the hashes included.
    pub(super) fn columns(&self) -> usize {
        self.spans.len() + if self.period { 2 } else { 0 } + self.hashes
    }
}

/// Which columns the images of an event have.
#[derive(Clone, Copy)]
pub(super) struct Present<'a> {
    bits: &'a [u8],
    count: usize,
    all: bool,
}

impl<'a> Present<'a> {
    pub(super) fn new(bits: &'a [u8], columns: usize) -> Present<'a> {
        let count = (0..columns).filter(|i| bit(bits, *i)).count();
        Present { bits, count, all: count == columns }
    }
}

/// The places of a block's values.
#[derive(Default)]
pub(super) struct Block {
    /// Image after image.
    places: Vec<u32>,
    columns: usize,
    images: usize,
    /// Columns that some image has no value of.
    has_nulls: Vec<bool>,
    /// Images that are rows of the past.
    history: Vec<usize>,
}

/// One column of a block.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    pub(super) data: &'a [u8],
    pub(super) has_nulls: bool,
    places: &'a [u32],
    columns: usize,
    column: usize,
}

impl<'a> Values<'a> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.places.len() / self.columns
    }

    /// Where each value is; for columns without NULLs.
    #[inline]
    pub(super) fn all_places(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        let column = self.column;
        self.places.chunks_exact(self.columns).map(move |image| image[column])
    }

    /// Where each value is, if it is.
    #[inline]
    pub(super) fn places(&self) -> impl ExactSizeIterator<Item = Option<u32>> + use<'a> {
        self.all_places().map(|at| (at != NO_VALUE).then_some(at))
    }

    /// The event from a place on.
    #[inline]
    pub(super) fn reader(&self, at: u32) -> Reader<'a> {
        Reader::new(self.data.get(at as usize..).unwrap_or_default())
    }
}

impl Block {
    pub(super) fn images(&self) -> usize {
        self.images
    }

    pub(super) fn history(&self) -> &[usize] {
        &self.history
    }

    pub(super) fn column<'a>(&'a self, data: &'a [u8], column: usize) -> Values<'a> {
        let places = &self.places[..self.images * self.columns];
        Values { data, has_nulls: self.has_nulls[column], places, columns: self.columns, column }
    }

    /// Steps over images from `at` on, one of each of `kinds` in turn, until the block is full or the event ends. Returns
    /// where the next image begins.
    ///
    /// # Errors
    /// If an image ends behind the event, or a NULL cannot be.
    pub(super) fn locate(
        &mut self,
        shape: &Shape,
        def: &TableDef,
        data: &[u8],
        mut at: usize,
        kinds: &[Present<'_>],
    ) -> Parsed<usize> {
        if data.len() > NO_VALUE as usize / 2 {
            return Err(Malformed::because("rows event of over 2 GiB"));
        }
        let columns = shape.spans.len();
        let most = (MAX_PLACES / columns.max(1)).clamp(2, MAX_IMAGES) & !1;
        (self.columns, self.images) = (columns, 0);
        self.places.resize(most * columns, NO_VALUE);
        self.history.clear();
        self.has_nulls.clear();
        self.has_nulls.resize(columns, false);
        let begin = at;
        while at < data.len() && self.images + kinds.len() <= most && at - begin < MAX_BYTES {
            for present in kinds {
                let from = at;
                at = self.image(shape, def, data, at, present)?;
                if at == from {
                    return Err(Malformed::because("row image without a byte"));
                }
                self.images += 1;
            }
        }
        Ok(at)
    }

    #[inline]
    fn image(&mut self, shape: &Shape, def: &TableDef, data: &[u8], at: usize, present: &Present<'_>) -> Parsed<usize> {
        let mut r = Reader::new(data.get(at..).unwrap_or_default());
        let nulls = r.bytes(present.count.div_ceil(8))?;
        let values = at + nulls.len();
        let in_runs = if present.all && none(nulls, present.count) { self.whole(shape, data, values) } else { None };
        let end = match in_runs {
            Some(end) => end,
            None => self.one_by_one(shape, def, data, values, present, nulls)?,
        };
        let end = if shape.period { self.period(data, end)? } else { end };
        if shape.hashes > 0 { hashes(shape, data, end, present, nulls) } else { Ok(end) }
    }

    /// Every column has a value. `None`: it ends behind the event.
    #[inline]
    fn whole(&mut self, shape: &Shape, data: &[u8], mut at: usize) -> Option<usize> {
        let places = self.places.get_mut(self.images * self.columns..)?.get_mut(..self.columns)?;
        for run in &shape.runs {
            let base = at as u32;
            let fixed = places.get_mut(run.first..run.end)?.iter_mut().zip(shape.relative.get(run.first..run.end)?);
            fixed.for_each(|(place, relative)| *place = base.wrapping_add(*relative));
            at += run.bytes;
            if run.sized > 0 {
                *places.get_mut(run.end)? = at as u32;
                let mut r = Reader::new(data.get(at..)?);
                at += usize::from(run.sized) + r.le(usize::from(run.sized)).ok()? as usize;
            }
        }
        (at <= data.len()).then_some(at)
    }

    fn one_by_one(
        &mut self,
        shape: &Shape,
        def: &TableDef,
        data: &[u8],
        at: usize,
        present: &Present<'_>,
        nulls: &[u8],
    ) -> Parsed<usize> {
        let mut r = Reader::new(data.get(at..).unwrap_or_default());
        let mut in_image = 0;
        let places = &mut self.places[self.images * self.columns..][..self.columns];
        for (i, (span, place)) in shape.spans.iter().zip(places).enumerate() {
            let absent = !present.all && !bit(present.bits, i);
            let is_null = !absent && bit(nulls, in_image);
            in_image += usize::from(!absent);
            if is_null && !shape.nullable[i] {
                return Err(null_refused(&def.columns[i]));
            }
            if absent || is_null {
                *place = NO_VALUE;
                self.has_nulls[i] = true;
                continue;
            }
            *place = (data.len() - r.rest().len()) as u32;
            let skipped = match span {
                Span::Fixed(bytes) => r.bytes(*bytes as usize),
                Span::Sized(length) => r.le(usize::from(*length)).and_then(|n| r.bytes(n as usize)),
            };
            skipped.map_err(|e| Malformed::new(format!("column {}: {}", def.columns[i].name, e.0)))?;
        }
        Ok(data.len() - r.rest().len())
    }

    /// Reads the period behind an image.
    fn period(&mut self, data: &[u8], at: usize) -> Parsed<usize> {
        let mut r = Reader::new(data.get(at..).unwrap_or_default());
        r.bytes(PERIOD_BYTES)?;
        let row_end = r.bytes(PERIOD_BYTES)?;
        if !ENDS.contains(&row_end) {
            self.history.push(self.images);
        }
        Ok(at + 2 * PERIOD_BYTES)
    }
}

/// Steps over the hashes at the end of an image. One is NULL where a column of its key is.
fn hashes(shape: &Shape, data: &[u8], at: usize, present: &Present<'_>, nulls: &[u8]) -> Parsed<usize> {
    let all = shape.columns();
    let in_image = (all - shape.hashes..all).filter(|i| bit(present.bits, *i)).count();
    let valued = (present.count.saturating_sub(in_image)..present.count).filter(|i| !bit(nulls, *i)).count();
    let bytes = valued * HASH_BYTES;
    Reader::new(data.get(at..).unwrap_or_default()).bytes(bytes)?;
    Ok(at + bytes)
}

/// Bytes of a BIGINT.
const HASH_BYTES: usize = 8;
/// Bytes of a TIMESTAMP(6).
const PERIOD_BYTES: usize = 7;
/// `row_end` of current rows: the last moment that a TIMESTAMP(6) reaches, before and since MariaDB 11.5.
const ENDS: [&[u8]; 2] = [&[0x7f, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f], &[0xff, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f]];

/// True if none of the first `count` bits is set; servers set those behind them.
#[inline]
fn none(bits: &[u8], count: usize) -> bool {
    let Some((last, whole)) = bits.split_last() else { return true };
    let used = if count.is_multiple_of(8) { 0xff } else { (1 << (count % 8)) - 1 };
    whole.iter().all(|byte| *byte == 0) && last & used == 0
}
