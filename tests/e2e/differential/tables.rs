//! Two tables with all common types, their rows, and which of their columns are of which kind.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Database and tables. `a` has one column of every type; `b` refers to it.
const TABLES: &str = "
    CREATE DATABASE diff; USE diff;
    CREATE TABLE a (id INT NOT NULL PRIMARY KEY, ti TINYINT NULL, su SMALLINT UNSIGNED NULL, i INT NULL, iu INT UNSIGNED NOT NULL,
      bi BIGINT NULL, bu BIGINT UNSIGNED NULL, d1 DECIMAL(10,2) NULL, d2 DECIMAL(20,6) NOT NULL, d0 DECIMAL(12,0) NULL,
      dbl DOUBLE NULL, fl FLOAT NULL, v VARCHAR(40) NULL, vb VARCHAR(40) COLLATE utf8mb4_bin NULL, c CHAR(12) NOT NULL,
      tx TEXT NULL, vbin VARBINARY(20) NULL, d DATE NULL, dt DATETIME NULL, dt3 DATETIME(3) NULL, ts TIMESTAMP NULL,
      ts6 TIMESTAMP(6) NULL, t TIME NULL, t3 TIME(3) NULL, y YEAR NULL, e ENUM('tool','Book','food') NULL,
      s SET('new','sale','old') NULL, j JSON NULL, flag TINYINT(1) NOT NULL);
    CREATE TABLE b (id INT NOT NULL PRIMARY KEY, a_id INT NULL, k VARCHAR(20) NOT NULL, n INT NULL, amount DECIMAL(12,2) NULL,
      at DATETIME NULL, note VARCHAR(30) NULL);";

type Column = (char, &'static str, &'static [&'static str]);

/// Kind (see `expressions`), name and values of the columns of `a` after its key, in order.
pub const A: &[Column] = &[
    ('i', "ti", &["NULL", "-128", "127", "0", "1", "-7"]),
    ('u', "su", &["NULL", "65535", "0", "12", "300"]),
    ('i', "i", &["NULL", "-2147483648", "2147483647", "0", "42", "-13", "1000"]),
    ('u', "iu", &["0", "4294967295", "7", "100"]),
    ('i', "bi", &["NULL", "9000000000", "-5", "0", "123456789012", "77"]),
    ('u', "bu", &["NULL", "18446744073709551615", "0", "3", "9007199254740993"]),
    ('c', "d1", &["NULL", "0", "-0.01", "12.50", "99999999.99", "3.10", "-7.25"]),
    ('c', "d2", &["0", "1.5", "-12345678901234.012345", "0.000001", "33.333333"]),
    ('c', "d0", &["NULL", "0", "-99999", "7", "123456789012"]),
    ('f', "dbl", &["NULL", "0", "0.5", "-2.25", "123456.75", "1e20", "-1e-7", "3"]),
    ('f', "fl", &["NULL", "0", "1.5", "-0.25", "1024", "0.1"]),
    (
        's',
        "v",
        &[
            "NULL",
            "''",
            "'Hammer'",
            "'hammer '",
            "'HAMMER'",
            "'Äpfel'",
            "'apfel'",
            "'Zange 12'",
            "'12'",
            "'3.50x'",
            "'a%b_c'",
            "'ñandú'",
        ],
    ),
    ('s', "vb", &["NULL", "''", "'Case'", "'case'", "'casé'", "'-4'", "'x y z'"]),
    ('s', "c", &["''", "'one'", "'Two'", "'two'", "'007'", "'ÉTÉ'"]),
    ('s', "tx", &["NULL", "'Lorem ipsum dolor'", "'2024-02-29'", "'10:11:12'", "'1e3'", "'foo,bar,baz'"]),
    ('B', "vbin", &["NULL", "''", "'abc'", "'ABC'", "'x1'"]),
    (
        'D',
        "d",
        &["NULL", "'2024-02-29'", "'1999-12-31'", "'2024-12-30'", "'0000-00-00'", "'2023-01-01'", "'1970-01-01'"],
    ),
    (
        'T',
        "dt",
        &["NULL", "'2024-02-29 10:11:12'", "'1999-12-31 23:59:59'", "'2024-07-04 00:00:00'", "'2000-01-01 12:34:56'"],
    ),
    ('T', "dt3", &["NULL", "'2024-02-29 10:11:12.345'", "'1999-12-31 23:59:59.999'", "'2024-07-04 00:00:00.010'"]),
    ('T', "ts", &["NULL", "'2024-02-29 10:11:12'", "'1999-12-31 23:59:59'", "'2024-07-04 00:00:00'"]),
    ('T', "ts6", &["NULL", "'2024-02-29 10:11:12.000001'", "'2010-10-31 02:30:00.500000'"]),
    ('M', "t", &["NULL", "'10:00:00'", "'-01:30:00'", "'100:00:01'", "'00:00:00'", "'23:59:59'", "'838:59:59'"]),
    ('M', "t3", &["NULL", "'10:00:00.500'", "'-12:34:56.789'", "'00:00:00.001'"]),
    ('y', "y", &["NULL", "2024", "1999", "2000", "1901"]),
    ('e', "e", &["NULL", "'tool'", "'Book'", "'food'"]),
    ('e', "s", &["NULL", "''", "'new'", "'new,sale'", "'sale,old'"]),
    (
        'j',
        "j",
        &["NULL", "'{\"a\": [1, 2.50, null], \"b\": \"x\"}'", "'[1, 2, \"drei\"]'", "'7'", "'{\"a\": {\"c\": true}}'"],
    ),
    ('i', "flag", &["0", "1"]),
];

/// The same of `b`.
pub const B: &[Column] = &[
    ('i', "a_id", &["NULL", "1", "2", "3", "5", "8", "13", "99"]),
    ('s', "k", &["'one'", "'ONE'", "'two'", "'three '", "'four'"]),
    ('i', "n", &["NULL", "1", "2", "-3", "5", "8"]),
    ('c', "amount", &["NULL", "0.00", "12.50", "-3.33", "1000000.01"]),
    ('T', "at", &["NULL", "'2024-02-29 10:11:12'", "'2024-01-01 00:00:00'", "'2023-06-30 23:59:59'"]),
    ('s', "note", &["NULL", "'first'", "'Second'", "'third one'", "''"]),
];

fn rows(table: &str, columns: &[Column], count: usize, rng: &mut StdRng) -> String {
    let row = |id: usize, rng: &mut StdRng| {
        let value = |(i, (_, _, values)): (usize, &Column)| match id < values.len() + i {
            // Every value at least once, not always beside the same ones.
            true => values[(id + i) % values.len()],
            false => values.choose(rng).copied().unwrap_or("NULL"),
        };
        format!("({id}, {})", columns.iter().enumerate().map(value).collect::<Vec<_>>().join(", "))
    };
    let all: Vec<String> = (1..=count).map(|id| row(id, rng)).collect();
    format!("INSERT INTO {table} VALUES {};", all.join(",\n"))
}

/// Tables and rows.
pub fn setup(rng: &mut StdRng) -> String {
    let count = rng.random_range(25..30);
    let modes = "SET sql_mode = 'ALLOW_INVALID_DATES'; SET time_zone = '+00:00';";
    format!("{TABLES}{modes}{}{}", rows("a", A, count, rng), rows("b", B, 24, rng))
}
