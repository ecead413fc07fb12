//! The port: locking, waiting, syncing and publishing around the [`Log`].

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tidelake_core::ports::{Buffer, BufferReader, TransactionAppender};
use tidelake_core::{CommitSeq, Error, Moment, Result, SourcePosition};
use tokio::sync::watch;

use crate::BufferOptions;
use crate::appender::DiskAppender;
use crate::format::MAX_EVENT_BYTES;
use crate::history::History;
use crate::log::Log;
use crate::lookup;
use crate::mark::ReleasedMark;
use crate::reader::DiskReader;
use crate::recovery::{LOCK_FILE, list_segments, recover};
use crate::segment::file_name;

/// How long a full buffer waits before it syncs and looks again.
const STALL_CHECK: Duration = Duration::from_millis(500);

/// The Data Buffer in a directory of its own.
pub struct DiskBuffer {
    pub(crate) shared: Arc<Shared>,
    limit: u64,
    pub(crate) spill_bytes: usize,
    /// One sync at a time; the others find their work done.
    sync: Mutex<()>,
    /// Released marks are stored in order.
    release: Mutex<()>,
    stalled_us: AtomicU64,
    _lock: File,
}

/// What readers and holds share with the buffer.
pub(crate) struct Shared {
    pub log: Mutex<Log>,
    space: Condvar,
    pub head: watch::Sender<CommitSeq>,
    pub read: watch::Sender<Option<SourcePosition>>,
    /// What is kept of released segments. Never locked while `log` is.
    pub history: Mutex<History>,
    /// Held while both are shown: who read a transaction must not be told that the source has not got there.
    showing: Mutex<()>,
}

impl DiskBuffer {
    /// Opens the log, and recovers it if it was not closed: what was not durable is gone, the rest is verified.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the directory is in use, holds foreign files or is of a newer version;
    /// [`Error::Corrupt`] with file and offset; [`Error::Io`].
    pub fn open(options: BufferOptions) -> Result<Arc<DiskBuffer>> {
        let dir = &options.dir;
        fs::create_dir_all(dir).map_err(|e| Error::io(format!("create {}", dir.display()), e))?;
        let lock = lock_dir(dir)?;
        let log = recover(&options)?;
        let released = &log.released;
        let history = History::load(dir, options.history, released.first_segment, released.seq)?;
        let head = watch::Sender::new(log.last_seq());
        let read = watch::Sender::new(log.tail.read_position().cloned());
        let buffer = DiskBuffer {
            shared: Arc::new(Shared {
                log: Mutex::new(log),
                space: Condvar::new(),
                head,
                read,
                history: Mutex::new(history),
                showing: Mutex::new(()),
            }),
            limit: options.limit_bytes,
            spill_bytes: options.spill_bytes,
            sync: Mutex::new(()),
            release: Mutex::new(()),
            stalled_us: AtomicU64::new(0),
            _lock: lock,
        };
        metrics::gauge!("tidelake_buffer_limit_bytes").set(options.limit_bytes as f64);
        Ok(Arc::new(buffer))
    }

    /// True if a directory holds no log yet.
    ///
    /// # Errors
    /// A directory that cannot be read, or holds foreign files.
    pub fn is_new(dir: &Path) -> Result<bool> {
        Ok(!dir.exists() || (ReleasedMark::load(dir)?.is_none() && list_segments(dir)?.is_empty()))
    }

    /// Lets the log of a new directory begin right after `seq`, at this position of the source: an engine has
    /// everything up to there already. Does nothing to a log that has begun.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn begin_after(dir: &Path, seq: CommitSeq, position: &SourcePosition) -> Result<()> {
        fs::create_dir_all(dir).map_err(|e| Error::io(format!("create {}", dir.display()), e))?;
        let _lock = lock_dir(dir)?;
        if seq == CommitSeq::ZERO || !DiskBuffer::is_new(dir)? {
            return Ok(());
        }
        ReleasedMark::begin_after(seq, position).store(dir)
    }

    /// Ends the buffer's work: waiting and later calls fail with `Closed`. What was committed but not synced is
    /// lost, as after a crash; call `sync` first.
    pub fn close(&self) {
        self.shared.log.lock().poisoned.get_or_insert_with(|| "the buffer was closed".into());
        self.shared.space.notify_all();
    }

    /// Seconds that appending has waited for space since opening.
    #[must_use]
    pub fn stalled_seconds(&self) -> f64 {
        self.stalled_us.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// The log, once there is space.
    fn with_space(&self) -> Result<MutexGuard<'_, Log>> {
        let log = self.shared.log.lock();
        log.check()?;
        if log.pending_bytes() < self.limit {
            return Ok(log);
        }
        drop(log);
        let began = Instant::now();
        let result = self.wait_for_space();
        self.stalled_us.fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        metrics::gauge!("tidelake_buffer_stalled_seconds").set(self.stalled_seconds());
        result
    }

    /// Syncs before it waits: only what is visible can be applied and released.
    fn wait_for_space(&self) -> Result<MutexGuard<'_, Log>> {
        loop {
            self.sync()?;
            let mut log = self.shared.log.lock();
            log.check()?;
            if log.pending_bytes() < self.limit {
                return Ok(log);
            }
            self.shared.space.wait_for(&mut log, STALL_CHECK);
            log.check()?;
            if log.pending_bytes() < self.limit {
                return Ok(log);
            }
        }
    }

    fn report(&self, appended: u64, bytes: u64, synced: Option<Duration>) {
        metrics::counter!("tidelake_buffer_transactions_total").absolute(appended);
        metrics::gauge!("tidelake_buffer_bytes").set(bytes as f64);
        if let Some(took) = synced {
            metrics::histogram!("tidelake_buffer_sync_seconds").record(took.as_secs_f64());
        }
    }

    fn delete_segments(&self, gone: &[u64], mark: &ReleasedMark) -> Result<()> {
        let dir = self.shared.log.lock().dir.clone();
        mark.store(&dir)?;
        for number in gone {
            let path = dir.join(file_name(*number));
            fs::remove_file(&path).map_err(|e| Error::io(format!("remove {}", path.display()), e))?;
        }
        Ok(())
    }
}

fn lock_dir(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| Error::io(format!("open {}", path.display()), e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::Invalid(format!("{} is in use by another Tidelake process", dir.display())))
        }
        Err(TryLockError::Error(e)) => Err(Error::io(format!("lock {}", path.display()), e)),
    }
}

impl Buffer for DiskBuffer {
    fn begin(&self, id: &str) -> Result<Box<dyn TransactionAppender + '_>> {
        if id.len() > u16::MAX.into() {
            return Err(Error::Limit(format!("transaction id of {} bytes", id.len())));
        }
        let mut log = self.with_space()?;
        let known = log.ids.get(id);
        let stream = log.next_stream;
        log.next_stream += 1;
        let spare = std::mem::take(&mut log.spare);
        drop(log);
        Ok(Box::new(DiskAppender::new(self, id, stream, known, spare)))
    }

    fn append_control(&self, record: Bytes) -> Result<CommitSeq> {
        if record.len() > MAX_EVENT_BYTES {
            return Err(Error::Limit(format!("control record of {} bytes", record.len())));
        }
        self.with_space()?.control(&record)
    }

    fn sync(&self) -> Result<CommitSeq> {
        let _one = self.sync.lock();
        let mut log = self.shared.log.lock();
        log.check()?;
        log.write_out()?;
        let dirty = std::mem::take(&mut log.dirty);
        let (file, written, number) = (log.file.clone(), log.written, log.segments.back().map_or(0, |s| s.number));
        let head = log.last_seq();
        let noted = log.noted.clone();
        let read = noted.iter().chain(log.tail.read_position()).max_by(|a, b| a.cmp_order(b)).cloned();
        let (appended, bytes) = (log.appended, log.retained_bytes);
        drop(log);
        let began = Instant::now();
        if dirty {
            let synced = file.sync_data().map_err(|e| Error::io(format!("sync segment {number}"), e));
            let mut log = self.shared.log.lock();
            if let Err(e) = log.guard(synced) {
                self.shared.space.notify_all();
                return Err(e);
            }
            log.note_synced(number, written);
        }
        self.shared.publish(head, read);
        self.report(appended, bytes, dirty.then(|| began.elapsed()));
        Ok(head)
    }

    fn head(&self) -> watch::Receiver<CommitSeq> {
        self.shared.head.subscribe()
    }

    fn read_after(&self, seq: CommitSeq) -> Result<Box<dyn BufferReader>> {
        Ok(Box::new(DiskReader::after(self.shared.clone(), seq)?))
    }

    fn release(&self, durable: CommitSeq) -> Result<()> {
        let _one = self.release.lock();
        let mut log = self.shared.log.lock();
        log.check()?;
        let leaving = log.request_release(durable);
        drop(log);
        // Written before the segments go: who looks something up finds it in one of the two.
        self.shared.history.lock().add(&leaving);
        let mut log = self.shared.log.lock();
        let gone = log.take_released(leaving.last().map_or(0, |s| s.number));
        let mark = log.released.clone();
        drop(log);
        self.shared.space.notify_all();
        if gone.is_empty() {
            return Ok(());
        }
        let deleted = self.delete_segments(&gone, &mark);
        self.shared.log.lock().guard(deleted)
    }

    fn hold(&self, seq: CommitSeq) -> Arc<dyn Send + Sync> {
        *self.shared.log.lock().holds.entry(seq).or_default() += 1;
        Arc::new(Hold { seq, shared: self.shared.clone() })
    }

    fn note_read(&self, position: SourcePosition) {
        let mut log = self.shared.log.lock();
        if log.noted.as_ref().is_none_or(|n| position.covers(n)) {
            log.noted = Some(position);
        }
    }

    fn read_position(&self) -> watch::Receiver<Option<SourcePosition>> {
        self.shared.read.subscribe()
    }

    fn seq_covering(&self, position: &SourcePosition) -> Option<CommitSeq> {
        if !self.shared.has_read(position) {
            return None;
        }
        DiskReader::newest_at(&self.shared, position)
            .inspect_err(|e| tracing::error!(error = %e, %position, "cannot look up a position in the data buffer"))
            .ok()
    }

    fn position_of(&self, seq: CommitSeq) -> Option<SourcePosition> {
        let log = self.shared.log.lock();
        if seq == log.released.seq {
            return Some(log.released.tail.upstream.as_ref().map(|u| u.position.clone()).unwrap_or_default());
        }
        if seq < log.released.seq || seq > *self.shared.head.borrow() {
            return None;
        }
        drop(log);
        DiskReader::records_after(self.shared.clone(), CommitSeq(seq.0 - 1))
            .and_then(|mut reader| reader.next_meta())
            .inspect_err(|e| tracing::error!(error = %e, %seq, "cannot look up a transaction in the data buffer"))
            .ok()?
            .map(|(_, position)| position)
    }

    fn seq_at(&self, moment: &Moment) -> Result<Option<CommitSeq>> {
        lookup::seq_at(&self.shared, moment)
    }

    fn commit_time(&self, seq: CommitSeq) -> Result<Option<i64>> {
        lookup::commit_time(&self.shared, seq)
    }

    fn bytes(&self) -> (u64, u64) {
        (self.shared.log.lock().retained_bytes, self.limit)
    }
}

impl Shared {
    /// Shows readers what is durable.
    fn publish(&self, head: CommitSeq, read: Option<SourcePosition>) {
        let _both = self.showing.lock();
        self.head.send_if_modified(|old| std::mem::replace(old, head.max(*old)) < head);
        self.read.send_if_modified(|old| {
            let Some(read) = read else { return false };
            if old.as_ref().is_some_and(|o| o.covers(&read)) {
                return false;
            }
            *old = Some(read);
            true
        });
    }

    /// True if everything up to the position was read and is shown.
    fn has_read(&self, position: &SourcePosition) -> bool {
        let _both = self.showing.lock();
        self.read.borrow().as_ref().is_some_and(|read| read.covers(position))
    }
}

/// Keeps segments while it lives.
struct Hold {
    seq: CommitSeq,
    shared: Arc<Shared>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut log = self.shared.log.lock();
        if let Some(count) = log.holds.get_mut(&self.seq) {
            *count -= 1;
            if *count == 0 {
                log.holds.remove(&self.seq);
            }
        }
    }
}
