//! Changes inside binary JSON values, as PARTIAL_UPDATE_ROWS events carry them: an operation, a path, a value.
//!
//! A value is taken apart into nodes, changed, and written again in its large form. Formats: MySQL's
//! `sql-common/json_binary.h` and `json_diff.h`.

use std::borrow::Cow;

use super::json::{MAX_DEPTH, length};
use crate::mysql::reader::{Malformed, Parsed, Reader};

const LARGE_OBJECT: u8 = 1;
const LARGE_ARRAY: u8 = 3;

/// A JSON value.
enum Node<'a> {
    /// A scalar: its kind, and its bytes as they are stored.
    Leaf(u8, Cow<'a, [u8]>),
    Array(Vec<Node<'a>>),
    /// Keys in the server's order: by length, then by bytes.
    Object(Vec<(Cow<'a, [u8]>, Node<'a>)>),
}

/// One step of a path.
enum Leg {
    Member(Vec<u8>),
    Cell(usize),
    /// Counted from the last cell.
    FromEnd(usize),
}

/// The value `document` after `diffs`, in the large form.
///
/// # Errors
/// For damaged values, and for changes that do not fit the document.
pub(super) fn apply(document: &[u8], diffs: &[u8]) -> Parsed<Vec<u8>> {
    let mut root = parse_value(document)?;
    let mut r = Reader::new(diffs);
    while !r.is_empty() {
        let operation = r.u8()?;
        let path = parse_path(r.lenenc_bytes()?).ok_or(Malformed::because("JSON path that cannot be read"))?;
        let value = if operation == 2 { None } else { Some(parse_value(r.lenenc_bytes()?)?) };
        let done = match (operation, value) {
            (0, Some(value)) => replace(&mut root, &path, value),
            (1, Some(value)) => insert(&mut root, &path, value),
            (2, None) => remove(&mut root, &path),
            (other, _) => return Err(Malformed::new(format!("JSON change of unknown kind {other}"))),
        };
        done.ok_or(Malformed::because("change of a JSON value that does not fit the row's value before"))?;
    }
    let mut out = vec![0];
    out[0] = write(&root, &mut out);
    Ok(out)
}

fn parse_value(value: &[u8]) -> Parsed<Node<'_>> {
    let Some((kind, data)) = value.split_first() else {
        return Ok(Node::Leaf(4, Cow::Borrowed(&[0]))); // the server reads nothing as null
    };
    // offsets are claims: what overlaps must not blow up
    let mut budget = value.len().saturating_mul(16).saturating_add(1024);
    parse(*kind, data, 0, &mut budget)
}

fn parse<'a>(kind: u8, data: &'a [u8], depth: usize, budget: &mut usize) -> Parsed<Node<'a>> {
    if depth > MAX_DEPTH {
        return Err(Malformed::because("JSON value that is nested too deep"));
    }
    if kind <= 3 {
        return container(kind, data, depth, budget);
    }
    let mut r = Reader::new(data);
    match kind {
        4 => r.bytes(1)?,
        5 | 6 => r.bytes(2)?,
        7 | 8 => r.bytes(4)?,
        9..=11 => r.bytes(8)?,
        12 | 15 => {
            if kind == 15 {
                r.u8()?;
            }
            let len = length(&mut r)?;
            r.bytes(len)?
        }
        other => return Err(Malformed::new(format!("JSON value of unknown type {other}"))),
    };
    let bytes = &data[..data.len() - r.rest().len()];
    spend(budget, bytes.len())?;
    Ok(Node::Leaf(kind, Cow::Borrowed(bytes)))
}

fn spend(budget: &mut usize, bytes: usize) -> Parsed<()> {
    *budget = budget.checked_sub(bytes + 16).ok_or(Malformed::because("JSON value that overlaps itself"))?;
    Ok(())
}

fn container<'a>(kind: u8, data: &'a [u8], depth: usize, budget: &mut usize) -> Parsed<Node<'a>> {
    let (object, wide) = (kind <= 1, if kind % 2 == 1 { 4 } else { 2 });
    let mut r = Reader::new(data);
    let (count, size) = (r.le(wide)? as usize, r.le(wide)? as usize);
    let data = data.get(..size).ok_or(Malformed::because("JSON container larger than its value"))?;
    let mut keys = Reader::new(if object { r.bytes(count.saturating_mul(wide + 2))? } else { &[] });
    let mut entries = Reader::new(r.bytes(count.saturating_mul(wide + 1))?);
    let (mut members, mut cells) = (Vec::new(), Vec::new());
    spend(budget, 0)?;
    for _ in 0..count {
        let kind = entries.u8()?;
        let entry = entries.bytes(wide)?;
        let inline = matches!(kind, 4..=6) || (wide == 4 && matches!(kind, 7 | 8));
        let value = if inline { Some(entry) } else { data.get(Reader::new(entry).le(wide)? as usize..) };
        let value = value.ok_or(Malformed::because("JSON value outside of its container"))?;
        let node = parse(kind, value, depth + 1, budget)?;
        if !object {
            cells.push(node);
            continue;
        }
        let (at, len) = (keys.le(wide)? as usize, keys.u16()? as usize);
        let key = data.get(at..at.saturating_add(len)).ok_or(Malformed::because("JSON key outside of its object"))?;
        spend(budget, len)?;
        members.push((Cow::Borrowed(key), node));
    }
    Ok(if object { Node::Object(members) } else { Node::Array(cells) })
}

/// Appends a value and returns its kind.
fn write(node: &Node<'_>, out: &mut Vec<u8>) -> u8 {
    match node {
        Node::Leaf(kind, bytes) => {
            out.extend_from_slice(bytes);
            *kind
        }
        Node::Array(cells) => {
            write_container(&[], cells.iter(), cells.len(), out);
            LARGE_ARRAY
        }
        Node::Object(members) => {
            let keys: Vec<&[u8]> = members.iter().map(|(key, _)| &key[..]).collect();
            write_container(&keys, members.iter().map(|(_, value)| value), members.len(), out);
            LARGE_OBJECT
        }
    }
}

fn write_container<'n, 'a: 'n>(
    keys: &[&[u8]],
    values: impl Iterator<Item = &'n Node<'a>>,
    count: usize,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.extend_from_slice(&(count as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let mut key_at = 8 + keys.len() * 6 + count * 5;
    for key in keys {
        out.extend_from_slice(&(key_at as u32).to_le_bytes());
        out.extend_from_slice(&(key.len() as u16).to_le_bytes());
        key_at += key.len();
    }
    let mut entry = out.len();
    out.resize(entry + count * 5, 0);
    keys.iter().for_each(|key| out.extend_from_slice(key));
    for value in values {
        match value {
            Node::Leaf(kind @ 4..=8, bytes) => {
                out[entry] = *kind;
                out[entry + 1..][..bytes.len()].copy_from_slice(bytes);
            }
            value => {
                let at = (out.len() - start) as u32;
                out[entry] = write(value, out);
                out[entry + 1..entry + 5].copy_from_slice(&at.to_le_bytes());
            }
        }
        entry += 5;
    }
    let size = ((out.len() - start) as u32).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&size);
}

/// `$.name."any name"[3][last-1]`.
fn parse_path(path: &[u8]) -> Option<Vec<Leg>> {
    let mut rest = std::str::from_utf8(path).ok()?.strip_prefix('$')?;
    let mut legs = Vec::new();
    while !rest.is_empty() {
        if let Some(cell) = rest.strip_prefix('[') {
            let (index, behind) = cell.split_once(']')?;
            legs.push(match index.strip_prefix("last") {
                Some("") => Leg::FromEnd(0),
                Some(back) => Leg::FromEnd(back.strip_prefix('-')?.parse().ok()?),
                None => Leg::Cell(index.parse().ok()?),
            });
            rest = behind;
            continue;
        }
        let member = rest.strip_prefix('.')?;
        let end =
            if member.starts_with('"') { quoted_end(member)? } else { member.find(['.', '[']).unwrap_or(member.len()) };
        let (name, behind) = member.split_at(end);
        let name = if name.starts_with('"') { serde_json::from_str(name).ok()? } else { name.to_owned() };
        legs.push(Leg::Member(name.into_bytes()));
        rest = behind;
    }
    Some(legs)
}

/// Length of the quoted name that the text begins with, its quotes included.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return Some(at + 1),
            c => escaped = c == '\\' && !escaped,
        }
    }
    None
}

/// The place of a cell; `None` before the first one.
fn cell_of(leg: &Leg, count: usize) -> Option<usize> {
    match leg {
        Leg::Cell(at) => Some(*at),
        Leg::FromEnd(back) => count.checked_sub(1)?.checked_sub(*back),
        Leg::Member(_) => None,
    }
}

fn child<'n, 'a>(node: &'n mut Node<'a>, leg: &Leg) -> Option<&'n mut Node<'a>> {
    match (node, leg) {
        (Node::Object(members), Leg::Member(name)) => {
            members.iter_mut().find(|(key, _)| key[..] == name[..]).map(|(_, value)| value)
        }
        (Node::Array(cells), leg) => {
            let at = cell_of(leg, cells.len())?;
            cells.get_mut(at)
        }
        _ => None,
    }
}

fn seek<'n, 'a>(root: &'n mut Node<'a>, legs: &[Leg]) -> Option<&'n mut Node<'a>> {
    legs.iter().try_fold(root, child)
}

fn replace<'a>(root: &mut Node<'a>, path: &[Leg], value: Node<'a>) -> Option<()> {
    *seek(root, path)? = value;
    Some(())
}

fn insert<'a>(root: &mut Node<'a>, path: &[Leg], value: Node<'a>) -> Option<()> {
    let (leg, parent) = path.split_last()?;
    match (seek(root, parent)?, leg) {
        (Node::Object(members), Leg::Member(name)) => {
            let order = |key: &[u8]| (key.len(), key.to_vec());
            let at = members.partition_point(|(key, _)| order(key) < order(name));
            if members.get(at).is_some_and(|(key, _)| key[..] == name[..]) {
                return None;
            }
            members.insert(at, (Cow::Owned(name.clone()), value));
        }
        (Node::Array(cells), leg) => {
            let at = cell_of(leg, cells.len()).unwrap_or(0).min(cells.len());
            cells.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(root: &mut Node<'_>, path: &[Leg]) -> Option<()> {
    let (leg, parent) = path.split_last()?;
    match (seek(root, parent)?, leg) {
        (Node::Object(members), Leg::Member(name)) => {
            let at = members.iter().position(|(key, _)| key[..] == name[..])?;
            members.remove(at);
        }
        (Node::Array(cells), leg) => {
            let at = cell_of(leg, cells.len()).filter(|at| *at < cells.len())?;
            cells.remove(at);
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::json::write_text;
    use super::*;

    /// A leaf as a whole value.
    fn number(n: i16) -> Vec<u8> {
        [&[5][..], &n.to_le_bytes()].concat()
    }

    fn document(node: &Node<'_>) -> Vec<u8> {
        let mut out = vec![0];
        out[0] = write(node, &mut out);
        out
    }

    fn leaf(n: i16) -> Node<'static> {
        Node::Leaf(5, Cow::Owned(n.to_le_bytes().to_vec()))
    }

    fn member(name: &'static str, value: Node<'static>) -> (Cow<'static, [u8]>, Node<'static>) {
        (Cow::Borrowed(name.as_bytes()), value)
    }

    fn diff(operation: u8, path: &str, value: Option<&[u8]>) -> Vec<u8> {
        let sized = |bytes: &[u8]| [&[bytes.len() as u8][..], bytes].concat();
        [vec![operation], sized(path.as_bytes()), value.map(sized).unwrap_or_default()].concat()
    }

    fn text(value: &[u8]) -> String {
        let mut out = String::new();
        write_text(value, &mut out).expect("a whole value");
        out
    }

    /// `{"a": 1, "b": [1, 2, 3], "long name": {"x": 7}}`.
    fn sample() -> Vec<u8> {
        document(&Node::Object(vec![
            member("a", leaf(1)),
            member("b", Node::Array(vec![leaf(1), leaf(2), leaf(3)])),
            member("long name", Node::Object(vec![member("x", leaf(7))])),
        ]))
    }

    #[test]
    fn changes_are_applied_in_order() {
        let nested = document(&Node::Array(vec![leaf(8), Node::Object(vec![])]));
        let diffs = [
            diff(0, "$.a", Some(&number(42))),
            diff(0, "$.b[last-1]", Some(&nested)),
            diff(2, "$.b[0]", None),
            diff(1, "$.b[9]", Some(&number(-5))),
            diff(1, "$.b[0]", Some(b"\x0c\x03\"\\x")),
            diff(1, "$.ab", Some(b"\x04\x01")),
            diff(2, "$.\"long name\".x", None),
        ];
        let changed = apply(&sample(), &diffs.concat()).expect("fits");
        let wanted = r#"{"a": 42, "b": ["\"\\x", [8, {}], 3, -5], "ab": true, "long name": {}}"#;
        assert_eq!(text(&changed), wanted);
        assert_eq!(text(&apply(&changed, &[]).expect("nothing changes")), wanted);
    }

    #[test]
    fn changes_that_do_not_fit_are_refused() {
        let refused = [
            diff(0, "$.c", Some(&number(1))),
            diff(1, "$.a", Some(&number(1))),
            diff(1, "$.a[0]", Some(&number(1))),
            diff(2, "$.b[3]", None),
            diff(2, "$", None),
            diff(3, "$.a", Some(&number(1))),
            diff(0, "a", Some(&number(1))),
            diff(0, "$.\"a", Some(&number(1))),
        ];
        for diff in refused {
            assert!(apply(&sample(), &diff).is_err(), "{:?}", String::from_utf8_lossy(&diff));
        }
    }
}
