//! Sources: MySQL and MariaDB binlogs as files and as a service

pub mod ddl;
pub mod file;
pub mod filter;
pub mod mysql;
pub mod service;
