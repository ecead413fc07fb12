//! Help for tests: the oracle store, conformance suites, builders of tables and rows.

pub mod conformance;
pub mod mem_store;
pub mod tables;

pub use mem_store::MemStore;
