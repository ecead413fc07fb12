//! Names in statements that a feed does not tell beside them.

use tidelake_core::TableName;

use crate::mysql::statement::Words;

/// The first words of a statement; quoted names are one word.
fn words(query: &str) -> Vec<&str> {
    Words { rest: query }.take(10).collect()
}

fn is(word: Option<&&str>, any: &[&str]) -> bool {
    word.is_some_and(|word| any.iter().any(|wanted| word.eq_ignore_ascii_case(wanted)))
}

fn plain(word: &str) -> String {
    word.trim_matches('`').to_owned()
}

/// The name that begins at a word, and how many words it is.
fn name_at(words: &[&str], at: usize, database: &str) -> Option<(TableName, usize)> {
    let first = plain(words.get(at)?);
    if !is(words.get(at + 1), &["."]) {
        return Some((TableName::new(database, first), 1));
    }
    Some((TableName::new(first, plain(words.get(at + 2)?)), 3))
}

/// True for RECOVER and FLASHBACK.
pub(super) fn brings_back(query: &str) -> bool {
    is(words(query).first(), &["RECOVER", "FLASHBACK"])
}

/// The table that RECOVER TABLE or FLASHBACK TABLE brings back, under its new name.
pub(super) fn brought_back(query: &str, database: &str) -> Option<TableName> {
    let words = words(query);
    if !is(words.get(1), &["TABLE"]) || is(words.get(2), &["BY"]) {
        return None;
    }
    let (name, length) = name_at(&words, 2, database)?;
    if !is(words.get(2 + length), &["TO"]) {
        return Some(name);
    }
    name_at(&words, 3 + length, &name.database).map(|(new, _)| new)
}

/// The old name of a table that moves into a named database, where the statement does not say from which.
pub(super) fn moved_from_unsaid(query: &str) -> Option<String> {
    let words = words(query);
    let target = match (words.first(), words.get(3)) {
        (verb, to) if is(verb, &["RENAME"]) && is(to, &["TO"]) => 4,
        (verb, to) if is(verb, &["ALTER"]) && is(to, &["RENAME"]) => 4 + usize::from(is(words.get(4), &["TO", "AS"])),
        _ => return None,
    };
    (is(words.get(1), &["TABLE", "TABLES"]) && is(words.get(target + 1), &["."])).then(|| plain(words[2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_come_back() {
        assert!(brings_back("RECOVER TABLE `t`") && brings_back("flashback table t to u"));
        assert!(!brings_back("CREATE TABLE recover (a INT)"));
        for (query, name) in [
            ("RECOVER TABLE `t`", Some(("d", "t"))),
            ("RECOVER TABLE `e`.`t`;", Some(("e", "t"))),
            ("flashback table e.t to u", Some(("e", "u"))),
            ("FLASHBACK TABLE t TO f.u", Some(("f", "u"))),
            ("RECOVER TABLE BY JOB 53", None),
            ("FLASHBACK DATABASE d", None),
        ] {
            assert_eq!(brought_back(query, "d"), name.map(|(d, t)| TableName::new(d, t)), "{query}");
        }
    }

    #[test]
    fn tables_that_come_from_somewhere() {
        for (query, old) in [
            ("RENAME TABLE `t` TO `b`.`u`", Some("t")),
            ("ALTER TABLE t RENAME AS b.u", Some("t")),
            ("ALTER TABLE t RENAME b.u", Some("t")),
            ("RENAME TABLE `a`.`t` TO `b`.`u`", None),
            ("RENAME TABLE t TO u", None),
            ("ALTER TABLE t RENAME COLUMN a TO b", None),
        ] {
            assert_eq!(moved_from_unsaid(query).as_deref(), old, "{query}");
        }
    }
}
