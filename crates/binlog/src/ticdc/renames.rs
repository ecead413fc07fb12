//! The order of RENAMEs of one commit-ts. RENAME of several tables comes as one event each, and no format says which was first: a
//! storage sink has them in files of several directories. A name must be given away before another table gets it.

use super::record::Ddl;
use crate::mysql::statement::Words;

/// A table as a statement names it, in the database it ran in.
type Name = (String, String);

/// Sorts so that whoever takes a name comes behind whoever gives it away; else the order stays.
pub(super) fn order<T>(statements: &mut Vec<T>, ddl: impl Fn(&T) -> Option<Ddl>) {
    if statements.len() < 2 {
        return;
    }
    let mut waiting: Vec<(Option<(Name, Name)>, T)> =
        statements.drain(..).map(|statement| (ddl(&statement).as_ref().and_then(names), statement)).collect();
    while !waiting.is_empty() {
        let gives = |i: usize, name: &Name| {
            waiting
                .iter()
                .enumerate()
                .any(|(other, (names, _))| other != i && names.as_ref().is_some_and(|(from, _)| from == name))
        };
        let free = |i: &usize| waiting[*i].0.as_ref().is_none_or(|(_, to)| !gives(*i, to));
        // in a circle nobody is free: a table went over a third name, which nobody can see here
        let next = (0..waiting.len()).find(free).unwrap_or(0);
        statements.push(waiting.remove(next).1);
    }
}

/// Old and new name of a statement that renames one table.
fn names(ddl: &Ddl) -> Option<(Name, Name)> {
    let mut words = Words { rest: &ddl.query }.peekable();
    let is = |word: Option<&str>, wanted: &str| word.is_some_and(|w| w.eq_ignore_ascii_case(wanted));
    if !is(words.next(), "RENAME") || !(is(words.peek().copied(), "TABLE") || is(words.peek().copied(), "TABLES")) {
        return None;
    }
    words.next();
    let from = name(&mut words, ddl)?;
    if !is(words.next(), "TO") {
        return None;
    }
    let to = name(&mut words, ddl)?;
    words.next().is_none().then_some((from, to))
}

fn name<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>, ddl: &Ddl) -> Option<Name> {
    let plain = |word: &str| word.trim_matches('`').to_owned();
    let first = plain(words.next()?);
    if words.next_if_eq(&".").is_none() {
        return Some((ddl.database.clone(), first));
    }
    Some((first, plain(words.next()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(queries: &[&str]) -> Vec<String> {
        let ddl = |query: &&str| Ddl {
            database: "d".into(),
            table: String::new(),
            query: (*query).into(),
            columns: None,
            collation: None,
        };
        let mut statements: Vec<Ddl> = queries.iter().map(ddl).collect();
        order(&mut statements, |ddl| Some(ddl.clone()));
        statements.into_iter().map(|ddl| ddl.query).collect()
    }

    #[test]
    fn a_name_is_given_away_before_it_is_taken() {
        let chain = ["RENAME TABLE `d`.`c` TO `d`.`b`", "RENAME TABLE `d`.`b` TO `d`.`a`", "rename tables a to `x y`"];
        assert_eq!(ordered(&chain), [chain[2], chain[1], chain[0]]);
        let apart = ["RENAME TABLE a TO b", "TRUNCATE TABLE c", "RENAME TABLE `e`.a TO e.b"];
        assert_eq!(ordered(&apart), apart);
        let circle = ["RENAME TABLE a TO b", "RENAME TABLE b TO a"];
        assert_eq!(ordered(&circle), circle);
    }
}
