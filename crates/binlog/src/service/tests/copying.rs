//! The initial copy: exact for every type, for every kind of key, under writes, over restarts and schema changes.

use std::fmt::Write;
use std::time::Duration;

use tidelake_core::ports::{Buffer, Source, StoreEngine};
use tidelake_core::{CellValue, TableName, TableState};
use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

use super::replica::{PATIENCE, Replica};
use super::transactions;
use crate::filter::TableFilter;

/// Every type, with values at its borders.
const ALL_TYPES: &str = "
    id INT PRIMARY KEY, t1 TINYINT, t1u TINYINT UNSIGNED, t2 SMALLINT, t3 MEDIUMINT, t3u MEDIUMINT UNSIGNED, t4 INT ZEROFILL,
    t8 BIGINT, t8u BIGINT UNSIGNED, d1 DECIMAL(65,30), d2 DECIMAL(10,2), d3 DECIMAL(38,0), f FLOAT, f2 FLOAT(7,4), g DOUBLE,
    g2 DOUBLE(10,3), b1 BIT(1), b64 BIT(64), y YEAR, da DATE, dt DATETIME, dt6 DATETIME(6), ts TIMESTAMP NULL,
    ts3 TIMESTAMP(3) NULL, ti TIME, ti6 TIME(6), c CHAR(10), cl CHAR(10) CHARACTER SET latin1,
    v VARCHAR(300), vl VARCHAR(20) CHARACTER SET latin1, vu VARCHAR(20) CHARACTER SET ucs2, v16 VARCHAR(20) CHARACTER SET utf16,
    vs VARCHAR(20) CHARACTER SET sjis, vk VARCHAR(20) CHARACTER SET koi8r, tt TINYTEXT, te TEXT, mt MEDIUMTEXT, lt LONGTEXT,
    bi BINARY(8), vb VARBINARY(20), tb TINYBLOB, bl BLOB, mb MEDIUMBLOB, lb LONGBLOB, e ENUM('x','y','ä'),
    s SET('a','b','c'), j JSON, ge GEOMETRY, pt POINT, u UUID, i6 INET6, i4 INET4, inv INT INVISIBLE, vc VARCHAR(50) COMPRESSED,
    gs INT AS (id + 1) PERSISTENT";

const COLUMNS: &str = "id,t1,t1u,t2,t3,t3u,t4,t8,t8u,d1,d2,d3,f,f2,g,g2,b1,b64,y,da,dt,dt6,ts,ts3,ti,ti6,c,cl,v,vl,vu,v16,vs,vk,\
    tt,te,mt,lt,bi,vb,tb,bl,mb,lb,e,s,j,ge,pt,u,i6,i4,inv,vc";

const VALUES: &str = "
    (1,-128,255,-32768,-8388608,16777215,4294967295,-9223372036854775808,18446744073709551615,
     -12345678901234567890123456789012345.123456789012345678901234567890,-0.05,99999999999999999999999999999999999999,
     1e-45,-999.9999,-1.7976931348623157e308,-1234567.891,b'1',0xFFFFFFFFFFFFFFFF,0,'0000-00-00','2024-02-31 23:59:59',
     '0000-00-00 00:00:00.000001','1970-01-01 00:00:01','0000-00-00 00:00:00','-838:59:59','-00:00:00.000001',
     'a  ','é','text 😀','é€','ÿ語','😀','ｱ表','Привет','','',REPEAT('m',70000),'l',
     'a','\\0a\\0','\\0','\\0\\n','','\\xFF','x','a,c','{\"a\": [1, 2.50]}',POINT(1,2),POINT(3,4),
     '123e4567-e89b-12d3-a456-426655440000','::ffff:1.2.3.4','1.2.3.4',7,'squeeze me squeeze me squeeze me'),
    (2,127,0,32767,8388607,0,0,9223372036854775807,0,0.000000000000000000000000000001,99999999.99,-1,3.4028234e38,0.0001,
     5e-324,0.001,b'0',1,2155,'9999-12-31','1000-01-01','9999-12-31 23:59:59.999999','2038-01-19 03:14:07',
     '2001-02-03 04:05:06.789','838:59:59','838:59:59.999999','','',' ','','','','','','t','te','m','',
     '\\0\\0\\0\\0\\0\\0\\0\\0','','','','','','ä','','[]',GeomFromText('LINESTRING(0 0,1 1)',4326),POINT(-1.5,0),
     'ffffffff-ffff-7fff-bfff-ffffffffffff','::','255.255.255.255',-7,''),
    (3,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,
     NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,
     NULL,NULL,NULL,NULL,NULL),
    (4,0,1,0,-1,1,7,-1,1,-1,0,0,-0e0,0.1,-0e0,0,b'1',2,1901,'2024-00-31','2024-00-00 01:02:03','2024-12-31 00:00:00.5',
     '2024-06-01 12:00:00','2024-06-01 12:00:00.001','00:00:00','12:34:56.5','ZZ','ZZ','ZZ','ZZ','ZZ','ZZ','ZZ','ZZ','a','b','c',
     'd','12345678','v','t','b','m','l','y','b','\"x\"',NULL,NULL,'00000000-0000-0000-0000-000000000000','fe80::1','0.0.0.0',0,
     'z')";

#[tokio::test(flavor = "multi_thread")]
async fn copied_rows_equal_streamed_rows_for_every_type() {
    let server = MariaDb::start(MariaDbOptions::default());
    let insert = |table| {
        format!(
            "SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'; INSERT INTO a.{table} ({COLUMNS}) VALUES {VALUES};"
        )
    };
    let create = |table| format!("CREATE TABLE a.{table} ({ALL_TYPES});");
    server.execute(&format!("CREATE DATABASE a; USE a; {} {}", create("copied"), insert("copied")));
    let replica = Replica::start(&server, |_| {}).await;
    replica.catch_up().await;
    server.execute(&format!("{} {}", create("streamed"), insert("streamed")));
    replica.catch_up().await;
    let (copied, streamed) = (replica.entry("a", "copied"), replica.entry("a", "streamed"));
    assert_eq!(copied.state, TableState::Live, "{copied:#?}");
    assert_eq!(streamed.state, TableState::Live, "{streamed:#?}");
    for (c, s) in copied.def.columns.iter().zip(&streamed.def.columns) {
        // the text of an expression is the server's own in one and the user's in the other
        let (mut c, mut s) = (c.clone(), s.clone());
        (c.extra_sql, s.extra_sql) = (String::new(), String::new());
        assert_eq!(c, s, "the text of SHOW CREATE TABLE means the same column as the statement");
    }
    let (from_copy, from_stream) = (replica.rows("a", "copied").await, replica.rows("a", "streamed").await);
    assert_eq!((from_copy.len(), from_stream.len()), (4, 4));
    for (row, (copied, streamed)) in from_copy.iter().zip(&from_stream).enumerate() {
        for ((column, c), s) in replica.entry("a", "copied").def.columns.iter().zip(copied).zip(streamed) {
            let same = match (c, s) {
                (CellValue::Float(c), CellValue::Float(s)) => c.to_bits() == s.to_bits(),
                _ => c == s,
            };
            assert!(same, "row {row} column {}: copied {c:?}, streamed {s:?}", column.name);
        }
    }
    replica.stop().await;
}

/// A table of `rows` rows whose key is `key`, filled with distinct keys in no order.
async fn chunked_copy_is_whole(keys: &[(&str, &str, &str)], chunk: usize) {
    let server = MariaDb::start(MariaDbOptions::default());
    let mut sql = String::from("SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'; CREATE DATABASE a; USE a;");
    for (i, (columns, key, values)) in keys.iter().enumerate() {
        write!(sql, "CREATE TABLE a.t{i} ({columns}, v INT DEFAULT 1, {key});").unwrap();
        let names: Vec<&str> = columns.split(", ").map(|c| c.split(' ').next().unwrap()).collect();
        write!(sql, "INSERT INTO a.t{i} ({}) {values};", names.join(", ")).unwrap();
    }
    server.execute(&sql);
    let replica = Replica::start(&server, |options| options.copy_chunk_rows = chunk).await;
    replica.catch_up().await;
    for (i, (columns, ..)) in keys.iter().enumerate() {
        let there = replica.rows("a", &format!("t{i}")).await.len();
        let wanted = String::from_utf8(server.batch_text(&format!("SELECT COUNT(*) FROM a.t{i}"))).unwrap();
        assert_eq!(there.to_string(), wanted.trim(), "{columns}");
        assert!(there > chunk, "{columns} has {there} rows, fewer than two chunks");
    }
    let copies = replica.source.copies();
    assert!(copies.len() == keys.len() && copies.iter().all(|c| c.done && c.rows == c.estimated_rows && c.bytes > 0));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_is_walked_from_end_to_end() {
    let primary = "PRIMARY KEY (k)";
    chunked_copy_is_whole(
        &[
            ("k BIGINT UNSIGNED", primary, "SELECT CAST(18446744073709551615 AS UNSIGNED) - seq FROM a_seq"),
            ("k BIGINT", primary, "SELECT seq - 10 FROM a_seq"),
            ("k VARCHAR(20)", primary, "SELECT CONCAT(ELT(1 + seq % 4, 'a', 'B', 'ä', 'Z'), seq) FROM a_seq"),
            (
                "k VARCHAR(20) COLLATE utf8mb4_bin",
                primary,
                "SELECT CONCAT(ELT(1 + seq % 2, 'a', 'A'), seq DIV 2) FROM a_seq",
            ),
            ("k CHAR(20) CHARACTER SET latin1", primary, "SELECT CONCAT('é\\'\\\\', seq) FROM a_seq"),
            ("k VARCHAR(20) CHARACTER SET ucs2", primary, "SELECT CONCAT('語', seq) FROM a_seq"),
            ("k VARBINARY(8)", primary, "SELECT UNHEX(LPAD(HEX(seq * 7), 8, '0')) FROM a_seq"),
            ("k BINARY(4)", primary, "SELECT UNHEX(LPAD(HEX(seq * 256), 8, '0')) FROM a_seq"),
            ("k DECIMAL(40,5)", primary, "SELECT (seq - 9) / 3 FROM a_seq"),
            ("k DOUBLE", primary, "SELECT (seq - 9) / 3 FROM a_seq"),
            ("k FLOAT", primary, "SELECT (seq - 9) / 3 FROM a_seq"),
            ("k DATE", primary, "SELECT IF(seq = 0, '0000-00-00', '2024-01-01' + INTERVAL seq DAY) FROM a_seq"),
            ("k DATETIME(6)", primary, "SELECT '2024-01-01 00:00:00.000001' + INTERVAL seq MICROSECOND FROM a_seq"),
            ("k TIMESTAMP(3)", primary, "SELECT '2024-01-01 00:00:00' + INTERVAL seq * 1000 MICROSECOND FROM a_seq"),
            ("k TIME(3)", primary, "SELECT SEC_TO_TIME(seq - 9.5) FROM a_seq"),
            ("k YEAR", primary, "SELECT IF(seq = 0, 0, 1990 + seq) FROM a_seq"),
            ("k BIT(40)", primary, "SELECT seq * 1000000007 FROM a_seq"),
            ("k UUID", primary, "SELECT UUID() FROM a_seq"),
            ("k INET6", primary, "SELECT CONCAT('fe80::', HEX(seq)) FROM a_seq"),
            ("k ENUM('q','c','z','b','a','d','m','n','o','p')", primary, "SELECT seq + 1 FROM a_seq WHERE seq < 10"),
            ("k SET('q','c','z','b','a')", primary, "SELECT seq FROM a_seq"),
            (
                "a INT, k VARCHAR(10), e ENUM('z','a')",
                "PRIMARY KEY (k, a, e)",
                "SELECT seq % 3, seq DIV 6, 1 + seq % 2 FROM a_seq",
            ),
            ("k INT NOT NULL, u VARCHAR(9) NOT NULL", "UNIQUE (u, k)", "SELECT seq, seq % 4 FROM a_seq"),
            ("k INT, u INT NULL", "UNIQUE (u)", "SELECT seq, IF(seq % 2, NULL, seq) FROM a_seq"),
            ("k INT, u INT", "INDEX (u)", "SELECT seq DIV 5, 0 FROM a_seq"),
        ]
        .map(|(columns, key, values)| (columns, key, values))
        .iter()
        .map(|(columns, key, values)| {
            (*columns, *key, values.replace("a_seq", "(SELECT CAST(seq AS SIGNED) AS seq FROM seq_0_to_29) AS s"))
        })
        .map(|(columns, key, values)| (columns, key, &*values.leak()))
        .collect::<Vec<_>>(),
        4,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_under_writes_restarts_and_schema_changes_end_equal() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute(
        "CREATE DATABASE a; USE a;
         CREATE TABLE a.k (id INT PRIMARY KEY, v VARCHAR(40)); INSERT INTO a.k SELECT seq, 'old' FROM seq_1_to_3000;
         CREATE TABLE a.n (id INT, v VARCHAR(40)); INSERT INTO a.n SELECT seq DIV 2, 'old' FROM seq_1_to_3000;
         CREATE TABLE a.m (id INT PRIMARY KEY, v VARCHAR(40)) ENGINE=Aria; INSERT INTO a.m SELECT seq, 'old' FROM seq_1_to_3000;
         CREATE TABLE a.secret (id INT PRIMARY KEY); INSERT INTO a.secret VALUES (1);
         GRANT LOCK TABLES ON a.* TO 'tidelake'@'127.0.0.1'",
    );
    let client = server.client();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ended = stop.clone();
    let load = std::thread::spawn(move || {
        let mut round = 0;
        while round < 20 || !ended.load(std::sync::atomic::Ordering::Relaxed) {
            round += 1;
            let id = round * 37 % 3000;
            let mut sql = String::new();
            for t in ["k", "n", "m"] {
                write!(
                    sql,
                    "UPDATE a.{t} SET v = 'new {round}' WHERE id = {id}; DELETE FROM a.{t} WHERE id = {id} + 1;"
                )
                .unwrap();
                write!(sql, "INSERT INTO a.{t} (id, v) VALUES ({round} + 10000, 'born'); UPDATE a.{t} SET id = id + 50000 WHERE id = {id} + 2;").unwrap();
            }
            if round == 12 {
                sql.push_str("ALTER TABLE a.k ADD COLUMN late INT DEFAULT 5; TRUNCATE a.m; INSERT INTO a.m SELECT seq, 'again' FROM a.seq_1_to_2000;");
            }
            drop(client.batch_text(&sql));
        }
    });
    let wanted = |options: &mut crate::service::ServiceOptions| {
        options.filter = TableFilter::parse("a.*,!a.secret").unwrap();
        options.copy_chunk_rows = 100;
    };
    let mut replica = Replica::start(&server, wanted).await;
    for (epoch, pause) in [(2, 150), (3, 300), (4, 500)] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let (buffer, engine) = replica.stop().await;
        replica = Replica::go_on(&server, buffer, engine, epoch, wanted).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    load.join().unwrap();
    replica.catch_up().await;
    assert!(replica.catalog().visible(&TableName::new("a", "secret")).is_none());
    for table in ["k", "n", "m"] {
        assert_eq!(replica.entry("a", table).state, TableState::Live);
        let columns = if table == "k" { "id, v, late" } else { "id, v" };
        let upstream = server.batch_text(&format!("SELECT {columns} FROM a.{table}"));
        let mut wanted: Vec<String> = String::from_utf8(upstream).unwrap().lines().map(str::to_owned).collect();
        let text = |cell: &CellValue| match cell {
            CellValue::Int(i) => i.to_string(),
            CellValue::Str(s) => s.clone(),
            other => format!("{other:?}"),
        };
        let rows = replica.rows("a", table).await;
        let mut found: Vec<String> =
            rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join("\t")).collect();
        wanted.sort();
        found.sort();
        assert_eq!(found.len(), wanted.len(), "{table}");
        assert_eq!(found, wanted, "{table}");
    }
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_without_the_privilege_waits_and_tells_why() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute(
        "CREATE DATABASE a; USE a; CREATE TABLE a.t (id INT PRIMARY KEY); INSERT INTO a.t VALUES (1);
         CREATE USER 'few'@'127.0.0.1' IDENTIFIED BY 'few';
         GRANT REPLICATION SLAVE, BINLOG MONITOR, INSERT ON *.* TO 'few'@'127.0.0.1'",
    );
    let url = format!("mysql://few:few@127.0.0.1:{}", server.port());
    let replica = Replica::start(&server, |options| options.url = url).await;
    let told = async {
        while !replica.source.status().reason.contains("denied") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{:?}", replica.source.status()));
    assert!(replica.source.status().reason.contains("initial copy of a.t"), "{:?}", replica.source.status());
    // however often it is tried
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!*replica.source.copy_complete().borrow());
    server.execute("GRANT SELECT ON *.* TO 'few'@'127.0.0.1'");
    replica.catch_up().await;
    assert_eq!(replica.rows("a", "t").await.len(), 1);
    assert_eq!(replica.source.status().reason, "");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_of_chunks_are_read_before_the_chunk_is_appended() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute(
        "CREATE DATABASE a; USE a; CREATE TABLE a.t (id INT PRIMARY KEY); INSERT INTO a.t SELECT seq FROM seq_1_to_100",
    );
    let replica = Replica::start(&server, |options| options.copy_chunk_rows = 10).await;
    replica.catch_up().await;
    let read = replica.buffer.read_position().borrow().clone().unwrap();
    let mut chunks = 0;
    for transaction in transactions(&*replica.buffer) {
        let Ok((record, _)) = tidelake_core::control::decode(&transaction.items[0]) else { continue };
        if let tidelake_core::control::ControlRecord::CopyRows { read_at, .. } = record {
            assert!(transaction.position.covers(&read_at) && read.covers(&read_at));
            chunks += 1;
        }
    }
    assert_eq!(chunks, 10);
    assert!(replica.engine.published_seq().0 >= 12);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_through_a_merge_table_that_was_there_before_are_noticed() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute(
        "CREATE DATABASE a; USE a; CREATE TABLE t1 (i INT) ENGINE=MyISAM; CREATE TABLE t2 (i INT) ENGINE=MyISAM; \
         CREATE TABLE m (i INT) ENGINE=MERGE UNION=(t1,t2) INSERT_METHOD=LAST; INSERT INTO t1 VALUES (1); \
         GRANT LOCK TABLES ON *.* TO 'tidelake'@'127.0.0.1'",
    );
    let replica = Replica::start(&server, |_| {}).await;
    replica.catch_up().await;
    let merge = replica.entry("a", "m");
    assert!(matches!(&merge.state, TableState::Stopped { reason, .. } if reason.contains("MERGE")), "{merge:?}");
    assert_eq!(merge.def.columns[0].name, "i");
    let before = replica.entry("a", "t2").created;
    server.execute("INSERT INTO a.m VALUES (2)");
    let copied_again = async {
        loop {
            let catalog = replica.catalog();
            let entry = catalog.visible(&TableName::new("a", "t2"));
            if entry.is_some_and(|e| e.created != before && e.state == TableState::Live) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, copied_again).await;
    waited.unwrap_or_else(|_| panic!("{:#?}", replica.catalog().tables));
    assert_eq!(replica.rows("a", "t2").await, [[CellValue::Int(2)]]);
    replica.stop().await;
}

/// Tables are altered all the time while several readers copy them: neither waits for the other for ever.
async fn altered_under_its_readers(kind: ServerKind) {
    let server = MariaDb::start(MariaDbOptions::of(kind));
    let digits = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4)";
    server.execute(&format!(
        "CREATE DATABASE a; CREATE TABLE a.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(100)); \
         INSERT INTO a.t (v) SELECT REPEAT('v', 100) FROM {digits} a, {digits} b, {digits} c, {digits} d, {digits} e"
    ));
    let replica = Replica::start(&server, |options| (options.copy_chunk_rows, options.copy_threads) = (20, 4)).await;
    let altered = async {
        for round in 0..15 {
            let done = tokio::task::spawn_blocking({
                let client = server.client();
                move || client.batch_text(&format!("ALTER TABLE a.t ADD COLUMN c{round} INT DEFAULT {round}"))
            });
            done.await.unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    tokio::time::timeout(PATIENCE, altered).await.expect("ALTER TABLE gets its turn");
    replica.catch_up().await;
    assert_eq!(replica.rows("a", "t").await.len(), 3125);
    assert_eq!(replica.entry("a", "t").def.columns.len(), 17);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_altered_under_its_readers() {
    altered_under_its_readers(ServerKind::MariaDb).await;
    altered_under_its_readers(ServerKind::MySqlNew).await;
}

/// With semi-synchronous replication a transaction is in the bin log for as long as no replica has it, and nobody sees its rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_waits_for_what_is_logged_and_not_visible_yet() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute(
        "CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY); INSERT INTO a.t VALUES (1), (2), (3); \
         SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC; SET GLOBAL rpl_semi_sync_master_timeout = 3000; \
         SET GLOBAL rpl_semi_sync_master_enabled = ON",
    );
    let client = server.client();
    let deleted = tokio::task::spawn_blocking(move || client.batch_text("DELETE FROM a.t WHERE id = 2"));
    let logged = async {
        while !String::from_utf8_lossy(&server.batch_text("SHOW BINLOG EVENTS")).contains("DELETE FROM a.t") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, logged).await.expect("it comes into the bin log");
    assert!(!deleted.is_finished() && server.batch_text("SELECT * FROM a.t") == b"1\n2\n3\n", "not visible yet");
    let replica = Replica::start(&server, |_| {}).await;
    replica.catch_up().await;
    deleted.await.unwrap();
    assert_eq!(replica.rows("a", "t").await, [[CellValue::Int(1)], [CellValue::Int(3)]]);
    replica.stop().await;
}
