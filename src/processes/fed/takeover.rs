//! A writer without a buffer goes on where the engines are. The latch decides whose seqs count from then on, in one step.

use anyhow::{Context, Result, bail, ensure};
use tidelake_api::wire::Lineages;
use tidelake_api::{Connection, Fed, FleetLine, LatchLine, fence, new_name};
use tidelake_core::ports::store::Progress;
use tidelake_core::{CommitSeq, Error, env};
use tokio_util::sync::CancellationToken;

use crate::data_dir::DataDir;
use crate::processes::lineage::Lineage;
use crate::processes::{NO_PLACE, until_answered};

/// An engine's address, and what it has.
type Stands = (String, Fed);

/// The lineage of the writer's buffer; a new one begins where the engines are. `None` if cancelled before.
///
/// # Errors
/// Engines that cannot go on together, with what to do.
pub async fn lineage(
    dir: &DataDir,
    line: &LatchLine,
    engines: &[(String, Connection)],
    cancel: &CancellationToken,
) -> Result<Option<Lineage>> {
    let lineage = match Lineage::load(dir)? {
        Some(known) => known,
        None => match take_over(dir, line, engines, cancel).await? {
            Some(begun) => begun,
            None => return Ok(None),
        },
    };
    let Lineage { begin, .. } = &lineage;
    tidelake_buffer::DiskBuffer::begin_after(&dir.buffer(), begin.seq, &begin.position)
        .context("begin the Data Buffer")?;
    Ok(Some(lineage))
}

async fn take_over(
    dir: &DataDir,
    line: &LatchLine,
    engines: &[(String, Connection)],
    cancel: &CancellationToken,
) -> Result<Option<Lineage>> {
    let latch = "the latch cannot be reached";
    let Some(known) = until_answered(latch, cancel, || FleetLine::lineages(line)).await? else { return Ok(None) };
    let Some(epoch) = until_answered(latch, cancel, || FleetLine::grant(line, None)).await? else { return Ok(None) };
    let mut stand: Vec<Stands> = Vec::new();
    // Every one must be fenced: whoever writes there still would go on with seqs that mean something else.
    for (address, connection) in engines {
        let what = format!("the engine at {address} cannot be reached, and a new buffer begins where all engines are");
        let Some(fed) = until_answered(&what, cancel, || fence(connection, epoch)).await? else { return Ok(None) };
        stand.push((address.clone(), fed));
    }
    let (before, at) = agree(&known, &stand)?;
    let name = new_name();
    let taken = || FleetLine::take_over(line, epoch, &name, known.lineage.clone(), before.clone(), at.seq);
    match taken().await {
        Ok(_) => {}
        // It may have been taken note of: then it is ours, and nobody else's.
        Err(error) if error.is_transient() => {
            let Some(now) = until_answered(latch, cancel, || FleetLine::lineages(line)).await? else { return Ok(None) };
            if now.lineage.as_ref() != Some(&name) {
                return Err(error).context("take over at the latch; start the writer again");
            }
        }
        Err(error) => return Err(error).context("take over at the latch"),
    }
    let begun = Lineage { name, begin: at, caught_up: false };
    begun.keep(dir)?;
    if begun.begin.seq > CommitSeq::ZERO {
        tracing::info!(seq = %begun.begin.seq, position = %begun.begin.position, "taking over where the engines are");
    }
    Ok(Some(begun))
}

/// Whose seqs the engines have, and how far the hindmost is: upstream has what follows, and what the others have of it already is compared with that
/// ([`super::adopt`]). One that has nothing, or only lacks records of a copy, is left out, as what the others have is in no bin log: until it begins
/// with another engine's files.
fn agree(known: &Lineages, stand: &[Stands]) -> Result<(Option<String>, Progress)> {
    let filled = || stand.iter().filter(|(_, fed)| fed.durable.seq > CommitSeq::ZERO);
    let common = match &known.lineage {
        Some(own) => Some(own.clone()),
        None => filled().next().and_then(|(_, fed)| fed.lineage.clone()),
    };
    let foreign = filled().find(|(_, fed)| !is_of(known, common.as_deref(), fed, false));
    // What went beyond where a buffer was left is compared later, with the new one's own.
    let whole = || filled().filter(|(_, fed)| is_of(known, common.as_deref(), fed, true));
    let strange = foreign.or_else(|| filled().next().filter(|_| whole().next().is_none()));
    if let Some((address, fed)) = strange {
        let (theirs, own) = (fed.lineage.as_deref().unwrap_or("none"), common.as_deref().unwrap_or("none"));
        bail!(
            "the engine at {address} has the transactions of another Data Buffer ({theirs}) than the others ({own}): leave it \
             out, or let it begin with another engine's files (docs/guide.md)"
        );
    }
    // An older Tidelake's copy does not say from where on upstream's changes are missing.
    let placed = whole().map(|(_, fed)| &fed.durable).filter(|at| at.position.is_known());
    // At one place of the upstream they differ by records of a copy only, which were lost with the buffer: who has most of them has all.
    let order = |a: &&Progress, b: &&Progress| a.position.cmp_order(&b.position).then(b.seq.cmp(&a.seq));
    let at = match env::is_flawed("a takeover begins at the foremost") {
        false => placed.min_by(order),
        true => placed.max_by(order),
    };
    let at = at.cloned();
    ensure!(at.is_some() || filled().next().is_none(), NO_PLACE);
    let at = at.unwrap_or_default();
    for (address, fed) in stand.iter().filter(|(_, fed)| fed.durable.seq < at.seq) {
        tracing::error!(
            engine = %address, has = %fed.durable.seq, others = %at.seq,
            "the engine has nothing, or lacks records of a copy: let it begin with another engine's files (docs/guide.md)"
        );
    }
    Ok((common, at))
}

/// True if the engine has the buffer that counts, or one that it went on from; `wholly`: and nothing beyond where that was left.
fn is_of(known: &Lineages, common: Option<&str>, fed: &Fed, wholly: bool) -> bool {
    let Some(own) = fed.lineage.as_deref() else { return false };
    let before = known.ancestors.iter().find(|before| before.lineage == own);
    Some(own) == common || before.is_some_and(|before| !wholly || fed.durable.seq <= before.upto)
}

/// Trying again mends nothing, at this engine; others may go on.
pub fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Invalid(_) | Error::NotFound(_))
}

#[cfg(test)]
mod tests {
    use tidelake_api::wire::Before;
    use tidelake_core::SourcePosition;

    use super::*;

    fn stands(lineage: Option<&str>, seq: u64) -> Stands {
        let position = SourcePosition { minor: seq, ..SourcePosition::default() };
        let at = Progress { seq: CommitSeq(seq), position };
        (format!("{lineage:?}"), Fed { lineage: lineage.map(str::to_owned), published: at.clone(), durable: at })
    }

    fn known(lineage: Option<&str>, ancestors: &[(&str, u64)]) -> Lineages {
        let before = |(lineage, upto): &(&str, u64)| Before { lineage: (*lineage).to_owned(), upto: CommitSeq(*upto) };
        Lineages { lineage: lineage.map(str::to_owned), ancestors: ancestors.iter().map(before).collect() }
    }

    #[test]
    fn a_copy_without_its_place_is_no_place_to_begin() {
        let mut copying = stands(Some("a"), 5);
        copying.1.durable.position = SourcePosition::default();
        let refused = agree(&known(Some("a"), &[]), &[copying.clone()]).expect_err("nobody knows where upstream was");
        assert!(refused.to_string().contains("did not note"), "{refused}");
        let (_, at) =
            agree(&known(Some("a"), &[]), &[copying, stands(Some("a"), 8)]).expect("the other one is further");
        assert_eq!(at.seq, CommitSeq(8));
    }

    /// Two engines in the middle of a copy, on an upstream that stood meanwhile.
    #[test]
    fn what_only_a_copy_put_in_is_not_thrown_away() {
        let mut further = stands(Some("a"), 9);
        further.1.durable.position.minor = 5;
        let all = [stands(Some("a"), 5), further.clone(), stands(Some("a"), 12)];
        let (_, at) = agree(&known(Some("a"), &[]), &all).expect("of one buffer");
        assert_eq!(at.seq, CommitSeq(9), "the bin log has what comes after it, not what is before");
    }

    #[test]
    fn a_new_buffer_begins_where_the_hindmost_engine_is() {
        let (before, at) = agree(&known(None, &[]), &[stands(None, 0), stands(None, 0)]).expect("empty ones agree");
        assert_eq!((before, at.seq), (None, CommitSeq::ZERO));
        let both = [stands(Some("a"), 8), stands(Some("a"), 9)];
        let (before, at) = agree(&known(Some("a"), &[]), &both).expect("of one buffer");
        assert_eq!((before.as_deref(), at.seq), (Some("a"), CommitSeq(8)));
        let (_, at) = agree(&known(Some("a"), &[]), &[both[0].clone(), stands(None, 0)]).expect("one is left out");
        assert_eq!(at.seq, CommitSeq(8));
        let (before, _) = agree(&known(None, &[]), &both).expect("a latch that knows nothing");
        assert_eq!(before.as_deref(), Some("a"));
    }

    /// A takeover that ended before its buffer began leaves a lineage that no engine has.
    #[test]
    fn the_beginning_of_a_buffer_is_that_buffers() {
        let ancestors = [("a", 9)];
        let (before, at) =
            agree(&known(Some("b"), &ancestors), &[stands(Some("a"), 9), stands(Some("b"), 9)]).expect("fits");
        assert_eq!((before.as_deref(), at.seq), (Some("b"), CommitSeq(9)));
        assert!(agree(&known(Some("b"), &ancestors), &[stands(Some("a"), 10)]).is_err(), "it went another way");
        let (_, at) =
            agree(&known(Some("b"), &ancestors), &[stands(Some("a"), 12), stands(Some("a"), 9)]).expect("one of two");
        assert_eq!(at.seq, CommitSeq(9), "the other is compared later");
        assert!(agree(&known(Some("b"), &[]), &[stands(Some("x"), 3)]).is_err());
        assert!(agree(&known(None, &[]), &[stands(Some("a"), 3), stands(Some("b"), 3)]).is_err());
    }
}
