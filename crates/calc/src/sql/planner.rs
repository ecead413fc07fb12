//! What the SQL planner asks: tables of the snapshot, and our functions only.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, TableReference};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use tidelake_core::ports::StoreEngine;
use tidelake_core::{TableName, TableState};

use super::error::{UNKNOWN_TABLE, no_database, through, unknown_database, unknown_table};
use super::grants::Grants;
use super::info_schema;
use super::snapshot::Snapshot;
use super::table::ReplicaTable;
use super::udf::{self, EvalContext};
use crate::session::SqlError;

/// The planner's view of one statement.
pub(crate) struct Scope<'a> {
    pub(crate) state: &'a SessionState,
    pub(crate) engine: &'a Arc<dyn StoreEngine>,
    pub(crate) snapshot: &'a Arc<Snapshot>,
    pub(crate) database: Option<&'a str>,
    pub(crate) grants: &'a Grants,
    pub(crate) context: &'a Arc<EvalContext>,
    /// What information_schema tells of the session; costs more than a look-up of a key.
    pub(crate) info: &'a dyn Fn() -> info_schema::Source,
    /// Tables that exist for this statement only.
    pub(crate) extra: &'a HashMap<String, Arc<dyn TableProvider>>,
}

impl Scope<'_> {
    fn table(&self, name: &TableReference) -> Result<Arc<dyn TableProvider>, SqlError> {
        if let (None, Some(table)) = (name.schema(), self.extra.get(name.table())) {
            return Ok(Arc::clone(table));
        }
        let database = name.schema().or(self.database).ok_or_else(no_database)?;
        if database.eq_ignore_ascii_case("information_schema") {
            let table = info_schema::table(name.table(), &(self.info)(), self.engine, &self.snapshot.catalog)?;
            return table.ok_or_else(|| unknown_table(format!("information_schema.{}", name.table())));
        }
        let name = TableName::new(database, name.table());
        let catalog = &self.snapshot.catalog;
        let Some(entry) = catalog.visible(&name) else {
            if catalog.copying(&name).is_some() {
                let message = format!("table {name} is still being copied from upstream; try again when it is live");
                return Err(SqlError::new(1105, "HY000", message));
            }
            let missing = self.grants.no_table(&name);
            if missing.code == UNKNOWN_TABLE && !catalog.databases.contains(database) {
                return Err(unknown_database(database));
            }
            return Err(missing);
        };
        if let TableState::Stopped { reason, at } = &entry.state {
            let message = format!("table {name} is stopped at {at}: {reason}");
            return Err(SqlError::new(1105, "HY000", message));
        }
        let (engine, snapshot) = (Arc::clone(self.engine), Arc::clone(self.snapshot));
        Ok(Arc::new(ReplicaTable::new(engine, snapshot, Arc::clone(&entry.def))))
    }
}

impl ContextProvider for Scope<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(self.table(&name).map_err(through)?))
    }

    fn create_cte_work_table(&self, name: &str, schema: arrow::datatypes::SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        udf::find(name).map(|def| udf::udf(def, self.context))
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        vec![]
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        vec![]
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
