//! The same random questions to a real server and to Tidelake, on the same rows: the same text comes back, or Tidelake
//! says that it does not do this. Never another answer.
//!
//! `TIDELAKE_DIFFERENTIAL_QUERIES=20000 TIDELAKE_DIFFERENTIAL_SEED=7 cargo test --workspace --test e2e differential` asks more.

mod expressions;
mod queries;
mod tables;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Row, Value};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tidelake_testkit::{MariaDb, MariaDbOptions};

use self::queries::{Query, Writer};
use crate::crashes::wait_copied;
use crate::tidelake::Tidelake;

/// What CI asks: under a minute.
const QUERIES: u64 = 600;
const SEED: u64 = 20_241_123;
/// More differences than these are not printed.
const SHOWN: usize = 40;

/// Column names and rows; NULL is `None`.
type Answer = (Vec<String>, Vec<Vec<Option<Vec<u8>>>>);

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

async fn connect(port: u16) -> Conn {
    let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some("root"));
    let mut conn = Conn::new(options.prefer_socket(false).db_name(Some("diff"))).await.expect("both listen");
    conn.query_drop("SET time_zone = '+00:00'").await.expect("an offset is a time zone");
    conn
}

async fn ask(conn: &mut Conn, sql: &str) -> Result<Answer, mysql_async::Error> {
    let mut result = conn.query_iter(sql).await?;
    let names = result.columns_ref().iter().map(|c| c.name_str().into_owned()).collect();
    let rows: Vec<Row> = result.collect().await?;
    let cell = |value: Value| match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(unsigned_zero(bytes)),
        other => panic!("the text protocol gives bytes, not {other:?}"),
    };
    Ok((names, rows.into_iter().map(|row| row.unwrap().into_iter().map(cell).collect()).collect()))
}

/// A remainder of zero keeps its dividend's sign upstream; ours has no negative zero (docs/sql.md).
fn unsigned_zero(bytes: Vec<u8>) -> Vec<u8> {
    match bytes.strip_prefix(b"-") {
        Some(rest) if !rest.is_empty() && rest.iter().all(|b| matches!(b, b'0' | b'.')) => rest.to_vec(),
        _ => bytes,
    }
}

/// ORDER BY a number that is no position: the upstream's own words, and no question worth asking.
fn is_position_error(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(e) if e.code == 1054)
}

fn shown(row: Option<&Vec<Option<Vec<u8>>>>) -> String {
    let cell = |c: &Option<Vec<u8>>| c.as_ref().map_or("NULL".to_owned(), |b| String::from_utf8_lossy(b).into_owned());
    row.map_or("(none)".to_owned(), |row| row.iter().map(cell).collect::<Vec<_>>().join(" | "))
}

/// What differs, or `None`.
fn difference(query: &Query, (names, mut rows): Answer, (found_names, mut found): Answer) -> Option<String> {
    if names != found_names {
        return Some(format!("names\n  upstream: {names:?}\n  here:     {found_names:?}"));
    }
    if !query.ordered {
        rows.sort();
        found.sort();
    }
    if rows == found {
        return None;
    }
    let at = (0..rows.len().max(found.len())).find(|i| rows.get(*i) != found.get(*i)).unwrap_or(0);
    let (want, have) = (shown(rows.get(at)), shown(found.get(at)));
    Some(format!("row {at} of {} and {}\n  upstream: {want}\n  here:     {have}", rows.len(), found.len()))
}

fn refusal(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(e) if e.code == 1235)
}

#[tokio::test]
async fn random_questions_are_answered_as_upstream_or_refused() {
    let (count, seed) = (number("TIDELAKE_DIFFERENTIAL_QUERIES", QUERIES), number("TIDELAKE_DIFFERENTIAL_SEED", SEED));
    let mut rng = StdRng::seed_from_u64(seed);
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&tables::setup(&mut rng));
    let tidelake = Tidelake::run(&upstream.source_url(), &[]);
    wait_copied(&tidelake);
    let (mut there, mut here) = (connect(upstream.port()).await, connect(tidelake.ports().mysql).await);
    let (mut equal, mut refused, mut failed, mut wrong) = (0, Vec::new(), 0, Vec::new());
    for _ in 0..count {
        let query = Writer { rng: &mut rng }.next();
        let (wanted, found) = (ask(&mut there, &query.sql).await, ask(&mut here, &query.sql).await);
        let what = match (wanted, found) {
            (_, Err(error)) if refusal(&error) => {
                refused.push(format!("{}\n  {error}", query.sql));
                continue;
            }
            (Err(_), Err(_)) => {
                failed += 1;
                continue;
            }
            (Err(error), Ok(_)) if is_position_error(&error) => continue,
            (Err(error), Ok(_)) => format!("an error upstream: {error}"),
            (Ok(_), Err(error)) => format!("an error here: {error}"),
            (Ok(wanted), Ok(found)) => match difference(&query, wanted, found) {
                Some(what) => what,
                None => {
                    equal += 1;
                    continue;
                }
            },
        };
        wrong.push(format!("{};\n  {what}", query.sql));
    }
    println!(
        "seed {seed}: {equal} equal, {failed} errors on both, {} refused, {} different",
        refused.len(),
        wrong.len()
    );
    if std::env::var("TIDELAKE_DIFFERENTIAL_REFUSED").is_ok() {
        println!("{}", refused.join("\n"));
    }
    let shown = wrong.iter().take(number("TIDELAKE_DIFFERENTIAL_SHOWN", SHOWN as u64) as usize);
    let shown: Vec<&str> = shown.map(String::as_str).collect();
    assert!(wrong.is_empty(), "seed {seed}: {} of {count} differ\n{}", wrong.len(), shown.join("\n"));
    // A generator whose statements fail, or a replica that refuses, tests nothing.
    assert!(equal * 2 > count, "only {equal} of {count} were compared, {} refused, {failed} failed", refused.len());
}
