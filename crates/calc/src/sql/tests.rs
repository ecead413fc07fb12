//! The SQL room over MemStore. `tests/answers.txt` is what a real MariaDB 10.11 answers (`tests/answers.sh`).

mod grants;
mod look_ups;
mod mended;
mod outlines;
mod travel;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::Mutex;
use tidelake_access::Caller;
use tidelake_core::ports::{Freshness, Latch, SnapshotLease, StoreEngine, StoreWriter};
use tidelake_core::testing::MemStore;
use tidelake_core::testing::tables::{changes, create, create_copying, inserts, int, null, position, schema, text};
use tidelake_core::types::arrow::upstream_type;
use tidelake_core::types::temporal::{day_number, join_micros};
use tidelake_core::types::text::{ServerFlavor, TextColumn};
use tidelake_core::{
    CellValue, ColumnDef, CommitSeq, Error, RowOp, SchemaChange, SourcePosition, TableDef, TableName, TableState,
    TypeKind, UpstreamType, WriterEpoch,
};

use super::{SqlEngine, SqlOptions};
use crate::session::{SessionInfo, SqlError, SqlOutcome, SqlRows, SqlService, SqlSession};

/// A latch without clock: leases lapse when the test says so.
struct TestLatch {
    engine: Arc<MemStore>,
    state: Mutex<LatchState>,
}

#[derive(Default)]
struct LatchState {
    next: u64,
    lapsed: bool,
    asked: Vec<Freshness>,
    latest_fails: bool,
}

#[async_trait]
impl Latch for TestLatch {
    async fn acquire(&self, freshness: Freshness, _: Duration, wait: Duration) -> tidelake_core::Result<SnapshotLease> {
        let mut state = self.state.lock();
        if state.latest_fails && freshness == Freshness::Latest {
            return Err(Error::Timeout(format!("waited {wait:?} for the upstream's latest commit")));
        }
        state.asked.push(freshness);
        state.next += 1;
        Ok(SnapshotLease::new(state.next, self.engine.published_seq(), Arc::new(())))
    }

    fn renew(&self, lease: &SnapshotLease, _: Duration) -> tidelake_core::Result<()> {
        self.check(lease)
    }

    fn check(&self, lease: &SnapshotLease) -> tidelake_core::Result<()> {
        if self.state.lock().lapsed {
            return Err(Error::SnapshotExpired(format!("lease {} lapsed", lease.id())));
        }
        Ok(())
    }

    fn grant_writer(&self) -> tidelake_core::Result<WriterEpoch> {
        Ok(WriterEpoch(1))
    }

    fn horizon(&self) -> CommitSeq {
        CommitSeq::ZERO
    }
}

struct Shop {
    latch: Arc<TestLatch>,
    writer: Box<dyn StoreWriter>,
    sql: Arc<SqlEngine>,
}

fn ty(kind: TypeKind) -> UpstreamType {
    UpstreamType::new(kind)
}

fn ci(kind: TypeKind) -> UpstreamType {
    ty(kind).with_length(50).with_charset("utf8mb4", "utf8mb4_general_ci")
}

fn items() -> TableDef {
    let columns = vec![
        ColumnDef::new(1, "Id", ty(TypeKind::Int)),
        ColumnDef::new(2, "name", ci(TypeKind::VarChar)),
        ColumnDef::new(3, "price", UpstreamType::decimal(10, 2)).nullable(),
        ColumnDef::new(4, "qty", ty(TypeKind::Int).unsigned()).nullable(),
        ColumnDef::new(5, "kind", ci(TypeKind::Enum).with_labels(["tool", "book", "food"])),
        ColumnDef::new(6, "tags", ci(TypeKind::Set).with_labels(["new", "sale", "old"])).nullable(),
        ColumnDef::new(7, "born", ty(TypeKind::Date)),
        ColumnDef::new(8, "made", ty(TypeKind::DateTime).with_fsp(3)).nullable(),
        ColumnDef::new(9, "seen", ty(TypeKind::Timestamp)),
        ColumnDef::new(10, "dur", ty(TypeKind::Time)).nullable(),
        ColumnDef::new(11, "yr", ty(TypeKind::Year)),
        ColumnDef::new(12, "weight", ty(TypeKind::Double)).nullable(),
        ColumnDef::new(13, "bin", ty(TypeKind::VarChar).with_length(20).with_charset("utf8mb4", "utf8mb4_bin"))
            .nullable(),
        ColumnDef::new(14, "flag", ty(TypeKind::TinyInt).with_length(1)),
        ColumnDef::new(15, "doc", ci(TypeKind::LongText)).nullable(),
    ];
    let mut def = TableDef::new(TableName::new("shop", "items"), columns, &["Id"]);
    def.id = tidelake_core::TableId(1);
    def
}

fn orders() -> TableDef {
    let columns = vec![
        ColumnDef::new(1, "id", ty(TypeKind::BigInt)),
        ColumnDef::new(2, "item_id", ty(TypeKind::Int)),
        ColumnDef::new(3, "n", ty(TypeKind::Int)),
        ColumnDef::new(4, "who", ci(TypeKind::VarChar)),
    ];
    let mut def = TableDef::new(TableName::new("shop", "orders"), columns, &["id"]);
    def.id = tidelake_core::TableId(2);
    def
}

fn dec(digits: &str) -> CellValue {
    CellValue::Decimal(digits.to_owned())
}

fn uint(n: u64) -> CellValue {
    CellValue::UInt(n)
}

fn day(y: u16, m: u8, d: u8) -> CellValue {
    int(i64::from(day_number(y, m, d)))
}

fn at(y: u16, m: u8, d: u8, ms: i64) -> CellValue {
    int(join_micros(day_number(y, m, d), ms * 1000))
}

const fn clock(h: i64, m: i64, s: i64, ms: i64) -> i64 {
    ((h * 60 + m) * 60 + s) * 1000 + ms
}

fn item_rows() -> Vec<Vec<CellValue>> {
    let f = CellValue::Float;
    vec![
        vec![
            int(1),
            text("Hammer"),
            dec("1250"),
            uint(10),
            uint(1),
            uint(1),
            day(2024, 2, 29),
            at(2024, 2, 29, clock(10, 11, 12, 345)),
            at(2024, 1, 1, 0),
            int(clock(10, 0, 0, 0) * 1000),
            uint(2024),
            f(1.5),
            text("a"),
            int(1),
            text(r#"{"a": [1, 2], "b": "x"}"#),
        ],
        vec![
            int(2),
            text("hammer "),
            dec("300"),
            null(),
            uint(2),
            null(),
            day(0, 0, 0),
            null(),
            at(2024, 6, 30, clock(23, 59, 59, 0)),
            int(-clock(1, 30, 0, 0) * 1000),
            uint(1999),
            null(),
            text("A"),
            int(0),
            null(),
        ],
        vec![
            int(3),
            text("Äpfel"),
            dec("99"),
            uint(200),
            uint(3),
            uint(3),
            day(1999, 12, 31),
            at(1999, 12, 31, clock(23, 59, 59, 999)),
            at(2024, 1, 2, clock(3, 4, 5, 0)),
            null(),
            uint(2000),
            f(0.1),
            text("b"),
            int(1),
            text("[]"),
        ],
        vec![
            int(4),
            text("apfel"),
            dec("101"),
            uint(3),
            uint(3),
            uint(0),
            day(2024, 3, 1),
            at(2024, 3, 1, 0),
            at(2024, 1, 1, clock(12, 0, 0, 0)),
            int(clock(100, 0, 1, 0) * 1000),
            uint(2024),
            f(1e20),
            null(),
            int(0),
            text("7"),
        ],
        vec![
            int(5),
            text("zange"),
            null(),
            uint(0),
            uint(1),
            uint(4),
            day(2023, 5, 6),
            at(2023, 5, 6, clock(7, 8, 9, 10)),
            at(2023, 5, 6, clock(7, 8, 9, 0)),
            int(0),
            uint(2023),
            f(-2.25),
            text("a "),
            int(1),
            null(),
        ],
    ]
}

async fn shop() -> Shop {
    let engine = Arc::new(MemStore::new());
    let mut writer = engine.open_writer(WriterEpoch(1)).await.unwrap();
    let order = |id, item, n, who| vec![int(id), int(item), int(n), text(who)];
    let orders_rows = [
        order(1, 1, 2, "ann"),
        order(2, 1, 3, "Bob"),
        order(3, 3, -1, "ANN"),
        order(4, 9, 5, "eve"),
        order(5, 4, 7, "bob"),
    ];
    for step in [
        create(&items(), 1),
        create(&orders(), 2),
        inserts(&items(), 3, &item_rows()),
        inserts(&orders(), 3, &orders_rows),
    ] {
        writer.stage(step).await.unwrap();
    }
    writer.publish(CommitSeq(3), position(3)).await.unwrap();
    let latch = Arc::new(TestLatch { engine: Arc::clone(&engine), state: Mutex::default() });
    let mut options = SqlOptions::new(engine.clone(), latch.clone(), ServerFlavor::MariaDb);
    options.target_partitions = 2;
    // On the test's one thread, rows without an order come in one that does not change.
    options.threads = 0;
    let sql = SqlEngine::new(options).unwrap();
    Shop { latch, writer, sql }
}

impl Shop {
    async fn session(&self) -> Box<dyn SqlSession> {
        let info = SessionInfo {
            caller: Caller::trusted("root"),
            remote: None,
            database: Some("shop".into()),
            connection_id: 7,
        };
        self.sql.open(info).await.unwrap()
    }
}

fn cell(batch: &RecordBatch, rows: &SqlRows, column: usize, row: usize) -> String {
    let field = batch.schema().field(column).clone();
    let column = TextColumn::new(upstream_type(&field).as_ref(), batch.column(column), &rows.text).unwrap();
    let mut bytes = Vec::new();
    if !column.write(row, &mut bytes).unwrap() {
        return "NULL".to_owned();
    }
    String::from_utf8(bytes).unwrap().replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n")
}

async fn lines(outcome: SqlOutcome) -> Result<Vec<String>, SqlError> {
    let SqlOutcome::Rows(mut rows) = outcome else { return Ok(vec![]) };
    let names: Vec<String> = rows.schema.fields().iter().map(|f| f.name().clone()).collect();
    let mut batches = Vec::new();
    while let Some(batch) = rows.rows.next().await {
        batches.push(batch?);
    }
    let mut all = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = (0..batch.num_columns()).map(|c| cell(batch, &rows, c, row)).collect();
            all.push(cells.join("\t"));
        }
    }
    // The client prints no header for an empty result.
    if !all.is_empty() {
        all.insert(0, names.join("\t"));
    }
    Ok(all)
}

async fn ask(session: &mut dyn SqlSession, sql: &str) -> Result<Vec<String>, SqlError> {
    lines(session.execute(sql).await?).await
}

async fn code(session: &mut dyn SqlSession, sql: &str) -> u16 {
    match ask(session, sql).await {
        Ok(rows) => panic!("{sql} gave {rows:?}"),
        Err(e) => e.code,
    }
}

#[tokio::test]
async fn answers_are_mariadbs() {
    let shop = shop().await;
    let mut session = shop.session().await;
    let mut wrong = Vec::new();
    for case in include_str!("tests/answers.txt").split("====\n").filter(|c| !c.trim().is_empty()) {
        let (query, answer) = case.split_once("\n----\n").expect("query, line, answer");
        let got = match ask(&mut *session, query).await {
            Ok(rows) => rows.join("\n"),
            Err(e) => e.to_string(),
        };
        let known = include_str!("tests/known_differences.sql").lines().any(|line| line == query.trim());
        if got != answer.trim_end_matches('\n') && !known {
            wrong.push(format!("{query}\n-- expected\n{answer}-- got\n{got}\n"));
        }
    }
    assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn errors_have_mysqls_numbers() {
    let shop = shop().await;
    let mut s = shop.session().await;
    for (sql, expected) in [
        ("SELECT * FROM nothing", 1146),
        ("SELECT * FROM nowhere.items", 1049),
        ("SELECT * FROM Items", 1146),
        ("SELECT nope FROM items", 1054),
        ("SELECT id FROM items a JOIN items b ON a.id = b.id", 1052),
        ("SELEC 1", 1064),
        ("SELECT FROM", 1064),
        ("", 1065),
        ("SELECT nofunction(1)", 1305),
        ("SELECT __eq(1, 1)", 1305),
        ("USE nowhere", 1049),
        ("INSERT INTO items VALUES (1)", 1290),
        ("UPDATE items SET id = 1", 1290),
        ("DELETE FROM items", 1290),
        ("REPLACE INTO items VALUES (1)", 1290),
        ("CREATE TABLE t (a INT)", 1290),
        ("DROP TABLE items", 1290),
        ("TRUNCATE items", 1290),
        ("COPY items TO 'x'", 1290),
        ("SELECT 9223372036854775807 + 1", 1690),
        ("SELECT id FROM items WHERE born = 'hello'", 1525),
        ("SELECT @@no_such_variable", 1193),
        ("SET no_such_variable = 1", 1193),
        ("SET tidelake_freshness = 'soon'", 1231),
        ("SELECT 1; SELECT 2", 1064),
        ("SHOW CREATE TABLE nothing", 1146),
        ("SELECT left('a')", 1582),
        ("KILL 3", 1094),
        ("KILL USER root", 1235),
    ] {
        assert_eq!(code(&mut *s, sql).await, expected, "{sql}");
    }
    let info =
        SessionInfo { caller: Caller::trusted("x"), remote: None, database: Some("nowhere".into()), connection_id: 1 };
    assert_eq!(shop.sql.open(info).await.err().unwrap().code, 1049);
    let info = SessionInfo { caller: Caller::trusted("x"), remote: None, database: None, connection_id: 1 };
    let mut bare = shop.sql.open(info).await.unwrap();
    assert_eq!(code(&mut *bare, "SELECT * FROM items").await, 1046);
}

#[tokio::test]
async fn clients_questions_at_connect() {
    let shop = shop().await;
    let mut s = shop.session().await;
    for (sql, expected) in [
        ("select @@version_comment limit 1", "@@version_comment|Tidelake"),
        ("/* ApplicationName=DBeaver */ SELECT DATABASE()", "DATABASE()|shop"),
        (
            "SELECT @@session.auto_increment_increment AS auto_increment_increment, @@character_set_client AS c",
            "auto_increment_increment\tc|1\tutf8mb4",
        ),
        (
            "SHOW VARIABLES LIKE 'lower_case_%'",
            "Variable_name\tValue|lower_case_file_system\tOFF|lower_case_table_names\t0",
        ),
        (
            "SHOW SESSION VARIABLES WHERE Variable_name = 'tx_isolation'",
            "Variable_name\tValue|tx_isolation\tREPEATABLE-READ",
        ),
        ("SHOW DATABASES", "Database|information_schema|shop"),
        ("SHOW TABLES", "Tables_in_shop|items|orders"),
        ("SHOW FULL TABLES FROM shop LIKE 'o%'", "Tables_in_shop (o%)\tTable_type|orders\tBASE TABLE"),
        ("SHOW TABLES WHERE `Tables_in_shop` = 'items'", "Tables_in_shop|items"),
        ("SHOW WARNINGS", ""),
        ("SET NAMES utf8mb4 COLLATE utf8mb4_general_ci", ""),
        ("SET autocommit=1, @@session.sql_mode = 'ANSI', @x := 1 + 2", ""),
        ("SELECT @x, @y, @@sql_mode, @@autocommit", "@x\t@y\t@@sql_mode\t@@autocommit|3\tNULL\tANSI\t1"),
        ("/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='' */", ""),
        ("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", ""),
        ("SELECT USER(), CONNECTION_ID()", "USER()\tCONNECTION_ID()|root@localhost\t7"),
        (
            "SHOW ENGINES",
            "Engine\tSupport\tComment\tTransactions\tXA\tSavepoints|InnoDB\tDEFAULT\tColumnar replica of the upstream's tables\tYES\tNO\tNO",
        ),
        (
            "DESCRIBE orders",
            "Field\tType\tNull\tKey\tDefault\tExtra|id\tbigint(20)\tNO\tPRI\tNULL\t|item_id\tint(11)\tNO\t\tNULL\t\
             |n\tint(11)\tNO\t\tNULL\t|who\tvarchar(50)\tNO\t\tNULL\t",
        ),
        (
            "select table_name, TABLE_ROWS from information_schema.tables where TABLE_SCHEMA = 'shop' order by 1",
            "table_name\tTABLE_ROWS|items\t5|orders\t5",
        ),
        (
            "SELECT COLUMN_NAME, COLUMN_TYPE FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'items' AND ORDINAL_POSITION = 5",
            "COLUMN_NAME\tCOLUMN_TYPE|kind\tenum('tool','book','food')",
        ),
        (
            "SELECT TABLE_NAME, STATE FROM information_schema.tidelake_tables",
            "TABLE_NAME\tSTATE|items\tlive|orders\tlive",
        ),
    ] {
        assert_eq!(ask(&mut *s, sql).await.unwrap().join("|"), expected, "{sql}");
    }
    let create = ask(&mut *s, "SHOW CREATE TABLE orders").await.unwrap();
    assert!(create[1].starts_with("orders\tCREATE TABLE `orders` ("), "{create:?}");
    let plan = ask(&mut *s, "EXPLAIN SELECT n FROM orders WHERE id = 3").await.unwrap().join("\n");
    assert!(plan.contains("ReplicaScan: shop.orders at seq 3") && plan.contains("pruning predicates=1"), "{plan}");
    let counted = ask(&mut *s, "EXPLAIN SELECT count(*) FROM orders").await.unwrap().join("\n");
    assert!(!counted.contains("ReplicaScan"), "count(*) comes from the engine's exact row count: {counted}");
}

#[tokio::test]
async fn one_statement_and_one_transaction_read_one_snapshot() {
    let mut shop = shop().await;
    let mut s = shop.session().await;
    let both = "SELECT (SELECT COUNT(*) FROM orders) AS o, (SELECT COUNT(*) FROM items) AS i";
    ask(&mut *s, "START TRANSACTION READ ONLY").await.unwrap();
    assert!(s.status().in_transaction);
    assert_eq!(ask(&mut *s, both).await.unwrap()[1], "5\t5");
    let streaming = s.execute("SELECT id FROM orders").await.unwrap();
    let steps = [
        inserts(&orders(), 4, &[vec![int(6), int(1), int(1), text("zoe")]]),
        changes(&items(), &[(4, RowOp::Delete, item_rows()[0].clone())]),
    ];
    for step in steps {
        shop.writer.stage(step).await.unwrap();
    }
    shop.writer.publish(CommitSeq(4), position(4)).await.unwrap();
    assert_eq!(lines(streaming).await.unwrap().len(), 6, "a running result keeps its snapshot");
    assert_eq!(ask(&mut *s, both).await.unwrap()[1], "5\t5");
    assert_eq!(ask(&mut *s, "COMMIT").await.unwrap().len(), 0);
    assert_eq!(ask(&mut *s, both).await.unwrap()[1], "6\t4");
}

#[tokio::test]
async fn freshness_is_asked_and_lapsed_leases_are_errors() {
    let shop = shop().await;
    let mut s = shop.session().await;
    ask(&mut *s, "SELECT 1").await.unwrap();
    ask(&mut *s, "SET tidelake_freshness = 'latest', tidelake_freshness_timeout = 5").await.unwrap();
    ask(&mut *s, "SELECT 1").await.unwrap();
    let asked = shop.latch.state.lock().asked.clone();
    assert_eq!(asked, [Freshness::Any, Freshness::Latest]);
    ask(&mut *s, "SET STATEMENT tidelake_freshness = 'at_least:0-1-55' FOR SELECT 1").await.unwrap();
    let asked = shop.latch.state.lock().asked.last().cloned();
    assert_eq!(asked, Some(Freshness::AtLeast(SourcePosition::named("0-1-55"))));
    assert_eq!(ask(&mut *s, "SET tidelake_freshness = 'at_least:'").await.unwrap_err().code, 1231);
    shop.latch.state.lock().latest_fails = true;
    let late = ask(&mut *s, "SELECT 1").await.unwrap_err();
    assert_eq!((late.code, late.message.contains("waited 5s")), (3024, true), "{late}");
    ask(&mut *s, "SET tidelake_freshness = 'any'").await.unwrap();
    ask(&mut *s, "BEGIN").await.unwrap();
    shop.latch.state.lock().lapsed = true;
    let expired = ask(&mut *s, "SELECT * FROM items").await.unwrap_err();
    assert!(expired.message.contains("expired"), "{expired}");
}

#[tokio::test]
async fn copying_and_stopped_tables_say_so() {
    let mut shop = shop().await;
    let mut def = orders();
    def.id = tidelake_core::TableId(3);
    def.name = TableName::new("shop", "fresh");
    let stopped = TableState::Stopped { reason: "row did not fit".into(), at: position(5) };
    let stop = SchemaChange::SetState { table: orders().id, state: stopped };
    for step in [create_copying(&def, 5, 1), schema(5, stop)] {
        shop.writer.stage(step).await.unwrap();
    }
    shop.writer.publish(CommitSeq(5), position(5)).await.unwrap();
    let mut s = shop.session().await;
    let copying = ask(&mut *s, "SELECT * FROM fresh").await.unwrap_err();
    assert!(copying.message.contains("still being copied"), "{copying}");
    let stopped = ask(&mut *s, "SELECT * FROM orders").await.unwrap_err();
    assert!(stopped.message.contains("row did not fit"), "{stopped}");
}

#[tokio::test]
async fn prepared_statements_take_values() {
    let shop = shop().await;
    let mut s = shop.session().await;
    let p = s.prepare("SELECT id, name FROM items WHERE id > ? AND name <> ? ORDER BY id LIMIT ?").await.unwrap();
    assert_eq!((p.parameters, p.schema.fields().len()), (3, 2));
    assert_eq!(p.schema.field(1).name(), "name");
    let got = lines(s.execute_prepared(p.id, &[int(1), text("HAMMER"), int(2)]).await.unwrap()).await.unwrap();
    assert_eq!(got, ["id\tname", "3\tÄpfel", "4\tapfel"]);
    let got = lines(s.execute_prepared(p.id, &[int(4), null(), int(2)]).await.unwrap()).await.unwrap();
    assert!(got.is_empty());
    s.close_prepared(p.id);
    assert_eq!(s.execute_prepared(p.id, &[]).await.err().unwrap().code, 1243);
    assert_eq!(s.prepare("SELECT * FROM nothing WHERE a = ?").await.unwrap_err().code, 1146);
}

#[tokio::test]
async fn parameters_are_best_sent_as_what_they_stand_beside() {
    let shop = shop().await;
    let mut s = shop.session().await;
    let mut types = async |sql: &str| {
        let prepared = s.prepare(sql).await.unwrap();
        prepared.parameter_types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let sql = "SELECT * FROM items WHERE id > ? AND name LIKE ? AND id IN (1, ?, ?) AND id BETWEEN ? AND ? LIMIT ?, ?";
    assert_eq!(types(sql).await, "Int64 Utf8 Int64 Int64 Int64 Int64 Int64 Int64");
    assert_eq!(
        types("SELECT ? FROM items i WHERE ? <= i.id AND i.name NOT IN (?) OFFSET ?").await,
        "Utf8 Int64 Utf8 Int64"
    );
    assert_eq!(types("SELECT * FROM items WHERE seen = ? AND CONCAT(name, ?) = ?").await, "Timestamp(ms) Utf8 Utf8");
    assert_eq!(types("SELECT ?").await, "Utf8");
}

#[tokio::test]
async fn time_zone_moves_timestamps_only() {
    let shop = shop().await;
    let mut s = shop.session().await;
    ask(&mut *s, "SET time_zone = '+02:00'").await.unwrap();
    let got =
        ask(&mut *s, "SELECT seen, made, HOUR(seen) FROM items WHERE seen = '2024-01-02 05:04:05'").await.unwrap();
    assert_eq!(got[1], "2024-01-02 05:04:05\t1999-12-31 23:59:59.999\t5");
}
