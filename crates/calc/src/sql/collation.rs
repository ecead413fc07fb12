//! Sort keys of texts: two texts are equal in a collation if their keys are equal, and keys order as texts do.
//!
//! Exact for `_bin`, `binary` and `ascii`/`latin1` letters without accents. For `_ci` collations a key is the text
//! with case and accents taken off (Unicode decomposition, marks dropped, simple upper case): equality is the
//! upstream's for Latin, Greek and Cyrillic texts; the *order* of punctuation and of scripts among each other is by
//! code point, where `unicode_ci` and `0900` order by UCA weights (`docs/sql.md`).

use std::borrow::Cow;

use icu_normalizer::DecomposingNormalizerBorrowed;

/// How a collation compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    /// Upper and lower case are equal.
    pub(crate) case_insensitive: bool,
    /// Letters with and without accents are equal.
    pub(crate) accent_insensitive: bool,
    /// Trailing spaces do not count.
    pub(crate) pad: bool,
}

impl Rules {
    /// Compares bytes.
    pub(crate) const BINARY: Rules = Rules { case_insensitive: false, accent_insensitive: false, pad: false };

    /// The rules of a collation by its name.
    pub(crate) fn of(name: &str) -> Rules {
        let name = name.to_ascii_lowercase();
        if name == "binary" || name.is_empty() {
            return Rules::BINARY;
        }
        let nopad = name.contains("nopad") || name.contains("_0900_");
        let has = |part: &str| name.split('_').any(|p| p == part);
        let case_insensitive = has("ci");
        let accent_insensitive = case_insensitive && !has("as");
        Rules { case_insensitive, accent_insensitive: accent_insensitive || has("ai"), pad: !nopad }
    }

    /// True if the text is its own key.
    pub(crate) fn is_identity(self) -> bool {
        self == Rules::BINARY
    }

    /// The key of a text.
    pub(crate) fn key(self, text: &str) -> Cow<'_, str> {
        let text = if self.pad { text.trim_end_matches(' ') } else { text };
        self.fold(text)
    }

    /// The text without case and accents, trailing spaces kept: what LIKE compares.
    pub(crate) fn fold(self, text: &str) -> Cow<'_, str> {
        if !self.case_insensitive && !self.accent_insensitive {
            return Cow::Borrowed(text);
        }
        if text.is_ascii() {
            if !self.case_insensitive || !text.bytes().any(|b| b.is_ascii_lowercase()) {
                return Cow::Borrowed(text);
            }
            return Cow::Owned(text.to_ascii_uppercase());
        }
        Cow::Owned(self.fold_unicode(text))
    }

    fn fold_unicode(self, text: &str) -> String {
        let cased: String = if self.case_insensitive { text.chars().map(upper).collect() } else { text.to_owned() };
        if !self.accent_insensitive {
            return cased;
        }
        let plain = DecomposingNormalizerBorrowed::new_nfd().normalize(&cased);
        plain.chars().filter(|c| !is_mark(*c)).map(|c| if self.case_insensitive { upper(c) } else { c }).collect()
    }
}

/// Simple upper case: one character stays one; sharp s is S, as in `general_ci`.
fn upper(c: char) -> char {
    if c == 'ß' {
        return 'S';
    }
    let mut all = c.to_uppercase();
    match (all.next(), all.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

fn is_mark(c: char) -> bool {
    matches!(c as u32, 0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5bd | 0x64b..=0x65f | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff | 0xfe20..=0xfe2f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(collation: &str, a: &str, b: &str) -> bool {
        Rules::of(collation).key(a) == Rules::of(collation).key(b)
    }

    #[test]
    fn names_decide() {
        assert!(equal("utf8mb4_general_ci", "Straße", "STRASE"));
        assert!(equal("utf8mb4_general_ci", "Ärger  ", "arger"));
        assert!(equal("utf8mb4_uca1400_ai_ci", "été", "ETE"));
        assert!(equal("utf8mb4_general_ci", "ЁЖ", "еж"));
        assert!(!equal("utf8mb4_uca1400_as_ci", "été", "ETE"));
        assert!(!equal("utf8mb4_bin", "a", "A"));
        assert!(equal("utf8mb4_bin", "a", "a "));
        assert!(!equal("utf8mb4_0900_ai_ci", "a", "a "));
        assert!(!equal("binary", "a", "a "));
        assert!(equal("latin1_swedish_ci", "x", "X"));
        assert!(Rules::of("utf8mb4_general_ci").key("abc") < Rules::of("utf8mb4_general_ci").key("ABD"));
    }
}
