//! Functions row by row: arguments converted once per batch, then read by index.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanBuilder, Date32Builder, Float64Array, Float64Builder,
    Int64Array, Int64Builder, StringArray, StringBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
    UInt64Array, UInt64Builder,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use tidelake_core::types::temporal::split_micros;

use super::{Call, EvalContext};
use crate::sql::collation::Rules;
use crate::sql::convert::convert;
use crate::sql::datetime::{date_text, datetime_text, time_text};
use crate::sql::types::{Ty, ty_of};
use crate::sql::zone::Zone;

/// What a function wants an argument as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Text.
    S,
    /// Signed integer.
    I,
    /// Unsigned integer.
    U,
    /// Double.
    D,
    /// DATETIME in local time; what is no date is NULL.
    T,
    /// TIME in microseconds.
    M,
    /// Bytes.
    B,
}

/// One result.
pub(crate) enum Out {
    Null,
    S(String),
    I(i64),
    U(u64),
    D(f64),
    /// Microseconds of a DATETIME or, for a DATE, of its midnight.
    T(i64),
    /// Microseconds of a TIME.
    M(i64),
    B(Vec<u8>),
    Bool(bool),
}

impl Out {
    /// NULL for `None`.
    pub(crate) fn of(text: Option<String>) -> Out {
        text.map_or(Out::Null, Out::S)
    }
}

enum Column {
    S(StringArray),
    I(Int64Array),
    U(UInt64Array),
    D(Float64Array),
    T(TimestampMicrosecondArray),
    B(BinaryArray),
}

struct Argument {
    column: Column,
    constant: bool,
    ty: Ty,
}

/// The arguments of one row.
pub(crate) struct Row<'a> {
    arguments: &'a [Argument],
    row: usize,
    /// The declared result.
    pub(crate) returns: Ty,
    /// How the arguments' texts compare.
    pub(crate) rules: Rules,
    /// What `SYSTEM` means as a time zone.
    pub(crate) system_zone: Zone,
}

impl Row<'_> {
    /// Number of arguments.
    pub(crate) fn len(&self) -> usize {
        self.arguments.len()
    }

    fn at(&self, i: usize) -> usize {
        if self.arguments[i].constant { 0 } else { self.row }
    }

    /// The class of an argument before it was converted.
    pub(crate) fn ty(&self, i: usize) -> Ty {
        self.arguments[i].ty
    }

    pub(crate) fn is_null(&self, i: usize) -> bool {
        let at = self.at(i);
        match &self.arguments[i].column {
            Column::S(a) => a.is_null(at),
            Column::I(a) => a.is_null(at),
            Column::U(a) => a.is_null(at),
            Column::D(a) => a.is_null(at),
            Column::T(a) => a.is_null(at),
            Column::B(a) => a.is_null(at),
        }
    }

    /// Text; "" for another kind.
    pub(crate) fn s(&self, i: usize) -> &str {
        match &self.arguments[i].column {
            Column::S(a) => a.value(self.at(i)),
            _ => "",
        }
    }

    /// Bytes; empty for another kind.
    pub(crate) fn b(&self, i: usize) -> &[u8] {
        match &self.arguments[i].column {
            Column::B(a) => a.value(self.at(i)),
            _ => &[],
        }
    }

    /// An integer, a DATETIME or a TIME; 0 for another kind.
    pub(crate) fn i(&self, i: usize) -> i64 {
        match &self.arguments[i].column {
            Column::I(a) => a.value(self.at(i)),
            Column::T(a) => a.value(self.at(i)),
            _ => 0,
        }
    }

    /// An unsigned integer; 0 for another kind.
    pub(crate) fn u(&self, i: usize) -> u64 {
        match &self.arguments[i].column {
            Column::U(a) => a.value(self.at(i)),
            _ => 0,
        }
    }

    /// A double; 0 for another kind.
    pub(crate) fn d(&self, i: usize) -> f64 {
        match &self.arguments[i].column {
            Column::D(a) => a.value(self.at(i)),
            _ => 0.0,
        }
    }
}

fn argument(call: &Call, i: usize, want: Want) -> Result<Argument> {
    let constant = matches!(call.args[i], ColumnarValue::Scalar(_));
    let array = if constant { call.args[i].to_array(1)? } else { call.array(i)? };
    let to = match want {
        Want::S => Ty::Text,
        Want::I => Ty::Int,
        Want::U => Ty::UInt,
        Want::D => Ty::Double,
        Want::T => Ty::DateTime(6),
        Want::M => Ty::Time(6),
        Want::B => Ty::Bytes,
    };
    let field = &call.fields[i];
    let mut array = convert(&array, field, to, call.context.zone)?;
    if want == Want::T && matches!(ty_of(field), Ty::Time(_)) {
        array = on_today(&call.args[i].to_array(if constant { 1 } else { call.rows })?, call.context);
    }
    let column = match want {
        Want::S => Column::S(array.as_string::<i32>().clone()),
        Want::I | Want::M => Column::I(array.as_primitive::<Int64Type>().clone()),
        Want::U => Column::U(array.as_primitive::<UInt64Type>().clone()),
        Want::D => Column::D(array.as_primitive::<Float64Type>().clone()),
        Want::T => Column::T(array.as_primitive::<TimestampMicrosecondType>().clone()),
        Want::B => Column::B(array.as_binary::<i32>().clone()),
    };
    Ok(Argument { column, constant, ty: ty_of(field) })
}

/// A TIME where a date is wanted is that time today.
pub(super) fn on_today(times: &ArrayRef, context: &EvalContext) -> ArrayRef {
    let now = context.zone.to_local(context.now_us);
    let midnight = now - split_micros(now).1;
    let times = times.as_primitive::<Int64Type>();
    Arc::new(times.iter().map(|v| v.map(|us| midnight + us)).collect::<TimestampMicrosecondArray>())
}

/// Runs `f` for every row and collects the results in the declared type.
pub(super) fn run(
    call: &Call,
    wants: &'static [Want],
    f: fn(&Row) -> Result<Out>,
    sees_nulls: bool,
) -> Result<ArrayRef> {
    let last = wants.last().copied().unwrap_or(Want::S);
    let arguments = (0..call.args.len())
        .map(|i| argument(call, i, wants.get(i).copied().unwrap_or(last)))
        .collect::<Result<Vec<_>>>()?;
    let system_zone = call.context.system_zone;
    let rules = Rules::of(&super::strongest(call.fields).unwrap_or_else(|| call.context.collation.clone()));
    let results = (0..call.rows).map(|row| {
        let row = Row { arguments: &arguments, row, returns: call.returns, rules, system_zone };
        if !sees_nulls && (0..row.len()).any(|i| row.is_null(i)) {
            return Ok(Out::Null);
        }
        f(&row)
    });
    collect(results, call)
}

fn misfit(ty: Ty) -> DataFusionError {
    DataFusionError::Internal(format!("a function gave another kind of value than {ty:?}"))
}

fn collect(results: impl Iterator<Item = Result<Out>>, call: &Call) -> Result<ArrayRef> {
    let (ty, rows) = (call.returns, call.rows);
    macro_rules! build {
        ($builder:expr, $($pattern:pat => $value:expr),+) => {{
            let mut builder = $builder;
            for result in results {
                match result? {
                    Out::Null => builder.append_null(),
                    $($pattern => builder.append_value($value),)+
                    #[allow(unreachable_patterns, reason = "the text arm takes every kind")]
                    _ => return Err(misfit(ty)),
                }
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    Ok(match ty {
        Ty::Text | Ty::Address => build!(StringBuilder::with_capacity(rows, rows * 8),
            Out::S(s) => s, Out::I(i) => i.to_string(), Out::U(u) => u.to_string(),
            Out::T(us) => if split_micros(us).1 == 0 { date_text(split_micros(us).0) } else { datetime_text(us, fraction(us)) },
            Out::M(us) => time_text(us, fraction(us)),
            Out::D(d) => crate::sql::convert::double_text(d)),
        Ty::Int => build!(Int64Builder::with_capacity(rows), Out::I(i) => i, Out::Bool(b) => i64::from(b)),
        Ty::Time(_) => build!(Int64Builder::with_capacity(rows), Out::M(us) => us),
        Ty::UInt => build!(UInt64Builder::with_capacity(rows), Out::U(u) => u),
        Ty::Double | Ty::Fixed(_) => build!(Float64Builder::with_capacity(rows), Out::D(d) => d, Out::I(i) => i as f64),
        Ty::DateTime(_) => build!(TimestampMicrosecondBuilder::with_capacity(rows), Out::T(us) => us),
        Ty::Date => build!(Date32Builder::with_capacity(rows), Out::T(us) => split_micros(us).0),
        Ty::Bytes => build!(BinaryBuilder::new(), Out::B(b) => b),
        Ty::Bool => build!(BooleanBuilder::with_capacity(rows), Out::Bool(b) => b),
        Ty::Null | Ty::Decimal(..) | Ty::Timestamp(_) => return Err(misfit(ty)),
    })
}

/// 6 digits if there is a fraction, else none.
fn fraction(us: i64) -> u8 {
    if us.rem_euclid(1_000_000) == 0 { 0 } else { 6 }
}
