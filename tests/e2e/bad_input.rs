//! What is wrong is said clearly, ends with an exit code that is not zero, and harms nothing.

use std::net::TcpListener;
use std::path::Path;

use tidelake_testkit::{MariaDb, MariaDbOptions};

use crate::tidelake::{Tidelake, tidelake};

/// Starts `tidelake run`, which must end by itself with an error; returns what it printed.
fn refused(source: &str, options: &[&str]) -> String {
    let mut tidelake = Tidelake::prepare(&["run", "--source", source], options);
    tidelake.spawn();
    let status = tidelake.wait_end();
    let printed = tidelake.printed();
    assert!(!status.success(), "it ended well with {options:?}:\n{printed}");
    assert!(!printed.contains("panicked"), "{printed}");
    printed
}

fn assert_says(printed: &str, words: &[&str]) {
    let lower = printed.to_lowercase();
    for word in words {
        assert!(lower.contains(&word.to_lowercase()), "{word:?} is not said:\n{printed}");
    }
}

/// A server that is set wrongly in one thing is refused with its name and the value to set.
fn assert_preflight_refuses(arg: &str, words: &[&str]) {
    let upstream = MariaDb::start(MariaDbOptions::default().arg(arg));
    assert_says(&refused(&upstream.source_url(), &[]), words);
    let doctor = tidelake(&["doctor", &upstream.source_url()]);
    assert!(!doctor.status.success());
    assert_says(&String::from_utf8_lossy(&doctor.stdout), words);
}

#[test]
fn a_server_without_a_binlog_is_refused() {
    assert_preflight_refuses("--skip-log-bin", &["log_bin"]);
}

#[test]
fn statement_format_is_refused() {
    assert_preflight_refuses("--binlog-format=STATEMENT", &["binlog_format", "ROW"]);
}

#[test]
fn minimal_row_images_are_refused() {
    assert_preflight_refuses("--binlog-row-image=MINIMAL", &["binlog_row_image", "FULL"]);
}

#[test]
fn missing_rights_and_wrong_passwords_are_named() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(
        "CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'p'; GRANT SELECT ON *.* TO poor@'127.0.0.1';
         CREATE USER half@'127.0.0.1' IDENTIFIED BY 'p'; GRANT SELECT, BINLOG MONITOR ON *.* TO half@'127.0.0.1'",
    );
    let address = format!("127.0.0.1:{}", upstream.port());
    assert_says(&refused(&format!("mysql://poor:p@{address}"), &[]), &["BINLOG MONITOR"]);
    assert_says(&refused(&format!("mysql://half:p@{address}"), &[]), &["REPLICATION SLAVE"]);
    let printed = refused(&format!("mysql://tidelake:wrong-secret@{address}"), &[]);
    assert_says(&printed, &["denied"]);
    assert!(!printed.contains("wrong-secret"), "passwords are never printed:\n{printed}");
}

#[test]
fn a_server_as_the_guide_asks_passes_the_doctor() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    let doctor = tidelake(&["doctor", &upstream.source_url()]);
    let printed = String::from_utf8_lossy(&doctor.stdout);
    assert!(doctor.status.success(), "{printed}{}", String::from_utf8_lossy(&doctor.stderr));
}

#[test]
fn an_unreachable_host_and_a_wrong_url_are_named() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_says(&refused(&format!("mysql://u:p@127.0.0.1:{nobody}"), &[]), &[&nobody.to_string()]);
    assert_says(&refused("postgres://u:p@127.0.0.1:5432", &[]), &["mysql://"]);
    assert_says(&refused("file:/nowhere/at/all", &[]), &["/nowhere/at/all"]);
}

#[test]
fn wrong_options_are_named() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    let source = upstream.source_url();
    assert_says(&refused(&source, &["--tables", "nodot"]), &["nodot"]);
    assert_says(&refused(&source, &["--interval", "2h"]), &["interval"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut busy = Tidelake::prepare(&["run", "--source", &source], &[]);
    busy.set_option("--mysql-listen", &address);
    busy.spawn();
    assert!(!busy.wait_end().success(), "{}", busy.printed());
    assert_says(&busy.printed(), &[&address, "--mysql-listen"]);
}

#[test]
fn a_directory_of_somebody_else_is_left_alone() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    let mut tidelake = Tidelake::prepare(&["run", "--source", &upstream.source_url()], &[]);
    let thesis = tidelake.data_dir().join("thesis.txt");
    std::fs::create_dir_all(tidelake.data_dir()).unwrap();
    std::fs::write(&thesis, "three years of work").unwrap();
    tidelake.spawn();
    assert!(!tidelake.wait_end().success(), "{}", tidelake.printed());
    assert_says(&tidelake.printed(), &["thesis.txt"]);
    assert_eq!(std::fs::read_dir(tidelake.data_dir()).unwrap().count(), 1, "nothing was added");
    assert_eq!(std::fs::read_to_string(thesis).unwrap(), "three years of work");
}

#[test]
fn a_data_directory_that_is_a_file_is_named() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    let mut tidelake = Tidelake::prepare(&["run", "--source", &upstream.source_url()], &[]);
    std::fs::write(tidelake.data_dir(), "a file").unwrap();
    tidelake.spawn();
    assert!(!tidelake.wait_end().success(), "{}", tidelake.printed());
    let name = tidelake.data_dir();
    assert_says(&tidelake.printed(), &[Path::file_name(&name).unwrap().to_str().unwrap()]);
}

#[test]
fn a_second_tidelake_on_one_data_directory_is_refused() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    let first = Tidelake::run(&upstream.source_url(), &[]);
    let mut second = Tidelake::prepare(&["run", "--source", &upstream.source_url()], &[]);
    second.set_option("--data-dir", &first.data_dir().display().to_string());
    second.spawn();
    assert!(!second.wait_end().success(), "{}", second.printed());
    assert_eq!(first.client().batch_text("SELECT 1"), b"1\n", "the first one goes on");
}
