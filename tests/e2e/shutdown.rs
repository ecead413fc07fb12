//! Ctrl-C.

use std::time::Duration;

use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

use crate::compare::assert_same_contents;
use crate::crashes::{everybody, wait_copied};
use crate::load::Load;
use crate::tidelake::Tidelake;
use crate::{bank, kinds, store};

#[test]
fn ctrl_c_ends_well_and_the_next_start_goes_on() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&(bank::setup() + &store::setup() + &kinds::setup(ServerKind::MariaDb)));
    let load = Load::start(&upstream, everybody(ServerKind::MariaDb), Duration::from_millis(5));
    let mut tidelake = Tidelake::run(&upstream.source_url(), &["--interval", "50ms", "--copy-chunk-rows", "1000"]);
    // Once in the copy, once in the stream.
    assert_eq!(tidelake.interrupt().code(), Some(0), "{}", tidelake.printed());
    tidelake.restart();
    wait_copied(&tidelake);
    assert_eq!(tidelake.interrupt().code(), Some(0), "{}", tidelake.printed());
    std::thread::sleep(Duration::from_millis(500));
    tidelake.restart();
    load.stop();
    assert_same_contents(&upstream, &tidelake);
}
