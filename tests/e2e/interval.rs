//! The interval changes while it runs, and takes effect at once.

use std::time::{Duration, Instant};

use tidelake_testkit::{MariaDb, MariaDbOptions};

use crate::crashes::wait_copied;
use crate::tidelake::{Tidelake, tidelake, tidelake_prints, wait_for};

/// Time from a commit to the first answer that has it.
fn commit_to_visible(upstream: &MariaDb, tidelake: &Tidelake, n: u32) -> Duration {
    upstream.execute(&format!("INSERT INTO d.t VALUES ({n})"));
    let begin = Instant::now();
    let client = tidelake.client();
    let wanted = format!("{n}\n").into_bytes();
    wait_for("a committed row", Duration::from_secs(90), || {
        (client.batch_text("SELECT MAX(n) FROM d.t") == wanted).then(|| begin.elapsed())
    })
}

#[test]
fn a_new_interval_takes_effect_at_once() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute("CREATE DATABASE d; CREATE TABLE d.t (n INT PRIMARY KEY)");
    let replica = Tidelake::run(&upstream.source_url(), &["--interval", "100ms"]);
    wait_copied(&replica);
    assert_eq!(replica.status()["interval_ms"], 100);
    let http = format!("127.0.0.1:{}", replica.ports().http);

    // Set to a minute, then called back: the writer must not sleep the minute.
    tidelake_prints(&["interval", "60s", "--http", &http]);
    assert_eq!(replica.status()["interval_ms"], 60_000);
    upstream.execute("INSERT INTO d.t VALUES (1)");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(replica.client().batch_text("SELECT COUNT(*) FROM d.t"), b"0\n", "a minute has not passed");
    let printed = tidelake_prints(&["interval", "20ms", "--http", &http]);
    assert!(printed.contains("20"), "{printed}");
    wait_for("the row after the change", Duration::from_secs(5), || {
        (replica.client().batch_text("SELECT COUNT(*) FROM d.t") == b"1\n").then_some(())
    });
    let mut fast: Vec<Duration> = (2..12).map(|n| commit_to_visible(&upstream, &replica, n)).collect();
    fast.sort_unstable();

    let url = format!("http://{http}/api/v1/interval");
    ureq::put(&url).send_json(serde_json::json!({"interval_ms": 1500})).expect("PUT the interval");
    assert_eq!(replica.status()["interval_ms"], 1500);
    let mut slow: Vec<Duration> = (12..18).map(|n| commit_to_visible(&upstream, &replica, n)).collect();
    slow.sort_unstable();
    println!("commit to visible: at 20 ms {fast:?}, at 1500 ms {slow:?}");
    assert!(fast[fast.len() / 2] < Duration::from_millis(700), "{fast:?}");
    assert!(slow[slow.len() - 1] > fast[fast.len() / 2], "fast {fast:?}, slow {slow:?}");
}

#[test]
fn an_interval_out_of_range_is_refused() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    let replica = Tidelake::run(&upstream.source_url(), &[]);
    let http = format!("127.0.0.1:{}", replica.ports().http);
    for wrong in ["0ms", "2m", "20"] {
        let output = tidelake(&["interval", wrong, "--http", &http]);
        assert!(!output.status.success(), "{wrong} was taken");
        assert!(!output.stderr.is_empty());
    }
    let url = format!("http://{http}/api/v1/interval");
    assert!(ureq::put(&url).send_json(serde_json::json!({"interval_ms": 0})).is_err());
    assert_eq!(replica.status()["interval_ms"], 100, "it stays as it was");
}
