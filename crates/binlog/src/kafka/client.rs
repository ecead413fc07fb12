//! A topic on brokers: its leaders, and fetching from all of them at once.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use tidelake_core::{Error, Result};

use super::batch;
use super::connection::Connection;
use super::log::{Message, TopicLog};
use super::options::KafkaOptions;
use super::wire::{In, Out};
use crate::mysql::reader::{Malformed, Parsed};

const FETCH: (i16, i16) = (1, 4);
const LIST_OFFSETS: (i16, i16) = (2, 2);
const METADATA: (i16, i16) = (3, 4);
/// Only what was committed.
const READ_COMMITTED: i8 = 1;
/// Bytes of one answer, about, and of one partition in it.
const FETCH_BYTES: i32 = 16 << 20;
const PARTITION_BYTES: i32 = 4 << 20;
const OFFSET_OUT_OF_RANGE: i16 = 1;

/// A topic.
pub struct KafkaLog {
    options: KafkaOptions,
    brokers: BTreeMap<i32, String>,
    /// By partition.
    leaders: Vec<i32>,
    connections: BTreeMap<i32, Connection>,
    /// What is fetched next, by partition.
    next: Vec<i64>,
    /// Which partition is asked for first. A broker fills its answer in the order of the request, and only the first one with data gets a batch
    /// that is larger than the limits: with a fixed order others could wait for ever.
    turn: usize,
    only: Option<Vec<usize>>,
}

/// One partition of a fetch's answer.
struct Fetched {
    partition: usize,
    error: i16,
    records: Vec<batch::Record>,
    next: i64,
}

impl KafkaLog {
    /// Asks the first broker that answers for the topic.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if none answers, [`Error::Invalid`] if the user is not let in.
    pub async fn connect(options: &KafkaOptions) -> Result<KafkaLog> {
        let mut log = KafkaLog {
            options: options.clone(),
            brokers: BTreeMap::new(),
            leaders: Vec::new(),
            connections: BTreeMap::new(),
            next: Vec::new(),
            turn: 0,
            only: None,
        };
        log.look().await?;
        Ok(log)
    }

    fn damaged(&self, e: Malformed) -> Error {
        e.at(format!("an answer of Kafka about topic {}", self.options.topic))
    }

    /// Brokers and leaders now.
    async fn look(&mut self) -> Result<()> {
        let request = Out::default().array(&[self.options.topic.as_str()], |out, topic| out.text(topic)).i8(0).0;
        if let Some(connection) = self.connections.values_mut().next() {
            let answer = connection.call(METADATA, request, Duration::ZERO).await?;
            return self.learn(&answer);
        }
        let mut last = Error::Unavailable("no broker is given".into());
        for broker in self.options.brokers.clone().split(',') {
            let answer = match Connection::open(broker.trim(), &self.options).await {
                Ok(mut connection) => connection.call(METADATA, request.clone(), Duration::ZERO).await,
                Err(e) => Err(e),
            };
            match answer {
                Ok(answer) => return self.learn(&answer),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn learn(&mut self, answer: &[u8]) -> Result<()> {
        let (brokers, topics) = metadata(answer).map_err(|e| self.damaged(e))?;
        let topic = &self.options.topic;
        let Some((error, partitions)) = topics.into_iter().next() else {
            return Err(Error::NotFound(format!("Kafka topic {topic}")));
        };
        match error {
            0 => {}
            3 => return Err(Error::NotFound(format!("Kafka topic {topic}"))),
            29 => return Err(Error::Invalid(format!("the user may not read Kafka topic {topic}"))),
            code => return Err(Error::Unavailable(format!("Kafka topic {topic}: error {code}"))),
        }
        let mut leaders = vec![-1; partitions.len()];
        for (index, leader) in partitions {
            let slot = usize::try_from(index).ok().and_then(|i| leaders.get_mut(i));
            *slot.ok_or_else(|| self.damaged(Malformed::because("partitions that are not numbered from 0")))? = leader;
        }
        if let Some(without) = leaders.iter().position(|l| *l < 0) {
            return Err(Error::Unavailable(format!("partition {without} of Kafka topic {topic} has no leader")));
        }
        (self.brokers, self.leaders) = (brokers, leaders);
        Ok(())
    }

    async fn connection(&mut self, node: i32) -> Result<&mut Connection> {
        let is_new = !self.connections.contains_key(&node);
        if is_new {
            let broker = self.brokers.get(&node);
            let broker = broker.ok_or_else(|| Error::Unavailable(format!("Kafka's broker {node} is not known")))?;
            let connection = Connection::open(broker, &self.options).await?;
            self.connections.insert(node, connection);
        }
        self.connections.get_mut(&node).ok_or_else(|| Error::Internal("a connection that was just made".into()))
    }

    async fn offset(&mut self, partition: usize, time: i64) -> Result<i64> {
        let topic = self.options.topic.clone();
        let leader = self.leaders.get(partition).copied();
        let leader = leader.ok_or_else(|| Error::Internal(format!("no partition {partition} of {topic}")))?;
        let request = Out::default().i32(-1).i8(READ_COMMITTED).array(&[topic.as_str()], |out, topic| {
            out.text(topic).array(&[partition], |out, p| out.i32(*p as i32).i64(time))
        });
        let answer = self.connection(leader).await?.call(LIST_OFFSETS, request.0, Duration::ZERO).await?;
        match listed(&answer).map_err(|e| self.damaged(e))?.into_iter().next() {
            Some((0, offset)) => Ok(offset),
            Some((code, _)) => Err(Error::Unavailable(format!(
                "offsets of partition {partition} of Kafka topic {topic}: error {code}"
            ))),
            None => Err(Error::Unavailable(format!("no offsets of partition {partition} of Kafka topic {topic}"))),
        }
    }
}

type Brokers = BTreeMap<i32, String>;
/// Error code, and index and leader of each partition.
type Topic = (i16, Vec<(i32, i32)>);

fn metadata(answer: &[u8]) -> Parsed<(Brokers, Vec<Topic>)> {
    let mut r = In::new(answer);
    r.i32()?;
    let brokers = r.array(|r| {
        let (node, host, port) = (r.i32()?, r.text()?.unwrap_or_default().to_owned(), r.i32()?);
        r.text()?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Ok((node, format!("{host}:{port}")))
    })?;
    r.text()?;
    r.i32()?;
    let topics = r.array(|r| {
        let error = r.i16()?;
        r.text()?;
        r.u8()?;
        let partitions = r.array(|r| {
            r.i16()?;
            let place = (r.i32()?, r.i32()?);
            r.array(In::i32)?;
            r.array(In::i32)?;
            Ok(place)
        })?;
        Ok((error, partitions))
    })?;
    Ok((brokers.into_iter().collect(), topics))
}

/// Error code and offset of each partition.
fn listed(answer: &[u8]) -> Parsed<Vec<(i16, i64)>> {
    let mut r = In::new(answer);
    r.i32()?;
    let topics = r.array(|r| {
        r.text()?;
        r.array(|r| {
            r.i32()?;
            let error = r.i16()?;
            r.i64()?;
            Ok((error, r.i64()?))
        })
    })?;
    Ok(topics.into_iter().flatten().collect())
}

fn fetched(answer: &[u8], wanted: &[(usize, i64)]) -> Parsed<Vec<Fetched>> {
    let mut r = In::new(answer);
    r.i32()?;
    let topics = r.array(|r| {
        r.text()?;
        r.array(|r| {
            let index = r.i32()?;
            let error = r.i16()?;
            r.i64()?;
            r.i64()?;
            let aborted = r.array(|r| Ok((r.i64()?, r.i64()?)))?;
            let bytes = r.bytes()?;
            let from = wanted.iter().find(|(p, _)| i64::try_from(*p) == Ok(i64::from(index)));
            let (partition, from) =
                *from.ok_or(Malformed::because("an answer about a partition that nobody asked for"))?;
            let mut records = Vec::new();
            let next = if error == 0 { batch::read(bytes, from, &aborted, &mut records)? } else { from };
            Ok(Fetched { partition, error, records, next })
        })
    })?;
    Ok(topics.into_iter().flatten().collect())
}

async fn fetch(connection: &mut Connection, topic: &str, wanted: &[(usize, i64)], wait: Duration) -> Result<Vec<u8>> {
    let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    let head = Out::default().i32(-1).i32(wait_ms).i32(1).i32(FETCH_BYTES).i8(READ_COMMITTED);
    let request = head.array(&[topic], |out, topic| {
        out.text(topic).array(wanted, |out, (p, offset)| out.i32(*p as i32).i64(*offset).i32(PARTITION_BYTES))
    });
    connection.call(FETCH, request.0, wait).await
}

#[async_trait]
impl TopicLog for KafkaLog {
    async fn partitions(&mut self) -> Result<usize> {
        self.look().await?;
        Ok(self.leaders.len())
    }

    async fn bounds(&mut self, partition: usize) -> Result<(i64, i64)> {
        Ok((self.offset(partition, -2).await?, self.offset(partition, -1).await?))
    }

    async fn start(&mut self, offsets: &[i64]) -> Result<()> {
        self.next = offsets.to_vec();
        self.only = None;
        Ok(())
    }

    async fn read_only(&mut self, partitions: Option<Vec<usize>>) {
        self.only = partitions;
    }

    fn positions(&self) -> Vec<i64> {
        self.next.clone()
    }

    async fn poll(&mut self, wait: Duration) -> Result<Vec<Message>> {
        let mut wanted: BTreeMap<i32, Vec<(usize, i64)>> = BTreeMap::new();
        let count = self.next.len();
        self.turn = self.turn.wrapping_add(1);
        for partition in (0..count).map(|i| (i + self.turn % count) % count) {
            if self.only.as_ref().is_none_or(|only| only.contains(&partition)) {
                let leader = self.leaders.get(partition).copied().unwrap_or(-1);
                wanted.entry(leader).or_default().push((partition, self.next[partition]));
            }
        }
        for node in wanted.keys() {
            self.connection(*node).await?;
        }
        let topic = self.options.topic.clone();
        let (mut asked, mut answers) = (Vec::new(), Vec::new());
        for (node, connection) in &mut self.connections {
            if let Some(wanted) = wanted.get(node) {
                asked.push(wanted);
                answers.push(fetch(connection, &topic, wanted, wait));
            }
        }
        let answers = try_join_all(answers).await?;
        let mut messages = Vec::new();
        for (wanted, answer) in asked.into_iter().zip(answers) {
            for fetched in fetched(&answer, wanted).map_err(|e| self.damaged(e))? {
                let Fetched { partition, error, records, next } = fetched;
                match error {
                    0 => {}
                    OFFSET_OUT_OF_RANGE => {
                        return Err(Error::Invalid(format!(
                            "messages of partition {partition} of topic {topic} from offset {next} are gone before they were read"
                        )));
                    }
                    code => {
                        return Err(Error::Unavailable(format!(
                            "fetch partition {partition} of topic {topic}: error {code}"
                        )));
                    }
                }
                self.next[partition] = next;
                messages.extend(records.into_iter().map(|(offset, key, value)| Message {
                    partition,
                    offset,
                    key,
                    value,
                }));
            }
        }
        Ok(messages)
    }
}
