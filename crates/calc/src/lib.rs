//! The embedded calculator: SQL over a store engine, reached by the MySQL wire protocol and Flight SQL.

pub mod flight;
pub mod session;
pub mod sql;
pub mod wire;
