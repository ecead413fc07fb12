//! Which server the stream follows. An address can lead to another server at any time (failover), while connections to
//! the old one live on: what a connection tells counts only if it is to the server that the stream follows.

use std::time::Duration;

use mysql_async::Conn;
use tidelake_core::ports::{Buffer, SourceState};
use tidelake_core::{Error, Result, SourcePosition};

use super::server::UpstreamServer;
use super::{Shared, history};
use crate::mysql::position::BinlogPosition;

/// The server that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Following {
    server: (u32, String),
    /// See [`BinlogPosition::moves`].
    moves: u32,
}

impl Shared {
    /// The stream goes on on this server, after so many moves.
    pub fn follow(&self, server: &UpstreamServer, moves: u32) {
        self.following.send_replace(Some(Following { server: server.identity(), moves }));
    }

    /// Until the stream follows a server.
    pub async fn followed(&self) {
        // the sender is this value's own
        let _ = self.following.subscribe().wait_for(Option::is_some).await;
    }

    /// Waits until the stream follows this server. False: it failed instead, or has followed this one before.
    pub async fn moves_to(&self, server: &UpstreamServer) -> bool {
        const LOOK_EVERY: Duration = Duration::from_millis(20);
        let follows = || self.following.borrow().as_ref().is_some_and(|f| f.server == server.identity());
        if follows() {
            return false;
        }
        loop {
            if follows() {
                return true;
            }
            if self.status.lock().state == SourceState::Failed {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A place that this server told, in the order of all that was followed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it is not the server that is followed.
    pub fn place(&self, server: &UpstreamServer, position: BinlogPosition) -> Result<SourcePosition> {
        match &*self.following.borrow() {
            Some(following) if following.server == server.identity() => {
                Ok(BinlogPosition { moves: following.moves, ..position }.to_source(0))
            }
            Some(_) => Err(self.is_elsewhere()),
            None => Err(Error::Unavailable("the bin log is not read yet".into())),
        }
    }

    /// The same before the stream follows anything: the server must have the known place in its history.
    ///
    /// # Errors
    /// As for [`Shared::place`], and if what is known is no place in a bin log.
    pub fn place_or_known(&self, server: &UpstreamServer, position: BinlogPosition) -> Result<SourcePosition> {
        if self.following.borrow().is_some() {
            return self.place(server, position);
        }
        let known = self.known().map(|known| BinlogPosition::parse(&known)).transpose()?;
        Ok(BinlogPosition { moves: known.map_or(0, |known| known.moves), ..position }.to_source(0))
    }

    /// True if the GTIDs of what was read are known exactly.
    pub fn knows_gtids(&self) -> bool {
        let known = self.known().and_then(|known| BinlogPosition::parse(&known).ok());
        known.is_some_and(|known| known.by != 0)
    }

    /// The upstream's newest position.
    ///
    /// # Errors
    /// As for [`history::read_head`] and [`Shared::place`].
    pub async fn head(&self, conn: &mut Conn, server: &UpstreamServer) -> Result<SourcePosition> {
        let head = history::read_head(&self.connector, conn, server).await?;
        self.place(server, head)
    }

    /// True if a position was told by the server that is followed now.
    pub fn still_follows(&self, position: &SourcePosition) -> bool {
        let moves = BinlogPosition::parse(position).map(|position| position.moves);
        self.following.borrow().as_ref().is_none_or(|following| moves.is_ok_and(|moves| moves == following.moves))
    }

    /// Until everything up to `position` is in the buffer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if another server is followed by then, which may not have everything that was before the
    /// position; [`Error::Closed`] if the buffer is gone.
    pub async fn read_up_to(&self, buffer: &dyn Buffer, position: &SourcePosition) -> Result<()> {
        let mut read = buffer.read_position();
        let there = read.wait_for(|read| read.as_ref().is_some_and(|read| read.covers(position))).await;
        there.map(drop).map_err(|_| Error::Closed("the Data Buffer".into()))?;
        if self.still_follows(position) { Ok(()) } else { Err(self.is_elsewhere()) }
    }

    /// The address leads to another server than the one that is followed. Whoever follows is told to look.
    pub fn is_elsewhere(&self) -> Error {
        self.elsewhere.notify_one();
        let address = self.connector.address();
        Error::Unavailable(format!("{address} leads to another server than the one whose bin log is read"))
    }
}
