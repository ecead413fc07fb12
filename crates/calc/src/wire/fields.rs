//! Column definitions and the packets that end or refuse a result.

use arrow::datatypes::{Field, SchemaRef};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::types::wire::{WireType, code, flag};

use crate::session::{SessionStatus, SqlError};

use super::constants::{capability, error, status};
use super::payload::{put_length, put_string};

/// A core error as clients see it.
pub(super) fn sql_error(e: tidelake_core::Error) -> SqlError {
    let (code, state) = error::UNKNOWN;
    SqlError::new(code, state, e.to_string())
}

/// The wire types of a result's columns.
pub(super) fn wire_types(schema: &SchemaRef, flavor: ServerFlavor) -> Result<Vec<WireType>, SqlError> {
    let named = |field: &Field, e: tidelake_core::Error| sql_error_in(field.name(), e);
    schema.fields().iter().map(|f| WireType::of_field(f, flavor).map_err(|e| named(f, e))).collect()
}

fn sql_error_in(column: &str, e: tidelake_core::Error) -> SqlError {
    let mut error = sql_error(e);
    error.message = format!("column `{column}`: {}", error.message);
    error
}

/// ColumnDefinition41. Database and table names are left empty: a result column may come from anywhere.
pub(super) fn put_definition(name: &str, ty: &WireType, out: &mut Vec<u8>) {
    put_string(b"def", out);
    for _database_table_and_original_table in 0..3 {
        put_string(b"", out);
    }
    put_string(name.as_bytes(), out);
    put_string(name.as_bytes(), out);
    put_length(12, out);
    out.extend_from_slice(&ty.collation.to_le_bytes());
    out.extend_from_slice(&ty.length.to_le_bytes());
    out.push(ty.code);
    out.extend_from_slice(&ty.flags.to_le_bytes());
    out.push(ty.decimals);
    out.extend_from_slice(&[0, 0]);
}

/// What a `?` is described as: its type is the client's to say.
pub(super) fn parameter_type() -> WireType {
    WireType { code: code::VAR_STRING, flags: flag::BINARY, collation: 63, length: 0, decimals: 0 }
}

/// OK packet.
pub(super) fn ok_packet(session: SessionStatus) -> Vec<u8> {
    let mut out = vec![0, 0, 0];
    out.extend_from_slice(&status_flags(session).to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out
}

/// What ends column definitions (unless the client knows better) and rows.
pub(super) fn eof_packet(session: SessionStatus, capabilities: u32) -> Vec<u8> {
    if capabilities & capability::DEPRECATE_EOF != 0 {
        let mut out = ok_packet(session);
        out[0] = 0xfe;
        return out;
    }
    let mut out = vec![0xfe, 0, 0];
    out.extend_from_slice(&status_flags(session).to_le_bytes());
    out
}

/// ERR packet. The state is left out before the handshake, as the client's capabilities are not known then.
pub(super) fn error_packet(e: &SqlError, with_state: bool) -> Vec<u8> {
    let mut out = vec![0xff];
    out.extend_from_slice(&e.code.to_le_bytes());
    if with_state {
        out.push(b'#');
        out.extend_from_slice(e.state.as_bytes());
    }
    out.extend_from_slice(e.message.as_bytes());
    out
}

fn status_flags(session: SessionStatus) -> u16 {
    let mut flags = 0;
    if session.in_transaction {
        flags |= status::IN_TRANSACTION;
    }
    if session.autocommit {
        flags |= status::AUTOCOMMIT;
    }
    if session.more_results {
        flags |= status::MORE_RESULTS;
    }
    flags
}
