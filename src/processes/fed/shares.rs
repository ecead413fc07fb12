//! One Data Buffer for several engines: it lets go of what all of them have.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tidelake_core::ports::{Buffer, BufferReader, TransactionAppender};
use tidelake_core::{CommitSeq, Moment, Result, SourcePosition};
use tokio::sync::watch;

/// What is known of each engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// It needs nothing at or below any more; `None`: it was not heard yet, and may need all there is.
    pub released: Option<CommitSeq>,
    /// It has published everything up to here.
    pub published: CommitSeq,
}

/// Something kept for a chunk of a copy, and the seq that the chunk is at or below.
type Kept = (CommitSeq, Arc<dyn Send + Sync>);

/// The buffer, and who needs what of it.
pub struct Shares {
    buffer: Arc<dyn Buffer>,
    needs: Mutex<Vec<Needs>>,
    kept: Mutex<Vec<Kept>>,
}

impl Shares {
    /// Of this many engines.
    pub fn new(buffer: Arc<dyn Buffer>, engines: usize) -> Arc<Shares> {
        Arc::new(Shares { buffer, needs: Mutex::new(vec![Needs::default(); engines]), kept: Mutex::default() })
    }

    /// An engine's share: what it releases is let go of once the others need it no more either.
    pub fn of(self: &Arc<Shares>, engine: usize) -> Arc<dyn Buffer> {
        Arc::new(Share { shares: self.clone(), engine: Some(engine) })
    }

    /// The copies' share: what they hold for a chunk is kept until every engine has the chunk.
    pub fn of_copies(self: &Arc<Shares>) -> Arc<dyn Buffer> {
        Arc::new(Share { shares: self.clone(), engine: None })
    }

    /// An engine has published up to a seq. From there on its own writer says what it needs.
    pub fn published(&self, engine: usize, seq: CommitSeq) {
        if let Some(needs) = self.needs.lock().get_mut(engine) {
            needs.published = needs.published.max(seq);
        }
        self.let_go();
    }

    /// What each engine needs.
    pub fn needs(&self) -> Vec<Needs> {
        self.needs.lock().clone()
    }

    fn release(&self, engine: usize, durable: CommitSeq) -> Result<()> {
        let all = {
            let mut needs = self.needs.lock();
            if let Some(needs) = needs.get_mut(engine) {
                needs.released = needs.released.max(Some(durable));
            }
            needs.iter().map(|needs| needs.released).min().flatten()
        };
        self.let_go();
        // One that was not heard yet may need everything.
        all.map_or(Ok(()), |all| self.buffer.release(all))
    }

    fn let_go(&self) {
        let published = self.needs.lock().iter().map(|needs| needs.published).min().unwrap_or_default();
        self.kept.lock().retain(|(chunk, _)| *chunk > published);
    }

    /// A copy needs it no more, for chunks that were appended up to now.
    fn keep_for_all(&self, hold: Arc<dyn Send + Sync>) {
        let newest = *self.buffer.head().borrow();
        self.kept.lock().push((newest, hold));
        self.let_go();
    }
}

struct Share {
    shares: Arc<Shares>,
    engine: Option<usize>,
}

/// A copy's hold. Chunks that it is for are in the buffer when it is dropped.
struct CopyHold {
    shares: Weak<Shares>,
    hold: Option<Arc<dyn Send + Sync>>,
}

impl Drop for CopyHold {
    fn drop(&mut self) {
        if let (Some(shares), Some(hold)) = (self.shares.upgrade(), self.hold.take()) {
            shares.keep_for_all(hold);
        }
    }
}

impl Buffer for Share {
    fn begin(&self, id: &str) -> Result<Box<dyn TransactionAppender + '_>> {
        self.shares.buffer.begin(id)
    }

    fn append_control(&self, record: Bytes) -> Result<CommitSeq> {
        self.shares.buffer.append_control(record)
    }

    fn sync(&self) -> Result<CommitSeq> {
        self.shares.buffer.sync()
    }

    fn head(&self) -> watch::Receiver<CommitSeq> {
        self.shares.buffer.head()
    }

    fn read_after(&self, seq: CommitSeq) -> Result<Box<dyn BufferReader>> {
        self.shares.buffer.read_after(seq)
    }

    fn release(&self, durable: CommitSeq) -> Result<()> {
        self.engine.map_or(Ok(()), |engine| self.shares.release(engine, durable))
    }

    fn hold(&self, seq: CommitSeq) -> Arc<dyn Send + Sync> {
        let hold = self.shares.buffer.hold(seq);
        match self.engine {
            Some(_) => hold,
            None => Arc::new(CopyHold { shares: Arc::downgrade(&self.shares), hold: Some(hold) }),
        }
    }

    fn note_read(&self, position: SourcePosition) {
        self.shares.buffer.note_read(position);
    }

    fn read_position(&self) -> watch::Receiver<Option<SourcePosition>> {
        self.shares.buffer.read_position()
    }

    fn seq_covering(&self, position: &SourcePosition) -> Option<CommitSeq> {
        self.shares.buffer.seq_covering(position)
    }

    fn position_of(&self, seq: CommitSeq) -> Option<SourcePosition> {
        self.shares.buffer.position_of(seq)
    }

    fn seq_at(&self, moment: &Moment) -> Result<Option<CommitSeq>> {
        self.shares.buffer.seq_at(moment)
    }

    fn commit_time(&self, seq: CommitSeq) -> Result<Option<i64>> {
        self.shares.buffer.commit_time(seq)
    }

    fn bytes(&self) -> (u64, u64) {
        self.shares.buffer.bytes()
    }
}

#[cfg(test)]
mod tests {
    use tidelake_buffer::{BufferOptions, DiskBuffer};

    use super::*;

    fn shares(dir: &std::path::Path) -> (Arc<DiskBuffer>, Arc<Shares>) {
        // Each record has a segment of its own; the last one stays.
        let options = BufferOptions { segment_bytes: 1, ..BufferOptions::new(dir) };
        let buffer = DiskBuffer::open(options).expect("open");
        for n in 0..10_u8 {
            buffer.append_control(Bytes::from(vec![n])).expect("append");
            buffer.sync().expect("sync");
        }
        (buffer.clone(), Shares::new(buffer, 2))
    }

    fn has(buffer: &DiskBuffer, after: u64) -> bool {
        buffer.read_after(CommitSeq(after)).is_ok()
    }

    #[test]
    fn what_one_engine_lacks_is_kept() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (buffer, shares) = shares(dir.path());
        let (first, second) = (shares.of(0), shares.of(1));
        first.release(CommitSeq(9)).expect("release");
        assert!(has(&buffer, 0), "the second was not heard");
        second.release(CommitSeq(4)).expect("release");
        assert!(has(&buffer, 4) && !has(&buffer, 3));
        second.release(CommitSeq(9)).expect("release");
        assert!(!has(&buffer, 8));
        assert_eq!(shares.needs().iter().map(|n| n.released).min(), Some(Some(CommitSeq(9))));
    }

    #[test]
    fn a_copys_hold_lasts_until_every_engine_has_the_chunk() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (buffer, shares) = shares(dir.path());
        let hold = shares.of_copies().hold(CommitSeq(5));
        let release = || [0, 1].iter().for_each(|&at| shares.of(at).release(CommitSeq(9)).expect("release"));
        release();
        assert!(has(&buffer, 5));
        drop(hold);
        shares.published(0, CommitSeq(10));
        release();
        assert!(has(&buffer, 5), "the second has not got the chunk");
        shares.published(1, CommitSeq(10));
        release();
        assert!(!has(&buffer, 5));
    }
}
