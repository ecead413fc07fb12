//! `ticdc-storage:PATH[?option=value&...]`

use std::path::PathBuf;

use tidelake_core::{Error, Result};

use super::store::StorePlace;
use crate::filter::TableFilter;
use crate::ticdc::csv::CsvOptions;
use crate::ticdc::zone::Zone;

/// Bytes of events in memory; more go to disk.
const MEMORY: usize = 64 << 20;
/// Bytes of events on disk after which those above the checkpoint are left in the sink's files.
const DISK: u64 = 4 << 30;

/// What a [`StorageSource`](super::StorageSource) reads.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// Where the sink's file `metadata` lies.
    pub place: StorePlace,
    /// Which tables are wanted.
    pub filter: TableFilter,
    /// Go on as the sink goes on, instead of reading up to the checkpoint found at the start.
    pub follow: bool,
    /// The zone of TIMESTAMPs: TiCDC's `--tz`.
    pub zone: String,
    /// The dialect of CSV files.
    pub csv: CsvOptions,
    /// Remove data files that were read and are in the Data Buffer.
    pub cleanup: bool,
    /// For events that outgrow memory, and for what was read.
    pub scratch: PathBuf,
    /// Bytes of events in memory, and on disk.
    pub limits: (usize, u64),
}

impl StorageOptions {
    /// Reads `PATH[?option=value&...]`, what stands behind `ticdc-storage:`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a place that is not read yet, or an unknown option.
    pub fn parse(text: &str, scratch: PathBuf) -> Result<StorageOptions> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let mut options = StorageOptions {
            place: StorePlace::parse(path)?,
            filter: TableFilter::default(),
            follow: false,
            zone: "UTC".into(),
            csv: CsvOptions::default(),
            cleanup: false,
            scratch,
            limits: (MEMORY, DISK),
        };
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name == "zone" {
                Zone::parse(value)?;
                value.clone_into(&mut options.zone);
            } else if name == "cleanup" {
                options.cleanup = match value {
                    "true" => true,
                    "false" => false,
                    _ => return Err(Error::Invalid("ticdc-storage: cleanup is true or false".into())),
                };
            } else if !options.place.set(name, value)? && !options.csv.set(name, value)? {
                return Err(Error::Invalid(format!(
                    "ticdc-storage: has no option {name}: zone, cleanup, endpoint, region, anonymous (the last three for s3://), csv-delimiter, csv-quote, csv-null, csv-terminator, csv-binary, csv-old-value"
                )));
            }
        }
        options.csv.check()?;
        Ok(options)
    }
}
