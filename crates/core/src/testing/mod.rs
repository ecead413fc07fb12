//! Help for tests: the oracle store, conformance suites, builders of tables and rows.
