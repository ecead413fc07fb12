//! Packets on a socket: framed by three bytes of length and one of sequence, split at 16 MiB, bounded, buffered.
//!
//! Every read can be cancelled between two polls without loss: what arrived stays in the channel.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::session::SqlError;

use super::constants::error;

/// Anything bytes go through: a socket, or TLS over one.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

const MAX_CHUNK: usize = 0xff_ffff;
const HEADER: usize = 4;
/// Bytes collected before they are sent.
const FLUSH_AT: usize = 64 << 10;
/// Bytes read ahead of the packet at hand.
const READ_AHEAD: usize = 16 << 10;

/// Why a connection cannot go on.
#[derive(Debug)]
pub(super) enum ChannelError {
    /// The client went away, or took nothing in time.
    Gone(std::io::Error),
    /// The client broke the protocol: tell it, then close.
    Refused(SqlError),
}

impl From<std::io::Error> for ChannelError {
    fn from(e: std::io::Error) -> Self {
        ChannelError::Gone(e)
    }
}

/// One client's packets, in and out.
pub(super) struct Channel {
    reader: ReadHalf<Box<dyn Transport>>,
    writer: WriteHalf<Box<dyn Transport>>,
    inbox: BytesMut,
    /// Chunks already taken of a packet of several.
    joined: Vec<u8>,
    outbox: Vec<u8>,
    sequence: u8,
    /// Largest packet in bytes.
    limit: usize,
    write_timeout: Duration,
    /// False during the handshake: bytes after the packet may belong to TLS.
    read_ahead: bool,
}

impl Channel {
    pub(super) fn new(transport: Box<dyn Transport>, limit: usize, write_timeout: Duration) -> Channel {
        let (reader, writer) = tokio::io::split(transport);
        Channel {
            reader,
            writer,
            inbox: BytesMut::new(),
            joined: Vec::new(),
            outbox: Vec::new(),
            sequence: 0,
            limit,
            write_timeout,
            read_ahead: false,
        }
    }

    /// From now on packets up to `limit` bytes are taken, and the socket is read ahead.
    pub(super) fn end_handshake(&mut self, limit: usize) {
        self.limit = limit;
        self.read_ahead = true;
    }

    /// The socket below, to wrap it; nothing may be buffered. The sequence goes on.
    pub(super) fn replace_transport(self, transport: Box<dyn Transport>) -> Channel {
        Channel { sequence: self.sequence, ..Channel::new(transport, self.limit, self.write_timeout) }
    }

    /// Takes the socket out, leaving one that is closed.
    pub(super) fn take_transport(&mut self) -> Box<dyn Transport> {
        let (reader, writer) = tokio::io::split(Box::new(tokio::io::empty()) as Box<dyn Transport>);
        let reader = std::mem::replace(&mut self.reader, reader);
        let writer = std::mem::replace(&mut self.writer, writer);
        reader.unsplit(writer)
    }

    /// Waits for the first packet of a command; `None` if the client closed the connection between commands.
    pub(super) async fn next_command(&mut self) -> Result<Option<Vec<u8>>, ChannelError> {
        if self.joined.is_empty() {
            self.sequence = 0;
        }
        self.next_packet().await
    }

    /// Waits for the next packet of an exchange; `None` if the client closed the connection before it.
    pub(super) async fn next_packet(&mut self) -> Result<Option<Vec<u8>>, ChannelError> {
        loop {
            if let Some(packet) = self.take_packet()? {
                return Ok(Some(packet));
            }
            if self.fill().await? == 0 {
                if self.inbox.is_empty() && self.joined.is_empty() {
                    return Ok(None);
                }
                return Err(ChannelError::Gone(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Takes one whole packet out of what has arrived.
    fn take_packet(&mut self) -> Result<Option<Vec<u8>>, ChannelError> {
        loop {
            let [a, b, c, sequence, ..] = *self.inbox else { return Ok(None) };
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            if sequence != self.sequence {
                return Err(refused(error::OUT_OF_ORDER, "Got packets out of order".to_owned()));
            }
            if self.joined.len() + length > self.limit {
                let message = format!(
                    "Got a packet bigger than 'max_allowed_packet' bytes ({}); raise it in the configuration",
                    self.limit
                );
                self.sequence = self.sequence.wrapping_add(1);
                return Err(refused(error::PACKET_TOO_LARGE, message));
            }
            if self.inbox.len() < HEADER + length {
                return Ok(None);
            }
            self.inbox.advance(HEADER);
            self.joined.extend_from_slice(&self.inbox.split_to(length));
            self.sequence = self.sequence.wrapping_add(1);
            if length < MAX_CHUNK {
                return Ok(Some(std::mem::take(&mut self.joined)));
            }
        }
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        if self.read_ahead {
            self.inbox.reserve(READ_AHEAD);
            return self.reader.read_buf(&mut self.inbox).await;
        }
        let whole = match *self.inbox {
            [a, b, c, _, ..] => HEADER + u32::from_le_bytes([a, b, c, 0]) as usize,
            _ => HEADER,
        };
        let missing = whole - self.inbox.len();
        (&mut self.reader).take(missing as u64).read_buf(&mut self.inbox).await
    }

    /// Ends when the client went away. Commands sent ahead are kept, up to a bound.
    pub(super) async fn client_gone(&mut self) {
        loop {
            if self.inbox.len() >= READ_AHEAD {
                return std::future::pending().await;
            }
            self.inbox.reserve(READ_AHEAD);
            match self.reader.read_buf(&mut self.inbox).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Appends one packet whose payload is what `write` appends. On an error nothing is sent of it.
    pub(super) fn put<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.outbox.len();
        self.outbox.extend_from_slice(&[0; HEADER]);
        if let Err(e) = write(&mut self.outbox) {
            self.outbox.truncate(start);
            return Err(e);
        }
        let length = self.outbox.len() - start - HEADER;
        if length >= MAX_CHUNK {
            self.split(start);
            return Ok(());
        }
        self.write_header(start, length);
        Ok(())
    }

    /// Appends one packet.
    pub(super) fn put_bytes(&mut self, payload: &[u8]) {
        let written: Result<(), std::convert::Infallible> = self.put(|out| {
            out.extend_from_slice(payload);
            Ok(())
        });
        match written {
            Ok(()) => {}
        }
    }

    fn write_header(&mut self, at: usize, length: usize) {
        self.outbox[at..at + 3].copy_from_slice(&(length as u32).to_le_bytes()[..3]);
        self.outbox[at + 3] = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Splits the packet at the end of the outbox into chunks; a short (even empty) one ends it.
    fn split(&mut self, start: usize) {
        let payload = self.outbox.split_off(start + HEADER);
        self.outbox.truncate(start);
        let mut rest = payload.as_slice();
        loop {
            let chunk = &rest[..rest.len().min(MAX_CHUNK)];
            rest = &rest[chunk.len()..];
            let at = self.outbox.len();
            self.outbox.extend_from_slice(&[0; HEADER]);
            self.outbox.extend_from_slice(chunk);
            self.write_header(at, chunk.len());
            if chunk.len() < MAX_CHUNK {
                return;
            }
        }
    }

    /// Sends if enough has been collected.
    pub(super) async fn flush_if_full(&mut self) -> Result<(), ChannelError> {
        if self.outbox.len() < FLUSH_AT {
            return Ok(());
        }
        self.flush().await
    }

    /// Sends everything collected; waits while the client takes nothing.
    pub(super) async fn flush(&mut self) -> Result<(), ChannelError> {
        let mut sent = 0;
        while sent < self.outbox.len() {
            let write = self.writer.write(&self.outbox[sent..]);
            let written = tokio::time::timeout(self.write_timeout, write)
                .await
                .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
            if written == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into());
            }
            sent += written;
        }
        self.outbox.clear();
        self.outbox.shrink_to(2 * FLUSH_AT);
        Ok(self.writer.flush().await?)
    }

    /// Sends what is left and closes; errors do not matter any more. What the client still sends is taken for a
    /// moment: closing on unread bytes would reset the connection, and the client would lose our last words.
    pub(super) async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), async {
            let _ = self.flush().await;
            let _ = self.writer.shutdown().await;
            loop {
                self.inbox.clear();
                if !matches!(self.reader.read_buf(&mut self.inbox).await, Ok(1..)) {
                    return;
                }
            }
        })
        .await;
    }
}

fn refused((code, state): (u16, &'static str), message: String) -> ChannelError {
    ChannelError::Refused(SqlError::new(code, state, message))
}
