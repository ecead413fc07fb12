//! Tidelake as its users meet it: the real binary against real MariaDB servers, over its real listeners.
//!
//! Help: [`tidelake`] is the process, [`load`] keeps transactions coming at the upstream, [`bank`], [`store`] and [`kinds`]
//! are what they do, [`audit`] reads the replica all the time and checks what must hold in every snapshot,
//! [`compare`] compares all contents at a quiet moment. All other modules are scenarios.

mod audit;
mod bank;
mod compare;
mod kinds;
mod load;
mod store;
mod tidb_double;
mod tidelake;

mod bad_input;
mod chaos;
mod clients;
mod crashes;
mod demo;
mod differential;
mod engine;
mod etcd_login;
mod failover;
mod files;
mod fleet;
mod fleet_chaos;
mod freshness;
mod fuzz;
mod histories;
mod interval;
mod jdbc;
mod limits;
mod lost_buffer;
mod magic_api;
mod matrix;
mod mirror;
mod moving;
mod network;
mod processes;
mod schema_changes;
mod security;
mod shutdown;
mod storage;
mod sweep;
mod tidb;
mod tidb_copy;
mod travel;
mod upstream;
mod verify;
mod wishes;
