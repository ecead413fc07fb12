//! What a sweep found: counts, and everything that is wrong.

use std::collections::{BTreeMap, BTreeSet};

/// Of one file, or the sum over many.
#[derive(Default)]
pub struct Report {
    pub files: u32,
    /// How often everything was compared.
    pub comparisons: u32,
    /// Tables compared, counted at each comparison.
    pub tables: u32,
    pub equal: u32,
    /// Comparisons that had to be left out: the upstream itself would not let the table be read.
    pub busy: u32,
    /// Tables that stay stopped, with the reasons.
    pub stopped: BTreeMap<String, Vec<String>>,
    /// How often tables were copied again, by reason.
    pub copied_again: BTreeMap<String, u32>,
    pub different: Vec<String>,
    pub crashes: Vec<String>,
    /// Tables of this file that were told already.
    told: BTreeSet<(String, String)>,
}

impl Report {
    pub fn equal(&mut self, _table: &(String, String)) {
        self.tables += 1;
        self.equal += 1;
    }

    pub fn stopped(&mut self, table: &(String, String), place: &str, error: &str) {
        self.tables += 1;
        if self.told.insert(table.clone()) {
            let reason = without_numbers(error.split_once("is stopped at ").map_or(error, |(_, reason)| reason));
            self.stopped.entry(reason).or_default().push(format!("{}.{} {place}", table.0, table.1));
        }
    }

    pub fn different(&mut self, table: &(String, String), place: &str, text: String) {
        self.tables += 1;
        if self.told.insert(table.clone()) {
            self.different.push(format!("{}.{} {place}: {text}", table.0, table.1));
        }
    }

    /// Nothing could be asked.
    pub fn refused(&mut self, place: &str, error: &str) {
        if self.told.insert((String::new(), without_numbers(error))) {
            self.different.push(format!("{place}: {error}"));
        }
    }

    /// Reads the reasons out of what Tidelake logged.
    pub fn note_log(&mut self, log: &str) {
        for line in log.lines().filter(|line| line.contains("table stopped")) {
            let line = without_colours(line);
            let reason = line.split_once("reason=").map_or(line.as_str(), |(_, reason)| reason);
            *self.copied_again.entry(without_numbers(reason)).or_default() += 1;
        }
    }

    pub fn is_clean(&self) -> bool {
        self.different.is_empty() && self.crashes.is_empty()
    }

    pub fn add(&mut self, other: Report) {
        self.files += other.files;
        self.comparisons += other.comparisons;
        self.tables += other.tables;
        self.equal += other.equal;
        self.busy += other.busy;
        for (reason, mut tables) in other.stopped {
            self.stopped.entry(reason).or_default().append(&mut tables);
        }
        for (reason, times) in other.copied_again {
            *self.copied_again.entry(reason).or_default() += times;
        }
        self.different.extend(other.different);
        self.crashes.extend(other.crashes);
    }

    /// One line of counts.
    pub fn line(&self) -> String {
        let stopped: usize = self.stopped.values().map(Vec::len).sum();
        let copied: u32 = self.copied_again.values().sum();
        format!(
            "{} comparisons, {} tables: {} equal, {stopped} stopped, {} different, {} crashes; {copied} times copied again, {} not readable upstream",
            self.comparisons,
            self.tables,
            self.equal,
            self.different.len(),
            self.crashes.len(),
            self.busy
        )
    }

    /// Everything.
    pub fn summary(&self) -> String {
        let mut text = format!("{} files: {}\n", self.files, self.line());
        for (reason, tables) in &self.stopped {
            text += &format!("stopped {} times: {reason}\n", tables.len());
            tables.iter().take(8).for_each(|table| text += &format!("    {table}\n"));
        }
        let mut often: Vec<_> = self.copied_again.iter().collect();
        often.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        for (reason, times) in often {
            text += &format!("{times} times: {reason}\n");
        }
        self.different.iter().for_each(|line| text += &format!("DIFFERENT {line}\n"));
        self.crashes.iter().for_each(|line| text += &format!("CRASH {line}\n"));
        text
    }
}

/// Reasons that differ only in names and places count as one.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for c in text.chars().take(220) {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            '"' => {
                quoted = !quoted;
                out.push('"');
            }
            c => out.push(c),
        }
    }
    out
}

fn without_colours(line: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in line.chars() {
        match c {
            '\u{1b}' => inside = true,
            'm' if inside => inside = false,
            _ if inside => {}
            c => out.push(c),
        }
    }
    out
}
