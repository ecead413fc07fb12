//! The eight tables: their definitions here, their rows from the generator, and one change to a tenth of them.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, AsArray, Decimal128Array, Int32Array, RecordBatch, UInt64Array};
use arrow::compute::{cast, interleave_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Decimal128Type, Int32Type};
use tidelake_core::change::RowOp;
use tidelake_core::types::{TypeKind, UpstreamType};
use tidelake_core::{ColumnDef, TableDef, TableId, TableName};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RecordBatchIterator, RegionArrow,
    SupplierArrow,
};

/// Their database.
pub const DATABASE: &str = "tpch";

/// One table.
pub struct Table {
    /// As the replica knows it.
    pub def: TableDef,
    /// The columns of its key.
    pub key: &'static [&'static str],
    /// The column whose value an UPDATE adds one to; tables without stay as they are.
    pub changed: Option<&'static str>,
}

/// All tables, nation and region first.
pub fn tables(scale: f64) -> Vec<Table> {
    let of = |(i, (name, key, changed)): (usize, (&str, &'static [&'static str], Option<&'static str>))| {
        let columns = rows(name, scale).schema().fields().iter().enumerate().map(column).collect();
        let mut def = TableDef::new(TableName::new(DATABASE, name), columns, key);
        def.id = TableId(i as u64 + 1);
        Table { def, key, changed }
    };
    let all: [(&str, &'static [&'static str], Option<&'static str>); 8] = [
        ("nation", &["n_nationkey"], None),
        ("region", &["r_regionkey"], None),
        ("supplier", &["s_suppkey"], Some("s_acctbal")),
        ("customer", &["c_custkey"], Some("c_acctbal")),
        ("part", &["p_partkey"], Some("p_retailprice")),
        ("partsupp", &["ps_partkey", "ps_suppkey"], Some("ps_availqty")),
        ("orders", &["o_orderkey"], Some("o_totalprice")),
        ("lineitem", &["l_orderkey", "l_linenumber"], Some("l_extendedprice")),
    ];
    all.into_iter().enumerate().map(of).collect()
}

/// Texts compare by their bytes, as the specification has it.
fn column((i, field): (usize, &Arc<arrow::datatypes::Field>)) -> ColumnDef {
    let ty = match field.data_type() {
        DataType::Int64 => UpstreamType::new(TypeKind::BigInt),
        DataType::Int32 => UpstreamType::new(TypeKind::Int),
        DataType::Date32 => UpstreamType::new(TypeKind::Date),
        DataType::Decimal128(precision, scale) => {
            let mut ty = UpstreamType::new(TypeKind::Decimal);
            ty.precision = *precision;
            ty.scale = Some(*scale as u8);
            ty
        }
        _ => UpstreamType::new(TypeKind::VarChar).with_length(152).with_charset("utf8mb4", "utf8mb4_0900_bin"),
    };
    ColumnDef::new(i as i32 + 1, field.name(), ty)
}

/// The rows of a table, in the order of its key.
pub fn rows(name: &str, scale: f64) -> Box<dyn RecordBatchIterator> {
    match name {
        "nation" => Box::new(NationArrow::new(NationGenerator::new(scale, 1, 1))),
        "region" => Box::new(RegionArrow::new(RegionGenerator::new(scale, 1, 1))),
        "supplier" => Box::new(SupplierArrow::new(SupplierGenerator::new(scale, 1, 1))),
        "customer" => Box::new(CustomerArrow::new(CustomerGenerator::new(scale, 1, 1))),
        "part" => Box::new(PartArrow::new(PartGenerator::new(scale, 1, 1))),
        "partsupp" => Box::new(PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1))),
        "orders" => Box::new(OrderArrow::new(OrderGenerator::new(scale, 1, 1))),
        _ => Box::new(LineItemArrow::new(LineItemGenerator::new(scale, 1, 1))),
    }
}

impl Table {
    /// Its rows with the schema of its definition, batch by batch, with the number of the first row of each.
    pub fn batches(&self, scale: f64) -> impl Iterator<Item = Result<(u64, RecordBatch)>> {
        let schema = self.def.arrow_schema();
        let mut next = 0;
        rows(&self.def.name.table, scale).map(move |batch| {
            let columns = batch.columns().iter().zip(schema.fields());
            let columns = columns.map(|(c, f)| cast(c, f.data_type())).collect::<Result<Vec<_>, _>>()?;
            let batch = RecordBatch::try_new(schema.clone(), columns)?;
            let first = next;
            next += batch.num_rows() as u64;
            Ok((first, batch))
        })
    }

    /// What happens to a batch: eight rows in a hundred are updated, two deleted. Before and after images in the order of
    /// a binlog.
    pub fn changes(&self, first: u64, batch: &RecordBatch) -> Result<Option<(Vec<RowOp>, RecordBatch)>> {
        let Some(after) = self.updated(batch)? else { return Ok(None) };
        let (mut ops, mut images) = (Vec::new(), Vec::new());
        for row in 0..batch.num_rows() {
            let fate = Fate::of(first + row as u64);
            if fate != Fate::Stays {
                ops.push(RowOp::Delete);
                images.push((0, row));
            }
            if fate == Fate::Updated {
                ops.push(RowOp::Insert);
                images.push((1, row));
            }
        }
        if ops.is_empty() {
            return Ok(None);
        }
        Ok(Some((ops, interleave_record_batch(&[batch, &after], &images)?)))
    }

    /// The batch after that.
    pub fn changed(&self, first: u64, batch: &RecordBatch) -> Result<RecordBatch> {
        let Some(after) = self.updated(batch)? else { return Ok(batch.clone()) };
        let of = |row: usize| match Fate::of(first + row as u64) {
            Fate::Stays => Some((0, row)),
            Fate::Updated => Some((1, row)),
            Fate::Deleted => None,
        };
        let images: Vec<(usize, usize)> = (0..batch.num_rows()).filter_map(of).collect();
        Ok(interleave_record_batch(&[batch, &after], &images)?)
    }

    /// Rows of a batch with a fate, as they were.
    pub fn with_fate(first: u64, batch: &RecordBatch, fate: Fate) -> Result<RecordBatch> {
        let rows = (0..batch.num_rows() as u64).filter(|row| Fate::of(first + row) == fate);
        Ok(take_record_batch(batch, &UInt64Array::from_iter_values(rows))?)
    }

    /// Every row with one more in the changed column.
    pub fn updated(&self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        let Some(name) = self.changed else { return Ok(None) };
        let at = batch.schema().index_of(name)?;
        let mut columns = batch.columns().to_vec();
        let column: ArrayRef = match columns[at].data_type() {
            DataType::Int32 => {
                let one_more: Int32Array = columns[at].as_primitive::<Int32Type>().unary(|v| v + 1);
                Arc::new(one_more)
            }
            ty => {
                let one_more: Decimal128Array = columns[at].as_primitive::<Decimal128Type>().unary(|v| v + 100);
                Arc::new(one_more.with_data_type(ty.clone()))
            }
        };
        columns[at] = column;
        Ok(Some(RecordBatch::try_new(batch.schema(), columns)?))
    }
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Stays,
    /// It is updated.
    Updated,
    /// It is deleted.
    Deleted,
}

impl Fate {
    /// Of the row with this number in its table.
    pub fn of(row: u64) -> Fate {
        match row % 50 {
            7 => Fate::Deleted,
            n if n % 12 == 3 => Fate::Updated,
            _ => Fate::Stays,
        }
    }
}
