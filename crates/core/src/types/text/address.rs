//! MariaDB's UUID, INET4 and INET6. The stored bytes are in the order of the text (network order), not in the
//! order MariaDB keeps a UUID on disk.

use super::number::push_padded_uint;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// `8-4-4-4-12` lower-case hexadecimal digits.
pub(super) fn push_uuid(bytes: &[u8], out: &mut Vec<u8>) {
    for (i, b) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX[usize::from(b >> 4)]);
        out.push(HEX[usize::from(b & 15)]);
    }
}

/// `a.b.c.d`.
pub(super) fn push_inet4(bytes: &[u8], out: &mut Vec<u8>) {
    for (i, b) in bytes.iter().enumerate() {
        if i > 0 {
            out.push(b'.');
        }
        push_padded_uint(u64::from(*b), 0, out);
    }
}

/// MariaDB's form: the first longest run of zero words (even a single one) becomes `::`; IPv4-compatible and
/// IPv4-mapped addresses end in dotted form.
pub(super) fn push_inet6(bytes: &[u8], out: &mut Vec<u8>) {
    let words: Vec<u16> = bytes.chunks_exact(2).map(|c| u16::from_be_bytes([c[0], c[1]])).collect();
    let (gap, gap_len) = longest_zero_run(&words);
    let mapped = gap_len == 5 && words.get(5) == Some(&0xffff);
    let dotted = gap == 0 && (gap_len == 6 || mapped);
    let mut i = 0;
    while i < words.len() {
        if gap_len > 0 && i == gap {
            out.extend_from_slice(b"::");
            i += gap_len;
            continue;
        }
        let after_gap = gap_len > 0 && i == gap + gap_len;
        if i > 0 && !after_gap {
            out.push(b':');
        }
        if dotted && i == 6 {
            return push_inet4(&bytes[12..], out);
        }
        push_hex(words[i], out);
        i += 1;
    }
}

/// Start and length of the first longest run of zeros; length 0 if there is none.
fn longest_zero_run(words: &[u16]) -> (usize, usize) {
    let mut best = (0, 0);
    let mut start = 0;
    for (i, word) in words.iter().enumerate() {
        if *word != 0 {
            start = i + 1;
        } else if i + 1 - start > best.1 {
            best = (start, i + 1 - start);
        }
    }
    best
}

fn push_hex(word: u16, out: &mut Vec<u8>) {
    let digits = (4 - word.leading_zeros() / 4).max(1);
    for place in (0..digits).rev() {
        out.push(HEX[usize::from(word >> (4 * place) & 15)]);
    }
}
