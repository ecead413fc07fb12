//! Parameters of prepared statements, out of the bytes of COM_STMT_EXECUTE.
//!
//! Moments and decimals become text, as a [`CellValue`] alone does not say which column form an integer has.

use tidelake_core::CellValue;
use tidelake_core::types::wire::code;

use crate::session::SqlError;

use super::constants::error;
use super::payload::{Payload, malformed};

/// A parameter's type as the client binds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParameterType {
    code: u8,
    unsigned: bool,
}

/// Reads bound types and values. `known` holds the types of an earlier execution and is renewed; `long` gives the
/// data sent ahead for a parameter.
pub(super) fn parse_parameters<'a>(
    payload: &mut Payload<'_>,
    count: usize,
    known: &mut Vec<ParameterType>,
    long: impl Fn(usize) -> Option<&'a [u8]>,
) -> Result<Vec<CellValue>, SqlError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let nulls = payload.bytes(count.div_ceil(8))?;
    if payload.u8()? == 1 {
        let mut types = Vec::with_capacity(count);
        for _ in 0..count {
            let code = payload.u8()?;
            types.push(ParameterType { code, unsigned: payload.u8()? & 0x80 != 0 });
        }
        *known = types;
    }
    if known.len() != count {
        return Err(malformed("a statement is executed before its parameters are bound"));
    }
    let mut cells = Vec::with_capacity(count);
    for (i, ty) in known.iter().enumerate() {
        let cell = match long(i) {
            Some(data) => text_or_bytes(ty.code, data),
            None if nulls[i / 8] >> (i % 8) & 1 == 1 => CellValue::Null,
            None => parse_value(*ty, payload)?,
        };
        cells.push(cell);
    }
    Ok(cells)
}

fn parse_value(ty: ParameterType, payload: &mut Payload<'_>) -> Result<CellValue, SqlError> {
    let integer = |unsigned: u64, signed: i64| match ty.unsigned {
        true => CellValue::UInt(unsigned),
        false => CellValue::Int(signed),
    };
    Ok(match ty.code {
        code::NULL => CellValue::Null,
        code::TINY => {
            let v = payload.u8()?;
            integer(v.into(), (v as i8).into())
        }
        code::SHORT | code::YEAR => {
            let v = payload.u16()?;
            integer(v.into(), (v as i16).into())
        }
        code::LONG | code::INT24 => {
            let v = payload.u32()?;
            integer(v.into(), (v as i32).into())
        }
        code::LONGLONG => {
            let v = payload.u64()?;
            integer(v, v as i64)
        }
        code::FLOAT => CellValue::Float(f32::from_bits(payload.u32()?).into()),
        code::DOUBLE => CellValue::Float(f64::from_bits(payload.u64()?)),
        code::DATE | code::DATETIME | code::TIMESTAMP => CellValue::Str(moment(ty.code, payload)?),
        code::TIME => CellValue::Str(time(payload)?),
        0
        | code::NEWDECIMAL
        | code::VARCHAR
        | code::BIT
        | code::JSON
        | code::ENUM
        | code::SET
        | code::TINY_BLOB
        | code::MEDIUM_BLOB
        | code::LONG_BLOB
        | code::BLOB
        | code::VAR_STRING
        | code::STRING
        | code::GEOMETRY => text_or_bytes(ty.code, payload.string()?),
        other => {
            let (code, state) = error::WRONG_ARGUMENTS;
            return Err(SqlError::new(code, state, format!("parameters of protocol type {other} are not known")));
        }
    })
}

/// BLOBs and BITs are bytes; all else is text if it is valid UTF-8.
fn text_or_bytes(type_code: u8, data: &[u8]) -> CellValue {
    let binary = matches!(
        type_code,
        code::TINY_BLOB | code::MEDIUM_BLOB | code::LONG_BLOB | code::BLOB | code::BIT | code::GEOMETRY
    );
    match std::str::from_utf8(data) {
        Ok(text) if !binary => CellValue::Str(text.to_owned()),
        _ => CellValue::Bytes(data.to_vec()),
    }
}

fn moment(type_code: u8, payload: &mut Payload<'_>) -> Result<String, SqlError> {
    let length = payload.u8()?;
    if !matches!(length, 0 | 4 | 7 | 11) {
        return Err(malformed(format!("a date of {length} bytes")));
    }
    let (mut year, mut month, mut day) = (0, 0, 0);
    if length >= 4 {
        (year, month, day) = (payload.u16()?, payload.u8()?, payload.u8()?);
    }
    let (mut hour, mut minute, mut second, mut micros) = (0, 0, 0, 0);
    if length >= 7 {
        (hour, minute, second) = (payload.u8()?, payload.u8()?, payload.u8()?);
    }
    if length == 11 {
        micros = payload.u32()?;
    }
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if type_code != code::DATE || length > 4 {
        text += &format!(" {hour:02}:{minute:02}:{second:02}");
    }
    if micros > 0 {
        text += &format!(".{micros:06}");
    }
    Ok(text)
}

fn time(payload: &mut Payload<'_>) -> Result<String, SqlError> {
    let length = payload.u8()?;
    if !matches!(length, 0 | 8 | 12) {
        return Err(malformed(format!("a time of {length} bytes")));
    }
    if length == 0 {
        return Ok("00:00:00".to_owned());
    }
    let sign = if payload.u8()? != 0 { "-" } else { "" };
    let hours = u64::from(payload.u32()?) * 24 + u64::from(payload.u8()?);
    let (minute, second) = (payload.u8()?, payload.u8()?);
    let micros = if length == 12 { payload.u32()? } else { 0 };
    let fraction = if micros > 0 { format!(".{micros:06}") } else { String::new() };
    Ok(format!("{sign}{hours:02}:{minute:02}:{second:02}{fraction}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8], count: usize) -> Result<Vec<CellValue>, SqlError> {
        parse_parameters(&mut Payload::new(bytes), count, &mut Vec::new(), |_| None)
    }

    fn one(type_code: u8, flags: u8, value: &[u8]) -> CellValue {
        let mut bytes = vec![0, 1, type_code, flags];
        bytes.extend_from_slice(value);
        parse(&bytes, 1).unwrap().remove(0)
    }

    #[test]
    fn values_of_every_form() {
        let text = |s: &str| CellValue::Str(s.to_owned());
        let table = [
            (one(code::TINY, 0, &[0xff]), CellValue::Int(-1)),
            (one(code::TINY, 0x80, &[0xff]), CellValue::UInt(255)),
            (one(code::LONGLONG, 0x80, &[0xff; 8]), CellValue::UInt(u64::MAX)),
            (one(code::LONGLONG, 0, &i64::MIN.to_le_bytes()), CellValue::Int(i64::MIN)),
            (one(code::FLOAT, 0, &1.5f32.to_le_bytes()), CellValue::Float(1.5)),
            (one(code::DOUBLE, 0, &0.1f64.to_le_bytes()), CellValue::Float(0.1)),
            (one(code::NULL, 0, &[]), CellValue::Null),
            (one(code::DATE, 0, &[4, 0xe8, 7, 2, 9]), text("2024-02-09")),
            (one(code::DATETIME, 0, &[0]), text("0000-00-00 00:00:00")),
            (one(code::DATETIME, 0, &[7, 0xe8, 7, 2, 9, 1, 2, 3]), text("2024-02-09 01:02:03")),
            (one(code::TIMESTAMP, 0, &[11, 0xe8, 7, 2, 9, 1, 2, 3, 7, 0, 0, 0]), text("2024-02-09 01:02:03.000007")),
            (one(code::TIME, 0, &[8, 1, 34, 0, 0, 0, 22, 59, 59]), text("-838:59:59")),
            (one(code::TIME, 0, &[0]), text("00:00:00")),
            (one(code::NEWDECIMAL, 0, b"\x041.50"), text("1.50")),
            (one(code::VAR_STRING, 0, "\x02é".as_bytes()), text("é")),
            (one(code::VAR_STRING, 0, &[1, 0xff]), CellValue::Bytes(vec![0xff])),
            (one(code::BLOB, 0, b"\x01a"), CellValue::Bytes(b"a".to_vec())),
        ];
        for (found, expected) in table {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn unbound_and_odd_parameters_are_refused() {
        assert_eq!(parse(&[0, 0], 1).unwrap_err().code, 1835);
        assert_eq!(parse(&[0, 1, 200, 0], 1).unwrap_err().code, 1210);
        assert_eq!(parse(&[0, 1, code::DATE, 0, 5], 1).unwrap_err().code, 1835);
        assert_eq!(parse(&[], 3).unwrap_err().code, 1835);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, count in 0usize..70) {
            let _ = parse(&bytes, count);
        }

        #[test]
        fn no_values_panic(type_code: u8, flags: u8, value: Vec<u8>) {
            let mut bytes = vec![0, 1, type_code, flags];
            bytes.extend_from_slice(&value);
            let _ = parse(&bytes, 1);
        }
    }
}
