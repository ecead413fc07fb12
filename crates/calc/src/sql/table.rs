//! A replica's table as DataFusion scans it: one partition per split, read under the statement's lease.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, ScalarValue, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::{Column, DynamicFilterTracking};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};
use tidelake_core::ports::{PredicateOp, ScanPlan, ScanRequest, ScanSplit, StoreEngine};
use tidelake_core::value::array_of;
use tidelake_core::{ColumnId, TableDef};

use super::error::{of_port, through};
use super::filters::predicate_of;
use super::form::{Form, sql_schema};
use super::late::LateFilter;
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

    /// True if the filters say what each column of the key is equal to: then the engine looks the key up.
    pub(crate) fn is_whole_key(&self, filters: &[Expr]) -> bool {
        let found: Vec<_> = filters.iter().filter_map(|f| predicate_of(f, &self.def)).collect();
        let named = |id: &ColumnId| found.iter().any(|p| p.column == *id && p.op == PredicateOp::Eq);
        !self.def.key.is_empty() && self.def.key.iter().all(named)
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
        request.text_views = true;
        let plan = self.engine.plan_scan(&request).await.map_err(|e| port(&e))?;
        let schema = Arc::new(self.schema.project(&wanted)?);
        let forms: Arc<[Form]> = wanted.iter().map(|i| Form::of(&self.def.columns[*i])).collect();
        let whole = filters.is_empty() && limit.is_none();
        let statistics = Arc::new(statistics(&plan, &schema, &forms, whole)?);
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
            ids: request.projection.unwrap_or_default().into(),
            forms,
            groups,
            statistics,
            pruned_by: request.predicates.len(),
            conditions: Vec::new(),
            late: None,
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

/// What a plan tells of its rows; exact only if it is `whole`, without predicates and limit.
fn statistics(plan: &ScanPlan, schema: &SchemaRef, forms: &[Form], whole: bool) -> Result<Statistics> {
    let mut statistics = Statistics::new_unknown(schema);
    let estimate = plan.splits.iter().map(|s| s.rows).sum::<u64>() as usize;
    let exact = plan.exact_rows.filter(|_| whole);
    statistics.num_rows = exact.map_or(Precision::Inexact(estimate), |n| Precision::Exact(n as usize));
    for (i, column) in statistics.column_statistics.iter_mut().enumerate() {
        if !schema.field(i).is_nullable() {
            column.null_count = Precision::Exact(0);
        }
        let Some(bounds) = plan.bounds.get(i).and_then(Option::as_ref).filter(|_| forms[i].is_same()) else { continue };
        let scalar = |value| {
            let array = array_of(schema.field(i).data_type(), std::slice::from_ref(value)).map_err(|e| port(&e))?;
            let scalar = ScalarValue::try_from_array(&array, 0)?;
            let exact = whole && bounds.exact;
            Ok::<_, DataFusionError>(if exact { Precision::Exact(scalar) } else { Precision::Inexact(scalar) })
        };
        column.min_value = scalar(&bounds.least)?;
        column.max_value = scalar(&bounds.greatest)?;
    }
    Ok(statistics)
}

#[derive(Clone)]
struct ReplicaScan {
    name: String,
    engine: Arc<dyn StoreEngine>,
    snapshot: Arc<Snapshot>,
    schema: SchemaRef,
    ids: Arc<[ColumnId]>,
    forms: Arc<[Form]>,
    groups: Vec<Arc<[ScanSplit]>>,
    statistics: Arc<Statistics>,
    pruned_by: usize,
    /// What plans above filter by anyway.
    conditions: Vec<Arc<dyn PhysicalExpr>>,
    late: Option<Arc<LateFilter>>,
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
        write!(
            f,
            "ReplicaScan: {name} at seq {seq}, columns=[{columns}], splits={splits}, pruning predicates={pruned}"
        )?;
        if !self.conditions.is_empty() {
            let conditions: Vec<String> = self.conditions.iter().map(ToString::to_string).collect();
            write!(f, ", early filter={}", conditions.join(" AND "))?;
        }
        Ok(())
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
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for condition in &self.conditions {
            if f(condition)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    /// Run again, as in a recursive query, it must not go by what a join found out the time before.
    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        let mut scan = Self::clone(&self);
        scan.conditions.retain(|c| !DynamicFilterTracking::classify(c).contains_dynamic_filter());
        scan.late = LateFilter::of(&scan.conditions, &scan.schema, &scan.ids)?;
        Ok(Arc::new(scan))
    }

    /// Takes note of the filters above, which stay where they are.
    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        above: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let all = above.parent_filters.into_iter().map(|f| f.filter).collect::<Vec<_>>();
        let kept = FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::No; all.len()]);
        let stored = |c: &Column| self.forms.get(c.index()).is_some_and(Form::is_same);
        let judged = |f: &Arc<dyn PhysicalExpr>| {
            let columns = collect_columns(f);
            !columns.is_empty() && columns.iter().all(stored) && !self.conditions.contains(f)
        };
        let new: Vec<_> = all.into_iter().filter(judged).collect();
        if new.is_empty() {
            return Ok(kept);
        }
        let mut scan = self.clone();
        scan.conditions.extend(new);
        scan.late = LateFilter::of(&scan.conditions, &scan.schema, &scan.ids)?;
        Ok(kept.with_updated_node(Arc::new(scan)))
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let splits = Arc::clone(&self.groups[partition]);
        let (engine, snapshot) = (Arc::clone(&self.engine), Arc::clone(&self.snapshot));
        let (forms, schema) = (Arc::clone(&self.forms), Arc::clone(&self.schema));
        let reader = Reader { engine, snapshot, forms, schema, late: self.late.clone() };
        let batches = stream::iter(0..splits.len())
            .then(move |i| {
                let (reader, splits) = (reader.clone(), Arc::clone(&splits));
                async move { reader.read(&splits[i]).await }
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(match args.partition() {
            Some(_) if self.groups.len() > 1 => Arc::new(Statistics::new_unknown(&self.schema)),
            _ => Arc::clone(&self.statistics),
        })
    }
}

#[derive(Clone)]
struct Reader {
    engine: Arc<dyn StoreEngine>,
    snapshot: Arc<Snapshot>,
    forms: Arc<[Form]>,
    schema: SchemaRef,
    late: Option<Arc<LateFilter>>,
}

impl Reader {
    async fn read(self, split: &ScanSplit) -> Result<impl futures::Stream<Item = Result<RecordBatch>> + use<>> {
        self.snapshot.check().map_err(|e| port(&e))?;
        let batches = match &self.late {
            Some(late) => self.engine.read_filtered(split, Arc::clone(late) as _).await,
            None => self.engine.read_split(split).await,
        };
        let batches = batches.map_err(|e| port(&e))?;
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
