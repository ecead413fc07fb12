//! Against real MariaDB servers, each started by its test.

mod copying;
mod preflights;
mod replica;
mod streaming;

use bytes::Bytes;
use tidelake_core::control::ControlRecord;
use tidelake_core::ports::{Buffer, BufferedPayload};
use tidelake_core::{CommitSeq, Error, SourcePosition};

use super::DdlReading;
use crate::mysql::decoder::port::DdlOutcome;

/// Bytes; more than any test has.
const BUFFER_LIMIT: u64 = 1 << 30;

/// A transaction as it lies in the buffer.
struct Stored {
    pub id: String,
    pub position: SourcePosition,
    pub items: Vec<Bytes>,
}

/// All durable transactions of a buffer that has released nothing, without records of how far was read.
fn transactions(buffer: &dyn Buffer) -> Vec<Stored> {
    let mut reader = buffer.read_after(CommitSeq::ZERO).unwrap();
    let mut stored = Vec::new();
    while let Some(transaction) = reader.next().unwrap() {
        let items = match transaction.payload {
            BufferedPayload::Control(record) => match tidelake_core::control::decode(&record).unwrap() {
                (ControlRecord::ReadUpTo, _) => continue,
                _ => vec![record],
            },
            BufferedPayload::Events(events) => events.collect::<tidelake_core::Result<_>>().unwrap(),
        };
        stored.push(Stored { id: transaction.id, position: transaction.position, items });
    }
    stored
}

/// For tests that decode nothing.
fn no_ddl() -> DdlReading {
    DdlReading {
        changes: |_, _, _| DdlOutcome::Ignore,
        create_table: |_, _, _| Err(Error::Invalid("no table is copied here".into())),
    }
}
