//! The source over a directory of Drainer's files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use prost::Message;
use tidelake_core::ports::{Buffer, Source, SourceState, SourceStatus, TransactionDecoder};
use tidelake_core::{Error, Result, SourcePosition};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::message::{Binlog, Record};
use super::segment::{self, Next, RecordReader, Segment};
use crate::filter::TableFilter;
use crate::mysql::decoder::UnknownTables;
use crate::ticdc::FeedDecoder;
use crate::ticdc::append::FeedAppender;
use crate::ticdc::assembler::Outlet;
use crate::ticdc::place::{FeedPlace, ddl_hash};
use crate::ticdc::progress::FeedProgress;
use crate::ticdc::zone::Zone;

/// How long to wait for more data in follow mode.
const POLL: Duration = Duration::from_millis(50);
/// Transactions become visible at least this often while there is more to read.
const SYNC_EVERY: Duration = Duration::from_millis(40);
/// ... and after this many bytes.
const SYNC_BYTES: u64 = 16 << 20;

/// What a [`DrainerSource`] reads.
#[derive(Clone, Debug)]
pub struct DrainerOptions {
    /// The directory with the files.
    pub dir: PathBuf,
    /// Which tables are wanted.
    pub filter: TableFilter,
    /// Wait for more at the end of the last file instead of finishing.
    pub follow: bool,
    /// The zone of TIMESTAMPs: that of Drainer's process.
    pub zone: String,
}

impl DrainerOptions {
    /// Reads `DIR[?zone=...]`, what stands behind `drainer:`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown option.
    pub fn parse(text: &str) -> Result<DrainerOptions> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let dir = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        let mut options = DrainerOptions { dir, filter: TableFilter::default(), follow: false, zone: "UTC".into() };
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            match pair.split_once('=') {
                Some(("zone", value)) => {
                    Zone::parse(value)?;
                    value.clone_into(&mut options.zone);
                }
                _ => return Err(Error::Invalid(format!("drainer: has no option {pair:?}: only zone=..."))),
            }
        }
        Ok(options)
    }
}

/// See the module.
pub struct DrainerSource {
    options: DrainerOptions,
    progress: Arc<FeedProgress>,
}

impl DrainerSource {
    /// A source over the directory; it is first looked at when streaming begins.
    #[must_use]
    pub fn new(options: DrainerOptions) -> DrainerSource {
        DrainerSource { options, progress: Arc::default() }
    }
}

#[async_trait]
impl Source for DrainerSource {
    fn kind(&self) -> &'static str {
        "drainer"
    }

    async fn stream(
        &self,
        after: Option<SourcePosition>,
        buffer: Arc<dyn Buffer>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let (options, progress, stop) = (self.options.clone(), Arc::clone(&self.progress), cancel.clone());
        self.progress
            .run("drainer", &cancel, move || read_all(&options, after.as_ref(), &*buffer, &progress, &stop))
            .await
    }

    async fn head(&self) -> Result<SourcePosition> {
        if !self.options.follow {
            return self.progress.end().await;
        }
        let segments = segment::list(&self.options.dir)?;
        // the newest record is in the last file that has a whole one
        for segment in segments.iter().rev() {
            let mut reader = RecordReader::open(&segment.path)?;
            let mut newest = None;
            while reader.advance()? == Next::Record {
                newest = Some(decode(&reader)?.commit_ts);
            }
            if let Some(ts) = newest.flatten().and_then(|ts| u64::try_from(ts).ok()) {
                return Ok(FeedPlace::at(ts).to_source());
            }
        }
        Ok(FeedPlace::default().to_source())
    }

    fn copy_complete(&self) -> watch::Receiver<bool> {
        self.progress.complete()
    }

    fn decoder(&self) -> Box<dyn TransactionDecoder> {
        Box::new(FeedDecoder::new(self.options.filter.clone(), UnknownTables::Stop))
    }

    fn status(&self) -> SourceStatus {
        self.progress.status()
    }
}

fn decode(reader: &RecordReader) -> Result<Binlog> {
    Binlog::decode(reader.payload())
        .map_err(|e| Error::corrupt(format!("the record before {}", reader.place()), e.to_string()))
}

/// The file to begin with: the last one whose first record is not behind `tso`.
fn first_segment(segments: &[Segment], tso: u64) -> Result<usize> {
    for (i, segment) in segments.iter().enumerate().rev() {
        let mut reader = RecordReader::open(&segment.path)?;
        if reader.advance()? == Next::Record {
            let first = decode(&reader)?.commit_ts.unwrap_or(0);
            if u64::try_from(first).unwrap_or(0) <= tso {
                return Ok(i);
            }
        }
    }
    match tso {
        0 => Ok(0),
        _ => Err(Error::Invalid(format!(
            "{} begins after commit-ts {tso}, where reading should go on: files of the feed were removed",
            segments[0].path.display()
        ))),
    }
}

fn read_all(
    options: &DrainerOptions,
    after: Option<&SourcePosition>,
    buffer: &dyn Buffer,
    progress: &FeedProgress,
    cancel: &CancellationToken,
) -> Result<()> {
    let after = after.map(FeedPlace::parse).transpose()?.unwrap_or_default();
    let segments = segment::list(&options.dir)?;
    // Drainer may have begun right behind the place of a copy
    let first = if after.copied { 0 } else { first_segment(&segments, after.tso)? };
    progress.set(SourceState::Streaming, "");
    progress.reached(&after);
    let appender = FeedAppender::new(buffer, &options.zone, true)?.knowing(after.databases.clone());
    let mut run =
        Run { options, progress, buffer, cancel, appender, place: after, synced: Instant::now(), unsynced: 0 };
    let mut queue = segments[first..].to_vec();
    while !queue.is_empty() && !cancel.is_cancelled() {
        let segment = queue.remove(0);
        run.segment(&segment, queue.is_empty())?;
        if queue.is_empty() && options.follow && !cancel.is_cancelled() {
            queue = segment::list(&options.dir)?.into_iter().filter(|s| s.number > segment.number).collect();
        }
    }
    run.sync()?;
    if !cancel.is_cancelled() {
        progress.set(SourceState::Finished, "");
    }
    Ok(())
}

struct Run<'a> {
    options: &'a DrainerOptions,
    progress: &'a FeedProgress,
    buffer: &'a dyn Buffer,
    cancel: &'a CancellationToken,
    appender: FeedAppender<'a>,
    place: FeedPlace,
    synced: Instant,
    unsynced: u64,
}

impl Run<'_> {
    fn segment(&mut self, segment: &Segment, mut last: bool) -> Result<()> {
        let mut reader = RecordReader::open(&segment.path)?;
        while !self.cancel.is_cancelled() {
            let before = reader.offset();
            match reader.advance()? {
                Next::Record => {
                    self.record(&reader)?;
                    let bytes = reader.offset() - before;
                    self.progress.bytes_read.fetch_add(bytes, Ordering::Relaxed);
                    self.unsynced += bytes;
                    if self.unsynced >= SYNC_BYTES || self.synced.elapsed() >= SYNC_EVERY {
                        self.sync()?;
                    }
                }
                found if last && self.options.follow => {
                    self.sync()?;
                    // a newer file closes this one; what was written before it must still be read
                    if found == Next::End && segment::list(&self.options.dir)?.iter().any(|s| s.number > segment.number)
                    {
                        last = false;
                        continue;
                    }
                    std::thread::sleep(POLL);
                }
                Next::End => return Ok(()),
                Next::Torn => return Err(Error::corrupt(reader.place(), "the file ends inside a record")),
            }
        }
        Ok(())
    }

    fn record(&mut self, reader: &RecordReader) -> Result<()> {
        let binlog = decode(reader)?;
        let place = || format!("the record before {}", reader.place());
        let (ts, record) = binlog.read(&|name| self.options.filter.wants(name)).map_err(|e| e.at(place()))?;
        match record {
            // Drainer may send the last transaction again after a restart
            Record::Rows(_) if ts <= self.place.tso => return Ok(()),
            Record::Rows(images) => {
                for image in &images {
                    self.appender.image(ts, 1, image)?;
                }
                self.appender.close()?;
                self.place = FeedPlace { databases: self.appender.databases().clone(), ..FeedPlace::at(ts) };
            }
            Record::Ddl(ddl) => {
                let hash = ddl_hash(&ddl.query);
                let text = format!("{hash:016x}");
                let taken = self.place.copied || self.place.ddl.contains(&text);
                if ts < self.place.tso || (ts == self.place.tso && taken) {
                    return Ok(());
                }
                let json = serde_json::to_vec(&ddl).map_err(|e| Error::Internal(format!("encode DDL: {e}")))?;
                let mut taken: Vec<u64> = Vec::new();
                if ts == self.place.tso {
                    taken.extend(self.place.ddl.iter().filter_map(|h| u64::from_str_radix(h, 16).ok()));
                }
                taken.push(hash);
                self.appender.ddl(ts, &taken, &json)?;
                let (ddl, databases) = (crate::ticdc::assembler::hex(&taken), self.appender.databases().clone());
                self.place = FeedPlace { ddl, databases, ..FeedPlace::at(ts) };
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.buffer.note_read(self.place.to_source());
        self.buffer.sync()?;
        self.progress.reached(&self.place);
        (self.synced, self.unsynced) = (Instant::now(), 0);
        Ok(())
    }
}
