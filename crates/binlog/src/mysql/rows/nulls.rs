//! Which values of a column are NULL: nothing is stored until the first one comes.

use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};

/// A growing validity bitmap.
#[derive(Default)]
pub(super) struct Nulls {
    len: usize,
    /// Bit *i*: value *i* is there. Empty before the first NULL; then it has `len` bits, and zeros behind them.
    bits: Vec<u8>,
}

impl Nulls {
    #[inline]
    pub(super) fn append_values(&mut self, count: usize) {
        if self.bits.is_empty() {
            self.len += count;
        } else {
            (0..count).for_each(|_| self.push(true));
        }
    }

    #[inline]
    pub(super) fn append(&mut self, is_value: bool) {
        if is_value { self.append_values(1) } else { self.append_null() }
    }

    pub(super) fn append_null(&mut self) {
        if self.bits.is_empty() {
            self.begin();
        }
        self.push(false);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.len = len;
        self.bits.truncate(len.div_ceil(8));
        if !len.is_multiple_of(8)
            && let Some(last) = self.bits.last_mut()
        {
            *last &= (1 << (len % 8)) - 1;
        }
    }

    pub(super) fn finish(&mut self) -> Option<NullBuffer> {
        let (len, bits) = (std::mem::take(&mut self.len), std::mem::take(&mut self.bits));
        let nulls = (!bits.is_empty()).then(|| NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, len)));
        nulls.filter(|n| n.null_count() > 0)
    }

    /// All values so far are there.
    #[cold]
    fn begin(&mut self) {
        self.bits = vec![0xff; self.len.div_ceil(8)];
        if !self.len.is_multiple_of(8)
            && let Some(last) = self.bits.last_mut()
        {
            *last = (1 << (self.len % 8)) - 1;
        }
    }

    #[inline]
    fn push(&mut self, is_value: bool) {
        let bit = u8::from(is_value) << (self.len % 8);
        match self.bits.last_mut() {
            Some(last) if !self.len.is_multiple_of(8) => *last |= bit,
            _ => self.bits.push(bit),
        }
        self.len += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_the_values() {
        for nulls_at in [vec![], vec![0], vec![7], vec![8, 9], vec![0, 1, 2, 15, 16, 29]] {
            for cut in [0, 1, 7, 8, 9, 16, 17, 30] {
                let mut nulls = Nulls::default();
                (0..30).for_each(|i| nulls.append(!nulls_at.contains(&i)));
                nulls.truncate(cut);
                nulls.append_values(3);
                nulls.append_null();
                let built = nulls.finish().expect("the last one is NULL");
                let wanted = (0..cut).map(|i| !nulls_at.contains(&i)).chain([true, true, true, false]);
                assert_eq!(built.iter().collect::<Vec<_>>(), wanted.collect::<Vec<_>>(), "{nulls_at:?} cut at {cut}");
                assert!(nulls.finish().is_none());
            }
        }
    }
}
