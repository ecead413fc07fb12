//! SIGKILL at random moments, in the copy and in the stream, while the upstream never rests.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

use crate::audit::Auditor;
use crate::compare::assert_same_contents;
use crate::load::{Load, Workload, with_sequences};
use crate::tidelake::Tidelake;
use crate::{bank, kinds, store};

/// Kills while tables are being copied, kills while all tables stream.
const KILLS: (u32, u32) = (3, 4);

/// Clients of every kind that a server has.
pub fn everybody(kind: ServerKind) -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(bank::Teller(1)),
        Box::new(bank::Teller(2)),
        Box::new(store::Clerk::new(1)),
        Box::new(kinds::Tinkerer(kind)),
    ]
}

/// Asks until no table is being copied and there are tables. A process with a source is asked.
pub fn wait_copied(tidelake: &Tidelake) {
    let begin = Instant::now();
    loop {
        let status = tidelake.status();
        let tables = status["tables"].as_array().expect("tables is a list");
        let stopped: Vec<_> = tables.iter().filter(|t| t["state"] == "stopped").collect();
        assert!(stopped.is_empty(), "stopped: {stopped:?}\n{}", tidelake.printed());
        if !tables.is_empty() && tables.iter().all(|t| t["state"] == "live") {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(90), "still copying: {status}\n{}", tidelake.printed());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn killed_at_random_moments_it_resumes_exactly() {
    killed_at_random_moments(ServerKind::MariaDb);
}

#[test]
fn killed_at_random_moments_it_resumes_exactly_on_mysql_9() {
    killed_at_random_moments(ServerKind::MySqlNew);
}

#[test]
fn killed_at_random_moments_it_resumes_exactly_on_mysql_5_6() {
    killed_at_random_moments(ServerKind::MySqlOld);
}

fn killed_at_random_moments(kind: ServerKind) {
    let upstream = MariaDb::start(MariaDbOptions::of(kind));
    upstream.execute(&with_sequences(&upstream, &(bank::setup() + &store::setup() + &kinds::setup(kind))));
    let load = Load::start(&upstream, everybody(kind), Duration::from_millis(4));
    // Small chunks: the copy meets many transactions, and the kills meet the copy.
    let options = ["--interval", "20ms", "--copy-chunk-rows", "400", "--flush-interval", "1s"];
    let mut tidelake = Tidelake::run(&upstream.source_url(), &options);
    let auditor = Auditor::start(tidelake.address());
    let mut rng = StdRng::seed_from_u64(7);
    for _ in 0..KILLS.0 {
        std::thread::sleep(Duration::from_millis(rng.random_range(50..900)));
        tidelake.kill9();
        tidelake.restart();
    }
    wait_copied(&tidelake);
    for _ in 0..KILLS.1 {
        std::thread::sleep(Duration::from_millis(rng.random_range(300..2500)));
        assert!(!auditor.has_failed(), "{:?}", auditor.finish());
        tidelake.kill9();
        // Sometimes it is killed again before it listens.
        if rng.random_bool(0.5) {
            tidelake.spawn();
            std::thread::sleep(Duration::from_millis(rng.random_range(10..300)));
            tidelake.kill9();
        }
        tidelake.restart();
    }
    std::thread::sleep(Duration::from_secs(2));
    let committed: u64 = load.stop().iter().map(|done| done.committed).sum();
    assert_same_contents(&upstream, &tidelake);
    let seen = auditor.finish();
    assert!(committed > 200 && seen.bank > 10 && seen.store > 10, "{committed} transactions, right answers: {seen:?}");
}
