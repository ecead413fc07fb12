//! `tidelake tables` and `tidelake resync`: which tables are replicated, and copying one again, while it runs.

use std::time::Duration;

use anyhow::{Result, bail};
use tidelake_core::TableName;

use crate::cli::{ResyncArgs, TablesAction, TablesArgs};
use crate::client;
use crate::http::Tables;

/// How often `--wait` asks.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// `tidelake tables`.
///
/// # Errors
/// A pattern that is refused, or no Tidelake that answers.
pub fn tables(args: &TablesArgs) -> Result<()> {
    let pattern = args.pattern.as_deref().unwrap_or_default();
    let answer = match args.action {
        None => client::get(&args.http, "/api/v1/tables")?,
        Some(TablesAction::Add) => client::post(&args.http, "/api/v1/tables", &serde_json::json!({ "add": pattern }))?,
        Some(TablesAction::Remove) => {
            client::post(&args.http, "/api/v1/tables", &serde_json::json!({ "remove": pattern }))?
        }
    };
    print!("{}", for_people(&serde_json::from_str(&answer)?));
    Ok(())
}

fn for_people(tables: &Tables) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let wanted = if tables.tables.is_empty() { "all" } else { &tables.tables };
    let _ = writeln!(out, "--tables  {wanted}");
    if !tables.changes.is_empty() {
        let _ = writeln!(out, "then      {}", tables.changes.join(","));
    }
    for name in &tables.resyncs {
        let _ = writeln!(out, "resync    {name}");
    }
    for name in &tables.given_up {
        let _ = writeln!(out, "resync    {name}  given up: upstream has no such table");
    }
    let _ = writeln!(out);
    for table in &tables.replicated {
        let _ = writeln!(out, "{:8}  {}.{}  {}", table.state, table.database, table.table, table.reason);
    }
    out
}

/// `tidelake resync`.
///
/// # Errors
/// A table that is not replicated or that upstream has no more, or no Tidelake that answers.
pub fn resync(args: &ResyncArgs) -> Result<()> {
    let name = table_name(&args.table)?;
    let json = serde_json::json!({ "database": name.database, "table": name.table });
    client::post(&args.http, "/api/v1/resync", &json)?;
    if !args.wait {
        println!("{name} will be copied again; readers keep the old table until the new one is whole");
        return Ok(());
    }
    let mut told = String::new();
    loop {
        let tables: Tables = serde_json::from_str(&client::get(&args.http, "/api/v1/tables")?)?;
        if tables.given_up.contains(&name.to_string()) {
            bail!("{name} was not copied again: upstream has no such table");
        }
        if !tables.resyncs.contains(&name.to_string()) {
            break;
        }
        // What keeps it from being copied may need somebody's hand, a right for example.
        let stopped = tables.replicated.iter().find(|t| (&t.database, &t.table) == (&name.database, &name.table));
        if let Some(table) = stopped.filter(|t| t.state == "stopped" && t.reason != told) {
            eprintln!("waiting; {name} is stopped: {}", table.reason);
            told.clone_from(&table.reason);
        }
        std::thread::sleep(ASK_EVERY);
    }
    println!("{name} was copied again");
    Ok(())
}

/// `db.table`, each part plain or in backticks.
fn table_name(text: &str) -> Result<TableName> {
    let Some((database, rest)) = part(text).and_then(|(d, rest)| Some((d, rest.strip_prefix('.')?))) else {
        bail!("{text:?} is no table: write db.table, or `d.b`.`table` for names with a dot");
    };
    match part(rest) {
        Some((table, "")) => Ok(TableName::new(database, table)),
        _ => bail!("{text:?} is no table: write db.table, or `d.b`.`table` for names with a dot"),
    }
}

/// The first name of a text, and what follows it.
fn part(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('`') else {
        let end = text.find('.').unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('`')?;
        name.push_str(before);
        match after.strip_prefix('`') {
            Some(after) => {
                name.push('`');
                rest = after;
            }
            None => return (!name.is_empty()).then_some((name, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_quoted() {
        let of = |text| table_name(text).ok().map(|n| (n.database, n.table));
        let is = |d: &str, t: &str| Some((d.to_owned(), t.to_owned()));
        assert_eq!(of("a.b"), is("a", "b"));
        assert_eq!(of("`a.b`.`c``d`"), is("a.b", "c`d"));
        assert_eq!(of("a.`b.c`"), is("a", "b.c"));
        for wrong in ["", "a", "a.", ".b", "a.b.c", "`a", "`a`b", "``.b"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
