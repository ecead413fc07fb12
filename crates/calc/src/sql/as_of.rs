//! Time travel: `AS OF TIMESTAMP` behind tables, and the values of `tidb_snapshot` and `tidelake_read_seq`.
//!
//! The clause is TiDB's. The parser does not know it, so it is taken out of the tokens before they are parsed. One statement
//! reads one snapshot: all its tables have the clause, with the same time, or none has.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{ObjectName, Query, Statement, Visit, Visitor};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use tidelake_core::ports::Freshness;
use tidelake_core::types::temporal::{is_invalid_day, split_micros};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{CommitSeq, Moment, SourcePosition};

use super::datetime::parse_datetime;
use super::dialect::TideDialect;
use super::error::{syntax, unsupported};
use super::lexing::Lexed;
use super::zone::Zone;
use crate::session::SqlError;

/// What a session reads instead of the newest snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Travel {
    /// `tidelake_read_seq`.
    Seq(u64),
    /// `tidb_snapshot` as a time: microseconds since 1970 UTC.
    Time(i64),
    /// `tidb_snapshot` as a TSO.
    Tso(u64),
}

impl Travel {
    /// A value of `tidb_snapshot`: a TSO, or a time in the session's zone.
    pub(crate) fn parse(text: &str, zone: Zone) -> Option<Travel> {
        match text.parse() {
            Ok(tso) => Some(Travel::Tso(tso)),
            Err(_) => time_of(text, zone).map(Travel::Time),
        }
    }

    /// What is asked of the latch. Commits of TiDB are in the order of their TSOs, which its times are a part of; elsewhere a
    /// TSO is the time in it.
    pub(crate) fn freshness(self, flavor: ServerFlavor) -> Result<Freshness, SqlError> {
        let now_us = tidelake_core::moment::now_us();
        let time_us = match self {
            Travel::Seq(seq) => return Ok(Freshness::AtSeq(CommitSeq(seq))),
            Travel::Time(us) => us,
            Travel::Tso(tso) => (tso >> 18).cast_signed() * 1000,
        };
        if time_us > now_us {
            let message =
                format!("cannot set read timestamp to a future time: {}", tidelake_core::moment::time_text(time_us));
            return Err(SqlError::new(8055, "HY000", message));
        }
        let tso = match self {
            Travel::Tso(tso) => tso,
            _ => (time_us.max(0).cast_unsigned() / 1000) << 18,
        };
        let position = SourcePosition { major: tso, minor: u64::MAX, token: format!("TSO {tso}"), commit_time_us: 0 };
        Ok(Freshness::At(match flavor {
            ServerFlavor::TiDb => Moment::Position(position),
            _ => Moment::Time(time_us),
        }))
    }
}

/// The instant that a text names in a zone. Stricter than casts: what is passed over there would be another time here.
pub(crate) fn time_of(text: &str, zone: Zone) -> Option<i64> {
    let plain = |b: u8| b.is_ascii_digit() || b"-/: T.".contains(&b);
    let parsed = parse_datetime(text).filter(|_| text.trim().bytes().all(plain))?;
    (!is_invalid_day(split_micros(parsed.micros).0)).then(|| zone.to_utc(parsed.micros))
}

/// TiDB's error for what is wrong with the clause.
pub(crate) fn invalid(what: &str) -> SqlError {
    SqlError::new(8135, "HY000", format!("invalid as of timestamp: {what}"))
}

/// True if the clause begins at a token.
pub(crate) fn begins_at(lexed: &Lexed, at: usize) -> bool {
    lexed.is(at, &["AS", "OF", "TIMESTAMP"])
}

/// The expression behind `AS OF TIMESTAMP` at a token: its text, and the index of the token behind it.
pub(crate) fn expression(lexed: &Lexed, at: usize) -> Result<(String, usize), SqlError> {
    let from = at + 3;
    let rest = lexed.tokens.get(from..).unwrap_or_default().to_vec();
    let mut parser = Parser::new(&TideDialect).with_recursion_limit(200).with_tokens_with_locations(rest);
    parser.parse_expr().map_err(syntax)?;
    let end = (from + parser.index()).min(lexed.tokens.len());
    let has_mark = lexed.tokens[from..end].iter().any(|t| matches!(t.token, Token::Placeholder(_)));
    if has_mark || (from..end).any(|i| lexed.is(i, &["SELECT"])) {
        return Err(unsupported("parameters and subqueries in AS OF TIMESTAMP"));
    }
    Ok((lexed.text_of(from, end), end))
}

/// A query without its clauses, and their expressions, each once.
pub(crate) fn take(lexed: &Lexed) -> Result<Option<(Lexed, BTreeSet<String>)>, SqlError> {
    if (0..lexed.tokens.len()).any(|i| lexed.is(i, &["FOR", "SYSTEM_TIME"])) {
        return Err(unsupported(
            "FOR SYSTEM_TIME, which asks a table for its own history; AS OF TIMESTAMP asks for the replica's",
        ));
    }
    let (mut tokens, mut expressions, mut clauses, mut at) = (Vec::new(), BTreeSet::new(), 0, 0);
    while at < lexed.tokens.len() {
        if begins_at(lexed, at) {
            let (text, end) = expression(lexed, at)?;
            expressions.insert(text);
            clauses += 1;
            at = end;
        } else {
            tokens.push(lexed.tokens[at].clone());
            at += 1;
        }
    }
    if clauses == 0 {
        return Ok(None);
    }
    if tables(&tokens)? != clauses {
        return Err(invalid("can not set different time in the as of: every table of the statement needs the same"));
    }
    Ok(Some((lexed.with_tokens(tokens), expressions)))
}

/// How many tables a query names.
fn tables(tokens: &[TokenWithSpan]) -> Result<usize, SqlError> {
    let mut parser = Parser::new(&TideDialect).with_recursion_limit(200).with_tokens_with_locations(tokens.to_vec());
    let statement: Statement = parser.parse_statement().map_err(syntax)?;
    let mut counted = Tables { names: Vec::new(), ctes: vec!["dual".to_owned()] };
    let _ = statement.visit(&mut counted);
    let named = |name: &&String| !counted.ctes.iter().any(|cte| cte.eq_ignore_ascii_case(name));
    Ok(counted.names.iter().filter(named).count())
}

struct Tables {
    names: Vec<String>,
    /// Names that are no tables.
    ctes: Vec<String>,
}

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.ctes.extend(tables.map(|cte| cte.alias.name.value.clone()));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let parts = name.0.iter().map(|part| part.as_ident().map_or_else(String::new, |i| i.value.clone()));
        self.names.push(parts.collect::<Vec<_>>().join("."));
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lexing::lex;
    use crate::sql::zone::UTC;

    fn taken(sql: &str) -> (String, Vec<String>) {
        let (lexed, expressions) = take(&lex(sql).unwrap()).unwrap().expect("it has the clause");
        let words: Vec<String> = lexed.tokens.iter().map(|t| t.token.to_string()).collect();
        (words.join(" "), expressions.into_iter().collect())
    }

    #[test]
    fn the_clause_is_taken_out() {
        let (rest, times) =
            taken("SELECT a FROM t AS OF TIMESTAMP NOW() - INTERVAL 5 SECOND WHERE a = 'as of timestamp'");
        assert_eq!(rest, "SELECT a FROM t WHERE a = 'as of timestamp'");
        assert_eq!(times, ["NOW() - INTERVAL 5 SECOND"]);
        let (rest, times) = taken(
            "select * from d.t x as of timestamp '2026-01-01 10:00:00' join u AS OF TIMESTAMP \
                                   '2026-01-01 10:00:00' AS y on x.a = y.a limit 3",
        );
        assert_eq!(rest, "select * from d . t x join u AS y on x . a = y . a limit 3");
        assert_eq!(times, ["'2026-01-01 10:00:00'"]);
        let (rest, times) = taken(
            "WITH c AS (SELECT * FROM t AS OF TIMESTAMP @a) SELECT * FROM c, (SELECT 1 FROM t AS OF TIMESTAMP @b) z",
        );
        assert_eq!(rest, "WITH c AS ( SELECT * FROM t ) SELECT * FROM c , ( SELECT 1 FROM t ) z");
        assert_eq!(times, ["@a", "@b"]);
    }

    #[test]
    fn what_would_mean_something_else_is_refused() {
        let code = |sql: &str| take(&lex(sql).unwrap()).err().expect(sql).code;
        assert_eq!(code("SELECT * FROM t AS OF TIMESTAMP '2026-01-01', u"), 8135);
        assert_eq!(code("SELECT * FROM t AS OF TIMESTAMP '2026-01-01' WHERE a IN (SELECT a FROM u)"), 8135);
        assert_eq!(code("SELECT * FROM t FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-01'"), 1235);
        assert_eq!(code("SELECT * FROM t FOR SYSTEM_TIME ALL"), 1235);
        assert_eq!(code("SELECT * FROM t AS OF TIMESTAMP ?"), 1235);
        assert_eq!(code("SELECT * FROM t AS OF TIMESTAMP (SELECT 1)"), 1235);
        assert_eq!(code("SELECT * FROM t AS OF TIMESTAMP"), 1064);
        assert!(take(&lex("SELECT a AS `of`, b AS timestamp FROM t").unwrap()).unwrap().is_none());
    }

    #[test]
    fn snapshots_are_times_or_tsos() {
        let berlin = Zone::parse("+02:00").unwrap();
        assert_eq!(Travel::parse("1970-01-01 03:00:00.5", berlin), Some(Travel::Time(3_600_500_000)));
        assert_eq!(Travel::parse("469374055665369095", UTC), Some(Travel::Tso(469_374_055_665_369_095)));
        for wrong in ["", "soon", "2026-01-01 1x:00:00", "0000-00-00", "2026-02-00 00:00:00", "-5"] {
            assert_eq!(Travel::parse(wrong, UTC), None, "{wrong}");
        }
        let tso = Travel::Tso(469_374_055_665_369_095);
        let time = Freshness::At(Moment::Time(1_790_519_926_702_000));
        if tidelake_core::moment::now_us() > 1_790_519_926_702_000 {
            assert_eq!(tso.freshness(ServerFlavor::MariaDb).unwrap(), time);
            let at = tso.freshness(ServerFlavor::TiDb).unwrap();
            assert!(
                matches!(at, Freshness::At(Moment::Position(p)) if p.order() == (469_374_055_665_369_095, u64::MAX))
            );
        }
        let at = Travel::Time(1_000).freshness(ServerFlavor::TiDb).unwrap();
        assert!(matches!(at, Freshness::At(Moment::Position(p)) if p.order() == (1 << 18, u64::MAX)));
        assert_eq!(Travel::Tso(u64::MAX).freshness(ServerFlavor::TiDb).unwrap_err().code, 8055);
        assert_eq!(Travel::Seq(7).freshness(ServerFlavor::TiDb).unwrap(), Freshness::AtSeq(CommitSeq(7)));
    }
}
