//! What a user writes behind `--copy-from`.

use std::fmt;
use std::sync::Arc;

use tidelake_core::{Error, Result};

use super::Snapshot;
use super::dumpling::{DumplingOptions, DumplingSnapshot};
use super::server::{ServerOptions, ServerSnapshot};
use crate::filter::TableFilter;

/// Where the rows come from.
#[derive(Clone, Debug)]
pub enum CopyFrom {
    /// A server.
    Server(ServerOptions),
    /// Dumpling's files.
    Dumpling(DumplingOptions),
}

/// How the copy is made.
#[derive(Clone)]
pub struct CopyOptions {
    /// From where.
    pub from: CopyFrom,
    /// Which tables are wanted.
    pub filter: TableFilter,
    /// Rows of a chunk.
    pub chunk_rows: usize,
    /// Tables read at the same time.
    pub threads: usize,
}

impl CopyFrom {
    /// Reads `mysql://USER:PASSWORD@HOST:PORT/?tso=...` or `dumpling:DIR[?...]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] that says what is wrong, without the password.
    pub fn parse(text: &str) -> Result<CopyFrom> {
        match text.split_once(':') {
            Some(("mysql", _)) => Ok(CopyFrom::Server(ServerOptions::parse(text)?)),
            Some(("dumpling", rest)) => Ok(CopyFrom::Dumpling(DumplingOptions::parse(rest)?)),
            _ => Err(Error::Invalid(
                "begins neither with mysql:// (TiDB itself) nor with dumpling: (a directory that Dumpling wrote)"
                    .into(),
            )),
        }
    }
}

impl CopyOptions {
    pub(super) fn open(&self) -> Arc<dyn Snapshot> {
        match &self.from {
            CopyFrom::Server(options) => Arc::new(ServerSnapshot::new(options, self.filter.clone(), self.chunk_rows)),
            CopyFrom::Dumpling(options) => {
                Arc::new(DumplingSnapshot::new(options.clone(), self.filter.clone(), self.chunk_rows))
            }
        }
    }
}

impl fmt::Debug for CopyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOptions").field("from", &self.from).finish_non_exhaustive()
    }
}
