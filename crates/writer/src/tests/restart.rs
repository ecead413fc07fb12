//! Crashes at random places: the rows after the replay are those of one run without a crash.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_core::ports::{Buffer, StoreEngine};
use tidelake_core::testing::tables::{accounts, int, sorted, text};

use super::{Bench, TestEvent, create, delete, insert};
use crate::WriterOptions;

#[tokio::test(flavor = "multi_thread")]
async fn inv2_crashes_lose_nothing_and_repeat_nothing() {
    for seed in 0..30 {
        let mut random = StdRng::seed_from_u64(seed);
        let options = WriterOptions {
            interval: Duration::from_millis(1),
            flush_interval: Duration::from_millis(random.random_range(0..5)),
            window_bytes: random.random_range(1..2000),
            ..WriterOptions::default()
        };
        let mut bench = Bench::new(options).await;
        let table = accounts(1, "a");
        let mut rows: Vec<i64> = Vec::new();
        // All transactions upstream ever had; a restart streams again from what the buffer kept.
        let mut log: Vec<Vec<TestEvent>> = vec![vec![create(&table)]];
        let row = |id: i64| vec![int(id), int(id * 2), text("x")];
        let mut streamed = 0;
        for _ in 0..150 {
            match random.random_range(0..20) {
                0..=12 => {
                    let id = log.len() as i64;
                    let mut events = vec![insert(&table, row(id))];
                    rows.push(id);
                    if random.random_bool(0.4) {
                        let gone = rows.swap_remove(random.random_range(0..rows.len()));
                        events.push(delete(&table, row(gone)));
                    }
                    log.push(events);
                }
                13..=16 => {
                    for (n, events) in log.iter().enumerate().skip(streamed) {
                        bench.commit(n as u64, events);
                    }
                    streamed = log.len();
                }
                17 | 18 => drop(bench.buffer.sync().unwrap()),
                _ => {
                    let served = bench.store.durable().borrow().seq;
                    bench = bench.crash().await;
                    assert!(bench.store.published().borrow().seq >= served);
                    streamed = bench.buffer.read_position().borrow().as_ref().map_or(0, |p| p.minor as usize + 1);
                    // Sources may send the last one again.
                    streamed = streamed.saturating_sub(random.random_range(0..2));
                }
            }
        }
        for (n, events) in log.iter().enumerate().skip(streamed) {
            bench.commit(n as u64, events);
        }
        bench.settle().await;
        let expected = rows.iter().map(|id| row(*id)).collect();
        assert_eq!(bench.rows(&table.name).await.unwrap(), sorted(expected), "seed {seed}");
        bench.stop().await;
    }
}
