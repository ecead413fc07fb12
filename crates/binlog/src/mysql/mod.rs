//! The binlogs of MySQL and MariaDB: from bytes to transactions, and from transactions to columns.
//!
//! The same code reads files and the replication stream. Rooms, in the order data passes them: [`event`] headers,
//! [`mod@format`] descriptions and checksums, [`group`] events -> transactions (with [`gtid`], [`position`], [`named`], [`query`],
//! [`statement`], [`compressed`]), [`sink`] into the Data Buffer as normalised items ([`context`]), [`table_map`] and [`rows`]
//! into Arrow columns, all together behind the [`decoder`].

pub mod collation;
pub mod compressed;
pub mod context;
pub mod decoder;
pub mod event;
pub mod format;
pub mod group;
pub mod gtid;
pub mod named;
pub mod position;
pub mod query;
pub mod reader;
pub mod rows;
pub mod sink;
pub mod statement;
pub mod table_map;
