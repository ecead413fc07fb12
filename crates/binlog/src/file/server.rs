//! Which server wrote the files of a directory: the first event of each says it.

use std::path::Path;
use std::sync::Arc;

use tidelake_core::Result;
use tidelake_core::types::text::ServerFlavor;

use super::directory;
use super::reader::{EventReader, Next};
use crate::mysql::format::FormatDescription;

/// The server that wrote binlog files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesServer {
    /// Which kind of server.
    pub flavor: ServerFlavor,
    /// Its version as it says it, e.g. `10.11.6-MariaDB-log`.
    pub version: String,
}

/// The server that wrote the newest file of the directory; `None` if there is no whole first event (yet).
#[must_use]
pub fn server_of(dir: &Path) -> Option<FilesServer> {
    // What is wrong with the files is said by the source that reads all of them.
    first_event(dir).ok().flatten()
}

fn first_event(dir: &Path) -> Result<Option<FilesServer>> {
    let files = directory::list(dir)?;
    let Some(newest) = files.last() else { return Ok(None) };
    let mut reader = EventReader::open(newest, &Arc::default())?;
    if reader.advance()? != Next::Event {
        return Ok(None);
    }
    let Ok(format) = FormatDescription::parse(reader.event()) else { return Ok(None) };
    Ok(Some(FilesServer { flavor: format.flavor, version: format.server_version }))
}
