//! Errors of planning and running, as the numbers MySQL clients know.

use datafusion::common::{DataFusionError, SchemaError};
use tidelake_core::Error;

use crate::session::SqlError;

/// What the upstream answers to a write on a read-only server.
pub(crate) fn read_only() -> SqlError {
    SqlError::new(1290, "HY000", "tidelake is a read-only replica: run this on the upstream")
}

/// A statement or clause that Tidelake does not do.
pub(crate) fn unsupported(what: impl std::fmt::Display) -> SqlError {
    SqlError::new(1235, "42000", format!("tidelake does not support {what} (docs/sql.md lists what it does)"))
}

/// A text that does not parse.
pub(crate) fn syntax(what: impl std::fmt::Display) -> SqlError {
    SqlError::new(1064, "42000", format!("You have an error in your SQL syntax: {what}"))
}

/// `USE` or a name with a database that is not there.
pub(crate) fn unknown_database(name: &str) -> SqlError {
    SqlError::new(1049, "42000", format!("Unknown database '{name}'"))
}

/// The number of [`unknown_table`].
pub(crate) const UNKNOWN_TABLE: u16 = 1146;

/// A table that is not there.
pub(crate) fn unknown_table(name: impl std::fmt::Display) -> SqlError {
    SqlError::new(UNKNOWN_TABLE, "42S02", format!("Table '{name}' doesn't exist"))
}

/// A name without database, and no database was chosen.
pub(crate) fn no_database() -> SqlError {
    SqlError::new(1046, "3D000", "No database selected")
}

/// Wraps a client error so that it travels through DataFusion unchanged.
pub(crate) fn through(e: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(e))
}

/// An error of a port.
pub(crate) fn of_port(e: &Error) -> SqlError {
    let (code, state) = match e {
        Error::Denied(_) => (1142, "42000"),
        Error::Timeout(_) => (3024, "HY000"),
        Error::SnapshotExpired(_) => (1205, "HY000"),
        Error::Limit(_) => (1041, "HY000"),
        Error::Closed(_) | Error::Unavailable(_) => (1053, "08S01"),
        _ => (1105, "HY000"),
    };
    SqlError::new(code, state, e.to_string())
}

/// Any error of planning or running.
pub(crate) fn of_datafusion(e: DataFusionError) -> SqlError {
    match e {
        DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
            Ok(e) => *e,
            Err(inner) => match inner.downcast::<Error>() {
                Ok(e) => of_port(&e),
                Err(other) => SqlError::new(1105, "HY000", other.to_string()),
            },
        },
        DataFusionError::Shared(e) => shared(&e),
        DataFusionError::Context(_, e) | DataFusionError::Diagnostic(_, e) => of_datafusion(*e),
        DataFusionError::Collection(mut all) if !all.is_empty() => of_datafusion(all.swap_remove(0)),
        DataFusionError::SchemaError(e, _) => of_schema(&e),
        DataFusionError::SQL(e, _) => syntax(e),
        DataFusionError::ResourcesExhausted(what) => {
            SqlError::new(1041, "HY000", format!("out of memory for this statement: {what}"))
        }
        DataFusionError::NotImplemented(what) => unsupported(what),
        DataFusionError::Plan(what) => SqlError::new(1105, "HY000", what),
        DataFusionError::ArrowError(e, _) => of_arrow(*e),
        other => SqlError::new(1105, "HY000", other.to_string()),
    }
}

fn of_arrow(e: arrow::error::ArrowError) -> SqlError {
    match e {
        arrow::error::ArrowError::ExternalError(inner) => of_datafusion(DataFusionError::External(inner)),
        other => SqlError::new(1105, "HY000", other.to_string()),
    }
}

fn shared(e: &DataFusionError) -> SqlError {
    match e {
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(e) => e.clone(),
            None => match inner.downcast_ref::<Error>() {
                Some(e) => of_port(e),
                None => SqlError::new(1105, "HY000", inner.to_string()),
            },
        },
        DataFusionError::Shared(e) => shared(e),
        DataFusionError::Context(_, e) | DataFusionError::Diagnostic(_, e) => shared(e),
        DataFusionError::SchemaError(e, _) => of_schema(e),
        other => SqlError::new(1105, "HY000", other.to_string()),
    }
}

fn of_schema(e: &SchemaError) -> SqlError {
    match e {
        SchemaError::FieldNotFound { field, .. } => {
            SqlError::new(1054, "42S22", format!("Unknown column '{}' in 'field list'", field.flat_name()))
        }
        SchemaError::AmbiguousReference { field } => {
            SqlError::new(1052, "23000", format!("Column '{}' in field list is ambiguous", field.flat_name()))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            SqlError::new(1060, "42S21", format!("Duplicate column name '{name}'"))
        }
    }
}
