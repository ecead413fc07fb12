//! TiCDC's storage sink on a local directory.
//!
//! [`layout`] finds files, [`schema_file`] reads what DDL wrote, [`data_file`] cuts data files into records, and
//! [`StorageSource`] reads them all, round by round: first the checkpoint, then the listing, then every new file. A file is
//! read again whenever it changed; the assembler knows what it had before.

pub mod data_file;
pub mod layout;
pub mod schema_file;
mod source;

pub use source::{StorageOptions, StorageSource};
