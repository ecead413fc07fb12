//! Help for tests: the oracle store, the model buffer, conformance suites, builders of tables and rows.

pub mod conformance;
pub mod mem_buffer;
pub mod mem_store;
pub mod tables;

pub use mem_buffer::MemBuffer;
pub use mem_store::MemStore;
