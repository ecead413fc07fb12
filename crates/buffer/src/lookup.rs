//! Looking up seqs by moments of the upstream's history, and the other way round: in the retained segments by their sparse
//! index, before them in what is kept of the released ones.

use std::sync::Arc;

use tidelake_core::{CommitSeq, Error, Moment, Result};

use crate::disk_buffer::Shared;
use crate::history::Place;
use crate::reader::DiskReader;
use crate::segment::IndexEntry;

/// A release beside a look-up may take away what it reads; then it is in the history.
const TRIES: usize = 8;

fn retried<T>(mut look: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match look() {
            Err(Error::NotFound(_)) => {}
            done => return done,
        }
    }
    look()
}

/// As [`tidelake_core::ports::Buffer::seq_at`].
pub(crate) fn seq_at(shared: &Arc<Shared>, moment: &Moment) -> Result<Option<CommitSeq>> {
    retried(|| {
        let head = *shared.head.borrow();
        let log = shared.log.lock();
        log.check()?;
        let fits = |e: &IndexEntry| e.seq <= head && e.place.is_within(moment);
        let segment = log.segments.iter().rposition(|s| s.index.first().is_some_and(fits));
        let entry = segment.and_then(|at| {
            let index = &log.segments[at].index;
            index[..index.partition_point(fits)].last().copied()
        });
        let (released, before) = (log.released.seq, log.released.tail.place());
        drop(log);
        match entry {
            Some(entry) => newest_from(shared, entry, moment),
            None if before.is_within(moment) => Ok(Some(released).filter(|_| before.is_known(moment))),
            None => shared.history.lock().seq_at(moment),
        }
    })
}

/// The newest seq from an index entry on that is within the moment.
fn newest_from(shared: &Arc<Shared>, entry: IndexEntry, moment: &Moment) -> Result<Option<CommitSeq>> {
    let (mut newest, mut place) = (entry.seq, entry.place);
    let mut reader = DiskReader::records_after(shared.clone(), entry.seq)?;
    while let Some((seq, next)) = reader.next_place(place)? {
        if !next.is_within(moment) {
            break;
        }
        (newest, place) = (seq, next);
    }
    Ok(Some(newest).filter(|_| place.is_known(moment)))
}

/// As [`tidelake_core::ports::Buffer::commit_time`].
pub(crate) fn commit_time(shared: &Arc<Shared>, seq: CommitSeq) -> Result<Option<i64>> {
    let place = retried(|| place_of(shared, seq))?;
    Ok(place.map(|p| p.time_us).filter(|us| *us != 0))
}

fn place_of(shared: &Arc<Shared>, seq: CommitSeq) -> Result<Option<Place>> {
    if seq > *shared.head.borrow() {
        return Ok(None);
    }
    let log = shared.log.lock();
    log.check()?;
    if seq == log.released.seq {
        return Ok(Some(log.released.tail.place()));
    }
    if seq < log.released.seq {
        drop(log);
        return shared.history.lock().place_of(seq);
    }
    let at = log.segments.partition_point(|s| s.first_seq <= seq).saturating_sub(1);
    let index = &log.segments[at].index;
    let entry = index[..index.partition_point(|e| e.seq <= seq)].last().copied();
    drop(log);
    let Some(entry) = entry else { return Ok(None) };
    let mut place = entry.place;
    let mut reader = DiskReader::records_after(shared.clone(), entry.seq)?;
    while let Some((at, next)) = reader.next_place(place)? {
        if at > seq {
            break;
        }
        place = next;
    }
    Ok(Some(place))
}
