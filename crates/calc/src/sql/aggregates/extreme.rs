//! MIN and MAX of texts: by the collation's key (first argument), the text itself (second) among equals.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// The aggregate: the greatest or the smallest.
pub(crate) fn extreme(greatest: bool) -> Arc<AggregateUDF> {
    let signature = Signature::exact(vec![DataType::Utf8, DataType::Utf8], Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(Extreme { signature, greatest }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    signature: Signature,
    greatest: bool,
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        if self.greatest { "__max_text" } else { "__min_text" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let text =
            |part: &str| -> FieldRef { Arc::new(Field::new(format_state_name(args.name, part), DataType::Utf8, true)) };
        Ok(vec![text("key"), text("text")])
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Best { greatest: self.greatest, best: None }))
    }
}

#[derive(Debug)]
struct Best {
    greatest: bool,
    best: Option<(String, String)>,
}

impl Accumulator for Best {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [keys, texts] = values else {
            return Err(DataFusionError::Internal("MIN of a text needs its key".into()));
        };
        let (keys, texts) = (keys.as_string::<i32>(), texts.as_string::<i32>());
        for i in (0..texts.len()).filter(|i| texts.is_valid(*i) && keys.is_valid(*i)) {
            let one = (keys.value(i), texts.value(i));
            let better = match &self.best {
                None => true,
                Some((key, text)) if key == one.0 => one.1 < text.as_str(),
                Some((key, _)) => (one.0 > key.as_str()) == self.greatest,
            };
            if better {
                self.best = Some((one.0.to_owned(), one.1.to_owned()));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Utf8(self.best.as_ref().map(|(_, text)| text.clone())))
    }

    fn size(&self) -> usize {
        std::mem::size_of::<Best>() + self.best.as_ref().map_or(0, |(k, t)| k.capacity() + t.capacity())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (key, text) = self.best.clone().unzip();
        Ok(vec![ScalarValue::Utf8(key), ScalarValue::Utf8(text)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}
