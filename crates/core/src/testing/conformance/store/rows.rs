//! Rows: what stage accepts, what it refuses, and that a refused step changes nothing.

use super::{StoreFactory, publish, writer};
use crate::change::RowOp::{self, Delete, DeleteIfExists, Insert, Upsert};
use crate::error::Error;
use crate::ports::{StoreEngine, StoreWriter};
use crate::schema::TableDef;
use crate::seq::TableId;
use crate::testing::tables::{
    Row, accounts, altered, changes, create, events, inserts, int, null, pairs, rows_at, sorted, text,
};

const A: TableId = TableId(1);

fn row(id: i64, v: i64) -> Row {
    vec![int(id), int(v), null()]
}

async fn table_with(engine: &dyn StoreEngine, def: &TableDef, rows: &[Row]) -> Box<dyn StoreWriter> {
    let mut w = writer(engine).await;
    w.stage(create(def, 1)).await.unwrap();
    w.stage(inserts(def, 1, rows)).await.unwrap();
    publish(&mut *w, 1).await;
    w
}

/// Stages `ops` at seq 2 on rows that are in memory, then (in another store) flushed; compares at seq 2 and 1.
async fn check(make: &dyn StoreFactory, def: &TableDef, rows: &[Row], ops: &[(RowOp, Row)], wanted: &[Row]) {
    for flushed in [false, true] {
        let store = make.open().await;
        let engine = store.engine();
        let mut w = table_with(&*engine, def, rows).await;
        if flushed {
            engine.flush().await.unwrap();
        }
        let ops: Vec<_> = ops.iter().map(|(op, r)| (2, *op, r.clone())).collect();
        w.stage(changes(def, &ops)).await.unwrap();
        publish(&mut *w, 2).await;
        for round in 0..2 {
            assert_eq!(rows_at(&*engine, 2, A).await.unwrap(), sorted(wanted.to_vec()), "{flushed} {round}");
            assert_eq!(rows_at(&*engine, 1, A).await.unwrap(), sorted(rows.to_vec()), "{flushed} {round}");
            engine.flush().await.unwrap();
        }
    }
}

/// The error of `ops` on these rows, in memory and flushed; the rows must be as before.
async fn check_diverges(make: &dyn StoreFactory, def: &TableDef, rows: &[Row], ops: &[(RowOp, Row)], flush: bool) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = table_with(&*engine, def, rows).await;
    if flush {
        engine.flush().await.unwrap();
    }
    let ops: Vec<_> = ops.iter().map(|(op, r)| (2, *op, r.clone())).collect();
    match w.stage(changes(def, &ops)).await {
        Err(Error::Diverged { table, reason }) => {
            assert_eq!(table, def.name.to_string());
            assert!(!reason.is_empty());
        }
        other => panic!("expected Diverged, got {other:?}"),
    }
    publish(&mut *w, 2).await;
    assert_eq!(rows_at(&*engine, 2, A).await.unwrap(), sorted(rows.to_vec()));
    // Everything is still in its place: each row can be deleted once, and inserted again.
    let deletes: Vec<_> = rows.iter().map(|r| (3, Delete, r.clone())).collect();
    w.stage(changes(def, &deletes)).await.unwrap();
    w.stage(inserts(def, 3, rows)).await.unwrap();
    publish(&mut *w, 3).await;
    assert_eq!(rows_at(&*engine, 3, A).await.unwrap(), sorted(rows.to_vec()));
}

/// A second row of one key is refused: against stored rows and within one step.
pub async fn insert_of_an_existing_key_diverges(make: &dyn StoreFactory) {
    let def = accounts(1, "a");
    for flush in [false, true] {
        check_diverges(make, &def, &[row(1, 1)], &[(Insert, row(1, 2))], flush).await;
        check_diverges(make, &def, &[row(1, 1)], &[(Insert, row(2, 2)), (Insert, row(2, 3))], flush).await;
    }
}

/// A delete of nothing is refused: never there, or deleted just before.
pub async fn delete_of_a_missing_row_diverges(make: &dyn StoreFactory) {
    let def = accounts(1, "a");
    for flush in [false, true] {
        check_diverges(make, &def, &[row(1, 1)], &[(Delete, row(2, 1))], flush).await;
        check_diverges(make, &def, &[row(1, 1)], &[(Delete, row(1, 1)), (Delete, row(1, 1))], flush).await;
        let def = events(1, "e");
        let once = vec![int(1), text("x")];
        check_diverges(
            make,
            &def,
            std::slice::from_ref(&once),
            &[(Delete, once.clone()), (Delete, once.clone())],
            flush,
        )
        .await;
    }
}

/// All rows before the one that did not fit are undone too.
pub async fn diverged_changes_nothing(make: &dyn StoreFactory) {
    let rows = [row(1, 1), row(2, 2), row(3, 3)];
    let ops = [(Delete, row(1, 1)), (Insert, row(1, 9)), (Upsert, row(2, 9)), (Insert, row(4, 4)), (Delete, row(5, 5))];
    check_diverges(make, &accounts(1, "a"), &rows, &ops, false).await;
}

/// The same with the rows in files.
pub async fn diverged_after_flush_changes_nothing(make: &dyn StoreFactory) {
    let rows = [row(1, 1), row(2, 2), row(3, 3)];
    let ops = [(Delete, row(3, 3)), (DeleteIfExists, row(2, 2)), (Upsert, row(1, 9)), (Insert, row(1, 4))];
    check_diverges(make, &accounts(1, "a"), &rows, &ops, true).await;
}

/// Upsert and DeleteIfExists take what they find.
pub async fn tolerant_ops_tolerate(make: &dyn StoreFactory) {
    let ops = [
        (Upsert, row(1, 10)),
        (Upsert, row(2, 20)),
        (Upsert, row(2, 21)),
        (DeleteIfExists, row(3, 3)),
        (DeleteIfExists, row(3, 3)),
        (DeleteIfExists, row(4, 4)),
        (Upsert, row(4, 40)),
    ];
    let wanted = [row(1, 10), row(2, 21), row(4, 40)];
    check(make, &accounts(1, "a"), &[row(1, 1), row(3, 3)], &ops, &wanted).await;
}

/// UPDATE of the key: the row moves.
pub async fn key_change_in_one_transaction(make: &dyn StoreFactory) {
    let ops = [(Delete, row(1, 1)), (Insert, row(2, 1)), (Delete, row(2, 1)), (Insert, row(3, 1))];
    check(make, &accounts(1, "a"), &[row(1, 1)], &ops, &[row(3, 1)]).await;
    let pair = |a: &str, b: &str| vec![text(a), text(b), int(1)];
    let ops = [(Delete, pair("x", "y")), (Insert, pair("xy", ""))];
    check(make, &pairs(1, "p"), &[pair("x", "y")], &ops, &[pair("xy", "")]).await;
}

/// Two rows exchange their keys through a third.
pub async fn key_swap_in_one_transaction(make: &dyn StoreFactory) {
    let ops = [
        (Delete, row(1, 100)),
        (Insert, row(-1, 100)),
        (Delete, row(2, 200)),
        (Insert, row(1, 200)),
        (Delete, row(-1, 100)),
        (Insert, row(2, 100)),
    ];
    check(make, &accounts(1, "a"), &[row(1, 100), row(2, 200)], &ops, &[row(1, 200), row(2, 100)]).await;
}

/// A deleted key can come back, any number of times.
pub async fn delete_then_insert_again(make: &dyn StoreFactory) {
    let mut ops = Vec::new();
    for v in 1..5 {
        ops.push((Delete, row(1, v)));
        ops.push((Insert, row(1, v + 1)));
    }
    check(make, &accounts(1, "a"), &[row(1, 1)], &ops, &[row(1, 5)]).await;
}

/// A row that lives for part of a transaction is never seen.
pub async fn born_and_dead_in_one_transaction(make: &dyn StoreFactory) {
    let ops = [(Insert, row(5, 5)), (Delete, row(5, 5)), (Insert, row(6, 6))];
    check(make, &accounts(1, "a"), &[row(1, 1)], &ops, &[row(1, 1), row(6, 6)]).await;
}

/// Without a key, equal rows are counted, and one of them dies at a time.
pub async fn duplicates_without_a_key(make: &dyn StoreFactory) {
    let def = events(1, "e");
    let e = |n: i64| vec![int(n), null()];
    let before = [e(1), e(1), e(1), e(2)];
    check(make, &def, &before, &[(Delete, e(1))], &[e(1), e(1), e(2)]).await;
    check(make, &def, &before, &[(Delete, e(1)), (Delete, e(1)), (Insert, e(2))], &[e(1), e(2), e(2)]).await;
    let churn = [(Insert, e(1)), (Delete, e(1)), (Delete, e(1)), (Delete, e(1)), (Delete, e(1)), (Insert, e(3))];
    check(make, &def, &before, &churn, &[e(2), e(3)]).await;
}

/// Without a key no row replaces another.
pub async fn upserts_without_a_key_are_inserts(make: &dyn StoreFactory) {
    let e = |n: i64| vec![int(n), text("t")];
    let ops = [(Upsert, e(1)), (Upsert, e(1)), (DeleteIfExists, e(2)), (DeleteIfExists, e(7))];
    check(make, &events(1, "e"), &[e(1), e(2)], &ops, &[e(1), e(1), e(1)]).await;
}

/// Rows decoded with another version than the table has are a broken promise.
pub async fn rows_of_a_wrong_version_are_refused(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let def = accounts(1, "a");
    let mut w = table_with(&*engine, &def, &[row(1, 1)]).await;
    let next = altered(&def, |d| d.comment = "new".into());
    assert!(matches!(w.stage(inserts(&next, 2, &[row(2, 2)])).await, Err(Error::Internal(_))));
    assert!(w.stage(inserts(&accounts(9, "z"), 2, &[row(2, 2)])).await.is_err(), "no such table");
    publish(&mut *w, 2).await;
    assert_eq!(rows_at(&*engine, 2, A).await.unwrap(), [row(1, 1)]);
}

/// Keys that only a collation calls equal are different rows; parts of composite keys do not run together.
pub async fn keys_are_exact_bytes(make: &dyn StoreFactory) {
    let pair = |a: &str, b: &str, n: i64| vec![text(a), text(b), int(n)];
    let before = [pair("a", "b", 1), pair("A", "b", 2), pair("a ", "b", 3), pair("", "ab", 4), pair("ab", "", 5)];
    let ops = [(Delete, pair("A", "b", 2)), (Delete, pair("ab", "", 5)), (Insert, pair("é", "b", 6))];
    let wanted = [pair("a", "b", 1), pair("a ", "b", 3), pair("", "ab", 4), pair("é", "b", 6)];
    check(make, &pairs(1, "p"), &before, &ops, &wanted).await;
}
