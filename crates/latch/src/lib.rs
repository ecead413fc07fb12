//! The Latch Service: leases, epochs and the horizon
