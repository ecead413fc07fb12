//! Who may connect to Tidelake, what they may do, and the encryption of what it listens on.
//!
//! A [`Guard`] knows the users; every listener of every process asks it, each in its own protocol's way: MySQL's challenge and response,
//! or the `Authorization` header of HTTP and gRPC. Whoever is let in is a [`Caller`] with [`Rights`]. A [`Door`] is a TCP listener, with TLS
//! if there is a certificate. Users and certificates can be replaced while everything runs.
//!
//! Rooms: `password` what is kept of a password and how one is proven; `rights` what a user may do; `guard` who is let in; `header` the
//! `Authorization` header; `tokens` what is given for a login; `tls` certificates; `door` listening.

mod door;
mod guard;
mod header;
mod password;
mod rights;
mod tls;
mod tokens;

pub use door::{Door, Wire};
pub use guard::{Caller, Guard, LoginAttempt, Refused, User, Verdict};
pub use password::{AuthMethod, PasswordHash, SCRAMBLE_LEN};
pub use rights::{Right, Rights};
pub use tls::{ServerTls, TlsFiles};
