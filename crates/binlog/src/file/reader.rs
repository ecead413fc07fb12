//! One binlog file, cut into events. Memory is bounded by the largest event; a length in the file is only a claim.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidelake_core::{Error, Result};

use super::directory::BinlogFile;
use crate::mysql::compressed::MAX_EVENT;
use crate::mysql::event::HEADER_LEN;

/// Bytes before a file's first event.
pub(super) const MAGIC_BYTES: u64 = 4;
const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];
const MAGIC_ENCRYPTED: [u8; 4] = [0xfd, b'b', b'i', b'n'];

/// What [`EventReader::advance`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole event; it is in [`EventReader::event`].
    Event,
    /// The end of the file, between two events.
    End,
    /// The file ends inside an event. The reader stays before it: call again when the file has grown.
    Torn,
}

enum Input {
    Plain(BufReader<Counted>),
    Compressed(BufReader<zstd::stream::read::Decoder<'static, BufReader<Counted>>>),
}

/// Counts the bytes that leave the disk.
struct Counted {
    file: File,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buf)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Reads a file's events in order.
pub struct EventReader {
    name: String,
    input: Input,
    /// Where the next event begins, in the uncompressed file.
    offset: u64,
    event: Vec<u8>,
}

impl EventReader {
    /// Opens a file and checks its first four bytes. Bytes read from disk are added to `count`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is no binlog file, [`Error::Invalid`] if it is an encrypted one.
    pub fn open(file: &BinlogFile, count: &Arc<AtomicU64>) -> Result<EventReader> {
        let open = File::open(&file.path).map_err(|e| Error::io(format!("open {}", file.path.display()), e))?;
        let counted = BufReader::with_capacity(256 << 10, Counted { file: open, count: Arc::clone(count) });
        let input = if file.compressed {
            let decoder = zstd::stream::read::Decoder::with_buffer(counted);
            Input::Compressed(BufReader::new(
                decoder.map_err(|e| Error::io(format!("open {}", file.path.display()), e))?,
            ))
        } else {
            Input::Plain(counted)
        };
        let mut reader = EventReader { name: file.name.clone(), input, offset: 4, event: Vec::new() };
        reader.read_event_bytes(4, 0)?;
        match reader.event.as_slice() {
            magic if magic == MAGIC => Ok(reader),
            magic if magic == MAGIC_ENCRYPTED => Err(Error::Invalid(format!(
                "{} is encrypted (binlog_encryption): read it over a connection to the server instead",
                file.name
            ))),
            _ => Err(Error::corrupt(format!("{} at offset 0", file.name), "it does not begin as a binlog file does")),
        }
    }

    /// Where the next event begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The event that was read last, whole: header, body, checksum.
    #[must_use]
    pub fn event(&self) -> &[u8] {
        &self.event
    }

    /// Goes on at an offset at or behind the next event's.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the file ends before it.
    pub fn skip_to(&mut self, offset: u64) -> Result<()> {
        let missing = Error::Invalid(format!(
            "{} ends before offset {offset}, where reading should go on: it is not the file that was read before",
            self.name
        ));
        let wanted = offset.saturating_sub(self.offset);
        let context = format!("read {} at offset {}", self.name, self.offset);
        match &mut self.input {
            Input::Plain(input) => {
                let length = input.get_ref().file.metadata().map_err(|e| Error::io(&*context, e))?.len();
                if length < offset {
                    return Err(missing);
                }
                input.seek_relative_checked(wanted).map_err(|e| Error::io(&*context, e))?;
            }
            Input::Compressed(input) => {
                let skipped = std::io::copy(&mut input.by_ref().take(wanted), &mut std::io::sink());
                if skipped.map_err(|e| Error::corrupt(context, e.to_string()))? < wanted {
                    return Err(missing);
                }
            }
        }
        self.offset = offset.max(self.offset);
        Ok(())
    }

    /// Reads the next event.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with file and offset for impossible lengths and damaged compression, [`Error::Io`].
    pub fn advance(&mut self) -> Result<Next> {
        match self.read_event_bytes(HEADER_LEN, 0)? {
            0 => return Ok(Next::End),
            n if n < HEADER_LEN => return self.torn(n),
            _ => {}
        }
        let size = u32::from_le_bytes([self.event[9], self.event[10], self.event[11], self.event[12]]);
        let (wanted, limit) = (size as usize, MAX_EVENT as usize);
        if !(HEADER_LEN..=limit).contains(&wanted) {
            let place = format!("{} at offset {}", self.name, self.offset);
            return Err(Error::corrupt(place, format!("event of {size} bytes, {HEADER_LEN} to {limit} are possible")));
        }
        let read = self.read_event_bytes(wanted - HEADER_LEN, HEADER_LEN)?;
        if read < wanted - HEADER_LEN {
            return self.torn(HEADER_LEN + read);
        }
        self.offset += u64::from(size);
        Ok(Next::Event)
    }

    /// Goes back before the partial event.
    fn torn(&mut self, read: usize) -> Result<Next> {
        if let Input::Plain(input) = &mut self.input {
            let back = i64::try_from(read).unwrap_or(0);
            let context = format!("read {} at offset {}", self.name, self.offset);
            input.seek_relative(-back).map_err(|e| Error::io(context, e))?;
        }
        Ok(Next::Torn)
    }

    /// Reads up to `wanted` bytes behind the first `keep` bytes of the event; memory grows with what is there.
    fn read_event_bytes(&mut self, wanted: usize, keep: usize) -> Result<usize> {
        self.event.truncate(keep);
        let read = match &mut self.input {
            Input::Plain(input) => read_up_to(input, wanted, &mut self.event),
            Input::Compressed(input) => read_up_to(input, wanted, &mut self.event),
        };
        read.map_err(|e| match (&self.input, e.kind()) {
            (Input::Compressed(_), ErrorKind::Other | ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
                Error::corrupt(format!("{} at offset {}", self.name, self.offset), format!("zstd: {e}"))
            }
            _ => Error::io(format!("read {} at offset {}", self.name, self.offset), e),
        })
    }
}

/// Appends up to `wanted` bytes, as many as there are before the end.
fn read_up_to(input: &mut impl BufRead, wanted: usize, out: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut read = 0;
    while read < wanted {
        let piece = match input.fill_buf() {
            Ok([]) => break,
            Ok(piece) => &piece[..piece.len().min(wanted - read)],
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let bytes = piece.len();
        out.extend_from_slice(piece);
        input.consume(bytes);
        read += bytes;
    }
    Ok(read)
}

/// Seeking forward by an unsigned distance.
trait SeekForward {
    fn seek_relative_checked(&mut self, by: u64) -> std::io::Result<()>;
}

impl SeekForward for BufReader<Counted> {
    fn seek_relative_checked(&mut self, by: u64) -> std::io::Result<()> {
        let by = i64::try_from(by).map_err(|_| std::io::Error::from(ErrorKind::InvalidInput))?;
        self.seek_relative(by)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}
