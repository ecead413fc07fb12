//! What SQL over the replica costs beside DataFusion over one plain Parquet copy of the same rows: compacted, and with a
//! tenth of the rows updated or deleted since.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::take_record_batch;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tidelake_core::change::RowOp;
use tidelake_core::types::{TypeKind, UpstreamType};
use tidelake_core::{ColumnDef, ColumnId, TableDef, TableId, TableName};

use crate::Scans;
use crate::answers::{ensure_same, rows_of};
use crate::lab::Lab;
use crate::plain::Plain;

const STEP: u64 = 8192;
const LOOKUPS: u64 = 500;
const DATABASE: &str = "bench";

/// What is asked. The first two give all rows.
const QUESTIONS: [(&str, &str); 12] = [
    ("all columns, all rows", "SELECT * FROM orders"),
    ("four columns, all rows", "SELECT id, customer, amount, day FROM orders"),
    ("sum of one integer", "SELECT SUM(quantity) FROM orders"),
    ("sums of three columns", "SELECT SUM(amount), SUM(price), MAX(at) FROM orders"),
    ("count, one row in ten", "SELECT COUNT(*) FROM orders WHERE price < 0.1"),
    ("sums, one row in two hundred", "SELECT SUM(amount), MIN(note), MAX(day) FROM orders WHERE product = 77"),
    ("whole rows, one in fifty thousand", "SELECT * FROM orders WHERE customer = 4711"),
    ("a range of the key", "SELECT SUM(amount), MAX(note) FROM orders WHERE id BETWEEN 400000 AND 420000"),
    (
        "group by text, 4 groups",
        "SELECT state, COUNT(*), SUM(amount), AVG(price) FROM orders GROUP BY state ORDER BY state",
    ),
    (
        "group by integer, 50,000 groups",
        "SELECT COUNT(*), MAX(s) FROM (SELECT customer, SUM(amount) AS s FROM orders GROUP BY customer) AS g",
    ),
    (
        "join and group",
        "SELECT region, COUNT(*), SUM(amount) FROM orders JOIN customers ON customer = customers.id GROUP BY region ORDER BY region",
    ),
    ("latest ten", "SELECT id, at, note FROM orders ORDER BY at DESC, id LIMIT 10"),
];

/// Loads, asks, changes a tenth, asks again, looks up keys.
pub async fn measure(args: &Scans) -> Result<()> {
    let mut lab = Lab::with(args.compression).await?;
    let plain = Plain::with_groups(args.compression, args.plain_group_rows)?;
    let (orders, customers) = (orders(), customers());
    lab.create(&orders).await?;
    lab.create(&customers).await?;
    lab.insert(&customers, customer_rows(&customers)?).await?;
    for first in (0..args.rows).step_by(STEP as usize) {
        lab.insert(&orders, order_rows(&orders, first, STEP.min(args.rows - first))?).await?;
    }
    lab.compact().await?;
    let mut file = plain.table("customers", customers.arrow_schema())?;
    file.write(&customer_rows(&customers)?)?;
    plain.finish(file).await?;
    copy(&plain, &orders, args.rows, |_, rows| Ok(rows)).await?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let (files, ours, theirs) = (lab.files(&orders)?, lab.sizes(&orders)?.1, plain.bytes("orders")?);
    let (ours, theirs) = (megabytes(ours), megabytes(theirs));
    println!("{} rows, compacted: {files} files of {ours:.1} MB, plain {theirs:.1} MB", args.rows);
    ask(&lab, &plain, args).await?;

    for first in (0..args.rows).step_by(STEP as usize) {
        let rows = order_rows(&orders, first, STEP.min(args.rows - first))?;
        let (ops, images) = changes(first, &rows)?;
        lab.change(&orders, ops, images).await?;
    }
    if !args.in_memory {
        lab.flush().await?;
    }
    copy(&plain, &orders, args.rows, |first, rows| {
        let keep = UInt64Array::from_iter_values((0..rows.num_rows() as u64).filter(|i| (first + i) % 50 != 7));
        let rows = take_record_batch(&rows, &keep)?;
        let ids = rows.column(0).clone();
        let ids: &Int64Array = arrow::array::AsArray::as_primitive(&ids);
        updated(&rows, |i| is_updated(ids.value(i) as u64))
    })
    .await?;
    let at = if args.in_memory { "in memory" } else { "in files" };
    println!("10 % updated or deleted since, not compacted, {at} ({} files)", lab.files(&orders)?);
    ask(&lab, &plain, args).await?;
    look_up(&lab, args.rows).await
}

/// The same rows as one file, changed by `change(number of the first row, rows)`.
async fn copy(
    plain: &Plain,
    def: &TableDef,
    rows: u64,
    change: impl Fn(u64, RecordBatch) -> Result<RecordBatch>,
) -> Result<()> {
    let mut file = plain.table("orders", def.arrow_schema())?;
    for first in (0..rows).step_by(STEP as usize) {
        file.write(&change(first, order_rows(def, first, STEP.min(rows - first))?)?)?;
    }
    plain.finish(file).await
}

/// Each question of both, in turn; answers are compared first.
async fn ask(lab: &Lab, plain: &Plain, args: &Scans) -> Result<()> {
    let wanted = |what: &str| args.only.as_ref().is_none_or(|only| what.contains(only.as_str()));
    for (what, sql) in QUESTIONS.into_iter().filter(|q| wanted(q.0)) {
        if sql.contains("SUM") || sql.contains("COUNT") {
            let (ours, theirs) = (rows_of(&lab.query(DATABASE, sql).await?)?, rows_of(&plain.query(sql).await?)?);
            ensure_same(&ours, &theirs).map_err(|e| e.context(sql))?;
        }
        let (mut ours, mut theirs) = (Times::default(), Times::default());
        for _ in 0..args.rounds {
            let wanted = theirs.of(plain.drain(sql)).await?;
            let got = ours.of(lab.drain(DATABASE, sql)).await?;
            ensure!(got == wanted, "{got} rows, not {wanted}: {sql}");
        }
        let ratio = ours.best.as_secs_f64() / theirs.best.as_secs_f64();
        let work = ours.work.as_secs_f64() / theirs.work.as_secs_f64();
        println!("  {what:36} plain {theirs}, replica {ours}, ratio {ratio:5.2} (of work {work:5.2})");
    }
    Ok(())
}

/// What one side takes for a question.
#[derive(Default)]
struct Times {
    rounds: u32,
    /// By the clock, of the best round.
    best: Duration,
    /// Of all processors and rounds.
    work: Duration,
}

impl Times {
    async fn of(&mut self, question: impl Future<Output = Result<u64>>) -> Result<u64> {
        let (begun, work) = (Instant::now(), work_so_far()?);
        let answer = question.await?;
        let took = begun.elapsed();
        self.best = if self.rounds == 0 { took } else { self.best.min(took) };
        self.rounds += 1;
        self.work += work_so_far()?.saturating_sub(work);
        Ok(answer)
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (best, work) = (self.best.as_secs_f64() * 1000.0, self.work.as_secs_f64() * 1000.0);
        write!(f, "{best:8.1} ms ({:.0} of work)", work / f64::from(self.rounds.max(1)))
    }
}

/// Processor time of all threads of this process that still run.
pub fn work_so_far() -> Result<Duration> {
    let mut nanos = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // A thread may have ended since.
        let text = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanos += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// Single keys by SQL, in the process and over the MySQL protocol.
async fn look_up(lab: &Lab, rows: u64) -> Result<()> {
    let key = |n: u64| {
        let id = n.wrapping_mul(7_368_787) % rows;
        if id % 50 == 7 { id + 1 } else { id }
    };
    let statement = |n| format!("SELECT * FROM orders WHERE id = {}", key(n));
    let mut times = Vec::new();
    for n in 0..LOOKUPS {
        let begun = Instant::now();
        let got = lab.rows_of_key(TableId(1), ColumnId(1), key(n) as i64).await?;
        times.push(begun.elapsed());
        ensure!(got == 1, "{got} rows of key {}", key(n));
    }
    report("look-up of a key, engine", times);
    let mut times = Vec::new();
    for n in 0..LOOKUPS {
        let begun = Instant::now();
        let got = lab.drain(DATABASE, &statement(n)).await?;
        times.push(begun.elapsed());
        ensure!(got == 1, "{got} rows of key {}", key(n));
    }
    report("look-up of a key, SQL in the process", times);
    let server = lab.listen().await?;
    let mut conn =
        Conn::new(Opts::from_url(&format!("mysql://root@127.0.0.1:{}/{DATABASE}", server.local_addr().port()))?)
            .await?;
    let mut times = Vec::new();
    for n in 0..LOOKUPS {
        let begun = Instant::now();
        let got: Vec<mysql_async::Row> = conn.query(statement(n)).await?;
        times.push(begun.elapsed());
        ensure!(got.len() == 1, "{} rows of key {}", got.len(), key(n));
    }
    report("look-up of a key, MySQL protocol", times);
    Ok(conn.disconnect().await?)
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!("  {what:36} median {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99));
}

fn text(length: u32) -> UpstreamType {
    UpstreamType::new(TypeKind::VarChar).with_length(length).with_charset("utf8mb4", "utf8mb4_0900_bin")
}

/// Ten columns of the usual kinds; texts compare by bytes, as DataFusion's do.
fn orders() -> TableDef {
    let mut amount = UpstreamType::new(TypeKind::Decimal);
    (amount.precision, amount.scale) = (12, Some(2));
    let columns = vec![
        ColumnDef::new(1, "id", UpstreamType::new(TypeKind::BigInt)),
        ColumnDef::new(2, "customer", UpstreamType::new(TypeKind::Int)),
        ColumnDef::new(3, "product", UpstreamType::new(TypeKind::Int)),
        ColumnDef::new(4, "amount", amount),
        ColumnDef::new(5, "quantity", UpstreamType::new(TypeKind::Int)),
        ColumnDef::new(6, "price", UpstreamType::new(TypeKind::Double)),
        ColumnDef::new(7, "state", text(12)),
        ColumnDef::new(8, "note", text(60)).nullable(),
        ColumnDef::new(9, "day", UpstreamType::new(TypeKind::Date)),
        ColumnDef::new(10, "at", UpstreamType::new(TypeKind::DateTime).with_fsp(6)),
    ];
    let mut def = TableDef::new(TableName::new(DATABASE, "orders"), columns, &["id"]);
    def.id = TableId(1);
    def
}

fn order_rows(def: &TableDef, first: u64, rows: u64) -> Result<RecordBatch> {
    let ids = first as i64..(first + rows) as i64;
    // Bits that look random and stay the same.
    let mixed = |id: i64, salt: u64| {
        let x = (id as u64 ^ salt.rotate_left(40)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 20
    };
    let int = |salt, below: u64| Int32Array::from_iter_values(ids.clone().map(|id| (mixed(id, salt) % below) as i32));
    let amounts = ids.clone().map(|id| i128::from(mixed(id, 3) % 10_000_000));
    let states = ["new", "packed", "paid", "sent"];
    let note = |id: i64| (id % 3 != 0).then(|| format!("note {:016x} of {id}", mixed(id, 7)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(int(1, 50_000)),
        Arc::new(int(2, 200)),
        Arc::new(Decimal128Array::from_iter_values(amounts).with_precision_and_scale(12, 2)?),
        Arc::new(int(4, 1000)),
        Arc::new(Float64Array::from_iter_values(ids.clone().map(|id| (mixed(id, 5) % 1_000_000) as f64 / 1e6))),
        Arc::new(StringArray::from_iter_values(ids.clone().map(|id| states[(mixed(id, 6) % 4) as usize]))),
        Arc::new(ids.clone().map(note).collect::<StringArray>()),
        Arc::new(Date32Array::from_iter_values(ids.clone().map(|id| 19_000 + (id / 5000) as i32))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(
            ids.clone().map(|id| 1_700_000_000_000_000 + (mixed(id, 9) % 30_000_000) as i64 * 1_000_000 + id % 1000),
        )),
    ];
    Ok(RecordBatch::try_new(def.arrow_schema(), columns)?)
}

fn customers() -> TableDef {
    let columns =
        vec![ColumnDef::new(1, "id", UpstreamType::new(TypeKind::Int)), ColumnDef::new(2, "region", text(20))];
    let mut def = TableDef::new(TableName::new(DATABASE, "customers"), columns, &["id"]);
    def.id = TableId(2);
    def
}

fn customer_rows(def: &TableDef) -> Result<RecordBatch> {
    let regions = StringArray::from_iter_values((0..50_000).map(|id| format!("region {}", id * 7 % 20)));
    let ids = Int32Array::from_iter_values(0..50_000);
    Ok(RecordBatch::try_new(def.arrow_schema(), vec![Arc::new(ids), Arc::new(regions)])?)
}

fn is_updated(id: u64) -> bool {
    id % 50 % 12 == 3
}

/// The rows with one more in `quantity` where `wanted`.
fn updated(rows: &RecordBatch, wanted: impl Fn(usize) -> bool) -> Result<RecordBatch> {
    let mut columns = rows.columns().to_vec();
    let quantity: &Int32Array = arrow::array::AsArray::as_primitive(&columns[4]);
    let quantity = quantity.values().iter().enumerate().map(|(i, q)| q + i32::from(wanted(i)));
    columns[4] = Arc::new(Int32Array::from_iter_values(quantity));
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}

/// Eight rows in a hundred are updated, two deleted.
fn changes(first: u64, rows: &RecordBatch) -> Result<(Vec<RowOp>, RecordBatch)> {
    let after = updated(rows, |_| true)?;
    let (mut ops, mut images) = (Vec::new(), Vec::new());
    for row in 0..rows.num_rows() {
        let id = first + row as u64;
        if id % 50 == 7 || is_updated(id) {
            ops.push(RowOp::Delete);
            images.push((0, row));
        }
        if is_updated(id) {
            ops.push(RowOp::Insert);
            images.push((1, row));
        }
    }
    Ok((ops, arrow::compute::interleave_record_batch(&[rows, &after], &images)?))
}
