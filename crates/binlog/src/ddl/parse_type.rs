//! Column types and their synonyms.

use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{TypeKind, UpstreamType};

use super::ast::{ColumnKey, ColumnSpec};
use super::cursor::{Cursor, Parsed};
use super::token::TokenKind;

/// Reads a type; everything it implies (SERIAL's key, JSON's check on MariaDB) is set in the column.
pub(super) fn column_type(c: &mut Cursor<'_>, name: String, flavor: ServerFlavor) -> Parsed<ColumnSpec> {
    let mut spec = ColumnSpec {
        name,
        ty: UpstreamType::new(TypeKind::Int),
        binary: false,
        real: false,
        text_length: None,
        nullable: None,
        default: None,
        on_update: None,
        auto_increment: false,
        key: ColumnKey::None,
        comment: String::new(),
        generated: None,
        invisible: false,
        check: None,
        compressed: false,
        references: None,
        srid: None,
    };
    let schema = type_schema(c);
    let Some(word) = c.word() else { return Err(c.error("a column type")) };
    let mut word = word.to_ascii_lowercase();
    c.advance();
    if (schema, word.as_str()) == (Some("oracle_schema"), "date") {
        word = "datetime".into();
    }
    known_type(c, &word, flavor, &mut spec)?;
    Ok(spec)
}

/// MariaDB: `mariadb_schema.date` is the type of that name, whatever the session's `sql_mode` calls so.
fn type_schema(c: &mut Cursor<'_>) -> Option<&'static str> {
    let schema = ["mariadb_schema", "oracle_schema", "maxdb_schema"].into_iter().find(|schema| c.is(schema))?;
    if *c.kind_at(1) != TokenKind::Punct(b'.') {
        return None;
    }
    c.advance();
    c.advance();
    Some(schema)
}

fn known_type(c: &mut Cursor<'_>, word: &str, flavor: ServerFlavor, spec: &mut ColumnSpec) -> Parsed<()> {
    use TypeKind as K;
    match word {
        "tinyint" | "int1" => integer(c, K::TinyInt, spec),
        "smallint" | "int2" => integer(c, K::SmallInt, spec),
        "mediumint" | "int3" | "middleint" => integer(c, K::MediumInt, spec),
        "int" | "integer" | "int4" => integer(c, K::Int, spec),
        "bigint" | "int8" => integer(c, K::BigInt, spec),
        "bool" | "boolean" => {
            spec.ty = UpstreamType::new(K::TinyInt).with_length(1);
            Ok(())
        }
        "serial" => {
            spec.ty = UpstreamType::new(K::BigInt).unsigned();
            make_serial(spec);
            Ok(())
        }
        "decimal" | "dec" | "numeric" | "fixed" | "number" => decimal(c, spec),
        "float" | "float4" => floating(c, K::Float, spec),
        "double" | "float8" => {
            c.eat("precision");
            floating(c, K::Double, spec)
        }
        "real" => {
            spec.real = true;
            floating(c, K::Double, spec)
        }
        "bit" => sized(c, K::Bit, 1, spec),
        "date" => plain(K::Date, spec),
        "time" => temporal(c, K::Time, spec),
        "datetime" => temporal(c, K::DateTime, spec),
        "timestamp" => temporal(c, K::Timestamp, spec),
        "year" => {
            // MySQL 8 dropped the length that older servers print. MariaDB still has years of two digits.
            let kept = if flavor == ServerFlavor::MySql { 4 } else { 2 };
            let length = optional_length(c)?.filter(|n| *n == kept);
            spec.ty = UpstreamType::new(K::Year).with_length(length.unwrap_or(0));
            Ok(())
        }
        "char" | "character" | "nchar" | "national" | "varchar" | "varchar2" | "varcharacter" | "nvarchar" => {
            character(c, word, spec)
        }
        "binary" => {
            if c.eat("varying") {
                sized(c, K::VarBinary, 1, spec)
            } else {
                sized(c, K::Binary, 1, spec)
            }
        }
        "varbinary" | "raw" => sized(c, K::VarBinary, 1, spec),
        "tinytext" => text(c, K::TinyText, spec),
        "text" => text(c, K::Text, spec),
        "mediumtext" => text(c, K::MediumText, spec),
        "longtext" | "clob" => text(c, K::LongText, spec),
        "tinyblob" => text(c, K::TinyBlob, spec),
        "blob" => text(c, K::Blob, spec),
        "mediumblob" => text(c, K::MediumBlob, spec),
        "longblob" => text(c, K::LongBlob, spec),
        "long" => {
            let kind = if c.eat("varbinary") { K::MediumBlob } else { K::MediumText };
            if kind == K::MediumText && !c.eat_any(&["varchar", "varcharacter"]) && c.eat_any(&["char", "character"]) {
                c.expect("varying")?;
            }
            plain(kind, spec)
        }
        "enum" => labels(c, K::Enum, spec),
        "set" => labels(c, K::Set, spec),
        "json" => json(flavor, spec),
        "uuid" => plain(K::Uuid, spec),
        "inet4" => plain(K::Inet4, spec),
        "inet6" => plain(K::Inet6, spec),
        "vector" if c.eat_punct(b'<') => {
            c.expect("float")?;
            c.expect_punct(b'>')?;
            sized(c, K::Vector, 0, spec)
        }
        "vector" => sized(c, K::Vector, if flavor == ServerFlavor::MySql { 2048 } else { 0 }, spec),
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
        | "geometrycollection" | "geomcollection" => {
            spec.ty = UpstreamType::new(K::Geometry);
            spec.ty.subtype = if word == "geometrycollection" && flavor == ServerFlavor::MySql {
                "geomcollection".into()
            } else {
                word.to_owned()
            };
            Ok(())
        }
        other => Err(c.error(&format!("a known column type instead of {other}"))),
    }
}

/// SERIAL, SERIAL DEFAULT VALUE.
pub(super) fn make_serial(spec: &mut ColumnSpec) {
    spec.nullable = Some(false);
    spec.auto_increment = true;
    spec.key = ColumnKey::Unique;
}

fn plain(kind: TypeKind, spec: &mut ColumnSpec) -> Parsed<()> {
    spec.ty = UpstreamType::new(kind);
    Ok(())
}

fn integer(c: &mut Cursor<'_>, kind: TypeKind, spec: &mut ColumnSpec) -> Parsed<()> {
    spec.ty = UpstreamType::new(kind).with_length(optional_length(c)?.unwrap_or(0));
    Ok(())
}

fn sized(c: &mut Cursor<'_>, kind: TypeKind, default: u32, spec: &mut ColumnSpec) -> Parsed<()> {
    spec.ty = UpstreamType::new(kind).with_length(optional_length(c)?.unwrap_or(default));
    Ok(())
}

fn text(c: &mut Cursor<'_>, kind: TypeKind, spec: &mut ColumnSpec) -> Parsed<()> {
    spec.ty = UpstreamType::new(kind);
    if matches!(kind, TypeKind::Text | TypeKind::Blob) {
        spec.text_length = optional_length(c)?.filter(|n| *n > 0);
    }
    Ok(())
}

fn temporal(c: &mut Cursor<'_>, kind: TypeKind, spec: &mut ColumnSpec) -> Parsed<()> {
    let digits = optional_length(c)?.unwrap_or(0);
    let fsp = u8::try_from(digits).ok().filter(|d| *d <= 6).ok_or_else(|| c.error("at most 6 fractional digits"))?;
    spec.ty = UpstreamType::new(kind).with_fsp(fsp);
    Ok(())
}

fn decimal(c: &mut Cursor<'_>, spec: &mut ColumnSpec) -> Parsed<()> {
    let (precision, scale) = precision_and_scale(c)?;
    // DECIMAL(0) is DECIMAL(10).
    let precision = precision.filter(|p| *p > 0).unwrap_or(10);
    let scale = scale.unwrap_or(0);
    if precision > 65 || scale > 38 || scale > precision {
        return Err(c.error("DECIMAL of at most 65 digits"));
    }
    spec.ty = UpstreamType::decimal(precision, scale);
    Ok(())
}

fn floating(c: &mut Cursor<'_>, kind: TypeKind, spec: &mut ColumnSpec) -> Parsed<()> {
    let (precision, scale) = precision_and_scale(c)?;
    let double = kind == TypeKind::Double || (scale.is_none() && precision.is_some_and(|p| p > 24));
    spec.ty = UpstreamType::new(if double { TypeKind::Double } else { TypeKind::Float });
    if scale.is_some() {
        spec.ty.precision = precision.unwrap_or(0);
        spec.ty.scale = scale;
    }
    Ok(())
}

fn precision_and_scale(c: &mut Cursor<'_>) -> Parsed<(Option<u8>, Option<u8>)> {
    if !c.eat_punct(b'(') {
        return Ok((None, None));
    }
    // `(10,2)` reaches us as three tokens; `( 10 )` as one.
    let small = |c: &mut Cursor<'_>| u8::try_from(c.number()?).map_err(|_| c.error("a smaller number"));
    let precision = small(c)?;
    let scale = if c.eat_punct(b',') { Some(small(c)?) } else { None };
    c.expect_punct(b')')?;
    Ok((Some(precision), scale))
}

fn optional_length(c: &mut Cursor<'_>) -> Parsed<Option<u32>> {
    if !c.eat_punct(b'(') {
        return Ok(None);
    }
    let length = c.number()?;
    // VARCHAR2(10 CHAR)
    c.eat_any(&["char", "byte"]);
    c.expect_punct(b')')?;
    Ok(Some(length))
}

fn character(c: &mut Cursor<'_>, word: &str, spec: &mut ColumnSpec) -> Parsed<()> {
    let national = matches!(word, "nchar" | "national" | "nvarchar");
    let mut varying = matches!(word, "varchar" | "varchar2" | "varcharacter" | "nvarchar");
    if word == "national" {
        varying = c.eat_any(&["varchar", "varcharacter"]);
        if !varying && !c.eat_any(&["char", "character"]) {
            return Err(c.error("CHAR or VARCHAR"));
        }
    }
    if word == "nchar" {
        varying |= c.eat_any(&["varchar", "varcharacter"]);
    }
    varying |= c.eat("varying");
    sized(c, if varying { TypeKind::VarChar } else { TypeKind::Char }, 1, spec)?;
    if national {
        spec.ty.charset = Some("utf8mb3".into());
    }
    Ok(())
}

fn labels(c: &mut Cursor<'_>, kind: TypeKind, spec: &mut ColumnSpec) -> Parsed<()> {
    c.expect_punct(b'(')?;
    let mut labels = Vec::new();
    loop {
        let label = match c.kind() {
            TokenKind::Hex(bytes) => {
                let label = String::from_utf8(bytes.clone()).map_err(|_| c.error("a label in UTF-8"))?;
                c.advance();
                label
            }
            _ => c.string()?,
        };
        labels.push(label);
        if !c.eat_punct(b',') {
            break;
        }
    }
    c.expect_punct(b')')?;
    spec.ty = UpstreamType::new(kind).with_labels(labels);
    Ok(())
}

/// MariaDB's JSON is a LONGTEXT with a check; MySQL and TiDB have a type of that name.
fn json(flavor: ServerFlavor, spec: &mut ColumnSpec) -> Parsed<()> {
    if flavor != ServerFlavor::MariaDb {
        return plain(TypeKind::Json, spec);
    }
    spec.ty = UpstreamType::new(TypeKind::LongText).with_charset("utf8mb4", "utf8mb4_bin");
    spec.check = Some(format!("(json_valid({}))", tidelake_core::show_create::quote_name(&spec.name)));
    Ok(())
}
