//! TiCDC's storage sink, in a local directory or in an object store.
//!
//! [`store`] is where they lie, [`layout`] finds files, [`schema_file`] reads what DDL wrote, [`data_file`] cuts data files into records, and
//! [`StorageSource`] reads them all, round by round: first the checkpoint, then the listing, then every new file. A file is
//! read again whenever it changed; the assembler knows what it had before. The [`ledger`] remembers over restarts what was read.

pub mod data_file;
pub mod layout;
pub mod ledger;
mod options;
pub mod schema_file;
mod source;
pub mod store;

pub use options::StorageOptions;
pub use source::StorageSource;
