//! Sources: MySQL and MariaDB binlogs as files and as a service; TiDB's change feeds

pub mod ddl;
pub mod file;
pub mod kafka;
pub mod mysql;
pub mod service;
pub mod ticdc;
pub mod tidb_binlog;
pub mod tidb_copy;

pub use tidelake_core::filter;
