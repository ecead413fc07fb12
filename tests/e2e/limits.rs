//! Small limits: more passes through than fits at once, and one transaction is larger than anything in memory.

use tidelake_testkit::{MariaDb, MariaDbOptions};

use crate::compare::assert_same_contents;
use crate::crashes::wait_copied;
use crate::store;
use crate::tidelake::Tidelake;

#[test]
fn more_passes_through_than_buffer_and_memory_hold() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&store::setup());
    let options = ["--buffer-limit", "24MiB", "--memtable-limit", "1MiB", "--interval", "20ms"];
    let mut tidelake = Tidelake::run(&upstream.source_url(), &options);
    wait_copied(&tidelake);
    // Each round is one transaction of some 4 MB of events; all together are more than the buffer may keep.
    for round in 1..=8 {
        let sql = format!("UPDATE store.ledger SET note = REPEAT('{round}', 24)");
        upstream.execute(&sql);
        if round == 4 {
            tidelake.kill9();
            tidelake.restart();
        }
    }
    assert_same_contents(&upstream, &tidelake);
    let buffer = &tidelake.status()["buffer"];
    assert!(buffer["bytes"].as_u64() <= Some(24 << 20), "{buffer}");
}
