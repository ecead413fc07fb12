//! The Magic Engine from outside: conformance to the port, equality with the oracle, crashes, hostile bytes.

mod conformance;
mod harness;
mod model;
