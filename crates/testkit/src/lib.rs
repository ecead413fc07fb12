//! Real servers for tests. Nothing here is mocked: a test that needs an upstream gets a MariaDB server of its own,
//! on a free port with an empty data directory, and the server ends with the test.
//!
//! * [`MariaDb`] is a server; [`MariaDbOptions`] says which one ([`ServerKind`]) and how it is set.
//! * [`Etcd`] keeps keys.
//! * [`Kafka`] is a broker.
//! * [`S3`] is an object store.
//! * [`SqlClient`] is the `mariadb` command line client: it prints the very bytes a user would see, of an upstream and
//!   of Tidelake alike.
//! * [`Process`] is any child process that dies with the test process.
//! * [`TcpProxy`] is a network that can be cut.
//!
//! For tests only: everything here panics with what is wrong and what to do. A component that is missing is a failure,
//! never a skipped test.

mod client;
mod etcd;
mod kafka;
mod kind;
mod mariadb;
mod options;
mod process;
mod proxy;
mod replication;
mod s3;
mod template;

pub use client::SqlClient;
pub use etcd::{Etcd, EtcdCerts};
pub use kafka::Kafka;
pub use kind::{ServerKind, component, obtained};
pub use mariadb::MariaDb;
pub use options::MariaDbOptions;
pub use process::{Process, Signal};
pub use proxy::TcpProxy;
pub use s3::S3;
