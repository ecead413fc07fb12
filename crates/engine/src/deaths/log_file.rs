//! The bytes of a `.dvlog`: magic, number of files; per file its id, number of pairs, number of runs, `(seq, row)`
//! pairs, and runs as seq, length and portable Roaring bytes; CRC-32 of it all. Version 1 had no runs.

use roaring::RoaringBitmap;
use tidelake_core::{Error, Result};

use super::{Deaths, DeathsByFile};
use crate::pki::Cursor;

const MAGIC_V1: &[u8; 8] = b"TLDEATH1";
const MAGIC: &[u8; 8] = b"TLDEATH2";
/// Bytes of a pair.
const PAIR: usize = 12;

/// Bytes of a death log.
pub(crate) fn encode_deaths(deaths: &DeathsByFile) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(deaths.len() as u64).to_le_bytes());
    for (file, of_file) in deaths {
        for number in [*file, of_file.pairs.len() as u64, of_file.runs.len() as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for (seq, row) in &of_file.pairs {
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(&row.to_le_bytes());
        }
        for (seq, rows) in &of_file.runs {
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(&(rows.serialized_size() as u64).to_le_bytes());
            rows.serialize_into(&mut out).map_err(|e| Error::io("encode a death log", e))?;
        }
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    Ok(out)
}

/// Decodes a `.dvlog` of this or the older version; `place` names it in errors.
///
/// # Errors
/// [`Error::Corrupt`] if it is torn, damaged or foreign.
pub fn decode_deaths(place: &str, bytes: &[u8]) -> Result<DeathsByFile> {
    let corrupt = |reason: &str| Error::corrupt(place, reason);
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(|| corrupt("shorter than its checksum"))?;
    let (rest, runs) = match (body.strip_prefix(MAGIC), body.strip_prefix(MAGIC_V1)) {
        (Some(rest), _) => (rest, true),
        (None, Some(rest)) => (rest, false),
        (None, None) if body.starts_with(b"TLDEATH") => {
            let version = String::from_utf8_lossy(&body[7..8.min(body.len())]).into_owned();
            return Err(Error::Invalid(format!("{place} has format version {version}, this build reads 1 and 2")));
        }
        (None, None) => return Err(corrupt("not a death log")),
    };
    if crc32fast::hash(body).to_le_bytes() != *crc {
        return Err(corrupt("checksum differs"));
    }
    decode_body(rest, runs).ok_or_else(|| corrupt("its parts do not fit its length"))
}

fn decode_body(bytes: &[u8], with_runs: bool) -> Option<DeathsByFile> {
    let mut c = Cursor(bytes);
    let files = c.u64()?;
    let mut out = Vec::new();
    for _ in 0..files {
        let (file, pairs) = (c.u64()?, usize::try_from(c.u64()?).ok()?);
        let runs = if with_runs { c.u64()? } else { 0 };
        let pairs = c.take(pairs.checked_mul(PAIR)?)?.chunks_exact(PAIR).map(pair).collect::<Option<_>>()?;
        let runs = (0..runs).map(|_| run(&mut c)).collect::<Option<_>>()?;
        out.push((file, Deaths { pairs, runs }));
    }
    c.0.is_empty().then_some(out)
}

fn pair(bytes: &[u8]) -> Option<(u64, u32)> {
    let mut c = Cursor(bytes);
    Some((c.u64()?, c.u32()?))
}

fn run(c: &mut Cursor<'_>) -> Option<(u64, RoaringBitmap)> {
    let (seq, length) = (c.u64()?, usize::try_from(c.u64()?).ok()?);
    let bytes = c.take(length)?;
    let rows = RoaringBitmap::deserialize_from(bytes).ok()?;
    (rows.serialized_size() == length).then_some((seq, rows))
}
