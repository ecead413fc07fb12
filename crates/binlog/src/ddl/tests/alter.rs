//! ALTER TABLE: what is followed, with which values for old rows, and what ends in a re-sync.

use tidelake_core::{CellValue, ColumnId};

use super::*;

const BASE: &str = "CREATE TABLE t (id int primary key, a int, b varchar(10) charset latin1, u int unsigned not null, \
                    e enum('x','y'), d decimal(10,2), c char(4), f float, s datetime(3), unique key ua (a), key kab (a, b(3)))";

fn after(sql: &str) -> TableDef {
    Upstream::with(&[BASE, sql]).table("t")
}

#[test]
fn columns_go_where_they_are_told() {
    for (clauses, want) in [
        ("ADD n int", "id a b u e d c f s n"),
        ("ADD COLUMN n int FIRST", "n id a b u e d c f s"),
        ("ADD n int AFTER a, ADD m int AFTER n", "id a n m b u e d c f s"),
        ("ADD (n int, m int)", "id a b u e d c f s n m"),
        ("ADD n int, ADD m int AFTER s, ADD o int", "id a b u e d c f s m n o"),
        ("DROP a, DROP COLUMN b", "id u e d c f s"),
        ("DROP COLUMN IF EXISTS zz, DROP f", "id a b u e d c s"),
        ("ADD IF NOT EXISTS a int, ADD n int", "id a b u e d c f s n"),
        ("MODIFY s datetime(3) AFTER id", "id s a b u e d c f"),
        ("CHANGE a z int FIRST", "z id b u e d c f s"),
        ("CHANGE a z int, ADD n int AFTER z", "id z n b u e d c f s"),
        ("CHANGE a b int, CHANGE b a varchar(10) charset latin1", "id b a u e d c f s"),
        ("RENAME COLUMN a TO b, RENAME COLUMN b TO a", "id b a u e d c f s"),
        ("DROP a, ADD a int AFTER id", "id a b u e d c f s"),
        ("CHANGE COLUMN IF EXISTS zz yy int, ADD n int FIRST", "n id a b u e d c f s"),
    ] {
        assert_eq!(names(&after(&format!("ALTER TABLE t {clauses}"))).join(" "), want, "{clauses}");
    }
}

#[test]
fn ids_stay_with_their_columns_and_are_never_used_again() {
    let before = Upstream::with(&[BASE]).table("t");
    let def = after("ALTER TABLE t DROP a, ADD a bigint AFTER id, CHANGE b bb varchar(20) FIRST");
    let id = |def: &TableDef, name: &str| def.columns[def.index_of_name(name).unwrap()].id;
    assert_eq!(id(&def, "bb"), id(&before, "b"));
    assert_eq!(id(&def, "a"), before.next_column);
    assert_eq!(def.next_column, ColumnId(before.next_column.0 + 1));
    assert_eq!((def.id, def.version), (before.id, 2));
    assert_eq!(key_names(&def), ["id"]);
}

#[test]
fn old_rows_get_the_default() {
    use CellValue as V;
    let text = |s: &str| V::Str(s.into());
    for (column, want) in [
        ("int", V::Null),
        ("int default null", V::Null),
        ("int not null", V::Int(0)),
        ("int unsigned not null", V::UInt(0)),
        ("int default 7", V::Int(7)),
        ("int default '-7'", V::Int(-7)),
        ("int unsigned not null default 0x41", V::UInt(65)),
        ("int default 2.5", V::Int(3)),
        ("int default (12)", V::Int(12)),
        ("bool default true", V::Int(1)),
        ("bigint unsigned default 18446744073709551615", V::UInt(u64::MAX)),
        ("decimal(10,2) default 1.255", V::Decimal("126".into())),
        ("decimal(10,2) default '-1e1'", V::Decimal("-1000".into())),
        ("decimal(65,30) not null", V::Decimal("0".into())),
        ("float default 0.1", V::Float(f64::from(0.1f32))),
        ("double default -2.5e3", V::Float(-2500.0)),
        ("double(10,1) default 1.26", V::Float(1.3)),
        ("bit(9) default b'101'", V::UInt(5)),
        ("bit(8) default 'a'", V::UInt(97)),
        ("year default 99", V::UInt(1999)),
        ("year default '0'", V::UInt(2000)),
        ("year not null", V::UInt(0)),
        ("date default '2024-02-29'", V::Int(19_782)),
        ("date default 20240229", V::Int(19_782)),
        ("date default '24-2-29'", V::Int(19_782)),
        ("date not null", V::Int(-20_000_000)),
        ("datetime default '1970-01-02 00:00:01'", V::Int(86_401_000_000)),
        ("datetime(2) default '1970-01-01 23:59:59.96'", V::Int(86_399_960_000)),
        ("datetime default '2024-02-31 00:00:00'", V::Int(-1_638_456_508_800_000_000)),
        ("timestamp not null default '1970-01-02 00:00:01'", V::Int(86_401_000_000)),
        ("timestamp not null default 0", V::Int(-1_728_000_000_000_000_000)),
        ("time default '-1:2:3'", V::Int(-3_723_000_000)),
        ("time(4) default '1 00:00:00.0005'", V::Int(86_400_000_500)),
        ("time default 123456", V::Int(45_296_000_000)),
        ("varchar(9) default 'x''y'", text("x'y")),
        ("varchar(9) not null", text("")),
        ("varchar(9) default 12", text("12")),
        ("varchar(9) default x'4142'", text("AB")),
        ("char(9) default 'a  '", text("a")),
        ("text default 'abc'", text("abc")),
        ("json default '{}'", text("{}")),
        ("binary(4) default 'ab'", V::Bytes(b"ab\0\0".to_vec())),
        ("binary(3) not null", V::Bytes(vec![0; 3])),
        ("varbinary(4) default x'00ff'", V::Bytes(vec![0, 255])),
        ("blob not null", V::Bytes(vec![])),
        ("enum('a','b') default 'B'", V::UInt(2)),
        ("enum('a','b') not null", V::UInt(1)),
        ("set('a','b','c') default 'c,a'", V::UInt(5)),
        ("set('a') not null", V::UInt(0)),
        (
            "uuid default '123e4567-e89b-12d3-a456-426655440000'",
            V::Bytes(vec![0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x55, 0x44, 0, 0]),
        ),
        ("inet4 default '10.0.0.255'", V::Bytes(vec![10, 0, 0, 255])),
        ("inet6 not null", V::Bytes(vec![0; 16])),
    ] {
        let def = after(&format!("ALTER TABLE t ADD n {column}"));
        assert_eq!(def.columns.last().unwrap().initial, Some(want), "{column}");
    }
}

#[test]
fn a_timestamp_default_needs_the_time_zone() {
    let mut upstream = Upstream::with(&[BASE]);
    let sql = "ALTER TABLE t ADD n timestamp NOT NULL DEFAULT '1970-01-02 00:00:00'";
    upstream.session.utc_offset_seconds = Some(3600);
    let DdlOutcome::Changes(changes) = upstream.outcome(sql) else { panic!("followed") };
    let [SchemaChange::AlterTable(def)] = &changes[..] else { panic!("one change") };
    assert_eq!(def.columns.last().unwrap().initial, Some(CellValue::Int(82_800_000_000)));
    upstream.session.utc_offset_seconds = None;
    upstream.resync(sql);
}

#[test]
fn what_only_upstream_knows_is_a_resync() {
    for (clauses, reason) in [
        ("ADD n int AUTO_INCREMENT UNIQUE", "only upstream knows the values"),
        ("ADD n int AS (a + 1) STORED", "only upstream knows the values"),
        ("ADD n char(36) DEFAULT (uuid())", "computed default"),
        ("ADD n datetime DEFAULT CURRENT_TIMESTAMP", "computed default"),
        ("ADD n point NOT NULL", "there is no default"),
        ("ADD n tinyint DEFAULT 500", "default cannot be read"),
        ("ADD n time(1) DEFAULT '10:00:00.19'", "default cannot be read"),
        ("ADD n datetime DEFAULT '2024-01-01 00:00:00.9'", "default cannot be read"),
        ("ADD n datetime(6) DEFAULT '2024-01-01 00:00:00.1234567'", "default cannot be read"),
        ("ADD a int", "there already"),
        ("DROP zz", "not known"),
        ("DROP id", "key column id was dropped"),
        ("DROP PRIMARY KEY", "primary key was dropped"),
        ("DROP PRIMARY KEY, ADD PRIMARY KEY (id, u)", "primary key"),
        ("DROP CONSTRAINT `PRIMARY`", "primary key was dropped"),
        ("ADD PRIMARY KEY (u)", "another primary key"),
        ("MODIFY id bigint", "key column id gets another type"),
        ("MODIFY a int unsigned", "changes stored values"),
        ("MODIFY a smallint", "changes stored values"),
        ("MODIFY a varchar(20)", "changes stored values"),
        ("MODIFY d decimal(11,3) unsigned", "changes stored values"),
        ("MODIFY d decimal(10,3)", "changes stored values"),
        ("MODIFY e enum('y','x')", "changes stored values"),
        ("MODIFY s datetime", "changes stored values"),
        ("MODIFY b char(10)", "changes stored values"),
        ("MODIFY b varbinary(10)", "changes stored values"),
        ("MODIFY f double", "changes stored values"),
        ("MODIFY a int AUTO_INCREMENT", "AUTO_INCREMENT"),
        ("MODIFY a int AS (u) STORED", "computed in another way"),
        ("CONVERT TO CHARACTER SET binary", "bytes"),
        ("DROP PARTITION p0, p1", "DROP PARTITION p0, p1"),
        ("TRUNCATE PARTITION ALL", "TRUNCATE PARTITION ALL"),
        ("DISCARD TABLESPACE", "DISCARD TABLESPACE"),
        ("ADD n int FROBNICATE", "column attribute near \"FROBNICATE"),
        ("FROB", "table option near"),
    ] {
        let mut upstream = Upstream::with(&[BASE]);
        let (tables, got) = upstream.resync(&format!("ALTER TABLE t {clauses}"));
        assert_eq!(tables, ["d.t"], "{clauses}");
        assert!(got.contains(reason), "{clauses}: {got}");
    }
}

#[test]
fn widening_keeps_the_column() {
    for (clauses, want) in [
        ("MODIFY a bigint", "a bigint(20)?"),
        ("MODIFY u bigint", "u bigint(20)?"),
        ("MODIFY b varchar(300)", "b varchar(300)?"),
        ("MODIFY b varchar(5)", "b varchar(5)?"),
        ("MODIFY b text charset utf8mb4", "b text?"),
        ("MODIFY c varchar(9)", "c varchar(9)?"),
        ("MODIFY e enum('x','y','z')", "e enum('x','y','z')?"),
        ("MODIFY d decimal(14,4)", "d decimal(14,4)?"),
        ("MODIFY s datetime(6)", "s datetime(6)?"),
        ("MODIFY a int NOT NULL DEFAULT 5", "a int(11)"),
        ("MODIFY id int(5) comment 'x'", "id int(5)"),
        ("MODIFY id int PRIMARY KEY", "id int(11)"),
    ] {
        let def = after(&format!("ALTER TABLE t {clauses}"));
        let shown = columns(&def, ServerFlavor::MariaDb);
        assert!(shown.iter().any(|c| c == want), "{clauses}: {shown:?}");
        assert_eq!(key_names(&def), ["id"]);
    }
}

/// (ran) On MySQL 9.7 and MariaDB 11.8 what is computed follows the type that it is computed from; MariaDB cuts spaces at the end of a TEXT
/// and puts the time in the place of a NULL, both in strict mode.
#[test]
fn what_a_new_type_does_elsewhere_is_known_upstream_only() {
    const COMPUTED: &str = "CREATE TABLE g (id int primary key, a decimal(10,1), B varchar(9) charset latin1, n text, ts timestamp null, \
                            s varchar(40) AS (concat(`a`,'!')) STORED, l int AS (length(b)) VIRTUAL)";
    for (clauses, reason) in [
        ("MODIFY a decimal(12,3)", "computed, gets another type"),
        ("CHANGE a aa decimal(12,3)", "computed, gets another type"),
        ("CONVERT TO CHARACTER SET utf8mb4", "column B, from which others are computed"),
        ("MODIFY n tinytext", "changes stored values"),
        ("MODIFY n varchar(100)", "changes stored values"),
        ("MODIFY ts timestamp not null", "NULLs in column ts were replaced"),
    ] {
        let (_, got) = Upstream::with(&[COMPUTED]).resync(&format!("ALTER TABLE g {clauses}"));
        assert!(got.contains(reason), "{clauses}: {got}");
    }
    Upstream::with(&[COMPUTED, "ALTER TABLE g MODIFY id int comment 'x', MODIFY n mediumtext, ADD z int"]);
}

#[test]
fn without_strict_mode_only_roomier_types_are_followed() {
    let mut upstream = Upstream::with(&[BASE]);
    upstream.sql_mode = 0;
    for lossy in [
        "MODIFY b varchar(5)",
        "MODIFY b tinytext charset ascii",
        "MODIFY a int NOT NULL",
        "MODIFY b varchar(10) charset ascii",
    ] {
        Upstream { catalog: upstream.catalog.clone(), sql_mode: 0, ..Upstream::new() }
            .resync(&format!("ALTER TABLE t {lossy}"));
    }
    upstream.run("ALTER TABLE t MODIFY b varchar(20) charset utf8mb4, MODIFY c tinytext charset utf8mb4");
    // MyISAM does not refuse, whatever STRICT_TRANS_TABLES says.
    let mut myisam = Upstream::with(&["CREATE TABLE t (id int primary key, b varchar(9)) ENGINE=MyISAM"]);
    myisam.resync("ALTER TABLE t MODIFY b varchar(5)");
}

#[test]
fn alter_ignore_cuts_values_and_removes_rows_whatever_the_mode() {
    for clauses in ["MODIFY b varchar(5)", "ADD UNIQUE (u)", "PARTITION BY LIST (id) (PARTITION p VALUES IN (1))"] {
        Upstream::with(&[BASE]).resync(&format!("ALTER ONLINE IGNORE TABLE t {clauses}"));
    }
    Upstream::with(&[BASE]).run("ALTER IGNORE TABLE t ADD KEY (u), ADD n int");
}

#[test]
fn the_value_of_old_rows_follows_a_widened_type() {
    let def = Upstream::with(&[
        BASE,
        "ALTER TABLE t ADD n decimal(5,1) NOT NULL DEFAULT 1.5, ADD m int unsigned DEFAULT 3, ADD o int",
        "ALTER TABLE t MODIFY n decimal(9,3), MODIFY m bigint, MODIFY o int NOT NULL",
    ])
    .table("t");
    let initial = |name: &str| def.columns[def.index_of_name(name).unwrap()].initial.clone().unwrap();
    assert_eq!(initial("n"), CellValue::Decimal("1500".into()));
    assert_eq!(initial("m"), CellValue::Int(3));
    assert_eq!(initial("o"), CellValue::Int(0));
}

#[test]
fn keys_follow_their_columns() {
    let sql = |def: &TableDef| def.indexes.iter().map(|i| i.sql.clone()).collect::<Vec<_>>();
    assert_eq!(
        sql(&after(
            "ALTER TABLE t RENAME COLUMN a TO `z z`, RENAME INDEX ua TO `u``2`, ADD UNIQUE (u), ADD INDEX IF NOT EXISTS kab (u)"
        )),
        ["UNIQUE KEY `u``2` (`z z`)", "KEY `kab` (`z z`,`b`(3))", "UNIQUE KEY `u` (`u`)"]
    );
    assert_eq!(sql(&after("ALTER TABLE t DROP a")), ["KEY `kab` (`b`(3))"]);
    assert_eq!(sql(&after("DROP INDEX ua ON t")), ["KEY `kab` (`a`,`b`(3))"]);
    let created = after("CREATE UNIQUE INDEX x USING BTREE ON d.t (u DESC) COMMENT 'c' ALGORITHM=INPLACE LOCK=NONE");
    assert_eq!(sql(&created)[2], "UNIQUE KEY `x` (`u` DESC) USING BTREE COMMENT 'c'");
    let constrained =
        after("ALTER TABLE t ADD CONSTRAINT q CHECK (a > 0), ADD CONSTRAINT fk FOREIGN KEY (u) REFERENCES p (i)");
    assert_eq!(constrained.indexes.len(), 5);
    let mut upstream =
        Upstream::with(&[BASE, "ALTER TABLE t ADD CONSTRAINT q CHECK (a > 0)", "ALTER TABLE t DROP CONSTRAINT q"]);
    assert_eq!(upstream.table("t").indexes.len(), 2);
    upstream.run("ALTER TABLE t DROP FOREIGN KEY IF EXISTS nothing");
}

#[test]
fn a_unique_key_that_identifies_rows_must_stay() {
    let table = "CREATE TABLE t (a int not null, b int, unique u (a), key (b))";
    assert_eq!(key_names(&Upstream::with(&[table]).table("t")), ["a"]);
    Upstream::with(&[table]).resync("ALTER TABLE t DROP INDEX u");
    Upstream::with(&[table]).resync("DROP INDEX u ON t");
    Upstream::with(&[table]).resync("ALTER TABLE t MODIFY a int NULL");
    let mut twice = Upstream::with(&[table, "ALTER TABLE t ADD UNIQUE u2 (a), DROP KEY b"]);
    twice.run("ALTER TABLE t DROP INDEX u");
    assert_eq!(key_names(&twice.table("t")), ["a"]);
}

#[test]
fn a_new_unique_key_does_not_change_how_rows_are_identified() {
    let def = Upstream::with(&["CREATE TABLE t (a int not null, b int)", "CREATE UNIQUE INDEX u ON t (a)"]).table("t");
    assert!(def.key.is_empty());
    assert_eq!(def.indexes.len(), 1);
}

#[test]
fn options_and_charsets() {
    let def = after(
        "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, COMMENT='z', ENGINE=Aria, AUTO_INCREMENT = 5, \
         ALGORITHM=COPY, LOCK = SHARED, ORDER BY a, b DESC",
    );
    assert_eq!((def.charset.as_str(), def.collation.as_str()), ("utf8mb4", "utf8mb4_bin"));
    assert_eq!(def.columns[2].ty.collation.as_deref(), Some("utf8mb4_bin"));
    assert_eq!((def.comment.as_str(), def.engine.as_str()), ("z", "Aria"));
    let text = Upstream::with(&[
        "CREATE TABLE t (a text, b tinytext, c mediumtext, e enum('x')) CHARSET latin1",
        "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4",
    ]);
    assert_eq!(columns(&text.table("t"), ServerFlavor::MariaDb)[..3], ["a mediumtext?", "b text?", "c longtext?"]);
    let later = after("ALTER TABLE t ADD n varchar(3), DEFAULT CHARACTER SET latin1");
    assert_eq!(later.columns.last().unwrap().ty.charset.as_deref(), Some("latin1"));
    assert_eq!(later.columns[6].ty.charset.as_deref(), Some("utf8mb4"));
}

#[test]
fn clauses_that_change_nothing_here_change_no_version() {
    for clauses in [
        "FORCE",
        "ENGINE=InnoDB",
        "DISABLE KEYS",
        "ADD PARTITION (PARTITION p3 VALUES LESS THAN (30))",
        "REORGANIZE PARTITION p0, p1 INTO (PARTITION p0 VALUES LESS THAN (5))",
        "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)",
        "REMOVE PARTITIONING",
        "COALESCE PARTITION 2",
        "ANALYZE PARTITION p0, p1",
        "ROW_FORMAT=DYNAMIC, KEY_BLOCK_SIZE 8",
        "ALTER INDEX kab IGNORED",
        "",
    ] {
        assert_eq!(after(&format!("ALTER ONLINE TABLE t NOWAIT {clauses}")).version, 1, "{clauses}");
    }
}

#[test]
fn defaults_and_visibility_are_metadata() {
    let def =
        after("ALTER TABLE t ALTER a SET DEFAULT 5, ALTER COLUMN b SET DEFAULT (concat('x')), ALTER u SET INVISIBLE");
    let column = |name: &str| def.columns[def.index_of_name(name).unwrap()].clone();
    assert_eq!(column("a").default_sql.as_deref(), Some("5"));
    assert_eq!(column("b").default_sql.as_deref(), Some("(concat('x'))"));
    assert!(column("u").invisible);
    assert_eq!(column("a").initial, None);
}
