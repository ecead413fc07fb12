//! Results: names as MySQL names them, the snapshot held until the last row.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::common::DataFusionError;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tidelake_core::types::text::TextContext;

use super::error::of_datafusion;
use super::rewrite::{MARK, Names};
use super::running::Stop;
use super::snapshot::Snapshot;
use super::types::{COLLATION_KEY, DIGITS_KEY, LABELS_KEY, NAME_KEY, Ty, ty_of};
use super::zone::Zone;
use crate::session::{SqlError, SqlRows};

/// The schema clients see for a plan's schema.
pub(crate) fn client_schema(plan: &Schema, names: &Names, zone: Zone) -> SchemaRef {
    let display = names.display.as_ref().filter(|d| d.len() == plan.fields().len());
    let fields = plan.fields().iter().enumerate().map(|(i, field)| {
        let name = match display {
            Some(display) => display[i].clone(),
            None => spelled(field, &names.spelled),
        };
        let mut metadata = field.metadata().clone();
        for inner in [NAME_KEY, LABELS_KEY, COLLATION_KEY, DIGITS_KEY] {
            metadata.remove(inner);
        }
        let data_type = match field.data_type() {
            DataType::Boolean => DataType::Int64,
            DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
            DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
            other => other.clone(),
        };
        let field = Field::new(name, data_type, field.is_nullable()).with_metadata(metadata);
        match (ty_of(&field), zone) {
            // What a fixed offset cannot print leaves as local time.
            (Ty::Timestamp(fsp), Zone::Named(_)) => Ty::DateTime(fsp).field(field.name()),
            _ => field,
        }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn spelled(field: &Field, aliases: &HashMap<String, String>) -> String {
    let inner = field.name().split(MARK).next().unwrap_or_default();
    if let Some(name) = field.metadata().get(NAME_KEY)
        && name.to_lowercase() == inner
    {
        return name.clone();
    }
    aliases.get(inner).cloned().unwrap_or_else(|| inner.to_owned())
}

/// Streams a plan's rows to the client; the snapshot lives as long as the stream.
pub(crate) fn rows(
    batches: BoxStream<'static, Result<RecordBatch, DataFusionError>>,
    schema: SchemaRef,
    snapshot: Arc<Snapshot>,
    text: TextContext,
    zone: Zone,
    stop: Stop,
) -> SqlRows {
    let to = Arc::clone(&schema);
    let rows = batches.map(move |batch| {
        snapshot.check().map_err(|e| super::error::of_port(&e))?;
        renamed(&batch.map_err(of_datafusion)?, &to, zone)
    });
    let rows = stream::try_unfold((Box::pin(rows), stop), |(mut rows, stop)| async move {
        tokio::select! {
            biased;
            told = stop.stopped() => Err(told),
            next = rows.next() => match next {
                Some(batch) => Ok(Some((batch?, (rows, stop)))),
                None => Ok(None),
            },
        }
    });
    SqlRows { schema, rows: Box::pin(rows), text }
}

fn renamed(batch: &RecordBatch, schema: &SchemaRef, zone: Zone) -> Result<RecordBatch, SqlError> {
    let same = |c: &ArrayRef, f: &Arc<Field>| match c.data_type() == f.data_type() {
        true => Ok(Arc::clone(c)),
        false => match (c.data_type(), f.data_type()) {
            (DataType::Timestamp(_, Some(_)), DataType::Timestamp(_, None)) => {
                let utc = cast(c, f.data_type())?;
                let local: TimestampMicrosecondArray =
                    utc.as_primitive::<TimestampMicrosecondType>().unary(|us| zone.to_local(us));
                Ok(Arc::new(local.with_data_type(f.data_type().clone())) as ArrayRef)
            }
            _ => cast(c, f.data_type()),
        },
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(|(c, f)| same(c, f)).collect::<Result<Vec<_>, _>>();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let done = columns.and_then(|c| RecordBatch::try_new_with_options(Arc::clone(schema), c, &options));
    done.map_err(|e| SqlError::new(1105, "HY000", format!("a result batch differs from its schema: {e}")))
}

/// Rows that are known already.
pub(crate) fn of_batch(batch: RecordBatch, text: TextContext) -> SqlRows {
    SqlRows { schema: batch.schema(), rows: Box::pin(stream::iter([Ok(batch)])), text }
}

/// A table of texts, column by column; a cell of `None` is NULL.
pub(crate) fn texts(names: &[&str], rows: &[Vec<Option<String>>]) -> RecordBatch {
    let fields: Vec<Field> = names.iter().map(|n| Field::new(*n, DataType::Utf8, true)).collect();
    let column = |i: usize| {
        let cells = rows.iter().map(|r| r.get(i).cloned().flatten());
        Arc::new(cells.collect::<StringArray>()) as ArrayRef
    };
    let columns = (0..names.len()).map(column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("every column is text and has one cell per row")
}
