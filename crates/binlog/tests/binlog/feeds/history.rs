//! A random history of a few tables, and what they hold after each of its commits.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tidelake_core::{CellValue, TableName};

pub use super::kinds::Kind;

/// A row by column name.
pub type Row = BTreeMap<String, CellValue>;

/// Everything the tables hold: rows by key.
pub type Contents = BTreeMap<TableName, BTreeMap<String, Row>>;

/// A table as it is now.
#[derive(Clone, Debug)]
pub struct Table {
    pub name: TableName,
    /// In order; the first `keys` are the primary key.
    pub columns: Vec<(String, Kind)>,
    pub keys: usize,
    /// Commit-ts of its last DDL.
    pub version: u64,
    pub(super) next_column: u32,
}

impl Table {
    pub fn key(&self, row: &Row) -> String {
        self.columns[..self.keys].iter().map(|(name, _)| format!("{:?}/", row[name])).collect()
    }
}

/// A change of one row.
#[derive(Clone, Debug)]
pub struct Change {
    /// As the table was at the commit.
    pub table: Table,
    pub old: Option<Row>,
    pub new: Option<Row>,
}

/// One commit.
#[derive(Clone, Debug)]
pub enum Commit {
    Rows(Vec<Change>),
    /// A DDL: its text, and the table after it (`None`: of a database, or gone).
    Ddl {
        sql: String,
        database: String,
        table: String,
        after: Option<Table>,
    },
}

/// A history with its truth.
pub struct History {
    /// Ascending; DDLs may share their commit-ts with the rows before them, and with one another.
    pub commits: Vec<(u64, Commit)>,
    /// What the tables hold after each, but for those that only upstream knows.
    pub truth: Vec<Contents>,
    /// The tables that only upstream knows after each.
    pub stopped: Vec<BTreeSet<TableName>>,
}

impl History {
    /// As TiCDC sends it: a statement about several tables is several events.
    pub fn random(seed: u64, commits: usize) -> History {
        History::made(seed, commits, false)
    }

    /// With statements as users wrote them.
    pub fn whole(seed: u64, commits: usize) -> History {
        History::made(seed, commits, true)
    }

    fn made(seed: u64, commits: usize, whole: bool) -> History {
        let mut maker = Maker {
            rng: StdRng::seed_from_u64(seed),
            whole,
            tables: Vec::new(),
            dropped: Vec::new(),
            contents: Contents::new(),
            stopped: BTreeSet::new(),
            ts: 441_349_361_156_227_074,
            names: 0,
            history: History { commits: Vec::new(), truth: Vec::new(), stopped: Vec::new() },
        };
        for database in ["shop", "depot"] {
            maker.ddl(format!("CREATE DATABASE `{database}`"), database, "", None);
        }
        maker.create("shop");
        maker.create("depot");
        maker.create("shop");
        while maker.history.commits.len() < commits {
            maker.step();
        }
        maker.history
    }
}

pub(super) struct Maker {
    pub(super) rng: StdRng,
    /// See [`History::whole`].
    pub(super) whole: bool,
    pub(super) tables: Vec<Table>,
    /// Tables that were dropped, with their rows.
    pub(super) dropped: Vec<(Table, BTreeMap<String, Row>)>,
    pub(super) contents: Contents,
    pub(super) stopped: BTreeSet<TableName>,
    pub(super) ts: u64,
    pub(super) names: u32,
    pub(super) history: History,
}

impl Maker {
    fn commit(&mut self, commit: Commit) {
        let mut known = self.contents.clone();
        known.retain(|name, _| !self.stopped.contains(name));
        self.history.commits.push((self.ts, commit));
        self.history.truth.push(known);
        self.history.stopped.push(self.stopped.clone());
    }

    fn tick(&mut self) {
        self.ts += self.rng.random_range(1..1_000_000u64);
    }

    /// A DDL after which the clock stands.
    pub(super) fn ddl_at(&mut self, sql: String, database: &str, table: &str, after: Option<Table>) {
        let (database, table) = (database.to_owned(), table.to_owned());
        self.commit(Commit::Ddl { sql, database, table, after });
    }

    pub(super) fn ddl(&mut self, sql: String, database: &str, table: &str, after: Option<Table>) {
        self.ddl_at(sql, database, table, after);
        self.tick();
    }

    fn step(&mut self) {
        if self.rng.random_ratio(1, 2) || !self.statement() {
            self.rows();
        }
    }

    pub(super) fn new_name(&mut self, database: &str, what: &str) -> TableName {
        self.names += 1;
        TableName::new(database, format!("{what} {}", self.names))
    }

    pub(super) fn create(&mut self, database: &str) {
        let name = self.new_name(database, "t");
        self.create_named(name);
    }

    pub(super) fn create_named(&mut self, name: TableName) {
        let keys = self.rng.random_range(1..=2);
        let mut columns = vec![("id".to_owned(), Kind::Int)];
        if keys == 2 {
            columns.push(("key 2".to_owned(), Kind::VarChar));
        }
        for i in 0..self.rng.random_range(1..8) {
            let kind = super::kinds::KINDS.choose(&mut self.rng).unwrap().0;
            // what wrote whole statements is older than vectors
            let kind = if self.whole && kind == Kind::Vector { Kind::BigInt } else { kind };
            columns.push((format!("c{i}"), kind));
        }
        let table = Table { name: name.clone(), columns, keys, version: self.ts, next_column: 20 };
        let list: Vec<String> = table
            .columns
            .iter()
            .enumerate()
            .map(|(i, (name, kind))| format!("`{name}` {}{}", kind.sql(), if i < keys { " NOT NULL" } else { "" }))
            .collect();
        let key: Vec<String> = table.columns[..keys].iter().map(|(n, _)| format!("`{n}`")).collect();
        let sql = format!(
            "CREATE TABLE `{}`.`{}` ({},PRIMARY KEY({}) /*T![clustered_index] CLUSTERED */) DEFAULT CHARSET=utf8mb4{}",
            name.database,
            name.table,
            list.join(","),
            key.join(","),
            if self.rng.random() {
                " PARTITION BY RANGE (`id`) (PARTITION `p0` VALUES LESS THAN (10),PARTITION `p1` VALUES LESS THAN (MAXVALUE))"
            } else {
                ""
            }
        );
        self.contents.insert(name.clone(), BTreeMap::new());
        self.tables.push(table.clone());
        self.ddl(sql, &name.database, &name.table, Some(table));
    }

    fn rows(&mut self) {
        let mut changes: Vec<Change> = Vec::new();
        for _ in 0..self.rng.random_range(1..12) {
            let table = self.tables[self.rng.random_range(0..self.tables.len())].clone();
            let mut new: Row = table.columns.iter().map(|(n, kind)| (n.clone(), kind.value(&mut self.rng))).collect();
            new.insert("id".into(), CellValue::Int(self.rng.random_range(0..30)));
            if table.keys == 2 {
                let words = ["a", "b", "ü"];
                new.insert("key 2".into(), CellValue::Str((*words.choose(&mut self.rng).unwrap()).to_owned()));
            }
            let key = table.key(&new);
            // a commit changes a row once
            let again = |c: &Change| {
                c.table.name == table.name && [&c.old, &c.new].into_iter().flatten().any(|r| table.key(r) == key)
            };
            if changes.iter().any(again) {
                continue;
            }
            let rows = self.contents.get_mut(&table.name).unwrap();
            let old = rows.remove(&key);
            let new = (old.is_none() || self.rng.random_ratio(2, 3)).then_some(new);
            if let Some(new) = &new {
                rows.insert(key, new.clone());
            }
            changes.push(Change { table, old, new });
        }
        self.commit(Commit::Rows(changes));
        self.tick();
    }
}
