//! Waiting for the stream to have read, and for the engine to have published. Dropped when the copy is cancelled.

use tidelake_core::ports::{Buffer, StoreEngine};
use tidelake_core::{CommitSeq, Error, Result, SourcePosition};

use super::super::Shared;

/// Until the engine shows everything up to `seq`.
///
/// # Errors
/// [`Error::Closed`] if the engine is gone.
pub(crate) async fn published_up_to(engine: &dyn StoreEngine, seq: CommitSeq) -> Result<()> {
    let mut published = engine.published();
    let there = published.wait_for(|progress| progress.seq >= seq).await;
    there.map(drop).map_err(|_| Error::Closed("the store engine".into()))
}

/// Until the engine shows everything the upstream had at `position`; returns a seq that holds all of it.
///
/// # Errors
/// [`Error::Closed`] if buffer or engine are gone; as for [`Shared::read_up_to`].
pub(super) async fn covered(
    shared: &Shared,
    buffer: &dyn Buffer,
    engine: &dyn StoreEngine,
    position: &SourcePosition,
) -> Result<CommitSeq> {
    shared.read_up_to(buffer, position).await?;
    let seq = buffer.seq_covering(position).unwrap_or_else(|| *buffer.head().borrow());
    published_up_to(engine, seq).await?;
    Ok(seq)
}
