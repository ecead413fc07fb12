//! The binlog decoder and the file source over real files: what servers wrote, and what is left of it when damaged.

mod files;
mod support;
mod undo;
