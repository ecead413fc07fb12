//! Charsets and collations by name.

use tidelake_core::types::text::ServerFlavor;

use super::SessionDefaults;

/// Lower case, `utf8` spelled `utf8mb3` (it is the same charset; newer servers print the longer name).
pub(super) fn usual_name(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix("utf8") {
        Some("") => "utf8mb3".into(),
        Some(rest) if rest.starts_with('_') => format!("utf8mb3{rest}"),
        _ => name,
    }
}

/// The charset a collation belongs to.
pub(super) fn charset_of(collation: &str) -> &str {
    collation.split_once('_').map_or(collation, |(charset, _)| charset)
}

/// The default collation of a charset: the session's own choice if it has one, else the server's.
pub(crate) fn default_collation(charset: &str, flavor: ServerFlavor, session: &SessionDefaults) -> String {
    if let Some((_, collation)) = session.charset_collations.iter().find(|(c, _)| usual_name(c) == charset) {
        return usual_name(collation);
    }
    let collation = match charset {
        "binary" => "binary",
        "utf8mb4" if flavor == ServerFlavor::MySql => "utf8mb4_0900_ai_ci",
        "utf8mb4" | "ascii" | "latin1" | "utf8mb3" if flavor == ServerFlavor::TiDb => return format!("{charset}_bin"),
        "big5" | "gb2312" | "gbk" | "gb18030" => return format!("{charset}_chinese_ci"),
        "dec8" | "latin1" | "swe7" => return format!("{charset}_swedish_ci"),
        "sjis" | "ujis" | "cp932" | "eucjpms" => return format!("{charset}_japanese_ci"),
        "hp8" => "hp8_english_ci",
        "tis620" => "tis620_thai_ci",
        "euckr" => "euckr_korean_ci",
        "latin5" => "latin5_turkish_ci",
        _ => return format!("{charset}_general_ci"),
    };
    collation.to_owned()
}

/// The `_bin` collation of a charset.
pub(super) fn binary_collation(charset: &str) -> String {
    if charset == "binary" { "binary".into() } else { format!("{charset}_bin") }
}

/// Most bytes of one character.
pub(crate) fn max_bytes(charset: &str) -> u32 {
    match charset {
        "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030" => 4,
        "utf8mb3" | "ujis" | "eucjpms" => 3,
        "ucs2" | "big5" | "gbk" | "gb2312" | "sjis" | "cp932" | "euckr" => 2,
        _ => 1,
    }
}

/// True if every character of `from` exists in `to`.
pub(super) fn contains(to: &str, from: &str) -> bool {
    let whole = |c: &str| matches!(c, "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030");
    let plane = |c: &str| matches!(c, "utf8mb3" | "ucs2");
    to == from || whole(to) || (plane(to) && !whole(from) && from != "binary") || (from == "ascii" && to != "binary")
}

/// Charset and collation from what was said, over what holds if nothing was.
///
/// `said` may name either, both or none; a collation without its charset's name (`uca1400_ai_ci`) belongs to the charset
/// that holds.
pub(super) fn resolve(
    said: (Option<&str>, Option<&str>),
    otherwise: (&str, &str),
    flavor: ServerFlavor,
    session: &SessionDefaults,
) -> (String, String) {
    match said {
        (None, None) => (otherwise.0.to_owned(), otherwise.1.to_owned()),
        (Some(charset), None) => (charset.to_owned(), default_collation(charset, flavor, session)),
        (charset, Some(collation)) if collation.starts_with("uca1400_") => {
            let charset = charset.unwrap_or(otherwise.0);
            (charset.to_owned(), format!("{charset}_{collation}"))
        }
        (_, Some(collation)) => (charset_of(collation).to_owned(), collation.to_owned()),
    }
}
