//! Batches as messages of Arrow Flight, without copying their values.
//!
//! A message of gRPC is `0`, its length (4 bytes, big endian), and the protobuf `FlightData` of Arrow's `Flight.proto`: `data_header` (field 2) is
//! the message of Arrow IPC, `app_metadata` field 3, `data_body` (field 1000) the buffers behind it.

use arrow::array::{Array, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::Schema;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::StreamEncoder;
use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tidelake_core::{Error, Result};

use super::PREFIX_BYTES;

/// What marks an IPC message, before the length of its header.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Fields of `FlightData`.
const HEADER_FIELD: u32 = 2;
const METADATA_FIELD: u32 = 3;
const BODY_FIELD: u32 = 1000;
/// Chunks up to this size are copied together: a frame for each would cost more.
const SMALL: usize = 4 << 10;
/// Bytes of values that a message should have at most, a larger row aside: many clients take no more than 4 MiB.
const MESSAGE: usize = 3 << 20;

/// Encodes the batches of one stream.
pub(super) struct FlightEncoder {
    encoder: StreamEncoder,
}

impl FlightEncoder {
    pub(super) fn new(schema: &Schema) -> Result<FlightEncoder> {
        Ok(FlightEncoder { encoder: StreamEncoder::try_new(schema)? })
    }

    /// The messages of a batch as chunks to be sent one after the other; before the first, that of the schema. `mark` is the last one's
    /// `app_metadata`.
    pub(super) fn encode(&mut self, batch: &RecordBatch, mark: &[u8]) -> Result<Vec<Bytes>> {
        let mut chunks = Chunks::default();
        for piece in pieces(batch) {
            let mut messages = messages(self.encoder.encode(&piece)?)?.into_iter().peekable();
            while let Some(message) = messages.next() {
                message.write(if messages.peek().is_none() { mark } else { &[] }, &mut chunks)?;
            }
        }
        Ok(chunks.finish())
    }
}

/// Buffers of an IPC stream as chunks to be sent one after the other.
pub(crate) fn ipc_chunks(buffers: Vec<Buffer>) -> Vec<Bytes> {
    let mut chunks = Chunks::default();
    buffers.into_iter().for_each(|buffer| chunks.push(buffer));
    chunks.finish()
}

/// One message of Arrow IPC.
struct Message {
    header: Buffer,
    body: Vec<Buffer>,
}

impl Message {
    fn write(self, mark: &[u8], chunks: &mut Chunks) -> Result<()> {
        let field = |number, bytes: usize| match bytes {
            0 => 0,
            bytes => key_len(number) + encoded_len_varint(bytes as u64) + bytes,
        };
        let body: usize = self.body.iter().map(Buffer::len).sum();
        let whole =
            field(HEADER_FIELD, self.header.len()) + field(METADATA_FIELD, mark.len()) + field(BODY_FIELD, body);
        let too_long = |_| Error::Limit(format!("a row of {whole} bytes fits into no message of Arrow Flight"));
        let head = chunks.small();
        head.reserve(PREFIX_BYTES + whole - body);
        head.put_u8(0);
        head.put_u32(u32::try_from(whole).map_err(too_long)?);
        put(HEADER_FIELD, &self.header, head);
        put(METADATA_FIELD, mark, head);
        if body > 0 {
            encode_key(BODY_FIELD, WireType::LengthDelimited, head);
            encode_varint(body as u64, head);
        }
        self.body.into_iter().for_each(|buffer| chunks.push(buffer));
        Ok(())
    }
}

fn put(field: u32, bytes: &[u8], into: &mut BytesMut) {
    if !bytes.is_empty() {
        encode_key(field, WireType::LengthDelimited, into);
        encode_varint(bytes.len() as u64, into);
        into.put_slice(bytes);
    }
}

/// The messages of a piece of an IPC stream: each is `CONTINUATION`, the length of its header, the header, and a body as long as the header says.
fn messages(buffers: Vec<Buffer>) -> Result<Vec<Message>> {
    let mut rest = Rest { buffers: buffers.into_iter(), open: None };
    let mut messages = Vec::new();
    while let Some(prefix) = rest.take(8)? {
        let length = match prefix.split_at_checked(4) {
            Some((mark, length)) if mark == CONTINUATION => length.try_into().map(u32::from_le_bytes).ok(),
            _ => None,
        };
        let header = rest.take(length.ok_or_else(|| odd("no length"))? as usize)?.ok_or_else(|| odd("no header"))?;
        let parsed = root_as_message(&header).map_err(|e| odd(&e.to_string()))?;
        let mut missing = usize::try_from(parsed.bodyLength()).map_err(|_| odd("a length below zero"))?;
        let mut body = Vec::new();
        while missing > 0 {
            let part = rest.up_to(missing).ok_or_else(|| odd("a body that is too short"))?;
            missing -= part.len();
            body.push(part);
        }
        messages.push(Message { header, body });
    }
    Ok(messages)
}

fn odd(what: &str) -> Error {
    Error::Internal(format!("encode rows: Arrow's own IPC message has {what}"))
}

/// What is left of the buffers.
struct Rest {
    buffers: std::vec::IntoIter<Buffer>,
    open: Option<Buffer>,
}

impl Rest {
    /// Some of the next bytes.
    fn up_to(&mut self, bytes: usize) -> Option<Buffer> {
        let open = self.open.take().or_else(|| self.buffers.by_ref().find(|buffer| !buffer.is_empty()))?;
        if open.len() <= bytes {
            return Some(open);
        }
        self.open = Some(open.slice(bytes));
        Some(open.slice_with_length(0, bytes))
    }

    /// The next bytes; `None` at the end.
    fn take(&mut self, bytes: usize) -> Result<Option<Buffer>> {
        let Some(first) = self.up_to(bytes) else { return Ok(None) };
        if first.len() == bytes {
            return Ok(Some(first));
        }
        let mut joined = first.to_vec();
        while joined.len() < bytes {
            let next = self.up_to(bytes - joined.len()).ok_or_else(|| odd("a header that is too short"))?;
            joined.extend_from_slice(&next);
        }
        Ok(Some(joined.into()))
    }
}

/// Chunks to send: large buffers as they are, small ones together.
#[derive(Default)]
struct Chunks {
    done: Vec<Bytes>,
    small: BytesMut,
}

impl Chunks {
    fn small(&mut self) -> &mut BytesMut {
        &mut self.small
    }

    fn push(&mut self, buffer: Buffer) {
        if buffer.len() <= SMALL {
            return self.small.extend_from_slice(&buffer);
        }
        self.close();
        self.done.push(Bytes::from_owner(Held(buffer)));
    }

    fn close(&mut self) {
        if !self.small.is_empty() {
            self.done.push(self.small.split().freeze());
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.close();
        self.done
    }
}

/// A buffer that is kept until its bytes are sent.
struct Held(Buffer);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A batch in pieces that fit into messages.
fn pieces(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> + '_ {
    let size = |column: &dyn Array| column.to_data().get_slice_memory_size().unwrap_or(MESSAGE);
    let bytes: usize = batch.columns().iter().map(|column| size(column)).sum();
    let rows = batch.num_rows();
    let step = (rows * MESSAGE / bytes.max(1)).clamp(1, rows.max(1));
    (0..rows.max(1)).step_by(step).map(move |at| batch.slice(at, step.min(rows - at)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Decimal128Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, SchemaRef};
    use arrow_flight::FlightData;
    use arrow_flight::decode::FlightRecordBatchStream;
    use futures::{TryStreamExt, stream};
    use prost::Message as _;

    use super::*;

    fn schema() -> SchemaRef {
        let field = |name, ty| Field::new(name, ty, true);
        Arc::new(Schema::new(vec![
            field("a", DataType::Int64),
            field("b", DataType::Utf8),
            field("c", DataType::Decimal128(20, 2)),
            field("d", DataType::Boolean),
        ]))
    }

    fn batch(rows: i64, text: &str) -> RecordBatch {
        let some = |n: &i64| n % 5 != 1;
        let decimals = (0..rows).map(|n| some(&n).then_some(i128::from(n) << 40)).collect::<Decimal128Array>();
        RecordBatch::try_new(
            schema(),
            vec![
                Arc::new((0..rows).map(|n| some(&n).then_some(n)).collect::<Int64Array>()),
                Arc::new((0..rows).map(|n| some(&n).then(|| format!("{text}{n}"))).collect::<StringArray>()),
                Arc::new(decimals.with_precision_and_scale(20, 2).expect("fits")),
                Arc::new((0..rows).map(|n| some(&n).then_some(n % 2 == 0)).collect::<BooleanArray>()),
            ],
        )
        .expect("a batch")
    }

    /// Messages of gRPC, as any client reads them.
    fn read(chunks: Vec<Bytes>) -> Vec<FlightData> {
        let mut bytes = Bytes::from(chunks.concat());
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let prefix = bytes.split_to(PREFIX_BYTES);
            assert_eq!(prefix[0], 0);
            let length = u32::from_be_bytes(prefix[1..].try_into().expect("four bytes")) as usize;
            messages.push(FlightData::decode(bytes.split_to(length)).expect("a message"));
        }
        messages
    }

    #[tokio::test]
    async fn whoever_reads_arrow_flight_reads_it() {
        let sent =
            [batch(3, "short"), batch(0, ""), batch(20_000, "longer text "), batch(20_000, "x").slice(77, 9_001)];
        let mut encoder = FlightEncoder::new(&schema()).expect("encodes");
        let mut messages = Vec::new();
        for batch in &sent {
            messages.extend(read(encoder.encode(batch, b"mark").expect("encodes")));
        }
        assert_eq!(messages.len(), 1 + sent.len(), "one of the schema, one for each batch");
        assert!(
            messages[0].app_metadata.is_empty() && messages[1..].iter().all(|m| m.app_metadata.as_ref() == b"mark")
        );
        let read = FlightRecordBatchStream::new_from_flight_data(stream::iter(messages.into_iter().map(Ok)));
        let read: Vec<RecordBatch> = read.try_collect().await.expect("reads");
        assert_eq!(read, sent);
    }

    #[tokio::test]
    async fn a_large_batch_is_several_messages() {
        let sent = batch(8192, &"long ".repeat(400));
        let mut encoder = FlightEncoder::new(&schema()).expect("encodes");
        let messages = read(encoder.encode(&sent, &[]).expect("encodes"));
        assert!(messages.len() > 5 && messages.iter().all(|m| m.data_body.len() < 2 * MESSAGE), "{}", messages.len());
        let read = FlightRecordBatchStream::new_from_flight_data(stream::iter(messages.into_iter().map(Ok)));
        let read: Vec<RecordBatch> = read.try_collect().await.expect("reads");
        assert_eq!(arrow::compute::concat_batches(&schema(), &read).expect("joins"), sent);
    }

    #[test]
    fn large_buffers_are_not_copied() {
        let values: Vec<i64> = (0..8192).collect();
        let column = Int64Array::from(values);
        let at = column.values().inner().as_ptr();
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(column)]).expect("a batch");
        let chunks = FlightEncoder::new(&schema).expect("encodes").encode(&batch, &[]).expect("encodes");
        assert!(chunks.iter().any(|chunk| chunk.as_ptr() == at), "the values themselves are sent");
    }
}
