//! The source over a topic.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tidelake_core::ports::{Buffer, Source, SourceState, SourceStatus, TransactionDecoder};
use tidelake_core::{Error, Result, SourcePosition};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::KafkaLog;
use super::log::{Message, TopicLog};
use super::options::{KafkaOptions, Protocol};
use super::resume::Offsets;
use crate::mysql::decoder::UnknownTables;
use crate::ticdc::append::FeedAppender;
use crate::ticdc::databases::Databases;
use crate::ticdc::partitions::Watermarks;
use crate::ticdc::place::FeedPlace;
use crate::ticdc::progress::{FeedProgress, StallWatch};
use crate::ticdc::record::Event;
use crate::ticdc::{Assembler, FeedDecoder, canal, open, simple};
use crate::tidb_binlog::secondary;

/// How long a poll waits for messages.
const POLL: Duration = Duration::from_millis(100);
/// Bytes of events in memory; more go to disk.
const MEMORY: usize = 64 << 20;
/// Bytes of events on disk after which only the partitions that hold the others back are read.
const DISK: u64 = 4 << 30;
/// How often new partitions are looked for at least.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Pause between tries to connect, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// See the module.
pub struct KafkaSource {
    options: Arc<KafkaOptions>,
    progress: Arc<FeedProgress>,
    /// The offsets read up to, for [`Source::head`].
    read: Arc<Mutex<Vec<i64>>>,
    asking: tokio::sync::Mutex<Option<KafkaLog>>,
}

impl KafkaSource {
    /// A source over the topic; it is first looked at when streaming begins.
    #[must_use]
    pub fn new(options: KafkaOptions) -> KafkaSource {
        KafkaSource {
            options: Arc::new(options),
            progress: Arc::default(),
            read: Arc::default(),
            asking: tokio::sync::Mutex::new(None),
        }
    }

    /// The offset behind the newest message of each partition.
    async fn ends(&self) -> Result<Vec<i64>> {
        let mut asking = self.asking.lock().await;
        // a connection that failed once is not used again
        let mut log = match asking.take() {
            Some(log) => log,
            None => KafkaLog::connect(&self.options).await?,
        };
        let mut ends = Vec::new();
        for partition in 0..log.partitions().await? {
            ends.push(log.bounds(partition).await?.1);
        }
        *asking = Some(log);
        Ok(ends)
    }
}

#[async_trait]
impl Source for KafkaSource {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    async fn stream(
        &self,
        after: Option<SourcePosition>,
        buffer: Arc<dyn Buffer>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let after = after.as_ref().map(FeedPlace::parse).transpose()?;
        let (options, progress, read) = (self.options.clone(), self.progress.clone(), self.read.clone());
        let (stop, runtime) = (cancel.clone(), tokio::runtime::Handle::current());
        let run = move || {
            let mut run = Run::new(&options, &progress, &*buffer, &read, after)?;
            runtime.block_on(run.run(&stop))
        };
        self.progress.run("kafka", &cancel, run).await
    }

    /// The watermark that holds once everything is read that is in the topic now.
    async fn head(&self) -> Result<SourcePosition> {
        let ends = self.ends().await?;
        loop {
            let status = self.progress.status();
            if status.state == SourceState::Failed {
                return Err(Error::Unavailable(format!("the topic could not be read: {}", status.reason)));
            }
            let there = {
                let read = self.read.lock();
                read.len() >= ends.len() && read.iter().zip(&ends).all(|(read, end)| read >= end)
            };
            if there {
                return Ok(self.progress.position());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn copy_complete(&self) -> watch::Receiver<bool> {
        self.progress.complete()
    }

    fn decoder(&self) -> Box<dyn TransactionDecoder> {
        Box::new(FeedDecoder::new(self.options.filter.clone(), UnknownTables::Stop))
    }

    fn status(&self) -> SourceStatus {
        self.progress.status()
    }
}

/// One run over the topic; connections come and go, what was read stays.
struct Run<'a> {
    options: &'a KafkaOptions,
    progress: &'a FeedProgress,
    buffer: &'a dyn Buffer,
    read: &'a Mutex<Vec<i64>>,
    assembler: Assembler,
    databases: Databases,
    watermarks: Watermarks,
    offsets: Vec<Offsets>,
    /// The offsets that positions carry now.
    resume: Vec<i64>,
    fresh: bool,
    throttled: bool,
    stall: StallWatch,
}

impl<'a> Run<'a> {
    fn new(
        options: &'a KafkaOptions,
        progress: &'a FeedProgress,
        buffer: &'a dyn Buffer,
        read: &'a Mutex<Vec<i64>>,
        after: Option<FeedPlace>,
    ) -> Result<Run<'a>> {
        let assembler = Assembler::new(&options.scratch, MEMORY, after.as_ref())?;
        let resume = after.as_ref().map(|place| place.offsets.clone()).unwrap_or_default();
        let databases = after.as_ref().map(|place| place.databases.clone()).unwrap_or_default();
        if let Some(after) = &after {
            progress.reached(after);
        }
        let offsets = resume.iter().map(|o| Offsets::at(*o)).collect();
        let watermarks = Watermarks::new(resume.len());
        let (fresh, throttled, stall) = (after.is_none(), false, StallWatch::default());
        Ok(Run {
            options,
            progress,
            buffer,
            read,
            assembler,
            databases,
            watermarks,
            offsets,
            resume,
            fresh,
            throttled,
            stall,
        })
    }

    async fn run(&mut self, cancel: &CancellationToken) -> Result<()> {
        let mut pause = BACKOFF.0;
        while !cancel.is_cancelled() {
            let before = self.assembler.floor();
            match self.connected(cancel).await {
                Err(e @ (Error::Unavailable(_) | Error::Timeout(_))) => {
                    tracing::warn!(error = %e, "Kafka is lost, trying again");
                    self.progress.set(SourceState::Reconnecting, e.to_string());
                }
                Err(e @ Error::NotFound(_)) if self.fresh => {
                    self.progress.set(SourceState::Reconnecting, format!("{e} yet"));
                }
                result => result?,
            }
            pause = if self.assembler.floor() > before { BACKOFF.0 } else { (pause * 2).min(BACKOFF.1) };
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }

    /// Reads until cancelled (`Ok`), until there are more partitions (`Ok`), or until the connection fails.
    async fn connected(&mut self, cancel: &CancellationToken) -> Result<()> {
        let mut log = KafkaLog::connect(self.options).await?;
        let partitions = log.partitions().await?;
        self.begin(&mut log, partitions).await?;
        self.progress.set(SourceState::Streaming, "");
        let mut looked = Instant::now();
        while !cancel.is_cancelled() {
            let messages = log.poll(POLL).await?;
            let had = !messages.is_empty();
            for message in &messages {
                self.message(message)?;
            }
            let covers_more = self.watermarks.least() > self.assembler.floor();
            if covers_more || looked.elapsed() > LOOK_EVERY {
                // the order matters: what these watermarks cover lies in partitions that were there before they came
                looked = Instant::now();
                if log.partitions().await? != partitions {
                    return Ok(());
                }
            }
            if had || covers_more {
                self.release()?;
            }
            *self.read.lock() = log.positions();
            self.throttle(&mut log).await;
            let reason = self.stalled();
            self.progress.set(SourceState::Streaming, reason);
        }
        Ok(())
    }

    /// Checks that nothing is missing, and begins at the expected offsets.
    async fn begin(&mut self, log: &mut dyn TopicLog, partitions: usize) -> Result<()> {
        let topic = &self.options.topic;
        if partitions < self.offsets.len() {
            let had = self.offsets.len();
            return Err(Error::Invalid(format!(
                "topic {topic} has {partitions} partitions, it had {had}: it is another topic"
            )));
        }
        // a new partition is read from its beginning
        self.offsets.resize_with(partitions, Offsets::default);
        self.resume.resize(partitions, 0);
        self.watermarks.grow(partitions);
        for (partition, offsets) in self.offsets.iter().enumerate() {
            let (low, high) = log.bounds(partition).await?;
            let next = offsets.next;
            if low > next {
                return Err(Error::Invalid(format!(
                    "partition {partition} of topic {topic} begins at offset {low}, reading goes on at {next}: messages were removed before they were read (retention), begin a new changefeed and replica"
                )));
            }
            if next > high {
                return Err(Error::Invalid(format!(
                    "partition {partition} of topic {topic} ends at offset {high}, reading goes on at {next}: it is another topic of that name"
                )));
            }
        }
        let next: Vec<i64> = self.offsets.iter().map(|o| o.next).collect();
        log.start(&next).await?;
        self.throttled = false;
        *self.read.lock() = next;
        Ok(())
    }

    fn message(&mut self, message: &Message) -> Result<()> {
        let partition = message.partition;
        let Some(next) = self.offsets.get(partition).map(|o| o.next) else {
            return Err(Error::Internal(format!("a message of partition {partition}")));
        };
        if message.offset < next {
            return Ok(());
        }
        let mut events = Vec::new();
        let filter = &self.options.filter;
        let parsed = match self.options.protocol {
            Protocol::Simple => simple::parse(&message.value, filter, &mut events),
            Protocol::CanalJson => canal::parse(&message.value, filter, &mut events),
            Protocol::Open => open::parse(&message.key, &message.value, filter, &mut events),
            Protocol::Drainer => secondary::parse(&message.value, filter, &mut events),
        };
        let place = || format!("partition {partition} of topic {} at offset {}", self.options.topic, message.offset);
        parsed.map_err(|e| e.at(place()))?;
        if self.options.protocol == Protocol::Drainer {
            secondary::leave_out_repeated(&mut events, self.watermarks.of(partition));
        }
        for event in &events {
            match event {
                // one partition has everything, in commit order, however many the topic has
                Event::Watermark(ts) if self.options.protocol == Protocol::Drainer => {
                    (0..self.offsets.len()).for_each(|partition| self.watermarks.advance(partition, *ts));
                }
                Event::Watermark(ts) => self.watermarks.advance(partition, *ts),
                _ => {}
            }
            self.assembler.push(event)?;
        }
        self.offsets[partition].read(message.offset, &events);
        let bytes = (message.key.len() + message.value.len()) as u64;
        self.progress.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn release(&mut self) -> Result<()> {
        let exact = self.options.protocol == Protocol::Drainer;
        let appender = FeedAppender::new(self.buffer, &self.options.zone, exact)?.resuming_at(self.resume.clone());
        let mut appender = appender.knowing(self.databases.clone());
        self.assembler.release(self.watermarks.least(), &mut appender)?;
        appender.close()?;
        self.databases = appender.databases().clone();
        let floor = self.assembler.floor();
        self.resume = self.offsets.iter_mut().map(|o| o.resume(floor)).collect();
        if floor > 0 {
            let (offsets, databases) = (self.resume.clone(), self.databases.clone());
            let place = FeedPlace { offsets, databases, ..self.assembler.place() };
            self.buffer.note_read(place.to_source());
            self.buffer.sync()?;
            self.progress.reached(&place);
            self.fresh = false;
        }
        Ok(())
    }

    /// While too much waits on disk, only partitions that hold the others back are read.
    async fn throttle(&mut self, log: &mut dyn TopicLog) {
        let full = self.assembler.held().disk_bytes > DISK;
        if full {
            let least = self.watermarks.least();
            let slow = (0..self.offsets.len()).filter(|p| self.watermarks.of(*p) == least).collect();
            log.read_only(Some(slow)).await;
        } else if self.throttled {
            log.read_only(None).await;
        }
        self.throttled = full;
    }

    fn stalled(&mut self) -> String {
        let reason = self.stall.look(self.watermarks.least(), self.assembler.held());
        if reason.is_empty() {
            return reason;
        }
        format!("{reason}; partition {} has the oldest watermark", self.watermarks.slowest())
    }
}
