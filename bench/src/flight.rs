//! What reading costs over the Magic API beside the same in the process: scans of a wide table of numbers, all columns, all rows, and look-ups of one key.
//! A look-up is a reader's whole way: a lease, a plan, its split, the lease given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::{StreamExt, TryStreamExt, stream};
use tidelake_access::Door;
use tidelake_api::{Connection, FlightStore, Magic, MagicServer, RemoteLatch};
use tidelake_core::ports::{ColumnPredicate, Freshness, Latch, PredicateOp, ScanRequest, StoreEngine};
use tidelake_core::types::{TypeKind, UpstreamType};
use tidelake_core::{CellValue, ColumnDef, Error, TableDef, TableId, TableName};
use tokio_util::sync::CancellationToken;

use crate::Flight;
use crate::lab::Lab;
use crate::scans::work_so_far;

const STEP: u64 = 65_536;
const LOOK_UPS: u64 = 1000;
const READERS: usize = 16;
const MINUTE: Duration = Duration::from_secs(60);

/// Loads, then scans in turn: in the process, over loopback with one stream, with as many as there are splits.
pub async fn measure(args: &Flight) -> Result<()> {
    let mut lab = Lab::open().await?;
    let table = numbers(args.columns);
    lab.create(&table).await?;
    for first in (0..args.rows).step_by(STEP as usize) {
        lab.insert(&table, rows(&table, first, STEP.min(args.rows - first))?).await?;
    }
    lab.compact().await?;
    let cancel = CancellationToken::new();
    let latch = lab.latch()?;
    let magic = Magic::for_readers(lab.engine(), latch.clone(), None);
    let server = serve(magic, cancel.clone())?;
    let connection = Connection::open(&format!("http://{server}"))?;
    let remote_latch = RemoteLatch::over(connection.clone());
    let remote = FlightStore::over(connection).await?;
    let local = lab.engine();
    println!("{} rows of {} numeric columns, {} files", args.rows, args.columns + 1, lab.files(&table)?);
    let mut best = [Duration::MAX; 3];
    let mut least = [Duration::MAX; 3];
    let mut bytes = 0;
    for _ in 0..args.rounds {
        let runs: [(&dyn StoreEngine, &dyn Latch, usize); 3] =
            [(&*local, &*latch, args.splits), (&remote, &remote_latch, 1), (&remote, &remote_latch, args.splits)];
        for ((best, least), (engine, latch, splits)) in best.iter_mut().zip(&mut least).zip(runs) {
            let (begun, work) = (Instant::now(), work_so_far()?);
            let (got, size) = scan(engine, latch, &table, splits).await?;
            *best = (*best).min(begun.elapsed());
            *least = (*least).min(work_so_far()?.saturating_sub(work));
            ensure!(got == args.rows, "{got} rows, not {}", args.rows);
            bytes = size;
        }
    }
    let names = ["in the process", "Flight, one split at a time", "Flight, all splits at a time"];
    for ((what, time), work) in names.iter().zip(best).zip(least) {
        let rate = bytes as f64 / time.as_secs_f64() / 1e9;
        let ratio = time.as_secs_f64() / best[0].as_secs_f64();
        let (time, work) = (time.as_secs_f64() * 1e3, work.as_secs_f64() * 1e3);
        println!(
            "  {what:30} {time:8.1} ms ({work:.0} of work, both sides), {rate:5.2} GB/s of Arrow data, ratio {ratio:5.2}"
        );
    }
    look_ups("in the process", &*local, &*latch, &table, args.rows).await?;
    look_ups("over Flight", &remote, &remote_latch, &table, args.rows).await?;
    leases(&remote_latch, args.rounds * 200).await?;
    cancel.cancel();
    Ok(())
}

/// A server with threads of its own, as in another process. They end with this one.
fn serve(magic: Arc<Magic>, cancel: CancellationToken) -> Result<std::net::SocketAddr> {
    let runtime = tokio::runtime::Runtime::new()?;
    let (bound, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let door = Door::grpc(([127, 0, 0, 1], 0).into(), None).await;
            let door = door.map_err(|e| Error::io("listen", e));
            let server = match door.and_then(|door| MagicServer::start(door, Arc::default(), magic, cancel)) {
                Ok(server) => server,
                Err(e) => return drop(bound.send(Err(e))),
            };
            let _ = bound.send(Ok(server.local_addr()));
            let _ = server.finished().await;
        });
    });
    Ok(address.recv()??)
}

/// Rows, and bytes of their values.
async fn scan(engine: &dyn StoreEngine, latch: &dyn Latch, table: &TableDef, splits: usize) -> Result<(u64, u64)> {
    let lease = latch.acquire(Freshness::Any, MINUTE, MINUTE).await?;
    let mut request = ScanRequest::new(&lease, table.id);
    request.target_splits = splits;
    let plan = engine.plan_scan(&request).await?;
    let read = stream::iter(&plan.splits).map(|split| async move {
        let (mut rows, mut batches) = (0, engine.read_split(split).await?);
        while let Some(batch) = batches.try_next().await? {
            rows += batch.num_rows() as u64;
        }
        anyhow::Ok(rows)
    });
    let rows: u64 = read.buffer_unordered(splits).try_fold(0, async |sum, rows| Ok(sum + rows)).await?;
    let width: u64 = plan.schema.fields().iter().filter_map(|f| f.data_type().primitive_width()).sum::<usize>() as u64;
    Ok((rows, rows * width))
}

/// Single keys, one after the other, then by many readers at a time.
async fn look_ups(what: &str, engine: &dyn StoreEngine, latch: &dyn Latch, table: &TableDef, rows: u64) -> Result<()> {
    let look_up = async |n: u64| {
        let begun = Instant::now();
        let lease = latch.acquire(Freshness::Any, MINUTE, MINUTE).await?;
        let mut request = ScanRequest::new(&lease, table.id);
        let id = n.wrapping_mul(7_368_787) % rows;
        let values = vec![CellValue::Int(id as i64)];
        request.predicates = vec![ColumnPredicate { column: table.columns[0].id, op: PredicateOp::Eq, values }];
        let mut found = 0;
        for split in &engine.plan_scan(&request).await?.splits {
            let batches: Vec<RecordBatch> = engine.read_split(split).await?.try_collect().await?;
            let ids = batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values());
            found += ids.filter(|found| **found == id as i64).count();
        }
        ensure!(found == 1, "key {id} was found {found} times");
        anyhow::Ok(begun.elapsed())
    };
    let mut times = Vec::new();
    for n in 0..LOOK_UPS {
        times.push(look_up(n).await?);
    }
    times.sort_unstable();
    let begun = Instant::now();
    stream::iter(0..LOOK_UPS).map(look_up).buffer_unordered(READERS).try_for_each(async |_| Ok(())).await?;
    let (median, rate) = (times[times.len() / 2].as_secs_f64() * 1e3, LOOK_UPS as f64 / begun.elapsed().as_secs_f64());
    println!("  look-ups {what:20} median {median:.2} ms; {rate:.0} a second by {READERS} readers");
    Ok(())
}

/// Leases taken, renewed and given back, one after the other.
async fn leases(latch: &dyn Latch, rounds: u32) -> Result<()> {
    let begun = Instant::now();
    for _ in 0..rounds {
        let lease = latch.acquire(Freshness::Any, MINUTE, MINUTE).await?;
        latch.renew(&lease, MINUTE)?;
    }
    let each = begun.elapsed().as_secs_f64() / f64::from(rounds);
    println!("  leases over Flight: {:.0} acquired, renewed and released a second by one client", 1.0 / each);
    Ok(())
}

/// A key and columns of 4 and 8 bytes.
fn numbers(columns: usize) -> TableDef {
    let kinds = [TypeKind::Double, TypeKind::BigInt, TypeKind::Int];
    let own = (0..columns).map(|n| ColumnDef::new(n as i32 + 2, format!("c{n}"), UpstreamType::new(kinds[n % 3])));
    let key = ColumnDef::new(1, "id", UpstreamType::new(TypeKind::BigInt));
    let mut def = TableDef::new(TableName::new("bench", "numbers"), std::iter::once(key).chain(own).collect(), &["id"]);
    def.id = TableId(1);
    def
}

fn rows(def: &TableDef, first: u64, rows: u64) -> Result<RecordBatch> {
    let ids = first as i64..(first + rows) as i64;
    let mixed = |id: i64, n: usize| (id as u64 ^ n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
    let column = |n: usize| -> ArrayRef {
        let values = ids.clone().map(|id| mixed(id, n));
        match n % 3 {
            0 => Arc::new(values.map(|v| v as f64 / 1e6).collect::<Float64Array>()),
            1 => Arc::new(values.map(|v| (v % 1_000_000) as i64).collect::<Int64Array>()),
            _ => Arc::new(values.map(|v| (v % 100_000) as i32).collect::<Int32Array>()),
        }
    };
    let key: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.clone()));
    let columns = std::iter::once(key).chain((0..def.columns.len() - 1).map(column)).collect();
    Ok(RecordBatch::try_new(def.arrow_schema(), columns)?)
}
