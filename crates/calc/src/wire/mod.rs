//! The MySQL wire server: any MySQL client reaches the SQL room through here.
//!
//! A connection is one task. It *greets*, asks the guard about the login (`handshake`), opens an [`SqlSession`](crate::session::SqlSession)
//! and then answers one *command* at a time (`connection`). Packets are framed, bounded and joined in `channel`; result rows are
//! streamed batch by batch (`rows`), so a slow client slows its query and nothing else. While a statement
//! runs, the socket is watched: a client that went away cancels its statement by dropping it.
//!
//! The protocol is MySQL's own description ("Client/Server Protocol", dev.mysql.com) and MariaDB's
//! (mariadb.com/kb/en/clientserver-protocol); where the two differ, what `mariadb`, PyMySQL and mysql_async do decided.

mod binary;
mod channel;
mod connection;
mod constants;
mod fields;
mod handshake;
mod options;
mod parameters;
mod payload;
mod rows;
mod server;
mod split;
mod statements;
#[cfg(test)]
pub(crate) mod tests;

pub use options::WireOptions;
pub use server::WireServer;
