//! A Kafka topic of TiCDC as a source: all partitions, without a consumer group.
//!
//! [`log`] is what is asked of Kafka. [`client`] asks it of brokers over [`connection`]s, in the plain encodings that every
//! broker since 0.11 speaks (`wire`, `scram`), and [`batch`] reads what they store. [`resume`] keeps the offsets to resume from,
//! [`options`] reads the URL, and [`KafkaSource`] merges partitions by their watermarks.

pub mod batch;
pub mod client;
pub mod connection;
pub mod log;
pub mod options;
pub mod resume;
mod scram;
mod source;
mod wire;

pub use options::{KafkaOptions, Protocol};
pub use source::KafkaSource;
