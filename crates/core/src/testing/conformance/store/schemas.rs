//! Schemas: every change of the catalog happens at its seq; older snapshots keep the older catalog and rows.

use super::{StoreFactory, publish, writer};
use crate::catalog::{SchemaChange, TableState};
use crate::change::RowOp;
use crate::error::Error;
use crate::schema::{TableDef, TableName};
use crate::seq::{ColumnId, CommitSeq, TableId, WriterEpoch};
use crate::testing::tables::{
    Row, accounts, add_column, altered, changes, create, create_copying, drop_column, events, inserts, int, null,
    position, rows_at, schema, sorted, text,
};
use crate::types::{TypeKind, UpstreamType};
use crate::value::CellValue;

const A: TableId = TableId(1);
const B: TableId = TableId(2);

fn row(id: i64, v: i64) -> Row {
    vec![int(id), int(v), null()]
}

fn alter(def: &TableDef, seq: u64) -> crate::change::DecodedStep {
    schema(seq, SchemaChange::AlterTable(Box::new(def.clone())))
}

/// `catalog(s)` is the catalog right after `s`.
pub async fn catalog_is_by_seq(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let def = accounts(1, "a");
    w.stage(schema(1, SchemaChange::CreateDatabase("empty".into()))).await.unwrap();
    w.stage(create(&def, 3)).await.unwrap();
    w.stage(schema(5, SchemaChange::DropTable(A))).await.unwrap();
    publish(&mut *w, 6).await;
    for _ in 0..2 {
        let has = |seq: u64| engine.catalog(CommitSeq(seq)).unwrap().tables.contains_key(&A);
        assert_eq!([2, 3, 4, 5, 6].map(has), [false, true, true, false, false]);
        assert!(engine.catalog(CommitSeq(1)).unwrap().databases.contains("empty"));
        engine.flush().await.unwrap();
    }
    let odd = schema(7, SchemaChange::DropTable(B));
    assert!(matches!(w.stage(odd).await, Err(Error::Internal(_))), "no such table");
}

/// A copying table is in the catalog but not readable; Live makes it readable from that seq on.
pub async fn copying_tables_are_not_scannable(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let def = accounts(1, "a");
    w.stage(create_copying(&def, 1, 77)).await.unwrap();
    w.stage(changes(&def, &[(2, RowOp::Upsert, row(1, 1)), (2, RowOp::Upsert, row(1, 2))])).await.unwrap();
    publish(&mut *w, 2).await;
    assert!(engine.catalog(CommitSeq(2)).unwrap().copying(&def.name).is_some());
    assert!(engine.catalog(CommitSeq(2)).unwrap().visible(&def.name).is_none());
    assert!(matches!(rows_at(&*engine, 2, A).await, Err(Error::NotFound(_))));
    w.stage(schema(3, SchemaChange::SetState { table: A, state: TableState::Live })).await.unwrap();
    publish(&mut *w, 3).await;
    assert!(matches!(rows_at(&*engine, 2, A).await, Err(Error::NotFound(_))));
    assert_eq!(rows_at(&*engine, 3, A).await.unwrap(), [row(1, 2)]);
}

/// Rebuild beside, then swap: old rows until the seq of the swap, new rows from it on, never none or both.
pub async fn copy_swaps_beside_the_old_table(make: &dyn StoreFactory) {
    let mut store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let (old, new) = (accounts(1, "a"), accounts(2, "a"));
    w.stage(create(&old, 1)).await.unwrap();
    w.stage(inserts(&old, 1, &[row(1, 1)])).await.unwrap();
    publish(&mut *w, 1).await;
    w.stage(create_copying(&new, 2, 5)).await.unwrap();
    w.stage(changes(&new, &[(2, RowOp::Upsert, row(1, 100)), (2, RowOp::Upsert, row(2, 200))])).await.unwrap();
    w.stage(inserts(&old, 2, &[row(9, 9)])).await.unwrap();
    publish(&mut *w, 2).await;
    engine.flush().await.unwrap();
    w.stage(schema(3, SchemaChange::SetState { table: B, state: TableState::Live })).await.unwrap();
    publish(&mut *w, 3).await;
    engine.flush().await.unwrap();
    drop((w, engine));
    for _ in 0..2 {
        let engine = store.engine();
        let at = |seq: u64| engine.catalog(CommitSeq(seq)).unwrap().visible(&old.name).map(|e| e.def.id);
        assert_eq!([1, 2, 3].map(at), [Some(A), Some(A), Some(B)]);
        assert_eq!(rows_at(&*engine, 2, A).await.unwrap(), [row(1, 1), row(9, 9)]);
        assert!(matches!(rows_at(&*engine, 2, B).await, Err(Error::NotFound(_))));
        assert!(matches!(rows_at(&*engine, 3, A).await, Err(Error::NotFound(_))));
        assert_eq!(rows_at(&*engine, 3, B).await.unwrap(), [row(1, 100), row(2, 200)]);
        drop(engine);
        store.crash().await;
    }
}

/// A stopped table is refused with its reason from that seq on; before it, it reads.
pub async fn stopped_is_refused_with_its_reason(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let def = accounts(1, "a");
    w.stage(create(&def, 1)).await.unwrap();
    w.stage(inserts(&def, 1, &[row(1, 1)])).await.unwrap();
    let state = TableState::Stopped { reason: "the moon is blue".into(), at: position(2) };
    w.stage(schema(2, SchemaChange::SetState { table: A, state })).await.unwrap();
    publish(&mut *w, 2).await;
    let refused = rows_at(&*engine, 2, A).await.expect_err("stopped");
    assert!(refused.to_string().contains("the moon is blue"), "{refused}");
    assert_eq!(rows_at(&*engine, 1, A).await.unwrap(), [row(1, 1)]);
    assert!(matches!(w.stage(inserts(&def, 3, &[row(2, 2)])).await, Err(Error::Internal(_))), "stopped");
}

/// TRUNCATE empties memory and files at its seq; the same keys can come back in the same transaction.
pub async fn truncate_empties(make: &dyn StoreFactory) {
    let mut store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let def = accounts(1, "a");
    w.stage(create(&def, 1)).await.unwrap();
    w.stage(inserts(&def, 1, &[row(1, 1)])).await.unwrap();
    publish(&mut *w, 1).await;
    engine.flush().await.unwrap();
    w.stage(inserts(&def, 2, &[row(2, 2)])).await.unwrap();
    w.stage(schema(3, SchemaChange::Truncate(A))).await.unwrap();
    assert!(matches!(w.stage(changes(&def, &[(3, RowOp::Delete, row(1, 1))])).await, Err(Error::Diverged { .. })));
    w.stage(inserts(&def, 3, &[row(1, 10)])).await.unwrap();
    publish(&mut *w, 3).await;
    drop((w, engine));
    for round in 0..3 {
        let engine = store.engine();
        assert_eq!(rows_at(&*engine, 1, A).await.unwrap(), [row(1, 1)], "round {round}");
        assert_eq!(rows_at(&*engine, 2, A).await.unwrap(), [row(1, 1), row(2, 2)], "round {round}");
        assert_eq!(rows_at(&*engine, 3, A).await.unwrap(), [row(1, 10)], "round {round}");
        engine.flush().await.unwrap();
        if round == 1 {
            drop(engine);
            store.crash().await;
        }
    }
}

/// A truncate that was staged but never published leaves every row.
pub async fn truncate_can_be_discarded(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let def = accounts(1, "a");
    w.stage(create(&def, 1)).await.unwrap();
    w.stage(inserts(&def, 1, &[row(1, 1)])).await.unwrap();
    publish(&mut *w, 1).await;
    engine.flush().await.unwrap();
    w.stage(inserts(&def, 2, &[row(2, 2)])).await.unwrap();
    publish(&mut *w, 2).await;
    w.stage(schema(3, SchemaChange::Truncate(A))).await.unwrap();
    w.stage(inserts(&def, 3, &[row(3, 3)])).await.unwrap();
    let mut w = engine.open_writer(WriterEpoch(2)).await.unwrap();
    w.stage(changes(&def, &[(3, RowOp::Delete, row(1, 1)), (3, RowOp::Insert, row(4, 4))])).await.unwrap();
    publish(&mut *w, 3).await;
    assert_eq!(rows_at(&*engine, 3, A).await.unwrap(), [row(2, 2), row(4, 4)]);
}

/// DROP and CREATE of one name: two tables, each at its own seqs.
pub async fn drop_and_create_again(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let old = accounts(1, "a");
    let new = events(2, "a");
    w.stage(create(&old, 1)).await.unwrap();
    w.stage(inserts(&old, 1, &[row(1, 1)])).await.unwrap();
    publish(&mut *w, 1).await;
    engine.flush().await.unwrap();
    w.stage(schema(2, SchemaChange::DropTable(A))).await.unwrap();
    w.stage(create(&new, 3)).await.unwrap();
    w.stage(inserts(&new, 3, &[vec![int(1), null()]])).await.unwrap();
    publish(&mut *w, 3).await;
    for _ in 0..2 {
        assert_eq!(rows_at(&*engine, 1, A).await.unwrap(), [row(1, 1)]);
        assert!(matches!(rows_at(&*engine, 2, A).await, Err(Error::NotFound(_))));
        assert!(matches!(rows_at(&*engine, 1, B).await, Err(Error::NotFound(_))));
        assert_eq!(rows_at(&*engine, 3, B).await.unwrap(), [vec![int(1), null()]]);
        engine.flush().await.unwrap();
    }
}

/// RENAME a TO b, b TO a in one step: rows stay with their table id.
pub async fn rename_swap(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let (a, b) = (accounts(1, "a"), accounts(2, "b"));
    for (def, v) in [(&a, 1), (&b, 2)] {
        w.stage(create(def, 1)).await.unwrap();
        w.stage(inserts(def, 1, &[row(1, v)])).await.unwrap();
    }
    let swap = vec![(A, b.name.clone()), (B, a.name.clone())];
    w.stage(schema(2, SchemaChange::Rename(swap))).await.unwrap();
    let renamed = altered(&a, |d| d.name = b.name.clone());
    w.stage(changes(&renamed, &[(2, RowOp::Delete, row(1, 1)), (2, RowOp::Insert, row(1, 3))])).await.unwrap();
    publish(&mut *w, 2).await;
    for _ in 0..2 {
        let id = |seq: u64, n: &str| {
            engine.catalog(CommitSeq(seq)).unwrap().visible(&TableName::new("bank", n)).expect("visible").def.id
        };
        assert_eq!((id(1, "a"), id(1, "b"), id(2, "a"), id(2, "b")), (A, B, B, A));
        assert_eq!(rows_at(&*engine, 2, A).await.unwrap(), [row(1, 3)]);
        assert_eq!(rows_at(&*engine, 2, B).await.unwrap(), [row(1, 2)]);
        engine.flush().await.unwrap();
    }
}

/// Old rows read an added column's initial value, in memory and from files.
pub async fn added_columns_have_their_initial_value(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let v1 = accounts(1, "a");
    let v2 = altered(&v1, |d| {
        add_column(d, "city", UpstreamType::new(TypeKind::VarChar).with_length(9), text("Ulm"));
        add_column(d, "opt", UpstreamType::new(TypeKind::BigInt), null());
        d.columns.swap(0, 3);
    });
    w.stage(create(&v1, 1)).await.unwrap();
    w.stage(inserts(&v1, 1, &[row(1, 1)])).await.unwrap();
    publish(&mut *w, 1).await;
    engine.flush().await.unwrap();
    w.stage(inserts(&v1, 2, &[row(2, 2)])).await.unwrap();
    w.stage(alter(&v2, 3)).await.unwrap();
    w.stage(inserts(&v2, 3, &[vec![text("Bonn"), int(3), null(), int(3), int(7)]])).await.unwrap();
    // A row of the old version dies by its key, with a before image of the new version.
    let before = vec![text("Ulm"), int(2), null(), int(2), null()];
    w.stage(changes(&v2, &[(4, RowOp::Delete, before)])).await.unwrap();
    publish(&mut *w, 4).await;
    for _ in 0..2 {
        assert_eq!(rows_at(&*engine, 2, A).await.unwrap(), [row(1, 1), row(2, 2)]);
        let wanted =
            vec![vec![text("Ulm"), int(1), null(), int(1), null()], vec![text("Bonn"), int(3), null(), int(3), int(7)]];
        assert_eq!(rows_at(&*engine, 4, A).await.unwrap(), sorted(wanted));
        engine.flush().await.unwrap();
    }
}

/// A dropped column stays readable at older seqs; one of the same name added later is another column.
pub async fn dropped_columns_stay_in_old_snapshots(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let v1 = accounts(1, "a");
    let v2 = altered(&v1, |d| drop_column(d, "balance"));
    let v3 = altered(&v2, |d| add_column(d, "balance", UpstreamType::new(TypeKind::Int), int(5)));
    w.stage(create(&v1, 1)).await.unwrap();
    w.stage(inserts(&v1, 1, &[row(1, 111)])).await.unwrap();
    w.stage(alter(&v2, 2)).await.unwrap();
    w.stage(inserts(&v2, 2, &[vec![int(2), text("x")]])).await.unwrap();
    w.stage(alter(&v3, 3)).await.unwrap();
    publish(&mut *w, 3).await;
    for _ in 0..2 {
        assert_eq!(rows_at(&*engine, 1, A).await.unwrap(), [row(1, 111)]);
        assert_eq!(rows_at(&*engine, 2, A).await.unwrap(), [vec![int(1), null()], vec![int(2), text("x")]]);
        let wanted = [vec![int(1), null(), int(5)], vec![int(2), text("x"), int(5)]];
        assert_eq!(rows_at(&*engine, 3, A).await.unwrap(), wanted);
        engine.flush().await.unwrap();
    }
}

fn retype(def: &mut TableDef, name: &str, ty: UpstreamType) {
    let column = def.columns.iter_mut().find(|c| c.name == name).expect("column exists");
    column.ty = ty;
}

/// INT becomes BIGINT: old rows read as BIGINT, old snapshots still as INT.
pub async fn columns_widen(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let v1 = accounts(1, "a");
    let v2 = altered(&v1, |d| retype(d, "balance", UpstreamType::decimal(20, 2)));
    w.stage(create(&v1, 1)).await.unwrap();
    w.stage(inserts(&v1, 1, &[row(1, -7)])).await.unwrap();
    w.stage(alter(&v2, 2)).await.unwrap();
    let big = || CellValue::Decimal("99999999999999999999".into());
    w.stage(inserts(&v2, 2, &[vec![int(2), big(), null()]])).await.unwrap();
    publish(&mut *w, 2).await;
    for _ in 0..2 {
        assert_eq!(rows_at(&*engine, 1, A).await.unwrap(), [row(1, -7)]);
        let wanted = [vec![int(1), CellValue::Decimal("-700".into()), null()], vec![int(2), big(), null()]];
        assert_eq!(rows_at(&*engine, 2, A).await.unwrap(), wanted);
        engine.flush().await.unwrap();
    }
}

/// A key column widens: rows written before still die by the wider key, and their keys are still taken.
pub async fn keys_widen_and_still_match(make: &dyn StoreFactory) {
    let mut store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let v1 = accounts(1, "a");
    let v2 = altered(&v1, |d| retype(d, "id", UpstreamType::new(TypeKind::BigInt)));
    w.stage(create(&v1, 1)).await.unwrap();
    w.stage(inserts(&v1, 1, &[row(-1, 1), row(2, 2), row(3, 3)])).await.unwrap();
    publish(&mut *w, 1).await;
    engine.flush().await.unwrap();
    w.stage(inserts(&v1, 2, &[row(4, 4), row(5, 5)])).await.unwrap();
    w.stage(alter(&v2, 3)).await.unwrap();
    publish(&mut *w, 3).await;
    let ops = [(4, RowOp::Delete, row(-1, 1)), (4, RowOp::Delete, row(4, 4)), (4, RowOp::Insert, row(1 << 40, 6))];
    w.stage(changes(&v2, &ops)).await.unwrap();
    for id in [2, 5] {
        let taken = w.stage(inserts(&v2, 4, &[row(id, 9)])).await;
        assert!(matches!(taken, Err(Error::Diverged { .. })), "key {id} is taken");
    }
    publish(&mut *w, 4).await;
    assert_eq!(rows_at(&*engine, 4, A).await.unwrap(), sorted(vec![row(2, 2), row(3, 3), row(5, 5), row(1 << 40, 6)]));
    engine.flush().await.unwrap();
    drop((w, engine));
    store.crash().await;
    let engine = store.engine();
    let mut w = engine.open_writer(WriterEpoch(2)).await.unwrap();
    w.stage(changes(&v2, &[(5, RowOp::Delete, row(2, 2)), (5, RowOp::Delete, row(5, 5))])).await.unwrap();
    publish(&mut *w, 5).await;
    assert_eq!(rows_at(&*engine, 5, A).await.unwrap(), sorted(vec![row(3, 3), row(1 << 40, 6)]));
}

/// A new primary key identifies the rows that were there before.
pub async fn new_key_columns_identify_old_rows(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let v1 = accounts(1, "a");
    let v2 = altered(&v1, |d| d.key = vec![ColumnId(2)]);
    let v3 = altered(&v2, |d| d.key = Vec::new());
    w.stage(create(&v1, 1)).await.unwrap();
    w.stage(inserts(&v1, 1, &[row(1, 11), row(2, 22)])).await.unwrap();
    publish(&mut *w, 1).await;
    engine.flush().await.unwrap();
    w.stage(inserts(&v1, 2, &[row(3, 33), row(4, 44)])).await.unwrap();
    publish(&mut *w, 2).await;
    w.stage(alter(&v2, 3)).await.unwrap();
    assert!(matches!(w.stage(inserts(&v2, 3, &[row(9, 22)])).await, Err(Error::Diverged { .. })));
    w.stage(changes(&v2, &[(3, RowOp::Delete, row(1, 11)), (3, RowOp::Delete, row(3, 33))])).await.unwrap();
    w.stage(inserts(&v2, 3, &[row(2, 55)])).await.unwrap();
    publish(&mut *w, 3).await;
    assert_eq!(rows_at(&*engine, 3, A).await.unwrap(), sorted(vec![row(2, 22), row(4, 44), row(2, 55)]));
    engine.flush().await.unwrap();
    w.stage(alter(&v3, 4)).await.unwrap();
    w.stage(changes(&v3, &[(4, RowOp::Insert, row(4, 44)), (4, RowOp::Delete, row(2, 22))])).await.unwrap();
    publish(&mut *w, 4).await;
    assert_eq!(rows_at(&*engine, 4, A).await.unwrap(), sorted(vec![row(4, 44), row(4, 44), row(2, 55)]));
}

/// Without a key, before images of the new version match rows of the old one.
pub async fn keyless_rows_match_after_an_added_column(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let v1 = events(1, "e");
    let v2 = altered(&v1, |d| add_column(d, "extra", UpstreamType::new(TypeKind::Int), int(7)));
    let v3 = altered(&v2, |d| drop_column(d, "n"));
    let e = |n: i64| vec![int(n), text("t")];
    w.stage(create(&v1, 1)).await.unwrap();
    w.stage(inserts(&v1, 1, &[e(1), e(1), e(2)])).await.unwrap();
    publish(&mut *w, 1).await;
    engine.flush().await.unwrap();
    w.stage(inserts(&v1, 2, &[e(3), e(3)])).await.unwrap();
    w.stage(alter(&v2, 3)).await.unwrap();
    let e2 = |n: i64, x: i64| vec![int(n), text("t"), int(x)];
    w.stage(changes(&v2, &[(3, RowOp::Delete, e2(1, 7)), (3, RowOp::Delete, e2(3, 7))])).await.unwrap();
    publish(&mut *w, 3).await;
    let missing = w.stage(changes(&v2, &[(4, RowOp::Delete, e2(2, 8))])).await;
    assert!(matches!(missing, Err(Error::Diverged { .. })), "no row has extra = 8");
    assert_eq!(rows_at(&*engine, 3, A).await.unwrap(), sorted(vec![e2(1, 7), e2(2, 7), e2(3, 7)]));
    engine.flush().await.unwrap();
    w.stage(alter(&v3, 4)).await.unwrap();
    let e3 = || vec![text("t"), int(7)];
    w.stage(changes(&v3, &[(4, RowOp::Delete, e3()), (4, RowOp::Delete, e3())])).await.unwrap();
    publish(&mut *w, 4).await;
    assert_eq!(rows_at(&*engine, 4, A).await.unwrap(), [e3()]);
}

/// A type change that would change stored values stops the table instead of guessing.
pub async fn lossy_alter_diverges(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let v1 = accounts(1, "a");
    w.stage(create(&v1, 1)).await.unwrap();
    w.stage(inserts(&v1, 1, &[row(1, 300)])).await.unwrap();
    let v2 = altered(&v1, |d| retype(d, "balance", UpstreamType::new(TypeKind::TinyInt)));
    assert!(matches!(w.stage(alter(&v2, 2)).await, Err(Error::Diverged { .. })));
    publish(&mut *w, 2).await;
    assert_eq!(rows_at(&*engine, 2, A).await.unwrap(), [row(1, 300)]);
    assert_eq!(engine.catalog(CommitSeq(2)).unwrap().table(A).unwrap().def.version, 1);
}

/// Catalog changes above durable are gone after a crash, those at or below are there.
pub async fn schema_survives_a_crash(make: &dyn StoreFactory) {
    let mut store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let v1 = accounts(1, "a");
    let v2 = altered(&v1, |d| add_column(d, "x", UpstreamType::new(TypeKind::Int), int(1)));
    let v3 = altered(&v2, |d| add_column(d, "y", UpstreamType::new(TypeKind::Int), int(2)));
    w.stage(create(&v1, 1)).await.unwrap();
    w.stage(inserts(&v1, 1, &[row(1, 1)])).await.unwrap();
    w.stage(alter(&v2, 2)).await.unwrap();
    publish(&mut *w, 2).await;
    engine.flush().await.unwrap();
    w.stage(alter(&v3, 3)).await.unwrap();
    publish(&mut *w, 3).await;
    drop((w, engine));
    store.crash().await;
    let engine = store.engine();
    assert_eq!(engine.catalog(CommitSeq(1)).unwrap().table(A).unwrap().def.version, 1);
    assert_eq!(engine.catalog(CommitSeq(2)).unwrap().table(A).unwrap().def.version, 2);
    let mut w = engine.open_writer(WriterEpoch(2)).await.unwrap();
    w.stage(alter(&v3, 3)).await.unwrap();
    publish(&mut *w, 3).await;
    assert_eq!(rows_at(&*engine, 3, A).await.unwrap(), [vec![int(1), int(1), null(), int(1), int(2)]]);
    assert_eq!(rows_at(&*engine, 1, A).await.unwrap(), [row(1, 1)]);
}

/// An ALTER that was staged but never published leaves version, rows and identity as they were.
pub async fn discarded_alter_leaves_the_old_version(make: &dyn StoreFactory) {
    let store = make.open().await;
    let engine = store.engine();
    let mut w = writer(&*engine).await;
    let v1 = accounts(1, "a");
    let v2 = altered(&v1, |d| d.key = vec![ColumnId(2)]);
    w.stage(create(&v1, 1)).await.unwrap();
    w.stage(inserts(&v1, 1, &[row(1, 11)])).await.unwrap();
    publish(&mut *w, 1).await;
    engine.flush().await.unwrap();
    w.stage(inserts(&v1, 2, &[row(2, 22)])).await.unwrap();
    publish(&mut *w, 2).await;
    w.stage(alter(&v2, 3)).await.unwrap();
    w.stage(changes(&v2, &[(3, RowOp::Delete, row(9, 11)), (3, RowOp::Insert, row(1, 5))])).await.unwrap();
    let mut w = engine.open_writer(WriterEpoch(2)).await.unwrap();
    let ops = [(3, RowOp::Delete, row(1, 0)), (3, RowOp::Delete, row(2, 0)), (3, RowOp::Insert, row(7, 22))];
    w.stage(changes(&v1, &ops)).await.unwrap();
    publish(&mut *w, 3).await;
    assert_eq!(rows_at(&*engine, 3, A).await.unwrap(), [row(7, 22)]);
    assert_eq!(engine.catalog(CommitSeq(3)).unwrap().table(A).unwrap().def.version, 1);
}
