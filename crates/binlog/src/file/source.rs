//! The source over a directory of binlog files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidelake_core::ports::{Buffer, Source, SourceState, SourceStatus, TransactionDecoder};
use tidelake_core::{Error, Result, SourcePosition};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::directory::{self, BinlogFile};
use super::reader::{EventReader, MAGIC_BYTES, Next};
use crate::filter::TableFilter;
use crate::mysql::decoder::{BinlogDecoder, DdlInterpreter, UnknownTables};
use crate::mysql::group::{GrouperMode, TransactionGrouper};
use crate::mysql::named;
use crate::mysql::position::BinlogPosition;
use crate::mysql::sink::BufferSink;

/// How long to wait for more data in follow mode.
const POLL: Duration = Duration::from_millis(50);
/// Transactions become visible at least this often while there is more to read.
const SYNC_EVERY: Duration = Duration::from_millis(40);
/// ... and after this many bytes.
const SYNC_BYTES: u64 = 16 << 20;

/// What a [`FileSource`] reads.
#[derive(Clone, Debug)]
pub struct FileSourceOptions {
    /// The directory with the binlog files.
    pub dir: PathBuf,
    /// Which tables are wanted.
    pub filter: TableFilter,
    /// Wait for more at the end of the last file instead of finishing.
    pub follow: bool,
}

/// A source over a directory of binlog files of MySQL or MariaDB (which of both is seen in the files).
pub struct FileSource {
    options: FileSourceOptions,
    interpret: DdlInterpreter,
    progress: Arc<Progress>,
}

/// What the reading thread tells.
struct Progress {
    state: watch::Sender<(SourceState, String)>,
    /// The newest place between transactions.
    position: watch::Sender<SourcePosition>,
    disk_bytes: Arc<AtomicU64>,
    total_bytes: AtomicU64,
    complete: watch::Sender<bool>,
}

impl FileSource {
    /// A source over the directory; it is first looked at when streaming begins.
    #[must_use]
    pub fn new(options: FileSourceOptions) -> FileSource {
        FileSource::with_interpreter(options, crate::ddl::changes)
    }

    /// The same with another reading of DDL.
    #[must_use]
    pub fn with_interpreter(options: FileSourceOptions, interpret: DdlInterpreter) -> FileSource {
        let progress = Progress {
            state: watch::Sender::new((SourceState::Starting, String::new())),
            position: watch::Sender::new(SourcePosition::default()),
            disk_bytes: Arc::default(),
            total_bytes: AtomicU64::new(0),
            complete: watch::Sender::new(true),
        };
        FileSource { options, interpret, progress: Arc::new(progress) }
    }
}

#[async_trait]
impl Source for FileSource {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn has_read(&self, read: &SourcePosition, wanted: &SourcePosition) -> Result<bool> {
        named::has_read(read, wanted)
    }

    async fn stream(
        &self,
        after: Option<SourcePosition>,
        buffer: Arc<dyn Buffer>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let (options, progress, stop) = (self.options.clone(), Arc::clone(&self.progress), cancel.clone());
        let (done, result) = tokio::sync::oneshot::channel();
        // a thread of its own: appending waits as long as the buffer is full
        let thread = std::thread::Builder::new().name("binlog-files".into());
        thread
            .spawn(move || {
                let result = read_all(&options, after.as_ref(), &*buffer, &progress, &stop);
                if let Err(e) = &result {
                    progress.state.send_replace((SourceState::Failed, e.to_string()));
                }
                drop(done.send(result));
            })
            .map_err(|e| Error::io("start the thread that reads binlog files", e))?;
        let result =
            async { result.await.unwrap_or_else(|_| Err(Error::Internal("reading binlog files panicked".into()))) };
        tokio::pin!(result);
        tokio::select! {
            result = &mut result => result,
            // appending may be waiting for a buffer that nobody empties any more
            () = async { cancel.cancelled().await; tokio::time::sleep(Duration::from_secs(2)).await } => Ok(()),
        }
    }

    async fn head(&self) -> Result<SourcePosition> {
        if self.options.follow {
            let files = directory::list(&self.options.dir)?;
            let last = files.last().ok_or_else(|| Error::NotFound("binlog file".into()))?;
            if !last.compressed {
                let position = BinlogPosition { file: last.name.clone(), pos: last.bytes, ..BinlogPosition::default() };
                return Ok(position.to_source(0));
            }
        }
        // where whole transactions end in the last file is known once it was read
        let mut state = self.progress.state.subscribe();
        let ended = state.wait_for(|(s, _)| matches!(s, SourceState::Finished | SourceState::Failed)).await;
        match ended.map(|s| s.clone()) {
            Ok((SourceState::Finished, _)) => Ok(self.progress.position.borrow().clone()),
            Ok((_, reason)) => Err(Error::Unavailable(format!("the binlog files could not be read: {reason}"))),
            Err(_) => Err(Error::Closed("file source".into())),
        }
    }

    fn copy_complete(&self) -> watch::Receiver<bool> {
        self.progress.complete.subscribe()
    }

    fn decoder(&self) -> Box<dyn TransactionDecoder> {
        Box::new(BinlogDecoder::with_interpreter(self.options.filter.clone(), UnknownTables::Stop, self.interpret))
    }

    fn status(&self) -> SourceStatus {
        let (state, reason) = self.progress.state.borrow().clone();
        SourceStatus {
            state,
            reason,
            bytes_read: self.progress.disk_bytes.load(Ordering::Relaxed),
            bytes_total: Some(self.progress.total_bytes.load(Ordering::Relaxed)),
            lag_seconds: 0.0,
        }
    }
}

/// Reads every file after `after`, in order, and in follow mode for ever.
fn read_all(
    options: &FileSourceOptions,
    after: Option<&SourcePosition>,
    buffer: &dyn Buffer,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<()> {
    let grouper = TransactionGrouper::new(GrouperMode::File, after)?;
    let files = directory::list(&options.dir)?;
    let first = first_file(&files, &grouper.read_from(), &options.dir)?;
    progress.total_bytes.store(files[first..].iter().map(|f| f.bytes).sum(), Ordering::Relaxed);
    progress.state.send_replace((SourceState::Streaming, String::new()));
    let mut run = Run {
        options,
        progress,
        cancel,
        buffer,
        from: grouper.read_from(),
        grouper,
        sink: BufferSink::new(buffer),
        synced: Instant::now(),
        unsynced: 0,
    };
    let mut queue = files[first..].to_vec();
    while !queue.is_empty() && !cancel.is_cancelled() {
        let file = queue.remove(0);
        run.file(&file, queue.is_empty())?;
        if queue.is_empty() && options.follow && !cancel.is_cancelled() {
            queue = directory::list(&options.dir)?.into_iter().filter(|f| f.number > file.number).collect();
        }
    }
    run.sync()?;
    if !cancel.is_cancelled() {
        run.finish();
    }
    Ok(())
}

/// The index of the file where reading begins.
fn first_file(files: &[BinlogFile], from: &BinlogPosition, dir: &std::path::Path) -> Result<usize> {
    if from.file.is_empty() {
        return Ok(0);
    }
    files.iter().position(|f| f.name == from.file).ok_or_else(|| {
        let (have, dir) = (&files[0].name, dir.display());
        Error::Invalid(format!("{dir} has no {}, where reading should go on (its first file is {have})", from.file))
    })
}

struct Run<'a> {
    options: &'a FileSourceOptions,
    progress: &'a Progress,
    cancel: &'a CancellationToken,
    buffer: &'a dyn Buffer,
    from: BinlogPosition,
    grouper: TransactionGrouper,
    sink: BufferSink<'a>,
    synced: Instant,
    unsynced: u64,
}

impl Run<'_> {
    fn file(&mut self, file: &BinlogFile, last: bool) -> Result<()> {
        if last {
            self.wait_for_beginning(file)?;
        }
        if self.cancel.is_cancelled() {
            return Ok(());
        }
        let mut reader = EventReader::open(file, &self.progress.disk_bytes)?;
        self.grouper.begin_file(&file.name);
        let mut last = last;
        while !self.cancel.is_cancelled() {
            match reader.advance()? {
                Next::Event => self.event(&mut reader, file)?,
                found if last && self.options.follow && !file.compressed => {
                    self.sync()?;
                    // a newer file closes this one; what was written before it must still be read
                    if found == Next::End && directory::list(&self.options.dir)?.iter().any(|f| f.number > file.number)
                    {
                        last = false;
                        continue;
                    }
                    std::thread::sleep(POLL);
                }
                Next::End => return Ok(()),
                Next::Torn => {
                    let place = format!("{} at offset {}", file.name, reader.offset());
                    return Err(Error::corrupt(place, "the file ends inside an event"));
                }
            }
        }
        Ok(())
    }

    /// In follow mode a new file may be found before anything was written into it.
    fn wait_for_beginning(&self, file: &BinlogFile) -> Result<()> {
        let io = |e| Error::io(format!("look at {}", file.path.display()), e);
        while self.options.follow
            && !file.compressed
            && !self.cancel.is_cancelled()
            && std::fs::metadata(&file.path).map_err(io)?.len() < MAGIC_BYTES
            && directory::list(&self.options.dir)?.iter().all(|f| f.number <= file.number)
        {
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn event(&mut self, reader: &mut EventReader, file: &BinlogFile) -> Result<()> {
        self.grouper.feed(reader.event(), &mut self.sink)?;
        // only the format description is read before the place to go on from
        if file.name == self.from.file && reader.offset() < self.from.pos {
            reader.skip_to(self.from.pos)?;
            self.grouper.seek(self.from.pos);
        }
        self.unsynced += reader.event().len() as u64;
        if self.unsynced >= SYNC_BYTES || (self.grouper.is_outside() && self.synced.elapsed() >= SYNC_EVERY) {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.grouper.note_read(&mut self.sink);
        self.progress.position.send_replace(self.grouper.boundary());
        self.buffer.sync()?;
        self.synced = Instant::now();
        self.unsynced = 0;
        Ok(())
    }

    fn finish(&mut self) {
        let mut reason = String::new();
        if !self.grouper.is_outside() {
            reason = "the last file ends inside a transaction, which is left out".to_owned();
            tracing::warn!(position = %*self.progress.position.borrow(), reason);
        }
        self.progress.state.send_replace((SourceState::Finished, reason));
    }
}
