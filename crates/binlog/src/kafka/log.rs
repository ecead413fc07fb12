//! What is asked of Kafka: one topic, read from given offsets.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidelake_core::Result;

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Which partition.
    pub partition: usize,
    /// Its place there.
    pub offset: i64,
    /// May be empty.
    pub key: Bytes,
    /// May be empty.
    pub value: Bytes,
}

/// One topic. Messages of transactions that were rolled back are never given out.
#[async_trait]
pub trait TopicLog: Send {
    /// How many partitions it has now.
    ///
    /// # Errors
    /// [`Error::NotFound`](tidelake_core::Error::NotFound) without the topic; [`Error::Unavailable`](tidelake_core::Error::Unavailable)
    /// if no broker answers.
    async fn partitions(&mut self) -> Result<usize>;

    /// The offset of the oldest message that is there, and the one behind the newest.
    ///
    /// # Errors
    /// As for [`TopicLog::partitions`].
    async fn bounds(&mut self, partition: usize) -> Result<(i64, i64)>;

    /// Begins to read every partition at its offset.
    ///
    /// # Errors
    /// As for [`TopicLog::partitions`].
    async fn start(&mut self, offsets: &[i64]) -> Result<()>;

    /// Reads only these partitions until told otherwise; `None`: all.
    async fn read_only(&mut self, partitions: Option<Vec<usize>>);

    /// Everything before was given out or is no message, by partition.
    fn positions(&self) -> Vec<i64>;

    /// What has come, or nothing after `wait`. Ascending offsets in each partition; one that is left out is no message.
    ///
    /// # Errors
    /// [`Error::Unavailable`](tidelake_core::Error::Unavailable): open it again and start where it was;
    /// [`Error::Invalid`](tidelake_core::Error::Invalid) or [`Error::Corrupt`](tidelake_core::Error::Corrupt): messages are not there.
    async fn poll(&mut self, wait: Duration) -> Result<Vec<Message>>;
}
