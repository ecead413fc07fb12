//! Rows as a plain Arrow IPC stream, for clients that carry no gRPC.

use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::writer::{StreamEncoder, StreamWriter};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tidelake_core::ports::BatchStream;
use tidelake_core::{Error, Result};

use crate::flow::ipc_chunks;

/// The bytes of an IPC stream: schema, batches, end. After an error there is no end, so a stream that was cut does not look whole. Values are not copied.
///
/// # Errors
/// If Arrow refuses the schema.
pub fn ipc_stream(
    schema: &SchemaRef,
    batches: BatchStream,
) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
    let open = Some((StreamEncoder::try_new(schema)?, batches));
    let pieces = stream::unfold(open, |open| async move {
        let (mut encoder, mut batches) = open?;
        Some(match batches.next().await {
            Some(Ok(batch)) => match encoder.encode(&batch) {
                Ok(buffers) => (Ok(buffers), Some((encoder, batches))),
                Err(e) => (Err(e.into()), None),
            },
            Some(Err(e)) => (Err(e), None),
            None => (encoder.finish().map_err(Error::from), None),
        })
    });
    Ok(pieces.map_ok(|buffers| stream::iter(ipc_chunks(buffers).into_iter().map(Ok))).try_flatten())
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
