//! A blocked Bloom filter over key hashes: ten bits a key, one cache line per look-up, about 1 % false hits.

const WORDS: usize = 8;
const PROBES: u32 = 6;

/// The filter of one file.
pub(crate) struct Filter {
    words: Vec<u64>,
}

impl Filter {
    pub(crate) fn with_capacity(keys: u64) -> Filter {
        let blocks = (keys * 10).div_ceil(WORDS as u64 * 64).max(1);
        Filter { words: vec![0; blocks as usize * WORDS] }
    }

    /// `None` if the bytes are not whole blocks.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Filter> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(WORDS * 8) {
            return None;
        }
        let word = |c: &[u8]| u64::from_le_bytes(c.try_into().expect("chunks of 8 bytes"));
        Some(Filter { words: bytes.chunks_exact(8).map(word).collect() })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    pub(crate) fn insert(&mut self, hash: u64) {
        let block = self.block(hash);
        for bit in bits(hash) {
            self.words[block + bit / 64] |= 1 << (bit % 64);
        }
    }

    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let block = self.block(hash);
        bits(hash).all(|bit| self.words[block + bit / 64] & (1 << (bit % 64)) != 0)
    }

    pub(crate) fn memory(&self) -> u64 {
        8 * self.words.len() as u64
    }

    fn block(&self, hash: u64) -> usize {
        let blocks = (self.words.len() / WORDS) as u64;
        (((hash >> 32) * blocks) >> 32) as usize * WORDS
    }
}

fn bits(hash: u64) -> impl Iterator<Item = usize> {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..PROBES).map(move |i| ((mixed >> (i * 9)) & 511) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::key_hash;

    #[test]
    fn no_false_misses_and_few_false_hits() {
        let mut filter = Filter::with_capacity(10_000);
        for i in 0..10_000u32 {
            filter.insert(key_hash(&i.to_be_bytes()));
        }
        let filter = Filter::from_bytes(&filter.to_bytes()).unwrap();
        assert!((0..10_000u32).all(|i| filter.may_contain(key_hash(&i.to_be_bytes()))));
        let false_hits = (10_000..110_000u32).filter(|i| filter.may_contain(key_hash(&i.to_be_bytes()))).count();
        assert!(false_hits < 2_500, "{false_hits} of 100000");
    }
}
