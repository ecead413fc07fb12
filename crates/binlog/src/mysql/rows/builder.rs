//! One Arrow builder per column, whatever its type.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Date32Builder, Decimal128Builder, Decimal256Builder, FixedSizeBinaryBuilder,
    Float32Builder, Float64Builder, Int8Builder, Int16Builder, Int32Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder, UInt8Builder, UInt16Builder, UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{DataType, TimeUnit};
use tidelake_core::{Error, Result};

use crate::mysql::reader::{Malformed, Parsed};

/// A column under construction, in its stored form.
#[allow(missing_docs, reason = "the names are Arrow's own")]
pub enum ColumnBuilder {
    I8(Int8Builder),
    I16(Int16Builder),
    I32(Int32Builder),
    I64(Int64Builder),
    U8(UInt8Builder),
    U16(UInt16Builder),
    U32(UInt32Builder),
    U64(UInt64Builder),
    F32(Float32Builder),
    F64(Float64Builder),
    Decimal128(Decimal128Builder),
    Decimal256(Decimal256Builder),
    Date(Date32Builder),
    Micros(TimestampMicrosecondBuilder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Fixed(FixedSizeBinaryBuilder),
}

/// Applies `$do` to the builder inside, whichever it is.
macro_rules! each {
    ($self:expr, $b:ident => $do:expr) => {
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
            ColumnBuilder::Text($b) => $do,
            ColumnBuilder::Bytes($b) => $do,
            ColumnBuilder::Fixed($b) => $do,
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
            DataType::Int8 => ColumnBuilder::I8(Int8Builder::new()),
            DataType::Int16 => ColumnBuilder::I16(Int16Builder::new()),
            DataType::Int32 => ColumnBuilder::I32(Int32Builder::new()),
            DataType::Int64 => ColumnBuilder::I64(Int64Builder::new()),
            DataType::UInt8 => ColumnBuilder::U8(UInt8Builder::new()),
            DataType::UInt16 => ColumnBuilder::U16(UInt16Builder::new()),
            DataType::UInt32 => ColumnBuilder::U32(UInt32Builder::new()),
            DataType::UInt64 => ColumnBuilder::U64(UInt64Builder::new()),
            DataType::Float32 => ColumnBuilder::F32(Float32Builder::new()),
            DataType::Float64 => ColumnBuilder::F64(Float64Builder::new()),
            DataType::Date32 => ColumnBuilder::Date(Date32Builder::new()),
            DataType::Utf8 => ColumnBuilder::Text(StringBuilder::new()),
            DataType::Binary => ColumnBuilder::Bytes(BinaryBuilder::new()),
            DataType::FixedSizeBinary(n) => ColumnBuilder::Fixed(FixedSizeBinaryBuilder::new(*n)),
            DataType::Decimal128(..) => ColumnBuilder::Decimal128(Decimal128Builder::new().with_data_type(ty.clone())),
            DataType::Decimal256(..) => ColumnBuilder::Decimal256(Decimal256Builder::new().with_data_type(ty.clone())),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                ColumnBuilder::Micros(TimestampMicrosecondBuilder::new().with_data_type(ty.clone()))
            }
            other => return Err(Error::Internal(format!("no rows are stored as {other}"))),
        })
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        each!(self, b => b.append_null());
    }

    /// Appends text.
    ///
    /// # Errors
    /// If the column is no text, or its batch would pass Arrow's 2 GiB.
    pub fn append_text(&mut self, text: &str) -> Parsed<()> {
        let ColumnBuilder::Text(b) = self else { return Err(OTHER_BUILDER) };
        fits(b.values_slice().len(), text.len())?;
        b.append_value(text);
        Ok(())
    }

    /// Appends bytes, padded with zeros up to `pad` bytes.
    ///
    /// # Errors
    /// As for [`ColumnBuilder::append_text`].
    pub fn append_bytes(&mut self, bytes: &[u8], pad: usize) -> Parsed<()> {
        match self {
            ColumnBuilder::Bytes(b) => {
                fits(b.values_slice().len(), bytes.len().max(pad))?;
                if bytes.len() >= pad {
                    b.append_value(bytes);
                    return Ok(());
                }
                let mut whole = bytes.to_vec();
                whole.resize(pad, 0);
                b.append_value(whole);
                Ok(())
            }
            ColumnBuilder::Fixed(b) => {
                let mut whole = bytes.to_vec();
                whole.resize(pad.max(bytes.len()), 0);
                b.append_value(whole).map_err(|e| Malformed::new(e.to_string()))
            }
            _ => Err(OTHER_BUILDER),
        }
    }

    /// Takes what was appended.
    pub fn finish(&mut self) -> ArrayRef {
        each!(self, b => Arc::new(b.finish()) as ArrayRef)
    }
}

/// The plan and the builder of a column do not belong together.
pub(super) const OTHER_BUILDER: Malformed = Malformed::because("value for a column of another stored type");

fn fits(have: usize, more: usize) -> Parsed<()> {
    if have.saturating_add(more) > i32::MAX as usize {
        return Err(Malformed::because("more than 2 GiB of one column in one batch"));
    }
    Ok(())
}
