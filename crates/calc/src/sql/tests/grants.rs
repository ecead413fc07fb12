//! A user who may read some tables sees those and nothing of the others, by any way there is.

use std::sync::Arc;

use tidelake_access::{Caller, Right, Rights};
use tidelake_core::filter::TableFilter;

use super::{Shop, ask, code, shop};
use crate::session::{SessionInfo, SqlService, SqlSession};

async fn session(shop: &Shop, tables: &str) -> Box<dyn SqlSession> {
    let rights = Rights::new(vec![Right::Read], Some(TableFilter::parse(tables).unwrap()));
    let caller = Caller { user: "bi".into(), rights: Arc::new(rights) };
    let info = SessionInfo { caller, remote: None, database: None, connection_id: 9 };
    shop.sql.open(info).await.unwrap()
}

#[tokio::test]
async fn other_tables_are_denied_whether_they_exist_or_not() {
    let shop = shop().await;
    let mut s = session(&shop, "shop.items").await;
    ask(&mut *s, "SELECT * FROM shop.items").await.unwrap();
    ask(&mut *s, "USE shop").await.unwrap();
    ask(&mut *s, "SELECT COUNT(*) FROM items").await.unwrap();
    for hidden in ["orders", "nothing", "shop.orders", "crm.orders"] {
        for sql in [
            format!("SELECT * FROM {hidden}"),
            format!("SELECT COUNT(*) FROM {hidden}"),
            format!("SELECT * FROM items WHERE id IN (SELECT 1 FROM {hidden})"),
            format!("WITH x AS (SELECT * FROM {hidden}) SELECT * FROM x"),
            format!("DESCRIBE {hidden}"),
            format!("SHOW CREATE TABLE {hidden}"),
            format!("EXPLAIN SELECT * FROM {hidden}"),
            format!("SELECT * FROM items UNION ALL SELECT * FROM {hidden}"),
        ] {
            assert_eq!(code(&mut *s, &sql).await, 1142, "{sql}");
        }
    }
    assert_eq!(code(&mut *s, "USE crm").await, 1044);
    assert_eq!(code(&mut *s, "SHOW TABLES FROM crm").await, 1044);
    let error = s.execute("SELECT * FROM orders").await.err().unwrap();
    assert_eq!(error.message, "SELECT command denied to user 'bi'@'localhost' for table `shop`.`orders`");
}

#[tokio::test]
async fn lists_have_nothing_else() {
    let shop = shop().await;
    let mut all = shop.session().await;
    let mut s = session(&shop, "shop.items").await;
    assert_eq!(ask(&mut *s, "SHOW TABLES FROM shop").await.unwrap(), ["Tables_in_shop", "items"]);
    assert!(ask(&mut *all, "SHOW TABLES FROM shop").await.unwrap().len() > 2);
    for list in ["tables", "columns", "statistics", "key_column_usage", "table_constraints", "tidelake_tables"] {
        let sql = format!("SELECT DISTINCT table_name FROM information_schema.{list} WHERE table_schema = 'shop'");
        let seen = ask(&mut *s, &sql).await.unwrap();
        assert!(seen[1..].iter().all(|row| row == "items"), "{list}: {seen:?}");
        assert!(ask(&mut *all, &sql).await.unwrap().len() > seen.len() || seen.len() == 1, "{list}");
    }
    let grants = ask(&mut *s, "SHOW GRANTS").await.unwrap();
    let expected = ["GRANT USAGE ON *.* TO `bi`@`localhost`", "GRANT SELECT ON `shop`.`items` TO `bi`@`localhost`"];
    assert_eq!(grants[1..], expected);
    let mut nobody = session(&shop, "other.*").await;
    let databases = ask(&mut *nobody, "SHOW DATABASES").await.unwrap();
    assert_eq!(databases[1..], ["information_schema"]);
}
