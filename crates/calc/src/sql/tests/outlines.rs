//! What is told of a statement before it runs.

use super::*;
/// Statements with rows, of every kind.
const WITH_ROWS: &[&str] = &[
    "SELECT @@version",
    "(SELECT Id, name FROM items) UNION SELECT id, who FROM orders",
    "WITH a AS (SELECT 1 AS b) SELECT * FROM a",
    "SHOW TABLES",
    "SHOW FULL TABLES FROM shop LIKE 'o%'",
    "SHOW DATABASES",
    "SHOW CREATE TABLE orders",
    "SHOW CREATE DATABASE shop",
    "SHOW COLUMNS FROM items WHERE Field = 'name'",
    "SHOW INDEX FROM items",
    "SHOW TABLE STATUS",
    "SHOW VARIABLES LIKE 'lower_case_%'",
    "SHOW WARNINGS",
    "SHOW MASTER STATUS",
    "SHOW GRANTS",
    "DESCRIBE orders",
    "DESC orders who",
    "EXPLAIN orders",
    "EXPLAIN SELECT * FROM items WHERE Id = 1",
    "EXPLAIN FORMAT = JSON (SELECT 1)",
    "SET STATEMENT max_statement_time = 10 FOR SELECT name FROM items",
    "SET STATEMENT max_statement_time = 10 FOR SHOW TABLES",
];

#[tokio::test]
async fn the_columns_of_every_statement_with_rows_are_told_before_it_runs() {
    let shop = shop().await;
    let mut s = shop.session().await;
    for sql in WITH_ROWS {
        let told = s.prepare(sql).await.unwrap().schema;
        let SqlOutcome::Rows(rows) = s.execute(sql).await.unwrap() else { panic!("{sql} has no rows") };
        assert_eq!(told, rows.schema, "{sql}");
    }
}

#[tokio::test]
async fn a_query_with_unbound_values_is_never_taken_for_one_without_rows() {
    let shop = shop().await;
    let mut s = shop.session().await;
    for sql in [
        "SELECT ?",
        "SELECT ? + 1, CONCAT(?, name), -?, ABS(?), ROUND(?, ?), LEFT(name, ?) FROM items",
        "SELECT IF(? > 1, ?, ?), COALESCE(?, 'a'), ? IS NULL, NOT ?, ? AND ?",
        "SELECT SUM(?), MAX(?), COUNT(?), GROUP_CONCAT(?), AVG(?) FROM items",
        "SELECT name FROM items WHERE ? GROUP BY name HAVING COUNT(*) > ? ORDER BY ? LIMIT ?",
        "SELECT name FROM items WHERE name LIKE ? AND born = ? AND seen < ? AND price IN (?, ?) AND bin = ? AND dur = ?",
        "SELECT DATE_ADD(?, INTERVAL ? DAY), DATE_FORMAT(?, '%Y'), YEAR(?), ? + INTERVAL 1 DAY",
        "SELECT CASE ? WHEN 1 THEN ? ELSE ? END, CAST(? AS SIGNED), ? * price, ? / ?, ? % 3, ? || ? FROM items",
        "SELECT ? UNION SELECT ?",
        "SELECT ? UNION SELECT name FROM items",
        "SELECT (SELECT ?), a.x FROM (SELECT ? AS x) a WHERE a.x = ?",
        "SELECT JSON_EXTRACT(?, '$.a'), LAG(Id, ?) OVER (ORDER BY Id), NTILE(?) OVER (ORDER BY Id) FROM items",
        "SELECT LPAD(?, ?, ?), SUBSTRING(? FROM ? FOR ?), ? REGEXP ?, GREATEST(?, 1), UNIX_TIMESTAMP(?)",
        "VALUES (?, ?)",
        "SELECT * FROM items WHERE (Id, qty) = (?, ?)",
        "SELECT * FROM items WHERE Id IN (SELECT item_id FROM orders WHERE n > ?) LIMIT ? OFFSET ?",
        "SELECT SUM(Id) OVER (ORDER BY Id ROWS ? PRECEDING) FROM items WHERE name REGEXP ?",
        "EXPLAIN SELECT * FROM items WHERE Id = ?",
    ] {
        let prepared = s.prepare(sql).await.unwrap();
        assert_ne!(prepared.schema.fields().len(), 0, "{sql}");
        assert_eq!(prepared.parameters, sql.matches('?').count());
    }
    assert_eq!(s.prepare("SELECT INET_ATON(?)").await.unwrap_err().code, 1235);
}

#[tokio::test]
async fn what_is_wrong_with_a_statement_is_said_when_it_is_prepared() {
    let shop = shop().await;
    let mut s = shop.session().await;
    for (sql, code) in [
        ("SELCT 1", 1064),
        ("SELECT 1 FROM (SELECT 2", 1064),
        ("SELECT * FROM nothing", 1146),
        ("SELECT nothing FROM items", 1054),
        ("(SELECT nothing FROM items)", 1054),
        ("SHOW TABLES FROM nowhere", 1049),
        ("SHOW CREATE TABLE nothing", 1146),
        ("SHOW TABLES WHERE nothing = 1", 1054),
        ("SHOW SOMETHING", 1235),
        ("DESCRIBE nothing", 1146),
        ("EXPLAIN SELECT nothing FROM items", 1054),
        ("EXPLAIN DELETE FROM items", 1290),
        ("SET STATEMENT max_statement_time = 10 FOR SELECT nothing FROM items", 1054),
        ("SET STATEMENT max_statement_time = 10", 1064),
        ("HANDLER items OPEN", 1235),
        ("-- nothing", 1065),
    ] {
        let prepared = s.prepare(sql).await.unwrap_err();
        assert_eq!(prepared.code, code, "{sql}: {prepared}");
        let ran = ask(&mut *s, sql).await.unwrap_err();
        assert_eq!(ran.to_string(), prepared.to_string(), "{sql}");
    }
}

#[tokio::test]
async fn what_has_no_rows_is_prepared_without_effect() {
    let shop = shop().await;
    let mut s = shop.session().await;
    for sql in
        ["INSERT INTO items VALUES (?)", "DROP TABLE items", "SET time_zone = ?", "USE nowhere", "BEGIN", "COMMIT"]
    {
        let prepared = s.prepare(sql).await.unwrap();
        assert_eq!((prepared.schema.fields().len(), prepared.parameters), (0, sql.matches('?').count()), "{sql}");
    }
    assert!(!s.status().in_transaction);
    s.prepare("SET STATEMENT time_zone = '+05:00' FOR SELECT 1").await.unwrap();
    assert_eq!(ask(&mut *s, "SELECT @@time_zone = '+05:00'").await.unwrap()[1], "0");
}
