//! TiDB Binlog: what Drainer writes to files (`db-type = "file"`). One record is one whole transaction, in commit order.
//!
//! [`segment`] finds the files and cuts them into checked records, [`message`] is their protobuf, [`datum`] the values in it, and
//! [`DrainerSource`] appends them; [`secondary`] is what Drainer sends to Kafka instead (`db-type = "kafka"`), read by that source. Records become the same items as TiCDC's events, so [`FeedDecoder`] decodes both.
//!
//! [`FeedDecoder`]: crate::ticdc::FeedDecoder

pub mod datum;
pub mod message;
pub mod secondary;
pub mod segment;
mod source;

pub use source::{DrainerOptions, DrainerSource};
