//! The binlog decoder and the file source over real files: what servers wrote, and what is left of it when damaged.

mod damage;
mod feeds;
mod files;
mod golden;
mod memory;
mod mutations;
mod recorded;
mod support;
mod undo;
