//! DDL as TiCDC prints it, one statement after the other, and what it leaves of a table.

use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::mysql::decoder::UnknownTables;
use tidelake_binlog::ticdc::FeedDecoder;
use tidelake_binlog::ticdc::place::FeedPlace;
use tidelake_binlog::ticdc::record::{Ddl, Head, Item};
use tidelake_core::ports::{BufferedPayload, BufferedTransaction, TransactionDecoder};
use tidelake_core::{Catalog, CommitSeq, TableName, TableState};

/// Applies statements about `d.t`; the catalog after them.
fn after(statements: &[&str]) -> Catalog {
    after_in(&statements.iter().map(|s| ("d", *s)).collect::<Vec<_>>())
}

/// The same with the database that the feed says beside each.
fn after_in(statements: &[(&str, &str)]) -> Catalog {
    applied(TableFilter::default(), statements)
}

fn applied(filter: TableFilter, statements: &[(&str, &str)]) -> Catalog {
    let mut decoder = FeedDecoder::new(filter, UnknownTables::Stop);
    let mut catalog = Catalog::default();
    let head = serde_json::to_vec(&Head { version: 1, zone: "UTC".into(), exact: false }).expect("JSON");
    for (i, (database, query)) in statements.iter().enumerate() {
        let ddl = Ddl {
            database: (*database).into(),
            table: "t".into(),
            query: (*query).to_owned(),
            columns: None,
            collation: None,
        };
        let items = [head.clone(), Item::of_ddl(&serde_json::to_vec(&ddl).expect("JSON"))];
        let transaction = BufferedTransaction {
            seq: CommitSeq(i as u64 + 1),
            id: i.to_string(),
            position: FeedPlace::at(i as u64 + 1).to_source(),
            bytes: 0,
            payload: BufferedPayload::Events(Box::new(items.map(|item| Ok(item.into())).into_iter())),
        };
        decoder.decode(transaction, &mut catalog).unwrap_or_else(|e| panic!("{query}: {e}"));
    }
    catalog
}

const CREATE: &str = "CREATE TABLE `d`.`t` (`id` BIGINT NOT NULL /*T![auto_rand] AUTO_RANDOM(5) */,`v` VARCHAR(20) DEFAULT _UTF8MB4'x',\
    `created` DATETIME,PRIMARY KEY(`id`) /*T![clustered_index] CLUSTERED */) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin \
    /*T![auto_id_cache] AUTO_ID_CACHE=1 */ /*T![ttl] TTL=`created` + INTERVAL 1 DAY */ /*T![ttl] TTL_ENABLE='OFF' */";

#[test]
fn statements_that_keep_the_table_live() {
    for statement in [
        "ALTER TABLE `d`.`t` ADD COLUMN (`a` INT,`b` JSON), DROP COLUMN `v`, ADD INDEX `i`(`a`)",
        "ALTER TABLE `t` ADD COLUMN `a` INT DEFAULT 1 AFTER `id`, ADD COLUMN `b` BIGINT UNSIGNED NOT NULL DEFAULT '7' FIRST",
        "ALTER TABLE `t` MODIFY COLUMN `v` VARCHAR(40)",
        "ALTER TABLE `t` RENAME COLUMN `v` TO `w`, RENAME INDEX `x` TO `y`",
        "ALTER TABLE `t` ADD UNIQUE INDEX `u`(`v`) /*T![global_index] GLOBAL */",
        "CREATE INDEX `i` ON `d`.`t` (`v`)",
        "CREATE VECTOR INDEX `i` USING HNSW ON `t` ((VEC_COSINE_DISTANCE(`v`)))",
        "DROP INDEX `i` ON `d`.`t`",
        "ALTER TABLE `t` ALTER COLUMN `v` SET DEFAULT 'z'",
        "ALTER TABLE `t` COMMENT = 'x'",
        "ALTER TABLE `t` DEFAULT CHARACTER SET UTF8MB4 COLLATE UTF8MB4_GENERAL_CI",
        "ALTER TABLE `t` /*T![ttl] REMOVE TTL */",
        "ALTER TABLE `t` /*T![placement] PLACEMENT POLICY=`p` */",
        "ALTER TABLE `t` PARTITION BY RANGE (`id`) (PARTITION `p0` VALUES LESS THAN (10), PARTITION `p1` VALUES LESS THAN (MAXVALUE))",
        "ALTER TABLE `t` ADD PARTITION (PARTITION `p2` VALUES LESS THAN (30))",
        "ALTER TABLE `t` REORGANIZE PARTITION `p0` INTO (PARTITION `a` VALUES LESS THAN (5), PARTITION `b` VALUES LESS THAN (10))",
        "ALTER TABLE `t` REMOVE PARTITIONING",
        "ALTER TABLE `t` ADD CONSTRAINT `f` FOREIGN KEY (`v`) REFERENCES `d`.`o`(`v`)",
        "TRUNCATE TABLE `d`.`t`",
        "CREATE VIEW `w` AS SELECT * FROM `t`",
        "ALTER DATABASE `d` CHARACTER SET = utf8mb4",
        "CREATE TABLE `d`.`u` LIKE `d`.`t`",
        // as users write it: Drainer sends that
        "ALTER TABLE t SET TIFLASH REPLICA 2 LOCATION LABELS 'a','b'",
        "ALTER TABLE t CACHE",
        "ALTER TABLE t NOCACHE",
        "ALTER TABLE t ATTRIBUTES 'merge_option=deny'",
        "ALTER TABLE t SHARD_ROW_ID_BITS = 4",
        "ALTER TABLE t AUTO_ID_CACHE 1",
        "ALTER TABLE t TTL = created + INTERVAL 1 DAY TTL_ENABLE = 'OFF'",
        "ALTER TABLE t PLACEMENT POLICY = p",
        "ALTER TABLE t REMOVE TTL",
    ] {
        let catalog = after(&[CREATE, statement]);
        let entry = catalog.visible(&TableName::new("d", "t")).expect(statement);
        assert_eq!(entry.state, TableState::Live, "{statement}");
    }
}

#[test]
fn statements_that_change_rows_without_sending_them_stop_the_table() {
    for statement in [
        "ALTER TABLE `d`.`t` DROP PARTITION `p0`",
        "ALTER TABLE `d`.`t` TRUNCATE PARTITION `p0`",
        "ALTER TABLE `d`.`t` EXCHANGE PARTITION `p0` WITH TABLE `d`.`o`",
        "RECOVER TABLE `d`.`t`",
        "FLASHBACK TABLE `d`.`t` TO `t`",
        "ALTER TABLE `t` DROP PRIMARY KEY, ADD PRIMARY KEY (`v`)",
        "ALTER TABLE `t` ADD COLUMN `g` INT GENERATED ALWAYS AS (`id` + 1) VIRTUAL",
    ] {
        let catalog = after(&[CREATE, statement]);
        let entry = catalog.visible(&TableName::new("d", "t")).expect(statement);
        assert!(matches!(entry.state, TableState::Stopped { .. }), "{statement}");
    }
}

#[test]
fn tables_as_users_of_tidb_write_them() {
    for create in [
        "CREATE TABLE t (id BIGINT AUTO_RANDOM(5, 54) PRIMARY KEY CLUSTERED, v VECTOR(3) COMMENT 'x', VECTOR INDEX i ((VEC_COSINE_DISTANCE(v))) USING HNSW)",
        "CREATE TABLE t (id INT NOT NULL, v VECTOR, PRIMARY KEY (id) NONCLUSTERED) SHARD_ROW_ID_BITS = 4 PRE_SPLIT_REGIONS = 2",
        "CREATE TABLE t (id INT PRIMARY KEY, created DATETIME) TTL = `created` + INTERVAL 1 DAY TTL_ENABLE = 'ON' TTL_JOB_INTERVAL = '1h'",
        "CREATE TABLE t (id INT PRIMARY KEY, v VECTOR<FLOAT>(3)) PLACEMENT POLICY = `p` AUTO_ID_CACHE = 1",
        "CREATE TABLE t (id INT PRIMARY KEY) PARTITION BY RANGE (id) INTERVAL (100) FIRST PARTITION LESS THAN (100) LAST PARTITION LESS THAN (1000)",
        "CREATE TABLE t (id INT PRIMARY KEY, b INT, UNIQUE KEY u (b) GLOBAL) PARTITION BY HASH (id) PARTITIONS 4",
        "CREATE TABLE t (id INT PRIMARY KEY, j JSON DEFAULT (JSON_ARRAY(1)), INDEX m ((CAST(j->'$.a' AS UNSIGNED ARRAY))))",
    ] {
        let catalog = after(&[create]);
        let entry = catalog.visible(&TableName::new("d", "t")).expect(create);
        assert_eq!((&entry.state, entry.def.key.len()), (&TableState::Live, 1), "{create}");
    }
}

/// TiCDC says only where a table went.
#[test]
fn a_table_that_came_from_another_database_is_found_by_its_name() {
    let create = "CREATE TABLE `t` (`id` INT PRIMARY KEY)";
    let names = |catalog: &Catalog| catalog.tables.values().map(|e| e.def.name.to_string()).collect::<Vec<_>>();
    let moved = after_in(&[("a", create), ("b", "RENAME TABLE `t` TO `b`.`t`")]);
    assert_eq!(names(&moved), ["b.t"]);
    let own = after_in(&[("a", create), ("b", create), ("b", "RENAME TABLE `t` TO `b`.`u`")]);
    assert_eq!(names(&own), ["a.t", "b.u"]);
    let either = after_in(&[("a", create), ("c", create), ("b", "ALTER TABLE `t` RENAME TO `b`.`t`")]);
    assert_eq!(names(&either), ["a.t", "c.t", "b.t"]);
    // a.t may be what moved, but it is not followed here
    let filter = TableFilter::parse("b.*,c.*").expect("parses");
    let hidden = applied(filter, &[("a", create), ("c", create), ("b", "RENAME TABLE `t` TO `b`.`t`")]);
    assert_eq!(names(&hidden), ["c.t", "b.t"]);
    for entry in either.tables.values().chain(hidden.tables.values()) {
        let TableState::Stopped { reason, .. } = &entry.state else { panic!("{} goes on", entry.def.name) };
        assert!(reason.contains("does not say from which database"), "{reason}");
    }
}

#[test]
fn names_move_and_go() {
    let names = |statements: &[&str]| -> Vec<String> {
        let mut all = vec![CREATE];
        all.extend(statements);
        after(&all).tables.values().map(|e| e.def.name.to_string()).collect()
    };
    assert_eq!(names(&["RENAME TABLE `d`.`t` TO `e`.`u`"]), ["e.u"]);
    assert_eq!(names(&["ALTER TABLE `t` RENAME AS `u`"]), ["d.u"]);
    assert_eq!(names(&["DROP TABLE `d`.`t`"]), Vec::<String>::new());
    assert_eq!(names(&["DROP DATABASE `d`"]), Vec::<String>::new());
    assert_eq!(names(&["DROP VIEW `d`.`t2`", "DROP TABLE IF EXISTS `d`.`t`", CREATE]), ["d.t"]);
}
