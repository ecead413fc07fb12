//! CREATE TABLE: types, charsets, keys, comments.

use tidelake_core::types::text::ServerFlavor as F;
use tidelake_core::{TypeKind, UpstreamType};

use super::*;

fn one(column: &str, flavor: F) -> UpstreamType {
    create(&format!("CREATE TABLE t (a {column})"), flavor).columns.remove(0).ty
}

#[test]
fn every_type_and_synonym() {
    for (written, maria, mysql) in [
        ("tinyint", "tinyint(4)", "tinyint"),
        ("int1 unsigned", "tinyint(3) unsigned", "tinyint unsigned"),
        ("INT2", "smallint(6)", "smallint"),
        ("middleint", "mediumint(9)", "mediumint"),
        ("INTEGER UNSIGNED", "int(10) unsigned", "int unsigned"),
        ("int4(3) zerofill", "int(3) unsigned zerofill", "int(3) unsigned zerofill"),
        ("int8", "bigint(20)", "bigint"),
        ("BOOL", "tinyint(1)", "tinyint(1)"),
        ("serial", "bigint(20) unsigned", "bigint unsigned"),
        ("dec", "decimal(10,0)", "decimal(10,0)"),
        ("numeric(5)", "decimal(5,0)", "decimal(5,0)"),
        ("FIXED (65, 30) unsigned", "decimal(65,30) unsigned", "decimal(65,30) unsigned"),
        ("float", "float", "float"),
        ("float(24)", "float", "float"),
        ("float(25)", "double", "double"),
        ("float(7,3)", "float(7,3)", "float(7,3)"),
        ("real", "double", "double"),
        ("double precision(10,2) unsigned", "double(10,2) unsigned", "double(10,2) unsigned"),
        ("bit", "bit(1)", "bit(1)"),
        ("bit(64)", "bit(64)", "bit(64)"),
        ("year", "year(4)", "year"),
        ("date", "date", "date"),
        ("time(6)", "time(6)", "time(6)"),
        ("datetime(0)", "datetime", "datetime"),
        ("timestamp(3)", "timestamp(3)", "timestamp(3)"),
        ("char", "char(1)", "char(1)"),
        ("character(3)", "char(3)", "char(3)"),
        ("character varying(9)", "varchar(9)", "varchar(9)"),
        ("char varying (9)", "varchar(9)", "varchar(9)"),
        ("national char varying(4)", "varchar(4)", "varchar(4)"),
        ("nchar varchar(4)", "varchar(4)", "varchar(4)"),
        ("nvarchar(4)", "varchar(4)", "varchar(4)"),
        ("binary", "binary(1)", "binary(1)"),
        ("char(4) byte", "binary(4)", "binary(4)"),
        ("varchar(4) charset binary", "varbinary(4)", "varbinary(4)"),
        ("text character set binary", "blob", "blob"),
        ("long", "mediumtext", "mediumtext"),
        ("long varchar", "mediumtext", "mediumtext"),
        ("long varbinary", "mediumblob", "mediumblob"),
        ("text(63)", "tinytext", "tinytext"),
        ("text(64)", "text", "text"),
        ("text(16384)", "mediumtext", "mediumtext"),
        ("blob(255)", "tinyblob", "tinyblob"),
        ("blob(70000)", "mediumblob", "mediumblob"),
        ("json", "longtext", "json"),
        ("geometrycollection", "geometrycollection", "geomcollection"),
        ("point", "point", "point"),
        ("vector(3)", "vector(3)", "vector(3)"),
        ("enum('a','b''c','d\\\\e  ')", "enum('a','b''c','d\\\\e')", "enum('a','b''c','d\\\\e')"),
        ("set('x','y')", "set('x','y')", "set('x','y')"),
        ("enum('a','a ') character set binary", "enum('a','a ')", "enum('a','a ')"),
        ("set('a','a ') character set binary", "set('a','a ')", "set('a','a ')"),
        ("uuid", "uuid", "uuid"),
        ("inet4", "inet4", "inet4"),
        ("inet6", "inet6", "inet6"),
    ] {
        use tidelake_core::show_create::column_type_sql;
        assert_eq!(column_type_sql(&one(written, F::MariaDb), F::MariaDb), maria, "{written}");
        assert_eq!(column_type_sql(&one(written, F::MySql), F::MySql), mysql, "{written}");
    }
}

#[test]
fn unknown_types_are_errors_that_name_the_place() {
    for sql in
        ["CREATE TABLE t (a quux)", "CREATE TABLE t (a decimal(66))", "CREATE TABLE t (a time(7))", "CREATE TABLE t ()"]
    {
        let error = parse_create_table(sql, "d", F::MariaDb, &SessionDefaults::default()).unwrap_err().to_string();
        assert!(error.contains("near \""), "{error}");
    }
    let twice = parse_create_table("CREATE TABLE t (a int, A int)", "d", F::MariaDb, &SessionDefaults::default());
    assert!(twice.unwrap_err().to_string().contains("column A twice"));
}

#[test]
fn charsets_come_from_column_table_or_session() {
    let session = SessionDefaults {
        collation: Some("latin1_german2_ci".into()),
        charset_collations: vec![("utf8mb4".into(), "utf8mb4_uca1400_ai_ci".into())],
        ..SessionDefaults::default()
    };
    for (column, options, want) in [
        ("varchar(3)", "", "latin1/latin1_german2_ci"),
        ("varchar(3) binary", "", "latin1/latin1_bin"),
        ("varchar(3) collate utf8_bin", "", "utf8mb3/utf8mb3_bin"),
        ("varchar(3) charset utf8", "", "utf8mb3/utf8mb3_general_ci"),
        ("varchar(3) charset utf8mb4", "", "utf8mb4/utf8mb4_uca1400_ai_ci"),
        ("varchar(3) charset utf8mb4 collate uca1400_as_cs", "", "utf8mb4/utf8mb4_uca1400_as_cs"),
        ("varchar(3)", "default character set = gbk", "gbk/gbk_chinese_ci"),
        ("varchar(3)", "charset utf8mb4 collate utf8mb4_bin", "utf8mb4/utf8mb4_bin"),
        ("varchar(3)", "collate 'koi8r_bin'", "koi8r/koi8r_bin"),
        ("varchar(3) unicode", "", "ucs2/ucs2_general_ci"),
        ("enum('a') ascii", "", "latin1/latin1_swedish_ci"),
        ("nchar(3)", "", "utf8mb3/utf8mb3_general_ci"),
    ] {
        let sql = format!("CREATE TABLE t (a {column}) {options}");
        let def = parse_create_table(&sql, "d", F::MariaDb, &session).unwrap();
        let ty = &def.columns[0].ty;
        assert_eq!(format!("{}/{}", ty.charset.as_ref().unwrap(), ty.collation.as_ref().unwrap()), want, "{sql}");
    }
    assert_eq!(one("int charset utf8", F::MariaDb).charset, None);
}

#[test]
fn odd_definitions_of_mariadb_are_read() {
    let def = create(
        "CREATE TABLE t (id int, y year(2), d mariadb_schema.date, o oracle_schema.date, v varchar(30) default @@version NOT NULL, \
         c int default case when 1 then 2 end comment 'x', s date, e date, period for p (s, e), \
         primary key (id, p without overlaps), unique (v, p without overlaps))",
        ServerFlavor::MariaDb,
    );
    assert_eq!(key_names(&def), ["id", "s", "e"]);
    let shown = columns(&def, ServerFlavor::MariaDb);
    assert_eq!(shown[..5], ["id int(11)", "y year(2)?", "d date?", "o datetime?", "v varchar(30)"]);
    assert_eq!(def.columns[4].default_sql.as_deref(), Some("@@version"));
    assert_eq!(def.columns[5].comment, "x");
    assert_eq!(def.indexes[0].sql, "UNIQUE KEY `v` (`v`,`p` WITHOUT OVERLAPS)");
}

#[test]
fn a_create_or_replace_that_failed_has_dropped_the_old_table() {
    let mut upstream = Upstream::with(&["CREATE TABLE a (i int)", "CREATE TABLE b (i int)"]);
    upstream.failed = true;
    upstream.run("CREATE TABLE a (i int default zz)");
    upstream.run("CREATE OR REPLACE TABLE b (i int default zz)");
    assert!(upstream.has("a") && !upstream.has("b"));
}

#[test]
fn mysql_8_defaults_to_its_own_collation() {
    let ty = Upstream { flavor: F::MySql, ..Upstream::new() };
    let mut upstream = ty;
    upstream.run("CREATE TABLE t (a varchar(3), b varchar(3) charset utf8mb4)");
    let def = upstream.table("t");
    assert_eq!(def.collation, "utf8mb4_0900_ai_ci");
    assert_eq!(def.columns[1].ty.collation.as_deref(), Some("utf8mb4_0900_ai_ci"));
}

#[test]
fn the_key_is_the_one_the_server_chooses() {
    for (body, key, primary) in [
        ("a int primary key, b int not null unique", &["a"][..], true),
        ("a int, b int, primary key using btree (b desc, a)", &["b", "a"], true),
        ("a int key", &["a"], true),
        ("a int unique, b int not null, c int not null, unique (c), unique k (b)", &["c"], false),
        ("a int not null, b int not null, constraint x unique key y (b, a)", &["b", "a"], false),
        ("a varchar(9) not null, unique (a(3))", &[], false),
        ("a int, unique (a)", &[], false),
        ("a int not null, key (a)", &[], false),
        ("a int not null, unique ((a + 1))", &[], false),
        ("a serial", &["a"], false),
        ("a bigint serial default value", &["a"], false),
        ("a int not null unique key comment 'x'", &["a"], false),
        ("`primary` int, constraint primary key (`primary`)", &["primary"], true),
    ] {
        let def = create(&format!("CREATE TABLE t ({body})"), F::MySql);
        assert_eq!(key_names(&def), key, "{body}");
        assert_eq!(def.key_is_primary, primary, "{body}");
        for index in def.key_indexes() {
            assert!(!def.columns[index].nullable, "{body}");
        }
    }
}

#[test]
fn keys_get_the_server_s_names() {
    let def = create(
        "CREATE TABLE t (a int, b int, x text, key (a), key (a, b), unique (a), fulltext (x), foreign key (b) references p (i) \
         on update set null, constraint q check (a > 0), check (b > 0))",
        F::MariaDb,
    );
    let sql: Vec<&str> = def.indexes.iter().map(|i| i.sql.as_str()).collect();
    assert_eq!(
        sql,
        [
            "UNIQUE KEY `a_3` (`a`)",
            "KEY `a` (`a`)",
            "KEY `a_2` (`a`,`b`)",
            "FULLTEXT KEY `x` (`x`)",
            "KEY `b` (`b`)",
            "CONSTRAINT `t_ibfk_1` FOREIGN KEY (`b`) REFERENCES `p` (`i`) ON UPDATE SET NULL",
            "CONSTRAINT `q` CHECK (a > 0)",
            "CONSTRAINT `CONSTRAINT_1` CHECK (b > 0)",
        ]
    );
}

#[test]
fn executable_comments_count_and_others_do_not() {
    let sql = "/* x */ CREATE /*!50001 TABLE */ `t` ( -- a, b\n # c\n a int /*!80023 INVISIBLE */, /*M!100301 b int,*/ \
               c varchar(3) /*M!100301 COMPRESSED*/ default 'a--b/*' ) /*!50100 PARTITION BY HASH (a) */;";
    let mysql = create(&sql.replace("COMPRESSED", ""), F::MySql);
    assert_eq!(names(&mysql), ["a", "c"]);
    assert!(mysql.columns[0].invisible);
    let maria = create(sql, F::MariaDb);
    assert_eq!(names(&maria), ["a", "b", "c"]);
    assert!(!maria.columns[0].invisible);
    let tidb = create("CREATE TABLE t (a int, PRIMARY KEY (a) /*T![clustered_index] CLUSTERED */)", F::TiDb);
    assert_eq!(key_names(&tidb), ["a"]);
}

#[test]
fn attributes_come_in_any_order() {
    let def = create(
        "CREATE TABLE IF NOT EXISTS `x`.`t``1` (`a``b` int not null auto_increment comment 'c' primary key, \
         g int generated always as (`a``b` * (2 + 1)) virtual comment 'g', s int as (1) stored unique, \
         u timestamp(2) not null default now(2) on update localtimestamp(2), \
         d varchar(5) charset latin1 not null default _latin1'x' 'y' check (length(d) < 5), \
         i int invisible default -1, r int references p(a) on delete cascade match full, \
         e date default date'2024-01-02', b int default (1), f char(36) default (uuid()), \
         n int default next value for x.s, w int without system versioning, storage int column_format fixed) \
         engine = MyISAM, comment 'hi' row_format=compressed union=(a,b) data directory '/x' auto_increment 5",
        F::MariaDb,
    );
    assert_eq!(def.name, TableName::new("x", "t`1"));
    assert_eq!((def.engine.as_str(), def.comment.as_str()), ("MyISAM", "hi"));
    let column = |name: &str| &def.columns[def.index_of_name(name).unwrap()];
    assert_eq!(column("a`b").extra_sql, "AUTO_INCREMENT");
    assert!(column("g").virtual_generated && !column("s").virtual_generated);
    assert_eq!(column("g").extra_sql, "GENERATED ALWAYS AS (`a``b` * (2 + 1)) VIRTUAL");
    assert_eq!(column("u").default_sql.as_deref(), Some("current_timestamp(2)"));
    assert_eq!(column("u").extra_sql, "ON UPDATE current_timestamp(2)");
    assert_eq!(column("d").default_sql.as_deref(), Some("'xy'"));
    assert_eq!(column("d").extra_sql, "CHECK (length(d) < 5)");
    assert_eq!(column("i").default_sql.as_deref(), Some("-1"));
    assert_eq!(column("e").default_sql.as_deref(), Some("'2024-01-02'"));
    assert_eq!(column("b").default_sql.as_deref(), Some("1"));
    assert_eq!(column("f").default_sql.as_deref(), Some("uuid()"));
    assert_eq!(column("n").default_sql.as_deref(), Some("next value for x.s"));
    assert_eq!(def.columns.len(), 13);
}

#[test]
fn quotes_follow_the_sql_mode() {
    let mut upstream = Upstream::new();
    upstream.sql_mode = MODE_ANSI_QUOTES | MODE_NO_BACKSLASH_ESCAPES;
    upstream.run(r#"CREATE TABLE "t" ("a b" varchar(9) default 'x\', c int)"#);
    let def = upstream.table("t");
    assert_eq!(names(&def), ["a b", "c"]);
    assert_eq!(def.columns[0].default_sql.as_deref(), Some(r"'x\\'"));
}

#[test]
fn mysql_generated_invisible_primary_key() {
    let def = create(
        "CREATE TABLE `gipk` (\n  `my_row_id` bigint unsigned NOT NULL AUTO_INCREMENT /*!80023 INVISIBLE */,\n  \
         `a` int DEFAULT NULL,\n  PRIMARY KEY (`my_row_id`)\n)",
        F::MySql,
    );
    assert_eq!(key_names(&def), ["my_row_id"]);
    assert!(def.columns[0].invisible);
    assert_eq!(columns(&def, F::MySql), ["my_row_id bigint unsigned", "a int?"]);
    assert_eq!(def.columns[0].ty.kind, TypeKind::BigInt);
}

#[test]
fn system_versioning_with_columns_of_its_own_is_refused() {
    Upstream::with(&[
        "CREATE TABLE t (a int primary key) WITH SYSTEM VERSIONING",
        "ALTER TABLE t DROP SYSTEM VERSIONING",
    ]);
    let sql = "CREATE TABLE t (a int primary key, s timestamp(6) generated always as row start, \
               e timestamp(6) as row end invisible, period for system_time (s, e)) WITH SYSTEM VERSIONING";
    let error = parse_create_table(sql, "d", F::MariaDb, &SessionDefaults::default()).unwrap_err();
    assert!(error.to_string().contains("system versioning"), "{error}");
    let upstream = Upstream::with(&[sql]);
    let entry = upstream.catalog.visible(&TableName::new("d", "t")).unwrap();
    assert!(matches!(&entry.state, TableState::Stopped { reason, at } if reason.contains("--tables") && at.major == 1));
}

#[test]
fn labels_in_charset_binary_are_the_bytes_of_the_session() {
    let session = SessionDefaults { literals: Some("utf16".into()), ..SessionDefaults::default() };
    let sql = "CREATE TABLE t (a enum('x','yz') character set binary, b enum('x'))";
    let def = parse_create_table(sql, "d", ServerFlavor::MariaDb, &session).unwrap();
    assert_eq!(def.columns[0].ty.labels, ["\0x", "\0y\0z"]);
    assert_eq!(def.columns[1].ty.labels, ["x"]);
}

#[test]
fn some_modes_give_types_other_names() {
    let mut upstream = Upstream::new();
    upstream.sql_mode = MODE_REAL_AS_FLOAT;
    upstream.run("CREATE TABLE r (a real, b double, c real(10,2) unsigned)");
    upstream.run("ALTER TABLE r ADD d real");
    let shown = columns(&upstream.table("r"), ServerFlavor::MariaDb);
    assert_eq!(shown, ["a float?", "b double?", "c float(10,2) unsigned?", "d float?"]);
    for mode in [1 << 9, 1 << 12] {
        upstream.sql_mode = mode;
        assert_eq!(upstream.resync("CREATE TABLE o (a date, b timestamp, c blob)").0, ["d.o"]);
    }
    upstream.run("DROP TABLE r");
}

/// (ran) Without strict mode, on MySQL 9.7.
#[test]
fn a_text_that_is_too_long_for_varchar_gets_another_type() {
    let def = create(
        "CREATE TABLE v (a varchar(70000) charset latin1, b varbinary(70000), c varchar(20000) charset utf8mb4, \
         d varchar(16383) charset utf8mb4, e varchar(70000) charset binary)",
        ServerFlavor::MySql,
    );
    let shown = columns(&def, ServerFlavor::MySql);
    assert_eq!(shown, ["a mediumtext?", "b mediumblob?", "c mediumtext?", "d varchar(16383)?", "e mediumblob?"]);
}
