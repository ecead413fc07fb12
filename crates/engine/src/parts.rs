//! Single parts of the engine, for its benchmarks. No interface of it.

use std::path::Path;

use arrow::array::RecordBatch;
use tidelake_core::{Result, TableDef};

use crate::file::Level;
use crate::hash::key_hash;
use crate::options::EngineOptions;
use crate::parquet_file::DataFileWriter;
use crate::pki::{BlockCursor, Pki, PkiBuilder};

/// Writes a data file of these rows, durably; of the base level (no births) or of L0. Returns its bytes.
///
/// # Errors
/// [`Error::Io`](tidelake_core::Error::Io).
pub fn write_rows(path: &Path, def: &TableDef, rows: &[RecordBatch], base: bool) -> Result<u64> {
    let level = if base { Level::Base } else { Level::L0 };
    let shape = EngineOptions::new(path).file_shape();
    let mut writer = DataFileWriter::create(path, def, shape, level, !base)?;
    for (seq, batch) in rows.iter().enumerate() {
        writer.write(batch, (!base).then(|| vec![seq as u64; batch.num_rows()]))?;
    }
    Ok(writer.finish()?.bytes)
}

/// Writes the key index of ascending keys, durably.
///
/// # Errors
/// [`Error::Io`](tidelake_core::Error::Io).
pub fn write_index(path: &Path, keys: &[Vec<u8>], with_filter: bool) -> Result<Pki> {
    let mut builder = PkiBuilder::create(path, "key 1:Int64", with_filter.then_some(keys.len() as u64))?;
    for (row, key) in keys.iter().enumerate() {
        builder.push(key, row as u32)?;
    }
    builder.finish()
}

/// Looks keys up in their order, as one batch. Returns how many there are.
///
/// # Errors
/// [`Error::Io`](tidelake_core::Error::Io), [`Error::Corrupt`](tidelake_core::Error::Corrupt).
pub fn count_found(pki: &Pki, keys: &[&[u8]]) -> Result<u64> {
    let (mut found, mut cursor) = (0, BlockCursor::default());
    for key in keys {
        pki.find(key, key_hash(key), &mut cursor, |_| {
            found += 1;
            false
        })?;
    }
    Ok(found)
}
