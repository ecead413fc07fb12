//! Tables copied again, added and removed while it runs: no reader ever meets a gap or a half.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind, SqlClient};

use crate::audit::Auditor;
use crate::compare::assert_same_contents;
use crate::crashes::wait_copied;
use crate::load::{Load, Workload, with_sequences};
use crate::tidelake::{Tidelake, tidelake, tidelake_prints, wait_for};
use crate::{bank, store};

const ROWS: usize = 3000;

/// A table with a key and one without, and a change of both that the binlog does not have.
fn setup_hidden() -> String {
    format!(
        "CREATE DATABASE d; USE d; CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(20)); CREATE TABLE d.n (id INT, v VARCHAR(20));
         INSERT INTO d.t SELECT seq, 'old' FROM seq_1_to_{ROWS}; INSERT INTO d.n SELECT seq, 'old' FROM seq_1_to_{ROWS};"
    )
}

fn change_hidden(upstream: &MariaDb) {
    upstream.execute(
        "SET sql_log_bin = 0; UPDATE d.t SET v = 'hidden' WHERE id = 7; UPDATE d.n SET v = 'hidden' WHERE id = 7",
    );
}

fn http(replica: &Tidelake) -> String {
    format!("127.0.0.1:{}", replica.ports().http)
}

/// A reader that must see all rows of a table at every moment.
fn watch(port: u16, table: &'static str, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let stop = stop.clone();
    std::thread::spawn(move || {
        let client = SqlClient::root(port);
        let (mut reads, wanted) = (0, format!("{ROWS}\n"));
        while !stop.load(Ordering::Relaxed) {
            let found = client.batch_text(&format!("SELECT COUNT(*) FROM {table}"));
            assert_eq!(String::from_utf8_lossy(&found), wanted, "{table}");
            reads += 1;
        }
        reads
    })
}

#[test]
fn a_table_is_copied_again_beside_itself_and_swapped_in() {
    copied_again(ServerKind::MariaDb);
}

#[test]
fn a_table_of_mysql_9_is_copied_again_beside_itself_and_swapped_in() {
    copied_again(ServerKind::MySqlNew);
}

fn copied_again(kind: ServerKind) {
    let upstream = MariaDb::start(MariaDbOptions::of(kind));
    upstream.execute(&with_sequences(&upstream, &(bank::setup() + &setup_hidden())));
    let replica = Tidelake::run(&upstream.source_url(), &["--interval", "20ms", "--copy-chunk-rows", "100"]);
    wait_copied(&replica);
    let hidden = "SELECT (SELECT COUNT(*) FROM d.t WHERE v = 'hidden'), (SELECT COUNT(*) FROM d.n WHERE v = 'hidden')";
    change_hidden(&upstream);
    assert_eq!(replica.latest(hidden), b"0\t0\n", "the binlog does not have it");
    let auditor = Auditor::start(replica.address());
    let clients: Vec<Box<dyn Workload>> = vec![Box::new(bank::Teller(1)), Box::new(bank::Teller(2))];
    let load = Load::start(&upstream, clients, Duration::from_millis(3));
    let stop = Arc::new(AtomicBool::new(false));
    let watchers = ["d.t", "d.n"].map(|table| watch(replica.ports().mysql, table, &stop));
    for table in ["d.t", "d.n", "bank.accounts", "bank.transfers", "bank.`clock`"] {
        let printed = tidelake_prints(&["resync", table, "--wait", "--http", &http(&replica)]);
        assert!(printed.contains("was copied again"), "{printed}");
    }
    assert_eq!(replica.latest(hidden), b"1\t1\n");
    stop.store(true, Ordering::Relaxed);
    for watcher in watchers {
        assert!(watcher.join().expect("every count was right") > 5);
    }
    load.stop();
    assert_same_contents(&upstream, &replica);
    assert!(auditor.finish().bank > 5);
    upstream.execute("SET sql_log_bin = 0; DROP TABLE d.n");
    let gone = tidelake(&["resync", "d.n", "--wait", "--http", &http(&replica)]);
    assert!(!gone.status.success() && String::from_utf8_lossy(&gone.stderr).contains("d.n was not copied again"));
    let refused = tidelake(&["resync", "d.nothing", "--http", &http(&replica)]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("no table d.nothing"));
}

#[test]
fn a_wish_outlives_a_kill() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&setup_hidden());
    let mut replica = Tidelake::run(&upstream.source_url(), &["--interval", "20ms", "--copy-chunk-rows", "50"]);
    wait_copied(&replica);
    change_hidden(&upstream);
    // at once, and when the copy may have begun
    for (table, pause) in [("d.n", 0), ("d.t", 120)] {
        tidelake_prints(&["resync", table, "--http", &http(&replica)]);
        std::thread::sleep(Duration::from_millis(pause));
        replica.kill9();
        replica.restart();
        let hidden = format!("SELECT COUNT(*) FROM {table} WHERE v = 'hidden'");
        wait_for("the new copy", Duration::from_secs(60), || {
            let all = replica.client().batch_text(&format!("SELECT COUNT(*) FROM {table}"));
            assert_eq!(String::from_utf8_lossy(&all), format!("{ROWS}\n"));
            (replica.latest(&hidden) == b"1\n").then_some(())
        });
    }
}

fn tables_of(replica: &Tidelake, database: &str) -> String {
    let list = format!("SELECT table_name FROM information_schema.tables WHERE table_schema = '{database}' ORDER BY 1");
    String::from_utf8(replica.latest(&list)).expect("names").replace('\n', " ")
}

#[test]
fn tables_come_and_go_while_it_runs_and_stay_so_after_a_restart() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&(bank::setup() + &store::setup()));
    let options = ["--interval", "20ms", "--tables", "bank.*,!bank.transfers"];
    let mut replica = Tidelake::run(&upstream.source_url(), &options);
    wait_copied(&replica);
    let load = Load::start(
        &upstream,
        vec![Box::new(bank::Teller(1)) as Box<dyn Workload>, Box::new(store::Clerk::new(1))],
        Duration::from_millis(5),
    );
    tidelake_prints(&["tables", "add", "store.ord*", "--http", &http(&replica)]);
    tidelake_prints(&["tables", "add", "bank.transfers", "--http", &http(&replica)]);
    tidelake_prints(&["tables", "remove", "bank.savings", "--http", &http(&replica)]);
    let settled = |replica: &Tidelake| {
        (tables_of(replica, "bank") == "accounts clock transfers " && tables_of(replica, "store") == "orders ")
            .then_some(())
    };
    wait_for("the new tables", Duration::from_secs(60), || settled(&replica));
    let printed = tidelake_prints(&["tables", "--http", &http(&replica)]);
    assert!(printed.contains("bank.*,!bank.transfers") && printed.contains("store.ord*,bank.transfers,!bank.savings"));
    replica.kill9();
    replica.restart();
    wait_for("the same tables", Duration::from_secs(60), || settled(&replica));
    upstream.execute("CREATE TABLE store.ordnance (id INT PRIMARY KEY); CREATE TABLE store.other (id INT PRIMARY KEY)");
    wait_for("the wanted one", Duration::from_secs(20), || {
        (tables_of(&replica, "store") == "orders ordnance ").then_some(())
    });
    // another --tables after a restart drops what it no longer names
    replica.set_option("--tables", "bank.*,!bank.accounts");
    replica.interrupt();
    replica.restart();
    wait_for("the other tables", Duration::from_secs(60), || {
        (tables_of(&replica, "bank") == "clock transfers ").then_some(())
    });
    load.stop();
    for table in ["store.orders", "bank.transfers", "bank.clock"] {
        let sql = format!("SET time_zone = '+00:00'; SELECT * FROM {table} ORDER BY 1");
        let (wanted, found) = (upstream.batch_text(&sql), replica.latest(&sql));
        assert!(wanted == found, "{table} differs");
    }
    let refused = tidelake(&["tables", "add", "mysql.*", "--http", &http(&replica)]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("own databases"));
}
