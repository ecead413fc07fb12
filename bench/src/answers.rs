//! Answers as texts, and if two of them say the same: numbers may differ in digits that engines round differently.

use anyhow::{Result, ensure};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;

/// Rows as the texts of their cells; NULL is `None`.
pub type Rows = Vec<Vec<Option<String>>>;

/// The rows of a result.
pub fn rows_of(batches: &[RecordBatch]) -> Result<Rows> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|c| cast(c, &DataType::Utf8)).collect::<Result<Vec<_>, _>>()?;
        let cell = |c: &arrow::array::ArrayRef, i| c.is_valid(i).then(|| c.as_string::<i32>().value(i).to_owned());
        rows.extend((0..batch.num_rows()).map(|i| columns.iter().map(|c| cell(c, i)).collect()));
    }
    Ok(rows)
}

/// Fails with the first difference.
pub fn ensure_same(got: &Rows, wanted: &Rows) -> Result<()> {
    ensure!(got.len() == wanted.len(), "{} rows, not {}", got.len(), wanted.len());
    for (n, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let same =
            got.len() == wanted.len() && got.iter().zip(wanted).all(|(g, w)| same_cell(g.as_deref(), w.as_deref()));
        ensure!(same, "row {n} is {got:?}, not {wanted:?}");
    }
    Ok(())
}

/// A hundred-thousandth and the fourth digit after the point are rounding.
fn same_cell(got: Option<&str>, wanted: Option<&str>) -> bool {
    let (Some(got), Some(wanted)) = (got, wanted) else { return got == wanted };
    if got == wanted {
        return true;
    }
    match (got.parse::<f64>(), wanted.parse::<f64>()) {
        (Ok(g), Ok(w)) => (g - w).abs() <= 1e-4_f64.max(1e-5 * w.abs()),
        _ => false,
    }
}

/// Rows kept as text: one line each, cells between bars, `None` for NULL.
#[cfg(test)]
pub fn rows_from(text: &str) -> Rows {
    let cell = |c: &str| (c != "None").then(|| c.to_owned());
    text.lines().map(|line| line.split('|').map(cell).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_the_same_and_nothing_else() {
        let same = |a: &str, b: &str| ensure_same(&rows_from(a), &rows_from(b)).is_ok();
        assert!(same("x|1.50000|None", "x|1.5|None"));
        assert!(same("123456789.123", "123456789.9"));
        assert!(!same("1.501", "1.5"));
        assert!(!same("x", "y"));
        assert!(!same("None", "0"));
        assert!(!same("1\n2", "1"));
    }
}
