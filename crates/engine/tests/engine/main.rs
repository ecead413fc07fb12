//! The Magic Engine from outside: conformance to the port, equality with the oracle, crashes, hostile bytes.

mod base;
mod beside;
mod conformance;
mod crash;
mod damage;
mod harness;
mod lookups;
mod merges;
mod model;
mod reading;
mod s3;
mod scrub;
mod soak;
mod spill;
mod upgrade;
