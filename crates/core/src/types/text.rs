//! The bytes that the upstream's text protocol prints for a value.
