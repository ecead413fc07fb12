//! Statements with values for their `?`. Nothing is kept between calls: the handle of a prepared statement is its text, and binding values gives
//! another handle, which has them too.

use arrow::array::cast::AsArray;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use futures::TryStreamExt;
use tidelake_core::CellValue;
use tonic::Status;

use super::query::{MAX_STATEMENT, statement};

/// What a handle with values begins with: no statement does.
const BOUND: &[u8] = b"\0bound:";
/// Most bytes of the values of one statement.
const MAX_VALUES: usize = 2 << 20;

/// A statement as a handle has it.
#[derive(Debug)]
pub(super) struct Bound<'a> {
    /// Its text.
    pub sql: &'a str,
    /// Its values; `None`: none were bound.
    pub values: Option<Vec<CellValue>>,
}

impl<'a> Bound<'a> {
    /// Reads a handle.
    ///
    /// # Errors
    /// What is none that this server has given.
    pub(super) fn parse(handle: &'a [u8]) -> Result<Bound<'a>, Status> {
        let Some(rest) = handle.strip_prefix(BOUND) else { return Ok(Bound { sql: statement(handle)?, values: None }) };
        let strange = || Status::invalid_argument("not a handle of a prepared statement of this server");
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(strange)?;
        let (sql, values) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(strange)?;
        let mut reader = StreamReader::try_new(values, None).map_err(|_| strange())?;
        let row = reader.next().ok_or_else(strange)?.map_err(|_| strange())?;
        Ok(Bound { sql: statement(sql)?, values: Some(cells(&row)?) })
    }
}

/// The text of a handle, with or without values.
pub(super) fn text_of(handle: &[u8]) -> Result<&str, Status> {
    Bound::parse(handle).map(|bound| bound.sql)
}

/// The handle of a statement with the values that a client sends.
pub(super) async fn bind(handle: &[u8], sent: PeekableFlightDataStream) -> Result<Vec<u8>, Status> {
    let sql = text_of(handle)?;
    let sent = sent.into_peekable().map_err(|status| FlightError::Tonic(Box::new(status)));
    let mut batches = FlightRecordBatchStream::new_from_flight_data(sent);
    let mut row: Option<RecordBatch> = None;
    while let Some(batch) = batches.try_next().await? {
        if batch.num_rows() == 0 {
            continue;
        }
        if row.is_some() || batch.num_rows() > 1 {
            return Err(Status::unimplemented("a statement takes one row of values at a time: execute it for each"));
        }
        row = Some(batch);
    }
    let row = row.ok_or_else(|| Status::invalid_argument("no values were sent"))?;
    cells(&row)?;
    let encode = |e| Status::internal(format!("encode the values of a statement: {e}"));
    let length = u32::try_from(sql.len()).map_err(|_| Status::invalid_argument("a statement that is too long"))?;
    let mut out = [BOUND, &length.to_le_bytes(), sql.as_bytes()].concat();
    let mut writer = StreamWriter::try_new(&mut out, &row.schema()).map_err(encode)?;
    writer.write(&row).map_err(encode)?;
    writer.finish().map_err(encode)?;
    drop(writer);
    if out.len() > MAX_STATEMENT + MAX_VALUES {
        return Err(Status::invalid_argument(format!("the values of a statement may have {MAX_VALUES} bytes")));
    }
    Ok(out)
}

fn cells(row: &RecordBatch) -> Result<Vec<CellValue>, Status> {
    if row.num_rows() != 1 {
        return Err(Status::invalid_argument("not one row of values"));
    }
    row.columns().iter().enumerate().map(|(at, column)| cell(column, at)).collect()
}

/// As the MySQL protocol would have it: numbers as they are, moments as texts.
fn cell(column: &ArrayRef, at: usize) -> Result<CellValue, Status> {
    let failed = |e| Status::invalid_argument(format!("value {}: {e}", at + 1));
    if column.is_null(0) {
        return Ok(CellValue::Null);
    }
    let cast = |ty| cast(column, &ty).map_err(failed);
    let format = FormatOptions::new()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_datetime_format(Some("%Y-%m-%d"))
        .with_time_format(Some("%H:%M:%S%.f"));
    let text = || ArrayFormatter::try_new(column, &format).map(|f| f.value(0).to_string()).map_err(failed);
    Ok(match column.data_type() {
        DataType::Null => CellValue::Null,
        DataType::Boolean => CellValue::Int(i64::from(column.as_boolean().value(0))),
        ty if ty.is_signed_integer() => CellValue::Int(cast(DataType::Int64)?.as_primitive::<Int64Type>().value(0)),
        ty if ty.is_unsigned_integer() => {
            CellValue::UInt(cast(DataType::UInt64)?.as_primitive::<UInt64Type>().value(0))
        }
        ty if ty.is_floating() => CellValue::Float(cast(DataType::Float64)?.as_primitive::<Float64Type>().value(0)),
        ty if ty.is_decimal() => CellValue::Decimal(text()?),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            CellValue::Str(cast(DataType::Utf8)?.as_string::<i32>().value(0).to_owned())
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            CellValue::Bytes(cast(DataType::Binary)?.as_binary::<i32>().value(0).to_vec())
        }
        DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(_, None)
        | DataType::Time32(_)
        | DataType::Time64(_) => CellValue::Str(text()?),
        DataType::Timestamp(_, Some(_)) => {
            let why = "a moment with a time zone: send it without, in the session's time zone";
            return Err(Status::unimplemented(format!("value {}: {why}", at + 1)));
        }
        other => {
            return Err(Status::unimplemented(format!("value {} is of type {other}, which no column has", at + 1)));
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, Float32Array, Int8Array, NullArray,
        StringArray, TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
    };

    use super::*;

    #[test]
    fn values_are_those_of_the_mysql_protocol() {
        let text = |text: &str| CellValue::Str(text.into());
        let decimal = Decimal128Array::from(vec![-1234]).with_precision_and_scale(10, 2).expect("fits");
        let cases: Vec<(ArrayRef, CellValue)> = vec![
            (Arc::new(NullArray::new(1)), CellValue::Null),
            (Arc::new(StringArray::from(vec![None::<&str>])), CellValue::Null),
            (Arc::new(BooleanArray::from(vec![true])), CellValue::Int(1)),
            (Arc::new(Int8Array::from(vec![-5])), CellValue::Int(-5)),
            (Arc::new(UInt64Array::from(vec![u64::MAX])), CellValue::UInt(u64::MAX)),
            (Arc::new(Float32Array::from(vec![1.5])), CellValue::Float(1.5)),
            (Arc::new(decimal), CellValue::Decimal("-12.34".into())),
            (Arc::new(StringArray::from(vec!["ä'"])), text("ä'")),
            (Arc::new(BinaryArray::from(vec![&b"\xff"[..]])), CellValue::Bytes(vec![0xff])),
            (Arc::new(Date32Array::from(vec![19_000])), text("2022-01-08")),
            (Arc::new(Date64Array::from(vec![86_400_000])), text("1970-01-02")),
            (Arc::new(TimestampMicrosecondArray::from(vec![1_500_000])), text("1970-01-01 00:00:01.500")),
            (Arc::new(TimestampMillisecondArray::from(vec![2_000])), text("1970-01-01 00:00:02")),
        ];
        for (column, wanted) in cases {
            assert_eq!(cell(&column, 0).expect("a value"), wanted, "{:?}", column.data_type());
        }
        let zoned: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1]).with_timezone("+01:00"));
        assert!(cell(&zoned, 1).is_err_and(|e| e.message().contains("value 2")));
    }

    #[test]
    fn handles_of_others_are_refused() {
        assert!(Bound::parse(b"SELECT 1").is_ok_and(|bound| bound.values.is_none()));
        for handle in [&b"\0bound:"[..], b"\0bound:\xff\xff\xff\xff", b"\0bound:\x01\0\0\0xyz", b"\xff"] {
            assert!(Bound::parse(handle).is_err(), "{handle:?}");
        }
    }
}
