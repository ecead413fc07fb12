//! The replication connection: a MySQL connection of Tidelake's own, because events must arrive as the server sent
//! them, every one of them.
//!
//! The client library asks MariaDB to leave out ANNOTATE_ROWS events, which shifts positions wherever the server does
//! not tell them, and takes events apart before it hands them over. Here a packet's payload *is* the event. Rooms:
//! [`login`] handshake and authentication, [`tls`], [`dump`] the commands of a replica.

mod dump;
mod login;
mod tls;

use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::ErrPacket;
use tidelake_core::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

pub(super) use dump::DumpRequest;
pub(super) use login::connect;

/// Anything that carries packets: TCP, or TLS over it.
trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// Payloads of this length go on in the next packet.
const FULL_PACKET: usize = 0xff_ffff;
/// Largest payload taken: an event of MySQL's own limit of 1 GiB, and its packet's first byte.
const MAX_PAYLOAD: usize = (1 << 30) + 1;
/// Bytes read from the socket at once.
const READ_AHEAD: usize = 256 << 10;
/// First byte of a packet that says OK, or that holds an event.
const OK: u8 = 0;
/// First byte of a packet that ends a stream.
const EOF: u8 = 0xfe;
/// First byte of a packet with an error.
const ERR: u8 = 0xff;

/// An authenticated connection.
pub(super) struct Wire {
    stream: BufReader<Box<dyn Transport>>,
    /// Number of the next packet within its command.
    sequence: u8,
    /// The upstream, for messages.
    address: String,
}

impl Wire {
    fn new(stream: Box<dyn Transport>, address: String) -> Wire {
        Wire { stream: BufReader::with_capacity(READ_AHEAD, stream), sequence: 0, address }
    }

    fn lost(&self, error: &std::io::Error) -> Error {
        Error::Unavailable(format!("connection to {} lost: {error}", self.address))
    }

    fn garbled(&self, what: impl std::fmt::Display) -> Error {
        Error::corrupt(format!("connection to {}", self.address), what.to_string())
    }

    /// Reads one payload, however many packets it takes.
    async fn read_packet(&mut self) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; 4];
            self.stream.read_exact(&mut header).await.map_err(|e| self.lost(&e))?;
            let length = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
            if header[3] != self.sequence {
                return Err(self.garbled(format!("packet {} where {} was due", header[3], self.sequence)));
            }
            self.sequence = self.sequence.wrapping_add(1);
            let begin = payload.len();
            if begin + length > MAX_PAYLOAD {
                return Err(self.garbled("packet of more than 1 GiB"));
            }
            payload.resize(begin + length, 0);
            self.stream.read_exact(&mut payload[begin..]).await.map_err(|e| self.lost(&e))?;
            if length < FULL_PACKET {
                return Ok(payload);
            }
        }
    }

    /// Writes one payload; all that Tidelake sends fits in one packet.
    async fn write_packet(&mut self, payload: &[u8]) -> Result<()> {
        let length = u32::try_from(payload.len()).ok().filter(|l| (*l as usize) < FULL_PACKET);
        let length = length.ok_or_else(|| Error::Internal("command of 16 MiB to the upstream".into()))?;
        let mut packet = Vec::with_capacity(payload.len() + 4);
        packet.extend_from_slice(&length.to_le_bytes()[..3]);
        packet.push(self.sequence);
        packet.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&packet).await.map_err(|e| self.lost(&e))?;
        self.stream.flush().await.map_err(|e| self.lost(&e))
    }

    /// Sends a command.
    async fn command(&mut self, payload: &[u8]) -> Result<()> {
        self.sequence = 0;
        self.write_packet(payload).await
    }

    /// Reads the answer of a command that answers with OK.
    async fn expect_ok(&mut self, doing: &str) -> Result<()> {
        let packet = self.read_packet().await?;
        match packet.first() {
            Some(&OK) => Ok(()),
            Some(&ERR) => Err(self.refused(doing, &packet)),
            _ => Err(self.garbled(format!("no answer to the wish to {doing}"))),
        }
    }

    /// The error in a packet, and what it means to the caller.
    fn refused(&self, doing: &str, packet: &[u8]) -> Error {
        match ParseBuf(packet).parse::<ErrPacket<'_>>(CapabilityFlags::CLIENT_PROTOCOL_41) {
            Ok(ErrPacket::Error(e)) => {
                let code = e.error_code();
                let text = format!("{doing} at {}: server error {code}: {}", self.address, e.message_str());
                if super::connect::is_passing(code) { Error::Unavailable(text) } else { Error::Invalid(text) }
            }
            _ => self.garbled(format!("broken error packet after the wish to {doing}")),
        }
    }
}
