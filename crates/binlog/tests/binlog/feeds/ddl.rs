//! DDL as TiCDC prints it, one statement after the other, and what it leaves of a table.

use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::mysql::decoder::UnknownTables;
use tidelake_binlog::ticdc::FeedDecoder;
use tidelake_binlog::ticdc::place::FeedPlace;
use tidelake_binlog::ticdc::record::{Ddl, Head, Item};
use tidelake_core::ports::{BufferedPayload, BufferedTransaction, TransactionDecoder};
use tidelake_core::{Catalog, CommitSeq, TableName, TableState};

/// Applies statements; the catalog after them.
fn after(statements: &[&str]) -> Catalog {
    let mut decoder = FeedDecoder::new(TableFilter::default(), UnknownTables::Stop);
    let mut catalog = Catalog::default();
    let head = serde_json::to_vec(&Head { version: 1, zone: "UTC".into(), exact: false }).expect("JSON");
    for (i, query) in statements.iter().enumerate() {
        let ddl = Ddl { database: "d".into(), table: "t".into(), query: (*query).to_owned(), columns: None };
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
