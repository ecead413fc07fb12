//! From events in commit order to whole transactions in the Data Buffer.

use tidelake_core::ports::{Buffer, TransactionAppender};
use tidelake_core::{CommitSeq, Error, Result};

use super::assembler::{Outlet, hex};
use super::databases::Databases;
use super::place::FeedPlace;
use super::record::{Ddl, HEAD_VERSION, Head, Item};

/// Appends the rows of one commit-ts as one transaction, and each DDL as one of its own. Never calls [`Buffer::sync`].
pub struct FeedAppender<'a> {
    buffer: &'a dyn Buffer,
    head: Vec<u8>,
    offsets: Vec<i64>,
    databases: Databases,
    open: Option<(u64, Box<dyn TransactionAppender + 'a>)>,
    /// Transactions appended so far.
    pub committed: u64,
}

impl<'a> FeedAppender<'a> {
    /// Into `buffer`. `zone` is that of TIMESTAMPs; `exact`: nothing is ever sent twice.
    ///
    /// # Errors
    /// Only if JSON cannot be written.
    pub fn new(buffer: &'a dyn Buffer, zone: &str, exact: bool) -> Result<FeedAppender<'a>> {
        let head = Head { version: HEAD_VERSION, zone: zone.to_owned(), exact };
        let head = serde_json::to_vec(&head).map_err(|e| Error::Internal(format!("encode head: {e}")))?;
        Ok(FeedAppender {
            buffer,
            head,
            offsets: Vec::new(),
            databases: Databases::default(),
            open: None,
            committed: 0,
        })
    }

    /// Positions carry these offsets of a topic's partitions.
    #[must_use]
    pub fn resuming_at(mut self, offsets: Vec<i64>) -> FeedAppender<'a> {
        self.offsets = offsets;
        self
    }

    /// What was told of databases before.
    #[must_use]
    pub fn knowing(mut self, databases: Databases) -> FeedAppender<'a> {
        self.databases = databases;
        self
    }

    /// What was told of databases up to now.
    #[must_use]
    pub fn databases(&self) -> &Databases {
        &self.databases
    }

    fn place(&self, tso: u64, ddl: Vec<String>) -> FeedPlace {
        FeedPlace { ddl, offsets: self.offsets.clone(), databases: self.databases.clone(), ..FeedPlace::at(tso) }
    }

    /// An empty transaction that says that the tables were copied as of this TSO.
    ///
    /// # Errors
    /// If the buffer cannot be written.
    pub fn copied(&self, tso: u64) -> Result<CommitSeq> {
        let place = FeedPlace { databases: self.databases.clone(), ..FeedPlace::copied(tso) };
        self.begin(&format!("tso:{tso}:copied"))?.commit(place.to_source())
    }

    /// Ends the open transaction.
    ///
    /// # Errors
    /// If the buffer cannot be written.
    pub fn close(&mut self) -> Result<()> {
        let Some((ts, open)) = self.open.take() else { return Ok(()) };
        open.commit(self.place(ts, Vec::new()).to_source())?;
        self.committed += 1;
        Ok(())
    }

    fn begin(&self, id: &str) -> Result<Box<dyn TransactionAppender + 'a>> {
        let mut open = self.buffer.begin(id)?;
        open.push(&self.head)?;
        Ok(open)
    }
}

impl Outlet for FeedAppender<'_> {
    fn image(&mut self, commit_ts: u64, copies: u32, image: &[u8]) -> Result<()> {
        if self.open.as_ref().is_some_and(|(ts, _)| *ts != commit_ts) {
            self.close()?;
        }
        if self.open.is_none() {
            self.open = Some((commit_ts, self.begin(&format!("tso:{commit_ts}"))?));
        }
        match &mut self.open {
            Some((_, open)) => open.push(&Item::of_image(copies, image)),
            None => Ok(()),
        }
    }

    fn ddl(&mut self, commit_ts: u64, taken: &[u64], ddl: &[u8]) -> Result<()> {
        self.close()?;
        let hash = taken.last().copied().unwrap_or_default();
        let mut statement: Ddl =
            serde_json::from_slice(ddl).map_err(|e| Error::Internal(format!("decode DDL: {e}")))?;
        self.databases.pass(&mut statement);
        let ddl = serde_json::to_vec(&statement).map_err(|e| Error::Internal(format!("encode DDL: {e}")))?;
        let mut open = self.begin(&format!("tso:{commit_ts}:{hash:016x}"))?;
        open.push(&Item::of_ddl(&ddl))?;
        open.commit(self.place(commit_ts, hex(taken)).to_source())?;
        self.committed += 1;
        Ok(())
    }
}
