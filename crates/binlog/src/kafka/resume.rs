//! From which offsets a partition must be read again so that nothing above a commit-ts is missed, and no DDL at it: TiCDC may send one after the
//! watermark that equals its commit-ts.

use std::collections::VecDeque;

use crate::ticdc::record::Event;

/// Messages that are remembered as one.
const SEGMENT: u32 = 500;

/// One partition's messages, in segments with their newest commit-ts.
#[derive(Debug, Default)]
pub struct Offsets {
    /// The offset expected next.
    pub next: i64,
    segments: VecDeque<Segment>,
}

#[derive(Debug)]
struct Segment {
    first: i64,
    /// The floor at which all of it was given out.
    newest: u64,
    messages: u32,
}

impl Offsets {
    /// Begins to read at an offset.
    #[must_use]
    pub fn at(offset: i64) -> Offsets {
        Offsets { next: offset, segments: VecDeque::new() }
    }

    /// A message with these events was read.
    pub fn read(&mut self, offset: i64, events: &[Event]) {
        let done_at = |event: &Event| match event {
            Event::Watermark(_) => 0,
            Event::Image { commit_ts, .. } => *commit_ts,
            // at its own commit-ts it may still wait
            Event::Ddl { commit_ts, .. } => commit_ts.saturating_add(1),
        };
        let commit_ts = events.iter().map(done_at).max().unwrap_or(0);
        self.next = offset + 1;
        match self.segments.back_mut().filter(|s| s.messages < SEGMENT) {
            Some(segment) => {
                segment.newest = segment.newest.max(commit_ts);
                segment.messages += 1;
            }
            None => self.segments.push_back(Segment { first: offset, newest: commit_ts, messages: 1 }),
        }
    }

    /// Where to resume once everything at or before `floor` is durable.
    pub fn resume(&mut self, floor: u64) -> i64 {
        while self.segments.front().is_some_and(|s| s.newest <= floor) {
            self.segments.pop_front();
        }
        self.segments.front().map_or(self.next, |s| s.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticdc::record::Ddl;

    #[test]
    fn nothing_above_the_floor_is_skipped() {
        let mut offsets = Offsets::at(10);
        let stamps: Vec<u64> = (0..3000).map(|i| (i * 7919) % 2000).collect();
        for (i, ts) in stamps.iter().enumerate() {
            offsets.read(10 + i as i64, &[Event::Image { commit_ts: *ts, image: Vec::new() }]);
        }
        for floor in [0, 500, 1500, 1998] {
            let resume = (offsets.resume(floor) - 10) as usize;
            assert!(stamps[..resume].iter().all(|ts| *ts <= floor), "floor {floor}: {resume}");
        }
        assert_eq!(offsets.resume(1999), 3010);
    }

    #[test]
    fn a_ddl_at_the_floor_is_read_again() {
        let mut offsets = Offsets::at(10);
        let ddl =
            Ddl { database: "d".into(), table: "t".into(), query: "TRUNCATE t".into(), columns: None, collation: None };
        offsets.read(10, &[Event::Watermark(7)]);
        assert_eq!(offsets.resume(7), 11);
        offsets.read(11, &[Event::Ddl { commit_ts: 7, ddl }]);
        assert_eq!((offsets.resume(7), offsets.resume(8)), (11, 12));
    }
}
