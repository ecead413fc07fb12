//! An engine that is further than where a new buffer began.
//!
//! A buffer that was lost had written to one engine a little more than to another, and the new one begins where the hindmost was. What the others
//! have beyond that is of the old buffer; but seqs are counted along the upstream's own order, so as long as both buffers had nothing
//! but its transactions there, they mean the same. That is so if the new buffer has only such transactions up to the engine's seq, and has
//! there the engine's very position: then the old one had just as many up to there, and no control records among them.

use std::sync::Arc;

use tidelake_api::Fed;
use tidelake_api::wire::Before;
use tidelake_core::ports::{Buffer, BufferedPayload};
use tidelake_core::{CommitSeq, Error, Result, SourcePosition, env};

/// The buffers whose seqs an engine may have to go on with `lineage`, which began at `begin`: those of `ancestors`, with what the engine has
/// beyond them if that is the new buffer's too. Waits until the new buffer has read as far.
///
/// # Errors
/// A buffer that cannot be read.
pub async fn ancestors(
    buffer: &Arc<dyn Buffer>,
    lineage: &str,
    begin: CommitSeq,
    ancestors: &[Before],
    fed: &Fed,
) -> Result<Vec<Before>> {
    let mut all = ancestors.to_vec();
    let own = fed.lineage.as_deref().filter(|own| *own != lineage);
    let Some(before) = all.iter_mut().find(|before| own == Some(before.lineage.as_str())) else { return Ok(all) };
    // Between the two is what neither buffer has any more.
    if fed.published.seq <= before.upto || before.upto < begin {
        return Ok(all);
    }
    let mut head = buffer.head();
    tracing::info!(engine = %fed.published.seq, buffer = %*head.borrow(), "an engine is further than this buffer: waiting until it has read as far");
    head.wait_for(|head| *head >= fed.published.seq).await.map_err(|_| Error::Closed("the buffer is closed".into()))?;
    let (reader, upto, position) = (buffer.clone(), fed.published.seq, fed.published.position.clone());
    let same = env::spawn_blocking(move || is_same(&*reader, begin, upto, &position)).await;
    if same.map_err(|e| Error::Internal(format!("looking at the buffer: {e}")))?? {
        before.upto = upto;
    }
    Ok(all)
}

/// True if everything after `begin` up to `upto` is upstream's, and ends at this position.
fn is_same(buffer: &dyn Buffer, begin: CommitSeq, upto: CommitSeq, position: &SourcePosition) -> Result<bool> {
    let mut reader = buffer.read_after(begin)?;
    while let Some(transaction) = reader.next()? {
        if matches!(transaction.payload, BufferedPayload::Control(_)) {
            return Ok(false);
        }
        if transaction.seq >= upto {
            let at = &transaction.position;
            let same = (at.major, at.minor, &at.token) == (position.major, position.minor, &position.token);
            return Ok(transaction.seq == upto && same && position.is_known());
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidelake_buffer::{BufferOptions, DiskBuffer};
    use tidelake_core::ports::store::Progress;

    use super::*;

    fn at(n: u64) -> SourcePosition {
        SourcePosition { major: 1, minor: n, token: format!("at {n}"), commit_time_us: 0 }
    }

    fn transaction(buffer: &dyn Buffer, n: u64) {
        let mut appender = buffer.begin(&format!("id {n}")).expect("begin");
        appender.push(b"event").expect("push");
        appender.commit(at(n)).expect("commit");
        buffer.sync().expect("sync");
    }

    async fn upto(buffer: &Arc<dyn Buffer>, seq: u64, position: u64) -> u64 {
        let published = Progress { seq: CommitSeq(seq), position: at(position) };
        let fed = Fed { lineage: Some("old".into()), published: published.clone(), durable: published };
        let before = Before { lineage: "old".into(), upto: CommitSeq(5) };
        let found = ancestors(buffer, "new", CommitSeq(5), &[before], &fed).await.expect("judged");
        found.first().expect("one").upto.0
    }

    #[tokio::test]
    async fn what_both_buffers_have_is_the_same() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("buffer");
        DiskBuffer::begin_after(&path, CommitSeq(5), &at(50)).expect("begun");
        let buffer: Arc<dyn Buffer> = DiskBuffer::open(BufferOptions::new(path)).expect("open");
        (51..=54).for_each(|n| transaction(&*buffer, n));
        assert_eq!(upto(&buffer, 5, 50).await, 5, "it is not further");
        assert_eq!(upto(&buffer, 7, 52).await, 7, "two transactions, and the same place");
        assert_eq!(upto(&buffer, 8, 52).await, 5, "the old one had a control record among them");
        assert_eq!(upto(&buffer, 7, 99).await, 5);
        buffer.append_control(Bytes::from_static(b"c")).expect("append");
        buffer.sync().expect("sync");
        assert_eq!(upto(&buffer, 9, 54).await, 9);
        assert_eq!(upto(&buffer, 10, 54).await, 5, "one of the two is not upstream's");
    }
}
