//! Tables of all kinds: every type with its extreme values, every kind of key, names that need quotes.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tidelake_testkit::ServerKind;

use crate::load::Workload;

/// A table `id INT PRIMARY KEY` and columns with the values they may get (SQL literals).
struct Typed {
    name: &'static str,
    columns: &'static [Column],
}

/// Definition and values of a column.
type Column = (&'static str, &'static [&'static str]);

impl Typed {
    /// The columns whose types a server has.
    fn columns(&self, kind: ServerKind) -> impl Iterator<Item = &'static Column> {
        self.columns.iter().filter(move |(definition, _)| match definition.split(' ').nth(1) {
            Some("UUID" | "INET6" | "INET4") => !kind.is_mysql(),
            Some("JSON") => kind != ServerKind::MySqlOld,
            _ => true,
        })
    }
}

const NUMBERS: Typed = Typed {
    name: "kinds.numbers",
    columns: &[
        ("t TINYINT NULL", &["NULL", "-128", "127", "0"]),
        ("tu TINYINT UNSIGNED NOT NULL", &["0", "255"]),
        ("flag TINYINT(1) NOT NULL", &["0", "1"]),
        ("s SMALLINT NULL", &["NULL", "-32768", "32767"]),
        ("su SMALLINT UNSIGNED NULL", &["NULL", "65535"]),
        ("m MEDIUMINT NULL", &["NULL", "-8388608", "8388607"]),
        ("mu MEDIUMINT UNSIGNED NULL", &["NULL", "16777215"]),
        ("i INT NULL", &["NULL", "-2147483648", "2147483647"]),
        ("iu INT UNSIGNED NULL", &["NULL", "4294967295"]),
        ("z INT(8) ZEROFILL NULL", &["NULL", "42", "123456789"]),
        ("b BIGINT NULL", &["NULL", "-9223372036854775808", "9223372036854775807"]),
        ("bu BIGINT UNSIGNED NULL", &["NULL", "18446744073709551615"]),
        ("d1 DECIMAL(10,2) NULL", &["NULL", "0", "-0.01", "99999999.99"]),
        ("d2 DECIMAL(38,10) NULL", &["NULL", "1.5", "-1234567890123456789012345678.0123456789"]),
        (
            "d3 DECIMAL(65,30) NULL",
            &["NULL", "-1e-30", "99999999999999999999999999999999999.999999999999999999999999999999"],
        ),
        ("d4 DECIMAL(5,0) NULL", &["NULL", "-99999", "7"]),
        ("f FLOAT NULL", &["NULL", "0", "1.5", "-0.1", "3.14159", "1e10", "16777216"]),
        ("d DOUBLE NULL", &["NULL", "0", "0.1", "-1e308", "2.2250738585072014e-308", "123456789.123456789"]),
        ("bit1 BIT(1) NULL", &["NULL", "b'0'", "b'1'"]),
        ("bit13 BIT(13) NULL", &["NULL", "b'1000000000001'"]),
        ("bit64 BIT(64) NULL", &["NULL", "18446744073709551615", "1"]),
        ("y YEAR NULL", &["NULL", "1901", "2155", "0"]),
    ],
};

const TIMES: Typed = Typed {
    name: "kinds.times",
    columns: &[
        (
            "d DATE NULL",
            &["NULL", "'0000-00-00'", "'1000-01-01'", "'9999-12-31'", "'2024-02-29'", "'2024-00-31'", "'2024-02-31'"],
        ),
        ("dt DATETIME NULL", &["NULL", "'0000-00-00 00:00:00'", "'1969-12-31 23:59:59'", "'9999-12-31 23:59:59'"]),
        ("dt3 DATETIME(3) NULL", &["NULL", "'2024-03-31 02:30:00.120'", "'0001-01-01 00:00:00.001'"]),
        ("dt6 DATETIME(6) NULL", &["NULL", "'2024-12-31 23:59:59.999999'", "'2024-00-00 00:00:00.000001'"]),
        ("ts TIMESTAMP NULL", &["NULL", "'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'2024-07-01 12:00:00'"]),
        ("ts6 TIMESTAMP(6) NULL", &["NULL", "'2024-07-01 12:00:00.000001'", "NOW(6)"]),
        ("t TIME NULL", &["NULL", "'-838:59:59'", "'838:59:59'", "'00:00:00'", "'-00:00:01'"]),
        ("t3 TIME(3) NULL", &["NULL", "'-12:34:56.789'", "'12:00:00.5'"]),
        ("t6 TIME(6) NULL", &["NULL", "'-838:59:59.000001'", "'00:00:00.000001'"]),
    ],
};

const TEXTS: Typed = Typed {
    name: "kinds.texts",
    columns: &[
        ("c CHAR(10) NULL", &["NULL", "''", "'trail '", "'日本語'", "'a\tb'"]),
        ("v VARCHAR(100) NULL", &["NULL", "''", "'trail  '", "'Ünïcödé 👩‍🚀'", "'back\\\\slash'", "'it''s'"]),
        ("big VARCHAR(2000) NULL", &["NULL", "REPEAT('é', 700)", "'short'"]),
        ("latin VARCHAR(50) CHARACTER SET latin1 NULL", &["NULL", "'Größe €'", "'naïve'"]),
        ("bin VARCHAR(50) COLLATE utf8mb4_bin NULL", &["NULL", "'Case'", "'case'"]),
        ("tt TINYTEXT NULL", &["NULL", "'tiny'"]),
        ("tx TEXT NULL", &["NULL", "''", "REPEAT('Lorem ipsum ', 300)"]),
        ("lt LONGTEXT NULL", &["NULL", "REPEAT('0123456789', 7000)", "'l'"]),
        ("j JSON NULL", &["NULL", "'{}'", "'{\"a\": [1, 2.50, null], \"ü\": \"\\\\u00e9\"}'", "'[1,  2]'"]),
        ("e ENUM('a', 'B', 'ç', 'it''s') NULL", &["NULL", "'a'", "'B'", "'ç'", "'it''s'"]),
        ("st SET('x', 'y', 'ž') NOT NULL", &["''", "'x'", "'x,ž'", "'x,y,ž'"]),
    ],
};

const BINARIES: Typed = Typed {
    name: "kinds.binaries",
    columns: &[
        ("b BINARY(8) NULL", &["NULL", "''", "x'0001ff'", "'12345678'"]),
        ("v VARBINARY(20) NULL", &["NULL", "''", "x'00'", "x'ff00fe'"]),
        ("bl BLOB NULL", &["NULL", "x'deadbeef'", "REPEAT(x'c3', 1000)"]),
        ("mb MEDIUMBLOB NULL", &["NULL", "''", "REPEAT(x'01', 70000)"]),
        ("u UUID NULL", &["NULL", "'123e4567-e89b-12d3-a456-426655440000'", "'ffffffff-ffff-ffff-ffff-fffffffffffe'"]),
        ("i6 INET6 NULL", &["NULL", "'::'", "'2001:db8::ff00:42:8329'", "'::ffff:192.0.2.1'"]),
        ("i4 INET4 NULL", &["NULL", "'192.168.0.255'", "'0.0.0.0'"]),
        ("g GEOMETRY NULL", &["NULL", "ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('LINESTRING(0 0,1 1.5)')"]),
    ],
};

const TYPED: [Typed; 4] = [NUMBERS, TIMES, TEXTS, BINARIES];

/// Keys of other kinds than one signed integer.
const KEYED: &str = "
    CREATE TABLE kinds.composite (b VARCHAR(10) NOT NULL, v INT, a SMALLINT NOT NULL, PRIMARY KEY (a, b));
    CREATE TABLE kinds.no_case (name VARCHAR(20) COLLATE utf8mb4_general_ci NOT NULL PRIMARY KEY, v INT);
    CREATE TABLE kinds.huge (id BIGINT UNSIGNED NOT NULL PRIMARY KEY, v INT);
    CREATE TABLE kinds.bytes (id VARBINARY(8) NOT NULL PRIMARY KEY, v INT);
    CREATE TABLE kinds.moments (at DATETIME(3) NOT NULL PRIMARY KEY, v INT);
    CREATE TABLE kinds.prices (price DECIMAL(20,4) NOT NULL PRIMARY KEY, v INT);
    CREATE TABLE kinds.no_key (a INT NULL, b VARCHAR(10) NULL);
    CREATE TABLE kinds.only_unique (u INT NOT NULL, v INT, UNIQUE (u));
    CREATE TABLE kinds.null_unique (u INT NULL, v INT, UNIQUE (u));
    CREATE DATABASE `größe \"x\"`;
    CREATE TABLE `größe \"x\"`.`ta``ble` (`sel ect` INT NOT NULL PRIMARY KEY, `名前` VARCHAR(20) NULL, `from` INT NULL);
    CREATE TABLE `größe \"x\"`.`Upper` (Id INT NOT NULL PRIMARY KEY, `Value` INT NULL);";

/// MySQL 5.6 has none.
const COMPUTED: &str = "
    CREATE TABLE kinds.computed (id INT NOT NULL PRIMARY KEY, a INT NOT NULL, kept INT AS (a * 2) STORED, after_all INT NULL);
    INSERT INTO kinds.computed (id, a, after_all) VALUES (1, 5, 1), (2, -7, NULL);";

/// Databases, tables and first rows, as far as a server can have them.
pub fn setup(kind: ServerKind) -> String {
    let mut sql =
        "CREATE DATABASE kinds; SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'; SET time_zone = '+00:00';"
            .to_owned();
    for table in &TYPED {
        let columns: Vec<&str> = table.columns(kind).map(|(definition, _)| *definition).collect();
        sql += &format!("CREATE TABLE {} (id INT NOT NULL PRIMARY KEY, {});", table.name, columns.join(", "));
        // Every value of every column once, before the copy.
        let rows = table.columns(kind).map(|(_, values)| values.len()).max().unwrap_or(0);
        for id in 0..rows {
            let values: Vec<&str> = table.columns(kind).map(|(_, values)| values[id % values.len()]).collect();
            sql += &format!("INSERT INTO {} VALUES ({id}, {});", table.name, values.join(", "));
        }
    }
    sql += KEYED;
    if kind != ServerKind::MySqlOld {
        sql += COMPUTED;
    }
    sql + "INSERT INTO kinds.no_key VALUES (1, 'twin'), (1, 'twin'), (NULL, NULL), (NULL, NULL), (2, 'one');
           INSERT INTO kinds.no_case VALUES ('Abc', 1), ('äx', 2), ('zebra', 3);
           INSERT INTO kinds.huge VALUES (0, 1), (18446744073709551615, 2), (9223372036854775808, 3);
           INSERT INTO `größe \"x\"`.`ta``ble` VALUES (1, '花子', NULL), (2, NULL, 3);"
}

/// Changes rows of all these tables.
pub struct Tinkerer(pub ServerKind);

impl Workload for Tinkerer {
    fn transaction(&mut self, rng: &mut StdRng) -> Vec<String> {
        (0..rng.random_range(1..6))
            .map(|_| if rng.random_bool(0.5) { typed(rng, self.0) } else { keyed(rng, self.0) })
            .collect()
    }
}

fn pick<T: Copy>(rng: &mut StdRng, from: &[T]) -> T {
    *from.choose(rng).expect("the lists above are not empty")
}

fn typed(rng: &mut StdRng, kind: ServerKind) -> String {
    let table = TYPED.choose(rng).expect("not empty");
    let columns: Vec<&Column> = table.columns(kind).collect();
    let id = rng.random_range(0..60);
    match rng.random_range(0..4) {
        0 => format!("DELETE FROM {} WHERE id = {id}", table.name),
        1 => {
            let (definition, values) = pick(rng, &columns);
            let column = definition.split(' ').next().unwrap_or(definition);
            format!("UPDATE {} SET {column} = {} WHERE id BETWEEN {id} AND {}", table.name, pick(rng, values), id + 5)
        }
        _ => {
            let values: Vec<&str> = columns.iter().map(|(_, values)| pick(rng, values)).collect();
            format!("REPLACE INTO {} VALUES ({id}, {})", table.name, values.join(", "))
        }
    }
}

fn keyed(rng: &mut StdRng, kind: ServerKind) -> String {
    let (n, v) = (rng.random_range(0..40), rng.random_range(0..1000));
    let upsert = |table: &str, columns: &str, key: &str| {
        format!("INSERT INTO {table} ({columns}, v) VALUES ({key}, {v}) ON DUPLICATE KEY UPDATE v = {v}")
    };
    match rng.random_range(0..14) {
        0 => upsert("kinds.composite", "a, b", &format!("{}, '{}'", n - 20, pick(rng, &["a", "b", "Å", ""]))),
        1 => format!("UPDATE kinds.composite SET b = '{}' WHERE a = {} LIMIT 1", pick(rng, &["x", "y"]), n - 20),
        // One key in other letters: the same row to the upstream, other bytes.
        2 => upsert("kinds.no_case", "name", &format!("'{}'", pick(rng, &["abc", "ABC", "Zebra", "new", "ÄX"]))),
        3 => {
            let spelling = pick(rng, &["abc", "ABC", "aBc", "zebra", "ZEBRA"]);
            format!("UPDATE kinds.no_case SET name = '{spelling}' WHERE name = '{spelling}'")
        }
        4 => upsert(
            "kinds.huge",
            "id",
            pick(rng, &["0", "9223372036854775807", "9223372036854775808", "18446744073709551614"]),
        ),
        5 => format!("DELETE FROM kinds.huge WHERE id >= {} LIMIT 1", pick(rng, &["0", "9223372036854775808"])),
        6 => upsert("kinds.bytes", "id", pick(rng, &["x''", "x'00'", "x'0000'", "x'ff'", "'a'", "'A'"])),
        7 => upsert("kinds.moments", "at", &format!("'2024-01-01 00:00:00.{n:03}'")),
        8 => upsert("kinds.prices", "price", &format!("{}.{n:04}", n - 20)),
        9 => format!("INSERT INTO kinds.no_key VALUES ({}, 'twin'), (NULL, NULL), ({}, 'twin')", n % 3, n % 3),
        10 if rng.random_bool(0.5) => format!("DELETE FROM kinds.no_key WHERE a = {} LIMIT 1", n % 3),
        10 => format!("UPDATE kinds.no_key SET b = 'other' WHERE a = {} LIMIT 2", n % 3),
        11 => upsert(pick(rng, &["kinds.only_unique", "kinds.null_unique"]), "u", &n.to_string()),
        12 if kind != ServerKind::MySqlOld => {
            format!("REPLACE INTO kinds.computed (id, a, after_all) VALUES ({n}, {v}, NULL)")
        }
        _ => {
            format!("REPLACE INTO `größe \"x\"`.`ta``ble` VALUES ({n}, '{}', {v})", pick(rng, &["花子", "O''Neil", ""]))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

    use crate::audit::Auditor;
    use crate::load::{Load, Workload};
    use crate::tidelake::Address;
    use crate::{bank, kinds, store};

    /// What the scenarios take for granted: the upstream itself never breaks these rules.
    #[test]
    fn the_workloads_keep_their_promises_upstream() {
        let kind = ServerKind::MariaDb;
        let upstream = MariaDb::start(MariaDbOptions::of(kind));
        upstream.execute(&(bank::setup() + &store::setup() + &kinds::setup(kind)));
        let workloads: Vec<Box<dyn Workload>> = vec![
            Box::new(bank::Teller(1)),
            Box::new(bank::Teller(2)),
            Box::new(store::Clerk::new(1)),
            Box::new(store::Clerk::new(2)),
            Box::new(kinds::Tinkerer(kind)),
        ];
        let load = Load::start(&upstream, workloads, Duration::ZERO);
        let auditor = Auditor::start(Address::of_upstream(upstream.port()));
        std::thread::sleep(Duration::from_secs(3));
        for done in load.stop() {
            assert!(done.committed > 20 && done.rolled_back < done.committed / 2, "{done:?}");
        }
        let seen = auditor.finish();
        assert!(seen.bank > 5 && seen.store > 5, "{seen:?}");
    }
}
