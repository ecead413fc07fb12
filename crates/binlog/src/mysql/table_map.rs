//! TABLE_MAP events: which table a rows event is about, and how its columns look on the wire.

use super::reader::{Malformed, Parsed, Reader};

/// A column's form on the wire: the event's type number and metadata, understood.
#[allow(missing_docs, reason = "the names are the upstream's own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireType {
    Tiny,
    Short,
    Int24,
    Long,
    LongLong,
    Float,
    Double,
    Year,
    Date,
    /// TIME before 5.6, and MariaDB's with fractions: the layout depends on the declared digits.
    TimeOld,
    /// DATETIME before 5.6, and MariaDB's with fractions.
    DateTimeOld,
    /// TIMESTAMP before 5.6, and MariaDB's with fractions.
    TimestampOld,
    Time2 {
        fsp: u8,
    },
    DateTime2 {
        fsp: u8,
    },
    Timestamp2 {
        fsp: u8,
    },
    NewDecimal {
        precision: u8,
        scale: u8,
    },
    Bit {
        bits: u16,
    },
    /// CHAR and BINARY (and what looks like it: UUID, INET); length in bytes.
    Char {
        max: u16,
    },
    /// VARCHAR and VARBINARY; length in bytes.
    VarChar {
        max: u16,
        compressed: bool,
    },
    Enum {
        bytes: u8,
    },
    Set {
        bytes: u8,
    },
    /// The TEXTs and BLOBs; `len` is the size of the length before a value.
    Blob {
        len: u8,
        compressed: bool,
    },
    Json {
        len: u8,
    },
    Geometry {
        len: u8,
    },
    Vector {
        len: u8,
    },
}

impl WireType {
    fn parse(kind: u8, meta: &mut Reader<'_>) -> Parsed<WireType> {
        Ok(match kind {
            1 => WireType::Tiny,
            2 => WireType::Short,
            3 => WireType::Long,
            8 => WireType::LongLong,
            9 => WireType::Int24,
            4 => sized(meta, 4, WireType::Float)?,
            5 => sized(meta, 8, WireType::Double)?,
            7 => WireType::TimestampOld,
            10 | 14 => WireType::Date,
            11 => WireType::TimeOld,
            12 => WireType::DateTimeOld,
            13 => WireType::Year,
            15 => WireType::VarChar { max: meta.u16()?, compressed: false },
            141 => WireType::VarChar { max: meta.u16()?, compressed: true },
            16 => {
                let (rest, bytes) = (u16::from(meta.u8()?), u16::from(meta.u8()?));
                WireType::Bit { bits: bytes * 8 + rest }
            }
            17 => WireType::Timestamp2 { fsp: digits(meta)? },
            18 => WireType::DateTime2 { fsp: digits(meta)? },
            19 => WireType::Time2 { fsp: digits(meta)? },
            140 => WireType::Blob { len: length_size(meta)?, compressed: true },
            242 => WireType::Vector { len: length_size(meta)? },
            245 => WireType::Json { len: length_size(meta)? },
            246 => decimal(meta)?,
            249..=252 => WireType::Blob { len: length_size(meta)?, compressed: false },
            255 => WireType::Geometry { len: length_size(meta)? },
            247 | 248 | 253 | 254 => string(meta)?,
            other => return Err(Malformed::new(format!("column of unknown wire type {other}"))),
        })
    }

    /// True for the types that the collations count.
    fn is_character(self) -> bool {
        matches!(self, WireType::Char { .. } | WireType::VarChar { .. } | WireType::Blob { .. })
    }

    /// True for the types that the signedness bitmap counts.
    fn is_numeric(self) -> bool {
        use WireType as W;
        matches!(
            self,
            W::Tiny
                | W::Short
                | W::Int24
                | W::Long
                | W::LongLong
                | W::Float
                | W::Double
                | W::Year
                | W::NewDecimal { .. }
        )
    }
}

fn sized(meta: &mut Reader<'_>, bytes: u8, ty: WireType) -> Parsed<WireType> {
    match meta.u8()? {
        b if b == bytes => Ok(ty),
        other => Err(Malformed::new(format!("floating point number of {other} bytes"))),
    }
}

fn digits(meta: &mut Reader<'_>) -> Parsed<u8> {
    match meta.u8()? {
        fsp @ 0..=6 => Ok(fsp),
        other => Err(Malformed::new(format!("{other} digits of fractional seconds"))),
    }
}

fn length_size(meta: &mut Reader<'_>) -> Parsed<u8> {
    match meta.u8()? {
        len @ 1..=4 => Ok(len),
        other => Err(Malformed::new(format!("length of {other} bytes before a value"))),
    }
}

fn decimal(meta: &mut Reader<'_>) -> Parsed<WireType> {
    let (precision, scale) = (meta.u8()?, meta.u8()?);
    if !(1..=65).contains(&precision) || scale > precision || scale > 38 {
        return Err(Malformed::new(format!("DECIMAL({precision},{scale})")));
    }
    Ok(WireType::NewDecimal { precision, scale })
}

/// CHAR, ENUM and SET share one number; the real one is in the metadata, with two bits of the length folded in.
fn string(meta: &mut Reader<'_>) -> Parsed<WireType> {
    let (first, second) = (meta.u8()?, meta.u8()?);
    let folded = first & 0x30 != 0x30;
    let (real, max) = if folded {
        (first | 0x30, u16::from(second) | (u16::from((first & 0x30) ^ 0x30) << 4))
    } else {
        (first, u16::from(second))
    };
    match (real, second) {
        (247, 1 | 2) => Ok(WireType::Enum { bytes: second }),
        (248, 1..=4 | 8) => Ok(WireType::Set { bytes: second }),
        (253 | 254, _) => Ok(WireType::Char { max }),
        (other, bytes) => Err(Malformed::new(format!("string column of type {other} and {bytes} bytes"))),
    }
}

/// A parsed TABLE_MAP event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMap {
    /// The number rows events name the table by, until the next map of that number.
    pub id: u64,
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
    /// The columns' wire types, in table order.
    pub columns: Vec<WireType>,
    /// For each column: UNSIGNED; `None` if the event does not tell or the column is no number.
    pub unsigned: Vec<Option<bool>>,
    /// For each column: its collation; `None` if the event does not tell or the column is no CHAR, VARCHAR, TEXT or BLOB.
    pub collations: Vec<Option<u16>>,
    /// True if the event tells collations at all.
    pub tells_collations: bool,
    /// Column names, if the event has them (`binlog_row_metadata=FULL`).
    pub names: Option<Vec<String>>,
}

impl TableMap {
    /// Parses the body of an event.
    ///
    /// # Errors
    /// If it is too short for its counts, or names unknown column types.
    pub fn parse(body: &[u8], table_id_len: u8) -> Parsed<TableMap> {
        let mut r = Reader::new(body);
        let id = r.le(usize::from(table_id_len.min(8)))?;
        r.u16()?; // flags
        let database = name(&mut r)?;
        let table = name(&mut r)?;
        let count = usize::try_from(r.lenenc()?).unwrap_or(usize::MAX);
        let kinds = r.bytes(count)?;
        let mut meta = Reader::new(r.lenenc_bytes()?);
        let columns = kinds.iter().map(|k| WireType::parse(*k, &mut meta)).collect::<Parsed<Vec<_>>>()?;
        r.bytes(count.div_ceil(8))?; // which columns may be NULL: the catalog knows
        let (unsigned, collations) = (vec![None; count], vec![None; count]);
        let mut map =
            TableMap { id, database, table, unsigned, collations, columns, tells_collations: false, names: None };
        map.read_optional(r)?;
        Ok(map)
    }

    /// Reads the number of the table only.
    ///
    /// # Errors
    /// If the event is too short.
    pub fn id_of(body: &[u8], table_id_len: u8) -> Parsed<u64> {
        Reader::new(body).le(usize::from(table_id_len.min(8)))
    }

    fn read_optional(&mut self, mut r: Reader<'_>) -> Parsed<()> {
        while !r.is_empty() {
            let (field, value) = (r.u8()?, r.lenenc_bytes()?);
            self.tells_collations |= matches!(field, 2 | 3);
            match field {
                1 => self.read_signedness(value),
                2 => self.read_default_collation(value)?,
                3 => self.read_collations(value)?,
                4 => self.read_names(value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_signedness(&mut self, bits: &[u8]) {
        let numeric = self.columns.iter().zip(&mut self.unsigned).filter(|(ty, _)| ty.is_numeric());
        for (i, (_, unsigned)) in numeric.enumerate() {
            *unsigned = bits.get(i / 8).map(|byte| byte & (0x80 >> (i % 8)) != 0);
        }
    }

    fn character_columns(&mut self) -> Vec<&mut Option<u16>> {
        let columns = self.columns.iter().zip(&mut self.collations);
        columns.filter(|(ty, _)| ty.is_character()).map(|(_, collation)| collation).collect()
    }

    /// One collation for all, then pairs of column (counted among the character columns) and collation.
    fn read_default_collation(&mut self, value: &[u8]) -> Parsed<()> {
        let mut r = Reader::new(value);
        let default = r.lenenc()?;
        let mut columns = self.character_columns();
        columns.iter_mut().for_each(|c| **c = u16::try_from(default).ok());
        while !r.is_empty() {
            let (column, collation) = (r.lenenc()? as usize, r.lenenc()?);
            let Some(column) = columns.get_mut(column) else {
                // counted otherwise than here: better no collation than a wrong one
                columns.iter_mut().for_each(|c| **c = None);
                return Ok(());
            };
            **column = u16::try_from(collation).ok();
        }
        Ok(())
    }

    fn read_collations(&mut self, value: &[u8]) -> Parsed<()> {
        let (mut r, mut logged) = (Reader::new(value), Vec::new());
        while !r.is_empty() {
            logged.push(u16::try_from(r.lenenc()?).ok());
        }
        let columns = self.character_columns();
        if columns.len() == logged.len() {
            columns.into_iter().zip(logged).for_each(|(column, collation)| *column = collation);
        }
        Ok(())
    }

    fn read_names(&mut self, value: &[u8]) -> Parsed<()> {
        let mut r = Reader::new(value);
        let mut names = Vec::new();
        while !r.is_empty() {
            names.push(String::from_utf8_lossy(r.lenenc_bytes()?).into_owned());
        }
        if names.len() != self.columns.len() {
            return Err(Malformed::new(format!("{} column names for {} columns", names.len(), self.columns.len())));
        }
        self.names = Some(names);
        Ok(())
    }
}

fn name(r: &mut Reader<'_>) -> Parsed<String> {
    let len = usize::from(r.u8()?);
    let name = String::from_utf8_lossy(r.bytes(len)?).into_owned();
    r.u8()?;
    Ok(name)
}
