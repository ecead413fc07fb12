//! Against real MariaDB servers, each started by its test.

mod mem_buffer;
mod preflights;
mod streaming;

use tidelake_core::Error;

use super::DdlReading;
use crate::mysql::decoder::port::DdlOutcome;

/// For tests that decode nothing.
fn no_ddl() -> DdlReading {
    DdlReading {
        changes: |_, _, _| DdlOutcome::Ignore,
        create_table: |_, _, _| Err(Error::Invalid("no table is copied here".into())),
    }
}
