//! How the rows of one table are decoded: made when a TABLE_MAP meets the catalog, checked against both.

use std::sync::Arc;

use tidelake_core::TableDef;

use super::bit;
use super::column::{ColumnPlan, null_refused};
use super::writer::TableWriter;
use crate::mysql::reader::{Malformed, Parsed, Reader};
use crate::mysql::table_map::TableMap;

/// The decoding plan of one table version.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// The table, as the catalog has it at this place of the stream.
    pub def: Arc<TableDef>,
    columns: Vec<ColumnPlan>,
}

impl TablePlan {
    /// Checks the table map against the catalog's table: number of columns, names if the event has them, types.
    ///
    /// # Errors
    /// The reason why the table must stop.
    pub fn new(map: &TableMap, def: &Arc<TableDef>) -> Result<TablePlan, String> {
        if map.columns.len() != def.columns.len() {
            return Err(format!(
                "the bin log's rows have {} columns, the replica's table has {}",
                map.columns.len(),
                def.columns.len()
            ));
        }
        if let Some(names) = &map.names {
            let other = names.iter().zip(&def.columns).find(|(n, c)| n.to_lowercase() != c.name.to_lowercase());
            if let Some((there, here)) = other {
                return Err(format!("column {} of the replica is {there} in the bin log", here.name));
            }
        }
        let columns = map.columns.iter().zip(&map.unsigned).zip(&def.columns);
        let columns = columns.map(|((wire, unsigned), column)| ColumnPlan::new(*wire, *unsigned, column));
        Ok(TablePlan { def: Arc::clone(def), columns: columns.collect::<Result<_, _>>()? })
    }

    /// Checks that images with these columns hold whole rows. Only VIRTUAL generated columns may be missing, if they
    /// may be NULL: they are stored as NULL then.
    ///
    /// # Errors
    /// The reason why the table must stop.
    pub fn check_image(&self, columns: usize, present: &[u8]) -> Result<(), String> {
        if columns != self.columns.len() {
            return Err(format!("row images of {columns} columns, the table has {}", self.columns.len()));
        }
        for (i, column) in self.def.columns.iter().enumerate() {
            if bit(present, i) || (column.virtual_generated && column.nullable) {
                continue;
            }
            return Err(format!(
                "column {} is missing in a row image: set binlog_row_image=FULL on the upstream (globally, and in every session)",
                column.name
            ));
        }
        Ok(())
    }

    /// Decodes one row image into the writer's open row.
    ///
    /// # Errors
    /// If the image does not fit the plan; the open row is then incomplete and dropped by the writer.
    #[inline]
    pub(super) fn append_image(
        &self,
        r: &mut Reader<'_>,
        present: &[u8],
        full: bool,
        out: &mut TableWriter,
    ) -> Parsed<()> {
        let in_image =
            if full { self.columns.len() } else { (0..self.columns.len()).filter(|i| bit(present, *i)).count() };
        let nulls = r.bytes(in_image.div_ceil(8))?;
        let mut at = 0;
        let (builders, scratch) = out.parts();
        for (i, (plan, builder)) in self.columns.iter().zip(builders).enumerate() {
            if !full && !bit(present, i) {
                builder.append_null();
                continue;
            }
            if bit(nulls, at) {
                if !plan.nullable() {
                    return Err(null_refused(&self.def.columns[i]));
                }
                builder.append_null();
            } else {
                plan.append(r, builder, scratch)
                    .map_err(|e| Malformed::new(format!("column {}: {}", self.def.columns[i].name, e.0)))?;
            }
            at += 1;
        }
        Ok(())
    }
}
