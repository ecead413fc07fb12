//! Writing a key index, keys in ascending order.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tidelake_core::{Error, Result};

use super::filter::Filter;
use super::{BLOCK_KEYS, BlockPlace, MAGIC, Pki, VERSION};
use crate::hash::key_hash;

/// Writes a `.pki`.
pub(crate) struct PkiBuilder {
    path: PathBuf,
    out: BufWriter<File>,
    written: u64,
    signature: String,
    blocks: Vec<BlockPlace>,
    filter: Option<Filter>,
    keys: u64,
    block: Vec<u8>,
    in_block: usize,
    first: Vec<u8>,
    last: Vec<u8>,
    last_row: i64,
}

impl PkiBuilder {
    /// Begins an index with a filter for at most `filter_keys` keys (more only make it worse); `None`: without one.
    pub(crate) fn create(path: &Path, signature: &str, filter_keys: Option<u64>) -> Result<PkiBuilder> {
        let io = |e| Error::io(format!("create {}", path.display()), e);
        let mut out = BufWriter::with_capacity(1 << 18, File::create(path).map_err(io)?);
        out.write_all(MAGIC).map_err(io)?;
        Ok(PkiBuilder {
            path: path.to_owned(),
            out,
            written: MAGIC.len() as u64,
            signature: signature.to_owned(),
            blocks: Vec::new(),
            filter: filter_keys.map(Filter::with_capacity),
            keys: 0,
            block: Vec::new(),
            in_block: 0,
            first: Vec::new(),
            last: Vec::new(),
            last_row: -1,
        })
    }

    /// Adds a key; keys never descend.
    pub(crate) fn push(&mut self, key: &[u8], row: u32) -> Result<()> {
        debug_assert!(self.keys == 0 || *key >= *self.last, "keys ascend");
        if self.in_block == BLOCK_KEYS {
            self.end_block()?;
        }
        let shared = if self.in_block == 0 {
            self.first = key.to_vec();
            self.last_row = -1;
            0
        } else {
            self.last.iter().zip(key).take_while(|(a, b)| a == b).count()
        };
        varint(&mut self.block, shared as u64);
        varint(&mut self.block, (key.len() - shared) as u64);
        self.block.extend_from_slice(&key[shared..]);
        let step = i64::from(row) - self.last_row - 1;
        varint(&mut self.block, ((step << 1) ^ (step >> 63)) as u64);
        self.last.clear();
        self.last.extend_from_slice(key);
        self.last_row = i64::from(row);
        if let Some(filter) = &mut self.filter {
            filter.insert(key_hash(key));
        }
        self.in_block += 1;
        self.keys += 1;
        Ok(())
    }

    fn end_block(&mut self) -> Result<()> {
        if self.in_block == 0 {
            return Ok(());
        }
        let too_long = |_| Error::Limit("a block of keys is over 4 GiB".into());
        let place = BlockPlace {
            offset: self.written,
            length: u32::try_from(self.block.len()).map_err(too_long)?,
            crc: crc32fast::hash(&self.block),
            first: std::mem::take(&mut self.first).into(),
        };
        self.blocks.push(place);
        let block = std::mem::take(&mut self.block);
        self.write(&block)?;
        self.block = block;
        self.block.clear();
        self.in_block = 0;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|e| Error::io(format!("write {}", self.path.display()), e))
    }

    /// Writes the rest, makes the file durable and opens it.
    pub(crate) fn finish(mut self) -> Result<Pki> {
        self.end_block()?;
        let dir_at = self.written;
        let mut resident = Vec::new();
        resident.extend_from_slice(&(self.signature.len() as u32).to_le_bytes());
        resident.extend_from_slice(self.signature.as_bytes());
        resident.extend_from_slice(&(self.blocks.len() as u32).to_le_bytes());
        for b in &self.blocks {
            resident.extend_from_slice(&b.offset.to_le_bytes());
            resident.extend_from_slice(&b.length.to_le_bytes());
            resident.extend_from_slice(&b.crc.to_le_bytes());
            resident.extend_from_slice(&(b.first.len() as u32).to_le_bytes());
            resident.extend_from_slice(&b.first);
        }
        let dir_len = resident.len() as u64;
        resident.extend(self.filter.iter().flat_map(Filter::to_bytes));
        let crc = crc32fast::hash(&resident);
        let filter_len = resident.len() as u64 - dir_len;
        for number in [dir_at, dir_len, dir_at + dir_len, filter_len, self.keys] {
            resident.extend_from_slice(&number.to_le_bytes());
        }
        resident.extend_from_slice(&crc.to_le_bytes());
        resident.extend_from_slice(&VERSION.to_le_bytes());
        resident.extend_from_slice(MAGIC);
        self.write(&resident)?;
        let io = |e| Error::io(format!("write {}", self.path.display()), e);
        self.out.flush().map_err(io)?;
        self.out.get_ref().sync_all().map_err(io)?;
        Pki::open(&self.path)
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}
