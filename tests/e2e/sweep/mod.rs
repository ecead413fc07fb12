//! The sweep: MariaDB's own test suite runs upstream while Tidelake follows. Before any table is dropped or altered, and at
//! the end of each file, both sides' `SELECT *` of every table must be the same. docs/testing.md tells how to run it all.

mod contents;
mod guard;
mod relay;
mod report;
mod rig;
mod suite;

use std::time::Instant;

use tidelake_testkit::ServerKind;

use self::report::Report;
use self::rig::Rig;
use self::suite::{Ended, Suite};

/// Files that are left out, each with the reason.
const LEFT_OUT: &str = include_str!("left_out.txt");

/// Files of the short run.
const SLICE: &str = include_str!("slice.txt");

/// Files that say they need something that is not here.
const NEEDS: [(&str, &str); 7] = [
    ("include/have_debug.inc", "needs a server built for debugging"),
    ("include/have_debug_sync.inc", "needs a server built for debugging"),
    ("include/windows.inc", "needs Windows"),
    ("include/have_example_plugin.inc", "needs a plugin of the suite"),
    ("include/master-slave.inc", "needs a second server"),
    ("include/have_embedded.inc", "needs the embedded server"),
    ("shutdown_server", "ends the server"),
];

/// A pair is made anew after so many files, so that one file's leftovers do not last.
const FILES_OF_ONE_PAIR: u32 = 60;

/// Name and reason, one a line.
fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').map_or((line, ""), |(name, rest)| (name, rest.trim())))
}

fn reason_to_leave_out(suite: &Suite, name: &str) -> Option<String> {
    if let Some((_, reason)) = entries(LEFT_OUT).find(|(left_out, _)| *left_out == name) {
        return Some(reason.to_owned());
    }
    let text = suite.text(name);
    let said = |needle: &str| text.lines().any(|line| !line.trim_start().starts_with('#') && line.contains(needle));
    NEEDS.iter().find(|(needle, _)| said(needle)).map(|(_, reason)| (*reason).to_owned())
}

fn sweep(kind: ServerKind, suite: &Suite, names: &[String]) -> Report {
    let mut sum = Report::default();
    let mut rig: Option<Rig> = None;
    let (mut used, mut left_out) = (0, 0);
    for name in names {
        if let Some(reason) = reason_to_leave_out(suite, name) {
            println!("{name}: left out: {reason}");
            left_out += 1;
            continue;
        }
        if used >= FILES_OF_ONE_PAIR {
            rig = None;
        }
        let begin = Instant::now();
        let mut fresh = false;
        let (pair, (report, ended, healthy)) = loop {
            let mut pair = rig.take().unwrap_or_else(|| {
                (used, fresh) = (0, true);
                Rig::start(kind, suite)
            });
            let found = pair.run(suite, name);
            if fresh || !matches!(found.1, Ended::Unopened(_)) {
                break (pair, found);
            }
        };
        used += 1;
        let seconds = begin.elapsed().as_secs_f32();
        println!("{name}: {seconds:.1} s: {} {}", report.line(), told(&ended));
        if !report.is_clean() || !report.stopped.is_empty() {
            print!("{}", report.summary());
        }
        if !report.crashes.is_empty() {
            println!("{}", last_lines(&pair.logs().0));
        }
        sum.add(report);
        rig = healthy.then_some(pair);
    }
    println!("\n== sweep of {} files, {left_out} left out\n{}", names.len(), sum.summary());
    sum
}

fn told(ended: &Ended) -> String {
    match ended {
        Ended::Well => String::new(),
        Ended::NotFor(why) => format!("(not for this server: {})", why.replace('\n', " ")),
        Ended::Early(why) | Ended::Unopened(why) => format!("(ended early: {})", why.replace('\n', " ")),
        Ended::TooLate => "(cut short)".to_owned(),
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// The files that `TIDELAKE_SWEEP_FILES` (patterns with `*`, between spaces) and `TIDELAKE_SWEEP_SHARD` (`2/4`) choose.
fn chosen(names: Vec<String>) -> Vec<String> {
    let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let patterns = said("TIDELAKE_SWEEP_FILES").unwrap_or_else(|| "*".to_owned());
    let shard = said("TIDELAKE_SWEEP_SHARD").unwrap_or_else(|| "1/1".to_owned());
    let (part, parts) = shard.split_once('/').expect("TIDELAKE_SWEEP_SHARD=2/4");
    let (part, parts): (usize, usize) = (part.parse().expect("a number"), parts.parse().expect("a number"));
    let wanted = names.into_iter().filter(|name| patterns.split_whitespace().any(|p| matches(p, name)));
    wanted.enumerate().filter(|(at, _)| at % parts == part - 1).map(|(_, name)| name).collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name
            .strip_prefix(head)
            .is_some_and(|name| (0..=name.len()).any(|at| name.is_char_boundary(at) && matches(rest, &name[at..]))),
    }
}

fn kind() -> ServerKind {
    match std::env::var("TIDELAKE_SWEEP_SERVER").as_deref() {
        Ok("mariadb-new") => ServerKind::MariaDbNew,
        Ok("mysql-new") => ServerKind::MySqlNew,
        _ => ServerKind::MariaDb,
    }
}

fn assert_clean(sum: &Report) {
    assert!(sum.is_clean(), "{} tables differ, {} crashes: see above", sum.different.len(), sum.crashes.len());
}

/// A slice of the suite: files with the oddest DDL and types.
#[test]
fn a_slice_of_the_suite() {
    let suite = Suite::open();
    let names: Vec<String> = entries(SLICE).map(|(name, _)| name.to_owned()).collect();
    let sum = sweep(ServerKind::MariaDb, &suite, &names);
    assert_clean(&sum);
    assert!(sum.equal > 100, "hardly anything was compared: {}", sum.line());
}

/// All of it, or what `scripts/sweep.sh` chooses.
#[test]
#[ignore = "takes an hour; run by scripts/sweep.sh"]
fn all_of_the_suite() {
    let suite = Suite::open();
    let names = chosen(suite.names());
    assert!(!names.is_empty(), "no such file");
    assert_clean(&sweep(kind(), &suite, &names));
}

#[test]
fn patterns_choose_files() {
    assert!(matches("alter_*", "alter_table") && matches("*", "x") && matches("a*b*c", "aXbYc"));
    assert!(!matches("alter", "alter_table") && !matches("a*b", "abc"));
}
