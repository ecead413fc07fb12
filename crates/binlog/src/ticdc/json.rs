//! Rows in JSON: objects from column names to values.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::record::{Cell, ImageWriter};

/// A value of a column as JSON has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonValue {
    /// `null`.
    Null,
    /// A string.
    Text(String),
    /// A number or a boolean, as text.
    Number(String),
    /// `{"location": ..., "value": ...}`: a TIMESTAMP of the simple protocol.
    Zoned {
        /// The text.
        value: String,
        /// Its zone.
        location: String,
    },
}

impl JsonValue {
    /// As a cell of an image.
    #[must_use]
    pub fn cell(&self) -> Cell<'_> {
        match self {
            JsonValue::Null => Cell::Null,
            JsonValue::Text(text) | JsonValue::Number(text) => Cell::Text(text.as_bytes()),
            JsonValue::Zoned { value, location } => Cell::Zoned(value.as_bytes(), location),
        }
    }
}

/// The columns of a row, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonRow(pub Vec<(String, JsonValue)>);

impl JsonRow {
    /// This row with the values that `old` has: the row before an UPDATE, also if `old` has only what changed.
    #[must_use]
    pub fn overlaid(&self, old: &JsonRow) -> JsonRow {
        let mut row = self.clone();
        for (name, value) in &old.0 {
            match row.0.binary_search_by(|(n, _)| n.cmp(name)) {
                Ok(at) => row.0[at].1 = value.clone(),
                Err(at) => row.0.insert(at, (name.clone(), value.clone())),
            }
        }
        row
    }

    /// Adds every cell to an image.
    pub fn write(&self, image: &mut ImageWriter) {
        self.0.iter().for_each(|(name, value)| image.cell(name, value.cell()));
    }
}

impl<'de> Deserialize<'de> for JsonRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JsonRow, D::Error> {
        struct Columns;
        impl<'de> Visitor<'de> for Columns {
            type Value = JsonRow;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object from columns to values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonRow, A::Error> {
                let mut row = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    row.push(entry);
                }
                row.sort_by(|(a, _): &(String, JsonValue), (b, _)| a.cmp(b));
                Ok(JsonRow(row))
            }
        }
        deserializer.deserialize_map(Columns)
    }
}

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JsonValue, D::Error> {
        struct Value;
        impl<'de> Visitor<'de> for Value {
            type Value = JsonValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number or null")
            }
            fn visit_unit<E>(self) -> Result<JsonValue, E> {
                Ok(JsonValue::Null)
            }
            fn visit_none<E>(self) -> Result<JsonValue, E> {
                Ok(JsonValue::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<JsonValue, D::Error> {
                deserializer.deserialize_any(Value)
            }
            fn visit_bool<E>(self, v: bool) -> Result<JsonValue, E> {
                Ok(JsonValue::Number(u8::from(v).to_string()))
            }
            fn visit_i64<E>(self, v: i64) -> Result<JsonValue, E> {
                Ok(JsonValue::Number(v.to_string()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<JsonValue, E> {
                Ok(JsonValue::Number(v.to_string()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<JsonValue, E> {
                Ok(JsonValue::Number(v.to_string()))
            }
            fn visit_str<E>(self, v: &str) -> Result<JsonValue, E> {
                Ok(JsonValue::Text(v.to_owned()))
            }
            fn visit_string<E>(self, v: String) -> Result<JsonValue, E> {
                Ok(JsonValue::Text(v))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonValue, A::Error> {
                let (mut value, mut location) = (None, String::new());
                while let Some((key, text)) = map.next_entry::<String, String>()? {
                    match key.as_str() {
                        "value" => value = Some(text),
                        "location" => location = text,
                        _ => {}
                    }
                }
                let value = value.ok_or_else(|| serde::de::Error::missing_field("value"))?;
                Ok(JsonValue::Zoned { value, location })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<JsonValue, A::Error> {
                Err(serde::de::Error::custom("an array is no value of a column"))
            }
        }
        deserializer.deserialize_any(Value)
    }
}
