//! JSON as MariaDB handles it: a document is text, and numbers and strings keep their spelling.

use super::Want::S;
use super::{Body, FnDef, Gives, MANY, Out, Row};
use crate::sql::types::Ty;
use datafusion::common::Result;

use document::{Json, parse, quoted, unescaped};

mod document;

const fn f(name: &'static str, arity: (usize, usize), gives: Ty, body: fn(&Row) -> Result<Out>) -> FnDef {
    FnDef { name, arity, gives: Gives::Always(gives), body: Body::Rows(&[S], body) }
}

pub(super) const FUNCTIONS: &[FnDef] = &[
    f("json_extract", (2, MANY), Ty::Text, |r| Ok(Out::of(extract(r)))),
    f("json_unquote", (1, 1), Ty::Text, |r| Ok(Out::S(unquote(r.s(0))))),
    f("json_value", (2, 2), Ty::Text, |r| Ok(Out::of(value(r.s(0), r.s(1))))),
    f("json_query", (2, 2), Ty::Text, |r| Ok(Out::of(query(r.s(0), r.s(1))))),
    f("json_exists", (2, 2), Ty::Int, |r| {
        Ok(Out::I(i64::from(parse(r.s(0)).is_some_and(|j| j.find(r.s(1)).is_some()))))
    }),
    f("json_valid", (1, 1), Ty::Int, |r| Ok(Out::I(i64::from(parse(r.s(0)).is_some())))),
    f("json_length", (1, 2), Ty::Int, |r| {
        let document = parse(r.s(0));
        let found = document.as_ref().and_then(|j| if r.len() == 2 { j.find(r.s(1)) } else { Some(j) });
        Ok(found.map_or(Out::Null, |j| Out::I(j.length())))
    }),
    f("json_depth", (1, 1), Ty::Int, |r| Ok(parse(r.s(0)).map_or(Out::Null, |j| Out::I(j.depth())))),
    f("json_type", (1, 1), Ty::Text, |r| Ok(Out::of(parse(r.s(0)).map(|j| j.kind().to_owned())))),
    f("json_keys", (1, 2), Ty::Text, |r| {
        let document = parse(r.s(0));
        let found = document.as_ref().and_then(|j| if r.len() == 2 { j.find(r.s(1)) } else { Some(j) });
        Ok(Out::of(found.and_then(Json::keys)))
    }),
    f("json_contains", (2, 3), Ty::Int, |r| {
        let (document, candidate) = (parse(r.s(0)), parse(r.s(1)));
        let found = document.as_ref().and_then(|j| if r.len() == 3 { j.find(r.s(2)) } else { Some(j) });
        Ok(match (found, candidate) {
            (Some(j), Some(c)) => Out::I(i64::from(j.contains(&c))),
            _ => Out::Null,
        })
    }),
    f("json_compact", (1, 1), Ty::Text, |r| Ok(Out::of(parse(r.s(0)).map(|j| j.text(""))))),
    f("json_loose", (1, 1), Ty::Text, |r| Ok(Out::of(parse(r.s(0)).map(|j| j.text(" "))))),
    f("json_quote", (1, 1), Ty::Text, |r| {
        // Of what is no text it is NULL.
        let is_text = matches!(r.ty(0), Ty::Text | Ty::Bytes | Ty::Null);
        Ok(if is_text { Out::S(quoted(r.s(0))) } else { Out::Null })
    }),
    FnDef {
        name: "json_array",
        arity: (0, MANY),
        gives: Gives::Always(Ty::Text),
        body: Body::RowsWithNulls(&[S], array),
    },
    FnDef {
        name: "json_object",
        arity: (0, MANY),
        gives: Gives::Always(Ty::Text),
        body: Body::RowsWithNulls(&[S], object),
    },
    FnDef {
        name: "__json_item",
        arity: (1, 1),
        gives: Gives::Always(Ty::Text),
        body: Body::RowsWithNulls(&[S], |r| Ok(Out::S(item(r, 0)))),
    },
];

/// One path gives its value, several give an array of what is there.
fn extract(r: &Row) -> Option<String> {
    let document = parse(r.s(0))?;
    if r.len() == 2 {
        return document.find(r.s(1)).map(|j| j.text(" "));
    }
    let all: Vec<String> = (1..r.len()).filter_map(|i| document.find(r.s(i))).map(|j| j.text(" ")).collect();
    (!all.is_empty()).then(|| format!("[{}]", all.join(", ")))
}

fn unquote(json: &str) -> String {
    match parse(json) {
        Some(Json::Text(raw)) => unescaped(&raw),
        _ => json.to_owned(),
    }
}

/// JSON_VALUE: scalars only.
fn value(document: &str, path: &str) -> Option<String> {
    let document = parse(document)?;
    match document.find(path)? {
        Json::Text(raw) => Some(unescaped(raw)),
        Json::Bool(b) => Some(i64::from(*b).to_string()),
        Json::Number(n) => Some(n.clone()),
        _ => None,
    }
}

/// JSON_QUERY: arrays and objects only.
fn query(document: &str, path: &str) -> Option<String> {
    let document = parse(document)?;
    let found = document.find(path)?;
    matches!(found, Json::Array(_) | Json::Object(_)).then(|| found.text(" "))
}

/// An SQL value as a JSON value.
fn item(r: &Row, i: usize) -> String {
    if r.is_null(i) {
        return "null".to_owned();
    }
    match r.ty(i) {
        Ty::Bool => if r.s(i) == "1" { "true" } else { "false" }.to_owned(),
        ty if ty.is_number() => r.s(i).to_owned(),
        _ => quoted(r.s(i)),
    }
}

fn array(r: &Row) -> Result<Out> {
    Ok(Out::S(format!("[{}]", (0..r.len()).map(|i| item(r, i)).collect::<Vec<_>>().join(", "))))
}

fn object(r: &Row) -> Result<Out> {
    if r.len() % 2 == 1 || (0..r.len()).step_by(2).any(|i| r.is_null(i)) {
        return Ok(Out::Null);
    }
    let pairs = (0..r.len()).step_by(2).map(|i| format!("{}: {}", quoted(r.s(i)), item(r, i + 1)));
    Ok(Out::S(format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_spelling() {
        let doc = r#"{"a": [1, 2.50, {"b c": "x"}],"n":null}"#;
        let text = |path: &str| parse(doc).unwrap().find(path).map(|j| j.text(" "));
        assert_eq!(text("$.a[1]").as_deref(), Some("2.50"));
        assert_eq!(text("$.a[2].\"b c\"").as_deref(), Some("\"x\""));
        assert_eq!(text("$").as_deref(), Some(r#"{"a": [1, 2.50, {"b c": "x"}], "n": null}"#));
        assert_eq!(text("$.z"), None);
        assert_eq!(value(doc, "$.a[2].\"b c\"").as_deref(), Some("x"));
        assert_eq!(value(doc, "$.a"), None);
        assert_eq!(unquote(r#""a\u00e9\n""#), "aé\n");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "[1,]", "{\"a\":}", "01", "nul", "\"x", "[1] 2", &"[".repeat(5000)] {
            assert!(parse(text).is_none(), "{text}");
        }
        for text in ["0", "-1.5e3", " [ ] ", "{}", "\"\\u00e9\"", "true"] {
            assert!(parse(text).is_some(), "{text}");
        }
    }
}
