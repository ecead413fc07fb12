//! A result set on its way out: definitions, then rows, batch by batch as the client takes them.

use arrow::array::RecordBatch;
use futures::StreamExt;
use tidelake_core::types::UpstreamType;
use tidelake_core::types::arrow::upstream_type;
use tidelake_core::types::text::{TextColumn, TextContext};
use tidelake_core::types::wire::WireType;
use tokio_util::sync::CancellationToken;

use crate::session::{SessionStatus, SqlError, SqlRows};

use super::binary::BinaryColumn;
use super::channel::{Channel, ChannelError};
use super::constants::{capability, error};
use super::fields::{eof_packet, put_definition, sql_error, wire_types};
use super::payload::{put_length, put_written};

/// How values go: as text, or as bytes for prepared statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowForm {
    Text,
    Binary,
}

/// How work on behalf of a client ended.
pub(super) enum Ended<T> {
    Done(T),
    ClientGone,
    Shutdown,
}

/// Waits for `work`, but drops it when the client goes away or the server shuts down.
pub(super) async fn while_wanted<T>(
    channel: &mut Channel,
    cancel: &CancellationToken,
    work: impl Future<Output = T>,
) -> Ended<T> {
    tokio::select! {
        biased;
        done = work => Ended::Done(done),
        () = cancel.cancelled() => Ended::Shutdown,
        () = channel.client_gone() => Ended::ClientGone,
    }
}

/// The error for statements that a shutdown ends.
pub(super) fn shutting_down() -> SqlError {
    let (code, state) = error::SERVER_SHUTDOWN;
    SqlError::new(code, state, "Server shutdown in progress")
}

/// A client that went away.
pub(super) fn gone() -> ChannelError {
    ChannelError::Gone(std::io::ErrorKind::ConnectionAborted.into())
}

/// Sends a result set; an `Ok(Err)` is for the client, in place of what is left.
pub(super) async fn send_rows(
    channel: &mut Channel,
    cancel: &CancellationToken,
    capabilities: u32,
    status: SessionStatus,
    mut result: SqlRows,
    form: RowForm,
) -> Result<Result<(), SqlError>, ChannelError> {
    let types = match wire_types(&result.schema, result.text.flavor) {
        Ok(types) => types,
        Err(e) => return Ok(Err(e)),
    };
    let mut count = Vec::new();
    put_length(types.len() as u64, &mut count);
    channel.put_bytes(&count);
    put_definitions(channel, result.schema.fields().iter().map(|f| f.name().as_str()).zip(&types));
    if capabilities & capability::DEPRECATE_EOF == 0 {
        channel.put_bytes(&eof_packet(status, capabilities));
    }
    let upstream: Vec<Option<UpstreamType>> = result.schema.fields().iter().map(|f| upstream_type(f)).collect();
    let columns = Columns { types: &types, upstream: &upstream, context: &result.text, form };
    loop {
        let batch = match while_wanted(channel, cancel, result.rows.next()).await {
            Ended::Done(None) => break,
            Ended::Done(Some(Ok(batch))) => batch,
            Ended::Done(Some(Err(e))) => return Ok(Err(e)),
            Ended::Shutdown => return Ok(Err(shutting_down())),
            Ended::ClientGone => return Err(gone()),
        };
        if let Err(e) = send_batch(channel, &batch, &columns).await? {
            return Ok(Err(e));
        }
    }
    channel.put_bytes(&eof_packet(status, capabilities));
    Ok(Ok(()))
}

/// Appends column definitions.
pub(super) fn put_definitions<'a>(channel: &mut Channel, fields: impl Iterator<Item = (&'a str, &'a WireType)>) {
    let mut definition = Vec::new();
    for (name, ty) in fields {
        definition.clear();
        put_definition(name, ty, &mut definition);
        channel.put_bytes(&definition);
    }
}

struct Columns<'a> {
    types: &'a [WireType],
    upstream: &'a [Option<UpstreamType>],
    context: &'a TextContext,
    form: RowForm,
}

async fn send_batch(
    channel: &mut Channel,
    batch: &RecordBatch,
    columns: &Columns<'_>,
) -> Result<Result<(), SqlError>, ChannelError> {
    let writer = match RowWriter::new(batch, columns) {
        Ok(writer) => writer,
        Err(e) => return Ok(Err(sql_error(e))),
    };
    for row in 0..batch.num_rows() {
        if let Err(e) = channel.put(|out| writer.write(row, out)) {
            return Ok(Err(sql_error(e)));
        }
        channel.flush_if_full().await?;
    }
    Ok(Ok(()))
}

enum RowWriter {
    Text(Vec<TextColumn>),
    Binary(Vec<BinaryColumn>),
}

impl RowWriter {
    fn new(batch: &RecordBatch, columns: &Columns<'_>) -> tidelake_core::Result<RowWriter> {
        if batch.num_columns() != columns.types.len() {
            return Err(tidelake_core::Error::Internal(format!(
                "a result of {} columns has a batch of {}",
                columns.types.len(),
                batch.num_columns()
            )));
        }
        let arrays = batch.columns().iter().zip(columns.upstream);
        Ok(match columns.form {
            RowForm::Text => {
                let made = arrays.map(|(array, ty)| TextColumn::new(ty.as_ref(), array, columns.context));
                RowWriter::Text(made.collect::<tidelake_core::Result<_>>()?)
            }
            RowForm::Binary => {
                let made = arrays
                    .zip(columns.types)
                    .map(|((array, ty), wire)| BinaryColumn::new(ty.as_ref(), wire, array, columns.context));
                RowWriter::Binary(made.collect::<tidelake_core::Result<_>>()?)
            }
        })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> tidelake_core::Result<()> {
        match self {
            RowWriter::Text(columns) => {
                columns.iter().try_for_each(|column| put_written(out, &[0xfb], |out| column.write(row, out)))
            }
            RowWriter::Binary(columns) => write_binary(columns, row, out),
        }
    }
}

/// 0, a bitmap of NULLs that starts at bit 2, then the values that are not NULL.
fn write_binary(columns: &[BinaryColumn], row: usize, out: &mut Vec<u8>) -> tidelake_core::Result<()> {
    out.push(0);
    let bitmap = out.len();
    out.resize(bitmap + (columns.len() + 9) / 8, 0);
    for (i, column) in columns.iter().enumerate() {
        if column.is_null(row) {
            out[bitmap + (i + 2) / 8] |= 1 << ((i + 2) % 8);
            continue;
        }
        column.write(row, out)?;
    }
    Ok(())
}
