//! Drainer's files: `binlog-<16 digits>-<yyyymmddHHMMSS>`, records behind one another.
//!
//! A record, little endian: u32 magic, u64 length, the payload, u32 CRC-32C of the payload. Format: pingcap/tidb-binlog
//! `pkg/binlogfile`.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tidelake_core::{Error, Result};

/// The first four bytes of a record.
pub const MAGIC: u32 = 471_532_804;
/// Longest payload that is believed.
const MAX_PAYLOAD: u64 = 2 << 30;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// The digits in its name.
    pub number: u64,
}

/// The files of a directory, by number. Others (`savepoint`, ...) are left out.
///
/// # Errors
/// [`Error::Invalid`] if there are none, or if a number is missing or twice.
pub fn list(dir: &Path) -> Result<Vec<Segment>> {
    let io = |e| Error::io(format!("list directory {}", dir.display()), e);
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let digits = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("binlog-"));
        let digits = digits.and_then(|rest| rest.split('-').next()).filter(|d| d.len() == 16);
        if let Some(number) = digits.and_then(|d| d.parse().ok()) {
            segments.push(Segment { path, number });
        }
    }
    segments.sort_by_key(|s| s.number);
    if segments.is_empty() {
        let hint = "names are like binlog-0000000000000000-20200101000000";
        return Err(Error::Invalid(format!("no files of Drainer in {}: {hint}", dir.display())));
    }
    for pair in segments.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        if a.number == b.number {
            return Err(Error::Invalid(format!("{} and {} have one number", a.path.display(), b.path.display())));
        }
        if a.number + 1 != b.number {
            return Err(Error::Invalid(format!(
                "{} misses the files between numbers {} and {}",
                dir.display(),
                a.number,
                b.number
            )));
        }
    }
    Ok(segments)
}

/// What [`RecordReader::advance`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole record; its payload is in [`RecordReader::payload`].
    Record,
    /// The end of the file, between two records.
    End,
    /// The file ends inside a record. The reader stays before it: call again when the file has grown.
    Torn,
}

/// Reads a file's records in order. Memory is bounded by the largest record.
pub struct RecordReader {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    payload: Vec<u8>,
}

impl RecordReader {
    /// Opens a file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path) -> Result<RecordReader> {
        let file = File::open(path).map_err(|e| Error::io(format!("open {}", path.display()), e))?;
        Ok(RecordReader {
            path: path.to_owned(),
            file: BufReader::with_capacity(256 << 10, file),
            offset: 0,
            payload: Vec::new(),
        })
    }

    /// File and offset of the next record.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{} at offset {}", self.path.display(), self.offset)
    }

    /// Where the next record begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The payload that was read last.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Reads the next record.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with file and offset.
    pub fn advance(&mut self) -> Result<Next> {
        let mut head = [0; 12];
        match self.fill(&mut head)? {
            0 => return Ok(Next::End),
            12 => {}
            _ => return self.torn(),
        }
        let magic = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let length = head[4..].iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
        if magic != MAGIC {
            return Err(Error::corrupt(self.place(), format!("{magic} where a record's magic should be")));
        }
        if length > MAX_PAYLOAD {
            return Err(Error::corrupt(self.place(), format!("a record of {length} bytes")));
        }
        self.payload.clear();
        // grows with what is there, not with what is claimed
        let read = self.file.by_ref().take(length).read_to_end(&mut self.payload);
        read.map_err(|e| Error::io(format!("read {}", self.place()), e))?;
        let mut checksum = [0; 4];
        if self.payload.len() as u64 != length || self.fill(&mut checksum)? != 4 {
            return self.torn();
        }
        let (want, have) = (u32::from_le_bytes(checksum), crc32c(&self.payload));
        if want != have {
            return Err(Error::corrupt(self.place(), format!("checksum {have:08x}, the record says {want:08x}")));
        }
        self.offset += 16 + length;
        Ok(Next::Record)
    }

    /// Reads until the buffer is full or the file ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut have = 0;
        while have < buffer.len() {
            match self.file.read(&mut buffer[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(format!("read {}", self.place()), e)),
            }
        }
        Ok(have)
    }

    fn torn(&mut self) -> Result<Next> {
        let place = self.place();
        self.file.seek(SeekFrom::Start(self.offset)).map_err(|e| Error::io(format!("read {place}"), e))?;
        Ok(Next::Torn)
    }
}

static CASTAGNOLI: LazyLock<[u32; 256]> = LazyLock::new(|| {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    std::array::from_fn(|i| (0..8).fold(i as u32, |crc, _| step(crc)))
});

/// CRC-32C (Castagnoli).
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| crc >> 8 ^ CASTAGNOLI[usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnoli_s() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
