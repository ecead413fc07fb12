//! What is asked of the upstream: the expression of each column, the order of the key, and where a chunk begins.
//!
//! Cells come over the text protocol with `character_set_results = NULL` in UTC: integers, decimals and dates print
//! exactly, text comes as its own bytes. The exceptions: FLOAT prints six digits only, so it is asked for as a double;
//! ENUM and SET are asked for as numbers.
//!
//! A chunk begins behind the last key of the one before. The server itself compares: it gets its own bytes back, with
//! the column's charset, so that the column's collation decides, whatever it is.

use std::fmt::Write;

use tidelake_core::{ColumnDef, Error, Result, TableDef, TypeKind, UpstreamType};

use super::super::tables::{quoted_identifier, quoted_name};

/// The expression that gives the cell of a column.
fn expression(column: &ColumnDef) -> String {
    let name = quoted_identifier(&column.name);
    match column.ty.kind {
        TypeKind::Float | TypeKind::Double => format!("{name}*1e0"),
        TypeKind::Enum => format!("{name}+0"),
        TypeKind::Set => format!("CAST({name} AS UNSIGNED)"),
        _ => name,
    }
}

/// The expression that orders and compares a key column.
fn key_expression(column: &ColumnDef) -> String {
    match column.ty.kind {
        TypeKind::Enum | TypeKind::Set => expression(column),
        _ => quoted_identifier(&column.name),
    }
}

/// The statement that reads all rows, in no order.
pub(in crate::service) fn whole_sql(def: &TableDef) -> String {
    let columns: Vec<String> = def.columns.iter().map(expression).collect();
    format!("SELECT {} FROM {}", columns.join(", "), quoted_name(&def.name))
}

/// The statement that reads the rows after `cursor` (the cells of a key; empty: from the beginning), in key order, at
/// most `limit` of them. A table without a key is read whole, in no order.
///
/// # Errors
/// [`Error::Corrupt`] if the cursor does not fit the key.
pub(super) fn chunk_sql(def: &TableDef, cursor: &[Vec<u8>], limit: Option<usize>) -> Result<String> {
    let mut sql = whole_sql(def);
    let key: Vec<&ColumnDef> = def.key_indexes().into_iter().map(|i| &def.columns[i]).collect();
    if key.is_empty() {
        return Ok(sql);
    }
    let by_index = key.iter().all(|c| !matches!(c.ty.kind, TypeKind::Enum | TypeKind::Set));
    if def.key_is_primary && by_index {
        sql.push_str(" FORCE INDEX (PRIMARY)");
    }
    if !cursor.is_empty() {
        write!(sql, " WHERE {}", after(&key, cursor)?).expect("a String takes everything");
    }
    let order: Vec<String> = key.iter().map(|c| key_expression(c)).collect();
    write!(sql, " ORDER BY {}", order.join(", ")).expect("a String takes everything");
    if let Some(limit) = limit {
        write!(sql, " LIMIT {limit}").expect("a String takes everything");
    }
    Ok(sql)
}

/// `(k1, k2) > (v1, v2)`, written out so that the optimizer makes ranges of it.
fn after(key: &[&ColumnDef], cursor: &[Vec<u8>]) -> Result<String> {
    if key.len() != cursor.len() {
        let reason = format!("{} values for {} key columns", cursor.len(), key.len());
        return Err(Error::corrupt("cursor of the initial copy", reason));
    }
    let names: Vec<String> = key.iter().map(|c| key_expression(c)).collect();
    let values = key.iter().zip(cursor).map(|(c, cell)| literal(c, cell)).collect::<Result<Vec<String>>>()?;
    let mut alternatives = Vec::with_capacity(key.len());
    for last in 0..key.len() {
        let mut terms: Vec<String> = (0..last).map(|i| format!("{} = {}", names[i], values[i])).collect();
        terms.push(format!("{} > {}", names[last], values[last]));
        alternatives.push(format!("({})", terms.join(" AND ")));
    }
    if key.len() == 1 {
        return Ok(alternatives.remove(0));
    }
    Ok(format!("{} >= {} AND ({})", names[0], values[0], alternatives.join(" OR ")))
}

/// A cell of a key column, given back to the server as a literal that compares as the column's own value does.
fn literal(column: &ColumnDef, cell: &[u8]) -> Result<String> {
    use TypeKind as K;
    let ty = &column.ty;
    let made = match ty.kind {
        K::TinyInt | K::SmallInt | K::MediumInt | K::Int | K::BigInt | K::Decimal | K::Enum | K::Set => plain(cell),
        // a number of one or two digits would be taken for a year of this century
        K::Year => plain(cell).map(|year| format!("'{year}'")),
        K::Float | K::Double => plain(cell).map(|n| if n.contains('e') { n } else { format!("{n}e0") }),
        K::Bit => (cell.len() <= 8).then(|| format!("0x{}+0", hex(cell))),
        K::Date | K::DateTime | K::Timestamp | K::Time | K::Uuid | K::Inet4 | K::Inet6 => {
            plain(cell).map(|text| format!("'{text}'"))
        }
        K::Char | K::VarChar | K::TinyText | K::Text | K::MediumText | K::LongText | K::Json => {
            Some(format!("_{} X'{}'", introducer(ty), hex(cell)))
        }
        _ => Some(format!("_binary X'{}'", hex(cell))),
    };
    made.ok_or_else(|| {
        Error::corrupt(
            "cursor of the initial copy",
            format!("{} bytes are no key value of {}", cell.len(), column.name),
        )
    })
}

fn introducer(ty: &UpstreamType) -> &str {
    match ty.charset.as_deref() {
        // the name that every version of every server knows
        Some("utf8mb3") => "utf8",
        Some(charset) if charset.bytes().all(|b| b.is_ascii_alphanumeric()) => charset,
        _ => "utf8mb4",
    }
}

/// Numbers, dates, times, UUIDs and addresses as the server printed them; nothing else can be in such a text.
fn plain(cell: &[u8]) -> Option<String> {
    let fine = |b: &u8| b.is_ascii_alphanumeric() || b" +-.:".contains(b);
    (!cell.is_empty() && cell.iter().all(fine)).then(|| String::from_utf8_lossy(cell).into_owned())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(out, "{byte:02x}").expect("a String takes everything");
    }
    out
}

#[cfg(test)]
mod tests {
    use tidelake_core::TableName;

    use super::*;

    fn table(key: &[&str]) -> TableDef {
        let columns = vec![
            ColumnDef::new(1, "a", UpstreamType::new(TypeKind::Int)),
            ColumnDef::new(2, "b`c", UpstreamType::new(TypeKind::VarChar).with_charset("latin1", "latin1_swedish_ci")),
            ColumnDef::new(3, "f", UpstreamType::new(TypeKind::Float)),
        ];
        TableDef::new(TableName::new("d", "t"), columns, key)
    }

    #[test]
    fn first_chunk_and_next() {
        let def = table(&["b`c", "a"]);
        let sql = chunk_sql(&def, &[], Some(10)).unwrap();
        let select = "SELECT `a`, `b``c`, `f`*1e0 FROM `d`.`t` FORCE INDEX (PRIMARY)";
        assert_eq!(sql, format!("{select} ORDER BY `b``c`, `a` LIMIT 10"));
        let sql = chunk_sql(&def, &[b"'x".to_vec(), b"-7".to_vec()], None).unwrap();
        let after =
            "`b``c` >= _latin1 X'2778' AND ((`b``c` > _latin1 X'2778') OR (`b``c` = _latin1 X'2778' AND `a` > -7))";
        assert_eq!(sql, format!("{select} WHERE {after} ORDER BY `b``c`, `a`"));
    }

    #[test]
    fn a_table_without_a_key_is_read_whole() {
        let sql = chunk_sql(&table(&[]), &[], Some(10)).unwrap();
        assert!(sql.ends_with("FROM `d`.`t`"), "{sql}");
    }

    #[test]
    fn a_cursor_that_does_not_fit_is_refused() {
        let def = table(&["a"]);
        for cursor in [vec![b"1 OR 1=1--'".to_vec()], vec![b"1".to_vec(), b"2".to_vec()], vec![Vec::new()]] {
            assert!(chunk_sql(&def, &cursor, None).is_err(), "{cursor:?}");
        }
    }

    #[test]
    fn literals_compare_as_their_type() {
        let of = |kind, cell: &[u8]| literal(&ColumnDef::new(1, "k", UpstreamType::new(kind)), cell).unwrap();
        assert_eq!(of(TypeKind::BigInt, b"18446744073709551615"), "18446744073709551615");
        assert_eq!(of(TypeKind::Double, b"5"), "5e0");
        assert_eq!(of(TypeKind::Double, b"5e-324"), "5e-324");
        assert_eq!(of(TypeKind::Year, b"0000"), "'0000'");
        assert_eq!(of(TypeKind::Bit, b"\x01\x02"), "0x0102+0");
        assert_eq!(of(TypeKind::Binary, b"\x00\xff"), "_binary X'00ff'");
        assert_eq!(of(TypeKind::VarChar, b""), "_utf8mb4 X''");
    }
}
