//! Valid bytes, and what may become of them.

use rand::Rng;
use rand::rngs::StdRng;

/// Some of: bits flipped, bytes replaced, a piece cut out, repeated or taken from other bytes, a length enlarged, the end cut off.
pub fn mutate(rng: &mut StdRng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..rng.random_range(1..5) {
        if out.is_empty() {
            break;
        }
        let at = rng.random_range(0..out.len());
        let end = (at + rng.random_range(1..40)).min(out.len());
        match rng.random_range(0..8) {
            0 | 1 => out[at] ^= 1 << rng.random_range(0..8),
            2 => out[at] = rng.random(),
            3 => drop(out.drain(at..end)),
            4 => {
                let piece = out[at..end].to_vec();
                out.splice(at..at, piece);
            }
            5 => {
                let from = rng.random_range(0..=other.len());
                let to = (from + rng.random_range(0..200)).min(other.len());
                out.splice(at..at, other[from..to].iter().copied());
            }
            // Lengths are one byte and more, little endian in MySQL's protocol and big endian in the others.
            6 => out[at..end.min(at + 4)].iter_mut().for_each(|byte| *byte = 0xff),
            _ => out.truncate(at),
        }
    }
    out
}
