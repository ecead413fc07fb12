//! The same scripts against every server that Tidelake reads: MariaDB 10.11 and 11, MySQL 5.6 and 9.
//!
//! A scenario is an SQL file. What stands before its line `--# stream` is there when Tidelake starts, so it is copied; what
//! stands behind it is replicated from the binlog. Everything is compared after the copy, after each scenario, and
//! once more after both sides were killed and started again. Further lines between statements:
//!
//! * `--# only mysql`, `--# only mariadb`, `--# only KIND ...`, `--# not KIND ...`: for those servers, up to `--# all`.
//! * `--# kill` kills Tidelake: what follows happens while it is down. `--# start` starts it again.
//! * `--# compare`: everything is equal here.
//! * `--# session`: what follows is another session.
//! * `--# server kill`, `--# server stop`: ends the upstream in this way and starts it again.
//! * `--# stops TABLE: TEXT`: this table cannot be followed; it is stopped with a reason that has the text.
//!
//! Each part between such lines is one session of the upstream's client.

mod compare;

use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

use crate::tidelake::Tidelake;
use compare::Expected;

/// In the order in which they run.
const SCENARIOS: &[&str] = &[
    "types",
    "texts",
    "keys",
    "transactions",
    "xa",
    "ddl",
    "ddl_resync",
    "partitions",
    "generated",
    "cascades",
    "names",
    "noise",
    "images",
    "large",
    "odd_tables",
    "exists",
];

fn sql_of(scenario: &str) -> String {
    let path = format!("{}/tests/e2e/matrix/{scenario}.sql", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {path}: {e}"))
}

/// `TIDELAKE_MATRIX=types,keys` runs these only.
fn chosen() -> Vec<&'static str> {
    let Ok(names) = std::env::var("TIDELAKE_MATRIX") else { return SCENARIOS.to_vec() };
    SCENARIOS.iter().copied().filter(|s| names.split(',').any(|n| n == *s)).collect()
}

/// A step of a scenario.
#[derive(Debug, PartialEq)]
enum Step {
    Sql(String),
    Stream,
    Kill,
    Start,
    Session,
    Server(String),
    Compare,
    Stops(String, String),
}

fn is_of(kind: ServerKind, word: &str) -> bool {
    match word {
        "mysql" => kind.is_mysql(),
        "mariadb" => !kind.is_mysql(),
        "mariadb-old" => kind == ServerKind::MariaDb,
        "mariadb-new" => kind == ServerKind::MariaDbNew,
        "mysql-old" => kind == ServerKind::MySqlOld,
        "mysql-new" => kind == ServerKind::MySqlNew,
        other => panic!("no server is called {other}"),
    }
}

/// The steps that a scenario has for a server.
fn steps(sql: &str, kind: ServerKind) -> Vec<Step> {
    let (mut steps, mut text, mut wanted) = (Vec::new(), String::new(), true);
    for line in sql.lines() {
        let Some(said) = line.strip_prefix("--# ") else {
            if wanted {
                text.push_str(line);
                text.push('\n');
            }
            continue;
        };
        let (verb, rest) = said.split_once(' ').unwrap_or((said, ""));
        match verb {
            "only" => wanted = rest.split(' ').any(|word| is_of(kind, word)),
            "not" => wanted = !rest.split(' ').any(|word| is_of(kind, word)),
            "all" => wanted = true,
            _ if !wanted => {}
            _ => {
                if !text.trim().is_empty() {
                    steps.push(Step::Sql(std::mem::take(&mut text)));
                }
                steps.push(match verb {
                    "stream" => Step::Stream,
                    "kill" => Step::Kill,
                    "start" => Step::Start,
                    "session" => Step::Session,
                    "server" => Step::Server(rest.to_owned()),
                    "compare" => Step::Compare,
                    "stops" => {
                        let (table, reason) = rest.split_once(": ").expect("--# stops TABLE: TEXT");
                        Step::Stops(table.to_owned(), reason.to_owned())
                    }
                    other => panic!("no such line: --# {other}"),
                });
            }
        }
    }
    if !text.trim().is_empty() {
        steps.push(Step::Sql(text));
    }
    steps
}

/// One server with everything that was done to it.
struct Run {
    upstream: MariaDb,
    tidelake: Option<Tidelake>,
    expected: Expected,
}

impl Run {
    fn tidelake(&mut self) -> &mut Tidelake {
        self.tidelake.as_mut().expect("started after the first parts")
    }

    fn compare(&mut self, place: &str) {
        let tidelake = self.tidelake.as_ref().expect("started after the first parts");
        compare::assert_settles_to_same_contents(&self.upstream, tidelake, &self.expected, place);
    }

    fn step(&mut self, scenario: &str, step: Step) {
        match step {
            Step::Sql(sql) => {
                let sql = format!("SET time_zone = '+00:00';\n{sql}");
                if let Err(error) = self.upstream.client().try_batch_text(&sql) {
                    panic!("{:?}, scenario {scenario}: {error}\n{}", self.upstream.kind(), self.upstream.log());
                }
            }
            Step::Stream | Step::Session => {}
            Step::Server(how) => {
                match how.as_str() {
                    "kill" => self.upstream.kill9(),
                    "stop" => self.upstream.stop(),
                    other => panic!("no such end: {other}"),
                }
                self.upstream.restart();
            }
            Step::Kill => self.tidelake().kill9(),
            Step::Start => self.tidelake().restart(),
            Step::Compare => self.compare(scenario),
            Step::Stops(table, reason) => self.expected.stops(table, reason),
        }
    }
}

fn run(kind: ServerKind) {
    let upstream = MariaDb::start(MariaDbOptions::of(kind).arg("--local-infile=ON"));
    // for the tables of engines without snapshots
    upstream.execute("GRANT LOCK TABLES ON *.* TO 'tidelake'@'127.0.0.1'");
    let mut run = Run { upstream, tidelake: None, expected: Expected::default() };
    let mut later = Vec::new();
    for scenario in chosen() {
        let mut all = steps(&sql_of(scenario), kind);
        let at = all.iter().position(|s| *s == Step::Stream).unwrap_or(0);
        later.push((scenario, all.split_off(at)));
        all.into_iter().for_each(|step| run.step(scenario, step));
    }
    let options = ["--interval", "20ms", "--copy-chunk-rows", "100", "--flush-interval", "2s"];
    run.tidelake = Some(Tidelake::run(&run.upstream.source_url(), &options));
    run.compare("the copy");
    for (name, steps) in later {
        steps.into_iter().for_each(|step| run.step(name, step));
        run.compare(name);
    }
    run.tidelake().kill9();
    // MySQL 5.6 loses XA transactions that it has logged already when it is killed
    if kind == ServerKind::MySqlOld {
        run.upstream.stop()
    } else {
        run.upstream.kill9()
    }
    run.upstream.restart();
    run.upstream.execute("CREATE DATABASE after_all; CREATE TABLE after_all.t (id INT PRIMARY KEY)");
    run.tidelake().restart();
    run.upstream.execute("INSERT INTO after_all.t VALUES (1); FLUSH LOGS; INSERT INTO after_all.t VALUES (2)");
    run.compare("both killed and started again");
}

#[test]
fn mariadb_10() {
    run(ServerKind::MariaDb);
}

#[test]
fn mysql_9() {
    run(ServerKind::MySqlNew);
}

#[test]
fn mariadb_11() {
    run(ServerKind::MariaDbNew);
}

#[test]
fn mysql_5_6() {
    run(ServerKind::MySqlOld);
}

#[test]
fn lines_for_other_servers_are_left_out() {
    let text = "a;\n--# only mysql\nb;\n--# all\n--# stream\nc;\n--# not mysql-old mariadb\nd;\n--# stops x.y: why\n";
    let sql = |s: &str| Step::Sql(s.to_owned());
    assert_eq!(steps(text, ServerKind::MariaDb), [sql("a;\n"), Step::Stream, sql("c;\n")]);
    let stops = Step::Stops("x.y".to_owned(), "why".to_owned());
    assert_eq!(steps(text, ServerKind::MySqlNew), [sql("a;\nb;\n"), Step::Stream, sql("c;\nd;\n"), stops]);
}
