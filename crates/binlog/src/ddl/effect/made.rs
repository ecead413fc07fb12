//! CREATE TABLE IF NOT EXISTS: whether it made its table, or something of that name was there.
//!
//! MariaDB and TiDB log it only if it did. MySQL always does, where a table is there or a view; what is there need not be
//! known here, as a table may wait for its copy, and views are not kept. MySQL 8 and later log the transaction
//! of what a statement did in an engine with transactions, so without one it did nothing there.

use tidelake_core::types::text::ServerFlavor;

use super::super::Done;
use super::super::ast::CreateTable;
use super::Effect;

/// What became of the statement.
pub(super) enum Made {
    /// It made the table.
    Yes,
    /// Something was there.
    No,
    /// Only upstream knows.
    Unknown,
}

impl Made {
    /// Why the table is looked at upstream.
    pub(super) const WHY: &str =
        "CREATE TABLE IF NOT EXISTS may have found something of that name: the bin log does not tell";
}

impl Effect<'_> {
    /// `there`: the catalog has a table of that name.
    pub(super) fn made(&self, create: &CreateTable, there: bool) -> Made {
        match self.told(create) {
            Some(true) => Made::Yes,
            Some(false) => Made::No,
            None if there => Made::No,
            None if self.context.copies && self.context.flavor == ServerFlavor::MySql => Made::Unknown,
            None => Made::Yes,
        }
    }

    /// What the log tells.
    fn told(&self, create: &CreateTable) -> Option<bool> {
        match self.context.done {
            _ if create.options.starts_transaction => Some(true),
            Done::Yes => Some(true),
            Done::Untold => None,
            Done::NotInInnoDb => match self.engine_of(create) {
                Some(engine) => engine.eq_ignore_ascii_case("innodb").then_some(false),
                // the session's default is nearly always InnoDB, but no event tells it
                None => (!self.context.copies).then_some(false),
            },
        }
    }

    /// The engine that the statement says, or that its model has.
    fn engine_of(&self, create: &CreateTable) -> Option<String> {
        let Some(model) = &create.like else { return create.options.engine.clone() };
        self.like(&self.name(model), &self.name(&create.name)).ok().map(|def| def.engine)
    }
}
