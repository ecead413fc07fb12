//! Several statements in one text: where one ends and the next begins.

/// The statements between semicolons that stand outside of quotes and comments; empty ones fall away, at least one text
/// remains.
pub(super) fn statements(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let (mut all, mut start, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        at = match bytes[at] {
            quote @ (b'\'' | b'"' | b'`') => after_quote(bytes, at, quote),
            b'#' => after(bytes, at, b"\n"),
            b'-' if bytes[at..].starts_with(b"--") && bytes.get(at + 2).is_none_or(u8::is_ascii_whitespace) => {
                after(bytes, at, b"\n")
            }
            b'/' if bytes[at..].starts_with(b"/*") => after(bytes, at + 2, b"*/"),
            b';' => {
                all.push(&text[start..at]);
                start = at + 1;
                start
            }
            _ => at + 1,
        };
    }
    all.push(&text[start.min(text.len())..]);
    all.retain(|part| !part.trim().is_empty());
    if all.is_empty() { vec![text] } else { all }
}

fn after(bytes: &[u8], from: usize, mark: &[u8]) -> usize {
    let found = bytes[from.min(bytes.len())..].windows(mark.len()).position(|w| w == mark);
    found.map_or(bytes.len(), |n| from + n + mark.len())
}

fn after_quote(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote != b'`' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::statements;

    #[test]
    fn only_real_semicolons_part_statements() {
        assert_eq!(statements("SELECT 1"), ["SELECT 1"]);
        assert_eq!(statements("SELECT ';' ; SELECT 2;"), ["SELECT ';' ", " SELECT 2"]);
        assert_eq!(statements("a -- ;\n;b # ;\n;/* ; */ c"), ["a -- ;\n", "b # ;\n", "/* ; */ c"]);
        assert_eq!(statements("'it''s; \\'; ';x"), ["'it''s; \\'; '", "x"]);
        assert_eq!(statements(";;"), [";;"]);
        assert_eq!(statements(""), [""]);
        assert_eq!(statements("'open ;"), ["'open ;"]);
        assert_eq!(statements("ä;/* open"), ["ä", "/* open"]);
    }
}
