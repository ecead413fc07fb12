//! Whether a column is worth compressing: LZ4 that saves next to nothing costs every scan a fifth of its time.

use arrow::array::{Array, ArrayRef};
use arrow::buffer::Buffer;

/// Bytes that are tried.
const TRIED: usize = 64 << 10;
/// Fewer tell too little.
const LEAST: usize = 1 << 10;

/// True if LZ4 saves a tenth of a column's values, as far as these tell.
pub(crate) fn is_worth(column: &ArrayRef) -> bool {
    let data = column.to_data();
    // Values of texts are in the second buffer, behind their offsets; of numbers in the first.
    let Some(values) = data.buffers().last().map(Buffer::as_slice) else { return true };
    let tried = &values[..values.len().min(TRIED)];
    if tried.len() < LEAST {
        return true;
    }
    lz4_flex::block::compress(tried).len() * 10 < tried.len() * 9
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int32Array, Int64Array, StringArray};

    use super::*;

    fn mixed(n: u64) -> u64 {
        n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 12
    }

    #[test]
    fn what_lz4_cannot_shorten_is_not_worth_it() {
        let worth = |column: ArrayRef| is_worth(&column);
        let n = 0..8192_u64;
        assert!(!worth(Arc::new(n.clone().map(|n| mixed(n) as f64 / 1e6).collect::<Float64Array>())));
        assert!(!worth(Arc::new(n.clone().map(|n| mixed(n) as i32).collect::<Int32Array>())));
        assert!(!worth(Arc::new(n.clone().map(|n| Some(format!("{:x}", mixed(n)))).collect::<StringArray>())));
        assert!(worth(Arc::new(n.clone().map(|n| (mixed(n) % 1000) as i64).collect::<Int64Array>())));
        assert!(worth(Arc::new(n.map(|n| Some(format!("order {} of many", n % 7))).collect::<StringArray>())));
        assert!(worth(Arc::new(Int64Array::from(vec![mixed(3) as i64; 5]))), "too few to tell");
    }
}
