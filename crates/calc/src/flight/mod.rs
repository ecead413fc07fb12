//! The Flight SQL server: ADBC, JDBC and Arrow programs read whole batches through here.
//!
//! It keeps nothing between calls: a *ticket* and a prepared statement's *handle* are the SQL text itself, and every
//! statement has a session of its own (so SET and transactions would not reach the next statement, and are refused; the
//! MySQL protocol has sessions). Drivers learn from the columns of a prepared statement whether it is a query (JDBC), so these
//! are always told: statements are planned when they are prepared, and their errors come then. Columns arrive in their stored Arrow form (`docs/types.md`): TIME as Int64
//! microseconds, ENUM as UInt16 index, SET and BIT as UInt64, zero and partial dates in the reserved range; each field's
//! metadata holds its upstream type under `tidelake.type`. Clients send user and password, or a token, in the header of
//! every call; `Handshake` gives a token for a password.

mod both;
mod bound;
mod catalog;
mod keys;
mod query;
mod server;
mod service;
#[cfg(test)]
mod tests;
mod type_info;

pub use server::FlightServer;
