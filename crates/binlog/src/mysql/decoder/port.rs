//! What the decoder asks of a reading of DDL.

use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{SchemaChange, SourcePosition, TableName};

/// The session a statement ran in.
#[derive(Clone, Copy, Debug)]
pub struct DdlContext<'a> {
    /// The default database; empty without.
    pub database: &'a str,
    /// Which kind of server.
    pub flavor: ServerFlavor,
    /// `sql_mode` bits.
    pub sql_mode: u64,
    /// Collation id of `character_set_client`.
    pub client: Option<u16>,
    /// Collation id of `collation_connection`.
    pub connection: Option<u16>,
    /// Collation id of `collation_server`.
    pub server: Option<u16>,
    /// Collation id of the default for utf8mb4 (MySQL 8 and later).
    pub default_utf8mb4: Option<u16>,
    /// MariaDB `character_set_collations`.
    pub charset_collations: &'a [(u16, u16)],
    /// Where in the stream.
    pub position: &'a SourcePosition,
}

/// What a statement means for the catalog.
#[derive(Clone, Debug, PartialEq)]
pub enum DdlOutcome {
    /// Nothing.
    Ignore,
    /// These changes, in order.
    Changes(Vec<SchemaChange>),
    /// These tables must be copied again.
    Resync {
        /// What happens besides, first and in order.
        changes: Vec<SchemaChange>,
        /// Which, by their names after `changes`; empty: it cannot be told, so the pipeline must stop.
        tables: Vec<TableName>,
        /// Why.
        reason: String,
    },
}
