//! An engine that was taken away for good is forgotten by its latch, and by every latch that leads later.

use std::time::{Duration, Instant};

use tidelake_access::{Caller, Right, Rights};
use tidelake_api::wire::{Forget, Known, decode, encode};
use tidelake_core::{CommitSeq, Error, Result};

use crate::hub::{LatchHome, publish, rig};

/// Longer than an engine says nothing between two reports.
const SILENCE: Duration = Duration::from_millis(3200);

async fn forget(latch: &LatchHome, caller: &Caller, engine: &str) -> Result<Vec<String>> {
    let ask = encode(Forget { engine: engine.into() }).expect("encodes");
    let answer = latch.seat.call(caller, "forget", &ask).await?;
    Ok(decode::<Known>(&answer)?.engines)
}

/// What the page lists.
async fn listed(latch: &LatchHome) -> String {
    match forget(latch, &Caller::trusted("me"), "nobody").await {
        Err(Error::NotFound(text)) => text.rsplit("knows ").next().unwrap_or_default().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_one_that_is_gone_for_good() {
    let (mut rig, [mut first, mut second]) = rig().await;
    publish(&mut *first, 1..=5).await.expect("published");
    publish(&mut *second, 1..=5).await.expect("published");
    rig.latch.shows(5).await;
    let (me, writer) = (Caller::trusted("me"), Rights::new(vec![Right::Write], None));
    let refused = forget(&rig.latch, &me, "two").await;
    assert!(matches!(&refused, Err(Error::Invalid(why)) if why.contains("end it first")), "{refused:?}");
    rig.engines[1].kill();
    drop(second);
    tokio::time::sleep(SILENCE).await;
    let other = Caller { user: "other".into(), rights: writer.into() };
    assert!(matches!(forget(&rig.latch, &other, "two").await, Err(Error::Denied(_))), "it needs the right admin");
    assert_eq!(listed(&rig.latch).await, "one, two");
    // Known, the next latch waits for it.
    rig.latch.restart();
    let begun = Instant::now();
    assert!(matches!(rig.latch.shown().await, Err(Error::Timeout(_))), "it may come back");
    assert_eq!(forget(&rig.latch, &me, "two").await.expect("it says nothing"), ["one"]);
    rig.latch.shows(5).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "nobody waits any more: {:?}", begun.elapsed());
    // Forgotten, none does.
    rig.latch.restart();
    let begun = Instant::now();
    rig.latch.shows(5).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(listed(&rig.latch).await, "one");
}

/// An engine comes back while it is being forgotten, again and again: it is there in the end, and nothing is shown that is older than what
/// was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv7_one_that_comes_back_while_it_is_forgotten_is_a_new_one() {
    let (mut rig, [mut first, mut second]) = rig().await;
    publish(&mut *first, 1..=5).await.expect("published");
    publish(&mut *second, 1..=5).await.expect("published");
    rig.latch.shows(5).await;
    drop(second);
    let seat = rig.latch.seat.clone();
    let forgetting = tokio::spawn(async move {
        let (me, ask) = (Caller::trusted("me"), encode(Forget { engine: "two".into() }).expect("encodes"));
        let mut forgotten = 0;
        loop {
            match seat.call(&me, "forget", &ask).await {
                Ok(_) => forgotten += 1,
                Err(Error::Invalid(_) | Error::NotFound(_)) => {}
                Err(other) => panic!("{other}"),
            }
            if forgotten == 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    for seq in 6..=8 {
        rig.engines[1].kill();
        publish(&mut *first, seq..=seq).await.expect("published");
        // It is forgotten as soon as it has been silent for long enough, and comes back right then.
        tokio::time::sleep(SILENCE).await;
        rig.engines[1].restart(&rig.latch);
        assert!(rig.latch.shown().await.expect("a seq") >= seq - 1, "what was shown is shown");
        rig.latch.shows(seq).await;
    }
    tokio::time::timeout(Duration::from_secs(10), forgetting).await.expect("three times").expect("no panic");
    // What it lost with its memory comes again, and it is waited for like any other.
    let mut second = rig.engines[1].writer(&rig.latch, &rig.session, "b").await.expect("adopted");
    publish(&mut *second, 1..=8).await.expect("published");
    tokio::time::sleep(Duration::from_millis(400)).await;
    publish(&mut *first, 9..=9).await.expect("published");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.latch.shown().await.expect("a seq"), 8, "it is waited for");
    publish(&mut *second, 9..=9).await.expect("published");
    rig.latch.shows(9).await;
    assert_eq!(listed(&rig.latch).await, "one, two");
    assert_eq!(rig.latch.seat.hub().expect("leads").shown(), CommitSeq(9));
}
