//! The one table of types (`docs/types.md`): what the upstream calls a column's type, and what that means for
//! Arrow, for text, for order and for the MySQL wire. Nobody else matches on type names.
//!
//! Rooms: [`arrow`] upstream type -> Arrow type and field; [`temporal`] days and microseconds with a place for
//! zero and partial dates; [`text`] the bytes the upstream's text protocol prints;
//! [`wire`] what the MySQL protocol says of a column.

pub mod arrow;
pub mod temporal;
pub mod text;
pub mod widen;
pub mod wire;

use serde::{Deserialize, Serialize};

/// The upstream's name of a type. Everything else about it is in [`UpstreamType`].
#[allow(missing_docs, reason = "the names are the upstream's own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TypeKind {
    TinyInt,
    SmallInt,
    MediumInt,
    Int,
    BigInt,
    Decimal,
    Float,
    Double,
    Bit,
    Year,
    Date,
    DateTime,
    Timestamp,
    Time,
    Char,
    VarChar,
    TinyText,
    Text,
    MediumText,
    LongText,
    Binary,
    VarBinary,
    TinyBlob,
    Blob,
    MediumBlob,
    LongBlob,
    Enum,
    Set,
    Json,
    /// Any of the spatial types; `UpstreamType::subtype` has the name.
    Geometry,
    Vector,
    Uuid,
    Inet4,
    Inet6,
}

/// A column's type as the upstream declares it. Travels with the column, in the Arrow field's metadata too
/// ([`arrow::TYPE_METADATA_KEY`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UpstreamType {
    /// The type's name.
    pub kind: TypeKind,
    /// CHAR, VARCHAR, BINARY, VARBINARY: declared length (characters or bytes). BIT: bits. Integers: display
    /// width (0: none). TEXT and BLOB: 0. VECTOR: dimensions.
    #[serde(default, skip_serializing_if = "is_default")]
    pub length: u32,
    /// DECIMAL: total digits. FLOAT(p,s), DOUBLE(p,s): total digits, 0 if not declared.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: u8,
    /// DECIMAL: digits after the point. FLOAT, DOUBLE: `Some` scale if declared as (p,s).
    #[serde(default, skip_serializing_if = "is_default")]
    pub scale: Option<u8>,
    /// TIME, DATETIME, TIMESTAMP: digits of fractional seconds, 0 to 6.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fsp: u8,
    /// Numbers: UNSIGNED.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unsigned: bool,
    /// Numbers: ZEROFILL (implies UNSIGNED).
    #[serde(default, skip_serializing_if = "is_default")]
    pub zerofill: bool,
    /// Text, ENUM and SET: the column's charset on the upstream (`utf8mb4`, `latin1`, ...). The replica
    /// stores UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// Text, ENUM and SET: the column's collation (`utf8mb4_general_ci`, ...).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
    /// ENUM and SET: the labels, in order, as UTF-8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// GEOMETRY: the declared name (`point`, `polygon`, ...), lower case; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subtype: String,
}

fn is_default<T: Default + PartialEq>(v: &T) -> bool {
    *v == T::default()
}

impl UpstreamType {
    /// A type with no attributes.
    #[must_use]
    pub fn new(kind: TypeKind) -> UpstreamType {
        UpstreamType {
            kind,
            length: 0,
            precision: 0,
            scale: None,
            fsp: 0,
            unsigned: false,
            zerofill: false,
            charset: None,
            collation: None,
            labels: Vec::new(),
            subtype: String::new(),
        }
    }

    /// The same, UNSIGNED.
    #[must_use]
    pub fn unsigned(mut self) -> UpstreamType {
        self.unsigned = true;
        self
    }

    /// The same with a declared length.
    #[must_use]
    pub fn with_length(mut self, length: u32) -> UpstreamType {
        self.length = length;
        self
    }

    /// The same with digits of fractional seconds.
    #[must_use]
    pub fn with_fsp(mut self, fsp: u8) -> UpstreamType {
        self.fsp = fsp;
        self
    }

    /// The same with charset and collation.
    #[must_use]
    pub fn with_charset(mut self, charset: &str, collation: &str) -> UpstreamType {
        self.charset = Some(charset.to_owned());
        self.collation = Some(collation.to_owned());
        self
    }

    /// The same with labels (ENUM, SET).
    #[must_use]
    pub fn with_labels<S: Into<String>>(mut self, labels: impl IntoIterator<Item = S>) -> UpstreamType {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// DECIMAL(precision, scale).
    #[must_use]
    pub fn decimal(precision: u8, scale: u8) -> UpstreamType {
        let mut ty = UpstreamType::new(TypeKind::Decimal);
        ty.precision = precision;
        ty.scale = Some(scale);
        ty
    }

    /// True for the types whose stored form is text in a charset (CHAR, VARCHAR, the TEXTs).
    #[must_use]
    pub fn is_text(&self) -> bool {
        use TypeKind::{Char, LongText, MediumText, Text, TinyText, VarChar};
        matches!(self.kind, Char | VarChar | TinyText | Text | MediumText | LongText)
    }

    /// True for BINARY, VARBINARY, the BLOBs, GEOMETRY and VECTOR.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        use TypeKind::{Binary, Blob, Geometry, LongBlob, MediumBlob, TinyBlob, VarBinary, Vector};
        matches!(self.kind, Binary | VarBinary | TinyBlob | Blob | MediumBlob | LongBlob | Geometry | Vector)
    }

    /// True for TINYINT to BIGINT.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        use TypeKind::{BigInt, Int, MediumInt, SmallInt, TinyInt};
        matches!(self.kind, TinyInt | SmallInt | MediumInt | Int | BigInt)
    }
}
