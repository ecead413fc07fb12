//! All rows of a table, from either side, batch by batch in stored form.

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tidelake_core::ports::{ScanRequest, SnapshotLease};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Result, TableDef};

use super::super::connect::Connector;
use super::super::copy::columns::RowBuilder;
use super::super::copy::job::cells;
use super::super::copy::select::whole_sql;
use super::ReplicaParts;

/// Rows of the snapshot that `conn` has open. `limit`: rows and bytes of a batch.
///
/// # Errors
/// The upstream's, and those of `each`.
pub(super) async fn of_upstream(
    connector: &Connector,
    conn: &mut Conn,
    def: &TableDef,
    flavor: ServerFlavor,
    limit: (usize, usize),
    mut each: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let failed = |e: mysql_async::Error| connector.error(&format!("read {}", def.name), &e);
    let mut builder = RowBuilder::new(def, flavor)?;
    let mut result = conn.query_iter(whole_sql(def)).await.map_err(failed)?;
    while let Some(row) = result.next().await.map_err(failed)? {
        builder.push(cells(&row))?;
        if builder.rows() >= limit.0 || builder.bytes() >= limit.1 {
            each(builder.finish()?)?;
        }
    }
    if builder.rows() > 0 {
        each(builder.finish()?)?;
    }
    Ok(())
}

/// Rows of the leased snapshot.
///
/// # Errors
/// The engine's, and those of `each`.
pub(super) async fn of_replica(
    replica: &ReplicaParts,
    lease: &SnapshotLease,
    def: &TableDef,
    mut each: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let plan = replica.engine.plan_scan(&ScanRequest::new(lease, def.id)).await?;
    for split in &plan.splits {
        let mut batches = replica.engine.read_split(split).await?;
        while let Some(batch) = batches.try_next().await? {
            each(batch)?;
        }
        replica.latch.check(lease)?;
    }
    Ok(())
}
