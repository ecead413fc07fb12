//! Watermarks of a feed that comes in several parts, none of which knows the others.

/// The newest watermark of each partition. The feed's own is the least of them: a partition that has sent none holds all back.
pub struct Watermarks {
    newest: Vec<u64>,
}

impl Watermarks {
    /// For so many partitions.
    #[must_use]
    pub fn new(partitions: usize) -> Watermarks {
        Watermarks { newest: vec![0; partitions] }
    }

    /// A partition's watermark: it may repeat or fall after a restart of the changefeed, and then changes nothing.
    pub fn advance(&mut self, partition: usize, watermark: u64) {
        if let Some(newest) = self.newest.get_mut(partition) {
            *newest = watermark.max(*newest);
        }
    }

    /// A new partition appeared: it holds all back until its first watermark.
    pub fn grow(&mut self, partitions: usize) {
        self.newest.resize(partitions.max(self.newest.len()), 0);
    }

    /// Everything at or before was sent on every partition.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.newest.iter().copied().min().unwrap_or(0)
    }

    /// The partition that holds the others back.
    #[must_use]
    pub fn slowest(&self) -> usize {
        (0..self.newest.len()).min_by_key(|p| self.newest[*p]).unwrap_or(0)
    }

    /// A partition's own watermark.
    #[must_use]
    pub fn of(&self, partition: usize) -> u64 {
        self.newest.get(partition).copied().unwrap_or(0)
    }
}
