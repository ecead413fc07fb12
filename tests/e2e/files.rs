//! A directory of binlog files as the source: whole, rotated, truncated, corrupted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

use crate::compare::assert_same_contents;
use crate::load::{Load, Workload};
use crate::tidelake::{Tidelake, wait_for};
use crate::{bank, kinds, store};

/// A server's history in three files, the server stopped writing.
fn recorded() -> (MariaDb, TempDir) {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&(bank::setup() + &kinds::setup(ServerKind::MariaDb)));
    upstream.execute("FLUSH BINARY LOGS");
    upstream.execute(&store::setup());
    let workloads: Vec<Box<dyn Workload>> =
        vec![Box::new(bank::Teller(1)), Box::new(kinds::Tinkerer(ServerKind::MariaDb))];
    let load = Load::start(&upstream, workloads, Duration::ZERO);
    std::thread::sleep(Duration::from_millis(700));
    upstream.execute("FLUSH BINARY LOGS");
    std::thread::sleep(Duration::from_millis(300));
    load.stop();
    let dir = tempfile::tempdir().expect("a temporary directory");
    for number in 1..=3 {
        let name = format!("binlog.{number:06}");
        std::fs::copy(upstream.data_dir().join(&name), dir.path().join(&name)).expect("copy a binlog file");
    }
    (upstream, dir)
}

fn source(dir: &Path) -> String {
    format!("file:{}", dir.display())
}

fn finish(tidelake: &Tidelake) {
    wait_for("the end of the files", Duration::from_secs(120), || {
        let status = tidelake.status();
        let (head, published) = (&status["seq"]["head"], &status["seq"]["published"]);
        (status["source"]["state"] == "finished" && head == published).then_some(())
    });
}

#[test]
fn binlog_files_give_the_same_contents_as_their_server() {
    let (upstream, dir) = recorded();
    let mut tidelake = Tidelake::run(&source(dir.path()), &["--flush-interval", "1s"]);
    std::thread::sleep(Duration::from_millis(400));
    tidelake.kill9();
    tidelake.restart();
    finish(&tidelake);
    assert_same_contents(&upstream, &tidelake);
}

/// Runs on broken files: it must end with an error that names the file, by itself.
fn broken(dir: &Path, file: &str) -> Tidelake {
    let mut tidelake = Tidelake::prepare(&["run", "--source", &source(dir)], &[]);
    tidelake.spawn();
    let status = tidelake.wait_end();
    let printed = tidelake.printed();
    assert!(!status.success(), "it ended well:\n{printed}");
    assert!(printed.contains(file) && !printed.contains("panicked"), "{printed}");
    tidelake
}

fn last_file(dir: &Path) -> (PathBuf, Vec<u8>) {
    let path = dir.join("binlog.000003");
    let bytes = std::fs::read(&path).expect("read a binlog file");
    (path, bytes)
}

#[test]
fn a_truncated_file_is_an_error_and_whole_again_goes_on() {
    let (upstream, dir) = recorded();
    let (path, whole) = last_file(dir.path());
    std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();
    let mut tidelake = broken(dir.path(), "binlog.000003");
    std::fs::write(&path, &whole).unwrap();
    tidelake.restart();
    finish(&tidelake);
    assert_same_contents(&upstream, &tidelake);
}

#[test]
fn a_corrupted_file_is_an_error_wherever_the_byte_is() {
    let (upstream, dir) = recorded();
    let (path, whole) = last_file(dir.path());
    let mut rng = StdRng::seed_from_u64(3);
    let mut bytes = whole.clone();
    // Not in the first event: a file that is no binlog at all is another story.
    let at = rand::Rng::random_range(&mut rng, 1000..whole.len() - 100);
    bytes[at] ^= 0x40;
    std::fs::write(&path, &bytes).unwrap();
    let mut tidelake = broken(dir.path(), "binlog.000003");
    std::fs::write(&path, &whole).unwrap();
    tidelake.restart();
    finish(&tidelake);
    assert_same_contents(&upstream, &tidelake);
}

#[test]
fn a_file_that_is_missing_in_the_middle_is_an_error() {
    let (_upstream, dir) = recorded();
    std::fs::remove_file(dir.path().join("binlog.000002")).unwrap();
    broken(dir.path(), "binlog.00000");
}
