//! The prepared statements of one connection: bound types and data sent ahead.

use std::collections::HashMap;

use tidelake_core::CellValue;

use crate::session::{Prepared, SqlError};

use super::constants::error;
use super::parameters::{ParameterType, parse_parameters};
use super::payload::Payload;

/// What the wire remembers of one prepared statement.
struct Statement {
    parameters: usize,
    bound: Vec<ParameterType>,
    long_data: HashMap<usize, Vec<u8>>,
}

/// All prepared statements of a connection, bounded in number and in data sent ahead.
pub(super) struct Statements {
    open: HashMap<u32, Statement>,
    max_open: usize,
    max_long_data: usize,
    long_data: usize,
    /// COM_STMT_SEND_LONG_DATA has no answer, so its errors wait for the next execution.
    pending: HashMap<u32, SqlError>,
}

impl Statements {
    pub(super) fn new(max_open: usize, max_long_data: usize) -> Statements {
        Statements { open: HashMap::new(), max_open, max_long_data, long_data: 0, pending: HashMap::new() }
    }

    /// Checks that one more may be prepared.
    pub(super) fn check_room(&self) -> Result<(), SqlError> {
        if self.open.len() < self.max_open {
            return Ok(());
        }
        let (code, state) = error::TOO_MANY_STATEMENTS;
        let message =
            format!("this connection has {} prepared statements open, the most allowed; close some", self.max_open);
        Err(SqlError::new(code, state, message))
    }

    pub(super) fn opened(&mut self, prepared: &Prepared) {
        let statement = Statement { parameters: prepared.parameters, bound: Vec::new(), long_data: HashMap::new() };
        self.open.insert(prepared.id, statement);
    }

    pub(super) fn close(&mut self, id: u32) {
        self.pending.remove(&id);
        if let Some(statement) = self.open.remove(&id) {
            self.long_data -= held(&statement);
        }
    }

    /// COM_STMT_RESET: forgets data sent ahead.
    pub(super) fn reset(&mut self, id: u32) -> Result<(), SqlError> {
        self.pending.remove(&id);
        let statement = self.open.get_mut(&id).ok_or_else(|| unknown(id))?;
        self.long_data -= held(statement);
        statement.long_data.clear();
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.pending.clear();
        self.long_data = 0;
    }

    /// COM_STMT_SEND_LONG_DATA after its command byte.
    pub(super) fn append_long_data(&mut self, packet: &[u8]) {
        let mut payload = Payload::new(packet);
        let (Ok(id), Ok(parameter)) = (payload.u32(), payload.u16()) else { return };
        let data = payload.rest();
        let Some(statement) = self.open.get_mut(&id) else { return };
        let parameter = usize::from(parameter);
        if parameter >= statement.parameters {
            let (code, state) = error::WRONG_ARGUMENTS;
            let message =
                format!("data was sent for parameter {parameter}, the statement has {}", statement.parameters);
            self.pending.entry(id).or_insert_with(|| SqlError::new(code, state, message));
            return;
        }
        if self.long_data + data.len() > self.max_long_data {
            let (code, state) = error::PACKET_TOO_LARGE;
            let message = format!("data sent ahead is bigger than 'max_allowed_packet' bytes ({})", self.max_long_data);
            self.pending.entry(id).or_insert_with(|| SqlError::new(code, state, message));
            return;
        }
        self.long_data += data.len();
        statement.long_data.entry(parameter).or_default().extend_from_slice(data);
    }

    /// COM_STMT_EXECUTE after its command byte: the statement's number and its parameters. Data sent ahead is used up.
    pub(super) fn parse_execute(&mut self, packet: &[u8]) -> Result<(u32, Vec<CellValue>), SqlError> {
        let mut payload = Payload::new(packet);
        let id = payload.u32()?;
        // Cursors may be asked for and need not be opened; the number of iterations is always 1.
        payload.bytes(1 + 4)?;
        if let Some(e) = self.pending.remove(&id) {
            self.reset(id)?;
            return Err(e);
        }
        let statement = self.open.get_mut(&id).ok_or_else(|| unknown(id))?;
        self.long_data -= held(statement);
        let long_data = std::mem::take(&mut statement.long_data);
        let long = |i: usize| long_data.get(&i).map(Vec::as_slice);
        let cells = parse_parameters(&mut payload, statement.parameters, &mut statement.bound, long)?;
        Ok((id, cells))
    }
}

fn held(statement: &Statement) -> usize {
    statement.long_data.values().map(Vec::len).sum()
}

fn unknown(id: u32) -> SqlError {
    let (code, state) = error::UNKNOWN_STATEMENT;
    SqlError::new(code, state, format!("Unknown prepared statement handler ({id}) given to this connection"))
}
