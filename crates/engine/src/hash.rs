//! The hash of key bytes: stable across versions (filters on disk use it), fast on short keys. Equality is always
//! decided by the key bytes themselves.

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xd6e8_feb8_6659_fd93;

fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// Hash of a key.
#[must_use]
pub fn key_hash(bytes: &[u8]) -> u64 {
    let mut h = fold(bytes.len() as u64 ^ K1, K0);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("chunks of 8 bytes"));
        h = fold(h ^ word, K0).rotate_left(23);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut last = [0u8; 8];
        last[..rest.len()].copy_from_slice(rest);
        h = fold(h ^ u64::from_le_bytes(last), K1);
    }
    fold(h ^ K1, K0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_keys_spread() {
        let mut seen = std::collections::HashSet::new();
        for i in 0..100_000u32 {
            seen.insert(key_hash(&i.to_be_bytes()) >> 32);
        }
        assert!(seen.len() > 99_990, "{}", seen.len());
        assert_ne!(key_hash(b"ab"), key_hash(b"ab\0"));
    }

    /// Filters on disk were written with this hash.
    #[test]
    fn hash_is_stable() {
        assert_eq!([key_hash(b""), key_hash(b"a row of a table")], [STABLE_EMPTY, STABLE_TEXT]);
    }

    const STABLE_EMPTY: u64 = 0xb98b_148f_3731_bb98;
    const STABLE_TEXT: u64 = 0x4097_40f4_af7e_6f66;
}
