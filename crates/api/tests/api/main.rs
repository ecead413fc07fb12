//! The Magic API over real sockets.

#![allow(clippy::disallowed_methods, reason = "real time passes in these tests")]

mod conformance;
mod desk;
mod faults;
mod forgetting;
mod guarded;
mod hostile;
mod hub;
mod leases;
mod offered;
mod served;
mod wire;
