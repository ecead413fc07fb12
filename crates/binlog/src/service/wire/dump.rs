//! The commands of a replica: session variables, registration, the bin log from a place on.

use std::time::Duration;

use mysql_common::packets::ComRegisterSlave;
use mysql_common::proto::MySerialize;
use tidelake_core::{Error, Result};

use super::{EOF, ERR, OK, Wire};
use crate::mysql::position::BinlogPosition;

const COM_QUERY: u8 = 0x03;
const COM_BINLOG_DUMP: u8 = 0x12;
/// Dump flag: end the stream at the head instead of waiting there.
const NON_BLOCK: u16 = 1;
/// Dump flag of MariaDB: leave no ANNOTATE_ROWS out, so that offsets add up.
const ANNOTATE_ROWS: u16 = 2;
/// The server's error for everything that keeps it from sending the bin log.
const FATAL_READ: u16 = 1236;

/// What to ask for.
pub(in crate::service) struct DumpRequest<'a> {
    /// The first event wanted begins here.
    pub from: &'a BinlogPosition,
    /// The id to register under.
    pub server_id: u32,
    /// How often the server sends a heartbeat while nothing happens.
    pub heartbeat: Duration,
    /// End the stream at the head.
    pub to_head_only: bool,
    /// The server is MariaDB.
    pub mariadb: bool,
}

impl Wire {
    /// Turns the connection into a stream of events: [`Wire::next_event`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if the server refuses a replica.
    pub(in crate::service) async fn dump(&mut self, request: &DumpRequest<'_>) -> Result<()> {
        let pos = u32::try_from(request.from.pos).map_err(|_| {
            Error::Invalid(format!("the server cannot be asked for offsets of 4 GiB and more ({})", request.from))
        })?;
        // 'ALL' would do for MySQL only; a server that knows no checksums ignores the variable
        let heartbeat = request.heartbeat.as_nanos();
        self.query(&format!(
            "SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, @source_binlog_checksum = @@GLOBAL.binlog_checksum, \
             @mariadb_slave_capability = 4, @master_heartbeat_period = {heartbeat}, \
             @source_heartbeat_period = {heartbeat}, SESSION net_write_timeout = 3600"
        ))
        .await?;
        let mut register = Vec::new();
        ComRegisterSlave::new(request.server_id).with_hostname(&b"tidelake"[..]).serialize(&mut register);
        self.command(&register).await?;
        self.expect_ok("register as a replica").await?;
        let mut flags = if request.mariadb { ANNOTATE_ROWS } else { 0 };
        if request.to_head_only {
            flags |= NON_BLOCK;
        }
        let mut command = vec![COM_BINLOG_DUMP];
        command.extend_from_slice(&pos.to_le_bytes());
        command.extend_from_slice(&flags.to_le_bytes());
        command.extend_from_slice(&request.server_id.to_le_bytes());
        command.extend_from_slice(request.from.file.as_bytes());
        self.command(&command).await
    }

    async fn query(&mut self, sql: &str) -> Result<()> {
        let mut command = vec![COM_QUERY];
        command.extend_from_slice(sql.as_bytes());
        self.command(&command).await?;
        self.expect_ok("set up the replication session").await
    }

    /// The next event's packet: the event begins behind its first byte. `None`: the server ended the stream.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is lost; [`Error::Invalid`] if the server cannot go on, for example because
    /// files were purged.
    pub(in crate::service) async fn next_event(&mut self) -> Result<Option<Vec<u8>>> {
        let packet = self.read_packet().await?;
        match packet.first() {
            Some(&OK) => Ok(Some(packet)),
            Some(&EOF) if packet.len() < 9 => Ok(None),
            Some(&ERR) if packet.get(1..3) == Some(&FATAL_READ.to_le_bytes()[..]) => {
                let reason = self.refused("read the bin log", &packet);
                Err(Error::Invalid(format!(
                    "{reason}. If its binlog files were purged or reset, stop Tidelake, move its data directory away and \
                     start again, so that the tables are copied anew"
                )))
            }
            Some(&ERR) => Err(self.refused("read the bin log", &packet)),
            _ => Err(self.garbled("a packet in the bin log stream that is no event")),
        }
    }
}
