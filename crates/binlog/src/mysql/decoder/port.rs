//! What the decoder asks of a reading of DDL.

use tidelake_core::Catalog;

pub use crate::ddl::{DdlContext, DdlOutcome};

/// What DDL means for the catalog: [`crate::ddl::changes`], or a stand-in in tests.
pub type DdlInterpreter = fn(&str, &DdlContext<'_>, &Catalog) -> DdlOutcome;
