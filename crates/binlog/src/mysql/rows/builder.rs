//! One Arrow column under construction, whatever its type: plain vectors, so that a whole block of values is appended in
//! one loop ([`super::block`]).

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, FixedSizeBinaryArray, PrimitiveArray, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use tidelake_core::{Error, Result};

use super::block::Values;
use super::nulls::Nulls;
use crate::mysql::reader::{Malformed, Parsed, Reader};

/// Values that a new batch has room for at once, if the last one had as many.
const MAX_ROOM: usize = 1 << 16;
/// The same for the bytes of a column.
const MAX_BYTES_ROOM: usize = 4 << 20;

/// Without much room behind it: what is built lives on in the engine's memory.
fn fitted<T>(mut values: Vec<T>) -> Vec<T> {
    if values.capacity() - values.len() > values.len() / 4 {
        values.shrink_to_fit();
    }
    values
}

/// Values of one width.
pub struct Primitive<P: ArrowPrimitiveType> {
    ty: DataType,
    values: Vec<P::Native>,
    nulls: Nulls,
}

impl<P: ArrowPrimitiveType> Primitive<P> {
    fn new(ty: &DataType) -> Primitive<P> {
        Primitive { ty: ty.clone(), values: Vec::new(), nulls: Nulls::default() }
    }

    /// Appends a value.
    #[inline]
    pub fn append_value(&mut self, value: P::Native) {
        self.values.push(value);
        self.nulls.append_values(1);
    }

    fn append_null(&mut self) {
        self.values.push(P::Native::default());
        self.nulls.append_null();
    }

    /// Appends a block's values, each of `N` bytes.
    #[inline]
    pub(super) fn extend<const N: usize>(
        &mut self,
        values: Values<'_>,
        read: impl Fn([u8; N]) -> P::Native,
    ) -> Parsed<()> {
        let mut whole = true;
        let mut value = |at: u32| {
            let bytes = values.data.get(at as usize..).and_then(|rest| rest.first_chunk::<N>());
            whole &= bytes.is_some();
            read(bytes.copied().unwrap_or([0; N]))
        };
        if values.has_nulls {
            self.values.reserve(values.len());
            for at in values.places() {
                self.nulls.append(at.is_some());
                self.values.push(at.map_or_else(P::Native::default, &mut value));
            }
        } else {
            self.values.extend(values.all_places().map(value));
            self.nulls.append_values(values.len());
        }
        if whole { Ok(()) } else { Err(OUTSIDE) }
    }

    /// Appends a block's values, read by a function that checks them.
    #[inline]
    pub(super) fn try_extend(
        &mut self,
        values: Values<'_>,
        read: impl Fn(&mut Reader<'_>) -> Parsed<P::Native>,
    ) -> Parsed<()> {
        self.values.reserve(values.len());
        if !values.has_nulls {
            for at in values.all_places() {
                self.values.push(read(&mut values.reader(at))?);
            }
            self.nulls.append_values(values.len());
            return Ok(());
        }
        for at in values.places() {
            self.nulls.append(at.is_some());
            self.values.push(match at {
                Some(at) => read(&mut values.reader(at))?,
                None => P::Native::default(),
            });
        }
        Ok(())
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let room = self.values.len().min(MAX_ROOM);
        let values = fitted(std::mem::replace(&mut self.values, Vec::with_capacity(room)));
        let array = PrimitiveArray::<P>::try_new(values.into(), self.nulls.finish())?;
        Ok(Arc::new(array.with_data_type(self.ty.clone())))
    }
}

/// Values of any length.
pub struct Variable {
    /// Where values end in `bytes`, behind a first 0.
    ends: Vec<i32>,
    bytes: Vec<u8>,
    nulls: Nulls,
}

impl Default for Variable {
    fn default() -> Variable {
        Variable { ends: vec![0], bytes: Vec::new(), nulls: Nulls::default() }
    }
}

impl Variable {
    /// Appends a value, padded with zeros up to `pad` bytes.
    #[inline]
    fn append(&mut self, value: &[u8], pad: usize) -> Parsed<()> {
        let end = self.bytes.len().saturating_add(value.len().max(pad));
        let Ok(end_of_value) = i32::try_from(end) else {
            return Err(Malformed::because("more than 2 GiB of one column in one batch"));
        };
        self.bytes.extend_from_slice(value);
        if value.len() < pad {
            self.bytes.resize(end, 0);
        }
        self.ends.push(end_of_value);
        Ok(())
    }

    #[inline]
    fn append_null(&mut self) {
        self.ends.push(self.ends.last().copied().unwrap_or(0));
    }

    /// Appends a block's values as `slice` finds them, and NULLs.
    #[inline]
    pub(super) fn extend<'v>(
        &mut self,
        values: Values<'v>,
        pad: usize,
        slice: impl Fn(&mut Reader<'v>) -> Parsed<&'v [u8]>,
    ) -> Parsed<()> {
        self.ends.reserve(values.len());
        for at in values.places() {
            match at {
                Some(at) => self.append(slice(&mut values.reader(at))?, pad)?,
                None => self.append_null(),
            }
            self.nulls.append(at.is_some());
        }
        Ok(())
    }

    /// As `extend`, for text that must be UTF-8: all of the block is checked at once.
    #[inline]
    pub(super) fn extend_utf8<'v>(
        &mut self,
        values: Values<'v>,
        slice: impl Fn(&mut Reader<'v>) -> Parsed<&'v [u8]>,
    ) -> Parsed<()> {
        let (from, first) = (self.bytes.len(), self.ends.len());
        self.extend(values, 0, slice)?;
        // a piece of valid UTF-8 is valid if it begins and ends between two characters
        let whole = std::str::from_utf8(&self.bytes[from..]).map_err(|_| NOT_UTF8)?;
        let between = |end: &i32| whole.is_char_boundary(*end as usize - from);
        if self.ends[first..].iter().all(between) { Ok(()) } else { Err(NOT_UTF8) }
    }

    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows + 1);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0) as usize);
        self.nulls.truncate(rows);
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer, Option<NullBuffer>) {
        let mut ends = Vec::with_capacity(self.ends.len().min(MAX_ROOM + 1));
        ends.push(0);
        let ends = std::mem::replace(&mut self.ends, ends);
        let room = Vec::with_capacity(self.bytes.len().min(MAX_BYTES_ROOM));
        let bytes = std::mem::replace(&mut self.bytes, room);
        (OffsetBuffer::new(fitted(ends).into()), Buffer::from_vec(fitted(bytes)), self.nulls.finish())
    }
}

/// Byte strings of one length.
pub struct FixedBytes {
    width: usize,
    bytes: Vec<u8>,
    nulls: Nulls,
}

impl FixedBytes {
    /// Appends a value; shorter ones are padded with zeros.
    ///
    /// # Errors
    /// If it is longer than the column's values.
    pub fn append_value(&mut self, value: &[u8]) -> Parsed<()> {
        if value.len() > self.width {
            return Err(Malformed::new(format!("{} bytes for a value of {}", value.len(), self.width)));
        }
        let end = self.bytes.len() + self.width;
        self.bytes.extend_from_slice(value);
        self.bytes.resize(end, 0);
        self.nulls.append_values(1);
        Ok(())
    }

    fn append_null(&mut self) {
        self.bytes.resize(self.bytes.len() + self.width, 0);
        self.nulls.append_null();
    }

    fn truncate(&mut self, rows: usize) {
        self.bytes.truncate(rows * self.width);
        self.nulls.truncate(rows);
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let width = i32::try_from(self.width).map_err(|_| Error::Internal("a value of over 2 GiB".into()))?;
        let bytes = Buffer::from_vec(fitted(std::mem::take(&mut self.bytes)));
        Ok(Arc::new(FixedSizeBinaryArray::try_new(width, bytes, self.nulls.finish())?))
    }
}

/// A column under construction, in its stored form.
#[allow(missing_docs, reason = "the names are Arrow's own")]
pub enum ColumnBuilder {
    I8(Primitive<Int8Type>),
    I16(Primitive<Int16Type>),
    I32(Primitive<Int32Type>),
    I64(Primitive<Int64Type>),
    U8(Primitive<UInt8Type>),
    U16(Primitive<UInt16Type>),
    U32(Primitive<UInt32Type>),
    U64(Primitive<UInt64Type>),
    F32(Primitive<Float32Type>),
    F64(Primitive<Float64Type>),
    Decimal128(Primitive<Decimal128Type>),
    Decimal256(Primitive<Decimal256Type>),
    Date(Primitive<Date32Type>),
    Micros(Primitive<TimestampMicrosecondType>),
    Text(Variable),
    Bytes(Variable),
    Fixed(FixedBytes),
}

/// Applies `$do` to the builder of values of one width inside; else `$text`, `$bytes` or `$fixed`.
macro_rules! each {
    ($self:expr, $b:ident => $do:expr, text $t:ident => $text:expr, bytes $y:ident => $bytes:expr, fixed $f:ident => $fixed:expr) => {
        match $self {
            ColumnBuilder::I8($b) => $do,
            ColumnBuilder::I16($b) => $do,
            ColumnBuilder::I32($b) => $do,
            ColumnBuilder::I64($b) => $do,
            ColumnBuilder::U8($b) => $do,
            ColumnBuilder::U16($b) => $do,
            ColumnBuilder::U32($b) => $do,
            ColumnBuilder::U64($b) => $do,
            ColumnBuilder::F32($b) => $do,
            ColumnBuilder::F64($b) => $do,
            ColumnBuilder::Decimal128($b) => $do,
            ColumnBuilder::Decimal256($b) => $do,
            ColumnBuilder::Date($b) => $do,
            ColumnBuilder::Micros($b) => $do,
            ColumnBuilder::Text($t) => $text,
            ColumnBuilder::Bytes($y) => $bytes,
            ColumnBuilder::Fixed($f) => $fixed,
        }
    };
}

impl ColumnBuilder {
    /// A builder of arrays of `ty`.
    ///
    /// # Errors
    /// [`Error::Internal`] if `ty` is no stored type.
    pub fn new(ty: &DataType) -> Result<ColumnBuilder> {
        Ok(match ty {
            DataType::Int8 => ColumnBuilder::I8(Primitive::new(ty)),
            DataType::Int16 => ColumnBuilder::I16(Primitive::new(ty)),
            DataType::Int32 => ColumnBuilder::I32(Primitive::new(ty)),
            DataType::Int64 => ColumnBuilder::I64(Primitive::new(ty)),
            DataType::UInt8 => ColumnBuilder::U8(Primitive::new(ty)),
            DataType::UInt16 => ColumnBuilder::U16(Primitive::new(ty)),
            DataType::UInt32 => ColumnBuilder::U32(Primitive::new(ty)),
            DataType::UInt64 => ColumnBuilder::U64(Primitive::new(ty)),
            DataType::Float32 => ColumnBuilder::F32(Primitive::new(ty)),
            DataType::Float64 => ColumnBuilder::F64(Primitive::new(ty)),
            DataType::Date32 => ColumnBuilder::Date(Primitive::new(ty)),
            DataType::Utf8 => ColumnBuilder::Text(Variable::default()),
            DataType::Binary => ColumnBuilder::Bytes(Variable::default()),
            DataType::FixedSizeBinary(n) => {
                let width = usize::try_from(*n).map_err(|_| Error::Internal(format!("no rows are stored as {ty}")))?;
                ColumnBuilder::Fixed(FixedBytes { width, bytes: Vec::new(), nulls: Nulls::default() })
            }
            DataType::Decimal128(..) => ColumnBuilder::Decimal128(Primitive::new(ty)),
            DataType::Decimal256(..) => ColumnBuilder::Decimal256(Primitive::new(ty)),
            DataType::Timestamp(TimeUnit::Microsecond, _) => ColumnBuilder::Micros(Primitive::new(ty)),
            other => return Err(Error::Internal(format!("no rows are stored as {other}"))),
        })
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        let variable = |v: &mut Variable| {
            v.append_null();
            v.nulls.append_null();
        };
        each!(self, b => b.append_null(), text t => variable(t), bytes y => variable(y), fixed f => f.append_null());
    }

    /// Appends text.
    ///
    /// # Errors
    /// If the column is no text, or its batch would pass Arrow's 2 GiB.
    pub fn append_text(&mut self, text: &str) -> Parsed<()> {
        let ColumnBuilder::Text(b) = self else { return Err(OTHER_BUILDER) };
        b.append(text.as_bytes(), 0)?;
        b.nulls.append_values(1);
        Ok(())
    }

    /// Appends bytes, padded with zeros up to `pad` bytes.
    ///
    /// # Errors
    /// As for [`ColumnBuilder::append_text`].
    pub fn append_bytes(&mut self, bytes: &[u8], pad: usize) -> Parsed<()> {
        match self {
            ColumnBuilder::Bytes(b) => {
                b.append(bytes, pad)?;
                b.nulls.append_values(1);
                Ok(())
            }
            ColumnBuilder::Fixed(b) => b.append_value(bytes),
            _ => Err(OTHER_BUILDER),
        }
    }

    /// Keeps the first `rows` values only.
    pub fn truncate(&mut self, rows: usize) {
        each!(self, b => b.truncate(rows), text t => t.truncate(rows), bytes y => y.truncate(rows), fixed f => f.truncate(rows));
    }

    /// Takes what was appended.
    ///
    /// # Errors
    /// [`Error::Internal`] if it does not form an array.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        each!(self,
            b => b.finish(),
            text t => {
                let (ends, bytes, nulls) = t.take();
                Ok(Arc::new(StringArray::try_new(ends, bytes, nulls)?))
            },
            bytes y => {
                let (ends, bytes, nulls) = y.take();
                Ok(Arc::new(BinaryArray::try_new(ends, bytes, nulls)?))
            },
            fixed f => f.finish())
    }
}

/// The plan and the builder of a column do not belong together.
pub(super) const OTHER_BUILDER: Malformed = Malformed::because("value for a column of another stored type");
const OUTSIDE: Malformed = Malformed::because("value outside of its event");
const NOT_UTF8: Malformed = Malformed::because("text that is not UTF-8 in a utf8 column");
