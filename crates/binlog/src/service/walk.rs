//! Walking through files of a server's bin log without keeping anything: which GTID state stands at which place, and where
//! a state stands.

use std::time::Duration;

use tidelake_core::{Error, Result, SourcePosition};

use super::connect::Connector;
use super::server::UpstreamServer;
use super::wire::{DumpRequest, Wire};
use crate::mysql::event::{EventHeader, EventType};
use crate::mysql::group::{GrouperMode, TransactionGrouper, TransactionSink};
use crate::mysql::position::BinlogPosition;

/// Events before which a file has told the GTIDs of the files before it: ROTATE, format, (encryption), GTIDs.
const BEGINNING: usize = 5;

/// Reads the bin log from the beginning of a file on, up to the head.
pub(super) struct Walk {
    wire: Wire,
    grouper: TransactionGrouper,
    /// The last event's header.
    header: Option<EventHeader>,
}

impl Walk {
    /// Begins at a file's beginning.
    ///
    /// # Errors
    /// As for every replication connection.
    pub async fn begin(connector: &Connector, server: &UpstreamServer, file: &str) -> Result<Walk> {
        let beginning = BinlogPosition { file: file.to_owned(), pos: 4, ..BinlogPosition::default() };
        let request = DumpRequest {
            from: &beginning,
            // not the stream's own: a server drops the older one of two replicas of one id
            server_id: super::random_server_id(),
            heartbeat: Duration::from_secs(10),
            to_head_only: true,
            mariadb: server.is_mariadb(),
        };
        let mut wire = connector.connect_replica().await?;
        wire.dump(&request).await?;
        let grouper = TransactionGrouper::new(GrouperMode::Wire, Some(&beginning.to_source(0)))?;
        Ok(Walk { wire, grouper, header: None })
    }

    /// Goes on to the next event; false at the head.
    ///
    /// # Errors
    /// If the connection or the bin log is broken.
    pub async fn step(&mut self) -> Result<bool> {
        let Some(packet) = self.wire.next_event().await? else { return Ok(false) };
        self.grouper.feed(&packet[1..], &mut Nothing)?;
        self.header = EventHeader::parse(&packet[1..]).ok();
        Ok(true)
    }

    /// True between two transactions.
    pub fn is_outside(&self) -> bool {
        self.grouper.is_outside()
    }

    /// Where it is.
    pub fn here(&self) -> BinlogPosition {
        self.grouper.read_from()
    }

    /// The machine itself.
    pub fn grouper(&self) -> &TransactionGrouper {
        &self.grouper
    }

    /// Goes on until the file has told which GTIDs were before it.
    ///
    /// # Errors
    /// If it does not.
    pub async fn read_beginning(&mut self) -> Result<()> {
        for _ in 0..BEGINNING {
            if !self.step().await? {
                break;
            }
            let kind = self.header.map(|header| header.kind);
            if matches!(kind, Some(EventType::PREVIOUS_GTIDS | EventType::MARIADB_GTID_LIST)) {
                return Ok(());
            }
        }
        let file = self.here().file;
        Err(Error::Invalid(format!("{file} does not begin with the GTIDs of the files before it")))
    }
}

/// Takes transactions and forgets them.
struct Nothing;

impl TransactionSink for Nothing {
    fn begin(&mut self, _id: &str) -> Result<()> {
        Ok(())
    }

    fn push(&mut self, _item: &[u8]) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _position: SourcePosition) -> Result<()> {
        Ok(())
    }

    fn abandon(&mut self) {}

    fn hold(&mut self, _xid: &str) {}

    fn unhold(&mut self, _xid: &str) -> bool {
        true
    }

    fn note_read(&mut self, _position: SourcePosition) {}
}
