//! The SQL form of stored columns: ENUM and SET become their texts, everything else stays as stored. Names are lower
//! case inside plans; the upstream's spelling travels in the metadata.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use tidelake_core::types::arrow::{TYPE_METADATA_KEY, type_to_json};
use tidelake_core::{ColumnDef, Error, TableDef, TypeKind, UpstreamType};

use super::types::{LABELS_KEY, NAME_KEY};

/// The field that plans see for a column. Texts are views: they are not copied out of files.
pub(crate) fn sql_field(column: &ColumnDef) -> Field {
    let stored = tidelake_core::types::arrow::field(column);
    let mut metadata = stored.metadata().clone();
    metadata.insert(NAME_KEY.to_owned(), column.name.clone());
    let data_type = match column.ty.kind {
        TypeKind::Enum | TypeKind::Set => {
            let mut text = UpstreamType::new(TypeKind::VarChar).with_length(longest(&column.ty));
            text.charset.clone_from(&column.ty.charset);
            text.collation.clone_from(&column.ty.collation);
            metadata.insert(TYPE_METADATA_KEY.to_owned(), type_to_json(&text));
            let labels = Labels { set: column.ty.kind == TypeKind::Set, labels: column.ty.labels.clone() };
            metadata.insert(LABELS_KEY.to_owned(), serde_json::to_string(&labels).unwrap_or_default());
            DataType::Utf8
        }
        _ => stored.data_type().clone(),
    };
    let data_type = if data_type == DataType::Utf8 { DataType::Utf8View } else { data_type };
    Field::new(column.name.to_lowercase(), data_type, column.nullable).with_metadata(metadata)
}

/// The labels of an ENUM or SET whose texts are in a plan: what its numbers are.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Labels {
    set: bool,
    labels: Vec<String>,
}

impl Labels {
    /// From a field's metadata.
    pub(crate) fn of(field: &Field) -> Option<Labels> {
        Labels::parse(field.metadata().get(LABELS_KEY)?)
    }

    /// From the metadata's text.
    pub(crate) fn parse(json: &str) -> Option<Labels> {
        serde_json::from_str(json).ok()
    }

    /// ENUM: the index from 1; SET: the mask. 0 for what has no label.
    pub(crate) fn number(&self, text: &str) -> u64 {
        let index = |label: &str| self.labels.iter().position(|l| l == label);
        if !self.set {
            return index(text).map_or(0, |i| i as u64 + 1);
        }
        text.split(',').filter_map(index).filter(|i| *i < 64).fold(0, |mask, i| mask | 1 << i)
    }
}

fn longest(ty: &UpstreamType) -> u32 {
    let lengths = ty.labels.iter().map(|l| l.chars().count() as u32);
    match ty.kind {
        TypeKind::Set => lengths.map(|n| n + 1).sum::<u32>().saturating_sub(1),
        _ => lengths.max().unwrap_or(0),
    }
}

/// The schema that plans see for a table.
pub(crate) fn sql_schema(def: &TableDef) -> SchemaRef {
    Arc::new(Schema::new(def.columns.iter().map(sql_field).collect::<Vec<_>>()))
}

/// How a stored column becomes its SQL form.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// As stored.
    Same,
    /// Index to label; 0 is ''.
    Enum(Arc<[String]>),
    /// Mask to labels with commas.
    Set(Arc<[String]>),
}

impl Form {
    /// The form of a column.
    pub(crate) fn of(column: &ColumnDef) -> Form {
        match column.ty.kind {
            TypeKind::Enum => Form::Enum(column.ty.labels.clone().into()),
            TypeKind::Set => Form::Set(column.ty.labels.clone().into()),
            _ => Form::Same,
        }
    }

    /// True if plans see the stored values.
    pub(crate) fn is_same(&self) -> bool {
        matches!(self, Form::Same)
    }

    /// Converts one stored column.
    pub(crate) fn apply(&self, array: &ArrayRef) -> Result<ArrayRef, Error> {
        let labels = match self {
            // Of an engine that gives no views.
            Form::Same if *array.data_type() == DataType::Utf8 => return Ok(cast(array, &DataType::Utf8View)?),
            Form::Same => return Ok(Arc::clone(array)),
            Form::Enum(labels) | Form::Set(labels) => labels,
        };
        let numbers = cast(array, &DataType::UInt64)?;
        let numbers = numbers.as_primitive::<UInt64Type>();
        let mut texts = StringViewBuilder::with_capacity(numbers.len());
        for value in numbers {
            match (value, self) {
                (None, _) => texts.append_null(),
                (Some(v), Form::Enum(_)) => {
                    let at = usize::try_from(v).unwrap_or(0).checked_sub(1);
                    texts.append_value(at.and_then(|i| labels.get(i)).map_or("", String::as_str));
                }
                (Some(v), _) => {
                    let chosen = labels.iter().take(64).enumerate().filter(|(i, _)| v >> i & 1 == 1);
                    texts.append_value(chosen.map(|(_, l)| l.as_str()).collect::<Vec<_>>().join(","));
                }
            }
        }
        Ok(Arc::new(texts.finish()))
    }
}
