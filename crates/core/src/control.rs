//! Control records: what Tidelake itself appends to the Data Buffer, between the upstream's transactions.
//!
//! The initial copy goes through the buffer like everything else, so a replay after a crash sees the same order
//! as the first run did, and a chunk is safe as soon as it is appended (`docs/adr/0002`). Each record takes a
//! [`CommitSeq`](crate::CommitSeq) of its own.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::position::SourcePosition;
use crate::schema::{TableDef, TableName};

/// One control record, without the rows that may follow it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ControlRecord {
    /// Begins a copy of a table; replaces an unfinished copy of the same name. `def.id` is assigned when applied.
    CopyBegin {
        /// Names this copy.
        copy_id: u64,
        /// The table as upstream has it at `from`.
        def: Box<TableDef>,
        /// Row events at or before this position are part of the copied rows.
        from: SourcePosition,
    },
    /// Rows read from the table at exactly `read_at`. The rows follow the record.
    CopyRows {
        /// Of which copy.
        copy_id: u64,
        /// The snapshot they were read in: they contain every transaction at or before it, and no other. With a key they may also
        /// contain some of those after it which are before this record.
        read_at: SourcePosition,
        /// Where the copy goes on after this chunk; opaque outside the source.
        cursor: String,
    },
    /// All rows were read: the table becomes live, and replaces a visible table of its name.
    CopyDone {
        /// Of which copy.
        copy_id: u64,
        /// For a table without a key: the one position at which all its chunks were read; later row events are
        /// applied when the copy ends. `None` for a table with a key.
        read_at: Option<SourcePosition>,
    },
    /// This table cannot be copied, with this reason. A live table of the name is left alone: it is not the one whose copy failed.
    StopTable {
        /// Which table, copying or stopped; if there is none of this name, a stopped one is put there.
        name: TableName,
        /// Shown to readers.
        reason: String,
    },
    /// Changes nothing: keeps how far the source has read, which is the position that every record is stored with. A server that is
    /// idle purges its files all the same.
    ReadUpTo,
    /// The user no longer wants this table, or it vanished upstream before it was copied: drop it from the replica.
    DropTable {
        /// Which table, copying or visible.
        name: TableName,
        /// Only if it still waits for a copy or is being copied: by now the stream may have made a table of this name.
        #[serde(default)]
        vanished: bool,
    },
}

/// Encodes a record and its rows, if it has some: `u32` length of the JSON header, the header, an Arrow IPC stream.
///
/// # Errors
/// If the rows cannot be written as Arrow IPC.
pub fn encode(record: &ControlRecord, rows: Option<&RecordBatch>) -> Result<Vec<u8>> {
    let header = serde_json::to_vec(record).map_err(|e| Error::Internal(format!("encode control record: {e}")))?;
    let length = u32::try_from(header.len()).map_err(|_| Error::Limit("control record header over 4 GiB".into()))?;
    let mut out = Vec::with_capacity(header.len() + 4);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&header);
    if let Some(rows) = rows {
        let mut writer = StreamWriter::try_new(&mut out, &rows.schema())?;
        writer.write(rows)?;
        writer.finish()?;
    }
    Ok(out)
}

/// Decodes a record and its rows.
///
/// # Errors
/// [`Error::Corrupt`] if the bytes are not a control record.
pub fn decode(bytes: &[u8]) -> Result<(ControlRecord, Option<RecordBatch>)> {
    let corrupt = |reason: String| Error::corrupt("control record", reason);
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| corrupt("shorter than its header".into()))?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > rest.len() {
        return Err(corrupt(format!("header of {length} bytes in {} bytes", rest.len())));
    }
    let (header, body) = rest.split_at(length);
    let record = serde_json::from_slice(header).map_err(|e| corrupt(e.to_string()))?;
    if body.is_empty() {
        return Ok((record, None));
    }
    let mut reader = StreamReader::try_new(Cursor::new(body), None).map_err(|e| corrupt(e.to_string()))?;
    let rows = reader.next().transpose().map_err(|e| corrupt(e.to_string()))?;
    Ok((record, rows))
}

/// Gives rows that were read back from bytes the schema of their table again (field metadata included).
///
/// # Errors
/// [`Error::Corrupt`] if columns or types differ.
pub fn with_schema(rows: RecordBatch, schema: SchemaRef) -> Result<RecordBatch> {
    RecordBatch::try_new(schema, rows.columns().to_vec())
        .map_err(|e| Error::corrupt("rows of a control record", e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_an_error() {
        for bytes in [&b""[..], b"\x01", b"\xff\xff\xff\xffx", b"\x02\0\0\0{}zzz", b"\x00\0\0\0"] {
            assert!(decode(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn record_round_trips() {
        let drop = ControlRecord::DropTable { name: TableName::new("a", "b"), vanished: true };
        for record in [drop, ControlRecord::ReadUpTo] {
            let (back, rows) = decode(&encode(&record, None).expect("encode")).expect("decode");
            assert_eq!(back, record);
            assert!(rows.is_none());
        }
    }
}
