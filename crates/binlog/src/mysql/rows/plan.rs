//! How the rows of one table are decoded: made when a TABLE_MAP meets the catalog, checked against both.

use std::sync::Arc;

use tidelake_core::schema::IndexDef;
use tidelake_core::show_create::quote_name;
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{ColumnDef, RESYNC, TableDef, TypeKind};

use super::bit;
use super::block::{Block, Present, Shape};
use super::builder::ColumnBuilder;
use super::column::ColumnPlan;
use crate::ddl::max_bytes;
use crate::mysql::reader::{Malformed, Parsed};
use crate::mysql::table_map::{TableMap, WireType};

/// The decoding plan of one table version.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// The table, as the catalog has it at this place of the stream.
    pub def: Arc<TableDef>,
    columns: Vec<ColumnPlan>,
    shape: Shape,
    /// A system-versioned table whose period columns are implicit: two more columns on the wire, and history rows
    /// among the images. The replica holds the current rows only, as `SELECT *` shows them.
    versioned: bool,
}

impl TablePlan {
    /// Checks the table map against the catalog's table: number of columns, names if the event has them, types.
    ///
    /// # Errors
    /// The reason why the table must stop.
    pub fn new(map: &TableMap, def: &Arc<TableDef>, flavor: ServerFlavor) -> Result<TablePlan, String> {
        let hashes = if flavor == ServerFlavor::MariaDb { hash_columns(map, def) } else { 0 };
        let versioned = has_implicit_period(map, def, hashes);
        let count = map.columns.len() - hashes - if versioned { 2 } else { 0 };
        if count != def.columns.len() {
            return Err(format!(
                "{RESYNC} the bin log's rows have {count} columns, the replica's table has {}",
                def.columns.len()
            ));
        }
        if let Some(names) = &map.names {
            let other = names.iter().zip(&def.columns).find(|(n, c)| n.to_lowercase() != c.name.to_lowercase());
            if let Some((there, here)) = other {
                return Err(format!("{RESYNC} column {} of the replica is {there} in the bin log", here.name));
            }
        }
        if def.charset_assumed
            && !map.tells_collations
            && let Some(column) = unknown_charset(map, def)
        {
            return Err(format!(
                "{RESYNC} column {column} is in the default charset of its database, which this bin log does not tell \
                 (binlog_row_metadata=MINIMAL or FULL would)"
            ));
        }
        let wire = map.columns.iter().zip(&map.unsigned).zip(&map.collations);
        let columns = wire.zip(&def.columns).map(|(((wire, unsigned), collation), column)| {
            ColumnPlan::new(*wire, *unsigned, *collation, column, flavor)
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let shape = Shape::new(columns.iter().map(|c| (c.span(), c.nullable())), versioned, hashes);
        Ok(TablePlan { def: Arc::clone(def), columns, shape, versioned })
    }

    /// Checks that images with these columns hold what their operation needs: an image of a row that is born (`born`)
    /// every column; an image of a row that dies every column but generated ones, if the table has a key without them
    /// (MariaDB leaves them out).
    ///
    /// # Errors
    /// The reason why the table must stop.
    pub fn check_image(&self, columns: usize, present: &[u8], born: bool) -> Result<(), String> {
        let wanted = self.shape.columns();
        if columns != wanted {
            return Err(format!("row images of {columns} columns, the table has {wanted}"));
        }
        let shown = self.columns.len() + if self.versioned { 2 } else { 0 };
        if self.versioned && !(bit(present, shown - 1) && bit(present, shown - 2)) {
            return Err(format!(
                "{RESYNC} a row image of a system-versioned table without its period: set binlog_row_image=FULL"
            ));
        }
        for (i, column) in self.def.columns.iter().enumerate() {
            if bit(present, i) {
                continue;
            }
            let generated =
                column.virtual_generated || column.extra_sql.to_ascii_uppercase().contains("GENERATED ALWAYS");
            let in_key = self.def.key.is_empty() || self.def.key.contains(&column.id);
            if generated && !born && !in_key && column.nullable {
                continue;
            }
            let name = &column.name;
            if generated {
                return Err(format!(
                    "{RESYNC} the upstream left the generated column {name} out of a row image, and only it knows the value"
                ));
            }
            return Err(format!(
                "{RESYNC} column {name} is missing in a row image: set binlog_row_image=FULL on the upstream (globally, and in every session)"
            ));
        }
        Ok(())
    }

    /// Decodes the block of images that begins at `at` and appends its values. Returns where the next block begins.
    ///
    /// # Errors
    /// If an image does not fit the plan; some columns have more values than others then.
    pub(super) fn append_block(
        &self,
        data: &[u8],
        at: usize,
        kinds: &[Present<'_>],
        block: &mut Block,
        (builders, scratch): (&mut [ColumnBuilder], &mut String),
    ) -> Parsed<usize> {
        let end = block.locate(&self.shape, &self.def, data, at, kinds)?;
        for (i, (plan, builder)) in self.columns.iter().zip(builders).enumerate() {
            plan.append(block.column(data, i), builder, scratch)
                .map_err(|e| Malformed::new(format!("column {}: {}", self.def.columns[i].name, e.0)))?;
        }
        Ok(end)
    }
}

/// A text column whose charset is neither declared nor logged.
fn unknown_charset<'a>(map: &TableMap, def: &'a TableDef) -> Option<&'a str> {
    let unknown = |c: &ColumnDef| c.ty.is_text() && c.ty.charset.as_deref() == Some(def.charset.as_str());
    let mut columns = def.columns.iter().zip(&map.collations);
    columns.find(|(c, logged)| logged.is_none() && unknown(c)).map(|(c, _)| c.name.as_str())
}

/// How many columns at the end are MariaDB's hashes of unique keys. Without names in the bin log it is what the table lacks,
/// if its keys can explain it.
fn hash_columns(map: &TableMap, def: &TableDef) -> usize {
    let is_hash = |i: &usize| {
        let named = map.names.as_ref().is_none_or(|names| names[*i].to_ascii_uppercase().starts_with("DB_ROW_HASH_"));
        named && map.columns[*i] == WireType::LongLong
    };
    let hashes = (def.columns.len()..map.columns.len()).rev().take_while(is_hash).count();
    let keys = def.indexes.iter().filter(|key| key.unique && may_be_hashed(key, def)).count();
    if map.names.is_some() || hashes <= keys { hashes } else { 0 }
}

/// True if MariaDB may keep a unique key as a hash of its values: USING HASH, and where an index cannot hold them.
fn may_be_hashed(key: &IndexDef, def: &TableDef) -> bool {
    /// No engine, row format and page size stops at less.
    const SHORTEST_LIMIT: u64 = 767;
    let bytes: u64 = key.columns.iter().map(|name| bytes_in_key(key, name, def)).fold(0, u64::saturating_add);
    key.sql.to_ascii_uppercase().contains(" USING HASH") || bytes > SHORTEST_LIMIT
}

/// Most bytes of a column, or of its prefix, in a key.
fn bytes_in_key(key: &IndexDef, name: &str, def: &TableDef) -> u64 {
    use TypeKind as K;
    let Some(ty) = def.index_of_name(name).map(|i| &def.columns[i].ty) else { return u64::MAX };
    let character = ty.charset.as_deref().map_or(1, |charset| u64::from(max_bytes(charset)));
    let prefix = key.sql.split_once(&format!("{}(", quote_name(name))).and_then(|(_, behind)| behind.split_once(')'));
    if let Some(characters) = prefix.and_then(|(digits, _)| digits.parse::<u64>().ok()) {
        return characters.saturating_mul(character);
    }
    match ty.kind {
        K::Char | K::VarChar | K::Binary | K::VarBinary => u64::from(ty.length) * character,
        _ if ty.is_text() || ty.is_binary() => u64::MAX,
        _ => 8,
    }
}

/// True if the bin log has two more columns than the table, and they are MariaDB's implicit period.
fn has_implicit_period(map: &TableMap, def: &TableDef, hashes: usize) -> bool {
    let (Some(names), count) = (&map.names, map.columns.len() - hashes) else { return false };
    count == def.columns.len() + 2
        && map.columns[count - 2..count].iter().all(|c| *c == WireType::Timestamp2 { fsp: 6 })
        && names[count - 2].eq_ignore_ascii_case("row_start")
        && names[count - 1].eq_ignore_ascii_case("row_end")
}
