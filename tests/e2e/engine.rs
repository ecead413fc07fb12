//! `tidelake engine stats` and `tidelake scrub`: asked while it runs, asked of its directory, and after damage.

use tidelake_testkit::{MariaDb, MariaDbOptions};

use crate::crashes::wait_copied;
use crate::store;
use crate::tidelake::{Tidelake, tidelake, tidelake_prints};

#[test]
fn figures_and_scrub_of_a_replica() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&store::setup());
    let mut replica = Tidelake::run(&upstream.source_url(), &["--memtable-limit", "1MiB"]);
    wait_copied(&replica);
    upstream.execute("UPDATE store.ledger SET note = 'changed' WHERE id MOD 4 = 0");
    drop(replica.latest("SELECT COUNT(*) FROM store.ledger"));
    let http = format!("127.0.0.1:{}", replica.ports().http);
    let running: serde_json::Value =
        serde_json::from_str(&tidelake_prints(&["engine", "stats", "--json", "--http", &http])).expect("JSON");
    let ledger = |stats: &serde_json::Value| -> serde_json::Value {
        let tables = stats["tables"].as_array().expect("a list of tables");
        tables.iter().find(|t| t["table"] == "store.ledger").expect("every table is there").clone()
    };
    let table = ledger(&running);
    assert!(table["index_bytes"].as_u64() > Some(0) && table["levels"][0]["files"].as_u64() > Some(0), "{table}");
    assert!(tidelake_prints(&["engine", "stats", "--http", &http]).contains("store.ledger"));
    let dir = replica.data_dir().display().to_string();
    for busy in [&["engine", "stats", "--data-dir", &dir][..], &["scrub", "--data-dir", &dir]] {
        let refused = tidelake(busy);
        assert!(!refused.status.success(), "{busy:?} of a directory in use");
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(error.contains("open in another process"), "{error}");
    }
    assert!(replica.interrupt().success());
    let resting: serde_json::Value =
        serde_json::from_str(&tidelake_prints(&["engine", "stats", "--json", "--data-dir", &dir])).expect("JSON");
    let table = ledger(&resting);
    assert_eq!((&table["memtable_bytes"], &table["state"]), (&0.into(), &"live".into()), "{table}");
    assert!(table["write_amplification"].as_f64() >= Some(1.0), "{table}");
    let whole = tidelake_prints(&["scrub", "--data-dir", &dir]);
    assert!(whole.contains("whole") && !whole.contains("DAMAGED"), "{whole}");
    // One bit of one data file.
    let level = |name| replica.data_dir().join(format!("engine/table/{}/{name}", table["id"]));
    let files = ["l0", "base"].map(|l| std::fs::read_dir(level(l)).expect("the table's files"));
    let mut files = files.into_iter().flatten().map(|f| f.expect("a file").path());
    let victim = files.find(|f| f.extension().is_some_and(|e| e == "parquet")).expect("a data file");
    let mut bytes = std::fs::read(&victim).expect("read it");
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    std::fs::write(&victim, bytes).expect("write it");
    let found = tidelake(&["scrub", "--data-dir", &dir]);
    assert_eq!(found.status.code(), Some(1));
    let report = String::from_utf8_lossy(&found.stdout).into_owned();
    let name = victim.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(report.lines().any(|l| l.starts_with("DAMAGED") && l.contains(&name)), "{report}");
}
