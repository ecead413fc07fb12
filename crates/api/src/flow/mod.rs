//! Rows on their way through `DoGet`, by their bytes: what a scan costs over the wire is how often each byte is copied, and gRPC's usual way copies
//! each four times (into the IPC message, into the stream, out of it, and to where it is aligned). Here a server hands Arrow's own buffers to
//! the socket, and a client copies once, out of the socket's frames into one aligned message. On the wire nothing differs:
//! clients and servers of others see plain Arrow Flight.
//!
//! Rooms: `encode` batches as messages; `serve` the server's side, `ahead` decoding beside it; `fetch` the client's.

mod ahead;
mod encode;
mod fetch;
mod serve;

pub(crate) use encode::ipc_chunks;
pub(crate) use fetch::{data_of, request};
pub use serve::RowsOut;

/// The method's path.
const DO_GET: &str = "/arrow.flight.protocol.FlightService/DoGet";
/// Bytes before each message of gRPC: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
