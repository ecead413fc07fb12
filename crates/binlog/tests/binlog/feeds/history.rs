//! A random history of a few tables, and what they hold after each of its commits.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tidelake_core::{CellValue, TableName};

/// A row by column name.
pub type Row = BTreeMap<String, CellValue>;

/// Everything the tables hold: rows by key.
pub type Contents = BTreeMap<TableName, BTreeMap<String, Row>>;

/// Types that rows are made of, with their SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    BigUnsigned,
    VarChar,
    VarBinary,
    Decimal,
    Enum,
    Set,
    DateTime,
    Timestamp,
    Time,
    Double,
    Float,
    Bit,
    Json,
}

const KINDS: [(Kind, &str); 14] = [
    (Kind::Int, "INT"),
    (Kind::BigUnsigned, "BIGINT UNSIGNED"),
    (Kind::VarChar, "VARCHAR(60)"),
    (Kind::VarBinary, "VARBINARY(30)"),
    (Kind::Decimal, "DECIMAL(12,3)"),
    (Kind::Enum, "ENUM('red','green','it''s')"),
    (Kind::Set, "SET('a','b','c')"),
    (Kind::DateTime, "DATETIME(3)"),
    (Kind::Timestamp, "TIMESTAMP"),
    (Kind::Time, "TIME(6)"),
    (Kind::Double, "DOUBLE"),
    (Kind::Float, "FLOAT"),
    (Kind::Bit, "BIT(10)"),
    (Kind::Json, "JSON"),
];

impl Kind {
    pub fn sql(self) -> &'static str {
        KINDS.iter().find(|(k, _)| *k == self).map_or("INT", |(_, sql)| sql)
    }

    fn value(self, rng: &mut StdRng) -> CellValue {
        if rng.random_ratio(1, 8) {
            return CellValue::Null;
        }
        if rng.random_ratio(1, 5) {
            return self.extreme(rng.random());
        }
        match self {
            Kind::Int => CellValue::Int(rng.random_range(-5..5) * 400_000_000),
            Kind::BigUnsigned => CellValue::UInt(rng.random()),
            Kind::VarChar => {
                let words = ["", "a,b", "\"quoted\"", "line\r\nbreak", "\\N", "back\\slash", "Größe 𝄞", "true", "x"];
                CellValue::Str((*words.choose(rng).unwrap()).to_owned())
            }
            Kind::VarBinary => CellValue::Bytes((0..rng.random_range(0..9)).map(|_| rng.random()).collect()),
            Kind::Decimal => CellValue::Decimal(rng.random_range(-999_999_999i64..999_999_999).to_string()),
            Kind::Enum => CellValue::UInt(rng.random_range(1..=3)),
            Kind::Set => CellValue::UInt(rng.random_range(0..8)),
            Kind::DateTime => CellValue::Int(rng.random_range(-1_000_000_000_000i64..4_000_000_000_000) * 1000),
            Kind::Timestamp => CellValue::Int(rng.random_range(1..2_000_000_000i64) * 1_000_000),
            Kind::Time => CellValue::Int(rng.random_range(-3_020_399_000_000i64..3_020_399_000_000)),
            Kind::Double => CellValue::Float(rng.random_range(-1e12..1e12)),
            Kind::Float => CellValue::Float(f64::from(rng.random_range(-1e6f32..1e6))),
            Kind::Bit => CellValue::UInt(rng.random_range(0..1024)),
            Kind::Json => CellValue::Str(r#"{"a": [1, "x"], "b": null}"#.to_owned()),
        }
    }
}

impl Kind {
    /// The least or the greatest value.
    fn extreme(self, high: bool) -> CellValue {
        let pick = |low: i64, most: i64| CellValue::Int(if high { most } else { low });
        let float = |low: f64, most: f64| CellValue::Float(if high { most } else { low });
        match self {
            Kind::Int => pick(i64::from(i32::MIN), i64::from(i32::MAX)),
            Kind::BigUnsigned => CellValue::UInt(if high { u64::MAX } else { 0 }),
            Kind::VarChar => CellValue::Str(if high { "𝄞".repeat(60) } else { "\u{1}\u{7f}".into() }),
            Kind::VarBinary => CellValue::Bytes(vec![if high { 0xff } else { 0 }; 30]),
            Kind::Decimal => CellValue::Decimal(if high { "999999999999".into() } else { "-999999999999".into() }),
            Kind::Enum => CellValue::UInt(if high { 3 } else { 1 }),
            Kind::Set => CellValue::UInt(if high { 7 } else { 0 }),
            // 9999-12-31 23:59:59.999 and 1000-01-01
            Kind::DateTime => pick(-30_610_224_000_000_000, 253_402_300_799_999_000),
            Kind::Timestamp => pick(1_000_000, i64::from(i32::MAX) * 1_000_000),
            Kind::Time => pick(-3_020_399_000_000, 3_020_399_000_000),
            Kind::Double => float(f64::MIN, f64::MIN_POSITIVE),
            Kind::Float => float(f64::from(f32::MIN), f64::from(f32::MIN_POSITIVE)),
            Kind::Bit => CellValue::UInt(if high { 1023 } else { 0 }),
            Kind::Json => CellValue::Str(if high { r#""ü\n\u0001""#.into() } else { "null".into() }),
        }
    }
}

/// A table as it is now.
#[derive(Clone, Debug)]
pub struct Table {
    pub name: TableName,
    /// In order; the first `keys` are the primary key.
    pub columns: Vec<(String, Kind)>,
    pub keys: usize,
    /// Commit-ts of its last DDL.
    pub version: u64,
    next_column: u32,
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
    /// Ascending; a DDL may share its commit-ts with the rows before it.
    pub commits: Vec<(u64, Commit)>,
    /// What the tables hold after each.
    pub truth: Vec<Contents>,
}

impl History {
    pub fn random(seed: u64, commits: usize) -> History {
        let mut maker = Maker {
            rng: StdRng::seed_from_u64(seed),
            tables: Vec::new(),
            contents: Contents::new(),
            ts: 441_349_361_156_227_074,
            names: 0,
            history: History { commits: Vec::new(), truth: Vec::new() },
        };
        maker.ddl("CREATE DATABASE `shop`".into(), "shop", "", None);
        maker.create();
        maker.create();
        while maker.history.commits.len() < commits {
            maker.step();
        }
        maker.history
    }
}

struct Maker {
    rng: StdRng,
    tables: Vec<Table>,
    contents: Contents,
    ts: u64,
    names: u32,
    history: History,
}

impl Maker {
    fn commit(&mut self, commit: Commit) {
        self.history.commits.push((self.ts, commit));
        self.history.truth.push(self.contents.clone());
    }

    fn tick(&mut self) {
        self.ts += self.rng.random_range(1..1_000_000u64);
    }

    fn ddl(&mut self, sql: String, database: &str, table: &str, after: Option<Table>) {
        let (database, table) = (database.to_owned(), table.to_owned());
        self.commit(Commit::Ddl { sql, database, table, after });
        self.tick();
    }

    fn step(&mut self) {
        match self.rng.random_range(0..20) {
            0 if self.tables.len() < 5 => self.create(),
            1 => self.add_column(),
            2 => self.drop_column(),
            3 => self.rename(),
            4 if self.rng.random_ratio(1, 2) => self.truncate(),
            5 if self.tables.len() > 2 => self.drop(),
            _ => self.rows(),
        }
    }

    fn create(&mut self) {
        self.names += 1;
        let name = TableName::new("shop", format!("t {}", self.names));
        let keys = self.rng.random_range(1..=2);
        let mut columns = vec![("id".to_owned(), Kind::Int)];
        if keys == 2 {
            columns.push(("key 2".to_owned(), Kind::VarChar));
        }
        for i in 0..self.rng.random_range(1..8) {
            let kind = KINDS.choose(&mut self.rng).unwrap().0;
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
            "CREATE TABLE `shop`.`{}` ({},PRIMARY KEY({}) /*T![clustered_index] CLUSTERED */) DEFAULT CHARSET=utf8mb4",
            name.table,
            list.join(","),
            key.join(",")
        );
        self.contents.insert(name.clone(), BTreeMap::new());
        self.tables.push(table.clone());
        self.ddl(sql, "shop", &name.table, Some(table));
    }

    fn any(&mut self) -> usize {
        self.rng.random_range(0..self.tables.len())
    }

    /// Sometimes at the commit-ts of the rows before it: they have the schema before it.
    fn altered(&mut self, at: usize, sql: String) {
        if self.rng.random_ratio(1, 4) && matches!(self.history.commits.last(), Some((_, Commit::Rows(_)))) {
            self.ts = self.history.commits.last().unwrap().0;
        }
        self.tables[at].version = self.ts;
        let table = self.tables[at].clone();
        self.ddl(sql, "shop", &table.name.table.clone(), Some(table));
    }

    fn add_column(&mut self) {
        let at = self.any();
        let table = &mut self.tables[at];
        let name = format!("added{}", table.next_column);
        table.next_column += 1;
        let kind = *[Kind::Int, Kind::VarChar, Kind::Json].choose(&mut self.rng).unwrap();
        let (default, value) = match kind {
            Kind::Int => (" DEFAULT 7", CellValue::Int(7)),
            Kind::VarChar => (" DEFAULT 'x'", CellValue::Str("x".into())),
            _ => ("", CellValue::Null),
        };
        let first = self.rng.random_ratio(1, 3);
        let place = if first { format!(" AFTER `{}`", table.columns[table.keys - 1].0) } else { String::new() };
        let index = if first { table.keys } else { table.columns.len() };
        table.columns.insert(index, (name.clone(), kind));
        let table_name = table.name.clone();
        for row in self.contents.get_mut(&table_name).unwrap().values_mut() {
            row.insert(name.clone(), value.clone());
        }
        self.altered(
            at,
            format!("ALTER TABLE `{}` ADD COLUMN `{name}` {}{default}{place}", table_name.table, kind.sql()),
        );
    }

    fn drop_column(&mut self) {
        let at = self.any();
        let table = &mut self.tables[at];
        if table.columns.len() <= table.keys + 1 {
            return;
        }
        let (name, _) = table.columns.remove(self.rng.random_range(table.keys..table.columns.len()));
        let table_name = table.name.clone();
        for row in self.contents.get_mut(&table_name).unwrap().values_mut() {
            row.remove(&name);
        }
        self.altered(at, format!("ALTER TABLE `{}` DROP COLUMN `{name}`", table_name.table));
    }

    fn rename(&mut self) {
        let at = self.any();
        self.names += 1;
        let old = self.tables[at].name.clone();
        let new = TableName::new("shop", format!("renamed{}", self.names));
        let rows = self.contents.remove(&old).unwrap();
        self.contents.insert(new.clone(), rows);
        self.tables[at].name = new.clone();
        self.altered(at, format!("RENAME TABLE `shop`.`{}` TO `shop`.`{}`", old.table, new.table));
    }

    fn truncate(&mut self) {
        let at = self.any();
        let name = self.tables[at].name.clone();
        self.contents.get_mut(&name).unwrap().clear();
        self.altered(at, format!("TRUNCATE TABLE `{}`", name.table));
    }

    fn drop(&mut self) {
        let at = self.any();
        let table = self.tables.remove(at);
        self.contents.remove(&table.name);
        self.ddl(format!("DROP TABLE `shop`.`{}`", table.name.table), "shop", &table.name.table, None);
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
