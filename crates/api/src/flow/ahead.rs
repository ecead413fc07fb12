//! Decoding ahead: the next batch is made while the one before is sent.

use futures::{StreamExt, stream};
use tidelake_core::Error;
use tidelake_core::ports::BatchStream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// The same batches, made by a task of their own, one ahead of whoever takes them.
pub(super) fn ahead(mut batches: BatchStream) -> BatchStream {
    let (sender, receiver) = mpsc::channel(1);
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            // The place first, so that no more than one batch waits.
            let Ok(place) = sender.reserve().await else { return };
            let next = batches.next().await;
            let ends = next.is_none();
            place.send(next);
            if ends {
                return;
            }
        }
    }));
    let state = Some((receiver, task));
    stream::unfold(state, |state| async move {
        let (mut receiver, task) = state?;
        match receiver.recv().await {
            Some(Some(batch)) => Some((batch, Some((receiver, task)))),
            Some(None) => None,
            // It said nothing of an end.
            None => Some((Err(broken(task).await), None)),
        }
    })
    .boxed()
}

async fn broken(task: AbortOnDropHandle<()>) -> Error {
    let why = task.await.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
    Error::Internal(format!("rows were being read by a task, of which {why}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use arrow::array::{Int32Array, RecordBatch};
    use futures::TryStreamExt;
    use tidelake_core::{Result, env};

    use super::*;

    fn batch(n: i32) -> RecordBatch {
        RecordBatch::try_from_iter([("a", Arc::new(Int32Array::from(vec![n])) as _)]).expect("a batch")
    }

    #[tokio::test]
    async fn batches_come_as_they_were() {
        let batches: Vec<_> = (0..100).map(batch).collect();
        let got: Result<Vec<_>> = ahead(stream::iter(batches.clone().into_iter().map(Ok)).boxed()).try_collect().await;
        assert_eq!(got.expect("all of them"), batches);
        let failing = stream::iter([Ok(batch(1)), Err(Error::Unavailable("gone".into()))]).boxed();
        let mut got = ahead(failing);
        assert_eq!(got.next().await.expect("one").expect("a batch"), batch(1));
        assert!(matches!(got.next().await, Some(Err(Error::Unavailable(why))) if why == "gone"));
    }

    #[tokio::test]
    async fn one_that_broke_off_is_no_end() {
        let panics = stream::iter(0..3).map(|n| if n < 2 { Ok(batch(n)) } else { panic!("a bug") }).boxed();
        let got: Result<Vec<_>> = ahead(panics).try_collect().await;
        assert!(matches!(got, Err(Error::Internal(why)) if why.contains("panic")));
    }

    #[tokio::test]
    async fn no_more_than_one_waits_and_none_is_made_for_nobody() {
        let made = Arc::new(AtomicUsize::new(0));
        let counted = made.clone();
        let endless = stream::iter(0..).map(move |n| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(batch(n))
        });
        let mut got = ahead(endless.boxed());
        for taken in 1..4 {
            got.next().await.expect("more").expect("a batch");
            env::sleep(Duration::from_millis(20)).await;
            assert_eq!(made.load(Ordering::Relaxed), taken + 1);
        }
        drop(got);
        env::sleep(Duration::from_millis(20)).await;
        assert_eq!(made.load(Ordering::Relaxed), 4);
    }
}
