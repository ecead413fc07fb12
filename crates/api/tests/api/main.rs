//! The Magic API over real sockets.

mod conformance;
mod desk;
mod faults;
mod forgetting;
mod guarded;
mod hostile;
mod hub;
mod leases;
mod served;
mod wire;
