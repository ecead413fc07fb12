//! Contents of both sides, once what was stopped for a re-sync has been copied again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidelake_testkit::MariaDb;

use crate::compare::{Difference, table_names, unordered_difference};
use crate::tidelake::Tidelake;

/// Longest time for tables to be copied again.
const SETTLE: Duration = Duration::from_secs(40);

/// Tables that are expected to be stopped, and a word of the reason.
#[derive(Default)]
pub struct Expected(BTreeMap<String, String>);

impl Expected {
    pub fn stops(&mut self, table: String, reason: String) {
        self.0.insert(table, reason);
    }
}

/// Panics with everything that differs, or is refused without being expected to.
pub fn assert_settles_to_same_contents(upstream: &MariaDb, tidelake: &Tidelake, expected: &Expected, place: &str) {
    let begin = Instant::now();
    loop {
        let wrong = wrong(upstream, tidelake, expected);
        if wrong.is_empty() {
            return;
        }
        // Different rows are never a matter of time: everything read is the latest.
        let final_answer = wrong.iter().any(|(_, refused)| !refused);
        if final_answer || begin.elapsed() > SETTLE {
            let texts: Vec<String> = wrong.into_iter().map(|(text, _)| text).collect();
            let kind = upstream.kind();
            panic!(
                "{kind:?}, after {place}:\n{}\nstatus {}\n{}",
                texts.join("\n"),
                tidelake.status(),
                tidelake.printed()
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What is wrong; `true`: only refused, which may pass.
fn wrong(upstream: &MariaDb, tidelake: &Tidelake, expected: &Expected) -> Vec<(String, bool)> {
    let mut wrong = Vec::new();
    let names = table_names(|sql| upstream.batch_text(sql));
    for (schema, table) in &names {
        let name = format!("{schema}.{table}");
        let found = unordered_difference(upstream, tidelake, schema, table);
        match (found, expected.0.get(&name)) {
            (None, None) => {}
            (Some(Difference::Refused(error)), Some(reason)) if error.contains(reason.as_str()) => {}
            (Some(Difference::Refused(error)), _) => wrong.push((format!("{name}: {error}"), true)),
            (Some(Difference::Rows(text)), _) => wrong.push((text, false)),
            (None, Some(reason)) => wrong.push((format!("{name} is right, but should be stopped: {reason}"), false)),
        }
    }
    let found = table_names(|sql| tidelake.latest(sql));
    for (schema, table) in found.iter().filter(|name| !names.contains(name)) {
        wrong.push((format!("{schema}.{table} is here but not upstream"), true));
    }
    wrong
}
