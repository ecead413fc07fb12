//! Conformance suites: one per port. Every implementation runs the whole suite of its port.

pub mod buffer;
pub mod store;
