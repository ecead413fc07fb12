//! The key index of a data file (`.pki`): every row's identity, sorted, with its row number.
//!
//! Blocks of 128 keys stay on disk; the first key of each block and a filter are resident. Bytes:
//! `TLPKI001`, blocks, directory (signature, blocks' places, checksums and first keys), filter (may be empty), tail. A
//! `.pki` can always be made again from its data file.

mod build;
mod filter;
mod sort;
mod stream;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use build::PkiBuilder;
use filter::Filter;
pub(crate) use sort::{PkiSorter, RUN_MARK};
pub(crate) use stream::PkiStream;
use tidelake_core::{Error, Result};

pub(crate) const MAGIC: &[u8; 8] = b"TLPKI001";
pub(crate) const BLOCK_KEYS: usize = 128;
/// Directory offset and length, filter offset and length, keys, CRC-32 of directory and filter, version, magic.
pub(crate) const TAIL: usize = 8 * 5 + 4 + 4 + 8;
pub(crate) const VERSION: u32 = 1;

/// An open key index.
pub struct Pki {
    path: PathBuf,
    file: File,
    signature: String,
    blocks: Vec<BlockPlace>,
    /// Runs that are only merged have none.
    filter: Option<Filter>,
    keys: u64,
    range: Option<Arc<KeyRange>>,
}

/// The first and the last key of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) first: Box<[u8]>,
    pub(crate) last: Box<[u8]>,
}

impl KeyRange {
    pub(crate) fn overlaps(&self, other: &KeyRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        *self.first <= *key && *key <= *self.last
    }

    /// The smallest range that has both.
    pub(crate) fn hull(&self, other: &KeyRange) -> KeyRange {
        KeyRange { first: self.first.clone().min(other.first.clone()), last: self.last.clone().max(other.last.clone()) }
    }
}

pub(crate) struct BlockPlace {
    offset: u64,
    length: u32,
    crc: u32,
    first: Box<[u8]>,
}

/// One decoded block, kept between look-ups of neighbours.
#[derive(Default)]
pub(crate) struct BlockCursor {
    at: Option<usize>,
    raw: Vec<u8>,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    rows: Vec<u32>,
}

impl BlockCursor {
    fn key(&self, i: usize) -> &[u8] {
        let from = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.bytes[from..self.ends[i] as usize]
    }

    /// First entry at or above `key`.
    fn lower_bound(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.key(middle) < key { low = middle + 1 } else { high = middle }
        }
        low
    }
}

impl Pki {
    /// Opens an index and loads its resident part.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the file's name if it is torn or foreign, [`Error::Io`].
    pub fn open(path: &Path) -> Result<Pki> {
        let corrupt = |reason: &str| Error::corrupt(path.display().to_string(), reason);
        let io = |e| Error::io(format!("read {}", path.display()), e);
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let Some(body) = length.checked_sub(TAIL as u64) else { return Err(corrupt("shorter than its tail")) };
        let mut tail = [0u8; TAIL];
        file.read_exact_at(&mut tail, body).map_err(io)?;
        let mut tail = Cursor(&tail);
        let [dir_at, dir_len, filter_at, filter_len, keys] = [(); 5].map(|()| tail.u64().unwrap_or(u64::MAX));
        let (crc, version) = (tail.u32().unwrap_or(0), tail.u32().unwrap_or(0));
        let mut head = [0u8; MAGIC.len()];
        file.read_exact_at(&mut head, 0).map_err(io)?;
        if tail.0 != MAGIC || head != *MAGIC {
            return Err(corrupt("not a key index"));
        }
        if version != VERSION {
            return Err(corrupt(&format!("key index of version {version}, this is version {VERSION}")));
        }
        let whole = dir_at.checked_add(dir_len) == Some(filter_at) && filter_at.checked_add(filter_len) == Some(body);
        if !whole || dir_at < MAGIC.len() as u64 {
            return Err(corrupt("its parts do not fit its length"));
        }
        let mut resident = vec![0; (dir_len + filter_len) as usize];
        file.read_exact_at(&mut resident, dir_at).map_err(io)?;
        if crc32fast::hash(&resident) != crc {
            return Err(corrupt("checksum of the directory differs"));
        }
        let (directory, filter) = resident.split_at(dir_len as usize);
        let (signature, blocks) =
            directory_of(directory, dir_at).ok_or_else(|| corrupt("its directory is not whole"))?;
        let filter = match filter {
            [] => None,
            bytes => Some(Filter::from_bytes(bytes).ok_or_else(|| corrupt("its filter is not whole"))?),
        };
        let mut pki = Pki { path: path.to_owned(), file, signature, blocks, filter, keys, range: None };
        pki.range = pki.read_range()?.map(Arc::new);
        Ok(pki)
    }

    fn read_range(&self) -> Result<Option<KeyRange>> {
        let Some(first) = self.blocks.first() else { return Ok(None) };
        let mut cursor = BlockCursor::default();
        self.load(self.blocks.len() - 1, &mut cursor)?;
        let last = cursor.rows.len().checked_sub(1).map_or(&[][..], |last| cursor.key(last));
        Ok(Some(KeyRange { first: first.first.clone(), last: last.into() }))
    }

    /// An index without an entry, in the place of one that is missing; `path` is anything that is there: nothing is read of it.
    pub(crate) fn absent(path: &Path) -> Result<Pki> {
        let file = File::open(path).map_err(|e| Error::io(format!("open {}", path.display()), e))?;
        let signature = String::new();
        Ok(Pki { path: path.to_owned(), file, signature, blocks: Vec::new(), filter: None, keys: 0, range: None })
    }

    /// Which columns of which types the keys are of.
    pub(crate) fn signature(&self) -> &str {
        &self.signature
    }

    /// Number of keys.
    pub(crate) fn keys(&self) -> u64 {
        self.keys
    }

    /// The first and the last key; `None` without any.
    pub(crate) fn range(&self) -> Option<&Arc<KeyRange>> {
        self.range.as_ref()
    }

    pub(crate) fn memory(&self) -> u64 {
        self.filter.as_ref().map_or(0, Filter::memory)
            + self.blocks.iter().map(|b| 40 + b.first.len() as u64).sum::<u64>()
    }

    /// Calls `found` with the rows of this key until it returns false. Cheap if keys come in ascending order
    /// with one cursor.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`].
    pub(crate) fn find(
        &self,
        key: &[u8],
        hash: u64,
        cursor: &mut BlockCursor,
        mut found: impl FnMut(u32) -> bool,
    ) -> Result<()> {
        let inside = self.range.as_ref().is_some_and(|r| r.contains(key));
        if !inside || self.filter.as_ref().is_some_and(|f| !f.may_contain(hash)) {
            return Ok(());
        }
        // Equal keys may begin in the block before the first one that starts at or above the key.
        let from = self.blocks.partition_point(|b| *b.first < *key).saturating_sub(1);
        for at in from..self.blocks.len() {
            if *self.blocks[at].first > *key {
                return Ok(());
            }
            self.load(at, cursor)?;
            for i in cursor.lower_bound(key)..cursor.rows.len() {
                if cursor.key(i) != key || !found(cursor.rows[i]) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The key of a row, for files that are sorted by it: there a row's number is its key's rank.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`].
    pub(crate) fn key_of_row<'c>(&self, row: u32, cursor: &'c mut BlockCursor) -> Result<&'c [u8]> {
        let (block, at) = (row as usize / BLOCK_KEYS, row as usize % BLOCK_KEYS);
        let strange = || Error::corrupt(self.path.display().to_string(), format!("row {row} is not where its rank is"));
        if block >= self.blocks.len() {
            return Err(strange());
        }
        self.load(block, cursor)?;
        if cursor.rows.get(at) != Some(&row) {
            return Err(strange());
        }
        Ok(cursor.key(at))
    }

    fn load(&self, at: usize, cursor: &mut BlockCursor) -> Result<()> {
        if cursor.at == Some(at) {
            return Ok(());
        }
        cursor.at = None;
        let place = &self.blocks[at];
        cursor.raw.resize(place.length as usize, 0);
        let io = |e| Error::io(format!("read {}", self.path.display()), e);
        self.file.read_exact_at(&mut cursor.raw, place.offset).map_err(io)?;
        let corrupt = || Error::corrupt(format!("{} offset {}", self.path.display(), place.offset), "damaged block");
        if crc32fast::hash(&cursor.raw) != place.crc {
            return Err(corrupt());
        }
        decode_block(cursor).ok_or_else(corrupt)?;
        cursor.at = Some(at);
        Ok(())
    }
}

/// Signature and places of blocks; `None` if the bytes are not a whole directory.
fn directory_of(bytes: &[u8], end_of_blocks: u64) -> Option<(String, Vec<BlockPlace>)> {
    let mut c = Cursor(bytes);
    let length = c.u32()? as usize;
    let signature = String::from_utf8(c.take(length)?.to_vec()).ok()?;
    let count = c.u32()? as usize;
    let mut blocks = Vec::with_capacity(count.min(c.0.len() / 20));
    for _ in 0..count {
        let (offset, length, crc) = (c.u64()?, c.u32()?, c.u32()?);
        let first = c.u32()? as usize;
        let first = c.take(first)?.into();
        if offset.checked_add(length.into())? > end_of_blocks {
            return None;
        }
        blocks.push(BlockPlace { offset, length, crc, first });
    }
    c.0.is_empty().then_some((signature, blocks))
}

/// Entries of a block: shared bytes with the key before, own bytes, row number relative to the row before.
fn decode_block(cursor: &mut BlockCursor) -> Option<()> {
    cursor.bytes.clear();
    cursor.ends.clear();
    cursor.rows.clear();
    let mut c = Cursor(&cursor.raw);
    let (mut last_from, mut row) = (0usize, -1i64);
    while !c.0.is_empty() {
        let shared = usize::try_from(c.varint()?).ok()?;
        let own = usize::try_from(c.varint()?).ok()?;
        let start = cursor.bytes.len();
        if shared > start - last_from {
            return None;
        }
        cursor.bytes.extend_from_within(last_from..last_from + shared);
        cursor.bytes.extend_from_slice(c.take(own)?);
        cursor.ends.push(u32::try_from(cursor.bytes.len()).ok()?);
        last_from = start;
        let step = c.varint()?;
        row = row.checked_add(1)?.checked_add((step >> 1) as i64 ^ -((step & 1) as i64))?;
        cursor.rows.push(u32::try_from(row).ok()?);
        if cursor.rows.len() > BLOCK_KEYS {
            return None;
        }
    }
    Some(())
}

/// Reads numbers off the front of bytes.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
