//! The Magic API on the wire: a store engine and its latch for other processes, over Arrow Flight.
//!
//! A *call* has a name, and JSON in and out; a *plan* gives *splits*, each of which is read by a ticket; a writer *stages* rows with
//! `DoPut` and publishes them by a call. `docs/magic-api.md` describes all of it for people who write a client.
//!
//! Rooms: `wire` the messages; `rows` changes as batches; `ipc` rows without gRPC; `errors` errors as statuses; `magic` what every transport serves, with
//! `leases` and, for a writer elsewhere, the `desk`; `offered` what a server does with Flight's methods, `server` an engine as such a one, behind a `door`, with `flow` for its rows; on the other side `client` a connection over a `carrier`, with its `login` and `held` leases, `store` the engine and `latch` the latch over it, `feed` a writer's line to the desk; `questions` what the writer is asked. With a latch in a
//! process of its own: `hub` that latch, `line` the way to it, `fleet` several engines for readers. `ending` tells a stream that ended from one that was cut.

pub mod errors;
pub mod ipc;
pub mod rows;
pub mod wire;

mod carrier;
mod client;
mod desk;
mod door;
mod ending;
mod feed;
mod fleet;
mod flow;
mod held;
mod hub;
mod latch;
mod leases;
mod line;
mod login;
mod magic;
mod offered;
mod questions;
mod server;
mod store;

pub use carrier::{Carried, Carries, Served};
pub use client::Connection;
pub use desk::Desk;
pub use door::{GrpcWire, LetIn, caller, incoming};
pub use feed::{WriterLine, about};
pub use fleet::FleetStore;
pub use flow::RowsOut;
pub use hub::{
    Fed, FleetLine, HUB_ADMIN_CALLS, HUB_READ_CALLS, HUB_WRITE_CALLS, Hub, HubFlight, HubOptions, HubSeat, HubServer,
    Reporter, fence, join,
};
pub use latch::RemoteLatch;
pub use leases::new_name;
pub use line::LatchLine;
pub use login::Login;
pub use magic::{Magic, READ_CALLS, WRITE_CALLS};
pub use offered::{ACTIONS, Answers, Offered, Offers, QUESTIONS, WATCH};
pub use server::{MagicFlight, MagicServer};
pub use store::FlightStore;
