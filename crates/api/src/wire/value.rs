//! Values, conditions and bounds, in a form that JSON does not harm.

use serde::{Deserialize, Serialize};
use tidelake_core::ports::{ColumnBounds, ColumnPredicate, PredicateOp};
use tidelake_core::{CellValue, ColumnId, Error, Result};

/// Least and greatest value of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireBounds {
    /// No value is below it ...
    pub least: WireCell,
    /// ... and none above this one.
    pub greatest: WireCell,
    /// Rows with exactly these values are in the plan.
    pub exact: bool,
}

impl From<&ColumnBounds> for WireBounds {
    fn from(bounds: &ColumnBounds) -> WireBounds {
        let ColumnBounds { least, greatest, exact } = bounds;
        WireBounds { least: least.into(), greatest: greatest.into(), exact: *exact }
    }
}

impl WireBounds {
    /// The same for a reader.
    ///
    /// # Errors
    /// [`Error::Invalid`] for values that are none.
    pub fn bounds(&self) -> Result<ColumnBounds> {
        Ok(ColumnBounds { least: self.least.cell()?, greatest: self.greatest.cell()?, exact: self.exact })
    }
}

/// A value in the stored form of its column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireCell {
    /// SQL NULL.
    Null,
    /// Signed integers; days of DATE; microseconds of DATETIME, TIMESTAMP and TIME.
    Int(i64),
    /// Unsigned integers; BIT, YEAR, the index of ENUM, the mask of SET.
    Uint(u64),
    /// FLOAT and DOUBLE, as text: JSON numbers lose digits on their way.
    Float(String),
    /// The unscaled digits of a DECIMAL, with sign.
    Decimal(String),
    /// Text.
    Str(String),
    /// Bytes, two hexadecimal digits each.
    Bytes(String),
}

impl From<&CellValue> for WireCell {
    fn from(cell: &CellValue) -> WireCell {
        match cell {
            CellValue::Null => WireCell::Null,
            CellValue::Int(n) => WireCell::Int(*n),
            CellValue::UInt(n) => WireCell::Uint(*n),
            CellValue::Float(f) => WireCell::Float(format!("{f:?}")),
            CellValue::Decimal(digits) => WireCell::Decimal(digits.clone()),
            CellValue::Str(text) => WireCell::Str(text.clone()),
            CellValue::Bytes(bytes) => WireCell::Bytes(to_hex(bytes)),
        }
    }
}

impl WireCell {
    /// The same for an engine.
    ///
    /// # Errors
    /// [`Error::Invalid`] for texts that are no numbers, digits or bytes.
    pub fn cell(&self) -> Result<CellValue> {
        let wrong = || Error::Invalid(format!("{self:?} is no value"));
        Ok(match self {
            WireCell::Null => CellValue::Null,
            WireCell::Int(n) => CellValue::Int(*n),
            WireCell::Uint(n) => CellValue::UInt(*n),
            WireCell::Float(text) => CellValue::Float(text.parse().map_err(|_| wrong())?),
            WireCell::Decimal(digits) => {
                let plain = digits.strip_prefix('-').unwrap_or(digits);
                let whole = (1..=76).contains(&plain.len()) && plain.bytes().all(|b| b.is_ascii_digit());
                CellValue::Decimal(Some(digits.clone()).filter(|_| whole).ok_or_else(wrong)?)
            }
            WireCell::Str(text) => CellValue::Str(text.clone()),
            WireCell::Bytes(hex) => CellValue::Bytes(of_hex(hex).ok_or_else(wrong)?),
        })
    }
}

/// Two hexadecimal digits a byte.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|n| char::from(b"0123456789abcdef"[usize::from(n)])).collect()
}

fn of_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|n| n as u8);
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// A simple condition on one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WirePredicate {
    /// Which column.
    pub column: ColumnId,
    /// The comparison.
    pub op: PredicateOp,
    /// One value; for `in` any number; none for the null tests.
    #[serde(default)]
    pub values: Vec<WireCell>,
}

impl From<&ColumnPredicate> for WirePredicate {
    fn from(predicate: &ColumnPredicate) -> WirePredicate {
        let values = predicate.values.iter().map(WireCell::from).collect();
        WirePredicate { column: predicate.column, op: predicate.op, values }
    }
}

impl WirePredicate {
    /// The same for an engine.
    ///
    /// # Errors
    /// [`Error::Invalid`] for values that are none, or another number of them than the comparison has.
    pub fn predicate(&self) -> Result<ColumnPredicate> {
        let wanted = match self.op {
            PredicateOp::Eq | PredicateOp::Lt | PredicateOp::LtEq | PredicateOp::Gt | PredicateOp::GtEq => Some(1),
            PredicateOp::In => None,
            PredicateOp::IsNull | PredicateOp::IsNotNull => Some(0),
        };
        if wanted.is_some_and(|n| n != self.values.len()) {
            return Err(Error::Invalid(format!("{} values for {:?}", self.values.len(), self.op)));
        }
        let values = self.values.iter().map(WireCell::cell).collect::<Result<_>>()?;
        Ok(ColumnPredicate { column: self.column, op: self.op, values })
    }
}
