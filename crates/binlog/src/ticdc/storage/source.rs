//! The source over a storage sink's directory.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use tidelake_core::ports::{Buffer, CopyProgress, Source, SourceState, SourceStatus, StoreEngine, TransactionDecoder};
use tidelake_core::{Error, Result, SourcePosition};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::data_file::{self, Cutter};
use super::layout::{self, DataFormat, DataPath, Layout, Stamp};
use super::schema_file::{self, SchemaFile};
use crate::filter::TableFilter;
use crate::mysql::decoder::UnknownTables;
use crate::ticdc::append::FeedAppender;
use crate::ticdc::csv::CsvOptions;
use crate::ticdc::place::FeedPlace;
use crate::ticdc::progress::{FeedProgress, StallWatch};
use crate::ticdc::zone::Zone;
use crate::ticdc::{Assembler, FeedDecoder};

/// How often the directory is looked at in follow mode.
const POLL: Duration = Duration::from_millis(200);
/// Looks at a file that is not whole, or a hole in a sequence, before it is an error.
const PATIENCE: usize = 25;
/// Bytes of events in memory; more go to disk.
const MEMORY: usize = 64 << 20;

/// What a [`StorageSource`] reads.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// The sink's directory: that with the file `metadata`.
    pub dir: PathBuf,
    /// Which tables are wanted.
    pub filter: TableFilter,
    /// Go on as the sink goes on, instead of reading up to the checkpoint found at the start.
    pub follow: bool,
    /// The zone of TIMESTAMPs: TiCDC's `--tz`.
    pub zone: String,
    /// The dialect of CSV files.
    pub csv: CsvOptions,
    /// For events that outgrow memory.
    pub scratch: PathBuf,
}

impl StorageOptions {
    /// Reads `PATH[?option=value&...]`, what stands behind `ticdc-storage:`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a place that is not read yet, or an unknown option.
    pub fn parse(text: &str, scratch: PathBuf) -> Result<StorageOptions> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let path = path.strip_prefix("file:").unwrap_or(path);
        if let Some((scheme, _)) = path.split_once("://") {
            return Err(Error::Invalid(format!(
                "ticdc-storage:{scheme}://...: only a local directory can be read so far; mount or sync the bucket and give its path"
            )));
        }
        let dir = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        let mut options = StorageOptions {
            dir,
            filter: TableFilter::default(),
            follow: false,
            zone: "UTC".into(),
            csv: CsvOptions::default(),
            scratch,
        };
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name == "zone" {
                Zone::parse(value)?;
                value.clone_into(&mut options.zone);
            } else if !options.csv.set(name, value)? {
                return Err(Error::Invalid(format!(
                    "ticdc-storage: has no option {name}: zone, csv-delimiter, csv-quote, csv-null, csv-terminator, csv-binary, csv-old-value"
                )));
            }
        }
        options.csv.check()?;
        Ok(options)
    }
}

/// See the module.
pub struct StorageSource {
    options: StorageOptions,
    progress: Arc<FeedProgress>,
}

impl StorageSource {
    /// A source over the directory; it is first looked at when streaming begins.
    #[must_use]
    pub fn new(options: StorageOptions) -> StorageSource {
        StorageSource { options, progress: Arc::default() }
    }
}

#[async_trait]
impl Source for StorageSource {
    fn kind(&self) -> &'static str {
        "ticdc-storage"
    }

    async fn stream(
        &self,
        after: Option<SourcePosition>,
        buffer: Arc<dyn Buffer>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let (options, progress, stop) = (self.options.clone(), Arc::clone(&self.progress), cancel.clone());
        self.progress
            .run("ticdc-storage", &cancel, move || read_all(&options, after.as_ref(), &*buffer, &progress, &stop))
            .await
    }

    async fn first_position(&self) -> Result<Option<SourcePosition>> {
        Ok(None)
    }

    async fn head(&self) -> Result<SourcePosition> {
        if !self.options.follow {
            return self.progress.end().await;
        }
        let checkpoint = layout::checkpoint(&self.options.dir)?;
        let missing = || Error::Unavailable(format!("{} has no checkpoint yet", self.options.dir.display()));
        checkpoint.map(|tso| FeedPlace::at(tso).to_source()).ok_or_else(missing)
    }

    async fn copy_tables(&self, _: Arc<dyn StoreEngine>, _: Arc<dyn Buffer>, _: CancellationToken) -> Result<()> {
        Ok(())
    }

    fn can_copy(&self) -> bool {
        false
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

    fn copies(&self) -> Vec<CopyProgress> {
        Vec::new()
    }
}

/// Round after round, until cancelled, or one round if not to follow.
fn read_all(
    options: &StorageOptions,
    after: Option<&SourcePosition>,
    buffer: &dyn Buffer,
    progress: &FeedProgress,
    cancel: &CancellationToken,
) -> Result<()> {
    let after = after.map(FeedPlace::parse).transpose()?;
    let assembler = Assembler::new(&options.scratch, MEMORY, after.as_ref())?;
    let mut run = Run {
        options,
        progress,
        buffer,
        assembler,
        fresh: after.is_none(),
        read: HashMap::new(),
        schemas: HashMap::new(),
        waited: 0,
        problem: None,
    };
    if let Some(after) = &after {
        progress.reached(after);
    }
    let mut stall = StallWatch::default();
    while !cancel.is_cancelled() {
        let whole = run.round(cancel)?;
        if whole && !options.follow {
            return run.finish();
        }
        let mut reason = stall.look(run.assembler.floor(), run.assembler.held());
        if let Some(problem) = &run.problem {
            reason = problem.clone();
        }
        progress.set(SourceState::Streaming, reason);
        cancelled_within(cancel, POLL);
    }
    Ok(())
}

fn cancelled_within(cancel: &CancellationToken, time: Duration) {
    let step = Duration::from_millis(20);
    let mut left = time;
    while !cancel.is_cancelled() && !left.is_zero() {
        std::thread::sleep(step.min(left));
        left = left.saturating_sub(step);
    }
}

struct Run<'a> {
    options: &'a StorageOptions,
    progress: &'a FeedProgress,
    buffer: &'a dyn Buffer,
    assembler: Assembler,
    /// Nothing was ever read from this feed: all of it must be here.
    fresh: bool,
    /// What was read, by file.
    read: HashMap<PathBuf, Stamp>,
    schemas: HashMap<PathBuf, SchemaFile>,
    /// Rounds in a row that were not whole.
    waited: usize,
    /// Why the last round was not whole.
    problem: Option<String>,
}

impl Run<'_> {
    /// One look at the directory. `false`: something was not there yet, look again.
    fn round(&mut self, cancel: &CancellationToken) -> Result<bool> {
        // the order matters: everything up to this checkpoint was written before it
        let Some(checkpoint) = layout::checkpoint(&self.options.dir)? else {
            return self.wait(format!("{} has no file metadata with a checkpoint yet", self.options.dir.display()));
        };
        let listed = layout::list(&self.options.dir)?;
        if let Some(gap) = listed.gap(self.fresh) {
            return self.wait(format!("{gap}: files of the feed were removed"));
        }
        for schema in &listed.schemas {
            if self.read.get(&schema.path) == Some(&schema.stamp) {
                continue;
            }
            let Some(file) = schema_file::read(schema)? else {
                return self.wait(format!("{} is not whole", schema.path.display()));
            };
            if let Some(ddl) = &file.ddl {
                self.assembler.push(ddl)?;
            }
            self.schemas.insert(schema.path.clone(), file);
            self.read.insert(schema.path.clone(), schema.stamp);
        }
        let mut torn = None;
        for data in &listed.data {
            if cancel.is_cancelled() {
                return Ok(false);
            }
            if self.read.get(&data.path) == Some(&data.stamp) {
                continue;
            }
            match self.data(data, &listed)? {
                None => return self.wait(format!("{} has no schema file yet", data.path.display())),
                Some(true) => {
                    torn = Some(format!("{} ends inside a record; what is whole was read", data.path.display()))
                }
                Some(false) => {}
            }
            self.read.insert(data.path.clone(), data.stamp);
        }
        (self.waited, self.problem) = (0, None);
        if let Some(torn) = torn {
            // by the checkpoint's promise nothing that counts is behind it: the upload goes on, or is made again
            tracing::warn!("{torn}");
        }
        self.release(checkpoint)?;
        Ok(true)
    }

    /// Reads a data file. `None`: its schema is not there; true: it ends inside a record.
    fn data(&mut self, data: &DataPath, listed: &Layout) -> Result<Option<bool>> {
        let columns;
        let cutter = match data.format {
            DataFormat::CanalJson => Cutter::CanalJson,
            DataFormat::Csv => {
                let schema = listed.schema_of(&data.path).and_then(|s| self.schemas.get(&s.path));
                let Some(schema) = schema else { return Ok(None) };
                columns = schema.columns.clone();
                Cutter::Csv { columns: &columns, options: &self.options.csv }
            }
        };
        let assembler = &mut self.assembler;
        let read = data_file::read(&data.path, &cutter, &self.options.filter, &mut |event| assembler.push(event))?;
        self.progress.bytes_read.fetch_add(read.bytes, Ordering::Relaxed);
        Ok(Some(read.torn))
    }

    fn release(&mut self, checkpoint: u64) -> Result<()> {
        let mut appender = FeedAppender::new(self.buffer, &self.options.zone, false)?;
        self.assembler.release(checkpoint, &mut appender)?;
        appender.close()?;
        let place = self.assembler.place();
        self.buffer.note_read(place.to_source());
        self.buffer.sync()?;
        self.progress.reached(&place);
        self.fresh = false;
        Ok(())
    }

    /// What is not there yet may come; what stays away is an error.
    fn wait(&mut self, what: String) -> Result<bool> {
        self.waited += 1;
        let no_feed_yet = self.options.follow && self.fresh && !self.options.dir.join("metadata").exists();
        if self.waited > PATIENCE && !no_feed_yet {
            return Err(Error::Invalid(what));
        }
        self.problem = Some(what);
        Ok(false)
    }

    fn finish(&self) -> Result<()> {
        let held = self.assembler.held();
        let mut reason = String::new();
        if held.events > 0 {
            reason = format!(
                "{} events lie above the checkpoint {} and are left out (--follow waits for them)",
                held.events,
                self.assembler.floor()
            );
            tracing::warn!(reason);
        }
        self.progress.set(SourceState::Finished, reason);
        Ok(())
    }
}
