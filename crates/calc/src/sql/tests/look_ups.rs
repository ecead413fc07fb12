//! Look-ups of whole keys, which are planned without the optimizer, answer as the same conditions do that no key helps with.

use super::{ask, shop};

#[tokio::test]
async fn look_ups_answer_as_scans_do() {
    let shop = shop().await;
    let mut s = shop.session().await;
    for (columns, table, condition) in [
        ("*", "orders", "id = 3"),
        ("*", "orders", "3 = id"),
        ("*", "orders", "id = 77"),
        ("who, id, who, n AS id", "orders", "id = 3"),
        ("o.who", "orders o", "o.id = 3 AND o.n = -1"),
        ("o.who", "orders o", "o.id = 3 AND o.n = 5"),
        ("n", "orders", "id = 3 AND id = 4"),
        ("n", "orders", "id = 3 AND who = 'ann'"),
        ("n", "orders", "id = 3 OR id = 4"),
        ("n", "orders", "id = '3'"),
        ("n", "orders", "id = 3.0"),
        ("n", "orders", "id = 3.5"),
        ("n", "orders", "id = NULL"),
        ("n", "orders", "id = 18446744073709551615"),
        ("n + 1", "orders", "id = 3"),
        ("*", "items", "Id = 2"),
        ("name, price, kind, tags, born, seen, dur, weight", "items", "Id = 5"),
        ("name", "items", "Id = 2147483648"),
        ("name", "items", "Id = 1 AND bin = 'a'"),
        // PAD SPACE: 'a ' is the same.
        ("name", "items", "Id = 5 AND bin = 'a'"),
        ("name", "items", "Id = 1 AND price = 12.5"),
        ("name", "items", "Id = 1 AND kind = 'TOOL'"),
        ("name", "items", "Id = 1 AND weight = 1.5 AND yr = 2024 AND flag = 1"),
        ("name", "items", "Id = 1 AND born = '2024-02-29'"),
    ] {
        let looked = ask(&mut *s, &format!("SELECT {columns} FROM {table} WHERE {condition}")).await.unwrap();
        let (key, plain) = if table == "items" { ("Id", "(Id + 0)") } else { ("id", "(id + 0)") };
        let scanned: Vec<&str> = condition.split(' ').map(|w| w.strip_prefix("o.").unwrap_or(w)).collect();
        let scanned =
            scanned.into_iter().map(|word| if word == key { plain } else { word }).collect::<Vec<_>>().join(" ");
        let scanned = ask(&mut *s, &format!("SELECT {columns} FROM {table} WHERE {scanned}")).await.unwrap();
        assert_eq!(looked, scanned, "SELECT {columns} FROM {table} WHERE {condition}");
    }
}

#[tokio::test]
async fn look_ups_are_planned_at_once() {
    let shop = shop().await;
    let mut s = shop.session().await;
    for (sql, at_once) in [
        ("SELECT * FROM orders WHERE id = 3", true),
        ("SELECT n FROM orders o WHERE o.id = 3 AND n = 1", true),
        ("SELECT name FROM items WHERE Id = 2", true),
        ("SELECT n FROM orders WHERE n = 3", false),
        ("SELECT n FROM orders WHERE id = 3 OR id = 4", false),
    ] {
        let plan = ask(&mut *s, &format!("EXPLAIN {sql}")).await.unwrap().join("\n");
        assert_eq!(!plan.contains("CooperativeExec"), at_once, "{plan}");
    }
}
