//! Memory that files are read into, kept for the next read: fresh pages, which the kernel has to find and clear each time, cost a tenth of a wide scan.

use std::fs::File;
use std::io;
use std::mem;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use parking_lot::Mutex;

/// Smaller ones are not worth keeping.
const LEAST: usize = 64 << 10;
/// Bytes that are kept for later reads, of all engines in the process.
const KEPT: usize = 32 << 20;

static FREE: Free = Free(Mutex::new(Vec::new()));

/// Buffers that nobody reads from any more, the one that was freed last at the end.
struct Free(Mutex<Vec<Vec<u8>>>);

impl Free {
    /// A buffer of at least so many bytes, whatever they are.
    fn take(&self, bytes: usize) -> Vec<u8> {
        let mut free = self.0.lock();
        // One that is far too large would be missed by the read that needs it.
        let fits = |buffer: &Vec<u8>| (bytes..=bytes.saturating_mul(4)).contains(&buffer.len());
        match free.iter().rposition(fits) {
            Some(at) => free.remove(at),
            None => vec![0; bytes.next_multiple_of(LEAST)],
        }
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut free = self.0.lock();
        free.push(buffer);
        let mut kept: usize = free.iter().map(Vec::len).sum();
        // Those that have been of no use for longest go.
        let gone = free.iter().take_while(|buffer| {
            let over = kept > KEPT;
            kept -= buffer.len();
            over
        });
        let gone = gone.count();
        free.drain(..gone);
    }
}

/// A buffer in use, of which the first bytes count.
struct Used {
    buffer: Vec<u8>,
    bytes: usize,
}

impl AsRef<[u8]> for Used {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.bytes]
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        FREE.give(mem::take(&mut self.buffer));
    }
}

/// The bytes of a file's range.
///
/// # Errors
/// If the file cannot be read or ends before.
pub(super) fn read_range(file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let bytes = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    if bytes < LEAST {
        let mut buffer = vec![0; bytes];
        file.read_exact_at(&mut buffer, range.start)?;
        return Ok(buffer.into());
    }
    let mut used = Used { buffer: FREE.take(bytes), bytes };
    file.read_exact_at(&mut used.buffer[..bytes], range.start)?;
    Ok(Bytes::from_owner(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_whole_or_not_at_all() {
        let mut file = tempfile::tempfile().expect("a file");
        let bytes: Vec<u8> = (0..300_000).map(|n| (n % 251) as u8).collect();
        io::Write::write_all(&mut file, &bytes).expect("writes");
        for range in [3..7, 4..4, 10..200_000, 0..300_000, 100_000..170_000] {
            let read = read_range(&file, &range).expect("reads");
            assert!(read == bytes[range.start as usize..range.end as usize], "{range:?}");
        }
        for range in [299_998..300_001, 100_000..300_001] {
            let short = read_range(&file, &range).expect_err("the file ends");
            assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn buffers_are_used_again_and_bounded() {
        let free = Free(Mutex::new(Vec::new()));
        let first = free.take(100_000);
        let at = first.as_ptr();
        assert_eq!(first.len(), 131_072);
        free.give(first);
        assert_eq!(free.take(10).len(), LEAST, "far too large a one is left for others");
        let again = free.take(90_000);
        assert_eq!(again.as_ptr(), at);
        for _ in 0..10 {
            free.give(vec![0; KEPT / 4]);
        }
        let kept: usize = free.0.lock().iter().map(Vec::len).sum();
        assert!(kept <= KEPT, "{kept}");
        free.give(vec![0; 2 * KEPT]);
        assert!(free.0.lock().is_empty(), "one that is larger than all may be is not kept");
    }
}
