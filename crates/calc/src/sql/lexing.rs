//! From SQL text to tokens: comments fall away (executable ones `/*!40101 ... */` stay in), `||` becomes OR and
//! `MOD` becomes `%`; and the text of every select item, which is its column's name.

use std::collections::HashMap;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::dialect::TideDialect;
use super::error::syntax;
use crate::session::SqlError;

/// A statement as tokens.
pub(crate) struct Lexed {
    /// The text without comments and without a final semicolon.
    pub(crate) text: String,
    /// All tokens but white space, with their places.
    pub(crate) tokens: Vec<TokenWithSpan>,
    offsets: Vec<Vec<usize>>,
}

/// Takes comments off.
pub(crate) fn without_comments(sql: &str) -> String {
    let bytes = sql.as_bytes();
    let mut out = String::with_capacity(sql.len());
    let (mut at, mut executable) = (0, 0);
    while at < bytes.len() {
        let rest = &sql[at..];
        match bytes[at] {
            quote @ (b'\'' | b'"' | b'`') => {
                let end = at + quoted_length(rest, quote);
                out.push_str(&sql[at..end]);
                at = end;
            }
            b'/' if rest.starts_with("/*!") || rest.starts_with("/*M!") => {
                let skip = rest.find('!').unwrap_or(2) + 1;
                at += skip + rest[skip..].bytes().take_while(u8::is_ascii_digit).count();
                executable += 1;
                out.push(' ');
            }
            b'*' if executable > 0 && rest.starts_with("*/") => {
                executable -= 1;
                at += 2;
                out.push(' ');
            }
            b'/' if rest.starts_with("/*") => {
                at += rest.find("*/").map_or(rest.len(), |n| n + 2);
                out.push(' ');
            }
            b'#' => at += rest.find('\n').unwrap_or(rest.len()),
            b'-' if rest.starts_with("--") && bytes.get(at + 2).is_none_or(u8::is_ascii_whitespace) => {
                at += rest.find('\n').unwrap_or(rest.len());
            }
            _ => {
                let c = rest.chars().next().map_or(1, char::len_utf8);
                out.push_str(&rest[..c]);
                at += c;
            }
        }
    }
    out
}

fn quoted_length(text: &str, quote: u8) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote != b'`' => at += 2,
            b if b == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    // An escape may have jumped past the end.
    text.len()
}

/// Splits a statement into tokens.
///
/// # Errors
/// 1064 for what is no token, 1065 for an empty statement.
pub(crate) fn lex(sql: &str) -> Result<Lexed, SqlError> {
    let text = without_comments(sql);
    let text = text.trim().trim_end_matches(';').trim_end().to_owned();
    let all = Tokenizer::new(&TideDialect, &text).tokenize_with_location().map_err(syntax)?;
    let mut tokens: Vec<TokenWithSpan> =
        all.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF)).collect();
    if tokens.is_empty() {
        return Err(SqlError::new(1065, "42000", "Query was empty"));
    }
    if tokens.iter().any(|t| t.token == Token::SemiColon) {
        return Err(syntax("more than one statement in one text; send them one by one"));
    }
    for i in 0..tokens.len() {
        let followed_by_paren = tokens.get(i + 1).is_some_and(|t| t.token == Token::LParen);
        let replacement = match &tokens[i].token {
            Token::StringConcat => Some(Token::make_keyword("OR")),
            Token::Word(w) if w.quote_style.is_none() && !followed_by_paren && i > 0 => {
                w.value.eq_ignore_ascii_case("MOD").then_some(Token::Mod)
            }
            _ => None,
        };
        if let Some(token) = replacement {
            tokens[i].token = token;
        }
    }
    let tokens = intervals(tokens);
    let offsets = text.split('\n').scan(0, |start, line| {
        let chars = line.char_indices().map(|(i, _)| *start + i).chain([*start + line.len()]).collect();
        *start += line.len() + 1;
        Some(chars)
    });
    let offsets = offsets.collect();
    Ok(Lexed { text, tokens, offsets })
}

/// Units of two parts, as the parser takes them.
const COMPOSITE: &[(&str, &[&str])] = &[
    ("YEAR_MONTH", &["YEAR", "TO", "MONTH"]),
    ("DAY_HOUR", &["DAY", "TO", "HOUR"]),
    ("DAY_MINUTE", &["DAY", "TO", "MINUTE"]),
    ("DAY_SECOND", &["DAY", "TO", "SECOND"]),
    ("DAY_MICROSECOND", &["DAY", "TO", "MICROSECOND"]),
    ("HOUR_MINUTE", &["HOUR", "TO", "MINUTE"]),
    ("HOUR_SECOND", &["HOUR", "TO", "SECOND"]),
    ("HOUR_MICROSECOND", &["HOUR", "TO", "MICROSECOND"]),
    ("MINUTE_SECOND", &["MINUTE", "TO", "SECOND"]),
    ("MINUTE_MICROSECOND", &["MINUTE", "TO", "MICROSECOND"]),
    // The parser has no such pair; `rewrite` knows this word as it.
    ("SECOND_MICROSECOND", &["TIMEZONE_MINUTE"]),
];

/// `INTERVAL '1:30' HOUR_MINUTE` becomes `... HOUR TO MINUTE`; `INTERVAL(1, 2, 3)` becomes a call.
fn intervals(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 0;
    while at < tokens.len() {
        if !is_word(&tokens[at], "INTERVAL") {
            at += 1;
            continue;
        }
        if is_interval_call(&tokens[at + 1..]) {
            if let Token::Word(word) = &mut tokens[at].token {
                word.keyword = Keyword::NoKeyword;
            }
            at += 1;
            continue;
        }
        let mut depth = 0;
        for end in at + 1..tokens.len() {
            match &tokens[end].token {
                Token::LParen => depth += 1,
                Token::RParen | Token::Comma if depth == 0 => break,
                Token::RParen => depth -= 1,
                Token::Word(w) if depth == 0 => {
                    let unit = COMPOSITE.iter().find(|(name, _)| w.value.eq_ignore_ascii_case(name));
                    if let Some((_, words)) = unit {
                        let span = tokens[end].span;
                        let words = words.iter().map(|w| TokenWithSpan { token: Token::make_keyword(w), span });
                        tokens.splice(end..=end, words.collect::<Vec<_>>());
                        break;
                    }
                }
                _ => {}
            }
        }
        at += 1;
    }
    tokens
}

fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// True for `(a, b ...`: a list in parentheses right behind the word.
fn is_interval_call(after: &[TokenWithSpan]) -> bool {
    if after.first().is_none_or(|t| t.token != Token::LParen) {
        return false;
    }
    let mut depth = 0;
    for t in after {
        match t.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::Comma if depth == 1 => return true,
            _ => {}
        }
        if depth == 0 {
            return false;
        }
    }
    false
}

impl Lexed {
    /// The same text with fewer tokens.
    pub(crate) fn with_tokens(&self, tokens: Vec<TokenWithSpan>) -> Lexed {
        Lexed { text: self.text.clone(), tokens, offsets: self.offsets.clone() }
    }

    /// The upper-case word at `i`, if it is an unquoted word.
    pub(crate) fn word(&self, i: usize) -> Option<String> {
        match &self.tokens.get(i)?.token {
            Token::Word(w) if w.quote_style.is_none() => Some(w.value.to_ascii_uppercase()),
            _ => None,
        }
    }

    /// True if the words begin at `i`.
    pub(crate) fn is(&self, i: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(n, w)| self.word(i + n).is_some_and(|have| have == *w))
    }

    /// A name at `i`: a word, quoted or not.
    pub(crate) fn name(&self, i: usize) -> Option<String> {
        match &self.tokens.get(i)?.token {
            Token::Word(w) => Some(w.value.clone()),
            _ => None,
        }
    }

    /// A string literal at `i`.
    pub(crate) fn string(&self, i: usize) -> Option<String> {
        match &self.tokens.get(i)?.token {
            Token::SingleQuotedString(s) | Token::DoubleQuotedString(s) => Some(s.clone()),
            _ => None,
        }
    }

    /// True if token `i` is this one.
    pub(crate) fn token(&self, i: usize, token: &Token) -> bool {
        self.tokens.get(i).is_some_and(|t| t.token == *token)
    }

    fn offset(&self, line: u64, column: u64) -> usize {
        let at = self.offsets.get((line.max(1) - 1) as usize).and_then(|l| l.get((column.max(1) - 1) as usize));
        at.copied().unwrap_or(self.text.len())
    }

    /// The text from token `from` to the end.
    pub(crate) fn text_from(&self, from: usize) -> &str {
        match self.tokens.get(from) {
            Some(t) => &self.text[self.offset(t.span.start.line, t.span.start.column)..],
            None => "",
        }
    }

    /// The text of tokens `from` to before `to`.
    pub(crate) fn text_of(&self, from: usize, to: usize) -> String {
        if from >= to {
            return String::new();
        }
        let (first, last) = (self.tokens[from].span.start, self.tokens[to - 1].span.end);
        let (a, b) = (self.offset(first.line, first.column), self.offset(last.line, last.column));
        self.text.get(a..b).unwrap_or("").trim().to_owned()
    }

    /// The texts of the items of every SELECT, by the place (line, column) of the SELECT.
    pub(crate) fn select_items(&self) -> HashMap<(u64, u64), Vec<String>> {
        let mut all = HashMap::new();
        for (i, t) in self.tokens.iter().enumerate() {
            if self.is(i, &["SELECT"]) {
                all.insert((t.span.start.line, t.span.start.column), self.items_after(i + 1));
            }
        }
        all
    }

    fn items_after(&self, mut at: usize) -> Vec<String> {
        while self.word(at).is_some_and(|w| MODIFIERS.contains(&w.as_str())) {
            at += 1;
        }
        let (mut items, mut start, mut depth) = (Vec::new(), at, 0);
        while let Some(t) = self.tokens.get(at) {
            match &t.token {
                Token::LParen => depth += 1,
                Token::RParen if depth == 0 => break,
                Token::RParen => depth -= 1,
                Token::Comma if depth == 0 => {
                    items.push(self.text_of(start, at));
                    start = at + 1;
                }
                Token::Word(w) if depth == 0 && w.quote_style.is_none() && ENDS.contains(&w.keyword) => break,
                _ => {}
            }
            at += 1;
        }
        items.push(self.text_of(start, at));
        items
    }
}

const MODIFIERS: &[&str] = &[
    "ALL",
    "DISTINCT",
    "DISTINCTROW",
    "HIGH_PRIORITY",
    "STRAIGHT_JOIN",
    "SQL_SMALL_RESULT",
    "SQL_BIG_RESULT",
    "SQL_BUFFER_RESULT",
    "SQL_CACHE",
    "SQL_NO_CACHE",
    "SQL_CALC_FOUND_ROWS",
];

const ENDS: &[Keyword] = &[
    Keyword::FROM,
    Keyword::WHERE,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::ORDER,
    Keyword::LIMIT,
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::INTERSECT,
    Keyword::INTO,
    Keyword::FOR,
    Keyword::LOCK,
    Keyword::WINDOW,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_fall_away() {
        assert_eq!(without_comments("a/* x */b"), "a b");
        assert_eq!(without_comments("/*!40101 SET NAMES utf8 */").trim(), "SET NAMES utf8");
        assert_eq!(without_comments("'-- #' -- x\ny # z"), "'-- #' \ny ");
        assert_eq!(without_comments("'it\\'s /* no */'"), "'it\\'s /* no */'");
        assert_eq!(without_comments("5--3"), "5--3");
        assert_eq!(without_comments("'open \\"), "'open \\");
    }

    #[test]
    fn items_keep_their_text() {
        let lexed = lex("SELECT DISTINCT count( * ),\n f(a, b) x, 'ä', (select 1, 2) FROM t").unwrap();
        let all = lexed.select_items();
        assert_eq!(all[&(1, 1)], ["count( * )", "f(a, b) x", "'ä'", "(select 1, 2)"]);
        assert_eq!(all.len(), 2);
    }
}
