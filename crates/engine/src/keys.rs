//! What makes a row itself, as bytes.
//!
//! With a key: the bytes of the key columns (`core::key`). Without one: the first 128 bits of SHA-256 over the
//! bytes of the whole row; equal rows have equal identities, and are counted.
//!
//! A *signature* says which columns of which types the bytes are of. Bytes of one signature compare with each
//! other; when an ALTER changes it, indexes are made anew ([`crate::schema`]).

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::row::Rows;
use sha2::{Digest, Sha256};
use tidelake_core::key::KeyEncoder;
use tidelake_core::value::cell_at;
use tidelake_core::{Error, Result, TableDef};

use crate::hash::key_hash;

/// Makes identities of rows of one table version.
pub(crate) struct KeyMaker {
    encoder: KeyEncoder,
    keyless: bool,
    signature: String,
}

impl KeyMaker {
    pub(crate) fn new(def: &TableDef) -> Result<KeyMaker> {
        let encoder = KeyEncoder::new(def)?;
        let keyless = def.key.is_empty();
        let schema = def.arrow_schema();
        let mut signature = String::from(if keyless { "row" } else { "key" });
        for i in encoder.columns() {
            let _ = write!(signature, " {}:{}", def.columns[*i].id, schema.field(*i).data_type());
        }
        Ok(KeyMaker { encoder, keyless, signature })
    }

    /// Which columns of which types; equal for versions whose identities compare.
    pub(crate) fn signature(&self) -> &str {
        &self.signature
    }

    /// True if rows are identified by their whole content.
    pub(crate) fn keyless(&self) -> bool {
        self.keyless
    }

    /// Identities of all rows of a batch with the version's schema.
    pub(crate) fn keys(&self, rows: &RecordBatch) -> Result<Keys> {
        Keys::from_rows(&self.encoder.encode(rows)?, self.keyless)
    }
}

/// Identities of some rows, in one piece of memory.
#[derive(Default)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    /// Ends of the identities.
    ends: Vec<u32>,
}

impl Keys {
    fn from_rows(rows: &Rows, keyless: bool) -> Result<Keys> {
        let mut keys = Keys::default();
        keys.ends.reserve(rows.num_rows());
        for row in rows {
            if keyless {
                keys.push(&Sha256::digest(row.as_ref())[..16])?;
            } else {
                keys.push(row.as_ref())?;
            }
        }
        Ok(keys)
    }

    pub(crate) fn push(&mut self, key: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(key);
        let end = u32::try_from(self.bytes.len())
            .map_err(|_| Error::Limit("keys of one batch of rows are over 4 GiB: use smaller batches".into()))?;
        self.ends.push(end);
        Ok(())
    }

    /// All of several.
    pub(crate) fn joined(parts: &[Arc<Keys>]) -> Result<Keys> {
        let mut keys = Keys::default();
        for part in parts {
            for row in 0..part.len() {
                keys.push(part.get(row))?;
            }
        }
        Ok(keys)
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, row: usize) -> &[u8] {
        let from = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.bytes[from..self.ends[row] as usize]
    }

    pub(crate) fn hash(&self, row: usize) -> u64 {
        key_hash(self.get(row))
    }

    /// The identities of some rows only.
    pub(crate) fn pick(&self, rows: &[u32]) -> Result<Keys> {
        let mut keys = Keys::default();
        keys.ends.reserve(rows.len());
        for row in rows {
            keys.push(self.get(*row as usize))?;
        }
        Ok(keys)
    }

    pub(crate) fn memory(&self) -> u64 {
        (self.bytes.len() + 4 * self.ends.len()) as u64
    }
}

/// The key of a row for people: `id=5, name="x"`; without a key, the whole row.
pub(crate) fn describe(def: &TableDef, rows: &RecordBatch, row: usize) -> String {
    let columns = if def.key.is_empty() { (0..def.columns.len()).collect() } else { def.key_indexes() };
    let mut out = String::new();
    for i in columns {
        let cell = cell_at(rows.column(i).as_ref(), row).map_or_else(|e| e.to_string(), |c| format!("{c:?}"));
        let separator = if out.is_empty() { "" } else { ", " };
        let _ = write!(out, "{separator}{}={cell}", def.columns[i].name);
    }
    if out.len() > 500 {
        let cut = (0..=500).rev().find(|i| out.is_char_boundary(*i)).unwrap_or(0);
        out.truncate(cut);
        out.push_str("...");
    }
    out
}
