//! Time travel: what is asked of the latch, by clause, transaction and variable.

use tidelake_core::Moment;

use super::*;

/// 2020-01-01 10:00:00 UTC.
const TEN: i64 = 1_577_872_800_000_000;

/// What the last statement asked for, after those for values that it needed.
async fn asked(shop: &Shop, session: &mut dyn SqlSession, sql: &str) -> Result<Freshness, SqlError> {
    ask(session, sql).await?;
    Ok(shop.latch.state.lock().asked.last().cloned().expect("something was asked"))
}

#[tokio::test]
async fn a_statement_reads_the_time_it_names() {
    let shop = shop().await;
    let mut s = shop.session().await;
    let ten = Freshness::At(Moment::Time(TEN));
    for sql in [
        "SELECT COUNT(*) FROM shop.items AS OF TIMESTAMP '2020-01-01 10:00:00'",
        "SELECT COUNT(*) FROM shop.items i AS OF TIMESTAMP '2020-01-01 11:00:00' - INTERVAL 1 HOUR WHERE i.qty > 1",
        "SELECT i.Id FROM shop.items AS OF TIMESTAMP '2020-01-01 10:00:00' AS i \
         JOIN shop.orders AS OF TIMESTAMP TIMESTAMP('2020-01-01', '10:00:00') o ON o.item_id = i.Id",
        "EXPLAIN SELECT COUNT(*) FROM shop.items AS OF TIMESTAMP '2020-01-01 10:00:00'",
    ] {
        assert_eq!(asked(&shop, &mut *s, sql).await.unwrap(), ten, "{sql}");
    }
    assert_eq!(asked(&shop, &mut *s, "SELECT COUNT(*) FROM shop.items").await.unwrap(), Freshness::Any);
    ask(&mut *s, "SET time_zone = '+02:00'").await.unwrap();
    let local = "SELECT COUNT(*) FROM shop.items AS OF TIMESTAMP '2020-01-01 12:00:00'";
    assert_eq!(asked(&shop, &mut *s, local).await.unwrap(), ten, "times are the session's");
    let prepared = s.prepare(local).await.unwrap();
    s.execute_prepared(prepared.id, &[]).await.unwrap();
    assert_eq!(shop.latch.state.lock().asked.last(), Some(&ten));
}

#[tokio::test]
async fn variables_and_transactions_read_the_past() {
    let shop = shop().await;
    let mut s = shop.session().await;
    let count = "SELECT COUNT(*) FROM shop.items";
    ask(&mut *s, "SET tidb_snapshot = '2020-01-01 10:00:00'").await.unwrap();
    assert_eq!(asked(&shop, &mut *s, count).await.unwrap(), Freshness::At(Moment::Time(TEN)));
    assert_eq!(asked(&shop, &mut *s, "SHOW TABLES FROM shop").await.unwrap(), Freshness::At(Moment::Time(TEN)));
    ask(&mut *s, "SET tidelake_read_seq = 3").await.unwrap();
    assert_eq!(asked(&shop, &mut *s, count).await.unwrap(), Freshness::AtSeq(CommitSeq(3)));
    ask(&mut *s, "SET tidelake_read_seq = DEFAULT").await.unwrap();
    assert_eq!(asked(&shop, &mut *s, count).await.unwrap(), Freshness::Any);
    let begin = "START TRANSACTION READ ONLY AS OF TIMESTAMP '2020-01-01 10:00:00'";
    assert_eq!(asked(&shop, &mut *s, begin).await.unwrap(), Freshness::At(Moment::Time(TEN)));
    assert_eq!(asked(&shop, &mut *s, count).await.unwrap(), Freshness::At(Moment::Time(TEN)), "no new snapshot");
    let inside = "SELECT COUNT(*) FROM shop.items AS OF TIMESTAMP '2020-01-01 10:00:00'";
    assert_eq!(ask(&mut *s, inside).await.unwrap_err().code, 8135);
}

#[tokio::test]
async fn what_is_no_one_time_is_refused() {
    let shop = shop().await;
    let mut s = shop.session().await;
    for (sql, code) in [
        ("SELECT COUNT(*) FROM shop.items AS OF TIMESTAMP '2020-01-01 10:00:00', shop.orders", 8135),
        ("SELECT 1 FROM shop.items AS OF TIMESTAMP '2020-01-01' JOIN shop.orders AS OF TIMESTAMP '2020-01-02'", 8135),
        ("SELECT COUNT(*) FROM shop.items AS OF TIMESTAMP 'soon'", 8135),
        ("SELECT COUNT(*) FROM shop.items AS OF TIMESTAMP 12", 8135),
        ("SELECT COUNT(*) FROM shop.items AS OF TIMESTAMP NULL", 8135),
        ("SELECT COUNT(*) FROM shop.items AS OF TIMESTAMP NOW() + INTERVAL 1 DAY", 8055),
        ("SELECT COUNT(*) FROM shop.items FOR SYSTEM_TIME AS OF TIMESTAMP '2020-01-01 10:00:00'", 1235),
        ("SET TRANSACTION READ ONLY AS OF TIMESTAMP '2020-01-01 10:00:00'", 1235),
        ("START TRANSACTION WITH CONSISTENT SNAPSHOT AS OF TIMESTAMP '2020-01-01 10:00:00'", 1064),
        ("SET tidb_snapshot = 'soon'", 1231),
        ("SET tidelake_read_seq = 'soon'", 1231),
    ] {
        let error = ask(&mut *s, sql).await.expect_err(sql);
        assert_eq!(error.code, code, "{sql}: {error}");
    }
}
