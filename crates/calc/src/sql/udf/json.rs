//! JSON paths: `$`, `.key`, `."key"`, `[n]`.

use serde_json::Value;

fn find<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    let mut rest = path.trim().strip_prefix('$')?;
    let mut at = root;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (index, tail) = after.split_once(']')?;
            let index: usize = index.trim().parse().ok()?;
            // A value that is no array is an array of itself.
            at = match at {
                Value::Array(all) => all.get(index)?,
                other if index == 0 => other,
                _ => return None,
            };
            rest = tail;
            continue;
        }
        let after = rest.strip_prefix('.')?;
        let (key, tail) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(['.', '[']).unwrap_or(after.len())),
        };
        at = at.get(key)?;
        rest = tail;
    }
    Some(at)
}

/// Text of a value as MySQL writes JSON: a space after `:` and `,`.
fn text(value: &Value) -> String {
    match value {
        Value::Array(all) => format!("[{}]", all.iter().map(text).collect::<Vec<_>>().join(", ")),
        Value::Object(all) => {
            let parts = all.iter().map(|(k, v)| format!("{}: {}", Value::String(k.clone()), text(v)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// JSON_EXTRACT with one path.
pub(super) fn extract(document: &str, path: &str) -> Option<String> {
    let root: Value = serde_json::from_str(document).ok()?;
    find(&root, path).map(text)
}

/// JSON_UNQUOTE.
pub(super) fn unquote(json: &str) -> String {
    match serde_json::from_str::<Value>(json) {
        Ok(Value::String(s)) => s,
        _ => json.to_owned(),
    }
}

/// JSON_VALUE: scalars only.
pub(super) fn value(document: &str, path: &str) -> Option<String> {
    let root: Value = serde_json::from_str(document).ok()?;
    match find(&root, path)? {
        Value::String(s) => Some(s.clone()),
        Value::Bool(b) => Some(i64::from(*b).to_string()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// JSON_LENGTH.
pub(super) fn length(document: &str) -> Option<i64> {
    Some(match serde_json::from_str::<Value>(document).ok()? {
        Value::Array(all) => all.len() as i64,
        Value::Object(all) => all.len() as i64,
        _ => 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let doc = r#"{"a": [1, {"b c": "x"}], "n": null}"#;
        assert_eq!(extract(doc, "$.a[0]").as_deref(), Some("1"));
        assert_eq!(extract(doc, "$.a[1].\"b c\"").as_deref(), Some("\"x\""));
        assert_eq!(extract(doc, "$.a").as_deref(), Some("[1, {\"b c\": \"x\"}]"));
        assert_eq!(extract(doc, "$.z"), None);
        assert_eq!(value(doc, "$.a[1].\"b c\"").as_deref(), Some("x"));
        assert_eq!(length(doc), Some(2));
    }
}
