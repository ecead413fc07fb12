//! Rows as a plain Arrow IPC stream, for clients that carry no gRPC.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tidelake_core::ports::BatchStream;
use tidelake_core::{Error, Result};

/// The bytes of an IPC stream: schema, batches, end. After an error there is no end, so a stream that was cut does not look whole.
pub fn ipc_stream(
    schema: &SchemaRef,
    batches: BatchStream,
) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    let head = taken(&mut writer);
    let rest = stream::unfold(Some((writer, batches)), |state| async move {
        let (mut writer, mut batches) = state?;
        let (bytes, next) = match batches.next().await {
            Some(Ok(batch)) => match written(&mut writer, &batch) {
                Ok(bytes) => (Ok(bytes), Some((writer, batches))),
                Err(e) => (Err(e), None),
            },
            Some(Err(e)) => (Err(e), None),
            None => (writer.finish().map(|()| taken(&mut writer)).map_err(Error::from), None),
        };
        Some((bytes, next))
    });
    Ok(stream::iter([Ok(head)]).chain(rest))
}

/// An IPC stream without rows: what a schema looks like to clients without gRPC.
///
/// # Errors
/// If Arrow refuses the schema.
pub fn ipc_schema(schema: &Schema) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    writer.finish()?;
    Ok(std::mem::take(writer.get_mut()))
}

fn written(writer: &mut StreamWriter<Vec<u8>>, batch: &RecordBatch) -> Result<Bytes> {
    writer.write(batch)?;
    Ok(taken(writer))
}

fn taken(writer: &mut StreamWriter<Vec<u8>>) -> Bytes {
    std::mem::take(writer.get_mut()).into()
}
