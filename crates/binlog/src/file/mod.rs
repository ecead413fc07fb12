//! A directory of binlog files as a source: what a server left behind, or what it is still writing.
//!
//! [`directory`] finds and orders the files, [`reader`] cuts one file (plain or `.zst`) into events, and
//! [`FileSource`] feeds them to the grouper and on into the Data Buffer.

pub mod directory;
pub mod reader;
mod server;
mod source;

pub use server::{FilesServer, server_of};
pub use source::{FileSource, FileSourceOptions};
