//! The Magic API over real sockets.

mod conformance;
mod desk;
mod faults;
mod guarded;
mod hostile;
mod hub;
mod leases;
mod served;
mod wire;
