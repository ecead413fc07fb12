//! GROUP_CONCAT, JSON_ARRAYAGG, JSON_OBJECTAGG. Arguments: the piece of text, what makes pieces equal (for DISTINCT), then
//! the values to sort by. Several of them with different orders fit into one query, as each sorts for itself.

use std::collections::HashSet;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, ListArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// What is written around the pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// Nothing.
    Plain,
    /// `[...]`.
    Array,
    /// `{...}`.
    Object,
}

/// How one call concatenates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Style {
    /// Between two pieces.
    pub(crate) separator: String,
    /// Equal pieces once.
    pub(crate) distinct: bool,
    /// One per value to sort by.
    pub(crate) descending: Vec<bool>,
    /// Around all.
    pub(crate) shape: Shape,
    /// Bytes at which the text is cut, as `group_concat_max_len`.
    pub(crate) max_len: usize,
}

/// The aggregate of one call.
pub(crate) fn group_concat(style: Style) -> Arc<AggregateUDF> {
    let signature = Signature::variadic_any(Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(GroupConcat { signature, style }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct GroupConcat {
    signature: Signature,
    style: Style,
}

impl AggregateUDFImpl for GroupConcat {
    fn name(&self) -> &str {
        "group_concat"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let list = |part: &str, of: DataType| -> FieldRef {
            Arc::new(Field::new(format_state_name(args.name, part), DataType::new_list(of, true), true))
        };
        Ok(vec![list("sort", DataType::Binary), list("piece", DataType::Utf8), list("key", DataType::Utf8)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let sorts = args.expr_fields.iter().skip(2).zip(&self.style.descending).map(|(field, descending)| {
            let options = SortOptions { descending: *descending, nulls_first: !descending };
            SortField::new_with_options(field.data_type().clone(), options)
        });
        let sorts: Vec<SortField> = sorts.collect();
        let converter = if sorts.is_empty() { None } else { Some(RowConverter::new(sorts)?) };
        Ok(Box::new(Pieces { style: self.style.clone(), converter, all: Vec::new(), bytes: 0 }))
    }
}

#[derive(Debug)]
struct Piece {
    sort: Vec<u8>,
    text: String,
    key: String,
}

#[derive(Debug)]
struct Pieces {
    style: Style,
    converter: Option<RowConverter>,
    all: Vec<Piece>,
    bytes: usize,
}

impl Pieces {
    fn push(&mut self, sort: &[u8], text: &str, key: &str) {
        self.bytes += sort.len() + text.len() + key.len();
        self.all.push(Piece { sort: sort.to_vec(), text: text.to_owned(), key: key.to_owned() });
    }

    fn joined(&mut self) -> Option<String> {
        if self.all.is_empty() {
            return None;
        }
        if self.converter.is_some() {
            self.all.sort_by(|a, b| a.sort.cmp(&b.sort));
        }
        let (open, close) = match self.style.shape {
            Shape::Plain => ("", ""),
            Shape::Array => ("[", "]"),
            Shape::Object => ("{", "}"),
        };
        let (mut seen, mut out, mut first) = (HashSet::new(), open.to_owned(), true);
        for piece in &self.all {
            if self.style.distinct && !seen.insert(piece.key.as_str()) {
                continue;
            }
            if !first {
                out.push_str(&self.style.separator);
            }
            first = false;
            out.push_str(&piece.text);
            if out.len() > self.style.max_len {
                break;
            }
        }
        let fits = (0..=self.style.max_len.min(out.len())).rev().find(|at| out.is_char_boundary(*at));
        out.truncate(fits.unwrap_or(0));
        out.push_str(close);
        Some(out)
    }
}

fn list(array: ArrayRef) -> ScalarValue {
    let field = Arc::new(Field::new_list_field(array.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([array.len()]);
    ScalarValue::List(Arc::new(ListArray::new(field, offsets, array, None)))
}

impl Accumulator for Pieces {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [texts, keys, sorts @ ..] = values else {
            return Err(DataFusionError::Internal("GROUP_CONCAT without its arguments".into()));
        };
        // Columns are views.
        let (texts, keys) = (cast(texts, &DataType::Utf8)?, cast(keys, &DataType::Utf8)?);
        let (texts, keys) = (texts.as_string::<i32>(), keys.as_string::<i32>());
        let rows = match &self.converter {
            Some(converter) => Some(converter.convert_columns(sorts)?),
            None => None,
        };
        for i in (0..texts.len()).filter(|i| texts.is_valid(*i)) {
            let key = if keys.is_valid(i) { keys.value(i) } else { "" };
            match &rows {
                Some(rows) => self.push(rows.row(i).as_ref(), texts.value(i), key),
                None => self.push(&[], texts.value(i), key),
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Utf8(self.joined()))
    }

    fn size(&self) -> usize {
        size_of::<Pieces>() + self.all.capacity() * size_of::<Piece>() + self.bytes
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sorts: BinaryArray = self.all.iter().map(|p| Some(p.sort.as_slice())).collect();
        let texts: StringArray = self.all.iter().map(|p| Some(p.text.as_str())).collect();
        let keys: StringArray = self.all.iter().map(|p| Some(p.key.as_str())).collect();
        Ok(vec![list(Arc::new(sorts)), list(Arc::new(texts)), list(Arc::new(keys))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [sorts, texts, keys] = states else {
            return Err(DataFusionError::Internal("a state of GROUP_CONCAT has three lists".into()));
        };
        let (sorts, texts, keys) = (sorts.as_list::<i32>(), texts.as_list::<i32>(), keys.as_list::<i32>());
        for row in (0..texts.len()).filter(|row| texts.is_valid(*row)) {
            let (sorts, texts, keys) = (sorts.value(row), texts.value(row), keys.value(row));
            let (sorts, texts, keys) = (sorts.as_binary::<i32>(), texts.as_string::<i32>(), keys.as_string::<i32>());
            for i in 0..texts.len() {
                self.push(sorts.value(i), texts.value(i), keys.value(i));
            }
        }
        Ok(())
    }
}
