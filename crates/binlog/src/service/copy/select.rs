//! What is asked of the upstream: the expression of each column, the order of the key, and where a chunk begins.
//!
//! Cells come over the text protocol with `character_set_results = NULL` in UTC: integers, decimals and dates print
//! exactly, text comes as its own bytes. The exceptions: FLOAT prints six digits only, so it is asked for as a double;
//! ENUM and SET are asked for as numbers.
//!
//! A table is copied in ranges of its key. The server itself finds their borders and compares: it gets its own bytes
//! back, with the column's charset, so that the column's collation decides, whatever it is.

use std::fmt::Write;

use tidelake_core::{ColumnDef, Error, Result, TableDef, TypeKind, UpstreamType};

use super::super::tables::{quoted_identifier, quoted_name};
use super::cursor::Range;

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
pub(crate) fn whole_sql(def: &TableDef) -> String {
    let columns: Vec<String> = def.columns.iter().map(expression).collect();
    format!("SELECT {} FROM {}", columns.join(", "), quoted_name(&def.name))
}

/// True if the server walks the key in order without sorting: ENUM and SET are ordered by their numbers, no index is.
pub(crate) fn has_key_order(def: &TableDef) -> bool {
    let by_value = |i: &usize| !matches!(def.columns[*i].ty.kind, TypeKind::Enum | TypeKind::Set);
    !def.key.is_empty() && def.key_indexes().iter().all(by_value)
}

/// The statement that reads the rows of a range, in key order. A table without a key is read whole, in no order.
///
/// # Errors
/// [`Error::Corrupt`] if the range does not fit the key.
pub(crate) fn range_sql(def: &TableDef, range: &Range) -> Result<String> {
    if def.key.is_empty() {
        return Ok(whole_sql(def));
    }
    let upto = range.upto.as_ref().map(|upto| bound(def, upto, ("<", "<="))).transpose()?;
    let conditions = [after(def, &range.after)?, upto].into_iter().flatten().collect::<Vec<_>>();
    Ok(format!("{}{}{}", whole_sql(def), forced_index(def), ordered(def, &conditions)))
}

/// The statement that finds the last key of a range of `rows` rows after a key (empty: from the beginning). No row: there
/// are fewer.
///
/// # Errors
/// [`Error::Corrupt`] if the key is none of this table.
pub(super) fn border_sql(def: &TableDef, behind: &[Vec<u8>], rows: usize) -> Result<String> {
    let cells: Vec<String> = key_columns(def).into_iter().map(expression).collect();
    let conditions: Vec<String> = after(def, behind)?.into_iter().collect();
    let (table, index, order) = (quoted_name(&def.name), forced_index(def), ordered(def, &conditions));
    Ok(format!("SELECT {} FROM {table}{index}{order} LIMIT 1 OFFSET {}", cells.join(", "), rows.saturating_sub(1)))
}

fn key_columns(def: &TableDef) -> Vec<&ColumnDef> {
    def.key_indexes().into_iter().map(|i| &def.columns[i]).collect()
}

fn forced_index(def: &TableDef) -> &'static str {
    if def.key_is_primary && has_key_order(def) { " FORCE INDEX (PRIMARY)" } else { "" }
}

fn ordered(def: &TableDef, conditions: &[String]) -> String {
    let order: Vec<String> = key_columns(def).into_iter().map(key_expression).collect();
    let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    format!("{filter} ORDER BY {}", order.join(", "))
}

fn after(def: &TableDef, key: &[Vec<u8>]) -> Result<Option<String>> {
    if key.is_empty() { Ok(None) } else { bound(def, key, (">", ">=")).map(Some) }
}

/// `(k1, k2) > (v1, v2)` or `(k1, k2) <= (v1, v2)`, written out so that the optimizer makes ranges of it: the strict
/// comparison and the other one.
fn bound(def: &TableDef, cells: &[Vec<u8>], (strict, loose): (&str, &str)) -> Result<String> {
    let key = key_columns(def);
    if key.len() != cells.len() {
        let reason = format!("{} values for {} key columns", cells.len(), key.len());
        return Err(Error::corrupt("cursor of the initial copy", reason));
    }
    let names: Vec<String> = key.iter().map(|c| key_expression(c)).collect();
    let values = key.iter().zip(cells).map(|(c, cell)| literal(c, cell)).collect::<Result<Vec<String>>>()?;
    // the key itself belongs to what it ends, and not to what begins behind it
    let closing = if strict == "<" { loose } else { strict };
    let mut alternatives = Vec::with_capacity(key.len());
    for last in 0..key.len() {
        let mut terms: Vec<String> = (0..last).map(|i| format!("{} = {}", names[i], values[i])).collect();
        let compare = if last + 1 == key.len() { closing } else { strict };
        terms.push(format!("{} {compare} {}", names[last], values[last]));
        alternatives.push(format!("({})", terms.join(" AND ")));
    }
    if key.len() == 1 {
        return Ok(alternatives.remove(0));
    }
    Ok(format!("{} {loose} {} AND ({})", names[0], values[0], alternatives.join(" OR ")))
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

    fn key(cells: &[&str]) -> Vec<Vec<u8>> {
        cells.iter().map(|cell| cell.as_bytes().to_vec()).collect()
    }

    fn range(after: &[&str], upto: Option<&[&str]>) -> Range {
        Range { after: key(after), upto: upto.map(key) }
    }

    #[test]
    fn ranges_and_their_borders() {
        let def = table(&["b`c", "a"]);
        let select = "SELECT `a`, `b``c`, `f`*1e0 FROM `d`.`t` FORCE INDEX (PRIMARY)";
        let sql = range_sql(&def, &Range::default()).unwrap();
        assert_eq!(sql, format!("{select} ORDER BY `b``c`, `a`"));
        let sql = range_sql(&def, &range(&["'x", "-7"], Some(&["'y", "8"]))).unwrap();
        let after =
            "`b``c` >= _latin1 X'2778' AND ((`b``c` > _latin1 X'2778') OR (`b``c` = _latin1 X'2778' AND `a` > -7))";
        let upto =
            "`b``c` <= _latin1 X'2779' AND ((`b``c` < _latin1 X'2779') OR (`b``c` = _latin1 X'2779' AND `a` <= 8))";
        assert_eq!(sql, format!("{select} WHERE {after} AND {upto} ORDER BY `b``c`, `a`"));
        let border = "SELECT `b``c`, `a` FROM `d`.`t` FORCE INDEX (PRIMARY)";
        let sql = border_sql(&def, &key(&["'x", "-7"]), 100).unwrap();
        assert_eq!(sql, format!("{border} WHERE {after} ORDER BY `b``c`, `a` LIMIT 1 OFFSET 99"));
        let sql = range_sql(&table(&["a"]), &range(&["1"], Some(&["5"]))).unwrap();
        assert!(sql.ends_with("WHERE (`a` > 1) AND (`a` <= 5) ORDER BY `a`"), "{sql}");
    }

    #[test]
    fn a_table_without_a_key_is_read_whole() {
        let sql = range_sql(&table(&[]), &Range::default()).unwrap();
        assert!(sql.ends_with("FROM `d`.`t`"), "{sql}");
    }

    #[test]
    fn a_range_that_does_not_fit_is_refused() {
        let def = table(&["a"]);
        for cells in [&["1 OR 1=1--'"][..], &["1", "2"], &[""]] {
            assert!(range_sql(&def, &range(cells, None)).is_err(), "{cells:?}");
            assert!(range_sql(&def, &range(&[], Some(cells))).is_err(), "{cells:?}");
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
