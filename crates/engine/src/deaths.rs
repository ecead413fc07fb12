//! Deaths of rows in one file: which rows are dead at a seq, and the bytes that keep them (`.dvlog`).
//!
//! In memory: a log of `(seq, row)` by ascending seq, and a bitmap of those at or below the horizon, whose seqs no
//! reader asks for any more.

use std::sync::Arc;

use parking_lot::Mutex;
use roaring::RoaringBitmap;
use tidelake_core::{CommitSeq, Error, Result};

/// Deaths in one file.
#[derive(Default)]
pub(crate) struct FileDeaths {
    /// Every dead row, staged deaths included.
    all: RoaringBitmap,
    /// Rows dead at or below `folded_at`.
    folded: RoaringBitmap,
    folded_at: u64,
    log: Vec<(u64, u32)>,
    /// The mask made last, with the length of the log it was made from.
    mask: Mutex<Option<(usize, Arc<RoaringBitmap>)>>,
}

impl FileDeaths {
    /// From deaths in any order.
    pub(crate) fn from_unsorted(mut log: Vec<(u64, u32)>) -> FileDeaths {
        log.sort_unstable();
        let all = log.iter().map(|d| d.1).collect();
        FileDeaths { all, log, ..FileDeaths::default() }
    }

    pub(crate) fn is_dead(&self, row: u32) -> bool {
        self.all.contains(row)
    }

    /// Records a death; seqs never descend.
    pub(crate) fn push(&mut self, seq: CommitSeq, row: u32) {
        debug_assert!(self.log.last().is_none_or(|l| l.0 <= seq.0), "deaths are recorded in order");
        self.all.insert(row);
        self.log.push((seq.0, row));
    }

    /// Takes back deaths above `seq`.
    pub(crate) fn undo_above(&mut self, seq: CommitSeq) {
        let keep = self.log.partition_point(|d| d.0 <= seq.0);
        for (_, row) in self.log.drain(keep..) {
            self.all.remove(row);
        }
        *self.mask.get_mut() = None;
    }

    /// Rows dead at `seq`.
    pub(crate) fn mask_at(&self, seq: CommitSeq) -> Arc<RoaringBitmap> {
        let prefix = self.log.partition_point(|d| d.0 <= seq.0);
        let mut cached = self.mask.lock();
        if let Some((of, mask)) = cached.as_ref()
            && *of == prefix
        {
            return mask.clone();
        }
        let mut mask = if prefix == self.log.len() { self.all.clone() } else { self.folded.clone() };
        if prefix < self.log.len() {
            mask.extend(self.log[..prefix].iter().map(|d| d.1));
        }
        let mask = Arc::new(mask);
        *cached = Some((prefix, mask.clone()));
        mask
    }

    /// Number of rows dead at `seq`.
    pub(crate) fn count_at(&self, seq: CommitSeq) -> u64 {
        self.folded.len() + self.log.partition_point(|d| d.0 <= seq.0) as u64
    }

    /// Forgets the seqs of deaths at or below the horizon.
    pub(crate) fn fold(&mut self, horizon: CommitSeq) {
        let upto = self.log.partition_point(|d| d.0 <= horizon.0);
        if upto == 0 {
            return;
        }
        self.folded.extend(self.log.drain(..upto).map(|d| d.1));
        self.folded_at = self.folded_at.max(horizon.0);
        *self.mask.get_mut() = None;
    }

    /// Deaths with `after < seq <= upto`.
    pub(crate) fn between(&self, after: CommitSeq, upto: CommitSeq) -> &[(u64, u32)] {
        let from = self.log.partition_point(|d| d.0 <= after.0);
        let to = self.log.partition_point(|d| d.0 <= upto.0);
        &self.log[from..to.max(from)]
    }

    /// All deaths at or below `upto`; folded ones with the seq they were folded at.
    pub(crate) fn all_upto(&self, upto: CommitSeq) -> Vec<(u64, u32)> {
        let folded = self.folded.iter().map(|row| (self.folded_at, row));
        folded.chain(self.between(CommitSeq::ZERO, upto).iter().copied()).collect()
    }

    pub(crate) fn memory(&self) -> u64 {
        (self.all.serialized_size() + self.folded.serialized_size() + 16 * self.log.len()) as u64
    }
}

const MAGIC: &[u8; 8] = b"TLDEATH1";

/// Deaths of several files: `(file, [(seq, row)])`.
pub type DeathsByFile = Vec<(u64, Vec<(u64, u32)>)>;

/// Bytes of a `.dvlog`: magic, number of files, per file its id, count and `(seq, row)` pairs; CRC-32 of it all.
pub(crate) fn encode_deaths(deaths: &DeathsByFile) -> Vec<u8> {
    let pairs: usize = deaths.iter().map(|d| d.1.len()).sum();
    let mut out = Vec::with_capacity(20 + 16 * deaths.len() + 12 * pairs);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(deaths.len() as u64).to_le_bytes());
    for (file, log) in deaths {
        out.extend_from_slice(&file.to_le_bytes());
        out.extend_from_slice(&(log.len() as u64).to_le_bytes());
        for (seq, row) in log {
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(&row.to_le_bytes());
        }
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Decodes a `.dvlog`; `place` names it in errors.
///
/// # Errors
/// [`Error::Corrupt`] if the bytes are not those of a whole `.dvlog`.
pub fn decode_deaths(place: &str, bytes: &[u8]) -> Result<DeathsByFile> {
    let corrupt = |reason: &str| Error::corrupt(place, reason);
    let body_len = bytes.len().checked_sub(4).ok_or_else(|| corrupt("shorter than its checksum"))?;
    let (body, crc) = bytes.split_at(body_len);
    let mut rest = body.strip_prefix(MAGIC).ok_or_else(|| corrupt("not a death log of this version"))?;
    if crc32fast::hash(body).to_le_bytes() != crc {
        return Err(corrupt("checksum differs"));
    }
    let u64_of = |rest: &mut &[u8]| -> Result<u64> {
        let (head, tail) = rest.split_first_chunk::<8>().ok_or_else(|| corrupt("ends early"))?;
        *rest = tail;
        Ok(u64::from_le_bytes(*head))
    };
    let files = u64_of(&mut rest)?;
    let mut out = Vec::new();
    for _ in 0..files {
        let file = u64_of(&mut rest)?;
        let count = u64_of(&mut rest)?;
        if count > (rest.len() / 12) as u64 {
            return Err(corrupt("more deaths than bytes"));
        }
        let (pairs, tail) = rest.split_at(count as usize * 12);
        rest = tail;
        let pair = |p: &[u8]| {
            let (seq, row) = p.split_at(8);
            let seq = u64::from_le_bytes(seq.try_into().expect("8 bytes"));
            (seq, u32::from_le_bytes(row.try_into().expect("4 bytes")))
        };
        out.push((file, pairs.chunks_exact(12).map(pair).collect()));
    }
    if !rest.is_empty() {
        return Err(corrupt("bytes after the last death"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(d: &FileDeaths, seq: u64) -> Vec<u32> {
        d.mask_at(CommitSeq(seq)).iter().collect()
    }

    #[test]
    fn masks_by_seq_with_undo_and_fold() {
        let mut d = FileDeaths::default();
        for (seq, row) in [(3, 7), (5, 1), (5, 2), (9, 0)] {
            d.push(CommitSeq(seq), row);
        }
        assert_eq!([rows(&d, 2), rows(&d, 3), rows(&d, 8)], [vec![], vec![7], vec![1, 2, 7]]);
        d.fold(CommitSeq(4));
        assert_eq!([rows(&d, 4), rows(&d, 5), rows(&d, 9)], [vec![7], vec![1, 2, 7], vec![0, 1, 2, 7]]);
        assert_eq!(d.all_upto(CommitSeq(5)), [(4, 7), (5, 1), (5, 2)]);
        d.undo_above(CommitSeq(5));
        assert!(!d.is_dead(0) && d.is_dead(7));
        assert_eq!(rows(&d, 100), [1, 2, 7]);
        assert_eq!(d.count_at(CommitSeq(5)), 3);
    }

    #[test]
    fn bytes_round_trip_and_damage_is_found() {
        let deaths = vec![(4, vec![(1, 2), (3, 4)]), (9, vec![])];
        let bytes = encode_deaths(&deaths);
        assert_eq!(decode_deaths("x", &bytes).unwrap(), deaths);
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            assert!(decode_deaths("x", &bad).is_err(), "byte {i}");
            assert!(decode_deaths("x", &bytes[..i]).is_err(), "cut at {i}");
        }
    }
}
