//! A replica's table as DataFusion scans it: one partition per split, read under the statement's lease.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};
use tidelake_core::TableDef;
use tidelake_core::ports::{ScanRequest, ScanSplit, StoreEngine};

use super::error::{of_port, through};
use super::filters::predicate_of;
use super::form::{Form, sql_schema};
use super::snapshot::Snapshot;

/// A table at one snapshot.
pub(crate) struct ReplicaTable {
    engine: Arc<dyn StoreEngine>,
    snapshot: Arc<Snapshot>,
    def: Arc<TableDef>,
    schema: SchemaRef,
}

impl ReplicaTable {
    /// A live table of the snapshot's catalog.
    pub(crate) fn new(engine: Arc<dyn StoreEngine>, snapshot: Arc<Snapshot>, def: Arc<TableDef>) -> ReplicaTable {
        let schema = sql_schema(&def);
        ReplicaTable { engine, snapshot, def, schema }
    }
}

impl std::fmt::Debug for ReplicaTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReplicaTable({})", self.def.name)
    }
}

fn port(e: &tidelake_core::Error) -> DataFusionError {
    through(of_port(e))
}

#[async_trait]
impl TableProvider for ReplicaTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let one = |f: &&Expr| match predicate_of(f, &self.def) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(one).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.def.columns.len()).collect());
        let mut request = ScanRequest::new(&self.snapshot.lease, self.def.id);
        request.projection = Some(wanted.iter().map(|i| self.def.columns[*i].id).collect());
        request.predicates = filters.iter().filter_map(|f| predicate_of(f, &self.def)).collect();
        request.limit = if filters.is_empty() { limit } else { None };
        request.target_splits = state.config().target_partitions();
        let plan = self.engine.plan_scan(&request).await.map_err(|e| port(&e))?;
        let rows = if filters.is_empty() && limit.is_none() { plan.exact_rows } else { None };
        let estimate = plan.splits.iter().map(|s| s.rows).sum::<u64>() as usize;
        let rows = rows.map_or(Precision::Inexact(estimate), |n| Precision::Exact(n as usize));
        let schema = Arc::new(self.schema.project(&wanted)?);
        let forms = wanted.iter().map(|i| Form::of(&self.def.columns[*i])).collect();
        let groups = grouped(plan.splits, state.config().target_partitions());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(groups.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(ReplicaScan {
            name: self.def.name.to_string(),
            engine: Arc::clone(&self.engine),
            snapshot: Arc::clone(&self.snapshot),
            schema,
            forms,
            groups,
            rows,
            pruned_by: request.predicates.len(),
            properties: Arc::new(properties),
        }))
    }
}

/// At most `partitions` groups of splits, of about equal rows; at least one.
fn grouped(splits: Vec<ScanSplit>, partitions: usize) -> Vec<Arc<[ScanSplit]>> {
    let n = splits.len().clamp(1, partitions.max(1));
    let mut groups: Vec<(u64, Vec<ScanSplit>)> = (0..n).map(|_| (0, Vec::new())).collect();
    for split in splits {
        if let Some(smallest) = groups.iter_mut().min_by_key(|g| g.0) {
            smallest.0 += split.rows.max(1);
            smallest.1.push(split);
        }
    }
    groups.into_iter().map(|(_, g)| g.into()).collect()
}

struct ReplicaScan {
    name: String,
    engine: Arc<dyn StoreEngine>,
    snapshot: Arc<Snapshot>,
    schema: SchemaRef,
    forms: Arc<[Form]>,
    groups: Vec<Arc<[ScanSplit]>>,
    rows: Precision<usize>,
    pruned_by: usize,
    properties: Arc<PlanProperties>,
}

impl std::fmt::Debug for ReplicaScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReplicaScan({})", self.name)
    }
}

impl DisplayAs for ReplicaScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let columns: Vec<&str> = self.schema.fields().iter().map(|c| c.name().as_str()).collect();
        let (name, seq) = (&self.name, self.snapshot.lease.seq());
        let splits: usize = self.groups.iter().map(|g| g.len()).sum();
        let (columns, pruned) = (columns.join(", "), self.pruned_by);
        write!(f, "ReplicaScan: {name} at seq {seq}, columns=[{columns}], splits={splits}, pruning predicates={pruned}")
    }
}

impl ExecutionPlan for ReplicaScan {
    fn name(&self) -> &str {
        "ReplicaScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let splits = Arc::clone(&self.groups[partition]);
        let (engine, snapshot) = (Arc::clone(&self.engine), Arc::clone(&self.snapshot));
        let (forms, schema) = (Arc::clone(&self.forms), Arc::clone(&self.schema));
        let reader = Reader { engine, snapshot, forms, schema };
        let batches = stream::iter(0..splits.len())
            .then(move |i| {
                let (reader, splits) = (reader.clone(), Arc::clone(&splits));
                async move { reader.read(&splits[i]).await }
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        if args.partition().is_none() || self.groups.len() == 1 {
            statistics.num_rows = self.rows;
        }
        Ok(Arc::new(statistics))
    }
}

#[derive(Clone)]
struct Reader {
    engine: Arc<dyn StoreEngine>,
    snapshot: Arc<Snapshot>,
    forms: Arc<[Form]>,
    schema: SchemaRef,
}

impl Reader {
    async fn read(self, split: &ScanSplit) -> Result<impl futures::Stream<Item = Result<RecordBatch>> + use<>> {
        self.snapshot.check().map_err(|e| port(&e))?;
        let batches = self.engine.read_split(split).await.map_err(|e| port(&e))?;
        Ok(batches.map(move |batch| self.formed(&batch.map_err(|e| port(&e))?)))
    }

    fn formed(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.snapshot.check().map_err(|e| port(&e))?;
        let columns = batch.columns().iter().zip(self.forms.iter()).map(|(c, f)| f.apply(c));
        let columns = columns.collect::<tidelake_core::Result<Vec<_>>>().map_err(|e| port(&e))?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}
