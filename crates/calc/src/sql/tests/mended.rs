//! What once was answered differently from the upstream; the answers are MariaDB 10.11's own.

use tidelake_access::Caller;
use tidelake_core::testing::tables::{create, inserts, int, text};
use tidelake_core::{ColumnDef, CommitSeq, TableDef, TableName, TypeKind};

use super::{SessionInfo, SqlEngine, SqlOptions, SqlService, ask, ci, code, lines, shop, ty};
use tidelake_core::ports::Freshness;
use tidelake_core::testing::tables::position;

#[tokio::test]
async fn answers_of_expressions() {
    let shop = shop().await;
    let mut s = shop.session().await;
    for (sql, expected) in [
        (
            "SELECT 2/3*3, (1/3)/7, 1.0/3, 0.00001/3, ROUND(1/3, 6)",
            "2.0000\t0.04761905\t0.33333\t0.000003333\t0.333333",
        ),
        (
            "SELECT STDDEV(1.5), VARIANCE(1e0), STDDEV('1.5'), PI(), PI() * 2, FLOOR(1e20)",
            "0.00000\t0\t0\t3.141593\t6.283185\t100000000000000000000",
        ),
        (
            "SELECT ROUND(1.5, 4), TRUNCATE(2.5e-3, 2), ROUND(7, 2), ROUND(2.5e0), CAST(0.5e0 AS SIGNED)",
            "1.5000\t0.00\t7\t2\t0",
        ),
        ("SELECT BIT_AND(NULL), BIT_XOR(NULL), QUOTE(NULL), LPAD('abc', 5, '')", "18446744073709551615\t0\tNULL\tNULL"),
        (
            "SELECT CAST('1.5e2x' AS DECIMAL(10,2)), CAST(-12345.6 AS DECIMAL(5,2)), COALESCE(CAST(1 AS UNSIGNED), -7) << 2",
            "150.00\t-999.99\t4",
        ),
        (
            "SELECT TIMESTAMP('2024-01-02 03:04:05'), TIME('2024-01-02 03:04:05.25'), TIMESTAMP'2024-02-29 10:11:12.000001' + 0",
            "2024-01-02 03:04:05\t03:04:05.25\t20240229101112.000001",
        ),
        (
            "SELECT CAST('2024-02-29' AS TIME), CAST('12abc' AS TIME), CAST('2024-02-29x' AS DATE)",
            "00:20:24\t00:00:12\t2024-02-29",
        ),
        (
            "SELECT TIMEDIFF('2024-01-02', '1999-01-01 10:00:00'), TIMEDIFF('10:00', '2024-01-01 10:00:00'), ADDTIME('10:00:00', '01:00:01')",
            "838:59:59\tNULL\t11:00:01",
        ),
        (
            "SELECT EXTRACT(YEAR_MONTH FROM '2024-05-06'), EXTRACT(DAY_MICROSECOND FROM TIMESTAMP'2024-02-29 10:11:12.345'), EXTRACT(HOUR FROM TIME'-01:30:00')",
            "202405\t29101112345000\t-1",
        ),
        (
            "SELECT '2024-01-01' + INTERVAL '1:30' HOUR_MINUTE, DATE'2024-01-01' + INTERVAL '1.5' SECOND_MICROSECOND, INTERVAL(3, 1, 5, 10)",
            "2024-01-01 01:30:00\t2024-01-01 00:00:01.500000\t1",
        ),
        ("SELECT DATE_FORMAT('0000-00-00', '%W'), TIME_FORMAT('-100:30:00', '%H:%i %k')", "NULL\t-100:30 100"),
        (
            "SELECT CONVERT_TZ('2024-07-01 12:00:00', 'UTC', 'Europe/Berlin'), CONVERT_TZ('2024-03-31 02:30:00', 'Europe/Berlin', 'UTC')",
            "2024-07-01 14:00:00\t2024-03-31 01:00:00",
        ),
        (
            "SELECT JSON_EXTRACT('{\"a\": [1,2.50]}', '$.a'), JSON_ARRAY(1, 'x', NULL, 1.50), JSON_TYPE('1.5'), JSON_KEYS('{\"b\": 1}')",
            "[1, 2.50]\t[1, \"x\", null, 1.50]\tDOUBLE\t[\"b\"]",
        ),
        (
            "SELECT PERIOD_ADD(202401, -1), MAKE_SET(5, 'p', 'q', 'r'), INSERT('abc', 2, 100, 'x'), CHARSET('a'), TO_BASE64('abc')",
            "202312\tp,r\tax\tutf8mb4\tYWJj",
        ),
        (
            "SELECT 'Hammer' SOUNDS LIKE 'hamer', 'h' LIKE BINARY 'H', UNIX_TIMESTAMP('2024-01-01 00:00:00.25')",
            "1\t0\t1704067200.25",
        ),
        ("SELECT SUM(kind), SUM(tags), COUNT(DISTINCT kind + 0) FROM items", "10\t8\t3"),
        (
            "SELECT GROUP_CONCAT(id ORDER BY id DESC), GROUP_CONCAT(id ORDER BY id SEPARATOR '') FROM items",
            "5,4,3,2,1\t12345",
        ),
        ("SELECT GROUP_CONCAT(DISTINCT LOWER(who) ORDER BY 1 DESC), COUNT(DISTINCT who) FROM orders", "eve,bob,ann\t3"),
        (
            "SELECT JSON_ARRAYAGG(n ORDER BY id), JSON_OBJECTAGG(id, who) FROM orders WHERE id < 3",
            "[2,3]\t{\"1\":\"ann\", \"2\":\"Bob\"}",
        ),
        (
            "SELECT PERCENT_RANK() OVER (ORDER BY 1), MAX(dur) OVER (), MIN(name) OVER () FROM items WHERE id = 1",
            "0.0000000000\t10:00:00\tHammer",
        ),
        ("SELECT COUNT(*) FROM items WHERE name BETWEEN 'A' AND 'B' AND born = 20240301", "1"),
        ("SELECT id, 1.5 AS x FROM orders WHERE id = 1 EXCEPT SELECT 2, 1", "1\t1.5"),
        ("SELECT 3 > 2 XOR 1 > 5, 1 IN (1) XOR 2 IN (2), 1 OR 1 XOR 1, 0 AND 0 XOR 1", "1\t0\t1\t1"),
        ("SELECT MAX(x) FROM (SELECT 1 AS x UNION ALL SELECT 'a' UNION ALL SELECT NULL) t", "a"),
    ] {
        let got = ask(&mut *s, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(got.get(1).map(String::as_str), Some(expected), "{sql}");
    }
    for (sql, expected) in [
        ("SELECT (id, n) IN (SELECT id, n FROM orders) FROM orders", 1235),
        ("SELECT JSON_SEARCH('[]', 'one', 'x')", 1235),
        ("SELECT 1e308 * 10", 1690),
        ("SET time_zone = 'Atlantis'", 1298),
    ] {
        assert_eq!(code(&mut *s, sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn windows_partition_by_expressions() {
    let shop = shop().await;
    let mut s = shop.session().await;
    let sql = "SELECT id, COUNT(*) OVER (PARTITION BY id IN (1, 2)) a, SUM(id) OVER (PARTITION BY id > 3, flag) b, \
               MAX(name) OVER (PARTITION BY id > 3) c FROM items ORDER BY id";
    let got = ask(&mut *s, sql).await.unwrap();
    assert_eq!(got[1..], ["1\t2\t4\tHammer", "2\t2\t2\tHammer", "3\t3\t4\tHammer", "4\t3\t4\tzange", "5\t3\t5\tzange"]);
}

#[tokio::test]
async fn rollup_gives_totals() {
    let shop = shop().await;
    let mut s = shop.session().await;
    let mut got = ask(&mut *s, "SELECT flag, SUM(id) FROM items GROUP BY flag WITH ROLLUP").await.unwrap();
    got.sort();
    assert_eq!(got, ["0\t6", "1\t9", "NULL\t15", "flag\tSUM(id)"]);
}

#[tokio::test]
async fn a_zone_with_summer_time_moves_each_timestamp_by_its_own_offset() {
    let shop = shop().await;
    let mut s = shop.session().await;
    ask(&mut *s, "SET time_zone = 'Europe/Berlin'").await.unwrap();
    let sql = "SELECT seen, HOUR(seen), UNIX_TIMESTAMP(seen) FROM items WHERE id IN (1, 2) ORDER BY id";
    let got = ask(&mut *s, sql).await.unwrap();
    assert_eq!(got[1..], ["2024-01-01 01:00:00\t1\t1704067200", "2024-07-01 01:59:59\t1\t1719791999"]);
    let got = ask(&mut *s, "SELECT id FROM items WHERE seen = '2024-07-01 01:59:59'").await.unwrap();
    assert_eq!(got[1..], ["2"]);
}

#[tokio::test]
async fn a_star_leaves_invisible_columns_out() {
    let mut shop = shop().await;
    let mut hidden = ColumnDef::new(2, "secret", ty(TypeKind::Int));
    hidden.invisible = true;
    let columns =
        vec![ColumnDef::new(1, "id", ty(TypeKind::Int)), hidden, ColumnDef::new(3, "name", ci(TypeKind::VarChar))];
    let mut def = TableDef::new(TableName::new("shop", "veiled"), columns, &["id"]);
    def.id = tidelake_core::TableId(3);
    for step in [create(&def, 4), inserts(&def, 5, &[vec![int(1), int(42), text("x")]])] {
        shop.writer.stage(step).await.unwrap();
    }
    shop.writer.publish(CommitSeq(5), position(5)).await.unwrap();
    let mut s = shop.session().await;
    assert_eq!(ask(&mut *s, "SELECT * FROM veiled").await.unwrap(), ["id\tname", "1\tx"]);
    assert_eq!(ask(&mut *s, "SELECT v.*, secret FROM veiled v").await.unwrap(), ["id\tname\tsecret", "1\tx\t42"]);
    let joined = ask(&mut *s, "SELECT * FROM veiled v JOIN orders o ON o.id = v.id").await.unwrap();
    assert_eq!(joined[0], "id\tname\tid\titem_id\tn\twho");
    assert_eq!(ask(&mut *s, "WITH w AS (SELECT * FROM veiled) SELECT * FROM w").await.unwrap(), ["id\tname", "1\tx"]);
    // a name that is hidden in one table is still shown by another
    let both = ask(&mut *s, "SELECT * FROM (SELECT 7 AS secret) d JOIN veiled v").await.unwrap();
    assert_eq!(both, ["secret\tid\tname", "7\t1\tx"]);
    assert_eq!(ask(&mut *s, "SELECT * FROM shop.veiled, orders LIMIT 1").await.unwrap()[0], joined[0]);
    let merged = ask(&mut *s, "SELECT * FROM veiled JOIN orders USING (id)").await.unwrap_err();
    assert!(merged.to_string().contains("INVISIBLE"), "{merged}");
}

#[tokio::test]
async fn setting_a_variable_asks_the_upstream_nothing() {
    let shop = shop().await;
    let mut s = shop.session().await;
    ask(&mut *s, "SET tidelake_freshness = 'latest', tidelake_freshness_timeout = 5, @x = 1 + 1").await.unwrap();
    assert!(!shop.latch.state.lock().asked.contains(&Freshness::Latest));
    ask(&mut *s, "SET @x = (SELECT COUNT(*) FROM orders)").await.unwrap();
    ask(&mut *s, "SELECT 1").await.unwrap();
    let asked = shop.latch.state.lock().asked.clone();
    assert_eq!(asked.iter().filter(|f| **f == Freshness::Latest).count(), 2, "one for each statement");
}

/// Invariant 6: what a statement holds is counted; a sort goes to disk, what cannot is an error, and the session lives on.
#[tokio::test]
async fn inv6_statements_stay_within_their_memory() {
    let shop = shop().await;
    let spill = tempfile::tempdir().unwrap();
    let mut options = SqlOptions::new(
        shop.latch.engine.clone(),
        shop.latch.clone(),
        tidelake_core::types::text::ServerFlavor::MariaDb,
    );
    options.memory_limit_bytes = 16 << 20;
    options.spill_dir = Some(spill.path().to_owned());
    options.target_partitions = 1;
    let sql = SqlEngine::new(options).unwrap();
    let info =
        SessionInfo { caller: Caller::trusted("root"), remote: None, database: Some("shop".into()), connection_id: 8 };
    let mut s = sql.open(info).await.unwrap();
    let rows = "FROM items a, items b, items c, items d, items e, items f, items g";
    let text = "CONCAT(REPEAT('x', 300), g.id, f.id, e.id, d.id, c.id, b.id, a.id)";
    let sorted = ask(&mut *s, &format!("SELECT {text} AS t {rows} ORDER BY t DESC")).await.unwrap();
    assert_eq!(sorted.len(), 1 + 5_usize.pow(7));
    assert!(sorted[1..].is_sorted_by(|a, b| a > b));
    let refused = ask(&mut *s, &format!("SELECT LENGTH(GROUP_CONCAT({text})) {rows}")).await.unwrap_err();
    assert_eq!(refused.code, 1041, "{refused}");
    assert!(refused.message.contains("memory"), "{refused}");
    assert_eq!(ask(&mut *s, "SELECT COUNT(*) FROM items").await.unwrap()[1..], ["5"]);
}

#[tokio::test]
async fn statements_are_killed_and_have_their_time() {
    let shop = shop().await;
    let (mut s, mut other) = (shop.session().await, shop.session().await);
    let endless = "SELECT a.id FROM items a, items b, items c, items d, items e, items f, items g, items h, items i, items j, \
                   items k, items l, items m";
    ask(&mut *s, "SET max_statement_time = 0.2").await.unwrap();
    assert_eq!(code(&mut *s, endless).await, 1969);
    assert_eq!(code(&mut *s, &format!("SET STATEMENT max_statement_time = 0.1 FOR {endless}")).await, 1969);
    ask(&mut *s, "SET max_statement_time = 0").await.unwrap();
    // The sessions of this test share a number, of which the second has the place.
    let running = other.execute(endless).await.unwrap();
    ask(&mut *s, "KILL QUERY 7").await.unwrap();
    assert_eq!(lines(running).await.unwrap_err().code, 1317);
    ask(&mut *s, "KILL 7").await.unwrap();
    assert_eq!(code(&mut *other, "SELECT 1").await, 1927);
    assert_eq!(
        ask(&mut *s, "SET STATEMENT sql_select_limit = 2 FOR SELECT id FROM items ORDER BY id").await.unwrap().len(),
        3
    );
    assert_eq!(ask(&mut *s, "SELECT id FROM items ORDER BY id").await.unwrap().len(), 6);
}

#[tokio::test]
async fn having_without_groups_is_a_condition() {
    let shop = shop().await;
    let mut s = shop.session().await;
    let sql = "SELECT id, IF(flag, 'yes', 'no') AS flag FROM items WHERE id < 4 HAVING flag IN ('no') AND id > 1";
    assert_eq!(ask(&mut *s, sql).await.unwrap(), ["id\tflag", "2\tno"]);
    assert_eq!(ask(&mut *s, "SELECT COUNT(*) AS n FROM items HAVING n > 4").await.unwrap(), ["n", "5"]);
}
