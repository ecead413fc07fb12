//! The Data Buffer: a durable local log of whole transactions between fetching and applying.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::error::Result;
use crate::moment::Moment;
use crate::position::SourcePosition;
use crate::seq::CommitSeq;

/// The Data Buffer.
///
/// Every seq has a *commit time*: the latest that the upstream's bin log names up to it, so it never goes back along the
/// order of commits. It is 0 where nothing is known, and before the first transaction it is that of this machine's clock at the
/// first control record (the copy's rows are at least as new as that). A time more than a minute ahead of this machine's clock is not
/// believed, and stored as unknown.
///
/// Guarantees:
/// 1. *Durable on return*: when [`TransactionAppender::commit`] or [`Buffer::append_control`] returned and
///    [`Buffer::sync`] returned after it, the transaction survives a crash of process and machine.
/// 2. *Dense*: committed transactions get consecutive seqs, in the order of their commits.
/// 3. *Visible when durable*: readers and [`Buffer::head`] show a transaction only once it is durable. Its position counts
///    as read from then on: [`Buffer::seq_covering`] knows it.
/// 4. *Idempotent*: a transaction whose id is already in the log (or is the last released one) is not appended
///    again; commit returns the seq it has.
/// 5. *Bounded*: appending blocks while retained bytes are at the limit; it never drops anything.
/// 6. *History*: seq, commit time and order of the positions can be looked up for released transactions too, as long as the
///    buffer was told to keep them; also after a restart.
/// 7. *Torn tails heal*: after a crash, what was not durable is gone as if it had never been appended. Damage in
///    the middle is an error that names file and offset.
pub trait Buffer: Send + Sync {
    /// Opens an upstream transaction. Several may be open at once; each is invisible until committed.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) after a failed write.
    fn begin(&self, id: &str) -> Result<Box<dyn TransactionAppender + '_>>;

    /// Appends a control record (`crate::control::encode`) as a transaction of its own. Does not wait for the disk. It is stored
    /// with how far the source had read by then, so that reading can go on from there where nothing else is known.
    ///
    /// # Errors
    /// As for [`Buffer::begin`].
    fn append_control(&self, record: Bytes) -> Result<CommitSeq>;

    /// Makes everything committed so far durable, and lets readers see it. Returns the new head.
    ///
    /// # Errors
    /// A failed fsync poisons the buffer: every later call fails.
    fn sync(&self) -> Result<CommitSeq>;

    /// The newest durable seq; changes wake waiters.
    fn head(&self) -> watch::Receiver<CommitSeq>;

    /// Transactions after `seq`, in order, up to the head at each call of `next`.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) if they were released already.
    fn read_after(&self, seq: CommitSeq) -> Result<Box<dyn BufferReader>>;

    /// Lets go of transactions at or below `durable`, but not of what a hold still needs.
    ///
    /// # Errors
    /// If the log cannot be rewritten.
    fn release(&self, durable: CommitSeq) -> Result<()>;

    /// While the returned value lives, transactions after `seq` are kept.
    fn hold(&self, seq: CommitSeq) -> Arc<dyn Send + Sync>;

    /// The source has read everything before this position (also events that are no transactions). Kept in
    /// memory; survives a restart at the granularity of transactions.
    fn note_read(&self, position: SourcePosition);

    /// The newest position the source has read and made durable; changes wake waiters. `None` before the first.
    fn read_position(&self) -> watch::Receiver<Option<SourcePosition>>;

    /// The newest seq that holds a transaction at or before `position`, once everything up to the position was
    /// read; `None` while the source has not got there. A position before the oldest retained transaction
    /// gives the seq before that one. Waits for a sync that is showing what it made durable: not to be called with a
    /// borrowed value of [`Buffer::head`] or [`Buffer::read_position`] in hand.
    fn seq_covering(&self, position: &SourcePosition) -> Option<CommitSeq>;

    /// The position of a retained transaction, or of the last released one; for control records how far the source
    /// had read before it, the default if it had not begun. `None` if the seq is not here, or cannot be read.
    fn position_of(&self, seq: CommitSeq) -> Option<SourcePosition>;

    /// The newest durable seq that holds nothing that upstream committed after the moment. `None` before what is known.
    /// What upstream committed up to the moment may still be unread: see [`Buffer::read_position`].
    ///
    /// # Errors
    /// If the log or what is kept of it cannot be read.
    fn seq_at(&self, _moment: &Moment) -> Result<Option<CommitSeq>> {
        Ok(None)
    }

    /// The commit time of a seq; `None` if it is not known.
    ///
    /// # Errors
    /// As for [`Buffer::seq_at`].
    fn commit_time(&self, _seq: CommitSeq) -> Result<Option<i64>> {
        Ok(None)
    }

    /// Retained bytes, and the limit.
    fn bytes(&self) -> (u64, u64);
}

/// An open transaction. Dropped without commit, it leaves nothing.
pub trait TransactionAppender: Send {
    /// Adds raw bytes (one event or message). May write to disk: a huge transaction never has to fit in memory.
    ///
    /// # Errors
    /// If the log cannot be written.
    fn push(&mut self, event: &[u8]) -> Result<()>;

    /// Ends the transaction; `position` is right after it. Does not wait for the disk: see [`Buffer::sync`].
    ///
    /// # Errors
    /// If the log cannot be written.
    fn commit(self: Box<Self>, position: SourcePosition) -> Result<CommitSeq>;
}

/// Reads transactions in order. Owned: outlives no file it needs.
pub trait BufferReader: Send {
    /// The next durable transaction; `None` at the head (call again later).
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) with file and offset.
    fn next(&mut self) -> Result<Option<BufferedTransaction>>;
}

/// One transaction read back.
pub struct BufferedTransaction {
    /// Its place in the replica's order.
    pub seq: CommitSeq,
    /// The source's name for it (a GTID); empty for control records.
    pub id: String,
    /// Right after it; for control records how far the source had read before it.
    pub position: SourcePosition,
    /// Bytes of all its events.
    pub bytes: u64,
    /// Its content.
    pub payload: BufferedPayload,
}

/// What a buffered transaction holds.
pub enum BufferedPayload {
    /// The upstream's own events, one item each, read from disk as the iterator moves.
    Events(Box<dyn Iterator<Item = Result<Bytes>> + Send>),
    /// A control record.
    Control(Bytes),
}
