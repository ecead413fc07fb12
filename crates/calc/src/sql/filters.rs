//! Conditions that an engine can prune by: a column whose SQL form is its stored form, compared with constants.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use tidelake_core::ports::{ColumnPredicate, PredicateOp};
use tidelake_core::types::arrow::data_type;
use tidelake_core::value::cell_at;
use tidelake_core::{CellValue, ColumnDef, TableDef, TypeKind};

/// The predicate of a filter, if it is one.
pub(crate) fn predicate_of(filter: &Expr, def: &TableDef) -> Option<ColumnPredicate> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let op = pruning_op(*op)?;
            match (column_of(left, def), column_of(right, def)) {
                (Some(c), None) => predicate(c, op, &[&**right]),
                (None, Some(c)) => predicate(c, mirrored(op), &[&**left]),
                _ => None,
            }
        }
        Expr::InList(list) if !list.negated && list.list.len() <= 1000 => {
            let column = column_of(&list.expr, def)?;
            predicate(column, PredicateOp::In, &list.list.iter().collect::<Vec<_>>())
        }
        Expr::IsNull(e) => predicate(column_of(e, def)?, PredicateOp::IsNull, &[]),
        Expr::IsNotNull(e) => predicate(column_of(e, def)?, PredicateOp::IsNotNull, &[]),
        _ => None,
    }
}

fn pruning_op(op: Operator) -> Option<PredicateOp> {
    Some(match op {
        Operator::Eq => PredicateOp::Eq,
        Operator::Lt => PredicateOp::Lt,
        Operator::LtEq => PredicateOp::LtEq,
        Operator::Gt => PredicateOp::Gt,
        Operator::GtEq => PredicateOp::GtEq,
        _ => return None,
    })
}

fn mirrored(op: PredicateOp) -> PredicateOp {
    match op {
        PredicateOp::Lt => PredicateOp::Gt,
        PredicateOp::LtEq => PredicateOp::GtEq,
        PredicateOp::Gt => PredicateOp::Lt,
        PredicateOp::GtEq => PredicateOp::LtEq,
        other => other,
    }
}

fn column_of<'a>(expr: &Expr, def: &'a TableDef) -> Option<&'a ColumnDef> {
    let Expr::Column(column) = expr else { return None };
    let column = def.columns.iter().find(|c| c.name.to_lowercase() == column.name)?;
    (!matches!(column.ty.kind, TypeKind::Enum | TypeKind::Set)).then_some(column)
}

fn predicate(column: &ColumnDef, op: PredicateOp, values: &[&Expr]) -> Option<ColumnPredicate> {
    let values = values.iter().map(|e| cell_of(e, column)).collect::<Option<Vec<_>>>()?;
    Some(ColumnPredicate { column: column.id, op, values })
}

/// The constant in the column's stored form; `None` if it is of another type.
fn cell_of(expr: &Expr, column: &ColumnDef) -> Option<CellValue> {
    let Expr::Literal(value, _) = expr else { return None };
    if value.is_null() {
        return None;
    }
    let stored = data_type(&column.ty);
    let value = match value {
        ScalarValue::Utf8View(text) => &ScalarValue::Utf8(text.clone()),
        value => value,
    };
    if value.data_type() != stored {
        return None;
    }
    // A scalar of the stored type is exactly a cell.
    let array = ScalarValue::to_array(value).ok()?;
    cell_at(&array, 0).ok()
}
